"""The filter grammar: parse, then print."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.errors import InvalidFilter, ScimError
from shared.scim.filter import (
    And,
    Comparison,
    Filter,
    Not,
    Or,
    Path,
    Present,
    Term,
    ValuePath,
    equalities,
    look_ups,
    parse_filter,
)
from shared.scim.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_TERMS

PRINTS_ITSELF = [
    'userName eq "bjensen"',
    "title pr",
    "active eq true",
    "title eq null",
    "loginCount gt 12",
    "score le -0.5",
    'name.familyName co "O\'Malley"',
    'userName eq "a \\"b\\" \\\\ c"',
    'displayName eq "Åsa 山田 😀"',
    'displayName eq ""',
    'urn:ietf:params:scim:schemas:core:2.0:User:name.familyName sw "J"',
    'manager.$ref ew "x"',
    'emails[type eq "work" and value co "@example.com"]',
    'emails[type eq "work"].value eq "a@example.com"',
    "emails[not (primary eq true)] or title pr",
    "a pr and b pr or c pr and d pr",
    "a pr and (b pr or c pr) and d pr",
    "(a pr and b pr) and c pr",
    "(a pr or b pr) or c pr",
    "not (a pr) and not (not (b pr or c pr))",
]


@pytest.mark.parametrize("text", PRINTS_ITSELF)
def test_a_filter_prints_as_it_was_written(text: str) -> None:
    assert str(parse_filter(text)) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('userName EQ "x" AND Not(title PR)', 'userName eq "x" and not (title pr)'),
        ('  ( userName  eq   "x" )  ', 'userName eq "x"'),
        ("((title pr))", "title pr"),
        ("userName eq bob@contoso.com", 'userName eq "bob@contoso.com"'),
        (
            "name.familyName eq Doe and (emails co a.com or b pr)",
            'name.familyName eq "Doe" and (emails co "a.com" or b pr)',
        ),
        ("meta.created gt 2015-10-10T14:38:21.86-07:00", 'meta.created gt "2015-10-10T14:38:21.86-07:00"'),
        ("active eq True", "active eq true"),
        ("employeeNumber eq 007", 'employeeNumber eq "007"'),
        ("employeeNumber eq 1e5", 'employeeNumber eq "1e5"'),
        ('userName eq "caf\\u00e9"', 'userName eq "café"'),
        ('userName eq"x"', 'userName eq "x"'),
    ],
)
def test_what_clients_write_otherwise_prints_as_the_grammar_has_it(text: str, printed: str) -> None:
    assert str(parse_filter(text)) == printed


def test_and_binds_stronger_than_or_and_not_stronger_than_and() -> None:
    a, b, c = (Present(Path(None, name)) for name in "abc")
    assert parse_filter("a pr or not (b pr) and c pr") == Or((a, And((Not(b), c))))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("userName", 9),
        ("userName is 1", 9),
        ("userName eq", 12),
        ('userName eq "open', 12),
        ("userName eq Bob Smith", 17),
        ('userName eq "x" title pr', 17),
        ("(title pr", 10),
        ("title pr)", 9),
        ("title pr and", 13),
        ("emails[type pr", 15),
        ("emails[type pr].value", 22),
        ("emails[ims[type pr]]", 11),
        ("a.b[c pr]", 4),
        ("not title pr", 4),
        ("1a pr", 1),
        ('userName eq "\\x"', 12),
    ],
)
def test_an_error_names_the_position(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter, match=f"At character {position} of the filter"):
        parse_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_FILTER_CHARS + 1),
        "(" * 2000 + "a pr",
        "not (" * (MAX_FILTER_DEPTH + 1) + "a pr" + ")" * (MAX_FILTER_DEPTH + 1),
        " or ".join(["a pr"] * (MAX_FILTER_TERMS + 1)),
        'userName eq "\\ud800"',
        'userName eq "\ud800"',
    ],
)
def test_a_filter_over_a_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse_filter(text)


def test_a_filter_up_to_the_limits_is_read() -> None:
    nested = "(" * MAX_FILTER_DEPTH + "a pr" + ")" * MAX_FILTER_DEPTH
    assert str(parse_filter(nested)) == "a pr"
    assert isinstance(parse_filter(" or ".join(["a pr"] * MAX_FILTER_TERMS)), Or)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('userName eq "x"', (("username", "x"),)),
        ('urn:ietf:params:scim:schemas:core:2.0:User:UserName eq "x"', (("username", "x"),)),
        ('emails[Type eq "Work"].Value eq "A@b"', (('emails[type eq "work"].value', "A@b"),)),
        ('id eq "1" and (manager eq "2" and title pr)', (("id", "1"), ("manager", "2"))),
        ('id eq "1" or manager eq "2"', ()),
        ('not (id eq "1")', ()),
        ('userName ne "x"', ()),
        ('emails[type eq "work"]', ()),
    ],
)
def test_equalities_are_what_must_hold(text: str, pairs: object) -> None:
    assert equalities(parse_filter(text)) == pairs


attribute_names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,6}\Z").filter(lambda name: name.lower() != "not")
literals = (
    st.text(max_size=10)
    | st.booleans()
    | st.none()
    | st.integers()
    | st.floats(min_value=-1e6, max_value=1e6).filter(
        lambda number: json.loads(str(number)) == number and "e" not in str(number)
    )
)
simple_paths = st.builds(
    Path, st.none() | st.just("urn:x:2.0:User"), attribute_names, st.none(), st.none() | attribute_names
)


def expressions(paths: st.SearchStrategy[Path]) -> st.SearchStrategy[Filter]:
    comparisons = st.builds(
        Comparison, paths, st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]), literals
    )
    return comparisons | st.builds(Present, paths)


def trees(leaves: st.SearchStrategy[Filter], size: int) -> st.SearchStrategy[Filter]:
    def grow(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, inner)

    return st.recursive(leaves, grow, max_leaves=size)


value_paths = st.builds(
    Path, st.none(), attribute_names, trees(expressions(simple_paths), 3), st.none() | attribute_names
)
leaves = expressions(simple_paths | value_paths) | st.builds(
    ValuePath, value_paths.filter(lambda path: path.sub_attribute is None)
)


@given(trees(leaves, 6))
def test_any_tree_prints_a_filter_that_parses_to_it(tree: Filter) -> None:
    assert parse_filter(str(tree)) == tree


@given(st.text() | st.text(alphabet='ab.[]()"\\ eqprandot$:0', max_size=60))
def test_any_text_is_a_filter_or_an_invalid_filter(text: str) -> None:
    try:
        tree = parse_filter(text)
    except ScimError:
        return
    assert parse_filter(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a eq "1"', ["a"]),
        ('x eq "1"', None),
        ('a eq "1" and bb eq "2"', ["a"]),
        ('bb eq "2" and (x pr and a eq "1")', ["a"]),
        ('x pr and bb eq "2"', ["bb"]),
        ('a eq "1" or bb eq "2" or a eq "3"', ["a", "bb"]),
        ('a eq "1" or x pr', None),
        ('(a eq "1" or x pr) and (bb eq "2" or ccc eq "3")', ["bb", "ccc"]),
        ('(a eq "1" or bb eq "2") and bb eq "2"', ["bb"]),
        ('not (a eq "1")', None),
        ('not (a eq "1") and a pr', ["a"]),
    ],
)
def test_look_ups_lead_to_all_that_passes(text: str, found: list[str] | None) -> None:
    """Every attribute but x has an index; the longer its name, the dearer."""

    def of_term(term: Term) -> list[str] | None:
        return None if term.path.attribute == "x" else [term.path.attribute]

    assert look_ups(parse_filter(text), of_term, len) == found
