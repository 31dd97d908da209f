"""Which headers of a file hold which column: as the caller says, by the layout of a product, by one of its names."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from link_orchestrator.files.cells import plain, printable
from link_orchestrator.files.layouts import Product, recognise
from link_orchestrator.files.rows import Header, UnreadableFile
from shared.directory.text import Advice

Ranks = Mapping[str, tuple[str, int]]
"""By a header as plain() returns it: its column, and its rank there: a column's own name has 0, other names follow."""
Layout = Mapping[str, Sequence[str]]
"""By column, the headers that hold it, the best one first."""
_NAMED, _OF_PRODUCT = -2, -1
"""Ranks of headers that the caller named, and that a product's layout has."""
_SHOWN = 30
"""Headers that a refusal lists at most."""


def ranks(columns: Iterable[str], also_known_as: Mapping[str, str]) -> Ranks:
    """Return the ranks of all headers of some columns. Their other names are separated by spaces."""
    names = {column: [plain(column), *also_known_as.get(column, "").split()] for column in columns}
    return {word: (column, rank) for column, words in names.items() for rank, word in enumerate(words)}


def check_named(named: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Return what the caller says of headers, each with a known column, in whatever case it was written, or "".

    Raises UnreadableFile for a column that is not known.
    """
    of_word = {plain(column): column for column in known}
    for header, column in named.items():
        if column and plain(column) not in of_word:
            columns = ", ".join(of_word.values())
            raise UnreadableFile(
                f"columns: {header!r} is said to be {column!r}, which is no column. Known are: {columns}"
            )
    return {header: of_word[plain(column)] if column else "" for header, column in named.items()}


@dataclass(frozen=True, slots=True)
class Needed:
    """Columns of which a file must have one: what they hold, and parts of headers by which one may be guessed.

    `any_other` says that a column with any other header may hold it, where none is likely. `held_in` are the
    headers of the columns whose values look like it.
    """

    columns: Sequence[str]
    what: str
    likely: Sequence[str]
    any_other: bool = True
    held_in: Sequence[str] = ()


class Columns:
    """Finds the columns of files of one kind. `named` has the columns of headers as the caller says, "" for none."""

    def __init__(self, ranks: Ranks, named: Mapping[str, str], products: Sequence[Product] = ()) -> None:
        self._ranks = ranks
        self._named = {plain(header): column for header, column in named.items()}
        self._products = products
        self._known: dict[tuple[str, ...], tuple[Layout, Product | None]] = {}

    def check(self, header: Header, *needed: Needed) -> None:
        """Raise UnreadableFile if a header that was named is not there, or one of the needed columns is not.

        The refusal says what was found, and shows the parameter `columns` as it can be pasted into the address.
        """
        missing = self._named.keys() - set(map(plain, header.names))
        if missing:
            listed = ", ".join(sorted(missing))
            raise UnreadableFile(f"columns: the file does not have the headers {listed}. {_found(header.names)}")
        if lacking := self.lacking(header.names, *needed):
            few = sum(map(bool, header.names)) <= _FEW
            what = " ".join(filter(None, [lacking.what, header.sheets, _FURTHER_DOWN if few else ""]))
            raise UnreadableFile(replace(lacking, what=what))

    def lacking(self, headers: Sequence[str], *needed: Needed) -> Advice | None:
        """Return what some headers do not hold of what is needed, and the remedy; None if they hold all."""
        held = self.of(dict.fromkeys(headers)).keys()
        lacking = [one for one in needed if held.isdisjoint(one.columns)]
        if not lacking:
            return None
        what = " and no column holds ".join(one.what for one in lacking)
        what = f"No column holds {what}. {_found(headers)}"
        chosen, left = self._guess(headers, lacking), self._unnamed(headers)
        if not chosen and not (left and all(one.any_other for one in lacking)):
            return Advice(what, _EXPORT, "export")
        remedy, code = "Say which it is", "columns"
        if not chosen:
            # To name a column that is not likely would be followed: departments became user names.
            chosen = {f"header of the column with {one.what}": one.columns[0] for one in lacking}
            remedy, code = f"{_EXPORT} If one of these has it, say which", "exportOrColumns"
        text = json.dumps(chosen, ensure_ascii=False)
        remedy += f", as in {text}: add ?columns={quote(text, safe='')} to the address."
        return Advice(what, remedy, code, {"example": ", ".join(f"{one} = {is_}" for one, is_ in chosen.items())})

    def of(self, cells: Mapping[str, object]) -> Layout:
        """Return the layout of a row."""
        return self.look(cells)[0]

    def is_named(self, header: str) -> bool:
        """Tell whether the caller said what a header is."""
        return plain(header) in self._named

    def look(self, cells: Mapping[str, object]) -> tuple[Layout, Product | None]:
        """Return the layout of a row, and the product whose it is, worked out once for each set of headers."""
        headers = tuple(cells)
        known = self._known.get(headers)
        if known is None:
            if len(self._known) > 1000:  # JSON in which every object has other attributes
                self._known.clear()
            product = recognise(self._products, headers)
            known = self._known[headers] = self._resolve(headers, product), product
        return known

    def _resolve(self, headers: Iterable[str], product: Product | None) -> Layout:
        found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for header in headers:
            word = plain(header)
            if word in self._named:
                held = [(self._named[word], _NAMED)]
            elif product and (columns := product.column_of(word)) is not None:
                held = [(column, _OF_PRODUCT) for column in columns.split()]
            else:
                held = [self._ranks.get(product.behind_prefix(word) if product else word, ("", 0))]
            for column, rank in held:
                if column:
                    found[column].append((rank, header))
        return {column: [header for _, header in sorted(ranked)] for column, ranked in found.items()}

    def _unnamed(self, headers: Sequence[str]) -> list[str]:
        """Return the headers that the caller may say something of: no name that cannot be written out, as in JSON."""
        return [name for name in headers if plain(name) and name.isprintable() and not self.is_named(name)]

    def _guess(self, headers: Sequence[str], lacking: Sequence[Needed]) -> dict[str, str]:
        """Return the headers that look most like the columns that a file lacks; {} where none is left for one."""
        left = self._unnamed(headers)
        read = {name for held_by in self.of(dict.fromkeys(headers)).values() for name in held_by}
        left = [name for name in left if name not in read] or left
        chosen: dict[str, str] = {}
        for one in lacking:
            free = [name for name in left if name not in chosen]
            held = [name for name in free if name in one.held_in]
            likely = (name for part in one.likely for name in held or free if part in plain(name))
            if guess := next(likely, held[0] if held else None):
                chosen[guess] = one.columns[-1] if "mail" in plain(guess) and "email" in one.columns else one.columns[0]
        return chosen if len(chosen) == len(lacking) else {}


_EXPORT: Final = "Export it with that column, too."
_MOST: Final = 80
_FEW: Final = 3
"""Names that a title has at most, or the row above a header in which cells are merged."""
_FURTHER_DOWN: Final = "Where the column names stand further down, delete the rows above them."


def _found(headers: Sequence[str]) -> str:
    return f"What was found: {', '.join(printable(name[:_MOST]) for name in headers[:_SHOWN] if name)}."
