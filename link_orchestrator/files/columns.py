"""Which headers of a file hold which column: by the column's name, by one of its other names, or as the caller says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from link_orchestrator.files.cells import plain
from link_orchestrator.files.rows import Header, UnreadableFile

Ranks = Mapping[str, tuple[str, int]]
"""By a header as plain() returns it: its column, and its rank there: a column's own name has 0, other names follow."""
Layout = Mapping[str, Sequence[str]]
"""By column, the headers that hold it, the best one first."""


def ranks(columns: Iterable[str], also_known_as: Mapping[str, str]) -> Ranks:
    """Return the ranks of all headers of some columns. Their other names are separated by spaces."""
    names = {column: [plain(column), *also_known_as.get(column, "").split()] for column in columns}
    return {word: (column, rank) for column, words in names.items() for rank, word in enumerate(words)}


class Columns:
    """Finds the columns of files of one kind. `named` has the columns of headers as the caller says, "" for none."""

    def __init__(self, ranks: Ranks, named: Mapping[str, str]) -> None:
        self._ranks = ranks
        self._named = {plain(header): column for header, column in named.items()}
        self._known: dict[tuple[str, ...], Layout] = {}

    def check(self, header: Header, needed: Sequence[str], what: str, example: str) -> None:
        """Raise UnreadableFile if no header holds one of the `needed` columns, or a header that was named is not there.

        `what` says what these columns hold, and `example` is a header to show how one is named.
        """
        missing = self._named.keys() - set(map(plain, header.names))
        if missing:
            listed = ", ".join(sorted(missing))
            raise UnreadableFile(f"The mapping names columns that the file does not have: {listed}.")
        if self.of(dict.fromkeys(header.names)).keys().isdisjoint(needed):
            names, first = ", ".join(name[:40] for name in header.names[:30] if name), needed[0]
            raise UnreadableFile(
                f"No column holds {what}. The header row has: {names}. Name one of them {first}, or say which it is "
                f'with the mapping option, as in {{"{example}": "{first}"}}.'
            )

    def of(self, cells: Mapping[str, object]) -> Layout:
        """Return the layout of a row, worked out once for each set of headers."""
        headers = tuple(cells)
        layout = self._known.get(headers)
        if layout is None:
            if len(self._known) > 1000:  # JSON in which every object has other attributes
                self._known.clear()
            layout = self._known[headers] = self._resolve(headers)
        return layout

    def _resolve(self, headers: Iterable[str]) -> Layout:
        found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for header in headers:
            word = plain(header)
            column, rank = (self._named[word], -1) if word in self._named else self._ranks.get(word, ("", 0))
            if column:
                found[column].append((rank, header))
        return {column: [header for _, header in sorted(ranked)] for column, ranked in found.items()}
