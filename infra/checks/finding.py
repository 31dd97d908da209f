"""What a check says: by which rule, where, and what is wrong."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """Something wrong. `place` is a file with a line, or a resource by its symbol."""

    rule: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text} [{self.rule}]"
