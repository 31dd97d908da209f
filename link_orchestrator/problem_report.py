"""Problems written into the report of an import, an upload or a reading: counted all, and the first of each kept.

A file may have a million rows with the same mistake. Who corrects it needs their number and some of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from link_orchestrator.problems import Problem, Tally
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.work.plan import OPEN, PlanRow

PROBLEM: Final = "problem"
"""The word that rows of a report have where rows of a plan have their decision."""
KEPT: Final = 1_000
"""Rows of each problem that are kept of those that reading a file finds, the first by line."""
KEPT_IN_BUCKET: Final = 100
"""Rows of each problem that are kept of those that a pass finds in a bucket, or a reading in a batch."""
BY_REASON: Final = "byReason"
"""The answer's field that holds how many rows have each problem."""
LINES_IN_BUCKET: Final = 4_000
"""Lines whose problems are in one bucket, so that they are listed in the order of their lines."""
_TALLY: Final = OPEN + "tally"
"""The word of rows that count problems: behind all decisions, so that no page has them."""


class ProblemReport:
    """What one source, such as a file or a bucket, adds to the report of this name. A source that comes again replaces.

    `most` rows of each problem are kept, those that come first. Unless said otherwise, the source is a file.
    """

    def __init__(self, directory: Directory, name: str, source: str = "file", most: int = KEPT) -> None:
        self._directory = directory
        self._name = name
        self._source = source
        self._most = most
        self._tally = Tally()
        self._alike = Counter[tuple[int, str]]()

    async def add(self, problems: Sequence[Problem]) -> list[Problem]:
        """Count problems, keep those that are among the first of their kind, and return these."""
        kept = [problem for problem in problems if self._tally.add(problem).count <= self._most]
        rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
        for problem in kept:
            alike = problem.line, problem.reason
            self._alike[alike] += 1  # a JSON file may be one line
            subject = f"{problem.line}:{problem.reason}:{self._alike[alike]}:{self._source}"
            bucket = min(problem.line // LINES_IN_BUCKET, self._directory.keys.buckets - 1)
            rows[bucket].append(PlanRow(PROBLEM, subject, problem.to_json(), self._leads(problem), place=problem.line))
        for bucket, some in rows.items():
            await self._directory.plan(self._name).write(bucket, some)
        return kept

    def _leads(self, problem: Problem) -> str:
        """Return how keys begin that lead to an account which has what the row says (unread.py), "" for none."""
        kinds = ("userName", "email")
        return " ".join(self._directory.keys.lead(Key(kind, name)) for name in problem.names for kind in kinds)

    def counts(self) -> list[dict[str, Any]]:
        """Return how many problems of each kind were added, and how many of them are listed."""
        return [
            {"reason": one.reason, "remedy": one.remedy, "count": one.count, "listed": min(one.count, self._most)}
            for one in self._tally.groups()
        ]

    async def close(self, counts: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Write how many there are; `counts`, where they are known better than by what was added."""
        if counts := counts or self.counts():
            row = PlanRow(_TALLY, self._source, {BY_REASON: [*counts]})
            await self._directory.plan(self._name).write(0, [row])


async def count_by_reason(directory: Directory, name: str) -> list[dict[str, Any]]:
    """Return how many rows of a report have each problem, and how many of them are listed, the most frequent first."""
    all_, listed = Tally(), Counter[int]()
    async for rows in directory.plan(name).decided(0, _TALLY):
        for one in (one for row in rows for one in row.shown[BY_REASON]):
            group = all_.add(Problem(0, one["reason"], one["remedy"]), one["count"])
            listed[id(group)] += one["listed"]
    groups = sorted(all_.groups(), key=lambda group: -group.count)
    return [
        {"reason": one.reason, "remedy": one.remedy, "count": one.count, "listed": listed[id(one)]} for one in groups
    ]
