"""A transaction's multipart form. Azurite judges it in test_contract.py; here is what Azurite does not show."""

from __future__ import annotations

import pytest

from shared.tables.azure_batch import Refusal, decode, encode
from shared.tables.port import Insert, LimitExceeded, Replace


def test_no_column_can_end_its_part() -> None:
    text = "x\r\n--changeset_b--\r\nHTTP/1.1 500\r\n"
    body = encode("http://h/t", "p", [Insert("k", {"s": text}), Replace("l", {}, "*")], "b")
    assert body.count(b"\r\n--changeset_b") == 3
    assert body.count(b"HTTP/1.1\r\n") == 2


def test_a_key_is_quoted_twice_in_an_address() -> None:
    body = encode("http://h/t", "p'/ü", [Replace("k%20", {}, "*")], "b")
    assert b"PUT http://h/t(PartitionKey='p%27%27%2F%C3%BC',RowKey='k%2520') HTTP/1.1\r\n" in body


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        encode("http://h/t", "p", [Insert("k", {"s": "\ud800"})], "b")


def test_an_answer_that_echoes_rows_is_read_by_its_status_lines() -> None:
    echo = b'HTTP/1.1 201 Created\r\nETag: W/"%d"\r\n\r\n{"s":"\\r\\nHTTP/1.1 404 \\r\\nETag: no"}\r\n--c\r\n'
    assert decode(b"--c\r\n\r\n" + echo % 1 + echo % 2) == ['W/"1"', 'W/"2"']


def test_a_refusal_without_code_or_index_is_told_by_its_status() -> None:
    assert decode(b"--c\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\n\r\n--c--") == Refusal(503, "", 0)
