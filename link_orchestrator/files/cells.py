"""Single cells of a row: text, yes or no, an e-mail address; and headers, reduced to what they are recognised by.

files/formats.py reads the rows. The modules beside it, one for each kind of file, know which cell is what.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from link_orchestrator.files.rows import MAX_FIELD_CHARS
from shared.directory.text import MAX_NAME_CHARS, find_unseen, is_address


class Unusable(Exception):
    """A row that cannot be used, mostly because of one cell. `reason` and `remedy` are a Problem's."""

    def __init__(self, header: str, what: str, remedy: str) -> None:
        self.reason = f"The column {printable(header[:80])} {what}."
        self.remedy = remedy
        super().__init__(self.reason)

    @classmethod
    def because(cls, reason: str, remedy: str) -> Unusable:
        """Return the same for a reason that is not about one column."""
        unusable = cls("", "", remedy)
        unusable.reason = reason
        return unusable


def printable(text: str) -> str:
    """Return a text without characters that cannot be written out; JSON allows any character in a name."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


_PROPERTIES: Final = (
    "accountenabled", "department", "displayname", "employeeid", "givenname", "jobtitle", "objectid",
    "passwordprofile", "surname", "userprincipalname",
)  # fmt: skip
"""Properties that a header may have in brackets, as `Nom [displayName] Obligatoire` in templates of Entra."""
_REMARK = re.compile(r"\[([^\[\]]*+)\]")


@lru_cache(4096)
def in_words(header: str) -> str:
    """Return a header without case, `[remarks]` and the spaces around its words.

    Of one with a property of Entra in brackets, that is the property.
    """
    header = unicodedata.normalize("NFKC", header).casefold()
    for remark in _REMARK.findall(header):
        if remark in _PROPERTIES:
            return str(remark)
    return " ".join(_REMARK.sub(" ", header).split())


@lru_cache(4096)
def plain(header: str) -> str:
    """Return a header without case, spaces, punctuation, `[remarks]` and the URN before an attribute's name."""
    name = in_words(header)
    if name.startswith("urn:"):
        name = name.rpartition(":")[2]
    return re.sub(r"[\W_]+", "", name).casefold()


# Tabs and line breaks are allowed in a text such as an address, but not in a value that is compared.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BREAK = re.compile(r"[\t\r\n]")
BETWEEN: Final = re.compile(r"[;,\s]+")
"""Separates the values of a cell that holds several."""
_ANSWERS: Final = {
    True: "true yes y 1 on wahr vrai verdadero ja oui sí si はい",
    False: "false no n 0 off falsch faux falso nein non いいえ",
}
"""Words for yes and no, as spreadsheets in several languages write them."""
_STATES: Final = {
    True: "active enabled provisioned recovery password_expired locked_out aktiv aktiviert actif activo attivo",
    False: "inactive disabled deactivated suspended deprovisioned staged archived blocked deleted "
    "inaktiv deaktiviert gesperrt inactif inactivo inattivo",
}
"""States of people who may come in and who may not, among them those of an Okta user."""
_STATE_OF: Final = {word: state for state, words in _STATES.items() for word in words.split()}
_ANSWER_OF: Final = _STATE_OF | {word: answer for answer, words in _ANSWERS.items() for word in words.split()}


def read_text(header: str, value: object, *, compared: bool = False, most: int = MAX_FIELD_CHARS) -> str | None:
    """Return a value as text without spaces around it, None if nothing is left.

    Raises Unusable for a list or an object, and for text that is longer than `most` characters or holds control
    characters; in a `compared` value tabs and line breaks are such, too.
    """
    if not isinstance(value, str):
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise Unusable(header, "holds no plain text", "Write one value.")
        value = str(value).lower() if isinstance(value, bool) else str(value)
    text = value.strip()
    if len(text) > most:
        raise Unusable(header, f"holds more than {most} characters", "Shorten the value.")
    if not text.isprintable() and (_CONTROL.search(text) or (compared and _BREAK.search(text))):
        raise Unusable(header, "holds control characters", "Take them out.")
    return text or None


def read_shown(header: str, value: object, *, most: int = MAX_NAME_CHARS, emoji: bool = False) -> str | None:
    """Return a compared value by which accounts or groups are told apart. Raises Unusable for what nobody sees in it.

    `emoji` says that signs may be made of several characters.
    """
    text = read_text(header, value, compared=True, most=most)
    if text and (unseen := find_unseen(text, emoji=emoji)):
        raise Unusable(header, f"has a character that is not shown, {unseen}", "Take it out.")
    return text


_VERIFIED: Final = {"verified": True, "confirmed": True, "unverified": False, "not_verified": False, "pending": False}
"""Words that say whether an address is verified."""


def find_answer(text: str) -> bool | None:
    """Return True for a word that means yes, or a state to come in with, False for no, None for any other."""
    return _ANSWER_OF.get(text.lower().replace(" ", "_"))


def find_state(text: str) -> bool | None:
    """Return whether a word is the state of somebody who may come in; None for one that is no state."""
    return _STATE_OF.get(text.lower().replace(" ", "_"))


def find_verified(text: str) -> bool | None:
    """Do the same for a word that says whether an address is verified."""
    word = text.lower().replace(" ", "_")
    return _VERIFIED.get(word, find_answer(word))


def read_flag(
    header: str, value: object, *, default: bool, answer_of: Callable[[str], bool | None] = find_answer
) -> bool:
    """Return the yes or no of a cell, `default` if it is empty. Raises Unusable for anything else."""
    text = read_text(header, value, compared=True)
    if text is None:
        return default
    answer = answer_of(text)
    if answer is None:
        raise Unusable(header, "holds neither yes nor no", "Write true or false.")
    return answer


def read_email(header: str, value: object) -> str:
    """Return the e-mail address of a cell. Raises Unusable for anything else, an empty cell included."""
    address = read_shown(header, value) or ""
    if address[:7].lower() == "mailto:":  # of a link that a spreadsheet made
        address = address[7:]
    if not is_address(address):
        raise Unusable(header, "holds no e-mail address", "Write it as name@domain, or leave it empty.")
    return address
