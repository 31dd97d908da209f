"""The activity: who changed what through the administrator's API, newest first, for the policy's term of jobs.

A row for each request that changes something. It is written before the request does anything, and is open: not known
whether it was done. It is closed once that is known, and gone where the request was refused. So nothing is changed by a
person without a row, whatever dies or loses its answer. What a deed changed has a history of its own, besides.

A person's last name is kept beside it, by which histories, which know an object id alone, can say who it was. Both are
gone once the term is over.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.directory.errors import InvalidCursor
from shared.directory.keys import Key, Keys, behind, prefix_end
from shared.directory.text import from_the_end, timestamp
from shared.tables.access import delete, read_range, scan_pages
from shared.tables.port import Delete, Insert, Operation, Replace, Row, Tables, TablesError, Upsert, Value

DEED: Final = "d_"
"""Row key prefix of deeds: behind it a number that shrinks with time, so that the newest come first."""
MORE: Final = "m_"
"""Row key prefix of what else is known of a deed, behind it as behind DEED. A row of its own, since earlier versions of
the app refuse a deed with a column that they do not know."""
PERSON: Final = "p_"
"""Row key prefix of people's names, behind it a digest of what the history calls them."""
_SIGNED_IN: Final = re.compile(r"(?:^|:)(entra:[0-9a-f-]{36})$")
"""How the history names a person who signed in, or something that they switched on. A credential may be several
people's, and has no name."""
_CURSOR: Final = re.compile(r"[0-9]{16}[0-9a-f]{8}")

log = logging.getLogger("scimlink.directory")


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did: the operation, to the resource or job `about`, by whom; and the `job` that it began.

    `by` is what the history calls them, `person` their name; `at` is when they began. What is not known is "". `open`
    is whether nobody knows if it was done. `more` is what else its service noted of it: no name of anybody.
    """

    did: str
    by: str
    person: str = ""
    about: str = ""
    job: str = ""
    at: str = ""
    open: bool = False
    more: Mapping[str, Value | None] = field(default_factory=dict)


class Begun(NamedTuple):
    """A deed that is not closed yet, with the key and the version of its row."""

    deed: Deed
    key: str
    etag: str


class Activity:
    """The activity of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables, self._partition, self._keys, self._now = tables, keys.activity(), keys, now

    async def begin(self, deed: Deed) -> Begun:
        """Note that somebody is about to do something. Raises TablesError: then they must not do it."""
        deed = replace(deed, at=self._now(), open=True)
        key = f"{DEED}{from_the_end(deed.at)}{secrets.token_hex(4)}"
        # Without what the deed itself commits, the row would tell of nothing.
        (etag,) = await self._tables.commit_ahead(self._partition, [Insert(key, _columns(deed))])
        return Begun(deed, key, etag)

    async def close(self, begun: Begun, job: str = "", more: Mapping[str, str | int] | None = None) -> None:
        """Note that a deed was done, the job that it began, and what `more` there is to know of it.

        Where storage does not take that, it stays open.
        """
        deed = replace(begun.deed, job=job, open=False)
        operations = [Replace(begun.key, _columns(deed), begun.etag), *self._name_of(deed)]
        if more:
            operations.append(Insert(MORE + begun.key.removeprefix(DEED), {**more, "at": deed.at}))
        await self._settle(operations)

    async def withdraw(self, begun: Begun) -> None:
        """Forget a deed that was refused. Where storage does not take that, it stays open."""
        await self._settle([Delete(begun.key, begun.etag)])

    async def note(self, deed: Deed) -> None:
        """Note what was done by itself, as somebody had switched it on, where the job that tells of it has begun."""
        deed = replace(deed, at=self._now())
        key = f"{DEED}{from_the_end(deed.at)}{secrets.token_hex(4)}"
        await self._settle([Insert(key, _columns(deed)), *self._name_of(deed)])

    async def _settle(self, operations: Sequence[Operation]) -> None:
        try:
            await self._tables.commit(self._partition, operations)
        except TablesError as error:
            log.warning("the end of a deed was not noted: %s", type(error).__name__)

    def _name_of(self, deed: Deed) -> Iterator[Operation]:
        if deed.person and (who := _signed_in(deed.by)):
            yield Upsert(self._place_of(who), {"by": who, "person": deed.person, "at": deed.at})

    async def page(self, cursor: str, count: int) -> tuple[list[Deed], str | None]:
        """Return `count` deeds from behind a cursor ("" for the newest), and the next cursor. Raises InvalidCursor."""
        if cursor and not _CURSOR.fullmatch(cursor):
            raise InvalidCursor
        low = behind(DEED + cursor) if cursor else DEED
        rows = await read_range(self._tables, self._partition, low, prefix_end(DEED), top=count + 1)
        after = rows[count - 1].key.removeprefix(DEED) if len(rows) > count else None
        more = await self._more_of(rows[:count])
        return [replace(_read(row), more=more.get(row.key, {})) for row in rows[:count]], after

    async def _more_of(self, deeds: Sequence[Row]) -> dict[str, Mapping[str, Value | None]]:
        """Return what else is known of deeds that follow each other, by the keys of their rows."""
        if not deeds:
            return {}
        first, last = (MORE + row.key.removeprefix(DEED) for row in (deeds[0], deeds[-1]))
        rows = await read_range(self._tables, self._partition, first, prefix_end(last))
        return {DEED + row.key.removeprefix(MORE): _but_at(row.columns) for row in rows}

    async def people(self, bys: Iterable[str]) -> Mapping[str, str]:
        """Return the names of those people whom histories call so, as far as they are known."""
        asked = {by: who for by in bys if (who := _signed_in(by))}
        places = [(self._partition, self._place_of(who)) for who in dict.fromkeys(asked.values())]
        rows = await self._tables.get_many(places) if places else []
        names = {str(row.columns["by"]): str(row.columns["person"]) for row in rows if row}
        return {by: names[who] for by, who in asked.items() if who in names}

    async def sweep(self, days: int) -> int:
        """Remove what is older than the term, and return how many rows. Whoever does something stays named."""
        before = timestamp(datetime.fromisoformat(self._now()) - timedelta(days=days))
        removed = 0
        async for page in scan_pages(self._tables, self._partition, select=["at"]):
            old = [Delete(row.key, row.etag) for row in page.rows if str(row.columns["at"]) < before]
            removed += await delete(self._tables, self._partition, old)
        return removed

    def _place_of(self, by: str) -> str:
        return PERSON + self._keys.digest(Key("person", by))


def _signed_in(by: str) -> str:
    """Return the person whom the history means, "" for none."""
    found = _SIGNED_IN.search(by)
    return found[1] if found else ""


def _columns(deed: Deed) -> dict[str, Value | None]:
    return {name: value for name in Deed.__slots__ if name != "more" and (value := getattr(deed, name))}


def _but_at(columns: Mapping[str, Value | None]) -> Mapping[str, Value | None]:
    return {name: value for name, value in columns.items() if name != "at"}


def _read(row: Row) -> Deed:
    return Deed(**row.columns)  # type: ignore[arg-type]  # as _columns() wrote them
