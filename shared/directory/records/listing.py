"""Pages and scans over the resources of one type, in the one order that they have: by bucket, then by id.

A cursor goes on from a place, which stays right whatever is added or removed. Only the first resource of a bucket that
was empty may be missed, for as long as a count may lag (counts.py).

A `startIndex` finds its bucket, and the share of it, through the counts; within the share it skips by keys alone. Where
a page ended is remembered while the bucket's count row stays unchanged, so that the next page skips nothing.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import ClassVar, Generic, NamedTuple, TypeGuard, TypeVar

from shared import turns
from shared.directory.keys import COUNT, DIGEST, IDENTITY, LIVE, NAME, POINTER, RETIRED, behind, fold, prefix_end
from shared.directory.records.claims import GIVEN_UP
from shared.directory.records.counts import Count
from shared.directory.records.model import DIGEST_OF_FACTS, FACTS, Account, Link, Resource, Status
from shared.directory.records.resources import Resources
from shared.json_text import load
from shared.tables.access import in_waves, read_range, scan, scan_pages, together
from shared.tables.port import Row

R = TypeVar("R", bound=Resource)

REMEMBERED = 4096
"""Places that are kept in memory, of about 200 bytes each."""


class Place(NamedTuple):
    """Where to read on: a bucket, and the first row key to read there."""

    bucket: int
    key: str

    @classmethod
    def at(cls, position: tuple[int | str, ...]) -> Place:
        """Return the place that a cursor's position names; () is the first one."""
        return cls(int(position[0]), str(position[1])) if position else START


START = Place(0, LIVE)


@dataclass(frozen=True, slots=True)
class Glance:
    """What lists go by, of an account or a group: a tenth of what it takes to read one."""

    COLUMNS: ClassVar = ("status", "active", "protected", "link")

    key: str
    status: Status
    active: bool
    protected: bool
    link: Link | None

    @property
    def id(self) -> str:
        return self.key[len(LIVE) :]

    @property
    def retired(self) -> bool:
        """Whether SCIM deleted it while the application keeps it."""
        return self.key.startswith(RETIRED)

    @classmethod
    def from_row(cls, row: Row) -> Glance:
        """Return what a row with these columns shows."""
        get = row.columns.get
        link = get("link")
        read = Link.from_json(load(str(link))) if link else None
        return cls(row.key, Status(str(get("status"))), bool(get("active", True)), bool(get("protected")), read)


class Login(NamedTuple):
    """By what an account is called where people sign in, and its row's key."""

    key: str
    names: tuple[str, ...]
    """Its userName and e-mail addresses, folded."""

    @property
    def id(self) -> str:
        return self.key[len(LIVE) :]

    @classmethod
    def from_row(cls, row: Row) -> Login:
        """Return what a row with the columns `userName` and `emails` shows."""
        emails = row.columns.get("emails")
        return cls(row.key, tuple(map(fold, (str(row.columns["userName"]), *(load(str(emails)) if emails else ())))))


class Listing(Generic[R]):
    """Pages over the resources of one type in one directory."""

    def __init__(self, resources: Resources[R]) -> None:
        self._resources = resources
        self._places: OrderedDict[tuple[int, int, str], str] = OrderedDict()

    @property
    def buckets(self) -> int:
        """The number of buckets over which the resources lie."""
        return self._resources.keys.buckets

    async def total(self) -> int:
        """Return the number of live resources."""
        return sum(count.accounts for count in await self._resources.counts.all())

    async def page(self, start: int, count: int) -> tuple[int, list[R]]:
        """Return the total, and at most `count` resources from the `start`-th on; the first is 1 (RFC 7644 3.4.2.4)."""
        counts = await self._resources.counts.all()
        ends = list(accumulate(c.accounts for c in counts))
        spans: list[tuple[int, int, int]] = []
        low, high = start - 1, start - 1 + count
        for bucket, end in enumerate(ends):
            begin = end - counts[bucket].accounts
            if begin < high and low < end:
                offset = max(low - begin, 0)
                spans.append((bucket, offset, min(high, end) - begin - offset))
        turn = turns.Turns()
        found = await together(
            *(self._take(turn, bucket, offset, many, counts[bucket]) for bucket, offset, many in spans)
        )
        return ends[-1], list(chain.from_iterable(found))

    async def read_on(self, position: tuple[int | str, ...], count: int) -> tuple[list[R], Place | None]:
        """Return at most `count` resources from a place on, and the place behind them, None at the end."""
        place = Place.at(position)
        counts = await self._resources.counts.all()
        rows, turn = list[Row](), turns.Turns()
        for bucket in range(place.bucket, len(counts)):
            await turn.step()
            low = place.key if bucket == place.bucket else LIVE
            if counts[bucket].accounts:
                rows += await self._first(bucket, low, count - len(rows))
            if rows and len(rows) == count:
                return await self._read(rows), Place(bucket, behind(rows[-1].key))
        return await self._read(rows), None

    async def read_back(self, position: tuple[int | str, ...], count: int) -> list[R]:
        """Return the last `count` resources before a place. To find them, all keys before it in its bucket are read."""
        place = Place.at(position)
        counts = await self._resources.counts.all()
        found: list[R] = []
        for bucket in range(place.bucket, -1, -1):
            high = place.key if bucket == place.bucket else prefix_end(LIVE)
            if not counts[bucket].accounts or high <= LIVE or len(found) == count:
                continue
            keys: deque[str] = deque(maxlen=count - len(found))
            async for row in self._rows(bucket, LIVE, high, select=[]):
                keys.append(row.key)
            if keys:
                rows = await self._first(bucket, keys[0], len(keys))
                found = [self._resources.read(row) for row in rows] + found
        return found

    async def _read(self, rows: Sequence[Row]) -> list[R]:
        return await turns.take(self._resources.read(row) for row in rows)

    def place_of(self, resource: R) -> Place:
        """Return the place at which reading on begins with this resource."""
        return Place(self._resources.keys.bucket(resource.id), resource.key)

    async def scan(self, bucket: int) -> AsyncIterator[R]:
        """Yield a bucket's live resources with their documents."""
        async for row in self._rows(bucket, LIVE, prefix_end(LIVE)):
            yield self._resources.read(row)

    async def scan_glances(self, bucket: int, low: str = LIVE) -> AsyncIterator[Glance]:
        """Yield what a glance shows of a bucket's resources from a row key on, live or retired."""
        async for row in self._rows(bucket, low, COUNT, select=Glance.COLUMNS):
            yield Glance.from_row(row)

    async def scan_names(self, bucket: int) -> AsyncIterator[tuple[str, str]]:
        """Yield the digest and the resource id of each name claim in a bucket that was not given up."""
        async for row in self._rows(bucket, NAME, prefix_end(NAME)):
            if _stands(row):
                yield row.key[len(NAME) :], str(row.columns["id"])

    async def scan_pointers(self, bucket: int) -> AsyncIterator[tuple[str, str]]:
        """Yield the digest and the resource id of each pointer in a bucket that was not given up."""
        partition, digest = self._resources.keys.pointers(bucket), slice(len(POINTER), len(POINTER) + DIGEST)
        async for row in scan(self._resources.tables, partition, POINTER, prefix_end(POINTER), select=[GIVEN_UP]):
            if _stands(row):
                yield row.key[digest], row.key[digest.stop + 1 :]

    async def _take(self, turn: turns.Turns, bucket: int, offset: int, count: int, counted: Count) -> list[R]:
        low = await self._place(bucket, offset, counted)
        await turn.step()  # the rows of all buckets may be large
        rows = await self._first(bucket, low, count)
        if rows:
            self._remember(bucket, offset + len(rows), counted.etag, behind(rows[-1].key))
        return [self._resources.read(row) for row in rows]

    async def _first(self, bucket: int, low: str, count: int) -> list[Row]:
        """Return a bucket's first `count` rows of live resources from a key on."""
        return await read_range(self._resources.tables, self._partition(bucket), low, prefix_end(LIVE), top=count)

    async def _place(self, bucket: int, offset: int, counted: Count) -> str:
        """Return the first key to read for an offset within a bucket."""
        if offset == 0:
            return LIVE
        known = self._places.get((bucket, offset, counted.etag))
        if known is not None:
            return known
        ends = list(accumulate(counted.shares))
        share = bisect_right(ends, offset)
        key = low = f"{LIVE}{bucket:02x}{share:x}"
        left = offset - (ends[share] - counted.shares[share])
        async for row in self._rows(bucket, low, prefix_end(LIVE), select=[], top=left):
            key = behind(row.key)
        self._remember(bucket, offset, counted.etag, key)
        return key

    def _remember(self, bucket: int, offset: int, etag: str, key: str) -> None:
        self._places[bucket, offset, etag] = key
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)

    def _partition(self, bucket: int) -> str:
        return self._resources.keys.resources(bucket)

    def _rows(
        self, bucket: int, low: str, high: str, *, select: Sequence[str] | None = None, top: int = sys.maxsize
    ) -> AsyncIterator[Row]:
        return scan(self._resources.tables, self._partition(bucket), low, high, select=select, top=top)


def _stands(row: Row | None) -> TypeGuard[Row]:
    """Tell whether a claim or pointer is there and was not given up."""
    return row is not None and GIVEN_UP not in row.columns


class AccountListing(Listing[Account]):
    """The same for accounts, with what linking reads of them."""

    async def scan_digests(self, bucket: int) -> AsyncIterator[list[tuple[str, str]]]:
        """Yield the id and the digest of facts of each account of a bucket, live or retired, a page at a time.

        The digest is "" where an earlier version of the app wrote the account.
        """
        tables, partition = self._resources.tables, self._partition(bucket)
        async for page in scan_pages(tables, partition, LIVE, COUNT, select=[DIGEST_OF_FACTS]):
            yield [(row.key[len(LIVE) :], str(row.columns.get(DIGEST_OF_FACTS, ""))) for row in page.rows]

    async def scan_logins(self, bucket: int, low: str = LIVE) -> AsyncIterator[Login]:
        """Yield by what the accounts of a bucket sign in, from a row key on, live or retired."""
        async for row in self._rows(bucket, low, COUNT, select=("userName", "emails")):
            yield Login.from_row(row)

    async def may_be_linked(self) -> bool:
        """Tell whether any account may be linked: whether an identity is claimed, if only by an externalId."""
        tables, keys = self._resources.tables, self._resources.keys
        claims = (
            tables.query(keys.pointers(bucket), IDENTITY, prefix_end(IDENTITY), select=[], top=1)
            for bucket in range(keys.buckets)
        )
        return any(page.rows for page in await in_waves(claims))

    async def find_led(self, bucket: int, leads: Sequence[str]) -> list[set[str]]:
        """Return the ids to which each lead (Keys.lead), or the beginning of one, leads and was not given up."""
        tables = self._resources.tables
        names, pointers = self._partition(bucket), self._resources.keys.pointers(bucket)
        whole = [lead for lead in leads if lead.startswith(NAME) and len(lead) == len(NAME) + DIGEST]
        claims = await tables.get_many([(names, lead) for lead in whole])
        rows = dict(zip(whole, claims, strict=True))
        claimed = {lead: {str(row.columns["id"])} if _stands(row) else set() for lead, row in rows.items()}

        async def led(lead: str) -> set[str]:
            if lead in claimed:
                return claimed[lead]
            if lead.startswith(NAME):
                scanned = scan(tables, names, lead, prefix_end(lead))
                return {str(row.columns["id"]) async for row in scanned if _stands(row)}
            account_id = slice(len(POINTER) + DIGEST + 1, None)
            scanned = scan(tables, pointers, lead, prefix_end(lead), select=[GIVEN_UP])
            return {row.key[account_id] async for row in scanned if _stands(row)}

        return await together(*map(led, leads))

    async def scan_facts(self, bucket: int, low: str = LIVE, *, documents: bool = False) -> AsyncIterator[Account]:
        """Yield a bucket's accounts from a row key on, live or retired, without their `documents` if not asked for."""
        async for row in self._rows(bucket, low, COUNT, select=None if documents else FACTS):
            yield Account.from_row(row)
