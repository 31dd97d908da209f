"""Object ids that come several times in an upload, in one part or in several: which row is the person's?

Of each row a record of 20 bytes is kept: digests of the object id and of the row, and its line. They are compared
bucket by bucket, so that a part of a million rows takes 20 MB. Rows that say the same are one, and are told. Where two
contradict each other nobody can tell which is right, so neither is used: a row that voids the id is staged
(identity.void).
"""

from __future__ import annotations

import struct
from base64 import b85decode, b85encode
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from link_orchestrator.problems import Problem, said_before
from link_orchestrator.staged import IDS
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.matching.identity import void
from shared.directory.work.staging import parse
from shared.tables.access import in_parts

RECORDS: Final = 4_000
"""Records in one staged line, which fits a row."""
MOST_NAMED: Final = 5
"""Other rows that a problem names at most, those of the same part first."""
_RECORD: Final = struct.Struct(">8s8sI")
_REMEDY: Final = "Export the users again, each of them once."


class _Seen(NamedTuple):
    """Where a row stands: its part's upload, and its line there."""

    part: str
    line: int


class ObjectIds:
    """The object ids of one part of an upload, with those of the parts before it."""

    def __init__(self, directory: Directory, upload: str, former: Sequence[str]) -> None:
        self._directory = directory
        self._upload = upload
        self._former = former
        self._records: defaultdict[int, bytearray] = defaultdict(bytearray)

    def add(self, digest: str, text: str, line: int) -> None:
        """Note a row by the digest of its object id (Keys.digest), the text that is staged of it, and its line."""
        content = bytes.fromhex(self._directory.keys.fingerprint(text))
        record = _RECORD.pack(bytes.fromhex(digest[:16]), content, min(line, 0xFFFFFFFF))
        self._records[self._directory.keys.bucket(digest)] += record

    async def settle(self) -> AsyncIterator[tuple[int, list[Problem], list[Problem]]]:
        """Void the ids whose rows contradict each other; yield the part's own rows of these, and those said before.

        They come a bucket at a time, with its number, in the order of their lines. The part is staged by now. Its
        records are kept for the parts to come.
        """
        writer = self._directory.stage(self._upload + IDS).writer()
        voids = self._directory.stage(self._upload).writer("void")
        for bucket, records in sorted(self._records.items()):
            digests, repeated = await self._compare(bucket)
            if digests or repeated:
                found = await self._rows(bucket, digests) if digests else {}
                problems = (self._problem(row, rows) for rows in found.values() for row in rows if self._is_own(row))
                yield bucket, sorted(problems, key=lambda problem: problem.line), repeated
            if digests:
                for object_id in await self._ids(bucket, digests):
                    await voids.add(bucket, void(object_id))
            for part in in_parts(records, RECORDS * _RECORD.size):
                await writer.add_line(bucket, b85encode(bytes(part)).decode())
        await voids.close()
        await writer.close()

    async def _compare(self, bucket: int) -> tuple[set[bytes], list[Problem]]:
        """Return the digests of object ids of which two rows say different things, one of them of this part.

        Of the others return the part's own rows that say what a row before them said.
        """
        own = {digest for digest, *_ in _RECORD.iter_unpack(self._records[bucket])}
        said: dict[bytes, tuple[bytes, _Seen]] = {}
        contradicted: set[bytes] = set()
        repeated: list[tuple[bytes, int]] = []
        async for part, records in self._former_records(bucket):
            for digest, content, line in _RECORD.iter_unpack(records):
                if digest in own and said.setdefault(digest, (content, _Seen(part, line)))[0] != content:
                    contradicted.add(digest)
        for digest, content, line in _RECORD.iter_unpack(self._records[bucket]):
            if digest not in said:
                said[digest] = content, _Seen(self._upload, line)
            elif said[digest][0] == content:
                repeated.append((digest, line))
            else:
                contradicted.add(digest)
        again = [(line, said[digest][1]) for digest, line in repeated if digest not in contradicted]
        return contradicted, [said_before(line, self._place(first)) for line, first in again]

    async def _rows(self, bucket: int, digests: set[bytes]) -> dict[bytes, list[_Seen]]:
        """Return the rows of some object ids of a bucket, by the digests of these."""
        rows: defaultdict[bytes, list[_Seen]] = defaultdict(list)
        read: list[tuple[str, bytes]] = [(self._upload, bytes(self._records[bucket]))]
        read += [part async for part in self._former_records(bucket)]
        for part, records in read:
            for digest, _, line in _RECORD.iter_unpack(records):
                if digest in digests:
                    rows[digest].append(_Seen(part, line))
        return rows

    async def _former_records(self, bucket: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the records of the parts before, each with its part."""
        for part in self._former:
            async for lines in self._directory.stage(part + IDS).lines(bucket):
                for line in lines:
                    yield part, b85decode(line)

    async def _ids(self, bucket: int, digests: set[bytes]) -> list[str]:
        """Return the object ids of some digests, as the part has them."""
        found: dict[bytes, str] = {}
        async for lines in self._directory.stage(self._upload).lines(bucket):
            for item in parse(lines):
                digest = bytes.fromhex(self._directory.keys.digest(Key("identity", item["id"]))[:16])
                if digest in digests:
                    found[digest] = item["id"]
        return list(found.values())

    def _is_own(self, row: _Seen) -> bool:
        return row.part == self._upload

    def _place(self, row: _Seen) -> str:
        return f"line {row.line}" if self._is_own(row) else f"line {row.line} of the part {row.part}"

    def _problem(self, row: _Seen, rows: Sequence[_Seen]) -> Problem:
        named = islice((self._place(other) for other in rows if other != row), MOST_NAMED)
        where = ", ".join(named) or f"line {row.line} again"
        return Problem(
            row.line, f"The object id is that of {where}, too, with other values: none of them is used.", _REMEDY
        )
