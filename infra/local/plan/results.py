"""The folder with a plan's results: the report, the rows, and what could not be read."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from infra.local.plan.door import Door
from infra.local.plan.folders import remove
from infra.local.plan.given import ACCOUNTS, IDENTITIES, OUT, Trouble, in_words
from infra.local.plan.work import Made, Progress
from link_orchestrator.requests.report import MOST_ROWS, safe

REPORT, ROWS, DECISIONS, PROBLEMS = "report.html", "rows.csv", "decisions.xlsx", "problems.csv"
DEFAULT: Final = "report"
WHAT: Final = {
    REPORT: "the report, to read in a browser and to print",
    ROWS: "every decision with its reason",
    DECISIONS: "the same as a workbook, with columns to decide in",
    PROBLEMS: "the rows of your files that could not be used, and why",
}
"""What each file holds, in the order in which they are named."""
BOM: Final = "\ufeff"
"""By this mark Excel knows that a CSV is UTF-8."""


MOST_IN_WORKBOOK: Final = 50_000
"""Rows from which on there is no workbook: it takes a second for each five thousand of them."""


@contextmanager
def results_folder(wanted: str) -> Iterator[tuple[Path, Path]]:
    """Yield a folder to write into, and what it is called once the block has ended well; otherwise it is removed.

    Without a name it is called report, or report-2 where that is there. Raises Trouble for a name that is there.
    """
    out = Path(wanted).expanduser() if wanted else _free()
    if out.exists() or out.is_symlink():
        raise Trouble(f"{OUT}={out} is there already, and is not overwritten: name another, or remove it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as problem:
        raise Trouble(f"{OUT}={out} cannot be made: {problem.strerror}.") from None
    try:
        # The results name people: where they lie in a repository, git leaves them out.
        (folder / ".gitignore").write_text("*\n", "ascii")
        yield folder, out
        os.rename(folder, out)
    except OSError as problem:
        raise Trouble(f"{OUT}={out} cannot be written: {problem.strerror or problem}.") from None
    finally:
        remove(folder)


def _free() -> Path:
    names = (f"{DEFAULT}-{number}" if number > 1 else DEFAULT for number in count(1))
    return next(path for path in map(Path, names) if not path.exists() and not path.is_symlink())


async def write_results(door: Door, made: Made, folder: Path, progress: Progress) -> None:
    """Write the results of a plan. Raises OSError."""
    step = "writing the results"
    progress.begin(step)
    async for page in door.pages(f"{made.path}/report?format=html&trial=true"):
        (folder / REPORT).write_text(page, "utf-8")
    total, written = sum(made.run["counts"].values()), 0
    with (folder / ROWS).open("w", encoding="utf-8", newline="") as file:
        file.write(BOM)
        async for page in door.pages(f"{made.path}/report?format=csv&count={MOST_ROWS}"):
            file.write(page.removeprefix(BOM))
            written = min(written + MOST_ROWS, total)
            progress.note(step, written, total)
    if total <= MOST_IN_WORKBOOK:
        (folder / DECISIONS).write_bytes(await door.file(f"{made.path}/report?format=xlsx"))
    await _write_problems(door, made, folder / PROBLEMS)
    progress.end(step)


async def _write_problems(door: Door, made: Made, path: Path) -> None:
    """Write the rows that could not be used, by file and line, if there are any."""
    jobs = {
        ACCOUNTS: f"accounts/imports/{made.accounts['id']}",
        IDENTITIES: f"linking/identities/{made.identities['id']}",
    }
    rows = [(word.lower(), *row) for word, job in jobs.items() async for row in _problems(door, job, word)]
    if rows:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(BOM)
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(("file", "line", "reason", "remedy"))
            writer.writerows(sorted(rows))


async def _problems(door: Door, job: str, word: str) -> AsyncIterator[tuple[int, str, str]]:
    cursor: Any = ""
    while cursor is not None:
        page = await door.call("GET", f"{job}/problems?count=1000&cursor={cursor}")
        for problem in page["problems"]:
            yield problem["line"], safe(problem["reason"]), safe(in_words(problem["remedy"], word))
        cursor = page.get("cursor")
