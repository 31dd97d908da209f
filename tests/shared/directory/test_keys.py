"""Keys of rows: the same for what folds alike, and for nobody else's, nor another kind's, nor another directory's."""

from __future__ import annotations

import pytest

from shared.directory.keys import Key, Keys, same_letters

KEYS = Keys("main", b"a secret")


def test_a_digest_is_one_kinds_and_one_directorys() -> None:
    digest = KEYS.digest(Key("email", "ada@contoso.com"))
    assert KEYS.digest(Key("email", " ADA@contoso.com")) == digest
    assert KEYS.digest(Key("employeeNumber", "ada@contoso.com")) != digest
    assert Keys("main", b"another one").digest(Key("email", "ada@contoso.com")) != digest


def test_no_partition_of_one_directory_is_anothers() -> None:
    other = Keys("other", b"a secret")
    account = KEYS.new_id("ada")
    for of in (
        lambda keys: keys.home(account),
        lambda keys: keys.pointers(0),
        lambda keys: keys.members(account),
        lambda keys: keys.memberships(0),
        lambda keys: keys.jobs(),
        lambda keys: keys.settings(),
    ):
        assert of(KEYS).startswith("main_")
        assert of(other).startswith("other_")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Kim", "kIM"),
        ("JÜRGEN", "jürgen"),
        ("\u212aim", "\u212aIM"),
        ("straße", "straße"),
        ("a\u0308", "Ä"),
        ("\u212aä", "\u212aÄ"),
    ],
)
def test_case_aside_the_letters_are_the_same(left: str, right: str) -> None:
    assert same_letters(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [("\u212aim", "kim"), ("\u017fam", "sam"), ("\uff4bim", "kim"), ("kim ", "kim"), ("strasse", "straße"),
     ("\u212aä", "kä"), ("\u2126ä", "\u03c9ä"), ("\u0130ä", "iä")],
)  # fmt: skip
def test_what_folds_alike_is_not_the_same(left: str, right: str) -> None:
    assert not same_letters(left, right)
    assert not same_letters(right, left)
