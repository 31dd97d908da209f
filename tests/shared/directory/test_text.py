"""Texts that many modules write."""

from __future__ import annotations

import pytest

from shared.directory.text import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "link", "0 links"),
        (1, "identity", "1 identity"),
        (1_204, "other identity", "1,204 other identities"),
        (2, "account", "2 accounts"),
    ],
)
def test_a_number_has_its_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
