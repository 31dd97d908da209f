"""Replays whole HTTP exchanges with Entra, kept in tests/conversations (its README.md has the format)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.scim.values import instant
from tests.scim_users.conftest import TOKEN, Server

FOLDER = Path(__file__).parents[1] / "conversations" / "entra"
FILES = sorted(FOLDER.glob("*.json"))

_PLACEHOLDER = re.compile(r"<(\w+)>")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_the_conversation_goes_as_written(server: Server, file: Path) -> None:
    known = {"base": f"{server.url}/scim/v2"}
    for number, exchange in enumerate(json.loads(file.read_text("utf-8"))["exchanges"], 1):
        request, expected = _filled(exchange["request"], known), exchange["response"]
        token = request.get("token", TOKEN)
        answer = await server.send(request["method"], request["path"], request.get("body"), token=token)
        where = f"exchange {number}"
        assert answer.status == expected["status"], f"{where}: {answer.body}"
        _compare(expected.get("body"), answer.body, known, where)
        if answer.body is not None:
            assert answer.headers["Content-Type"].startswith("application/scim+json"), where


def _filled(value: Any, known: dict[str, str]) -> Any:
    """Return the value with every remembered text in its place."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: known[found[1]], value)
    if isinstance(value, list):
        return [_filled(item, known) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, known) for name, item in value.items()}
    return value


def _compare(expected: Any, got: Any, known: dict[str, str], where: str) -> None:
    if isinstance(expected, dict) and isinstance(got, dict):
        assert sorted(got) == sorted(expected), where
        for name, value in expected.items():
            _compare(value, got[name], known, f"{where}, {name}")
    elif isinstance(expected, list) and isinstance(got, list):
        assert len(got) == len(expected), where
        for index, value in enumerate(expected):
            _compare(value, got[index], known, f"{where}, {index}")
    elif isinstance(expected, str) and isinstance(got, str):
        _compare_text(expected, got, known, where)
    else:
        assert type(got) is type(expected), where
        assert got == expected, where


def _compare_text(expected: str, got: str, known: dict[str, str], where: str) -> None:
    if expected == "<date>":
        assert instant(got) is not None, where
    elif expected == "<version>":
        assert re.fullmatch(r'W/"[^"]+"', got), where
    else:
        alone = _PLACEHOLDER.fullmatch(expected)
        if alone and alone[1] not in known:
            assert got, where
            known[alone[1]] = got
        assert got == _filled(expected, known), where
