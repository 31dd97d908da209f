"""What the pages of files have in common: where a job of a file is, and what was read of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked

Document = Mapping[str, Any]

PROBLEMS: Final = "50"
"""Problems that are shown at once."""
STOPS: Final = {"cancelled": "It stops within some hundred rows. What it did until then stays, and is shown here."}
_KIND: Final = re.compile(r"[a-z]+")
_PATHS: Final = {
    "import": "accounts/imports",
    "groupimport": "groups/imports",
    "preview": "accounts/previews",
    "grouppreview": "groups/previews",
    "importundo": "accounts/undos",
    "groupimportundo": "groups/undos",
    "importundopreview": "accounts/undo-previews",
    "groupimportundopreview": "groups/undo-previews",
    "identities": "linking/identities",
    "entragroups": "linking/groups",
}
"""The API's path of a job's kind, with which its id begins."""


def path_of(job_id: str, *kinds: str) -> str:
    """Return the API's path of a job by its id; that of the first kind where the id is of none of these kinds."""
    found = _KIND.match(job_id)
    kind = found[0] if found else ""
    return _PATHS[kind if kind in kinds else kinds[0]]


def page_of(job_id: str) -> str:
    """Return the path of a job's page."""
    kind = (_KIND.match(job_id) or [""])[0]
    ends = (("undopreview", "undo-previews"), ("preview", "previews"), ("undo", "import-undos"), ("import", "imports"))
    place = next((place for end, place in ends if kind.endswith(end)), "uploads")
    return f"{place}/{job_id}"


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands in the way of taking an import back as a whole."""

    run: str = ""
    """The last run of the directory, "" where nothing of it is linked."""
    links: int = 0
    """Accounts that it linked, and no undo took back."""
    waiting: Document | None = None
    """The run whose plan waits for its approval and may know accounts of the import, None for none."""
    former: Document | None = None
    """The last run, if it linked accounts since the import and an undo took links of it back, else None."""


async def find_beside(asked: Asked, imported: Document) -> Beside:
    """Ask the API what stands in the way of taking an import back as a whole."""
    # Not by the directory's document, which looks at accounts: the page of an import is read every few seconds.
    runs = (await asked.api.get("linking/runs", count="1"))["runs"]
    undos = (await asked.api.get("linking/undos", count="1"))["undos"]
    waits = runs and runs[0]["phase"] == "planned" and runs[0]["started"] > imported["started"]
    # A run that was approved before the import linked nobody whom it made.
    links = runs[0]["counts"].get("linked", 0) if runs and runs[0].get("approved", "") > imported["started"] else 0
    if not links or any(undo["options"].get("run") == runs[0]["id"] for undo in undos):
        return Beside(waiting=runs[0] if waits else None, former=runs[0] if links else None)
    return Beside(runs[0]["id"], links, runs[0] if waits else None)


@dataclass(frozen=True, slots=True)
class Read:
    """How far a file is, and its rows that could not be used."""

    job: Document
    problems: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows have each problem, beside the first page of them."""
    cursor: str = ""
    at_first: bool = True
    undo: Document | None = None
    """The undo of an import, None where there is none."""
    open_rows: int | None = None
    """Rows of an import that no import took so far, None where that is not known."""
    beside: Beside | None = None
    """What stands in the way of taking an import back."""

    @property
    def of_groups(self) -> bool:
        """Whether the file has groups."""
        return bool(self.job["kind"] in ("groupimport", "entragroups"))

    @property
    def became(self) -> Sequence[tuple[str, int]]:
        """What became of the rows of a file of accounts, in words, each row counted once."""
        return rows_became(self.job)

    @property
    def noun(self) -> str:
        """What a row became."""
        return "identity" if self.job["kind"] == "identities" else "group" if self.of_groups else "account"


def rows_became(job: Document) -> Sequence[tuple[str, int]]:
    """Return what becomes of the rows of a file of accounts by an import or its preview, in words; () for groups.

    Each row is counted once, so that together they are all rows of the file.
    """
    reading, counts, alone = job.get("reading", {}), job["counts"], job.get("leftAlone", {})
    if job["kind"] not in ("import", "preview") or not reading:
        return ()
    refused, unread, kept = counts.get("refused", 0), reading["unusable"], sum(alone.values())
    looked_at = sum(counts.get(one, 0) for one in ("created", "updated", "unchanged", "repeated")) + refused
    found = (
        ("Becomes a new account", counts.get("created", 0)),
        ("Brings an account up to date", counts.get("updated", 0)),
        ("Says what the account has already", counts.get("unchanged", 0)),
        ("Says the same as a row before it", counts.get("repeated", 0)),
        ("Would change a protected account, which is left as it is", alone.get("protected", 0)),
        ("Would change an account that provisioning manages, which is left as it is", alone.get("linked", 0)),
        ("Cannot be read: the reasons are below", unread),
        ("Is not taken, because of another row or account: the reasons are below", refused - unread - kept),
        ("Was not looked at: it ended before", reading["rows"] + unread - looked_at),
    )
    return [(what, count) for what, count in found if count > 0]


async def read_problems(asked: Asked, *kinds: str) -> Read:
    """Ask the API for the job of the page's path, which is of one of these kinds. Raises NotFound."""
    job_id, cursor = asked.path["id"], asked.query.get("problems", "")
    path = path_of(job_id, *kinds)
    job = await asked.api.get(f"{path}/{{id}}", id=job_id)
    if "ended" not in job:
        return Read(job)
    page = await asked.api.get(f"{path}/{{id}}/problems", id=job_id, count=PROBLEMS, cursor=cursor)
    return Read(job, page["problems"], page.get("byReason", ()), page.get("cursor", ""), not cursor)
