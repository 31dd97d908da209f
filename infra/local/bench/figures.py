"""A figure, its aim, and how both are shown. Each aim is written where its figure is measured.

Machines differ by more than three times, so a time is judged in yardsticks: multiples of what a minimal request costs
on the same machine in the same run (yardstick.py). Aims are written in units of time, for a machine where that is
REFERENCE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.table import Table

REFERENCE = 0.07
"""Milliseconds of CPU that the yardstick takes where the aims hold as they are written."""
_MILLISECONDS = {"µs CPU": 1e-3, "ms CPU": 1.0, "s": 1e3}
"""Milliseconds in each unit of time."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `aim` is the most it should be; `beside` holds further values by name, unit included.

    `yardstick` is what the yardstick took in the same part of the run, in milliseconds of CPU. An aim that comes from
    another figure of this run is `relative`, and holds on any machine as it is.
    """

    name: str
    measured: float
    unit: str
    aim: float | None = None
    accounts: int | None = None
    beside: Mapping[str, float] = field(default_factory=dict)
    yardstick: float | None = None
    relative: bool = False

    @property
    def yardsticks(self) -> float | None:
        """The measured time in yardsticks; None for what is no time."""
        return self._in_yardsticks(self.measured, self.yardstick)

    @property
    def aim_yardsticks(self) -> float | None:
        """The aim in yardsticks; None without an aim, and for what is no time."""
        if self.aim is None or self.yardstick is None:
            return None
        return self._in_yardsticks(self.aim, self.yardstick if self.relative else REFERENCE)

    def _in_yardsticks(self, time: float, yardstick: float | None) -> float | None:
        known = yardstick is not None and self.unit in _MILLISECONDS
        return time * _MILLISECONDS[self.unit] / yardstick if known and yardstick else None

    @property
    def verdict(self) -> str:
        """Whether the aim is met: "ok", "short", or "" without an aim. What rounds to the aim meets it."""
        if self.aim is None:
            return ""
        if self.yardsticks is not None and self.aim_yardsticks is not None:
            met = _rounded(self.yardsticks) <= _rounded(self.aim_yardsticks)
        else:
            met = _rounded(self.measured) <= self.aim
        return "ok" if met else "short"

    def to_json(self) -> dict[str, Any]:
        """Return the figure as the bench prints it; a figure that belongs to no size has no `accounts`."""
        beside = dict(self.beside) | ({} if self.yardsticks is None else {"yardsticks": self.yardsticks})
        known: dict[str, Any] = {
            "figure": self.name,
            "accounts": self.accounts,
            "measured": round(self.measured, 4),
            "unit": self.unit,
            "aim": self.aim,
            "aimYardsticks": None if self.aim_yardsticks is None else round(self.aim_yardsticks, 4),
            "verdict": self.verdict or None,
            "beside": {name: round(value, 4) for name, value in beside.items()} or None,
        }
        return {name: value for name, value in known.items() if value is not None}


def with_yardstick(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures of one part of the run, each with the yardstick that was measured among them."""
    found = next(figure.yardstick for figure in figures if figure.yardstick is not None)
    return [figure if figure.yardstick is not None else replace(figure, yardstick=found) for figure in figures]


def table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table, in their order, with a line between one size and the next."""
    caption = (
        "A yardstick is what an aiohttp handler with one SELECT costs. "
        f"Times are judged in yardsticks; aims in brackets are for a machine where it takes {REFERENCE} ms."
    )
    shown = Table("Figure", "Accounts", "Measured", "Yardsticks", "Aim", "", "Beside it", caption=caption)
    for column in (1, 2, 3, 4):
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
            "" if figure.yardsticks is None else _digits(figure.yardsticks),
            _aim(figure),
            f"[{'green' if figure.verdict == 'ok' else 'red'}]{figure.verdict}[/]" if figure.verdict else "",
            ", ".join(f"{name} {_digits(value)}" for name, value in figure.beside.items()),
        )
    return shown


def _aim(figure: Figure) -> str:
    if figure.aim is None:
        return ""
    if figure.aim_yardsticks is None:
        return f"≤ {figure.aim:g}"
    return f"≤ {_digits(figure.aim_yardsticks)} ({figure.aim:.4g} {figure.unit.removesuffix(' CPU')})"


def _digits(value: float) -> str:
    """Return a count as it is, a measured value with as many decimals as can be known."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{_decimals(value)}f}"


def _rounded(value: float) -> float:
    """Return the value as it is shown."""
    return round(value, _decimals(value))


def _decimals(value: float) -> int:
    return 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
