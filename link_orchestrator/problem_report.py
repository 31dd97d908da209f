"""Problems written into the report of an import, an upload or a reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from link_orchestrator.problems import Problem
from shared.directory.directory import Directory
from shared.directory.work.plan import PlanRow

PROBLEM: Final = "problem"
"""The word that rows of a report have where rows of a plan have their decision."""


async def write_problems(
    directory: Directory, name: str, bucket: int, problems: Sequence[Problem], alike: Counter[str] | None = None
) -> None:
    """Write problems into a bucket of the report that has this name.

    `alike` counts problems by line and reason, so that no two of them share a key. Calls for one bucket share it.
    """
    alike = Counter() if alike is None else alike
    rows: list[PlanRow] = []
    for problem in problems:
        subject = f"{problem.line}:{problem.reason}"
        alike[subject] += 1  # a JSON file may be one line
        shown = {"line": problem.line, "reason": problem.reason, "remedy": problem.remedy}
        rows.append(PlanRow(PROBLEM, f"{subject}:{alike[subject]}", shown))
    await directory.plan(name).write(bucket, rows)
