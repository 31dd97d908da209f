"""What `make plan` prints: how far it is, what the plan decides, what to look at first, and where the results are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from infra.local.plan import results
from infra.local.plan.door import Door
from infra.local.plan.given import Given
from infra.local.plan.work import Made
from link_orchestrator.requests.pages.words import DECISIONS, SHARED
from shared.directory.text import counted

# In a pipe there is no width to read, and 80 columns are too few for the table.
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else 120, highlight=False)


class Shown:
    """Shows how far a plan is, a bar a step (work.Progress)."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: Any = None

    def begin(self, what: str) -> None:
        """Begin the next step."""
        self.end()
        self._task = self._bars.add_task(escape(what), total=None)

    def note(self, done: int, of: int) -> None:
        """Show how far the step is."""
        self._bars.update(self._task, completed=done, total=of or None)

    def end(self) -> None:
        """Show that the step has ended."""
        if self._task is not None:
            self._bars.update(self._task, total=1, completed=1)


@contextmanager
def showing() -> Iterator[Shown]:
    """Show the progress of what goes on in the block."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(40), TaskProgressColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars:
        shown = Shown(bars)
        yield shown
        shown.end()


async def show_plan(door: Door, made: Made, what: Given) -> None:
    """Print what the plan decides and warns of."""
    for file, job in ((what.accounts, made.accounts), (what.identities, made.identities)):
        console.print(f"{escape(str(file.path))}: {_read(job)}", soft_wrap=True)
    console.print(await _table(door, made))
    console.print(f"{counted(made.run['links'], 'account')} would be linked. Nothing has changed anywhere.")
    for warned in made.run.get("warnings", ()):
        console.print(f"[bold yellow]![/] [bold]{escape(warned['warning'])}[/]\n  {escape(warned['remedy'])}")


def _read(job: Mapping[str, Any]) -> str:
    counts = job["counts"]
    used = counts.get("created", counts.get("read", 0))
    unused = counts.get("refused", 0) + counts.get("problems", 0)
    return f"{counted(used, 'row')} used, {unused:,} not" + (f", see {results.PROBLEMS}" if unused else "")


async def _table(door: Door, made: Made) -> Table:
    table = Table("Decision", "Count", "What it means", "For example")
    table.columns[1].justify = "right"
    counts = made.run["counts"]
    for decision, bar in {**DECISIONS, **SHARED}.items():
        if number := counts.get(decision):
            page = await door.call("GET", f"{made.path}/decisions?count=1&decision={decision}")
            example = next(map(_name, page["decisions"]), "")
            table.add_row(f"{bar.label}\n[dim]{decision}[/]", f"{number:,}", bar.meaning, escape(example))
    return table


def _name(row: Mapping[str, Any]) -> str:
    """Return who or what a row is about."""
    identity, account = row.get("identity"), row.get("account")
    if identity:
        return str(identity["userPrincipalName"])
    return str(account["userName"] if account else row.get("value", {}).get("value", ""))


def show_results(out: Path) -> None:
    """Print where the results are, and that nothing else is left."""
    console.print(f"\nThe results are in {escape(str(out))}, which only you can read, since they name people:")
    for name, what in results.WHAT.items():
        if (out / name).exists():
            console.print(f"  {escape(str(out / name))}  [dim]{what}[/]", soft_wrap=True)
    console.print("Nothing left this machine, and nothing else of your files was kept.")


def show_trouble(text: str) -> None:
    """Print why there is no plan."""
    errors.print(f"make plan: {text}", markup=False, soft_wrap=True)
