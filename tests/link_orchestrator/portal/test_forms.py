"""Forms as browsers send them, and as nobody should."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.portal.forms import MAX_FIELDS, MULTIPART, URLENCODED, digits, read_form
from link_orchestrator.portal.page import Refusal
from shared.scim.errors import BodyTooLarge, InvalidSyntax

TEXTS = ("", "a b&c=d", "naïve ☃ 😀", "مرحبا", "line\nline", "<script>", "--boundary", "%00+%2B", "x" * 10_000)


def multipart(fields: dict[str, str], files: dict[str, tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return the media type and the body of a form, as Chromium writes it."""
    parts = [(f'name="{name}"', text.replace("\n", "\r\n").encode()) for name, text in fields.items()]
    for name, (filename, content) in files.items():
        parts.append((f'name="{name}"; filename="{filename}"\r\nContent-Type: text/csv', content))
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), content) for head, content in parts
    )
    return f"{MULTIPART}; boundary=b", body + b"--b--\r\n"


@pytest.mark.parametrize("text", TEXTS)
def test_fields_and_files_come_as_they_were_typed(text: str) -> None:
    content = text.encode() + b"\r\n\x00\xff-- b"
    form = read_form(*multipart({"note": text}, {"file": ("accounts é.csv", content)}))
    assert (form["note"], form["other"], "other" in form) == (text, "", False)
    assert form.files["file"] == ("accounts é.csv", content, "text/csv")


def test_boxes_that_share_a_name_are_all_there() -> None:
    form = read_form(URLENCODED, b"row=1&row=2&empty=&text=a%0D%0Ab+c")
    assert (form.all("row"), form["row"], form.all("none")) == (("1", "2"), "2", ())
    assert (form["text"], form["empty"], "empty" in form) == ("a\nb c", "", True)


def test_a_file_that_nobody_chose_is_none() -> None:
    form = read_form(*multipart({}, {"file": ("", b"")}))
    assert not form.files


@pytest.mark.parametrize(
    "kind", [URLENCODED, f"{MULTIPART}; boundary=b", MULTIPART, f"{MULTIPART}; boundary=", "x", ""]
)
@given(body=st.binary(max_size=300) | st.binary(max_size=60).map(lambda part: b"--b\r\n" + part + b"\r\n--b--\r\n"))
def test_whatever_comes_is_a_form_or_refused(kind: str, body: bytes) -> None:
    with suppress(InvalidSyntax):
        form = read_form(kind, body)
        assert all(isinstance(value, str) for values in form.fields.values() for value in values)


@pytest.mark.parametrize(
    ("typed", "number"),
    [("821", 821), (" 1,234 ", 1234), ("1.234", 1234), ("1'234'567", 1234567), ("1.5", None), ("12,34", None),
     ("-1", None), ("1e3", None), ("", None), ("٣", None)],
)  # fmt: skip
def test_a_number_is_what_people_take_it_for_or_none(typed: str, number: int | None) -> None:
    assert digits(typed) == number


def test_what_goes_on_about_an_attribute_stays_with_it() -> None:
    told = "the run moved: links: it would link 9 accounts; look at it again and approve that number; groups: 2"
    assert Refusal(409, told.removeprefix("the run moved: ")).fields == {
        "links": "it would link 9 accounts; look at it again and approve that number",
        "groups": "2",
    }
    assert Refusal(409, "nothing names a field; here").fields == {}


def test_a_form_has_an_end() -> None:
    with pytest.raises(InvalidSyntax):
        read_form(URLENCODED, b"&".join([b"a=1"] * (MAX_FIELDS + 1)))
    with pytest.raises(BodyTooLarge):
        read_form(*multipart({"note": "x" * 5_000_000}, {}))
    kind, body = multipart({f"f{number}": "" for number in range(MAX_FIELDS + 1)}, {})
    with pytest.raises(InvalidSyntax):
        read_form(kind, body)
