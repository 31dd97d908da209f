"""The app's own JSON: what is written is read, and what cannot be read is a ValueError."""

from __future__ import annotations

import pytest

from shared.json_text import dump, load


@pytest.mark.parametrize("value", [{"a": [1, None, "ä😀"]}, "\u2028", 1.5, []])
def test_what_was_written_is_read(value: object) -> None:
    assert load(dump(value)) == value


@pytest.mark.parametrize("text", ["", "{", '"\ud800"', "\ud800", '"\\ud800"', "[" * 300], ids=repr)
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(text)
