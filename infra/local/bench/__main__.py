"""`python -m infra.local.bench`: measure, print a table, and as the last line the same figures as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infra.local.bench import engine, groups, jobs, linking, traffic, trips
from infra.local.bench.figures import REFERENCE, Figure, table, with_yardstick
from infra.local.bench.traffic import QUICK, Effort
from infra.local.demo_data import generate, write

SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (200, 1_000)
LINKED, QUICK_LINKED = 10_000, 100
"""Accounts of the directory in which the requests of a linking run are counted."""
GROWTH = 25
"""Per cent by which a request may cost more in the largest directory than in the smallest one."""

progress = Console(stderr=True, highlight=False)


def main() -> None:
    """Measure the figures that this project is held to. A wrong answer ends it; a slow one never does."""
    arguments = _parser().parse_args()
    if sys.platform != "linux":
        sys.exit("The bench needs Linux: it reads a server's CPU time and memory from /proc.")
    sizes = sorted(arguments.sizes or (QUICK_SIZES if arguments.quick else SIZES))
    figures = asyncio.run(measure(sizes, QUICK if arguments.quick else Effort()))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table(figures))
    text = json.dumps(
        {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "referenceYardstickMs": REFERENCE,
            "figures": [figure.to_json() for figure in figures],
        }
    )
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.bench", description=main.__doc__)
    parser.add_argument("--sizes", type=_size, nargs="+", metavar="N", help=f"accounts; {SIZES} unless given")
    parser.add_argument("--quick", action="store_true", help="small sizes and few requests, in half a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON to this file, too")
    return parser


def _size(text: str) -> int:
    size = int(text)
    if not traffic.PAGE <= size <= 1_000_000:
        raise argparse.ArgumentTypeError(f"a size is a number from {traffic.PAGE} to 1000000")
    return size


async def measure(sizes: Sequence[int], effort: Effort) -> list[Figure]:
    """Return every figure; the sizes ascend."""
    progress.print("engine, round trips…")
    with tempfile.TemporaryDirectory() as name:
        figures = [*engine.measure(), *await trips.measure(Path(name))]
    progress.print("groups…")
    with tempfile.TemporaryDirectory() as name:
        figures += await groups.measure(Path(name), effort)
    progress.print("linking…")
    with tempfile.TemporaryDirectory() as name:
        figures += await linking.measure(Path(name), QUICK_LINKED if effort is QUICK else LINKED)
    figures = with_yardstick(figures)
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            figures += with_yardstick(await _at(size, Path(name), effort))
    return figures + growth(figures)


async def _at(size: int, folder: Path, effort: Effort) -> list[Figure]:
    """Return the figures of a directory of this many accounts, of whom a run links those with an identity.

    In order: the import, a run, two later runs, requests over the result, and the undo of the first run.
    """
    write(generate(size, size * 11 // 10), folder)
    progress.print(f"{size:,} accounts: import…")
    figures = await jobs.import_accounts(folder, size)
    progress.print(f"{size:,} accounts: plan and apply…")
    linked = await jobs.link(folder, size)
    figures += linked
    whole = linked[0].measured - linked[0].beside["uploaded s"]
    progress.print(f"{size:,} accounts: run again…")
    figures += await jobs.link_again(folder, size, whole)
    progress.print(f"{size:,} accounts: requests…")
    figures += await traffic.measure(folder, size, effort)
    progress.print(f"{size:,} accounts: undo…")
    return figures + await jobs.undo(folder, size)


def growth(figures: Sequence[Figure]) -> list[Figure]:
    """Return how a request's cost grows from the smallest size to the largest, and a job's between the last two."""
    by_name: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.accounts is not None:
            by_name.setdefault(figure.name, []).append(figure)
    grown = []
    for name, found in by_name.items():
        if len(found) > 1 and found[0].unit == "ms CPU" and found[0].aim is not None:
            costs = [figure.measured for figure in found]
            # The machine may have been busier at one size than at another; the yardstick was measured at both.
            beside = {"in yardsticks %": _percent([figure.yardsticks or 0.0 for figure in found])}
            grown.append(Figure(f"{name}: {_span(found)}", _percent(costs), "%", GROWTH, beside=beside))
        if len(found) > 1 and "CPU s" in found[0].beside:
            costs = [figure.beside["CPU s"] / (figure.accounts or 1) for figure in found[-2:]]
            grown.append(Figure(f"{name}, CPU an account: {_span(found[-2:])}", _percent(costs), "%", GROWTH))
    return grown


def _percent(values: Sequence[float]) -> float:
    return 100 * (values[-1] / values[0] - 1)


def _span(found: Sequence[Figure]) -> str:
    return f"{found[0].accounts:,} to {found[-1].accounts:,}"


if __name__ == "__main__":
    main()
