"""How much an account and an identity are alike in names and addresses, for suggestions to a person. Pure.

What is alike proves nothing: two people may have one name. So no likeness links anybody, none is certain, and of
several people with one name none is likelier than the others.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Final, NamedTuple
from zlib import crc32

from rapidfuzz import fuzz

from shared.directory.matching.match_keys import comparable_number

MOST_SCORE: Final = 95
"""The highest score, of 100: nothing that is only alike is certain."""
LEAST_SCORE: Final = 70
"""The score from which on two are suggested to a person."""
NAMESAKES_SCORE: Final = 75
"""The highest score where several people or accounts have the name."""
MOST_SUGGESTIONS: Final = 3
"""Counterparts that are suggested for one account or identity."""
MOST_IN_COMMON: Final = 60
"""People who may have something in common by which others are looked for among them; what more have finds nobody."""
MOST_TOKENS: Final = 4
"""Words of a name that are looked at."""
MOST_ADDRESSES: Final = 6
"""Addresses of a person that are looked at."""
LEAST_LOCAL: Final = 4
"""Letters and digits that the part of an address before the @ must have to tell anything."""
_ROLES: Final = frozenset({"admin", "administrator", "contact", "hello", "info", "mail", "noreply", "office", "sales",
                           "service", "support", "team", "test", "user"})  # fmt: skip
"""Names of mailboxes that are nobody's."""

NAME, ADDRESS, NAME_IN_ADDRESS = "name", "address", "nameInAddress"
"""What may be alike: the names, the parts of addresses before the @, the name of one and an address of the other."""

_MAY_BE_ALIKE: Final = (NAME, ADDRESS, NAME_IN_ADDRESS)

_WORD = re.compile(r"[^\W_]+")
_DOUBLED = str.maketrans({"ß": "s", "ø": "o", "æ": "a", "œ": "o", "å": "a", "ł": "l", "đ": "d", "ð": "d", "þ": "t"})


@dataclass(frozen=True, slots=True)
class Person:
    """What is compared of an account or an identity.

    `names` and `addresses` are their words in plain small letters, each sorted. `compact` has the addresses in one
    word, `forms` the words that people make of the name for a login; `number` is the employee number.
    """

    id: str
    names: tuple[tuple[str, ...], ...]
    addresses: tuple[tuple[str, ...], ...]
    compact: frozenset[str]
    forms: frozenset[str]
    number: str | None = None

    @classmethod
    def of(cls, id_: str, names: Iterable[str], addresses: Iterable[str], number: str | None = None) -> Person:
        """Return the person of an id, with names, and addresses or login names, as they are written."""
        named = list(dict.fromkeys(words for name in names if len(words := _words(name)) > 1))
        locals_ = list(dict.fromkeys(words for one in addresses if (words := _local(one))))[:MOST_ADDRESSES]
        compact = frozenset("".join(words) for words in locals_)
        forms = frozenset(form for words in named for form in _forms(words))
        return cls(id_, _sorted(named), _sorted(locals_), compact, forms, comparable_number(number))

    def marks(self) -> set[int]:
        """Return numbers that people who are alike have in common: one that is odd, or several."""
        sure = {*self.compact, *self.forms}
        some = set[str]()
        for words in {*self.names, *self.addresses}:
            if len(words) > 1:
                sure.add(" ".join(words))
                some |= {f"{one[:4]}.{other[:1]}" for one, other in permutations(words, 2) if len(one) > 1}
            some.update(words)
        return {crc32(one.encode()) << 1 | 1 for one in sure} | {crc32(one.encode()) << 1 for one in some}


class Likeness(NamedTuple):
    """How much two are alike, of 100, and in what."""

    score: int
    alike: tuple[str, ...]


def likeness(one: Person, other: Person) -> Likeness | None:
    """Return how much two are alike; None if it is too little to show, or their numbers contradict it."""
    if one.number is not None and other.number not in (None, one.number):
        return None
    found = (
        0.9 * _alike(one.names, other.names),
        0.9 * _alike(one.addresses, other.addresses),
        0.82 * _named(one, other),
    )
    if (best := max(found)) < LEAST_SCORE:
        return None
    shown = tuple(name for name, score in zip(_MAY_BE_ALIKE, found, strict=True) if score >= LEAST_SCORE)
    return Likeness(min(MOST_SCORE, round(best + 4 * (len(shown) - 1))), shown)


def _sorted(names: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return names with their words sorted, each once: "Miller, Jane" is "Jane Miller" then."""
    return tuple(dict.fromkeys(tuple(sorted(words)) for words in names))


def _alike(some: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> float:
    if len(some) == 1 == len(others):  # as most have one name, and one address
        return _likeness_of(some[0], others[0])
    return max([_likeness_of(one, other) for one in some for other in others], default=0.0)


def _likeness_of(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Return how much two names are alike, of 100, in whatever order; a further name in one counts little."""
    if one == other:
        return 100.0
    if len(one) == 2 == len(other):
        # Nearly all pairs that are compared at all: of the two words one is the same.
        (first, last), (another_first, another_last) = one, other
        if first == another_first and last != another_first and another_last != first:
            return (100.0 + fuzz.ratio(last, another_last)) / 2
        if last == another_last and first != another_last and another_first != last:
            return (100.0 + fuzz.ratio(first, another_first)) / 2
    return _likeness_of_others(one, other)


@lru_cache(maxsize=65_536)
def _likeness_of_others(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Return the same of any two names.

    An address is mostly made of the name, so that of two people the same words are compared several times.
    """
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    if len(few) > 1 and set(few) < set(many):
        return 95.0
    # The words apart: of one who only has a first name, or a common last name, with another each word counts.
    if len(few) == len(many) and len(few) > 1:
        mine = [word for word in few if word not in many]
        theirs = [word for word in many if word not in few] or many
        best = sum(max([fuzz.ratio(word, another) for another in theirs]) for word in mine)
        return (100.0 * (len(few) - len(mine)) + best) / len(few)
    return fuzz.ratio(" ".join(one), " ".join(other))


def _named(one: Person, other: Person) -> float:
    """Return how much an address of one of two people is the name of the other, of 100."""
    if not (one.compact.isdisjoint(other.forms) and other.compact.isdisjoint(one.forms)):
        return 100.0
    return max(_alike(_whole(one.addresses), other.names), _alike(_whole(other.addresses), one.names))


def _whole(addresses: tuple[tuple[str, ...], ...]) -> Sequence[tuple[str, ...]]:
    """Return the addresses of more than one word: only these are made like a name."""
    if len(addresses) == 1:
        return addresses if len(addresses[0]) > 1 else ()
    return [words for words in addresses if len(words) > 1]


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a name in plain small letters: Müller, Mueller and Muller are one."""
    if text.isascii():
        plain = text.lower()
    else:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold().translate(_DOUBLED))
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = _WORD.findall(plain.replace("'", "").replace("\u2019", ""))
    return tuple(_one_vowel(word) for word in words[:MOST_TOKENS])


def _one_vowel(word: str) -> str:
    return word.replace("ae", "a").replace("oe", "o").replace("ue", "u").replace("ss", "s")


def _local(address: str) -> tuple[str, ...]:
    """Return the words before the @ of an address or login name, none where they tell nothing."""
    local = address.partition("@")[0].partition("#EXT#")[0].partition("+")[0]
    words = _words(local)
    compact = "".join(words)
    return () if len(compact) < LEAST_LOCAL or compact in _ROLES or compact.isdigit() else words


def _forms(words: tuple[str, ...]) -> Iterator[str]:
    """Yield the words that people make of a name for a login: annamuller, mulleranna, amuller, annam, mullera."""
    for first, last in permutations((words[0], words[-1])):
        for form in (first + last, first[:1] + last, first + last[:1]):
            if len(form) >= LEAST_LOCAL:
                yield form


class Index:
    """People, found by what they have in common with somebody: eight bytes for each mark that one has."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.people = people
        entries = [key << _PLACE_BITS | place for place, person in enumerate(people) for key in person.marks()]
        entries.sort()
        self._entries = array("Q", entries)
        self.bearers = Counter(name for person in people for name in person.names)
        """How many have each name."""

    def near(self, person: Person) -> Iterator[int]:
        """Yield the places of those who may be alike."""
        sure, seen, several = set[int](), set[int](), set[int]()
        for mark in person.marks():
            low = bisect_left(self._entries, mark << _PLACE_BITS)
            high = bisect_left(self._entries, (mark + 1) << _PLACE_BITS, low)
            if low < high <= low + MOST_IN_COMMON:
                places = {entry & _PLACE for entry in self._entries[low:high]}
                if mark & 1:
                    sure |= places
                else:
                    several |= seen & places
                    seen |= places
        return iter(sure | several)


_PLACE_BITS: Final = 24
_PLACE: Final = (1 << _PLACE_BITS) - 1


def among(
    found: Likeness, names: Iterable[tuple[str, ...]], bearers: Mapping[tuple[str, ...], int]
) -> tuple[Likeness, int]:
    """Return a likeness as it is among namesakes, and how many others there are.

    `names` are those of the two, and `bearers` has how many on one side, at most, have a name.
    """
    namesakes = max((bearers.get(name, 1) - 1 for name in names), default=0)
    return (Likeness(min(NAMESAKES_SCORE, found.score), found.alike), namesakes) if namesakes > 0 else (found, 0)
