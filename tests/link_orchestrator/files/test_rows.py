"""Rows from the bytes of a file: every format, and whatever is wrong with some of the rows."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row, UnreadableFile
from link_orchestrator.problems import Problem


def rows(data: bytes | str, content_type: str = "") -> list[Row | Problem]:
    found = read_rows(data.encode() if isinstance(data, str) else data, content_type=content_type)
    return [row for row in found if not isinstance(row, Header)]


def cells(data: bytes | str, content_type: str = "") -> list[dict[str, Any]]:
    found = rows(data, content_type)
    assert [row for row in found if isinstance(row, Problem)] == []
    return [row.cells for row in found if isinstance(row, Row)]


def outline(data: bytes | str, content_type: str = "") -> list[tuple[int, str]]:
    """Each row as its line and its first value, or `!` for a problem."""
    return [
        (row.line, str(next(iter(row.cells.values()))) if isinstance(row, Row) else "!")
        for row in rows(data, content_type)
    ]


class TestCsv:
    def test_rows_are_numbered_by_the_line_they_begin_in(self) -> None:
        text = 'a,b\r\n1,"x,\r\ny"\r\n\r\n2,"say ""hi"""\r\n'
        assert rows(text) == [Row(2, {"a": "1", "b": "x,\r\ny"}), Row(5, {"a": "2", "b": 'say "hi"'})]

    def test_the_header_row_comes_first(self) -> None:
        assert next(iter(read_rows(b" a ,,b,a\n"))) == Header(("a", "", "b", ""))

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_the_separator_is_seen_from_the_header_row(self, separator: str) -> None:
        assert cells(f"a{separator}b\n1{separator}2\n") == [{"a": "1", "b": "2"}]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_unicode_comes_with_and_without_a_byte_order_mark(self, encoding: str) -> None:
        assert cells("name\nZoë 😀\n".encode(encoding)) == [{"name": "Zoë 😀"}]

    def test_utf_16_big_endian_is_read_too(self) -> None:
        assert cells(b"\xfe\xff" + "n\nZoë\n".encode("utf-16-be")) == [{"n": "Zoë"}]

    @pytest.mark.parametrize(
        ("encoding", "content_type"),
        [
            ("cp1252", "text/csv; charset=windows-1252"),
            ("cp1252", 'text/csv; header=present; Charset="ISO-8859-1"'),
            ("cp1250", "text/csv;charset=Windows-1250"),
            ("iso8859-15", "text/csv; charset=iso_8859-15"),
            ("utf-8", "text/csv; charset=utf-8"),
            ("utf-8-sig", "text/csv; charset=windows-1252"),
            ("utf-16", "text/csv; charset=windows-1252"),
        ],
    )
    def test_the_charset_tells_the_code_page_that_excel_wrote(self, encoding: str, content_type: str) -> None:
        assert cells("name\nJürgen Öß €\n".encode(encoding), content_type) == [{"name": "Jürgen Öß €"}]

    @pytest.mark.parametrize("charset", ["idna", "utf-7", "base64", "nonsense", "iso-8859-12", "shift_jis"])
    def test_a_charset_that_is_not_read_is_refused_with_the_remedy(self, charset: str) -> None:
        with pytest.raises(UnreadableFile, match="UTF-8"):
            rows("a\n1\n", f"text/csv; charset={charset}")

    def test_bytes_that_are_no_text_are_a_problem_that_names_the_encoding(self) -> None:
        (problem,) = rows("a\nŁukasz\n".encode("cp1250"))
        assert isinstance(problem, Problem)
        assert (problem.reason, "charset=windows-1252" in problem.remedy) == (
            "The row holds bytes that are not text in UTF-8.",
            True,
        )
        (problem,) = rows(b"a\n\x81\n", "text/csv; charset=windows-1252")
        assert isinstance(problem, Problem)
        assert problem.reason == "The row holds bytes that are not text in windows-1252."

    def test_json_is_utf_8_whatever_the_charset(self) -> None:
        assert cells('[{"a": "ü"}]', "application/json; charset=iso-8859-1") == [{"a": "ü"}]

    def test_a_value_that_a_spreadsheet_would_run_stays_as_it_is(self) -> None:
        assert cells("a\n=1+3 MSOBB\n+1\n-1\n@x\n") == [{"a": "=1+3 MSOBB"}, {"a": "+1"}, {"a": "-1"}, {"a": "@x"}]

    def test_a_line_that_is_not_text_is_reported_and_the_others_go_on(self) -> None:
        assert outline(b"a,b\n1,x\n2,caf\xff\n3,y\n") == [(2, "1"), (3, "!"), (4, "3")]

    @pytest.mark.parametrize("bad", ["2,x,y", '2,"x"y', '2,"x', '"2,x', f"2,{'x' * (MAX_FIELD_CHARS + 1)}"])
    def test_a_broken_row_is_reported_and_the_others_go_on(self, bad: str) -> None:
        more = [f"{number},z" for number in range(3, 70)]
        found = outline("\n".join(["a,b", "1,x", bad, *more]))
        assert found == [(2, "1"), (3, "!"), *((number + 1, str(number)) for number in range(3, 70))]

    def test_a_forgotten_quote_in_the_last_row_is_reported(self) -> None:
        assert outline('a,b\n1,x\n2,"y\n') == [(2, "1"), (3, "!")]

    def test_a_line_without_end_is_reported_and_the_next_is_read(self) -> None:
        assert outline("a\n1\n" + "x" * 1_200_000 + "\n3\n") == [(2, "1"), (3, "!"), (4, "3")]

    def test_empty_columns_behind_the_header_are_left_out(self) -> None:
        assert cells("a,b\n1,2,,\n,,,\n") == [{"a": "1", "b": "2"}]

    def test_of_two_columns_with_one_name_the_first_counts(self) -> None:
        assert cells("a,a\n1,2\n")[0]["a"] == "1"

    @pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \r\n\r\n", b"\xff\xfe"])
    def test_an_empty_file_is_refused(self, data: bytes) -> None:
        with pytest.raises(UnreadableFile, match="empty"):
            rows(data)

    @pytest.mark.parametrize("header", [b'"a,b\n', b"a,b\xff\n", b",".join([b"x"] * 201), b"x" * 1_200_000])
    def test_a_header_row_that_cannot_be_used_is_refused(self, header: bytes) -> None:
        with pytest.raises(UnreadableFile, match="header row"):
            rows(header + b"1,2\n")

    def test_a_header_row_cut_within_a_character_is_refused(self) -> None:
        with pytest.raises(UnreadableFile, match="header row"):
            rows(b"\xff\xfea")

    def test_utf_16_cut_within_a_character_loses_no_more_than_the_last_row(self) -> None:
        assert outline("a\n1\n2\n".encode("utf-16")[:-1])[0] == (2, "1")

    @given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=5)] * 2), max_size=5))
    def test_what_a_csv_writer_wrote_is_read_again(self, table: list[tuple[str, str]]) -> None:
        written = io.StringIO(newline="")
        csv.writer(written).writerows([("a", "b"), *table])
        assert cells(written.getvalue()) == [{"a": a, "b": b} for a, b in table if a or b]


USERS = [{"id": str(number), "names": [{"x": "Zoë, {[\"'"}]} for number in range(4)]
PAGES = [
    {"@odata.context": "https://graph.example/$metadata#users", "@odata.nextLink": "https://x", "value": USERS[:2]},
    {"@odata.context": 'a "quoted" one', "value": USERS[2:]},
]


class TestJson:
    @pytest.mark.parametrize(
        "text",
        [
            "\n".join(map(json.dumps, USERS)),
            "\r\n\r\n".join(json.dumps(user, ensure_ascii=False) for user in USERS),
            json.dumps(USERS),
            json.dumps(USERS, indent=2),
            "\n".join(json.dumps(user, indent=2) for user in USERS),
            "\n".join(map(json.dumps, PAGES)),
            "".join(json.dumps(page, indent=2) for page in PAGES),
            json.dumps(PAGES),
            json.dumps(PAGES, indent=4),
            json.dumps({"value": USERS, "@odata.nextLink": "https://x"}),
            json.dumps({"schemas": ["urn:x"], "totalResults": 4, "Resources": USERS, "startIndex": 1}),
        ],
        ids=itertools.count(),
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_every_shape_gives_the_same_rows(self, text: str, encoding: str) -> None:
        assert cells(text.encode(encoding)) == USERS

    def test_rows_of_a_list_are_numbered_by_the_line_they_begin_in(self) -> None:
        assert outline('[\n {"a": 1},\n\n {"a":\n 2}, {"a": 3}]') == [(2, "1"), (4, "2"), (5, "3")]

    @pytest.mark.parametrize("bad", ['{"a": nul}', '{"a": NaN}', "{'a': 1}", "12", '"x"', "x", "[1]", '{"a": "\t"}'])
    def test_a_broken_row_is_reported_and_the_others_go_on(self, bad: str) -> None:
        assert outline(f'{{"a": 1}}\n{bad}\n{{"a": 3}}\n') == [(1, "1"), (2, "!"), (3, "3")]
        assert outline(f'[{{"a": 1}},\n{bad},\n{{"a": 3}}]') == [(1, "1"), (2, "!"), (3, "3")]
        assert outline(f'{{"value": [{{"a": 1}},\n{bad},\n{{"a": 3}}]}}') == [(1, "1"), (2, "!"), (3, "3")]

    def test_a_line_cut_short_is_reported_and_the_others_go_on(self) -> None:
        assert outline('{"a": 1}\n{"a": \n{"a": 3}\n') == [(1, "1"), (2, "!"), (3, "3")]

    def test_a_row_that_nests_too_deep_is_reported_and_the_others_go_on(self) -> None:
        deep = '{"a":' * 20_000 + "1" + "}" * 20_000
        assert outline(f'{{"a": 1}}\n{deep}\n{{"a": 3}}') == [(1, "1"), (2, "!"), (3, "3")]
        assert outline(f'[{{"a": 1}},\n{deep},\n{{"a": 3}}]') == [(1, "1"), (2, "!"), (3, "3")]

    @pytest.mark.parametrize("space", ["", " "])
    def test_a_string_without_end_costs_no_more_than_its_length(self, space: str) -> None:
        # What is read at once ends behind a backslash or behind a quote; a string might begin in a million places.
        assert outline(f'[{space}"' + '\\"' * 500_000) == [(1, "!")]

    def test_lists_without_end_are_reported(self) -> None:
        assert outline("[" * 200_000) == [(1, "!")]

    def test_bytes_that_are_not_text_are_reported_by_their_row(self) -> None:
        assert outline(b'{"a": 1}\n{"a": "\xe9"}\n{"a": 3}') == [(1, "1"), (2, "!"), (3, "3")]
        assert outline(b'[{"a": 1},\n{"a": "\xe9"},\n{"a": 3}]') == [(1, "1"), (2, "!"), (3, "3")]

    @pytest.mark.parametrize(
        "text", ['[{"a": 1},\n{"a": 2', '[{"a": 1}\n,', '{"value": [{"a": 1}\n]', '[{"a": 1},\n"x']
    )
    def test_a_file_cut_short_is_reported(self, text: str) -> None:
        assert outline(text) == [(1, "1"), (2, "!")]

    def test_a_row_without_end_is_reported_and_not_gathered(self) -> None:
        file = b'[{"a": 1}, {"a": "' + b"x" * 65_536_000
        tracemalloc.start()
        found = list(read_rows(file))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [type(row) for row in found] == [Row, Problem]
        assert peak < 20_000_000

    @pytest.mark.parametrize("shape", ["{},", "{}\n"])
    def test_a_large_file_is_read_in_bounded_memory(self, shape: str) -> None:
        file = b"[" if "," in shape else b""
        file += (shape.replace("{}", json.dumps({"id": "x" * 1_000})) * 18_000).encode()
        tracemalloc.start()
        count = sum(isinstance(row, Row) for row in read_rows(file))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 18_000
        assert peak < 3_000_000

    @given(st.binary(max_size=60))
    def test_any_bytes_end_in_rows_and_problems(self, data: bytes) -> None:
        for prefix in (b"", b"[", b'{"value":[', b'{"a":1}\n', b"a,b\n"):
            try:
                found = rows(prefix + data)
            except UnreadableFile:
                continue
            assert all(isinstance(row, Row | Problem) for row in found)
