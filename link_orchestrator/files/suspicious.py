"""Values that are hardly what they should be: fillers, and what a spreadsheet made of a number, among others.

They are read as they stand, and counted, so that an administrator sees them before anybody is linked by them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Suspicion(StrEnum):
    """What is suspicious about a value or a row."""

    FILLER = "filler"
    MANGLED = "mangledNumber"
    SHORTENED = "shortenedNumber"
    ROUNDED = "roundedNumber"
    DATE = "date"
    TRUTH = "truthValue"
    ERROR = "spreadsheetError"
    OBJECT = "powershellObject"
    MOJIBAKE = "mojibake"
    LOST = "lostLetter"
    NO_NAME = "noUserName"
    SHORT = "shortRow"
    CUT = "cutLastLine"


_AGAIN: Final = (
    "Export the file again, and open it in no spreadsheet; or format the column as text before it is filled."
)
MEANINGS: Final[Mapping[Suspicion, tuple[str, str]]] = {
    Suspicion.FILLER: (
        "a word that stands for no value, such as n/a",
        "Leave such cells empty: two people with the same filler look like one.",
    ),
    Suspicion.MANGLED: (
        "a number as a spreadsheet writes it, such as 1.2E+05 or 42.0",
        _AGAIN,
    ),
    Suspicion.SHORTENED: (
        "a number with fewer digits than others of the column, which have zeros before them, such as 123 beside 00456",
        f"{_AGAIN} Where one side has no zeros on purpose, let the match rule strip them (stripLeadingZeros).",
    ),
    Suspicion.ROUNDED: (
        "a number of more than 15 digits with zeros for the last ones, such as 1234567890123450",
        _AGAIN,
    ),
    Suspicion.DATE: (
        "a date or a time, where the column holds none",
        "A spreadsheet may have taken a number or a name for a date: export the file again.",
    ),
    Suspicion.TRUTH: (
        "TRUE or FALSE, where the column holds neither",
        f"A spreadsheet may have taken a name for it. {_AGAIN}",
    ),
    Suspicion.ERROR: (
        "an error of a spreadsheet's formula, such as #N/A",
        "Mend the formula, or leave such cells empty.",
    ),
    Suspicion.OBJECT: (
        "the name of a type, which PowerShell wrote in the place of a list",
        "Export with ConvertTo-Json, or join the values: @{n='proxyAddresses';e={$_.ProxyAddresses -join ';'}}.",
    ),
    Suspicion.MOJIBAKE: (
        "letters that were read in a wrong encoding before, such as Ã¼",
        "Export the file again, as UTF-8.",
    ),
    Suspicion.LOST: (
        "a question mark in the place of a letter that a program could not write, such as Y?lmaz",
        "Export the file again, as UTF-8: the letter is in this file no more.",
    ),
    Suspicion.NO_NAME: (
        "no name to sign in with, in a file that has them: the e-mail address is taken for it",
        "Fill the name in where the person signs in with another one.",
    ),
    Suspicion.SHORT: (
        "fewer cells than the header row has: those that are missing count as empty",
        "Check that no value holds a line break without quotes.",
    ),
    Suspicion.CUT: (
        "the last line ends in its middle, and was not read",
        "Export the file again, and check that the download is complete.",
    ),
}
"""What each suspicion says of the values it counts, and what to do about them."""

FLAGS: Final = frozenset({"active", "inactive", "accountEnabled", "blocked", "emailVerified", "protected"})
"""Columns that hold yes or no, in which 0 and none mean something."""
NUMBERS: Final = frozenset({"userName", "applicationId", "employeeNumber", "employeeId", "externalId", "nameId"})
"""Columns by whose values people are told apart, which may be numbers."""
_PHONES: Final = frozenset({"phone", "mobilePhone", "homePhone", "phoneNumbers"})
"""Columns whose numbers may look like a date."""

_NAMES: Final = frozenset({"displayName", "givenName", "familyName", "userName", "surname"})
"""Columns in which a question mark between letters stands for one that was lost."""
_LOST: Final = re.compile(r"[^\W\d_]\?|\?[^\W\d_]")

_FILLERS: Final = (
    "n/a n.a. n.v. k.a. none null (null) <null> nil nan undefined unknown unbekannt inconnu desconocido tbd todo dummy "
    "test xxx keine kein vide empty leer - -- --- . .. ... _ __ ? ?? ??? * ** ***"
)
_TRUTHS: Final = "true false wahr falsch vrai faux verdadero falso verdadeiro vero waar onwaar"
_WORDS: Final = {
    word: kind for kind, words in ((Suspicion.FILLER, _FILLERS), (Suspicion.TRUTH, _TRUTHS)) for word in words.split()
}
_MOST_WORD_CHARS: Final = max(map(len, _WORDS))
_ADDRESS: Final = re.compile(
    r"(?:test|none|null|no-?reply|no-?(?:e-?)?mail|unknown|n/?a|dummy|xxx)@[a-z-]{1,20}(?:\.[a-z]{2,8})?"
)
_MONTH: Final = (
    "(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sept?|oct|okt|nov|dec|dez"
    "|janv|févr|mars|avr|juin|juil|août|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|fev|out|mrt|mei)"
)
"""Months as spreadsheets shorten them in English, German, French, Spanish, Italian, Portuguese and Dutch."""
_NUMBER: Final = re.compile(
    r"(?P<FILLER>0{1,12})|(?P<MANGLED>-?\d(?:(?:[.,]\d{1,15})?e\+|[.,]\d{1,15}e-)\d{2,3}|\d{1,15}[.,]0{1,2}|\d{1,3}(?:[.,]\d{3})+[.,]\d{2})|"
    r"(?P<DATE>\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})(?: \d{1,2}:\d{2}(?::\d{2})?)?|"
    r"\d{4}-\d{2}-\d{2}(?:[t ]\d{2}:\d{2}(?::\d{2})?)?|"
    rf"\d{{1,2}}\.\d{{1,2}}\.|\d{{1,2}}:\d{{2}}(?::\d{{2}})?|\d{{1,2}}[. -]{{1,2}}{_MONTH}\.?(?:[. -]\d{{2,4}})?)"
)
_MONTH_AND_YEAR: Final = re.compile(rf"{_MONTH}[. -]\d{{2,4}}")
_ERROR: Final = re.compile(r"#(?:#+|n/a|ref!|name\?|value!|div/0!|null!|num!|wert!|bezug!|nv|n\.v\.|valeur!|valor!)")
_TYPE: Final = re.compile(r"(?:system|microsoft)\.[a-z.]{1,80}(?:\[\]|`1\[[a-z.]{1,80}\])")
_MOJIBAKE: Final = re.compile("\ufffd|[ÃÂ][\x80-\xbf]|â€|[ÃÂ][\u0152-\u2122]")


def suspect(value: str, column: str) -> Suspicion | None:
    """Return what is suspicious about the value of a column, None for nothing. The value is not empty."""
    suspicion = _suspicion(value.lower())
    if suspicion is None:
        if not value.isascii() and _MOJIBAKE.search(value):
            return Suspicion.MOJIBAKE
        return Suspicion.LOST if "?" in value and column in _NAMES and _LOST.search(value) else None
    harmless = (suspicion in (Suspicion.FILLER, Suspicion.TRUTH) and column in FLAGS) or (
        suspicion is Suspicion.DATE and column in _PHONES
    )
    return None if harmless else suspicion


def is_type_name(value: str) -> bool:
    """Tell whether a value is the name of a type, which PowerShell writes in the place of a list."""
    return _suspicion(value.lower()) is Suspicion.OBJECT


def _suspicion(text: str) -> Suspicion | None:
    """Return what is suspicious about a text in small letters. Most texts are told by their beginning or length."""
    if len(text) <= _MOST_WORD_CHARS and (known := _WORDS.get(text)):
        return known
    first = text[0]
    if "0" <= first <= "9" or first == "-":
        found = _NUMBER.fullmatch(text)
        return Suspicion[found.lastgroup or ""] if found else None
    if first in "tnudx" and "@" in text and _ADDRESS.fullmatch(text):
        return Suspicion.FILLER
    if first == "#":
        return Suspicion.ERROR if _ERROR.fullmatch(text) else None
    if first in "sm" and text.startswith(("system.", "microsoft.")):
        return Suspicion.OBJECT if _TYPE.fullmatch(text) else None
    if len(text) < 10 and text[-1].isdecimal() and _MONTH_AND_YEAR.fullmatch(text):
        return Suspicion.DATE
    return None
