"""Tries every fault of the lists, or those that are named: `make mutants ARGS=claims`. Red where one survives."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.planting import LISTS, ROOT, Outcome, Verdict, choose, copies, read_mutants

STYLES = {Verdict.CAUGHT: "green", Verdict.SURVIVED: "red", Verdict.LOST: "yellow", Verdict.BROKEN: "yellow"}
LINES = 40
"""Lines shown of what pytest says of a fault that is tried alone."""


def main(names: Sequence[str], root: Path = ROOT, lists: Path = LISTS, console: Console | None = None) -> int:
    """Try the faults of these names or lists, or all; return the exit code."""
    console, began = console or Console(highlight=False), time.monotonic()
    try:
        mutants = choose(read_mutants(lists), names)
    except ValueError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    with copies(root) as field:
        console.print("First the tests of all these faults on the tree as it is…")
        if red := field.fails_without(mutants):
            console.print(red, markup=False)
            console.print("These tests fail without any fault: nothing can be told until they pass.", style="red")
            return 1
        outcomes: list[Outcome] = []
        for outcome in field.try_each(mutants):
            outcomes.append(outcome)
            place, style = f"{len(outcomes):{len(str(len(mutants)))}}/{len(mutants)}", STYLES[outcome.verdict]
            told = f"{place}  {outcome.seconds:5.1f} s  [{style}]{outcome.verdict:8}[/]  {outcome.mutant.name}"
            console.print(told, soft_wrap=True)
    if len(outcomes) == 1:
        console.print("\n".join(outcomes[0].said.splitlines()[-LINES:]), markup=False)
    _tell(console, sorted(outcomes, key=lambda one: one.mutant.name))
    caught = sum(one.verdict is Verdict.CAUGHT for one in outcomes)
    seconds = time.monotonic() - began
    console.print(f"Caught {caught} of {len(outcomes)}, in {seconds:.0f} s on {field.cores} cores.")
    return 0 if caught == len(outcomes) else 1


def _tell(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Show what was not caught, and the sums of each list."""
    for one in outcomes:
        if one.verdict is not Verdict.CAUGHT:
            console.print(f"\n{one.mutant.name} {one.verdict}", style=STYLES[one.verdict])
            why = one.said if one.verdict is not Verdict.SURVIVED else "Every test passes with it."
            told = [why.strip(), f"If it were real: {one.mutant.harm}", one.mutant.file, *one.mutant.tests]
            console.print("\n".join(f"  {line}" for line in told), markup=False, soft_wrap=True)
    table = Table()
    table.add_column("Faults")
    for verdict in Verdict:
        table.add_column(verdict.value.capitalize(), justify="right")
    table.add_column("Seconds", justify="right")
    for room in dict.fromkeys(one.mutant.room for one in outcomes):
        here = [one for one in outcomes if one.mutant.room == room]
        sums = [sum(one.verdict is verdict for one in here) for verdict in Verdict]
        table.add_row(room, *(str(n or "") for n in sums), f"{sum(one.seconds for one in here):.0f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
