"""Rows of the files of accounts that no import took so far: a plan knows nothing of the people in them.

An import that was taken back has none. Of the others, a row is open until somebody else brought what it says: an
account has its userName or its e-mail address by now, or, of a row without either, a later import had a file of the
same name. Rows that were left alone because of what their account is are no such rows: that account is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.problem_report import PROBLEM
from link_orchestrator.problems import lacks_nobody
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow

IMPORT, IMPORT_UNDO = "import", "importundo"
"""Kinds of jobs that bring accounts, and take that back (kinds.py)."""
FILE: Final = "file"
"""Option of an import that says what its file is called."""
REFUSED, LEFT_ALONE = "refused", "leftAlone."
"""Count of an import's rows that changed nothing, and prefix of counts of those whose account is left as it is."""
MOST_ROWS: Final = 2_000
"""Rows of one import that are looked for among the accounts; any more count as open."""
MOST_IMPORTS: Final = 20
"""Imports whose rows are looked for, the latest ones; all rows of earlier ones count as open."""
AT_ONCE: Final = 500
"""Rows that are read at once."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An import with rows that are open: how many, and some of them."""

    job: Job
    count: int
    examples: Sequence[PlanRow] = ()

    @property
    def file(self) -> str:
        """What the file is called, "" where nobody said."""
        return str(self.job.options.get(FILE, ""))

    def to_json(self) -> dict[str, Any]:
        """Return the import and the number of its open rows, as the API shows them."""
        known = {"import": self.job.id, "started": self.job.started, "rows": self.count}
        return known | ({FILE: self.file} if self.file else {})


async def find_unread(directory: Directory) -> list[Unread]:
    """Return the imports of accounts that have rows which are open, the latest first."""
    undone = {
        undo.options.get("import") for undo in await directory.jobs.of_kind(IMPORT_UNDO) if undo.state is State.DONE
    }
    stand = [job for job in await directory.jobs.of_kind(IMPORT) if job.id not in undone]
    later, found, looked = set[str](), list[Unread](), 0
    for job in reversed(stand):
        name = str(job.options.get(FILE, ""))
        count = _refused(job)
        if count:
            looked += 1
            unread = await _open(directory, job, count, name in later, look=looked <= MOST_IMPORTS)
            found += [unread] if unread.count else []
        later |= {name} - {""}
    return found


def _refused(job: Job) -> int:
    """Return how many rows of an import brought nothing, without those whose account was left alone."""
    alone = sum(count for name, count in job.counts.items() if name.startswith(LEFT_ALONE))
    return max(0, job.counts.get(REFUSED, 0) - alone)


async def _open(directory: Directory, job: Job, count: int, came_again: bool, *, look: bool) -> Unread:
    """Return the open rows of an import of which `count` brought nothing.

    `came_again` says that a later import had a file of the same name.
    """
    named, unnamed = await _rows(directory, job) if look else ([], [])
    there = await _there(directory, named)
    still = [row for row in named if there.isdisjoint(row.version.split())]
    others = 0 if came_again else max(0, count - len(named))
    examples = [*still, *([] if came_again else unnamed)]
    return Unread(job, len(still) + others, sorted(examples, key=lambda row: row.shown.get("line", 0)))


async def _rows(directory: Directory, job: Job) -> tuple[list[PlanRow], list[PlanRow]]:
    """Return the first rows of an import's report that lack somebody: by what a later one is found, and the others."""
    rows, cursor, seen = list[PlanRow](), "", 0
    while seen < MOST_ROWS:
        page, more = await directory.plan(job.id).page(PROBLEM, cursor, AT_ONCE)
        seen += len(page)
        rows += [row for row in page if not lacks_nobody(row.shown["reason"])]
        if more is None:
            break
        cursor = more
    return [row for row in rows if row.version], [row for row in rows if not row.version]


async def _there(directory: Directory, rows: Iterable[PlanRow]) -> set[str]:
    """Return those of the leads of rows by which an account is found."""
    leads = {lead for row in rows for lead in row.version.split()}
    by_bucket: dict[int, list[str]] = {}
    for lead in leads:
        by_bucket.setdefault(directory.keys.bucket_of(lead), []).append(lead)
    led: dict[str, Collection[str]] = {}
    for bucket, some in by_bucket.items():
        led |= dict(zip(some, await directory.listing.find_led(bucket, some), strict=True))
    ids = [*{one for found in led.values() for one in found}]
    accounts = {account.id: account for account in await directory.accounts.find_many(ids) if account}
    carried = {
        one: {directory.keys.lead(key) for key in (Key("userName", account.user_name), *account.pointers())}
        for one, account in accounts.items()
    }
    return {lead for lead, found in led.items() if any(lead in carried.get(one, ()) for one in found)}


def told(unread: Sequence[Unread]) -> Mapping[str, int]:
    """Return how many rows are open by what their file is called, "" for files without a name."""
    counts = dict[str, int]()
    for one in unread:
        counts[one.file] = counts.get(one.file, 0) + one.count
    return counts
