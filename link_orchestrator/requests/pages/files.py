"""What a run goes by: each import and upload, when it was made and by whom, and how its file was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from link_orchestrator.files.suspicious import Suspicion
from link_orchestrator.requests.pages.parts import at, facts, items, join, listed, paragraph
from shared.directory.text import counted

Shown = Mapping[str, Any]
"""A job as the API shows it."""

MOST_FILES: Final = 10
"""Files that a page describes, the latest ones: a directory may have been imported a hundred times."""
MOST_COLUMNS: Final = 40
"""Columns that are named of a file."""

_WHAT: Final = {
    "import": "Accounts",
    "identities": "Identities",
    "groupimport": "Groups here",
    "entragroups": "Groups in Entra",
}
"""What a job brought, by its kind."""
_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}


def describe(read: Sequence[Shown]) -> str:
    """Return what was read, a part in HTML for each file, the latest ones of many."""
    left = len(read) - MOST_FILES
    more = paragraph(f"Before these, {counted(left, 'file')} more." if left > 0 else "")
    return join([*map(_file, read[-MOST_FILES:]), more])


def _file(job: Shown) -> str:
    reading = job.get("reading", {})
    name = job.get("options", {}).get("file") or job["id"]
    known = (
        ("Read", at(job, "started", "startedBy")),
        ("As", kind_of(reading)),
        ("What came of it", _counts(job.get("counts", {}))),
        ("Taken back", at(job.get("takenBack", {}), "started", "startedBy")),
        ("Columns read", _columns(reading.get("columns", ()))),
        ("Columns not read", few(reading.get("ignored", ()))),
        ("Remarks", " ".join(reading.get("remarks", ()))),
    )
    wrong = items(map(escape, remarks_about(reading)))
    head = '<p class="soft">What to look at in it:</p>' if wrong else ""
    return f"<h3>{escape(_WHAT[job['kind']])}: {escape(name)}</h3>{facts(known)}{head}{wrong}"


def kind_of(reading: Shown) -> str:
    """Return in words what a file was recognised as."""
    separator = reading.get("separator", "")
    how = (
        reading.get("format", ""),
        reading.get("encoding", ""),
        f"separated by {_SEPARATORS.get(separator, separator)}" if separator else "",
        f"sheet {reading['sheet']}" if "sheet" in reading else "",
    )
    return ": ".join(filter(None, (reading.get("layout", ""), ", ".join(filter(None, how)))))


def remarks_about(reading: Shown) -> Iterator[str]:
    """Yield what to look at in a file: rows that could not be used, and values that are suspicious."""
    for problem in reading.get("problems", ()):
        rows = counted(problem["count"], "row")
        yield f"{rows} not used, {_lines(problem)}: {problem['reason']} {problem['remedy']}"
    told = {line for problem in reading.get("problems", ()) for line in problem["lines"]}
    for one in reading.get("suspicious", ()):
        if one["kind"] == Suspicion.CUT and told.issuperset(one["lines"]):
            continue  # the row was a problem for that
        what = f"{counted(one['count'], 'value')} in {one['column']}" if one["column"] else counted(one["count"], "row")
        yield f"{what}, {_lines(one)}: {one['what']}. {one['remedy']}"


def _lines(found: Shown) -> str:
    numbers = [f"{line:,}" for line in found["lines"]]
    more = found["count"] - len(numbers)
    return f"line {numbers[0]}" if found["count"] == 1 else f"lines {listed([*numbers, *(['more'] if more else [])])}"


def _columns(columns: Sequence[Mapping[str, str]]) -> str:
    return few([one["header"] if one["header"] == one["readAs"] else _read_as(one) for one in columns])


def _read_as(column: Mapping[str, str]) -> str:
    return f"{column['header']} as {column['readAs']}"


def few(names: Sequence[str]) -> str:
    """Return the first names of columns, and how many more there are."""
    more = len(names) - MOST_COLUMNS
    return ", ".join([*names[:MOST_COLUMNS], *([f"{more:,} more"] if more > 0 else [])])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count)
