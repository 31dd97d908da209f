"""Who gets in, and how far: tokens, roles, and the wall between directories."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

import pytest

from link_orchestrator.functions import described
from shared.host.auth import Forbidden, Unauthorized, authenticate
from shared.host.problems import problem
from shared.host.settings import Credential, Settings
from tests.scim_users.conftest import ADMIN_TOKEN, OTHER_TOKEN, TOKEN, Server

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@contoso.com", "externalId": "0f9a"}
PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "active", "value": False}],
}
REQUESTS = (
    ("GET", "/Users", None),
    ("POST", "/Users", USER),
    ("GET", "/Users/0f9a", None),
    ("PUT", "/Users/0f9a", USER),
    ("PATCH", "/Users/0f9a", PATCH),
    ("DELETE", "/Users/0f9a", None),
    ("GET", "/ServiceProviderConfig", None),
    ("GET", "/Schemas", None),
    ("GET", "/ResourceTypes", None),
)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN]
)
async def test_nothing_opens_without_a_known_token(server: Server, header: str | None) -> None:
    more = {} if header is None else {"authorization": header}
    for method, path, body in REQUESTS:
        answer = await server.send(method, path, body, token=None, **more)
        assert (answer.status, answer.body["status"]) == (401, "401")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"].startswith("application/scim+json")
        assert TOKEN[:-1] not in str(answer.body)


async def test_a_token_of_another_role_opens_no_provisioning_route(server: Server) -> None:
    for method, path, body in REQUESTS:
        answer = await server.send(method, path, body, token=ADMIN_TOKEN)
        assert (answer.status, answer.body["status"]) == (403, "403")


async def test_a_token_for_provisioning_opens_no_route_of_the_administrator(server: Server) -> None:
    routes = [(route.method, re.sub(r"{\w+}", "0f9a", route.path)) for route in described()]
    for method, path in [*routes, ("GET", "openapi.json")]:
        for token, status in ((TOKEN, 403), (TOKEN + "x", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            async with server.session.request(method, f"{server.url}/{path}", headers=headers) as answer:
                assert answer.status == status, (method, path)


async def test_one_directory_is_closed_to_the_token_of_another(server: Server) -> None:
    user = (await server.send("POST", "/Users", USER)).body
    path = f"/Users/{user['id']}"
    for method, body in (("GET", None), ("PUT", USER), ("PATCH", PATCH), ("DELETE", None)):
        assert (await server.send(method, path, body, token=OTHER_TOKEN)).status == 404
    for text in ('userName eq "ada@contoso.com"', 'externalId eq "0f9a"', f'id eq "{user["id"]}"', "userName pr"):
        found = await server.send("GET", f"/Users?filter={text}", token=OTHER_TOKEN)
        assert (found.status, found.body["totalResults"]) == (200, 0)
    assert (await server.send("GET", "/Users", token=OTHER_TOKEN)).body["totalResults"] == 0
    assert (await server.send("GET", path)).body == user


async def test_what_people_write_into_a_path_or_a_body_stands_in_no_log_and_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"identity": ["hunter2"], "reason": {"hunter2": 1}}
    for path in ("accounts/ada@contoso.com", "accounts/ada@contoso.com/link"):
        method = "POST" if path.endswith("link") else "GET"
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with server.session.request(method, f"{server.url}/{path}", json=body, headers=headers) as answer:
            told = await answer.text()
            assert answer.status in (400, 404)
            assert "hunter2" not in told
    assert (await server.send("GET", "/Users/ada@contoso.com")).status == 404
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("scimlink")]
    assert len(lines) == 3
    assert not [line for line in lines if "ada" in line or "hunter2" in line]


def test_a_mistake_of_ours_tells_nobody_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    person = "ada@contoso.com"
    try:
        raise KeyError(person)
    except KeyError as error:
        status, _, detail, _ = problem(error)
    (record,) = caplog.records
    assert (status, "ada" in detail, "ada" in record.getMessage()) == (500, False, False)
    assert "test_security.py" in record.getMessage(), "where it happened is told"
    assert detail.split()[3].rstrip(":") in record.getMessage()


async def test_a_name_can_be_used_in_each_directory(server: Server) -> None:
    first, second = [await server.send("POST", "/Users", USER, token=token) for token in (TOKEN, OTHER_TOKEN)]
    assert (first.status, second.status) == (201, 201)
    assert (await server.send("DELETE", f"/Users/{second.body['id']}", token=OTHER_TOKEN)).status == 204
    assert (await server.send("GET", f"/Users/{first.body['id']}")).status == 200


def test_an_expired_token_is_refused_and_two_are_valid_at_once() -> None:
    old = Credential.of("old", "entra", "scim").model_copy(update={"expires": datetime(2026, 11, 23, 12, tzinfo=UTC)})
    both = (old, Credential.of("new", "entra", "scim"))
    before, at = datetime(2026, 11, 23, 11, 59, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert authenticate("Bearer old", both, "scim", lambda: before) is both[0]
    assert authenticate("bearer new", both, "scim", lambda: at) is both[1]
    with pytest.raises(Unauthorized, match="expired"):
        authenticate("Bearer old", both, "scim", lambda: at)
    with pytest.raises(Forbidden):
        authenticate("Bearer new", both, "admin", lambda: at)


@pytest.mark.parametrize("place", [0, 1, 31, 62, 63])
def test_a_hash_is_compared_to_its_last_digit(place: int) -> None:
    known = Credential.of("token", "entra", "scim")
    digits = list(known.sha256)
    digits[place] = "1" if digits[place] == "0" else "0"
    other = known.model_copy(update={"sha256": "".join(digits)})
    with pytest.raises(Unauthorized, match="not known"):
        authenticate("Bearer token", [other], "scim")
    assert authenticate("Bearer token", [other, known], "scim") is known


def test_a_credential_in_the_settings_opens_what_it_names_and_no_more() -> None:
    told = {"name": "entra", "sha256": "0" * 64, "expires": "2026-11-23T12:00:00Z"}
    (found,) = Settings.from_environment({"SCIMLINK_CREDENTIALS": json.dumps([told])}).credentials
    assert (found.roles, found.directory) == ({"scim"}, "main")
    assert found.expires == datetime(2026, 11, 23, 12, tzinfo=UTC)
    without_zone = {"expires": "2026-11-23T12:00:00"}  # which no clock could be compared with, at every request
    for wrong in (
        {"expire": told["expires"]},
        {"role": ["admin"]},
        {"roles": ["root"]},
        {"sha256": "0" * 63},
        without_zone,
    ):
        with pytest.raises(ValueError, match="SCIMLINK_CREDENTIALS must be"):
            Settings.from_environment({"SCIMLINK_CREDENTIALS": json.dumps([told | wrong])})
