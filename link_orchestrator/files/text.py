"""The text of a file's bytes: UTF-8 or UTF-16, with or without a byte-order mark, or a code page.

A code page is one that the sender names, or windows-1252 where the bytes can be nothing else (code_pages.py). UTF-8
with some broken bytes stays UTF-8. What is in a code page that nothing tells is called that, and not UTF-8.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import Final, TextIO

from link_orchestrator.files.code_pages import weigh_windows_1252
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import HEAD_CHARS, UnreadableFile

NAME_IT: Final = "name its code page: Content-Type: text/csv; charset="
"""How a code page is said with a request; behind it stands one. Pages and `make plan` have other ways."""
REMEDY: Final = f"Save the file as UTF-8 and send it again, or {NAME_IT}windows-1252."
_CHUNK_BYTES: Final = 1 << 20
_UTF_8: Final = "utf-8-sig"
_NO_CODE_PAGE: Final = "ascii"
UNKNOWN: Final = "a code page that is not known"
"""What the encoding is called of a text that is in a code page, and nothing tells in which."""
_CALLED: Final = {_UTF_8: "UTF-8", _NO_CODE_PAGE: UNKNOWN}
_CUT_CHARACTER: Final = re.compile(rb"(?:[\xc3-\xc5]|[\xe0-\xef][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{1,2})\Z")
"""The beginning of a character in UTF-8 at a file's end. A single byte of a longer one may be an é of a code page."""
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE | re.ASCII)
_CODE_PAGES = re.compile(r"windows-125[0-8]|iso-8859-(?:[1-9]|10|11|13|14|15|16)")
_UNICODE: Final = {"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be", "utf16", "unicode"}
"""Names of charsets that say no more than the bytes themselves do."""


def open_text(file: bytes, content_type: str, notes: Notes) -> TextIO:
    """Return the text of a file, without a byte-order mark, and with line breaks as they are.

    `content_type` is a media type, which may have a charset, or a file's name. Bytes that are no text in the encoding
    become lone surrogates, to be found row by row. `notes` is told where a code page was inferred, or would have to be.
    Raises UnreadableFile for a charset that is not read here.
    """
    encoding = _encoding(file, content_type) or (_UTF_8 if _is_mostly_utf_8(file) else _infer_code_page(file, notes))
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    return io.TextIOWrapper(io.BytesIO(file), encoding, errors, newline="")


def encoding_of(text: TextIO) -> str:
    """Return the encoding of a text as people call it."""
    name = text.encoding
    return "UTF-16" if name.startswith("utf-16") else _CALLED.get(name, name)


def _infer_code_page(file: bytes, notes: Notes) -> str:
    """Return windows-1252 where a text surely is that, else ASCII: its rows with other letters cannot be read."""
    weighed = weigh_windows_1252(file)
    if not weighed.surely:
        notes.remark(
            "The text is not UTF-8. It is in a code page, such as windows-1252 of Western Europe or windows-1250 of "
            f"Central Europe, and its bytes do not tell which. Save the file as UTF-8, or {NAME_IT}windows-1252."
        )
        return _NO_CODE_PAGE
    lines = ", ".join(f"{line:,}" for line in weighed.doubtful_lines)
    look = f"in line {lines}" if len(weighed.doubtful_lines) == 1 else f"first in lines {lines}"
    notes.remark(
        "The text is not UTF-8, and was taken as windows-1252: look whether names with accents are right"
        f"{f', {look}' if lines else ''}. Where they are not, save the file as UTF-8, or {NAME_IT}windows-1250."
    )
    return "windows-1252"


def _encoding(file: bytes, content_type: str) -> str | None:
    """Return the encoding that the bytes themselves show, or that the charset names; None for UTF-8 or a code page.

    JSON is UTF-8 (RFC 8259 section 8.1), and so is what begins with the mark of UTF-8. The charset of a CSV file is
    that of its media type (RFC 4180 section 3).
    """
    if file.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if utf_16 := _utf_16_without_mark(file[:HEAD_CHARS]):
        return utf_16
    if file.startswith(codecs.BOM_UTF8) or file[:HEAD_CHARS].lstrip()[:1] in (b"[", b"{"):
        return _UTF_8
    charset = _CHARSET.search(content_type)
    if charset is None:
        return None
    name = charset[1].lower().replace("_", "-")
    if name in _UNICODE:
        return _UTF_8
    if not _CODE_PAGES.fullmatch(name):
        raise UnreadableFile(f"The charset of the Content-Type is not read here. {REMEDY}")
    # ISO 8859-1 is read as Windows reads it: where the two differ it has nothing but control characters.
    return "windows-1252" if name == "iso-8859-1" else name


def _utf_16_without_mark(head: bytes) -> str | None:
    """Return the kind of UTF-16 that a beginning is, None for no UTF-16.

    Every other byte of Latin letters, separators and line breaks is zero, and text in another encoding has no zeros.
    """
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 10 < len(head) or max(even, odd) < 4 or min(even, odd) * 100 > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be" if even else None


def _is_mostly_utf_8(file: bytes) -> bool:
    """Tell whether a text is UTF-8: whether at least as many of its characters are that as bytes are not."""
    if file.isascii():
        return True
    characters = broken = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for at in range(0, len(file), _CHUNK_BYTES):
        text = decoder.decode(file[at : at + _CHUNK_BYTES])
        decoded = len(text.encode("utf-8", "ignore").decode())
        characters += decoded - len(text.encode("ascii", "ignore"))
        broken += len(text) - decoded
    if _CUT_CHARACTER.search(file, max(len(file) - 4, 0)):
        return characters >= broken
    return characters >= broken + len(decoder.decode(b"", final=True))
