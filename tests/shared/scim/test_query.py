"""The parameters of a query."""

import pytest

from shared.scim.errors import InvalidFilter, InvalidValue
from shared.scim.limits import DEFAULT_COUNT, MAX_COUNT
from shared.scim.query import Query
from shared.scim.schema import USER


def test_nothing_asked_is_the_first_page_of_everything() -> None:
    query = Query.parse({}, USER)
    assert (query.filter, query.start_index, query.count) == (None, 1, DEFAULT_COUNT)
    assert query.projection.is_default


def test_names_are_read_in_any_case_and_others_ignored() -> None:
    params = {
        "FILTER": 'userName eq "bob"',
        "startindex": "6",
        "Count": "5",
        "ATTRIBUTES": "userName",
        "sortBy": "x",
        "aadOptscim062020": "",
    }
    query = Query.parse(params, USER)
    assert (str(query.filter), query.start_index, query.count) == ('userName eq "bob"', 6, 5)
    assert not query.projection.is_default


@pytest.mark.parametrize(
    ("start_index", "count", "read"),
    [
        ("0", "-1", (1, 0)),
        ("-5", "0", (1, 0)),
        ("1000000", "100000", (1_000_000, MAX_COUNT)),
        (" 2 ", "+3", (2, 3)),
        ("", "", (1, DEFAULT_COUNT)),
    ],
)
def test_numbers_are_brought_into_range(start_index: str, count: str, read: tuple[int, int]) -> None:
    query = Query.parse({"startIndex": start_index, "count": count}, USER)
    assert (query.start_index, query.count) == read


@pytest.mark.parametrize("text", ["x", "1.5", "1_0", "٣", "9" * 5000, "--1"])
def test_what_is_no_integer_is_refused_by_the_parameter(text: str) -> None:
    with pytest.raises(InvalidValue, match="startIndex"):
        Query.parse({"startIndex": text}, USER)
    with pytest.raises(InvalidValue, match="count"):
        Query.parse({"count": text}, USER)


def test_a_wrong_filter_is_refused_and_a_blank_one_is_none() -> None:
    assert Query.parse({"filter": " "}, USER).filter is None
    with pytest.raises(InvalidFilter):
        Query.parse({"filter": "userName"}, USER)
