"""Whether bytes that are not UTF-8 are windows-1252 beyond doubt, the code page of Excel in Western Europe.

A wrong guess would put a wrong name into the directory and say nothing. So what Eastern Europe's, Turkey's or the
Baltic's code page, DOS or an old Macintosh might have written is not guessed at: its rows are reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_ASCII: Final = bytes(range(0x80))
_WESTERN: Final = frozenset(
    "äöüßàâæçèéêëîïôœùûáíóúñãõìòåøðýþÄÖÜÀÂÆÇÈÉÊËÎÏÔŒÙÛÁÍÓÚÑÃÕÌÒÅØÐÝÞ\u2018\u2019“”„\u2013—…€ªº¿¡«»·°§\xa0"
)
"""Letters of Western Europe's languages, and what an office program puts around words."""
_NEIGHBOURS: Final = "äöüÄÖÜßéÉ"
"""Letters of names that are met on both sides of a border."""
_WEST: Final = ("áéíóúñÁÉÍÓÚÑ", "àâçèéêëîïôœùû", "äöüßÄÖÜ", "áâãàçéêíóôõú", "àèéìíòóù", "åäöæøÅÄÖÆØé")
_RIVALS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "windows-1250": (
        (
            "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ",
            "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽ",
            "áäčďéíľňóôšťúýžÁÄČĎÉÍĽŇÓÔŠŤÚÝŽ",
            "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
            "čćđšžČĆĐŠŽ",
            "ăâîşţĂÂÎŞŢ",
        ),
        _NEIGHBOURS,
    ),
    "windows-1254": (("âçğıîöşûüÇĞİÖŞÜ",), ""),
    "windows-1257": (("ąčęėįšųūžĄČĘĖĮŠŲŪŽ", "āčēģīķļņšūžĀČĒĢĪĶĻŅŠŪŽ", "äõöüšžÄÕÖÜŠŽ"), ""),
    "mac-roman": (_WEST, _NEIGHBOURS),
    "cp850": (_WEST, _NEIGHBOURS),
}
"""Code pages that may have written the same bytes, each with the usual letters of its languages, and further ones."""
_WORDS: Final = re.compile(
    rb"([A-Za-z][\xc0-\xff]{1,2}+(?![\xc0-\xff])|(?<![\xc0-\xff])[\xc0-\xff]{1,2}+[A-Za-z])|[\xc0-\xff]{2,100}+"
)
"""Letters beside ASCII, as the words of Western Europe have them, or without, as those of other scripts are."""
_UTF_8: Final = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")


def is_surely_windows_1252(file: bytes) -> bool:
    """Tell whether bytes that are not UTF-8 are windows-1252, since no rival makes words of any language of them."""
    high = bytes(set(file.translate(None, _ASCII)))
    letters = [_letter(code, "windows-1252") for code in high]
    if not _WESTERN.issuperset(letters) or not _has_western_words(file, high) or _UTF_8.search(file):
        return False
    return not any(_is_plausible(high, rival, letters) for rival in _RIVALS)


def _has_western_words(file: bytes, high: bytes) -> bool:
    """Tell whether more letters stand beside ASCII than among themselves."""
    western = sum(1 if word[1] else -1 for word in _WORDS.finditer(file))
    return western > 0 or max(high) < 0xC0


def _is_plausible(high: bytes, rival: str, letters: list[str]) -> bool:
    """Tell whether a rival reads these bytes differently, and as letters of one of its languages."""
    read = [_letter(code, rival) for code in high]
    # Marks that both have in the same place, such as a dash, tell nothing.
    telling = [theirs for ours, theirs in zip(letters, read, strict=True) if theirs != ours or theirs.isalpha()]
    alphabets, more = _RIVALS[rival]
    return read != letters and any(set(alphabet + more).issuperset(telling) for alphabet in alphabets)


def _letter(code: int, encoding: str) -> str:
    return bytes([code]).decode(encoding, "replace")
