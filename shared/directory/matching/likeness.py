"""How much an account and an identity are alike in names and addresses, for suggestions to a person. Pure.

What is alike proves nothing: two people may have one name. So no likeness links anybody, none is certain, and of
several people with one name none is likelier than the others.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
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
MOST_COMPARED: Final = 8
"""People with whom one is compared: those with whom they have most in common."""
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


Words = Sequence[tuple[str, ...]]
"""Names, or addresses, as their words."""


class _Text(NamedTuple):
    """Words, and what they are: a name, an address, or an address of several words, as only these are made of names."""

    words: tuple[str, ...]
    is_name: bool
    is_address: bool
    is_named: bool

    @classmethod
    def of(cls, words: tuple[str, ...], names: Words, addresses: Words) -> _Text:
        """Return words as they stand among the names and addresses of somebody."""
        return cls(words, words in names, words in addresses, words in addresses and len(words) > 1)


@dataclass(frozen=True, slots=True)
class Person:
    """What is compared of an account or an identity.

    `names` and `addresses` are their words in plain small letters, each sorted; `texts` has both, and what each is.
    `compact` has the addresses in one word, `forms` the words that people make of the name for a login; `number` is
    the employee number.
    """

    id: str
    names: tuple[tuple[str, ...], ...]
    addresses: tuple[tuple[str, ...], ...]
    texts: tuple[_Text, ...]
    compact: frozenset[str]
    forms: frozenset[str]
    number: str | None = None

    @classmethod
    def of(cls, id_: str, names: Iterable[str], addresses: Iterable[str], number: str | None = None) -> Person:
        """Return the person of an id, with names, and addresses or login names, as they are written."""
        # Each text once before its words are looked for: most names of one person are the same letters.
        named = list(dict.fromkeys(words for name in dict.fromkeys(names) if len(words := _words(name)) > 1))
        locals_ = list(dict.fromkeys(words for one in dict.fromkeys(addresses) if (words := _local(one))))
        del locals_[MOST_ADDRESSES:]
        compact = frozenset("".join(words) for words in locals_)
        forms = frozenset(form for words in named for form in _forms(words))
        names_, addresses_ = _sorted(named), _sorted(locals_)
        texts = tuple(_Text.of(words, names_, addresses_) for words in dict.fromkeys(names_ + addresses_))
        return cls(id_, names_, addresses_, texts, compact, forms, comparable_number(number))

    def marks(self) -> set[int]:
        """Return numbers that people who are alike have in common: one that is odd, or several."""
        sure = {*self.compact, *self.forms}
        some = set[str]()
        for words in {*self.names, *self.addresses}:
            if len(words) > 1:
                sure.add(" ".join(words))
                some |= {f"{one[:4]}.{other[:1]}" for one, other in permutations(words, 2) if len(one) > 1}
            some.update(words)
        return {crc32(one.encode()) | 1 for one in sure} | {crc32(one.encode()) & ~1 for one in some}


class Likeness(NamedTuple):
    """How much two are alike, of 100, and in what."""

    score: int
    alike: tuple[str, ...]


def likeness(one: Person, other: Person) -> Likeness | None:
    """Return how much two are alike; None if it is too little to show, or their numbers contradict it."""
    if one.number is not None and other.number not in (None, one.number):
        return None
    names = addresses = 0.0
    # Or an address of one is what people make of the name of the other for a login.
    in_address = 0.0 if one.compact.isdisjoint(other.forms) and other.compact.isdisjoint(one.forms) else 100.0
    for words, is_name, is_address, is_named in one.texts:
        for other_words, other_is_name, other_is_address, other_is_named in other.texts:
            score = _likeness_of(words, other_words)
            if score > names and is_name and other_is_name:
                names = score
            if score > addresses and is_address and other_is_address:
                addresses = score
            if score > in_address and ((is_named and other_is_name) or (is_name and other_is_named)):
                in_address = score
    found = (0.9 * names, 0.9 * addresses, 0.82 * in_address)
    if (best := max(found)) < LEAST_SCORE:
        return None
    shown = tuple(name for name, score in zip(_MAY_BE_ALIKE, found, strict=True) if score >= LEAST_SCORE)
    return Likeness(min(MOST_SCORE, round(best + 4 * (len(shown) - 1))), shown)


def _sorted(names: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return names with their words sorted, each once: "Miller, Jane" is "Jane Miller" then."""
    return tuple(dict.fromkeys(tuple(sorted(words)) for words in names))


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
        entries = [mark << 32 | place for place, person in enumerate(people) for mark in person.marks()]
        entries.sort()
        self._marks = array("I", [entry >> 32 for entry in entries])
        self._places = array("I", [entry & 0xFFFFFFFF for entry in entries])
        self.bearers = Counter(name for person in people for name in person.names)
        """How many have each name."""

    def near(self, person: Person) -> list[int]:
        """Return the places of those who may be alike, MOST_COMPARED at most, those with most in common first."""
        found: list[int] = []
        for mark in sorted(person.marks()):  # in an order, so that of equals the same are compared each time
            low = bisect_left(self._marks, mark)
            high = bisect_right(self._marks, mark, low)
            if low < high <= low + MOST_IN_COMMON:
                places = self._places[low:high]
                found.extend(places)
                if mark & 1:
                    found.extend(places)
        common = Counter(found)
        several = [place for place, count in common.items() if count > 1]
        return sorted(several, key=common.__getitem__, reverse=True)[:MOST_COMPARED]


def among(
    found: Likeness, names: Iterable[tuple[str, ...]], bearers: Mapping[tuple[str, ...], int]
) -> tuple[Likeness, int]:
    """Return a likeness as it is among namesakes, and how many others there are.

    `names` are those of the two, and `bearers` has how many on one side, at most, have a name.
    """
    namesakes = max((bearers.get(name, 1) - 1 for name in names), default=0)
    return (Likeness(min(NAMESAKES_SCORE, found.score), found.alike), namesakes) if namesakes > 0 else (found, 0)
