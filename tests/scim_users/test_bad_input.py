"""Whatever a client sends, it gets a SCIM answer: never a 500, never a log line that tells about a person."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.schema import USER
from tests.fuzz import many
from tests.scim_users.conftest import ADMIN_TOKEN, OTHER_TOKEN, TOKEN, Answer, Server

MARK = "personal-value"
"""Stands in every text that is sent, and may stand in no log line."""

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

texts = st.one_of(
    st.text(max_size=20).map(lambda text: MARK + text),
    st.sampled_from(["", "true", "False", "\x00", "\ud800", "\ufb00@\uff45xample.com", "W/x", "../../x", MARK * 9]),
)
scalars = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats(), st.integers(10**20, 10**400))
names = st.one_of(
    st.sampled_from([*USER.attributes, "meta", "schemas", "password", "groups", ENTERPRISE, CORE, "__proto__"]),
    st.sampled_from(["value", "type", "primary", "$ref", "manager", "givenName", "USERNAME", "name.familyName"]),
    texts,
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
users = st.dictionaries(names, values, max_size=6).flatmap(
    lambda body: st.sampled_from([body, {"schemas": [CORE], "userName": MARK, **body}])
)
pieces = st.one_of(
    names,
    st.sampled_from([*'.:[]() "\\', " eq ", " pr", " and ", "not ", ' eq "', "emails[type eq ", "true", "null", "1e9"]),
)
paths = st.one_of(names, st.lists(pieces, max_size=9).map("".join))
operations = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "Replace", "REMOVE", "move", "", 3, None]),
        "path": paths | values,
        "value": values,
        "from": paths,
    },
)
patches = st.one_of(
    values,
    st.fixed_dictionaries({"schemas": values, "Operations": st.lists(operations | values, max_size=4)}),
)
bodies = st.one_of(
    (users | patches | values).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe{", b'{"userName": NaN}', b'{"userName": "\\ud800"}']
    ),
)
queries = st.dictionaries(
    st.sampled_from(
        ["filter", "FILTER", "startIndex", "count", "attributes", "excludedAttributes", "sortBy", "cursor"]
    ),
    paths | st.lists(pieces, max_size=9).map("".join) | st.integers().map(str),
    max_size=3,
)
ids = st.text(st.characters(exclude_characters="/?#"), min_size=1, max_size=70).filter(lambda text: text.strip(". "))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every log line, down to debug."""
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
async def known_id(server: Server) -> str:
    """The id of a user who is there."""
    user = {"schemas": [CORE], "userName": "ada@contoso.com", "emails": [{"type": "work", "value": "a@contoso.com"}]}
    id: str = (await server.send("POST", "/Users", user)).body["id"]
    return id


def check(answer: Answer, lines: pytest.LogCaptureFixture) -> None:
    """Assert that an answer is a SCIM one, and that nothing about it stands in the log; then clear the log."""
    assert answer.status in {200, 201, 204, 400, 403, 404, 409, 412, 413}, answer.body
    if answer.body is not None:
        assert answer.headers["Content-Type"].startswith("application/scim+json")
    if answer.status >= 400:
        assert answer.body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert answer.body["status"] == str(answer.status)
        assert answer.body["detail"]
        assert MARK not in json.dumps(answer.body)
    for secret in (MARK, TOKEN, OTHER_TOKEN, ADMIN_TOKEN):
        assert secret not in lines.text
    assert not [record for record in lines.records if record.levelno >= logging.WARNING]
    lines.clear()


def encoded(query: dict[str, str]) -> str:
    """Return a query whose every sign arrives as it is. A request line over 8 KiB is aiohttp's to refuse."""
    return "&".join(f"{name}={quoted(value)}" for name, value in query.items())


def quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


@many(150)
@given(body=bodies)
async def test_any_body_of_a_create_is_answered(server: Server, lines: Any, body: bytes) -> None:
    check(await server.send("POST", "/Users", body), lines)


@many(200)
@given(body=bodies, method=st.sampled_from(["PATCH", "PUT"]), if_match=st.sampled_from([None, "*", 'W/"x"', '"', ","]))
async def test_any_body_of_a_change_is_answered(
    server: Server, known_id: str, lines: Any, body: bytes, method: str, if_match: str | None
) -> None:
    headers = {} if if_match is None else {"if_match": if_match}
    check(await server.send(method, f"/Users/{known_id}", body, **headers), lines)
    check(await server.send("GET", f"/Users/{known_id}"), lines)


@many(200)
@given(query=queries.filter(lambda query: len(encoded(query)) < 8000))
async def test_any_query_is_answered(server: Server, lines: Any, query: dict[str, str]) -> None:
    check(await server.send("GET", f"/Users?{encoded(query)}"), lines)


@many(60)
@given(id=ids, method=st.sampled_from(["GET", "PATCH", "PUT", "DELETE"]))
async def test_any_id_is_answered(server: Server, lines: Any, id: str, method: str) -> None:
    body = b'{"userName": "x", "Operations": [{"op": "add", "path": "title", "value": "x"}]}'
    answer = await server.send(method, f"/Users/{quoted(id)}", body)
    assert answer.status in {400, 404}
    check(answer, lines)
