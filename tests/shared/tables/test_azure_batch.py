"""A transaction's multipart form. Azurite judges it in test_contract.py; here is what Azurite does not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tables import port
from shared.tables.azure_batch import Refusal, decode, encode
from shared.tables.port import Delete, Insert, LimitExceeded, Merge, Operation, Replace, TransactionTooLarge, Upsert

LONGEST_URL = f"https://{'a' * 24}.table.core.windows.net/{'t' * 63}"
ETAG = "W/\"datetime'2026-11-30T08%3A44%3A51.1234567Z'\""
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["\x01" * 99, "漢" * 99, '"' * 99, "\u2028\u2029" * 49]
)
keys = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\#?"), min_size=1, max_size=20
) | st.sampled_from(["漢" * 512, "😀" * 256, "'" * 512])
values = texts | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans() | st.none()
columns = st.dictionaries(st.text("abcXYZ_", min_size=1, max_size=9), values, max_size=9)
operations = st.one_of(
    st.builds(Insert, keys, columns),
    st.builds(Upsert, keys, columns),
    st.builds(Replace, keys, columns, st.just(ETAG)),
    st.builds(Merge, keys, columns, st.just(ETAG)),
    st.builds(Delete, keys, st.just(ETAG)),
)


def test_no_column_can_end_its_part() -> None:
    text = "x\r\n--changeset_b--\r\nHTTP/1.1 500\r\n"
    body = encode("http://h/t", "p", [Insert("k", {"s": text}), Replace("l", {}, "*")], "b")
    assert body.count(b"\r\n--changeset_b") == 3
    assert body.count(b"HTTP/1.1\r\n") == 2


def test_a_key_is_quoted_twice_in_an_address() -> None:
    body = encode("http://h/t", "p'/ü", [Replace("k%20", {}, "*")], "b")
    assert b"PUT http://h/t(PartitionKey='p%27%27%2F%C3%BC',RowKey='k%2520') HTTP/1.1\r\n" in body


@given(partition=keys, operation=operations)
def test_no_operation_is_longer_than_it_is_taken_for(partition: str, operation: Operation) -> None:
    alone, twice = (encode(LONGEST_URL, partition, [operation] * times, "b" * 32) for times in (1, 2))
    assert len(twice) - len(alone) <= port.wire_bytes(partition, operation)
    stored = port._entity_bytes(partition, operation.key, getattr(operation, "columns", {}))
    assert port.wire_bytes(partition, operation) <= 6 * stored + port.OPERATION_BYTES


@pytest.mark.parametrize("text", ["x", "漢", '"', "\x01", "😀", "\u2028"])
def test_what_is_let_through_is_at_most_four_mebibytes_on_the_wire(text: str) -> None:
    fits = 0
    for size in range(1_000, 32_000 // len(text.encode("utf-16-le")) * 2, 1_000):
        rows = [Upsert(f"{number:03}", {"text": text * size}) for number in range(100)]
        sent = len(encode(LONGEST_URL, "p", rows, "b" * 32))
        try:
            port.check("p", rows)
        except TransactionTooLarge:
            assert sent > 0.9 * port.MAX_TRANSACTION_BYTES
            break
        fits = sent
    assert 0 < fits <= port.MAX_TRANSACTION_BYTES


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        encode("http://h/t", "p", [Insert("k", {"s": "\ud800"})], "b")


def test_an_answer_that_echoes_rows_is_read_by_its_status_lines() -> None:
    echo = b'HTTP/1.1 201 Created\r\nETag: W/"%d"\r\n\r\n{"s":"\\r\\nHTTP/1.1 404 \\r\\nETag: no"}\r\n--c\r\n'
    assert decode(b"--c\r\n\r\n" + echo % 1 + echo % 2) == ['W/"1"', 'W/"2"']


def test_a_refusal_without_code_or_index_is_told_by_its_status() -> None:
    assert decode(b"--c\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\n\r\n--c--") == Refusal(503, "", 0)
