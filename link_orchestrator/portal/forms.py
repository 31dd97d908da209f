"""What a form sends: fields and files, urlencoded or multipart (RFC 7578), bounded and never trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from link_orchestrator.requests.sent_file import MAX_FILE_BYTES
from shared.json_text import NotJson, Twice, read_written
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue

MAX_FIELDS: Final = 2_000
"""Fields of one form at most: a page of decisions has a few hundred boxes."""
MAX_FIELDS_BYTES: Final = 4 * 1024 * 1024
"""Bytes that a form's fields have at most, without its files."""
MAX_FORM_BYTES: Final = MAX_FILE_BYTES + MAX_FIELDS_BYTES
"""Bytes of a whole form. Azure's host answers a bare 413 for 104,857,600 and more."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""Bytes of the line in which a form names a file, at most."""
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


class SentFile(NamedTuple):
    """A file as a browser sends it, with the name that it has there."""

    name: str
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Form:
    """The fields and files of a form; every field that was not sent is ""."""

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, SentFile] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """Return the last value of a field, "" where it was not sent."""
        return self.fields.get(name, ("",))[-1]

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a field, as of boxes that share a name."""
        return self.fields.get(name, ())


NOTHING_SENT: Final = Form()


def read_form(content_type: str, body: bytes, fields: dict[str, tuple[str, ...]] | None = None) -> Form:
    """Return the form that a body holds. Raises BodyTooLarge, or InvalidSyntax for what is no form.

    `fields` is filled with the fields in their order, and has those before the trouble where something is raised.
    """
    fields = {} if fields is None else fields
    kind = content_type.partition(";")[0].strip().lower()
    if kind == URLENCODED:
        return _read_urlencoded(body, fields)
    if kind == MULTIPART:
        return _read_multipart(content_type, body, fields)
    raise InvalidSyntax("the body is no form: send it from the page")


def _read_urlencoded(body: bytes, fields: dict[str, tuple[str, ...]]) -> Form:
    if len(body) > MAX_FIELDS_BYTES:
        raise BodyTooLarge(f"A form has at most {MAX_FIELDS_BYTES} bytes beside its files.")
    try:
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidSyntax(f"the form has more than {MAX_FIELDS} fields") from None
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), _in_lines(value))
    return Form(fields)


def _read_multipart(content_type: str, body: bytes, fields: dict[str, tuple[str, ...]]) -> Form:
    import multipart  # the portal's forms alone need it

    files: dict[str, SentFile] = {}
    left = MAX_FIELDS_BYTES
    _, options = multipart.parse_options_header(content_type)
    file = ""
    try:
        with multipart.PushMultipartParser(
            options.get("boundary", ""),
            len(body),
            max_segment_count=MAX_FIELDS,
            max_header_size=MAX_HEADER_BYTES,
            # Every byte is a character of it: a name in no UTF-8 is no reason to lose what was typed.
            header_charset="latin-1",
            strict=True,
        ) as parser:
            segment, pieces = None, list[bytes]()
            for event in parser.parse(body):
                if isinstance(event, multipart.MultipartSegment):
                    segment, pieces = event, []
                    file = _utf8(segment.name) if segment.filename is not None else file
                elif event:
                    pieces.append(bytes(event))
                    if segment is not None and segment.filename is None and (left := left - len(event)) < 0:
                        raise BodyTooLarge(f"A form has at most {MAX_FIELDS_BYTES} bytes beside its files.")
                elif segment is not None:
                    content, name = pieces[0] if len(pieces) == 1 else b"".join(pieces), _utf8(segment.name)
                    if segment.filename is not None:
                        kind = segment.content_type or "application/octet-stream"
                        files[name] = SentFile(_utf8(segment.filename), content, kind)
                    else:
                        text = _in_lines(content.decode("utf-8", "replace"))
                        fields[name] = (*fields.get(name, ()), text)
    except multipart.MultipartError:
        if len(body) <= MAX_FORM_BYTES:
            said = "the form did not arrive as a browser sends it: load the page again, and send it"
            raise InvalidSyntax(said) from None
    if len(body) > MAX_FORM_BYTES:  # it is cut there, if it came packed
        about = f"{file}: a" if file else "A"
        said = f"{about} file has at most {MAX_FILE_BYTES:,} bytes. Split it, and send one part after the other."
        raise BodyTooLarge(said)
    # A field for a file that nobody chose has no name and no content.
    return Form(fields, {name: file for name, file in files.items() if file.name or file.content})


def _utf8(name: str) -> str:
    """Return the name of a field or file as browsers write it, with a mark for what is no UTF-8."""
    return name.encode("latin-1").decode("utf-8", "replace")


def read_json(name: str, text: str) -> Any:
    """Return what the JSON in a field says. Raises InvalidValue about the field, with line and column."""
    try:
        return read_written(text)
    except NotJson as error:
        raise InvalidValue(f"{name}: it is no JSON: {error}") from None
    except Twice as error:
        raise InvalidValue(f"{name}: {error}") from None


def _in_lines(text: str) -> str:
    """Return a text with the line ends that Python writes: a form sends CRLF (HTML, "form-data set")."""
    return text.replace("\r\n", "\n")


_NUMBER: Final = re.compile(r"[0-9]{1,3}(?:[\s,.'\u2019][0-9]{3}){1,3}|[0-9]{1,11}")
"""A number as people type it, with or without a mark between thousands."""


def digits(typed: str) -> int | None:
    """Return a number as people type it, with or without marks between thousands; None for what is none."""
    text = typed.strip()
    return int(re.sub(r"\D", "", text)) if _NUMBER.fullmatch(text) else None
