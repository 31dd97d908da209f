"""What a run warns of, to be looked at before it is approved. A page names nobody, so examples of people stay out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final

from link_orchestrator.requests.pages.parts import at, box
from link_orchestrator.warnings import PROBABLE, UNREAD
from link_orchestrator.words import ROWS as LEADS
from link_orchestrator.words import WARNED, counted

Warned = Mapping[str, Any]
"""A warning as the API shows it."""

ROWS, PROBLEMS = "rows.csv", "problems.csv"
"""What the rows of a plan that is not kept, and those of its files that were not read, are called where it was made."""
_ASKED: Final = re.compile(r"GET /linking/runs/\w+/decisions\?(\w+)=(\w+)(?:&(\w+)=(\w+))?")
_COLUMNS: Final = {"warning": "warnings"}
"""Columns of the rows by the parameter that asks for one of their values, where the two differ."""


def boxes(warned: Iterable[Warned], run: str, *, trial: bool = False) -> str:
    """Return warnings of a run as boxes, each with what to do about it; "" for none.

    Those that are not acknowledged come first. In a `trial` nothing can be asked of the app any more: remedies name
    the rows instead.
    """
    inside = "".join(_box(one, run, trial=trial) for one in sorted(warned, key=_is_known))
    return f'<ul class="warnings">{inside}</ul>' if inside else ""


def to_acknowledge(warned: Iterable[Warned]) -> list[str]:
    """Return the codes that an approval has to name."""
    return [str(one["code"]) for one in warned if "digest" in one and not _is_known(one)]


def remedy_of(warned: Warned, *, trial: bool = False) -> str:
    """Return what to do about a warning."""
    if trial and warned.get("code") == UNREAD:
        return f"See why: {PROBLEMS}. Correct the file, and plan again."
    if trial and warned.get("code") == PROBABLE:
        return f"Look at them: {ROWS}, where decision has noAccount and suggestions names an account."
    remedy = str(warned.get("remedy", ""))
    return _ASKED.sub(_in_rows, remedy) if trial else WARNED.get(str(warned.get("code")), remedy)


def _is_known(warned: Warned) -> bool:
    return bool(warned.get("acknowledged"))


def _lead(warned: Warned, run: str) -> str:
    """Return a link to the page of the portal about a warning; "" for none."""
    path, text = LEADS.get(str(warned.get("code")), ("", ""))
    return f'<a href="{escape(f"/portal/{path.format(run=run)}")}">{escape(text)}</a>' if path else ""


def _box(warned: Warned, run: str, *, trial: bool) -> str:
    known = f"Acknowledged {at(warned, 'acknowledgedAt', 'acknowledgedBy')}." if _is_known(warned) else ""
    told = " ".join(filter(None, (_since(warned), warned.get("meaning"), remedy_of(warned, trial=trial))))
    lead = "" if trial else _lead(warned, run)
    return box(str(warned["warning"]), told, known, tag="li", state="known" if known else "", lead=lead)


def _since(warned: Warned) -> str:
    """Return what was decided since the plan, where a number does not follow that; "" for nothing."""
    since = warned.get("since")
    if not since:
        return ""
    rows = f"{since['decided']:,} of the {counted(since['rows'], 'row')} among which it was counted"
    return f"This number is as of the plan: since then a person has decided about {rows}."


def _in_rows(asked: re.Match[str]) -> str:
    return f"{ROWS}, where {' and '.join(_conditions(asked))}"


def _conditions(asked: re.Match[str]) -> Iterator[str]:
    for name, value in (asked.group(1, 2), asked.group(3, 4)):
        if name:
            yield f"{_COLUMNS.get(name, name)} has {value}"
