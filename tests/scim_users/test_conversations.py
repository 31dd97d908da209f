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
CONVERSATIONS = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.json"))}

META = {
    "resourceType": "<type>",
    "created": "<date>",
    "lastModified": "<date>",
    "location": "<any>",
    "version": "<version>",
}
"""What `<meta>` stands for; type and location are those of the resource around it."""

_PLACEHOLDER = re.compile(r"<(\w+)>")


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_conversation_goes_as_written(server: Server, name: str) -> None:
    known = {"base": f"{server.url}/scim/v2"}
    for number, exchange in enumerate(CONVERSATIONS[name]["exchanges"], 1):
        where = f"exchange {number}"
        method, _, path = _filled(exchange["request"], known).partition(" ")
        body = _filled(exchange.get("body"), known)
        got = await server.send(method, path, body, token=exchange.get("token", TOKEN))
        assert got.status == exchange["status"], f"{where}: {got.body}"
        _compare(exchange.get("answer"), got.body, known, where)
        if got.body is not None:
            assert got.headers["Content-Type"].startswith("application/scim+json"), where


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
            wanted = META if value == "<meta>" else value
            _compare(wanted, got[name], known, f"{where}, {name}")
        if expected.get("meta") == "<meta>":
            kind = expected["schemas"][0].rpartition(":")[2]
            assert got["meta"]["resourceType"] == kind, where
            assert got["meta"]["location"] == f"{known['base']}/{kind}s/{got['id']}", where
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
    elif expected in ("<any>", "<type>"):
        assert got, where
    else:
        alone = _PLACEHOLDER.fullmatch(expected)
        if alone and alone[1] not in known:
            assert got, where
            known[alone[1]] = got
        assert got == _filled(expected, known), where
