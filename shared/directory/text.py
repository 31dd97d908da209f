"""Text as the directory stores and shows it: long text in several columns, timestamps, entity tags."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from shared.directory.errors import TooLarge
from shared.tables.port import MAX_STRING_UNITS, Value

MAX_TEXT_COLUMNS = 12
"""Columns of 64 KiB that one text may fill: most of a row's 1 MiB, with room for the other columns."""

MAX_NAME_CHARS: Final = 1_000
"""Characters of what tells accounts and groups apart: names, addresses, ids."""
MAX_ADDRESS_CHARS: Final = 320
"""Characters of an e-mail address: 64, an @, and 255 (RFC 5321 section 4.5.3.1)."""
HIDDEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""A character that is not shown: Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt)."""


def find_hidden(text: str, *, emoji: bool = False) -> str:
    """Return the first character of a text that is not shown, like `U+200B`, or "".

    A name with one is a twin of the name without it: RFC 8264 section 9.13 allows none of them in what identifies. With
    `emoji`, joiners and variation selectors may be where they make another sign or letter of what is before them.
    """
    if text.isascii():
        return ""
    for found in HIDDEN.finditer(text):
        before = text[found.start() - 1 : found.start()]
        joins = emoji and found[0] in _JOINERS and bool(before)
        if not (joins and (before in _JOINERS or unicodedata.category(before) in _JOINED)):
            return f"U+{ord(found[0]):04X}"
    return ""


def unfit(text: str, *, emoji: bool = False) -> str:
    """Return why a text cannot be what tells an account or a group from others, "" where it can; `emoji` as above."""
    if len(text) > MAX_NAME_CHARS:
        return f"has more than {MAX_NAME_CHARS:,} characters: shorten it"
    if _BREAK.search(text):
        return "has a line break or a tab: take it out"
    unseen = find_unseen(text, emoji=emoji)
    return f"has a character that is not shown, {unseen}: take it out" if unseen else ""


def unfit_to_show(text: str) -> str:
    """Return the same for a name that is shown and tells nobody apart: marks of direction belong to names, too."""
    return unfit(_MARKS.sub("", text), emoji=True)


def is_address(text: str) -> bool:
    """Tell whether a text is one e-mail address, name@domain, as administrators and their files write one."""
    return len(text) <= MAX_ADDRESS_CHARS and _ADDRESS.fullmatch(text) is not None


def find_unseen(text: str, *, emoji: bool = False) -> str:
    """Return the first character that breaks its line, is a control character or is not shown, like `U+000A`, or "".

    `emoji` as above.
    """
    found = _CONTROL.search(text)
    return f"U+{ord(found.group()):04X}" if found else find_hidden(text, emoji=emoji)


_MARKS: Final = re.compile("[\u061c\u200e\u200f]")
_BREAK: Final = re.compile(r"[\t\r\n]")
_ADDRESS: Final = re.compile(r"[^\s@,;<>()\"]+@[^\s@,;<>()\"]+")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_JOINERS: Final = "\u200c\u200d\ufe0e\ufe0f"
_JOINED: Final = ("So", "Sk", "Sm", "Lo", "Mn", "Mc")

_END_OF_TIME = 10**16
"""Microseconds since 1970 from which a time is taken away: the year 2286."""


def split_text(name: str, text: str, spare: int = 0) -> dict[str, Value | None]:
    """Return text as columns `name`, `name1`, … that each fit 64 KiB.

    Raises TooLarge where they would not hold the text and as many `spare` characters more.
    """
    step = MAX_STRING_UNITS if text.isascii() else MAX_STRING_UNITS // 2
    if len(text) <= step:
        return {name: text}
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    if len(text) + spare > MAX_TEXT_COLUMNS * step:
        raise TooLarge(f"{name} is larger than {MAX_TEXT_COLUMNS * step} characters")
    return {f"{name}{n or ''}": piece for n, piece in enumerate(pieces)}


def join_text(name: str, columns: Mapping[str, Any]) -> str:
    """Return the text that split_text() took apart; "" if there is none."""
    text: str = columns.get(name, "")
    if name + "1" in columns:
        names = [f"{name}{n}" for n in range(1, MAX_TEXT_COLUMNS)]
        text += "".join(columns[further] for further in names if further in columns)
    return text


def timestamp(moment: datetime | None = None) -> str:
    """Return an instant as SCIM dateTime in UTC with milliseconds (RFC 7643 section 2.3.5)."""
    moment = moment or datetime.now(UTC)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def from_the_end(at: str) -> str:
    """Return 16 digits that are the smaller, the later a time is: in order of key, the latest rows come first."""
    return f"{_END_OF_TIME - int(datetime.fromisoformat(at).timestamp() * 1_000_000):016d}"


def weak_tag(text: str) -> str:
    """Return a weak entity tag made of a text: short, and the same on every backend."""
    return f'W/"{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"'


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 identity` or `1,204 identities`."""
    plural = noun if count == 1 else f"{noun.removesuffix('y')}ies" if noun.endswith(("ty", "ry")) else f"{noun}s"
    return f"{count:,} {plural}"


@dataclass(frozen=True, slots=True)
class Advice:
    """What is wrong and what to do, as the text of an error: `remedy` is in the words of requests.

    By `code` and `values` another surface says the second in words of its own (link_orchestrator/portal/remedies.py).
    """

    what: str
    remedy: str
    code: str
    values: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


@dataclass(frozen=True, slots=True)
class Several:
    """What is wrong with several entries of what was sent, as the text of one error."""

    each: tuple[str | Advice, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.each))
