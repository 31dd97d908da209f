"""A row of a file, or an object of a source, that could not be used: where it is, why, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.directory.directory import Directory
from shared.directory.work.plan import PlanRow

PROBLEM: Final = "problem"
"""What a report's rows of problems have in the place of a decision."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that could not be used. `line` is where it begins, from 1. The texts name columns, never a row's values."""

    line: int
    reason: str
    remedy: str


async def write_problems(
    directory: Directory, name: str, bucket: int, problems: Sequence[Problem], alike: Counter[str] | None = None
) -> None:
    """Put problems into a bucket of the report that has this name: that of an import, an upload or a reading.

    `alike` counts problems of one line and reason; hand it on where several calls write to one bucket.
    """
    alike = Counter() if alike is None else alike
    rows: list[PlanRow] = []
    for problem in problems:
        subject = f"{problem.line}:{problem.reason}"
        alike[subject] += 1  # a JSON file may be one line
        shown = {"line": problem.line, "reason": problem.reason, "remedy": problem.remedy}
        rows.append(PlanRow(PROBLEM, f"{subject}:{alike[subject]}", shown))
    await directory.plan(name).write(bucket, rows)
