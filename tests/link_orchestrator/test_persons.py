"""Who did it: the name of a person who signed in is kept with what they decide, for a term, and opens no door."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.text import timestamp
from shared.host.principal import read_principal
from shared.host.settings import Settings
from tests.link_orchestrator.running import TOKEN, Api, App, Refusal, csv_file, graph, plan_rows, serving
from tests.link_orchestrator.test_retention import NIGHT, age, directory_of

CLIENT, TENANT = "11111111-aaaa-4aaa-8aaa-111111111111", "22222222-bbbb-4bbb-8bbb-222222222222"
OID = {
    "typ": "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "val": "33333333-cccc-4ccc-8ccc-333333333333",
}


def principal(*claims: dict[str, str], auth: str = "aad", aud: str = CLIENT, tid: str = TENANT) -> str:
    """Return the header of App Service Authentication for somebody with these claims."""
    known = [OID, {"typ": "aud", "val": aud}, {"typ": "tid", "val": tid}]
    document = {"auth_typ": auth, "name_typ": "name", "role_typ": "roles", "claims": [*known, *claims]}
    return base64.b64encode(json.dumps(document).encode()).decode()


NAMES = {"typ": "name", "val": "Eva Holm"}, {"typ": "preferred_username", "val": "eva@contoso.com"}
EVA = principal(*NAMES)


@asynccontextmanager
async def as_eva(app: App, header: str = EVA) -> AsyncIterator[Api]:
    """Open a session of somebody who signed in, and has the administrator's token."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-MS-CLIENT-PRINCIPAL": header}
    async with aiohttp.ClientSession(app.host.url, headers=headers) as session:
        yield Api(session)


@pytest.fixture
def behind_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """App Service Authentication stands before the app."""
    set_portal(monkeypatch)


def set_portal(monkeypatch: pytest.MonkeyPatch, audience: str = CLIENT, directory: str = "main") -> None:
    """Let settings have a sign-in before the app, of one tenant for one directory."""
    local = Settings.local
    portal = {"portal_auth": True, "portal_audience": audience, "portal_tenants": {TENANT: directory}}

    def signed(*args: Any, **named: Any) -> Settings:
        return local(*args, **named).model_copy(update=portal)

    monkeypatch.setattr(Settings, "local", signed)


async def decided(api: Api) -> Any:
    """Return a run that is done, with a review of one row."""
    await api.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob", "employeeNumber": "2"}))
    run = await api.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com", employeeId="2"))
    (row,) = await api.decisions(run, "review")
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    run = await api.call("GET", f"linking/runs/{run['id']}")
    acknowledged = [warning["code"] for warning in run.get("warnings", ())]
    return await api.apply(run, acknowledged=acknowledged)


@pytest.mark.usefixtures("behind_sign_in")
async def test_a_run_its_approval_and_its_reviews_say_which_person_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, as_eva(app) as eva:
        run = await decided(eva)
        assert run["persons"] == {"started": "eva@contoso.com", "approved": "eva@contoso.com"}
        assert (run["startedBy"], run["approvedBy"]) == ("local", "local")
        assert run["options"]["approvals"][0]["person"] == "eva@contoso.com"
        (row,) = await app.decisions(run, "review")
        assert (row["review"]["person"], row["review"]["by"]) == ("eva@contoso.com", "local")
        other = await eva.plan(graph(1, "ada@contoso.com"), graph(3, "new@contoso.com"), full=True)
        await eva.call("POST", f"linking/runs/{other['id']}/cancel")
        assert (await app.wait(f"linking/runs/{other['id']}", "cancelled"))["persons"]["cancelled"] == "eva@contoso.com"


@pytest.mark.usefixtures("behind_sign_in")
async def test_the_name_of_a_person_goes_with_the_term_though_the_run_stays(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, as_eva(app) as eva:
        run = await decided(eva)
        await age(app, run)
        await app.host.run_timer(NIGHT)
        kept = await app.call("GET", f"linking/runs/{run['id']}")
        rows = await plan_rows(await directory_of(app), run["id"])
        assert kept["reduced"]
        assert len(rows) == 2, "the links stand"
        assert "eva@contoso.com" not in json.dumps([kept, [row.to_json() for row in rows]])


@pytest.mark.usefixtures("behind_sign_in")
async def test_the_name_of_who_acknowledged_goes_with_the_term_and_the_warning_stays_acknowledged(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as app, as_eva(app) as eva:
        run = await decided(eva)
        directory = await directory_of(app)
        known = await directory.findings.acknowledged()
        assert {(one["person"], one["run"]) for one in known.values()} == {("eva@contoso.com", run["id"])}
        await app.host.run_timer("sweep")
        assert await directory.findings.acknowledged() == known, "the term is not over"
        before = timestamp(datetime.fromisoformat(directory.jobs.now()) - timedelta(days=181))
        await directory.findings.acknowledge({code: {**one, "at": before} for code, one in known.items()})
        await app.host.run_timer("sweep")
        nameless = {code: {"digest": one["digest"], "by": "local", "at": before, "run": run["id"]}
                    for code, one in known.items()}  # fmt: skip
        assert await directory.findings.acknowledged() == nameless


async def test_a_header_that_anybody_could_send_names_nobody(app: App) -> None:
    """App Service Authentication does not stand before this app."""
    async with as_eva(app) as eva:
        run = await decided(eva)
    assert "persons" not in run
    assert "eva" not in json.dumps([run, await app.decisions(run)])


@pytest.mark.parametrize(
    ("header", "portal"),
    [
        (principal(*NAMES, aud="another"), {}),
        (principal(*NAMES, aud=""), {}),
        (principal(*NAMES, tid="another"), {}),
        (principal(*NAMES, tid=""), {}),
        (EVA, {"directory": "other"}),
        (principal(*NAMES, aud=""), {"audience": ""}),
        (principal(*NAMES, aud="api://"), {"audience": ""}),
    ],
)
async def test_a_sign_in_that_nothing_vouches_for_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, portal: dict[str, str]
) -> None:
    set_portal(monkeypatch, **portal)
    async with serving(tmp_path) as app, as_eva(app, header) as eva:
        run = await decided(eva)
        assert "persons" not in run
        assert "eva" not in json.dumps([run, await app.decisions(run)])


@pytest.mark.usefixtures("behind_sign_in")
async def test_a_person_without_a_token_has_no_door(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        headers = {"X-MS-CLIENT-PRINCIPAL": EVA}
        async with aiohttp.ClientSession(app.host.url, headers=headers) as session:
            with pytest.raises(Refusal) as refusal:
                await Api(session).call("GET", "linking/runs")
        assert refusal.value.status == 403, "the sign-in has none of the app's roles"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (EVA, "eva@contoso.com"),
        (principal({"typ": "name", "val": "Eva Holm"}), "Eva Holm"),
        (principal(), ""),
        (principal({"typ": "name", "val": "Eva"}, auth="google"), ""),
        (principal({"typ": "name", "val": "a\nb"}), ""),
        ("", ""),
        (None, ""),
        ("e30=", ""),
        (base64.b64encode(b'{"claims": 5}').decode(), ""),
        (base64.b64encode(b"[" * 100_000).decode(), ""),
    ],
)
def test_a_principal_is_named_by_how_they_sign_in(header: str | None, name: str) -> None:
    assert read_principal(header).name == name


@given(st.binary(max_size=60), st.text(max_size=60))
def test_whatever_the_header_holds_it_is_a_name_or_none(data: bytes, text: str) -> None:
    for header in (base64.b64encode(data).decode(), text):
        assert read_principal(header).name.isprintable()


def test_the_setting_is_one_word_or_left_out() -> None:
    assert not Settings.from_environment({}).portal_auth
    assert Settings.from_environment({"SCIMLINK_PORTAL_AUTH": "easyauth"}).portal_auth
    with pytest.raises(ValueError, match="SCIMLINK_PORTAL_AUTH must be easyauth"):
        Settings.from_environment({"SCIMLINK_PORTAL_AUTH": "yes"})
