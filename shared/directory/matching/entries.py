"""What no entry of a policy's lists may be: said twice, said two ways, or written with what nobody sees. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from shared.directory.text import find_unseen


def refuse_unseen(where: str, text: str) -> None:
    """Raise ValueError for an entry with a line break, a control character, or one that is not shown, within it.

    Nobody has such a name, so that it would do nothing; and lists that people paste have two names in one entry.
    """
    if found := find_unseen(text.strip()):
        raise ValueError(
            f"{where}: has the character {found} in it, which nobody sees: write it without; two names are two entries"
        )


def refuse_twice(attribute: str, entries: Iterable[tuple[Hashable, object]]) -> None:
    """Raise ValueError for the first entry that is about the same as one before it.

    Each is given as what it is about, in the form in which that is compared, and what it says of it.
    """
    first: dict[Hashable, tuple[int, object]] = {}
    for number, (about, says) in enumerate(entries):
        known, said = first.setdefault(about, (number, says))
        if known != number and said == says:
            raise ValueError(f"{attribute}.{number}: says the same as {attribute}.{known}: take one of the two out")
        if known != number:
            raise ValueError(
                f"{attribute}.{number}: contradicts {attribute}.{known}, which is about the same: take out the one "
                "that is not meant"
            )
