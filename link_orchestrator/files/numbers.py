"""Numbers that lost digits in a spreadsheet, as only the other numbers of their column show.

A spreadsheet takes 00123 for the number 123. Where others of a column have zeros that fill them up to one width, a
shorter number has lost its own. Numbers that just differ in length say nothing. Of a number of more than 15 digits it
keeps 15, and writes zeros for the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from link_orchestrator.problems import LINES

MOST_SHORTER: Final = 10
"""Shorter numbers for each one with zeros before it, up to which these show what the column is like."""
SURELY_PADDED: Final = 0.9
"""Share of the numbers with zeros before them that must have one width."""
EXACT_DIGITS: Final = 15
"""Digits of a number that a spreadsheet keeps."""


@dataclass(slots=True)
class FirstLines:
    """How many lines have something in common, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """Count a line."""
        self.count += 1
        if len(self.first) < LINES:
            self.first.append(line)


class ColumnNumbers:
    """What the numbers of one column look like."""

    def __init__(self) -> None:
        self._padded = Counter[int]()
        self._plain: defaultdict[int, FirstLines] = defaultdict(FirstLines)
        self._long = 0
        self._rounded = FirstLines()

    def add(self, number: str, line: int) -> None:
        """Add a text of digits."""
        if len(number) > EXACT_DIGITS:
            self._long += 1
            if not number[EXACT_DIGITS:].strip("0"):
                self._rounded.add(line)
        elif number[0] == "0":
            self._padded[len(number)] += 1
        else:
            self._plain[len(number)].add(line)

    def shortened(self) -> FirstLines:
        """Return the numbers that lost the zeros before them."""
        width = padded_width(self._padded, {length: some.count for length, some in self._plain.items()})
        lost = [some for length, some in self._plain.items() if length < width]
        first = sorted(line for some in lost for line in some.first)
        return FirstLines(sum(some.count for some in lost), first[:LINES])

    def rounded(self) -> FirstLines:
        """Return the numbers that lost their last digits: by chance, one in ten of 16 digits ends in a zero."""
        return self._rounded if 2 * self._rounded.count > self._long else FirstLines()


def padded_width(padded: Mapping[int, int], plain: Mapping[int, int]) -> int:
    """Return the width up to which zeros fill the numbers of a column, 0 where they are plain numbers.

    `padded` has how many numbers begin with a zero, by their width, `plain` how many of the others there are.
    """
    total = sum(padded.values())
    width = max(padded, key=lambda width: padded[width], default=0)
    if not total or padded[width] < SURELY_PADDED * total:
        return 0
    return width if shorter(plain, width) <= MOST_SHORTER * total else 0


def shorter(plain: Mapping[int, int], width: int) -> int:
    """Return how many numbers have fewer digits than that."""
    return sum(count for length, count in plain.items() if length < width)
