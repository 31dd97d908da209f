"""Problems written into the report of an import, an upload or a reading."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from link_orchestrator.problems import Problem
from shared.directory.directory import Directory
from shared.directory.work.plan import PlanRow

PROBLEM: Final = "problem"
"""The word that rows of a report have where rows of a plan have their decision."""


LINES_IN_BUCKET: Final = 4_000
"""Lines whose problems are in one bucket, so that they are listed in the order of their lines."""


async def write_problems(
    directory: Directory, name: str, bucket: int, problems: Sequence[Problem], alike: Counter[str] | None = None
) -> None:
    """Write problems that were found in a bucket into the report that has this name, where their lines are.

    `alike` counts problems by line and reason, so that no two of them share a key. Calls for one bucket share it.
    """
    alike = Counter() if alike is None else alike
    rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
    for problem in problems:
        subject = f"{problem.line}:{problem.reason}"
        alike[subject] += 1  # a JSON file may be one line
        shown = {"line": problem.line, "reason": problem.reason, "remedy": problem.remedy}
        row = PlanRow(PROBLEM, f"{subject}:{alike[subject]}:{bucket}", shown, place=problem.line)
        rows[min(problem.line // LINES_IN_BUCKET, directory.keys.buckets - 1)].append(row)
    for place, some in rows.items():
        await directory.plan(name).write(place, some)
