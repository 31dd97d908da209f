"""Rows of a file and objects of a source that cannot be used: where they are, why, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Self

from shared.directory.keys import APPLICATION_ID

MOST_GROUPS: Final = 100
"""Problems of different texts that are counted apart at most; all others are counted together."""
LINES: Final = 5
"""Lines that are named of all that have something in common."""
_VARIES: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # an id
    r"|\b[0-9a-f]{2}[A-Za-z]+_[0-9a-f]{32}\b"  # the id of a row of a plan
    r"|(?<![\w.-])\d+(?: of the part \w+)?(?:, (?:line )?\d+(?: of the part \w+)?)*(?![\w-])"  # lines, places
)


@lru_cache(maxsize=256)
def _alike(text: str) -> str:
    """Return what a text has in common with those of other rows."""
    return _VARIES.sub("…", text)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used. It begins at `line`, from 1. The texts name columns, and never a row's values.

    Where the row has an applicationId, that tells it from others: a JSON file may be one line.
    """

    line: int
    reason: str
    remedy: str
    application_id: str = ""
    names: tuple[str, ...] = field(default=(), compare=False)
    """By what an account would be found that has what the row says; none where its account is there all the same."""

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON types."""
        known: dict[str, Any] = {"line": self.line, "reason": self.reason, "remedy": self.remedy}
        return known | ({APPLICATION_ID: self.application_id} if self.application_id else {})

    def staged(self) -> dict[str, Any]:
        """Return the problem as JSON types with what nobody is shown."""
        return self.to_json() | ({"names": [*self.names]} if self.names else {})

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return the problem that `to_json` or `staged` wrote."""
        own, names = shown.get(APPLICATION_ID, ""), tuple(shown.get("names", ()))
        return cls(shown["line"], shown["reason"], shown["remedy"], own, names)


NOT_TEXT: Final = "The row holds bytes that are not text in "
"""The beginning of the reason of a row that is in another encoding than the file; behind it stands that one."""
SAID_BEFORE: Final = "The row says the same as "
IS_PROTECTED: Final = "is protected, and was left as it is"
IS_MANAGED: Final = "this account is linked, and managed by the identity provider"


def lacks_nobody(reason: str) -> bool:
    """Tell by its reason whether a row brought nothing, and yet nobody is missing: another row or an account has it."""
    return reason.startswith(SAID_BEFORE) or reason.endswith((IS_PROTECTED, IS_MANAGED))


def said_before(line: int, first: str) -> Problem:
    """Return that a row says what the one in `first`, such as "line 4", said: nothing of it is lost."""
    reason = f"{SAID_BEFORE}{first}, and was read once."
    return Problem(line, reason, "Nothing is to be done, unless the two should differ.")


@dataclass(slots=True)
class ProblemGroup:
    """Problems that differ in nothing but ids and numbers: how many, and the lines of the first.

    The texts are those of the problems where they all say the same, else they have `…` in the place of what differs.
    """

    reason: str
    remedy: str
    count: int = 0
    lines: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the group as JSON types."""
        return {"reason": self.reason, "remedy": self.remedy, "count": self.count, "lines": list(self.lines)}


class Tally:
    """Counts problems by what they say. It holds at most MOST_GROUPS + 1 groups, and no row's number but the first."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], ProblemGroup] = {}

    def add(self, problem: Problem, count: int = 1) -> ProblemGroup:
        """Count a problem, or as many as are said, and return its group."""
        texts = problem.reason, problem.remedy
        key = _alike(problem.reason), _alike(problem.remedy)
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = texts = _OTHERS
        group = self._groups.setdefault(key, ProblemGroup(*texts))
        if (group.reason, group.remedy) != texts:
            group.reason, group.remedy = key
        group.count += count
        if len(group.lines) < LINES:
            group.lines += (problem.line,)
        return group

    def groups(self) -> list[ProblemGroup]:
        """Return the groups, in the order in which their first problems came."""
        return [*self._groups.values()]


def count_reasons(reasons: Iterable[str]) -> list[dict[str, Any]]:
    """Return how many of some rows have which reason, as the API shows it, the most frequent first."""
    tally = Tally()
    for reason in reasons:
        tally.add(Problem(0, reason, ""))
    groups = sorted(tally.groups(), key=lambda group: -group.count)
    return [{"reason": group.reason, "count": group.count} for group in groups]


_OTHERS: Final = ("Other problems, of further kinds.", "See what the rows that are listed say.")
