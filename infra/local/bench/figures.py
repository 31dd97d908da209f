"""A figure, its aim, and how figures are shown. The aims stand where each figure is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `aim` is the most it should be; `beside` holds further values by name, unit included."""

    name: str
    measured: float
    unit: str
    aim: float | None = None
    accounts: int | None = None
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the aim is met: "ok", "short", or "" without an aim. What rounds to the aim meets it."""
        if self.aim is None:
            return ""
        return "ok" if float(_digits(self.measured)) <= self.aim else "short"

    def to_json(self) -> dict[str, Any]:
        """Return the figure as the bench prints it; a figure that belongs to no size has no `accounts`."""
        known: dict[str, Any] = {
            "figure": self.name,
            "accounts": self.accounts,
            "measured": round(self.measured, 4),
            "unit": self.unit,
            "aim": self.aim,
            "verdict": self.verdict or None,
            "beside": {name: round(value, 4) for name, value in self.beside.items()} or None,
        }
        return {name: value for name, value in known.items() if value is not None}


def table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table, in their order, with a line between one size and the next."""
    shown = Table("Figure", "Accounts", "Measured", "Aim", "", "Beside it")
    for column in (1, 2, 3):
        shown.columns[column].justify = "right"
    before = figures[0].accounts if figures else None
    for figure in figures:
        if figure.accounts != before:
            shown.add_section()
        before = figure.accounts
        shown.add_row(
            figure.name,
            "" if figure.accounts is None else f"{figure.accounts:,}",
            f"{_digits(figure.measured)} {figure.unit}",
            "" if figure.aim is None else f"≤ {figure.aim:g}",
            f"[{'green' if figure.verdict == 'ok' else 'red'}]{figure.verdict}[/]" if figure.verdict else "",
            ", ".join(f"{name} {_digits(value)}" for name, value in figure.beside.items()),
        )
    return shown


def _digits(value: float) -> str:
    """Return a count as it is, a measured value with as many decimals as can be known."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
