"""Who decided what about a run, and who may be whom: the only persons whom its page names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from link_orchestrator.requests.pages.parts import actor, listed, moment, paragraph, table
from shared.directory.text import counted

Shown = Mapping[str, Any]
"""A job, or a row, as the API shows it."""

MOST_REVIEWERS: Final = 20
"""Reviewers who are named, those with the most reviews."""
_ALIKE: Final = {"name": "name", "address": "address", "nameInAddress": "name in the address"}
"""What two are alike in, in words."""


def decided(run: Shown, undos: Sequence[Shown], reviewers: Sequence[Shown]) -> str:
    """Return a table of who reviewed, approved, cancelled and took back, and when; "" where nobody did."""
    rows = [*_reviews(reviewers), *_approvals(run), *_cancelled(run), *map(_undone, undos)]
    more = len(reviewers) - MOST_REVIEWERS
    rest = paragraph(f"{counted(more, 'more reviewer')} decided about fewer rows each." if more > 0 else "")
    return table("", ("Who", "What", "When"), rows) + rest


def _reviews(reviewers: Sequence[Shown]) -> Iterator[tuple[str, ...]]:
    for one in reviewers[:MOST_REVIEWERS]:
        actions = listed([f"{count:,} to {action}" for action, count in one["actions"].items()])
        yield one["who"], f"reviewed {counted(sum(one['actions'].values()), 'row')}: {actions}", moment(one["last"])


def _approvals(run: Shown) -> Iterator[tuple[str, ...]]:
    options = run.get("options", {})
    if "approvedBy" in run and not options.get("approvals") and not options.get("selfApproved"):
        yield actor(run, "approvedBy"), "approved the plan", moment(run.get("approved"))
    for one in options.get("approvals", ()):
        links = counted(one["links"], "link")
        yield (
            one.get("person") or one["by"],
            f"approved {'a pilot of ' if one['pilot'] else ''}{links}",
            moment(one["at"]),
        )


def _cancelled(run: Shown) -> Iterator[tuple[str, ...]]:
    if "cancelledBy" in run:
        yield actor(run, "cancelledBy"), "cancelled the run", moment(run.get("ended"))


def _undone(undo: Shown) -> tuple[str, ...]:
    return actor(undo, "startedBy"), f"took it back: {undo['id']}, {undo['phase']}", moment(undo.get("started"))


def may_be(rows: Sequence[Shown], total: int) -> str:
    """Return a table of the likeliest suggestions; `total` is how many rows have any."""
    told = [(_name(row), _name(one), _likeness(one)) for row in rows for one in row["suggestions"][:1]]
    shown = f"The {len(told):,} likeliest of {total:,}, by the score." if total > len(told) else ""
    return table(shown, ("In the plan", "May be", "Alike in"), told)


def _name(document: Shown) -> str:
    """Return the names of an identity or an account: the one to show, and the one to sign in with."""
    known = document.get("identity") or document.get("account") or {}
    names = known.get("displayName"), known.get("userPrincipalName") or known.get("userName")
    return " · ".join(filter(None, names))


def _likeness(one: Shown) -> str:
    alike = listed([_ALIKE.get(name, name) for name in one["alike"]])
    namesakes = f"; {counted(one['namesakes'], 'namesake')}" if "namesakes" in one else ""
    return f"{alike}; score {one['score']:.2f}{namesakes}"
