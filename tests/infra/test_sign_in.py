"""Who is signed in on a laptop's portal: whoever sits at the machine, and nobody who says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

import function_app
from infra.local.host import LocalHost
from infra.local.sign_in import PERSON, SignIn, is_here, with_portal
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.portal.door import signed_in

TOKEN = "a-token"


@pytest.fixture
async def session(tmp_path: Path, sqlite_tables: SqliteTables) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the server of `make run`."""
    histories = SqliteTables.open(tmp_path / "histories.db")
    app = function_app.build(with_portal(Settings.local(TOKEN)), sqlite_tables)
    async with LocalHost(app, histories, sign_in=SignIn()) as host, aiohttp.ClientSession(host.url) as opened:
        yield opened
    await histories.close()


async def ask(session: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    async with session.get(path, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_whoever_sits_at_the_machine_is_an_operator_on_the_portal(session: aiohttp.ClientSession) -> None:
    for path in ("/portal", "/portal/", "/PORTAL", "/%70ortal"):
        status, page = await ask(session, path)
        assert status == 200
        assert "you@this machine" in page
        assert "Operator" in page


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_machine_has_several_names(session: aiohttp.ClientSession, host: str) -> None:
    assert (await ask(session, "/portal", Host=f"{host}:{session._base_url.port}"))[0] == 200  # type: ignore[union-attr]


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}"])
async def test_a_name_that_is_not_the_machines_signs_nobody_in(session: aiohttp.ClientSession, host: str) -> None:
    named = host.format(port=session._base_url.port)  # type: ignore[union-attr]
    assert (await ask(session, "/portal", Host=named))[0] == 401
    assert (await ask(session, "/.auth/login/aad", Host=named))[0] == 403


@pytest.mark.parametrize("name", ["X-MS-CLIENT-PRINCIPAL", "x-ms-client-principal-id", "X-MS-Client-Principal-Name"])
async def test_nobody_says_who_they_are(session: aiohttp.ClientSession, name: str) -> None:
    """Neither on the portal, nor where a principal would open the administrator's API."""
    claimed = {name: signed_in("Owner", aud="local", tid="local", oid=PERSON)["X-MS-CLIENT-PRINCIPAL"]}
    for path in ("/portal", "/linking/runs", "/openapi.json"):
        assert (await ask(session, path, **claimed))[0] == 401


async def test_the_person_at_the_machine_opens_nothing_but_the_portal(session: aiohttp.ClientSession) -> None:
    for path in ("/linking/runs", "/scim/v2/Users", "/accounts?userName=a", "/portals", "/x/portal"):
        assert (await ask(session, path))[0] == 401


async def test_a_report_is_a_page_of_the_portal(session: aiohttp.ClientSession) -> None:
    """The address of the API takes a token, which a browser does not send."""
    run = "/portal/runs/run20261130000000000000000"
    for path in (f"{run}/report", f"{run}/report?format=xlsx", "/portal/undos/undo1/report"):
        status, page = await ask(session, path)
        assert (status, "There is no such page" in page) == (404, True)


async def test_signing_in_leads_to_the_page_that_was_asked_for_and_nowhere_else(session: aiohttp.ClientSession) -> None:
    for asked, to in (("/portal/runs", "/portal/runs"), ("https://evil.example", "/portal"), ("//evil", "/portal")):
        params = {"post_login_redirect_uri": asked}
        async with session.get("/.auth/login/aad", params=params, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, to)
    assert (await ask(session, "/.auth/logout"))[0] == 200


@pytest.mark.parametrize(
    ("peer", "here"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), (None, False), ("x", False)]
)
def test_only_a_peer_on_this_machine_is_here(peer: str | None, here: bool) -> None:
    assert is_here({"Host": "127.0.0.1:7071"}, peer, "http://127.0.0.1:7071") is here
