"""The rows of a run's plan or of another job's report: written once by their pass, listed by decision, page by page.

A row about an account is in the account's bucket, so that applying a bucket reads and writes one partition.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from shared import turns
from shared.directory.keys import DIGEST, Key, Keys, prefix_end, same_letters
from shared.directory.text import join_text, split_text
from shared.directory.work.buckets import read_pages, read_place
from shared.directory.work.jobs import Jobs, planned_in
from shared.json_text import dump, load
from shared.tables.access import clear, delete, in_waves, scan, scan_pages, write
from shared.tables.port import ANY, Delete, Merge, Row, Tables, Upsert

OPEN = "~"
"""Row key prefix of what is left open, behind all decisions, so that no page has it."""
MARKED = OPEN + "p_"
"""Row key prefix of the rows that are noted under a name."""
CURSOR = re.compile(rf"[0-9a-f]{{2}}[A-Za-z_]{{1,64}}_[0-9a-f]{{{DIGEST}}}")
"""A cursor over rows, and the id of one: its bucket and its key."""

LAST_PLACE = 0xFFFFFFFF
"""The place of all rows behind this one, which are then listed in no order."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One row: the decision, its subject (the id of an account or an identity), and the rest as the API shows it.

    `outcome` is the outcome of applying it, "" before. `version` is the version of the account that the plan saw,
    `versions` are those of several candidates, by id. `review` is what an administrator decided about the row
    (reviews.py). `undone` says which undo took its link back, and how, "" for none. `suggestions` are who may be the
    counterpart of somebody without any (link_orchestrator/passes/suggest.py). `id` names the row once it is stored.
    """

    decision: str
    subject: str
    shown: Mapping[str, Any]
    version: str = ""
    outcome: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    review: Mapping[str, Any] | None = None
    undone: str = ""
    suggestions: Sequence[Mapping[str, Any]] = ()
    id: str = field(default="", compare=False)
    etag: str = field(default="", compare=False)
    place: int | None = field(default=None, compare=False)
    """By what the rows of a bucket are listed, from 0; None for those that come in no order."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as the API shows it."""
        known = {
            "suggestions": [*self.suggestions],
            "review": self.review,
            "outcome": self.outcome,
            "undone": self.undone,
        }
        return {"decision": self.decision, **self.shown, **{name: value for name, value in known.items() if value}}


LIKELY_SCORE: Final = 90
"""The score of a suggestion, of 100, from which on a plan warns: the same words in names or addresses, and nobody else
with that name."""


def keeps_name(changes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a row's sign-in name changes in case alone: no sign-in tells it apart (RFC 7643 section 4.1.1)."""
    name = changes.get("userName", {})
    return "from" in name and same_letters(name["from"], name["to"])


class Plan:
    """The rows of one job."""

    def __init__(self, tables: Tables, keys: Keys, job: str) -> None:
        self._tables = tables
        self._keys = keys
        self._prefix = f"{keys.directory}_p_{job}"

    async def write(self, bucket: int, rows: Sequence[PlanRow]) -> None:
        """Write rows into a bucket. Writing them again changes nothing."""
        upserts = await turns.take(Upsert(self._row(row), columns_of(row)) for row in rows)
        await write(self._tables, {self.partition(bucket): upserts}, ahead=True)

    async def decided(self, bucket: int, decision: str = "") -> AsyncIterator[list[PlanRow]]:
        """Yield a bucket's rows of one decision ("" for all), a page at a time."""
        low, high = _range(decision)
        async for page in scan_pages(self._tables, self.partition(bucket), low, high):
            yield await turns.take(read_row(bucket, row) for row in page.rows)

    async def scores(self, bucket: int, decision: str) -> list[tuple[str, float]]:
        """Return the ids of a bucket's rows of one decision that have suggestions, each with the highest score."""
        low, high = _range(decision)
        found: list[tuple[str, float]] = []
        async for page in scan_pages(self._tables, self.partition(bucket), low, high, select=["suggestions"]):
            texts = ((row.key, row.columns.get("suggestions")) for row in page.rows)
            scores = ((f"{bucket:02x}{key}", load(str(text))[0]["score"]) for key, text in texts if text)
            found += await turns.take(scores)
        return found

    async def keys(self, bucket: int, decisions: Iterable[str]) -> set[str]:
        """Return the keys of a bucket's rows of some decisions."""
        found: set[str] = set()
        for decision in decisions:
            low = decision + "_"
            rows = scan(self._tables, self.partition(bucket), low, prefix_end(low), select=[])
            found |= {row.key async for row in rows}
        return found

    async def mark(self, name: str, rows: Iterable[str]) -> None:
        """Note rows by their ids under a name."""
        found: defaultdict[str, list[Upsert]] = defaultdict(list)
        for row_id in rows:
            found[self.partition(int(row_id[:2], 16))].append(Upsert(f"{MARKED}{name}_{row_id[2:]}", {}))
        await write(self._tables, found)

    async def marked(self, bucket: int, name: str) -> set[str]:
        """Return the ids of a bucket's rows that are noted under a name."""
        low = f"{MARKED}{name}_"
        rows = scan(self._tables, self.partition(bucket), low, prefix_end(low), select=[])
        return {f"{bucket:02x}{row.key.removeprefix(low)}" async for row in rows}

    async def find_about(self, subject: str, decisions: Sequence[str], buckets: Sequence[int]) -> PlanRow | None:
        """Return the row about a subject, of one of some decisions in one of some buckets, or None."""
        places = [(bucket, self.key(decision, subject)) for bucket in buckets for decision in decisions]
        rows = await self._tables.get_many([(self.partition(bucket), key) for bucket, key in places])
        found = (read_row(bucket, row) for (bucket, _), row in zip(places, rows, strict=True) if row)
        return next(found, None)

    async def remove(self, bucket: int, keys: Iterable[str]) -> None:
        """Remove rows, though a twin of the activity may do the same."""
        await delete(self._tables, self.partition(bucket), [Delete(key, ANY) for key in keys])

    async def forget_persons(self, bucket: int, rows: Iterable[PlanRow]) -> None:
        """Take the names of persons out of the reviews of rows; by which credential one was made stays."""
        merges = [
            Merge(row.id[2:], {"review": dump({n: v for n, v in row.review.items() if n != "person"})}, ANY)
            for row in rows
            if row.review and "person" in row.review
        ]
        await write(self._tables, {self.partition(bucket): merges})

    async def clear(self) -> None:
        """Remove all rows, and what is noted beside them."""
        await in_waves(clear(self._tables, self.partition(bucket)) for bucket in range(self._keys.buckets))

    async def leave_open(self, decisions: Mapping[str, str]) -> None:
        """Note which identities a plan leaves to the administrator: by object id, the decision on each.

        The decision "" says that it leaves the identity to nobody, whatever the plans before it did.
        """
        await self._mark({self._keys.digest(Key("identity", one)): decision for one, decision in decisions.items()})

    async def _mark(self, decisions: Mapping[str, str]) -> None:
        rows: defaultdict[str, list[Upsert]] = defaultdict(list)
        for digest, decision in decisions.items():
            rows[self.partition(self._keys.bucket(digest))].append(Upsert(OPEN + digest, {"decision": decision}))
        await write(self._tables, rows)

    async def close(self, object_ids: Iterable[str]) -> None:
        """Note that identities are no longer left to the administrator: they are linked."""
        await self.leave_open(dict.fromkeys(object_ids, ""))

    async def close_digests(self, digests: Iterable[str]) -> None:
        """Do the same for identities whose ids are known by their digests."""
        await self._mark(dict.fromkeys(digests, ""))

    async def record_outcomes(self, bucket: int, outcomes: Mapping[str, str], rows: Sequence[PlanRow]) -> None:
        """Write what became of rows, by subject, into them; what others wrote there meanwhile stays."""
        settled = [Merge(self._row(row), {"outcome": outcomes[row.subject]}, ANY) for row in rows]
        await write(self._tables, {self.partition(bucket): settled}, ahead=True)

    async def record_suggestions(
        self, bucket: int, decision: str, suggestions: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> None:
        """Write who may be the counterpart into rows of one decision, by subject; a review that is there stays."""
        found = [Merge(self.key(decision, one), {"suggestions": dump(some)}, ANY) for one, some in suggestions.items()]
        await write(self._tables, {self.partition(bucket): found}, ahead=True)

    async def record_undone(self, bucket: int, undone: Mapping[str, str], rows: Sequence[PlanRow]) -> None:
        """Write into rows, by subject, which undo took their links back; what others wrote there meanwhile stays."""
        settled = [Merge(self._row(row), {"undone": undone[row.subject]}, ANY) for row in rows]
        await write(self._tables, {self.partition(bucket): settled}, ahead=True)

    async def page(self, decision: str, cursor: str, count: int) -> tuple[list[PlanRow], str | None]:
        """Return rows of one decision ("" for all) from behind a cursor ("" for the start), and the next cursor.

        Raises InvalidCursor.
        """
        async with aclosing(self.pages(decision, cursor, [count])) as pages:
            return await anext(pages)

    async def pages(
        self, decision: str, cursor: str, counts: Iterable[int], *, brief: bool = False
    ) -> AsyncGenerator[tuple[list[PlanRow], str | None]]:
        """Yield such rows a page of each of these counts, each with the next cursor.

        Of a `brief` row there is nothing but its decision and its review: a third of the work. Raises InvalidCursor.
        """
        place, buckets = read_place(cursor, CURSOR, self._keys.buckets), self._keys.buckets
        low, high = _range(decision)
        read, select = (read_brief, ["review"]) if brief else (read_row, None)
        found = read_pages(self._tables, self.partition, buckets, place, counts, low=low, high=high, select=select)
        async with aclosing(found) as pages:
            async for rows, more in pages:
                yield await turns.take(read(bucket, row) for bucket, row in rows), more

    def partition(self, bucket: int) -> str:
        """Return the partition of a bucket's rows."""
        return f"{self._prefix}_{bucket:02x}"

    def open_place(self, object_id: str) -> tuple[str, str]:
        """Return the place of the row that says whether a plan left an identity open."""
        digest = self._keys.digest(Key("identity", object_id))
        return self.partition(self._keys.bucket(digest)), OPEN + digest

    def key(self, decision: str, subject: str) -> str:
        """Return the key of a row, with the digest of its subject, which may be any text of a file."""
        return _key(self._keys, decision, subject)

    def _row(self, row: PlanRow) -> str:
        key = self.key(row.decision, row.subject)
        if row.place is None:
            return key
        digest = key[-DIGEST:]
        return f"{row.decision}_{min(row.place, LAST_PLACE):08x}{digest[8:]}"


def row_id(keys: Keys, bucket: int, decision: str, subject: str) -> str:
    """Return the id that a row about a person or an account has once it is stored."""
    return f"{bucket:02x}{_key(keys, decision, subject)}"


def _key(keys: Keys, decision: str, subject: str) -> str:
    return f"{decision}_{keys.digest(Key('subject', subject))}"


class LeftOpen:
    """What the last plan of a directory, and the plans on which it builds, left to the administrator.

    Which runs made them is remembered, so that mostly one round trip reads everything.
    """

    def __init__(self, tables: Tables, keys: Keys, jobs: Jobs) -> None:
        self._tables = tables
        self._keys = keys
        self._jobs = jobs
        self._runs: Sequence[str] = ()

    async def find(self, object_id: str) -> tuple[str, str] | None:
        """Return the run that left an identity open and its decision, or None."""
        while True:
            # A local name: another task may set self._runs while this one reads.
            known = self._runs
            places = [Plan(self._tables, self._keys, run).open_place(object_id) for run in known]
            planned, *marks = await self._tables.get_many([self._jobs.planned_place, *places])
            runs = planned_in(planned)
            if runs == known:
                found = ((run, str(mark.columns["decision"])) for run, mark in zip(known, marks, strict=True) if mark)
                run, decision = next(found, ("", ""))
                return (run, decision) if decision else None
            self._runs = runs


def _range(decision: str) -> tuple[str, str]:
    """Return the keys between which the rows of a decision are, "" for all."""
    low = decision + "_" if decision else ""
    return low, prefix_end(low) if low else OPEN


def columns_of(row: PlanRow) -> dict[str, Any]:
    """Return the columns of a row."""
    columns = {"decision": row.decision, "subject": row.subject, "version": row.version}
    documents = {"versions": row.versions, "review": row.review, "suggestions": row.suggestions}
    held = {"outcome": row.outcome, "undone": row.undone} | {name: one and dump(one) for name, one in documents.items()}
    return columns | {name: text for name, text in held.items() if text} | split_text("shown", dump(row.shown))


def read_brief(bucket: int, row: Row) -> PlanRow:
    """Return of a stored row of a bucket its decision and its review alone."""
    review = row.columns.get("review")
    shown = load(str(review)) if review else None
    return PlanRow(row.key[: -DIGEST - 1], "", {}, review=shown, id=f"{bucket:02x}{row.key}", etag=row.etag)


def read_row(bucket: int, row: Row) -> PlanRow:
    """Return a stored row of a bucket."""
    columns: Mapping[str, Any] = row.columns
    versions, review, suggestions = columns.get("versions"), columns.get("review"), columns.get("suggestions")
    return PlanRow(
        columns["decision"],
        columns["subject"],
        load(join_text("shown", columns)),
        columns["version"],
        columns.get("outcome", ""),
        load(versions) if versions else {},
        load(review) if review else None,
        columns.get("undone", ""),
        load(suggestions) if suggestions else (),
        f"{bucket:02x}{row.key}",
        row.etag,
    )
