"""Reviews: what administrators decide about single rows of a plan, until the run is approved.

A review is one transaction in the row's partition: the row with its review, an entry in the index of reviewed rows, and
the bucket's tally, which also counts how often rows were reviewed. An approval closes the tallies. A review that finds
one closed must first change the job: that fails once the run is approved, and before that it makes the approval start
again. So what is approved is what was counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from shared import turns
from shared.directory.errors import Busy, InvalidCursor, refused_behind
from shared.directory.keys import APPLICATION_ID, Keys, prefix_end
from shared.directory.matching.accounts import DecisionKind
from shared.directory.work.buckets import read_pages, read_place
from shared.directory.work.plan import (
    CURSOR,
    LIKELY_SCORE,
    OPEN,
    Plan,
    PlanRow,
    columns_of,
    keeps_name,
    read_brief,
    read_row,
)
from shared.json_text import dump, load
from shared.tables.access import in_parts, scan, scan_pages, together, write
from shared.tables.port import (
    MAX_OPERATIONS,
    Conflict,
    Insert,
    Operation,
    Replace,
    Row,
    Tables,
    TransactionTooLarge,
    Upsert,
    Value,
)

INDEX = OPEN + "r_"
"""Row key prefix of the index of reviewed rows; as it begins with OPEN, no page has it."""
TALLY = OPEN + "s"
NAMED = OPEN + "n_"
"""Row key prefix of the accounts that reviews name which their rows do not: each has a row in its own bucket."""
TIMES = "review.times"
"""Count of a tally: how often a row was reviewed, also anew. Whoever knows the sum knows whether there was a review."""
ROWS = (MAX_OPERATIONS - 1) // 2
"""Rows reviewed in one transaction, each with its entry in the index; beside them is the tally."""
NAMED_AT_ONCE = 500
"""Accounts whose rows are read at once, some kilobytes each."""
BUCKETS_AT_ONCE = 16
"""Buckets whose reviews are stored side by side."""
ATTEMPTS = 8
"""Times that a transaction is tried while others review or approve the same rows."""
LINK, EXCLUDE, LEAVE, ACKNOWLEDGE = ACTIONS = "link", "exclude", "leave", "acknowledge"
"""What a person may decide about a row."""
AS_PLANNED = (LEAVE, ACKNOWLEDGE)
"""Reviews under which a row stays as the plan has it."""


@dataclass(frozen=True, slots=True)
class Review:
    """What an administrator decided about a row. `predicted` is what provisioning will then do.

    `create` says that it may create the person whom the review excludes. `version`, `user_name` and `application_id`
    are those of an account which the person named and the row does not; `warnings` are what there is to say of it, and
    `changes` what provisioning changes of it.
    `person` is the name of whoever decided so, where they were known as a person.
    """

    action: str
    by: str
    at: str
    account: str | None = None
    predicted: Mapping[str, Any] | None = None
    create: bool = False
    version: str | None = None
    user_name: str | None = None
    application_id: str | None = None
    warnings: Sequence[str] = ()
    person: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], predicted: Mapping[str, Any] | None = None) -> Review:
        """Return the review that `to_json` wrote."""
        get = document.get
        named = get("version"), get("userName"), get(APPLICATION_ID), get("warnings", ())
        return cls(
            get("action", LEAVE),
            get("by", ""),
            get("at", ""),
            get("account"),
            predicted,
            bool(get("create")),
            *named,
            get("person"),
            get("changes", {}),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the review as a plan's row shows it."""
        known = {
            "action": self.action,
            "account": self.account,
            "by": self.by,
            "at": self.at,
            "create": self.create,
            "version": self.version,
            "userName": self.user_name,
            APPLICATION_ID: self.application_id,
            "warnings": [*self.warnings],
            "person": self.person,
            "changes": self.changes,
        }
        return {name: value for name, value in known.items() if value}


class Reviews:
    """The reviews of one run. `still_planned` gives the job a new version, or raises Busy once it is approved."""

    def __init__(self, tables: Tables, keys: Keys, job: str, still_planned: Callable[[], Awaitable[None]]) -> None:
        self._tables = tables
        self._keys = keys
        self._buckets = keys.buckets
        self._plan = Plan(tables, keys, job)
        self._still_planned = still_planned

    async def find_rows(self, ids: Sequence[str], *, brief: bool = False) -> list[PlanRow | None]:
        """Return the rows of these ids, in order, None for an id that is no row's; `brief` as in Plan.pages()."""
        places: dict[str, tuple[int, str]] = {}
        for row_id in ids:
            try:
                places[row_id] = read_place(row_id or "-", CURSOR, self._buckets)
            except InvalidCursor:
                continue
        keys = [(self._plan.partition(bucket), key) for bucket, key in places.values()]
        rows = dict(zip(places, await self._tables.get_many(keys, select=["review"] if brief else None), strict=True))
        read = read_brief if brief else read_row
        return await turns.take(read(places[one][0], row) if (row := rows.get(one)) else None for one in ids)

    async def pages(
        self, decision: str, cursor: str, counts: Iterable[int], *, brief: bool = False
    ) -> AsyncGenerator[tuple[list[PlanRow], str | None]]:
        """Yield the reviewed rows as Plan.pages() yields all: their index alone is looked through."""
        bucket, after = read_place(cursor, CURSOR, self._buckets)
        place, low = (bucket, after and INDEX + after), f"{INDEX}{decision}_" if decision else INDEX
        found = read_pages(
            self._tables, self._plan.partition, self._buckets, place, counts, low=low, high=prefix_end(low)
        )
        async with aclosing(found) as pages:
            async for entries, more in pages:
                rows = await self.find_rows([_row_id(bucket, entry) for bucket, entry in entries], brief=brief)
                yield [row for row in rows if row], more and more[:2] + more[2 + len(INDEX) :]

    async def record(self, reviews: Sequence[tuple[PlanRow, Review]], *, overrule: bool = True) -> None:
        """Store reviews of rows, some buckets' side by side. Raises Busy, which says whether some are stored.

        A review takes the place of an earlier one of the same row, but where it is not to `overrule` any.
        """
        buckets: dict[int, list[tuple[PlanRow, Review]]] = {}
        for row, review in reviews:
            buckets.setdefault(int(row.id[:2], 16), []).append((row, review))
        stored = list[int]()
        for some in in_parts([*buckets.items()], BUCKETS_AT_ONCE):
            recorded = await asyncio.gather(
                *(self._record_all(bucket, theirs, overrule, stored) for bucket, theirs in some), return_exceptions=True
            )
            with refused_behind(bool(stored)):
                for failure in filter(None, recorded):
                    raise failure

    async def _record_all(
        self, bucket: int, reviews: Sequence[tuple[PlanRow, Review]], overrule: bool, stored: list[int]
    ) -> None:
        """Store reviews of a bucket's rows in as many transactions as they need; note the bucket once some are stored.

        They share the tally of the bucket, so that one comes after another.
        """
        waiting = deque(in_parts(reviews, ROWS))
        while waiting:
            part = waiting.popleft()
            try:
                await self._record(bucket, part, overrule)
            except TransactionTooLarge:
                waiting.extendleft(in_parts(part, (len(part) + 1) // 2))
            else:
                stored.append(bucket)

    async def _record(self, bucket: int, reviews: Sequence[tuple[PlanRow, Review]], overrule: bool) -> None:
        """Store reviews of a bucket's rows in one transaction. Raises Busy, and TransactionTooLarge."""
        for _ in range(ATTEMPTS):
            # Whatever changes behind either read makes the transaction fail.
            found, tally = await asyncio.gather(
                self.find_rows([row.id for row, _ in reviews]), self._tables.get(self._plan.partition(bucket), TALLY)
            )
            if tally is not None and tally.columns["closed"]:
                await self._still_planned()
            counts = _read(tally)
            operations: list[Operation] = []
            for row, (_, review) in zip(found, reviews, strict=True):
                if row is None:
                    raise Busy("rows: the plan is being written", retry_after=1)
                if row.review and not overrule:
                    continue
                after = _reviewed(row, review)
                counts.update(_effect(after))
                counts.subtract(_effect(row))
                counts[TIMES] += 1
                entry = Upsert(INDEX + row.id[2:], {"action": review.action, "account": review.account})
                operations += [Replace(row.id[2:], columns_of(after), row.etag), entry]
            with suppress(Conflict):
                await self._tables.commit(self._plan.partition(bucket), [*operations, _tally(tally, counts, False)])
                return
        raise Busy("rows: these are being reviewed by others", retry_after=1)

    async def total(self) -> Counter[str]:
        """Return the sum of the tallies: reviewed rows by action, and what they add to the plan's counts."""
        tallies = await together(*(self._tables.get(self._plan.partition(n), TALLY) for n in range(self._buckets)))
        total: Counter[str] = Counter()
        for tally in tallies:
            total.update(_read(tally))
        return total

    async def close(self) -> Counter[str]:
        """Close the tallies, so that a later review must change the job first, and return their sum."""
        total: Counter[str] = Counter()
        for counts in await together(*(self._close(bucket) for bucket in range(self._buckets))):
            total.update(counts)
        return total

    async def _close(self, bucket: int) -> Counter[str]:
        for _ in range(ATTEMPTS):
            tally = await self._tables.get(self._plan.partition(bucket), TALLY)
            try:
                await self._tables.commit(self._plan.partition(bucket), [_tally(tally, _read(tally), True)])
            except Conflict:
                continue
            return _read(tally)
        raise Busy("rows: these are being reviewed by others", retry_after=1)

    async def reviewed(self, bucket: int) -> AsyncIterator[list[PlanRow]]:
        """Yield the rows of a bucket that were reviewed, a page at a time."""
        async for rows in self._indexed(bucket, lambda entry: True):
            yield rows

    async def accounts(self, bucket: int, decision: str = "") -> dict[str, str]:
        """Return the accounts that reviews of a bucket's rows of one decision, or of any, link, with the row's id."""
        low = f"{INDEX}{decision}_" if decision else INDEX
        rows = scan(self._tables, self._plan.partition(bucket), low, prefix_end(low))
        return {str(row.columns["account"]): _row_id(bucket, row) async for row in rows if _links(row)}

    async def note_named(self, rows: Mapping[str, str]) -> None:
        """Note by which row each of some accounts is named, before the reviews of those rows are stored."""
        found: defaultdict[str, list[Operation]] = defaultdict(list)
        for account_id, row_id in rows.items():
            partition = self._plan.partition(self._keys.bucket(account_id))
            found[partition].append(Upsert(NAMED + account_id, {"row": row_id}))
        await write(self._tables, found)

    async def named(self, accounts: Sequence[str]) -> dict[str, str]:
        """Return the rows whose reviews name some accounts which these rows do not show, by account."""
        found: dict[str, str] = {}
        for some in in_parts(accounts, NAMED_AT_ONCE):
            found |= await self._named(some)
        return found

    async def _named(self, accounts: Sequence[str]) -> dict[str, str]:
        places = [(self._plan.partition(self._keys.bucket(one)), NAMED + one) for one in accounts]
        noted = {
            one: str(row.columns["row"])
            for one, row in zip(accounts, await self._tables.get_many(places), strict=True)
            if row
        }
        rows = await self.find_rows([*noted.values()])
        # The review may have been taken back since, or never stored.
        return {
            one: row_id
            for (one, row_id), row in zip(noted.items(), rows, strict=True)
            if row and row.review and (row.review["action"], row.review.get("account")) == (LINK, one)
        }

    async def chosen(self, bucket: int) -> AsyncIterator[list[PlanRow]]:
        """Yield the rows of a bucket that a review links, a page at a time."""
        async for rows in self._indexed(bucket, _links):
            yield rows

    async def _indexed(self, bucket: int, wanted: Callable[[Row], bool]) -> AsyncIterator[list[PlanRow]]:
        partition = self._plan.partition(bucket)
        async for page in scan_pages(self._tables, partition, INDEX, prefix_end(INDEX), page_rows=MAX_OPERATIONS):
            found = await self.find_rows([_row_id(bucket, row) for row in page.rows if wanted(row)])
            yield [row for row in found if row is not None]


def _links(entry: Row) -> bool:
    return entry.columns["action"] == LINK


def _row_id(bucket: int, entry: Row) -> str:
    """Return the id of the row to which an entry of the index leads."""
    return f"{bucket:02x}{entry.key[len(INDEX) :]}"


def _reviewed(row: PlanRow, review: Review) -> PlanRow:
    shown = {**row.shown, "predicted": review.predicted} if review.predicted else row.shown
    planned = (row.review or {}).get("planned", row.shown.get("predicted"))
    if review.action in AS_PLANNED and planned:
        shown = {**row.shown, "predicted": planned}
    return replace(row, shown=shown, review=review.to_json() | ({"planned": planned} if planned else {}))


def _effect(row: PlanRow) -> Counter[str]:
    """Return what a row counts for: its review's action, a link more or less, its predicted outcome, its warnings."""
    action = (row.review or {}).get("action", "")
    links = action == LINK and row.decision != LINK
    unlinks = action == EXCLUDE and row.decision == LINK
    predicted = row.shown.get("predicted", {}).get("outcome")
    counts = Counter({"review.links": links - unlinks})
    if action:
        counts[f"review.{action}"] += 1
    if action in (LINK, EXCLUDE):
        counts[f"decided.{row.decision}"] += 1
    if predicted:
        counts[f"predicted.{predicted}"] += 1
        counts["warnings.secondAccounts"] += bool(row.shown["predicted"].get("second"))
    if links and row.decision == DecisionKind.NO_ACCOUNT and _is_likely(row):
        counts["warnings.probableAccounts"] -= 1
    if links or unlinks:
        chosen = account_chosen(row)
        changes = chosen.get("changes", {})
        told = [f"warnings.{code}" for code in chosen.get("warnings", ())]
        told += [f"impact.{name}" for name in (*changes, *(["accounts"] if changes else []))]
        told += ["warnings.nameKept"] if keeps_name(changes) else []
        counts.update(dict.fromkeys(told, links - unlinks))
    return counts


def _is_likely(row: PlanRow) -> bool:
    """Tell whether the plan warns that an account is probably this person's."""
    return any(one["score"] * 100 >= LIKELY_SCORE for one in row.suggestions)


def account_chosen(row: PlanRow) -> Mapping[str, Any]:
    """Return what a plan shows of the account of a row: of several, or of any, of the one that a review names."""
    review = row.review or {}
    if "version" in review:
        return review
    return next((one for one in row.shown.get("candidates", ()) if one["id"] == review.get("account")), row.shown)


def _read(tally: Row | None) -> Counter[str]:
    return Counter(load(str(tally.columns["counts"]))) if tally else Counter()


def _tally(before: Row | None, counts: Mapping[str, int], closed: bool) -> Operation:
    columns: dict[str, Value | None] = {
        "counts": dump({name: count for name, count in counts.items() if count}),
        "closed": closed,
    }
    return Replace(TALLY, columns, before.etag) if before else Insert(TALLY, columns)
