"""Where a directory stands, and its settings: what is told, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.local.faults import FaultyTables
from link_orchestrator.requests.standing import get_directory, get_settings
from shared.admin.pages import BUCKETS_AT_ONCE
from shared.host.graph_settings import GraphSettings
from shared.host.settings import Credential, Settings
from shared.scim.endpoint import Request
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import App, csv_file, make_directory, object_id
from tests.openapi import check_answer
from tests.shared.directory.people import create

ASKED = Request("https://scimlink.example/scim/v2", "ada")
SETTINGS = Settings(
    credentials=(
        Credential.of("a", "entra", "scim").model_copy(update={"expires": datetime(2027, 1, 31, tzinfo=UTC)}),
        Credential.of("b", "of another customer", "scim", directory="other"),
    ),
    tables="UseDevelopmentStorage=true;AccountKey=secret",
    graph=GraphSettings.model_validate(
        {"tenants": {"main": "contoso.com", "other": "fabrikam.com"}, "client_id": "app", "client_secret": "secret"}
    ),
    portal_auth=True,
    portal_audience="client",
    portal_tenants={"contoso": "main", "fabrikam": "other"},
)


async def test_a_directory_says_how_many_it_has_and_what_was_done_last(app: App) -> None:
    empty = await app.call("GET", "directory")
    assert (empty["accounts"], empty["groups"], empty["latest"]) == (0, 0, {})
    for names in (("ada",), ("ada", "ben")):
        job = await app.bring(csv_file(*({"userName": name} for name in names)))
    told = await app.call("GET", "directory")
    assert (told["name"], told["accounts"], told["latest"].keys()) == ("main", 2, {"import"})
    assert told["latest"]["import"] == (await app.call("GET", "linking/imports"))["imports"][0]
    assert told["latest"]["import"]["id"] == job["id"]
    assert told["credentials"] == [{"name": "local", "roles": ["admin", "scim"], "expires": None}]


async def test_a_directory_counts_its_accounts_by_state_where_there_are_few(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.bring(csv_file({"userName": "ada"}, {"userName": "root", "protected": "true"}, {"userName": "out"}))
    accounts = {one["userName"]: one["id"] for one in (await app.call("GET", "accounts"))["accounts"]}
    await app.call("POST", f"accounts/{accounts['ada']}/link", {"identity": object_id(1)})
    await app.call("PATCH", f"accounts/{accounts['out']}", {"document": {"active": False}})
    assert "states" not in await app.call("GET", "directory"), "unless it is asked for"
    states = (await app.call("GET", "directory", states="true"))["states"]
    for state, count in states.items():
        assert len((await app.call("GET", "accounts", state=state))["accounts"]) == count, state
    assert states == {
        "local": 2, "linked": 1, "unconfirmed": 1, "provisioned": 0, "protected": 1, "inactive": 1,
        "deletedOverScim": 0,
    }  # fmt: skip
    monkeypatch.setattr("link_orchestrator.requests.standing.SCANNED", 2)
    assert "states" not in await app.call("GET", "directory", states="true")


async def test_accounts_and_their_states_are_of_one_look(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The total is kept in memory for some seconds: during an import it was 811 beside 1,000 that are managed here."""
    directory = await make_directory(sqlite_tables)
    for place in range(3):
        await create(directory, f"p{place}@contoso.com")

    async def before() -> int:
        return 1

    monkeypatch.setattr(directory.listing, "total", before)
    told = json.loads((await get_directory(directory, replace(ASKED, params={"states": "true"}), SETTINGS)).text)
    assert (told["accounts"], told["states"]["local"]) == (3, 3)
    assert "live" not in told["states"]
    assert json.loads((await get_directory(directory, ASKED, SETTINGS)).text)["accounts"] == 1


async def test_a_directory_says_where_it_stands_at_the_same_cost_however_many_accounts_it_has(
    sqlite_tables: SqliteTables,
) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await make_directory(counting, buckets=64)
    await directory.jobs.entries("run")  # looks once whether there are jobs without
    costs = list[tuple[int, int]]()
    for people in (0, 200):
        for place in range(people):
            await create(directory, f"p{place}@contoso.com")
        for params in ({}, {"states": "true"}):
            await get_directory(directory, ASKED, SETTINGS)  # each count is kept in memory for seconds
            counting.reset()
            asked = replace(ASKED, params=params)
            told = json.loads((await get_directory(directory, asked, SETTINGS)).text)
            costs.append((counting.sequential, counting.requests))
    assert costs[0] == costs[2], "without states"
    assert told["states"]["local"] == told["accounts"] == 200
    assert costs[3][0] - costs[2][0] == directory.keys.buckets // BUCKETS_AT_ONCE, "one round trip for some buckets"


async def test_settings_are_shown_as_they_are(app: App) -> None:
    told = await app.call("GET", "directory/settings")
    assert told["appRoles"] == ["admin", "scim"]
    assert told["credentials"] == (await app.call("GET", "directory"))["credentials"]
    assert told["signIn"] == {"on": False, "application": None, "tenants": []}
    assert told["backups"] is None


@pytest.mark.parametrize(("days", "shown"), [("14", 14), ("", None)])
async def test_settings_say_where_copies_are_and_for_how_long_they_are_kept(
    sqlite_tables: SqliteTables, days: str, shown: int | None
) -> None:
    address = "https://copies.blob.core.windows.net"
    settings = Settings.from_environment({"SCIMLINK_BACKUPS_ENDPOINT": address, "SCIMLINK_BACKUP_DAYS": days})
    answer = await get_settings(await make_directory(sqlite_tables), ASKED, settings)
    check_answer("GET", "/directory/settings", 200, json.loads(answer.text))
    assert json.loads(answer.text)["backups"] == {"storage": address, "days": shown}


async def test_no_secret_and_nothing_of_another_customer_is_told(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    for service, path in ((get_directory, "/directory"), (get_settings, "/directory/settings")):
        answer = await service(directory, ASKED, SETTINGS)
        check_answer("GET", path, 200, json.loads(answer.text))
        for kept in ("secret", "other", "fabrikam", SETTINGS.credentials[0].sha256, "AccountKey"):
            assert kept not in answer.text
    assert json.loads(answer.text)["graph"]["proof"] == "clientSecret"
    assert json.loads(answer.text)["signIn"]["tenants"] == ["contoso"]
