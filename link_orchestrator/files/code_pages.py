"""Whether bytes that are not UTF-8 are windows-1252 beyond doubt, the code page of Excel in Western Europe.

A wrong guess would put a wrong name into the directory and say nothing. So what Eastern Europe's, Turkey's or the
Baltic's code page, DOS or an old Macintosh might have written is not guessed at: its rows are reported. Western and
Central Europe's code pages have most letters in common, such as ä and é: one Lefèvre among them, whose è is č in the
other, makes a rival of the whole file. There the letters beside each è tell which of the two it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

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


_CONSONANT: Final = "[bcdfghjklmnpqrstvwxz]"
_WESTERN_PLACES: Final = re.compile(
    rf"(?<={_CONSONANT})è(?=[bcdfglmnpqrstvxz])|(?<=i)è(?=v)"  # Lefèvre, Hélène, Geneviève; but Horáčková, Počta
    rf"|(?<={_CONSONANT})ò\b"  # Nicolò; but Daňek
    r"|ñ(?=[aeiouáéíóú])"  # Muñoz; but Zieliński
    r"|ã(?=[oe])|õ(?=e)"  # João, Simões; but Bărbulescu, Erdős
    r"|(?<=[aou])ï(?=[scl])"  # Anaïs; but Hurďák
    rf"|(?:(?<={_CONSONANT})|\b)ø(?={_CONSONANT})"  # Søren, Østergaard; but Dvořák, Ondřej
    rf"|(?<={_CONSONANT})æ(?={_CONSONANT})|\bæ(?=[dglnrs])"  # Kjær, Ægir; but Marić, Ćwikła
    r"|(?-i:(?<=[a-z])[éêë]|\bÖ(?=[bdghkmtz]|st))",  # André, Özlem; DOS has Ú, Û, Ù and Í there
    re.IGNORECASE,
)
"""Letters where names of Western Europe have them, and a rival's names do not have its own letter."""
_RIVAL_PLACES: Final = re.compile(
    r"è(?=[aeiouyáéíóúýk])|ñ(?=[bcdfghjklmpqrstvwxz])|ø(?=[áéíýìù])|(?<=[áéíý])ø|ì(?=\w)|ò(?=[aeo])"
    r"|ã(?=[bcdfghjklmpqrstvwxz])|(?<=i)æ\b|(?-i:(?<=[A-Z])[éêë](?=[A-Z]))",
    re.IGNORECASE,
)
"""Letters where only a rival's names have its own: Kuèera is Kučera, Zieliñski Zieliński, Dvoøák Dvořák, RAéL RAÚL."""
_GERMAN: Final = "äöüßÄÖÜ"
_ENOUGH: Final = 20
"""Letters that are surely Western Europe's for each one that may be either's."""
_NAMED_LINES: Final = 5
"""Lines that are named of those with a letter that may be either's."""


class Weighed(NamedTuple):
    """Whether a file is windows-1252 beyond doubt, and the first lines in which a single letter may be another one."""

    surely: bool
    doubtful_lines: tuple[int, ...] = ()


def weigh_windows_1252(file: bytes) -> Weighed:
    """Weigh whether bytes that are not UTF-8 are windows-1252: whether no rival makes words of any language of them."""
    high = bytes(set(file.translate(None, _ASCII)))
    letters = [_letter(code, "windows-1252") for code in high]
    if not _WESTERN.issuperset(letters) or not _has_western_words(file, high) or _UTF_8.search(file):
        return Weighed(surely=False)
    rivals = {rival: set("".join(fit)) for rival in _RIVALS if (fit := [*_fitting(high, rival, letters)])}
    if not rivals:
        return Weighed(surely=True)
    theirs = set[str]().union(*rivals.values())
    german = [code for code, letter in zip(high, letters, strict=True) if letter in _GERMAN and letter not in theirs]
    other = "".join(_letter(code, "windows-1252") for code in high if any(_differs(code, rival) for rival in rivals))
    return _weigh_places(file, re.compile(f"[{re.escape(other)}]"), sum(map(file.count, german)))


def _weigh_places(file: bytes, other: re.Pattern[str], western: int) -> Weighed:
    """Look at every letter that is another in a rival, beside `western` ones that speak for Western Europe already."""
    doubtful: list[int] = []
    for number, line in enumerate(io.BytesIO(file), 1):
        if line.isascii():
            continue
        text = line.decode("windows-1252")
        if _RIVAL_PLACES.search(text):
            return Weighed(surely=False)
        told = len(other.findall("".join(_WESTERN_PLACES.findall(text))))
        western += told
        doubtful += [number] * (len(other.findall(text)) - told)
    surely = western >= max(1, _ENOUGH * len(doubtful))
    return Weighed(surely, tuple(dict.fromkeys(doubtful))[:_NAMED_LINES])


def _has_western_words(file: bytes, high: bytes) -> bool:
    """Tell whether more letters stand beside ASCII than among themselves."""
    western = sum(1 if word[1] else -1 for word in _WORDS.finditer(file))
    return western > 0 or max(high) < 0xC0


def _fitting(high: bytes, rival: str, letters: list[str]) -> Iterator[str]:
    """Yield the alphabets of a rival that reads these bytes differently, and as letters of one of its languages."""
    read = [_letter(code, rival) for code in high]
    # Marks that both have in the same place, such as a dash, tell nothing.
    telling = [theirs for ours, theirs in zip(letters, read, strict=True) if theirs != ours or theirs.isalpha()]
    alphabets, more = _RIVALS[rival]
    if read != letters:
        yield from (alphabet for alphabet in alphabets if set(alphabet + more).issuperset(telling))


def _differs(code: int, rival: str) -> bool:
    return _letter(code, rival) != _letter(code, "windows-1252")


def _letter(code: int, encoding: str) -> str:
    return bytes([code]).decode(encoding, "replace")
