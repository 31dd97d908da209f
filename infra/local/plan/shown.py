"""What `make plan` prints: how far it is, what the plan decides, what to look at first, and where the results are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from infra.local.plan import results
from infra.local.plan.door import Door
from infra.local.plan.given import Given, in_words
from infra.local.plan.work import Made
from link_orchestrator.requests.pages.files import few, kind_of, remarks_about
from link_orchestrator.requests.pages.warned import ROWS, remedy_of
from link_orchestrator.warnings import NO_DOMAINS, OUTSIDE, TRUST
from link_orchestrator.words import DECISIONS, SHARED
from shared.directory.text import counted

# In a pipe there is no width to read, and 80 columns are too few for the table.
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else 120, highlight=False)


TOLD: Final = {**DECISIONS, **SHARED}
"""The decisions that are printed, in order."""


class Shown:
    """Shows how far a plan is, a bar a step (work.Progress)."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def begin(self, what: str) -> None:
        """Show a step that begins."""
        self._tasks[what] = self._bars.add_task(escape(what), total=None)

    def note(self, what: str, done: int, of: int) -> None:
        """Show how far a step is."""
        self._bars.update(self._tasks[what], completed=done, total=of or None)

    def end(self, what: str) -> None:
        """Show that a step has ended."""
        self._bars.update(self._tasks[what], total=1, completed=1)


@contextmanager
def showing() -> Iterator[Shown]:
    """Show the progress of what goes on in the block."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(40), TaskProgressColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars:
        yield Shown(bars)


async def find_examples(door: Door, made: Made) -> Mapping[str, str]:
    """Return by decision whom or what the first of its rows is about."""
    examples: dict[str, str] = {}
    for decision in TOLD:
        if made.run["counts"].get(decision):
            page = await door.call("GET", f"{made.path}/decisions?count=1&decision={decision}")
            examples[decision] = next(map(_name, page["decisions"]), "")
    return examples


def show_plan(made: Made, what: Given, examples: Mapping[str, str]) -> None:
    """Print what the plan decides and warns of."""
    for file, job in ((what.accounts, made.accounts), (what.identities, made.identities)):
        first, *more = _read(job, file.word)
        console.print(f"{file.path}: {first}", markup=False, soft_wrap=True)
        for line in more:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    table = Table("Decision", "Count", "What it means", "For example")
    table.columns[1].justify = "right"
    for decision, example in examples.items():
        bar, count = TOLD[decision], made.run["counts"][decision]
        table.add_row(f"{bar.label}\n[dim]{decision}[/]", f"{count:,}", bar.meaning, escape(example))
    console.print(table)
    console.print(f"{counted(made.run['links'], 'account')} would be linked. Nothing has changed anywhere.")
    if impact := made.run.get("impact", {}):
        changes = ", ".join(f"{name} ({count:,})" for name, count in impact.items() if name != "accounts")
        accounts = counted(impact.get("accounts", 0), "account")
        console.print(f"The first provisioning cycle would then change {accounts}: {changes}.")
    for warned in made.run.get("warnings", ()):
        told = f"[bold yellow]![/] [bold]{escape(warned['warning'])}[/]\n  {escape(_remedy(warned, what))}"
        console.print(told, soft_wrap=True)


def _remedy(warned: Mapping[str, Any], what: Given) -> str:
    """Return what to do about a warning here, where the policy is said to make and the rows are a file."""
    if warned["code"] in (NO_DOMAINS, OUTSIDE):
        known = [str(one) for one in what.policy.get("verifiedDomains", ()) if isinstance(one, str)]
        domains = ",".join([*known, *warned.get("values", {})])
        return f"If all of these are yours, plan again with DOMAINS={domains}"
    if warned["code"] == TRUST:
        return (
            f"If nobody can register in the application with an address that is not theirs, plan again with "
            f"TRUST_EMAILS=inVerifiedDomains. Otherwise review them: {ROWS}, where decision has review"
        )
    return remedy_of(warned, trial=True)


def _read(job: Mapping[str, Any], word: str) -> Iterator[str]:
    """Yield what was read of a file, which was given as a word."""
    counts, reading = job["counts"], job["reading"]
    used = counts.get("created", counts.get("read", 0))
    unused = counts.get("refused", 0) + counts.get("problems", 0)
    yield f"{counted(used, 'row')} used, {unused:,} not; {kind_of(reading)}"
    if "created" in counts and (names := reading.get("ignored", ())):
        yield f"Columns not read: {few(names)}."
    yield from remarks_about(reading)
    yield from (in_words(remark, word) for remark in reading.get("remarks", ()))
    if unused:
        yield f"Every row that was not used is in {results.PROBLEMS}."


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
