"""Object ids of Entra, however they are written. Pure."""

from __future__ import annotations

import re
from typing import Final

from shared.directory.keys import fold
from shared.directory.text import HIDDEN

NO_OBJECT_ID: Final = "an object id of Entra is a GUID, like 11111111-0000-4000-8000-000000000001"
"""What to say of a text that is none."""

_GUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_SHORTEST, _LONGEST = 32, 100
"""Characters of a text that may be an object id."""
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
_NIL = "00000000-0000-0000-0000-000000000000"


def read_object_id(text: str) -> str | None:
    """Return an object id as Entra writes it, a GUID in small letters; None for a text that is no GUID.

    Spreadsheets, word processors and scripts put braces around it, write it in capitals, make longer dashes of its
    hyphens or leave them out, and add characters that nobody sees. The nil GUID is nobody's.
    https://learn.microsoft.com/graph/api/resources/user (`id`)
    """
    guid = _read_guid(text)
    return None if guid == _NIL else guid


def is_nil(text: str) -> bool:
    """Tell whether a text is the nil GUID, however it is written: it stands for no id (RFC 9562 section 5.9)."""
    return _read_guid(text) == _NIL


def _read_guid(text: str) -> str | None:
    if not _SHORTEST <= len(text) <= _LONGEST:
        return None
    written = text.lower()
    if (guid := _GUID.fullmatch(written)) is None:
        bare = HIDDEN.sub("", written).translate(_DASHES).strip().removeprefix("{").removesuffix("}").strip()
        if (guid := _GUID.fullmatch(bare)) is None:
            return None
    digits = guid[0]
    return digits if guid[1] else "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def compared_id(text: str) -> str:
    """Return the form in which ids of identities are compared: an object id's, or that of any other value."""
    return read_object_id(text) or fold(text)


def forms_of(text: str) -> set[str]:
    """Return the folded forms by which an id leads to its account: as it is stored, and as the object id it is."""
    return {fold(text), compared_id(text)}
