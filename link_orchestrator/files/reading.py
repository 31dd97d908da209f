"""What was read of a file: its format, its columns, and what in it looks wrong. Every import and upload shows it.

A reader notes it in Notes while it goes through the file. Headers, reasons and numbers of lines are kept, and never a
row's values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

from link_orchestrator.files.numbers import ColumnNumbers, FirstLines
from link_orchestrator.files.suspicious import MEANINGS, NUMBERS, Suspicion, suspect
from link_orchestrator.problems import LINES, NOT_TEXT, Problem, ProblemGroup, Tally
from shared.directory.text import counted

ALL_READ: Final = frozenset({"emails", "otherEmails", "emailVerified", "phoneNumbers", "addresses"})
"""Columns of which every header that is read as one counts; of all others the first that is filled in."""

R = TypeVar("R")
K = TypeVar("K")

READING: Final = "reading"
"""The option of a job, and the field of its answer, that holds what was read of its file."""
MAX_SHOWN_COLUMNS: Final = 200
"""Headers that are shown at most: objects of JSON may each have others."""
MAX_HEADER_CHARS: Final = 80
MAX_SHOWN_PROBLEMS: Final = 50
"""Reasons that are shown at most, those first that come first in the file. All are in the list of problems."""

MAX_SHOWN_SUSPICIOUS: Final = 200
"""Kinds of suspicious values, by column, that are shown at most. A job's row has to hold them all."""
MAX_GROUPS: Final = 1_000
"""Kinds of suspicious values by column that are counted at most: JSON may have another header in every row."""


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """A column of a file that was read: its header, and which column of the layout, or attribute, it was read as."""

    header: str
    read_as: str

    def to_json(self) -> dict[str, str]:
        """Return the column as JSON types."""
        return {"header": self.header, "readAs": self.read_as}


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Values of a column that are suspicious in the same way: how many, and the lines of the first.

    The column is its header, "" where it is the row that is suspicious.
    """

    kind: Suspicion
    column: str
    count: int
    lines: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON types, with what they are and what to do."""
        what, remedy = MEANINGS[self.kind]
        known = {"kind": self.kind.value, "column": self.column, "count": self.count, "lines": list(self.lines)}
        return known | {"what": what, "remedy": remedy}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one file. Groups of problems and of suspicious values are in the order of their first lines.

    `format` is csv, json, jsonl, xlsx or ods. `encoding` and `separator` are those of text, `sheet` and
    `ignored_sheets` those of a workbook. `layout` is the product or kind of export that the header was recognised as,
    "" for none. `ignored` are the headers of columns that were not read. `remarks` are sentences for a person, such as
    that an encoding was inferred. `rows` counts those that were usable, `unusable` the others.
    """

    format: str = ""
    encoding: str = ""
    separator: str = ""
    sheet: str = ""
    ignored_sheets: tuple[str, ...] = ()
    layout: str = ""
    columns: tuple[ReadColumn, ...] = ()
    ignored: tuple[str, ...] = ()
    suspicious: tuple[Suspicious, ...] = ()
    problems: tuple[ProblemGroup, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: int = 0
    unusable: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the reading as JSON types. What a format does not have, such as a sheet, is left out."""
        texts = {
            "format": self.format,
            "encoding": self.encoding,
            "separator": self.separator,
            "sheet": self.sheet,
            "ignoredSheets": list(self.ignored_sheets),
            "layout": self.layout,
            "remarks": list(self.remarks),
        }
        not_text = sum(group.count for group in self.problems if group.reason.startswith(NOT_TEXT))
        lost = {"undecodable": not_text} if not_text else {}
        return {name: value for name, value in (texts | lost).items() if value} | {
            "rows": self.rows,
            "unusable": self.unusable,
            "columns": [column.to_json() for column in self.columns],
            "ignored": list(self.ignored),
            "suspicious": [one.to_json() for one in self.suspicious],
            "problems": [one.to_json() for one in self.problems],
        }

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        """Return the reading that `to_json` wrote."""
        return cls(
            shown.get("format", ""),
            shown.get("encoding", ""),
            shown.get("separator", ""),
            shown.get("sheet", ""),
            tuple(shown.get("ignoredSheets", ())),
            shown.get("layout", ""),
            tuple(ReadColumn(one["header"], one["readAs"]) for one in shown.get("columns", ())),
            tuple(shown.get("ignored", ())),
            tuple(
                Suspicious(Suspicion(one["kind"]), one["column"], one["count"], tuple(one["lines"]))
                for one in shown.get("suspicious", ())
            ),
            tuple(
                ProblemGroup(one["reason"], one["remedy"], one["count"], tuple(one["lines"]))
                for one in shown.get("problems", ())
            ),
            tuple(shown.get("remarks", ())),
            shown.get("rows", 0),
            shown.get("unusable", 0),
        )


class Notes:
    """Gathers what is read of one file. It holds headers, reasons and the numbers of some lines."""

    def __init__(self) -> None:
        self.layout = ""
        self.uncomputed = False
        """Whether cells of a workbook have formulas that nobody worked out."""
        self._file = Reading()
        self._remarks: list[str] = []
        self._columns: dict[str, str] = {}
        self._checked: dict[tuple[str, ...], Sequence[tuple[str, str]]] = {}
        self._suspicious: dict[tuple[Suspicion, str], FirstLines] = {}
        self._numbers: dict[str, ColumnNumbers] = {}
        self._problems = Tally()
        self._rows = Counter[str]()
        self._held_by: dict[str, str] = {}

    def file(
        self,
        format_: str,
        *,
        encoding: str = "",
        separator: str = "",
        sheet: str = "",
        ignored_sheets: Sequence[str] = (),
    ) -> None:
        """Note what kind of file it is."""
        sheets = tuple(map(_header, ignored_sheets[:MAX_SHOWN_COLUMNS]))
        self._file = Reading(format_, encoding, separator, _header(sheet), sheets)

    def sheets(self) -> str:
        """Return which sheet of several is read, and which are not; "" where there is one, or none."""
        if not self._file.ignored_sheets:
            return ""
        others = ", ".join(self._file.ignored_sheets[:LINES])
        return f"The sheet {self._file.sheet} was read, and not {others}: move the sheet with the rows to the front."

    def anything(self) -> bool:
        """Tell whether a row was noted before, usable or not."""
        return bool(self._rows)

    def repeated(self) -> None:
        """Note a row of an account that came before, in an export with a row for each of its groups."""
        self._rows["repeated"] += 1

    def remark(self, text: str) -> None:
        """Note a sentence for the administrator."""
        self._remarks.append(text)

    def header(self, cells: Iterable[str]) -> None:
        """Note the names in a header row that several columns have."""
        times = Counter(name for cell in cells if (name := cell.strip()))
        if repeated := [_header(name) for name, count in times.items() if count > 1][:MAX_SHOWN_COLUMNS]:
            self.remark(f"Several columns are called {', '.join(repeated)}: the first of each is read, and no other.")

    def look(self, line: int, cells: Mapping[str, Any], layout: Mapping[str, Sequence[str]]) -> None:
        """Note the columns of a row, and which of its values are suspicious.

        `layout` has the headers that hold each column; all other headers of the row are ignored.
        """
        headers = tuple(cells)
        checked = self._checked.get(headers)
        if checked is None:
            checked = self._note_columns(headers, layout)
        for header, column in checked:
            value = cells[header]
            if not value or not isinstance(value, str):
                continue
            if kind := suspect(value, column):
                self.suspect(kind, line, header)
            elif column in NUMBERS and value.isdecimal() and value.isascii():
                self._look_at_number(line, header, value)

    def suspect(self, kind: Suspicion, line: int, header: str = "") -> None:
        """Note something suspicious in a line, and in which column."""
        self._add(self._suspicious, (kind, _header(header)), line)

    def _look_at_number(self, line: int, header: str, number: str) -> None:
        header = _header(header)
        if header in self._numbers or len(self._numbers) < MAX_GROUPS:
            self._numbers.setdefault(header, ColumnNumbers()).add(number, line)

    def watch(self, rows: Iterable[R | Problem]) -> Iterator[R | Problem]:
        """Yield the rows of a file as they come, and note how many they are, and the problems among them."""
        for row in rows:
            if isinstance(row, Problem):
                self.problem(row)
            else:
                self._rows["read"] += 1
            yield row

    def problem(self, problem: Problem, *, was_read: bool = False) -> None:
        """Note a row that cannot be used. `was_read` says that it was counted as usable before."""
        self._rows["unusable"] += 1
        self._rows["read"] -= was_read
        self._problems.add(problem)

    def reading(self) -> Reading:
        """Return what was noted up to now."""
        columns = list(self._columns.items())[:MAX_SHOWN_COLUMNS]
        suspicious = [*self._suspicious_values()]
        problems = [replace(group, lines=tuple(sorted(group.lines))) for group in self._problems.groups()]
        return Reading(
            self._file.format,
            self._file.encoding,
            self._file.separator,
            self._file.sheet,
            self._file.ignored_sheets,
            self.layout,
            tuple(ReadColumn(_header(header), read_as) for header, read_as in columns if read_as),
            tuple(_header(header) for header, read_as in columns if not read_as),
            tuple(sorted(suspicious, key=lambda one: one.lines[0])[:MAX_SHOWN_SUSPICIOUS]),
            tuple(sorted(problems, key=lambda one: one.lines[0])[:MAX_SHOWN_PROBLEMS]),
            (*self._remarks, *self._held_by.values(), *self._repeated()),
            self._rows["read"],
            self._rows["unusable"],
        )

    def _suspicious_values(self) -> Iterator[Suspicious]:
        """Yield the values that are suspicious by themselves, and the numbers that are so beside those of others."""
        found = dict(self._suspicious)
        for header, numbers in self._numbers.items():
            found[Suspicion.SHORTENED, header] = numbers.shortened()
            if not self._file.sheet:  # of a cell that holds a number, the reader of workbooks tells
                found[Suspicion.ROUNDED, header] = numbers.rounded()
        return (Suspicious(*key, one.count, tuple(one.first)) for key, one in found.items() if one.count)

    def _repeated(self) -> Iterator[str]:
        """Yield the remark about accounts that have several rows, if there are such."""
        if times := self._rows["repeated"]:
            what = counted(times, "row")
            yield f"The file has several rows of one account, for its groups: {what} said the same as one before."

    @staticmethod
    def _add(groups: dict[K, FirstLines], key: K, line: int) -> None:
        if key in groups or len(groups) < MAX_GROUPS:
            groups.setdefault(key, FirstLines()).add(line)

    def _note_columns(self, headers: tuple[str, ...], layout: Mapping[str, Sequence[str]]) -> Sequence[tuple[str, str]]:
        column_of = {header: column for column, held_by in layout.items() for header in held_by}
        for column, held_by in layout.items():
            if len(held_by) > 1 and column not in ALL_READ and column not in self._held_by:
                names = " and ".join(map(_header, held_by))
                self._held_by[column] = f"{names} are all read as {column}: of each row the first that is filled in."
        for header in headers:
            if header and len(self._columns) <= MAX_SHOWN_COLUMNS:
                self._columns.setdefault(header, column_of.get(header, ""))
        if len(self._checked) > 1000:  # JSON in which every object has other attributes
            self._checked.clear()
        checked = self._checked[headers] = [(name, column_of[name]) for name in headers if name in column_of]
        return checked


def _header(text: str) -> str:
    """Return a header as it is shown: short, and without characters that cannot be written out."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_HEADER_CHARS])
