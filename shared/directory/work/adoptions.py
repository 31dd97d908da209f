"""Adoptions: an index of the accounts that a create over SCIM linked, so that they can be listed and undone together.

The row is written before the commit of its account. So it may lead to an account that was not linked, or is linked
otherwise by now: readers hold it against the account's link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.directory.keys import Key, Keys
from shared.directory.records.model import Account, Link
from shared.directory.work.buckets import ACCOUNT_CURSOR, read_page, read_place
from shared.tables.access import delete, scan_pages
from shared.tables.port import Delete, Row, Tables, Upsert


@dataclass(frozen=True, slots=True)
class Adoption:
    """That a create was about to link an account: to which identity, when, by whom."""

    account: str
    identity: str
    at: str
    by: str
    key: str = ""
    etag: str = ""

    def made(self, account: Account | None) -> bool:
        """Tell whether the account has the link that this is about."""
        link = account.link if account else None
        return link is not None and (link.identity, link.at, link.by) == (self.identity, self.at, self.by)


class Adoptions:
    """The adoptions of one directory."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._keys = keys

    async def note(self, account_id: str, link: Link) -> None:
        """Note that an account is about to be linked. Whoever is faster keeps a row of its own."""
        key = f"{account_id}_{self._keys.digest(Key('adoption', f'{link.identity} {link.at} {link.by}'))}"
        row = Upsert(key, {"identity": link.identity, "at": link.at, "by": link.by})
        await self._tables.commit(self._keys.adoptions(self._keys.bucket(account_id)), [row])

    async def scan(self, bucket: int) -> AsyncIterator[list[Adoption]]:
        """Yield the adoptions of a bucket's accounts in order of id, a page at a time."""
        async for page in scan_pages(self._tables, self._keys.adoptions(bucket)):
            yield [_read(row) for row in page.rows]

    async def page(self, cursor: str, count: int) -> tuple[list[Adoption], str | None]:
        """Return adoptions from behind a cursor ("" for the start), and the next cursor. Raises InvalidCursor."""
        buckets = self._keys.buckets
        place = read_place(cursor, ACCOUNT_CURSOR, buckets)
        found, more = await read_page(self._tables, self._keys.adoptions, buckets, place, count)
        return [_read(row) for _, row in found], more

    async def remove(self, bucket: int, some: list[Adoption]) -> int:
        """Remove adoptions of a bucket that were not noted anew since they were read, and return how many."""
        rows = [Delete(one.key, one.etag) for one in some]
        return await delete(self._tables, self._keys.adoptions(bucket), rows)


def _read(row: Row) -> Adoption:
    identity, at, by = (str(row.columns[name]) for name in ("identity", "at", "by"))
    return Adoption(row.key.partition("_")[0], identity, at, by, row.key, row.etag)
