"""What the slices of a run's passes found that a person should know of: whom it is about, beside how many.

Counts are numbers (jobs.py). A finding has a few examples, the most common of the values that it is about, and a sum of
fingerprints by which a later run knows whether it is about the same people. Each slice writes one row, and a slice that
runs again replaces it; the rows go once the run has ended.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables.access import delete, scan, scan_pages
from shared.tables.port import ANY, Delete, Replace, Tables, Upsert, VersionConflict

FOUND, ACKNOWLEDGED = "w_", "acknowledged"
"""Row key prefix of what slices found, and the key of the row with the warnings that were acknowledged."""
EXAMPLES: Final = 3
"""Examples of a finding."""
VALUES: Final = 200
"""Values that a slice keeps of a finding, the most common ones."""
_MODULUS: Final = 2**64


@dataclass(slots=True)
class Finding:
    """How many rows there are, the sum of their fingerprints, a few of them, and how many by value.

    Of one that is `whole` every value is kept: they are short, and no more than a policy has entries.
    """

    count: int = 0
    sum: int = 0
    examples: list[Mapping[str, Any]] = field(default_factory=list)
    values: Counter[str] = field(default_factory=Counter)
    whole: bool = False

    def add(self, fingerprint: str, example: Mapping[str, Any], value: str = "") -> None:
        """Add a row, by the hexadecimal fingerprint of what is said about it."""
        self.count += 1
        self.sum = (self.sum + int(fingerprint, 16)) % _MODULUS
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)
        if value:
            self.values[value] += 1

    def join(self, other: Finding) -> None:
        """Add what another slice found."""
        self.count += other.count
        self.sum = (self.sum + other.sum) % _MODULUS
        self.examples = [*self.examples, *other.examples][:EXAMPLES]
        self.values.update(other.values)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as its row keeps it."""
        values = dict(self.values.most_common(None if self.whole else VALUES))
        return {"count": self.count, "sum": f"{self.sum:016x}", "examples": self.examples, "values": values}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Finding:
        """Return the finding that `to_json` wrote."""
        values = Counter(document["values"])
        return cls(document["count"], int(document["sum"], 16), list(document["examples"]), values)


class Findings:
    """The findings of the runs of one directory."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._partition = keys.jobs()

    async def write(self, job_id: str, slice_name: str, found: Mapping[str, Finding]) -> None:
        """Store what a slice found, by code, in the place of what it found before."""
        columns = split_text("found", dump({code: finding.to_json() for code, finding in found.items()}))
        await self._tables.commit(self._partition, [Upsert(f"{FOUND}{job_id}_{slice_name}", columns)])

    async def total(self, job_id: str) -> dict[str, Finding]:
        """Return what all slices found, by code."""
        low, total = f"{FOUND}{job_id}_", dict[str, Finding]()
        async for row in scan(self._tables, self._partition, low, prefix_end(low)):
            for code, found in load(join_text("found", row.columns)).items():
                total.setdefault(code, Finding()).join(Finding.from_json(found))
        return total

    async def runs(self) -> set[str]:
        """Return the ids of the runs of which something is kept."""
        keys = [row.key async for row in scan(self._tables, self._partition, FOUND, prefix_end(FOUND), select=[])]
        return {key.removeprefix(FOUND).partition("_")[0] for key in keys}

    async def clear(self, job_id: str) -> None:
        """Remove the findings of a run."""
        low = f"{FOUND}{job_id}_"
        async for page in scan_pages(self._tables, self._partition, low, prefix_end(low), select=[]):
            await delete(self._tables, self._partition, [Delete(row.key, ANY) for row in page.rows])

    async def acknowledged(self) -> dict[str, Mapping[str, str]]:
        """Return, by code, the warning that was acknowledged last: its digest, by whom, when, and in which run."""
        row = await self._tables.get(self._partition, ACKNOWLEDGED)
        return load(join_text("codes", row.columns)) if row else {}

    async def acknowledge(self, codes: Mapping[str, Mapping[str, str]]) -> None:
        """Remember that warnings were acknowledged, each in the place of the one of its code before.

        Of two at the same time one may be lost: then a person is asked again.
        """
        if codes:
            columns = split_text("codes", dump({**await self.acknowledged(), **codes}))
            await self._tables.commit(self._partition, [Upsert(ACKNOWLEDGED, columns)])

    async def forget_persons(self, before: str) -> int:
        """Remove the names of the persons who acknowledged before that time, and return how many warnings had one."""
        row = await self._tables.get(self._partition, ACKNOWLEDGED)
        known: dict[str, Mapping[str, str]] = load(join_text("codes", row.columns)) if row else {}
        named = [code for code, one in known.items() if "person" in one and one["at"] < before]
        if row and named:
            columns = split_text("codes", dump(known | {code: _nameless(known[code]) for code in named}))
            with contextlib.suppress(VersionConflict):  # somebody acknowledges just now: the next night does it
                await self._tables.commit(self._partition, [Replace(ACKNOWLEDGED, columns, row.etag)])
        return len(named)


def _nameless(acknowledgement: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in acknowledgement.items() if name != "person"}
