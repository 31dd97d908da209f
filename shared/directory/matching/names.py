"""Whether the names of an account and of an identity may be those of one person. Pure.

It is asked where nothing but an unverified address connects the two: such an address may have been given to a new
person. So names that agree only in part count as different, which costs a look and links nobody wrongly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.directory.matching.identity import Identity

_ASIDE = re.compile(r"\([^()]*+\)|\[[^\[\]]*+\]")
_BETWEEN = re.compile(r"[\W\d_]+")
_COURTESIES = "dr prof mr mrs ms herr frau ing dipl mag jr sr phd msc bsc mba"
_TITLES: Final = frozenset(_COURTESIES.split())
_LETTERS: Final = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})


def names_in(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in an account's document, each of them of the whole person."""
    name = document.get("name")
    parts: Mapping[str, Any] = name if isinstance(name, Mapping) else {}
    whole = " ".join(str(parts[one]) for one in ("givenName", "familyName") if parts.get(one))
    found = (document.get("displayName"), parts.get("formatted"), whole)
    return tuple(dict.fromkeys(one for one in found if isinstance(one, str) and one.strip()))


def names_differ(account: Iterable[str], identity: Identity) -> bool:
    """Tell whether both sides have a name and none of the account's agrees with one of the identity's."""
    whole = " ".join(filter(None, (identity.given_name, identity.surname)))
    ours = [words for name in account if (words := _words(name))]
    theirs = [words for name in (identity.display_name, whole) if name and (words := _words(name))]
    return bool(ours and theirs) and not any(_agree(left, right) for left in ours for right in theirs)


def _words(name: str) -> list[str]:
    """Return the words of a name without case, accents, titles and remarks; none of one that is an address."""
    if "@" in name:
        return []
    plain = unicodedata.normalize("NFKD", _ASIDE.sub(" ", name).casefold().translate(_LETTERS))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    # Müller is written Mueller, too.
    words = (re.sub("([aou])e", r"\1", word) for word in _BETWEEN.split(plain))
    return [word for word in words if word and word not in _TITLES]


def _agree(left: list[str], right: list[str]) -> bool:
    """Tell whether each word of the shorter name is one of the longer, or its initial, and one of them is whole."""
    shorter, longer = sorted((left, right), key=len)
    rest, whole = list(longer), False
    for word in shorter:
        found = next((one for one in rest if one == word), None) or next((o for o in rest if _initial(o, word)), None)
        if found is None:
            return False
        rest.remove(found)
        whole = whole or (found == word and not (word.isascii() and len(word) == 1))
    return whole or left == right


def _initial(left: str, right: str) -> bool:
    return 1 in (len(left), len(right)) and left[0] == right[0]
