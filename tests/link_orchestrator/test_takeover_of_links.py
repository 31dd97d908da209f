"""Attempts to get at somebody else's account around a link's beginning and end: by a run, by hand, after an undo."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.link_orchestrator.passes.test_undo import PATCH, USER, identities, linked, person, scim_patch, undo
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph, object_id

EVE = "eve@evil.example"
MINE = [{"value": EVE, "type": "work"}]


async def by_a_run(app: App) -> None:
    await linked(app, "ada")


async def by_hand(app: App) -> None:
    await app.bring(csv_file(person("ada")))
    ada = (await app.account("ada@contoso.com"))["id"]
    await app.call("POST", f"accounts/{ada}/link", {"identity": object_id(0)})


async def and_pointed_elsewhere(app: App) -> None:
    await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0))
    ada = (await app.account("ada@contoso.com"))["id"]
    await app.call("POST", f"accounts/{ada}/link", {"identity": object_id(1)})


Begin = Callable[[App], Awaitable[None]]


@pytest.mark.parametrize("begin", [by_a_run, by_hand, and_pointed_elsewhere], ids=lambda begin: begin.__name__)
async def test_a_link_followed_at_once_by_a_change_of_how_the_person_is_reached(app: App, begin: Begin) -> None:
    await begin(app)
    before = await app.account("ada@contoso.com")
    changes: tuple[dict[str, Any], ...] = ({"emails": MINE}, {"userName": EVE}, {"active": False})
    for values in changes:
        status, detail = await status_of(scim_patch(app, "ada", **values))
        assert (status, "has not come through its externalId yet" in detail) == (403, True)
    assert (await status_of(app.call("DELETE", f"scim/v2/Users/{before['id']}")))[0] == 403
    assert await app.account("ada@contoso.com") == before


@pytest.mark.parametrize(
    "values",
    [
        {"emails": MINE},
        {"externalId": object_id(7), "emails": MINE},
        {"externalId": object_id(7), "userName": EVE},
        {"externalId": object_id(7), "title": "Director"},
    ],
)
async def test_after_an_undo_nobody_else_gets_in(app: App, values: dict[str, Any]) -> None:
    """Neither without an identity nor with one that shows nothing of ada's in a verified domain."""
    run = await linked(app, "ada", userName="ada", email="ada@elsewhere.example", objectId=object_id(0))
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    assert (await undo(app, run))["counts"] == {"undone": 1}
    await app.call("GET", "scim/v2/Users", filter='emails.value eq "ada@elsewhere.example"')
    ada = await app.account("ada")
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    body = {"schemas": [PATCH], "Operations": operations}
    assert (await status_of(app.call("PATCH", f"scim/v2/Users/{ada['id']}", body)))[0] == 403
    assert await app.account("ada") == ada


async def test_an_administrator_protected_after_the_run_is_out_of_reach_linked_and_undone(app: App) -> None:
    run = await linked(app, "ada")
    ada = (await app.account("ada@contoso.com"))["id"]
    await app.call("PATCH", f"accounts/{ada}", {"protected": True})
    for _ in range(2):
        for values in ({"externalId": object_id(0), "active": False}, {"externalId": object_id(0), "emails": MINE}):
            assert (await status_of(scim_patch(app, "ada", **values)))[0] == 403
        assert (await status_of(app.call("DELETE", f"scim/v2/Users/{ada}")))[0] == 403
        await undo(app, run)
    assert (await app.plan(*identities("ada")))["counts"] == {"protected": 1, "noIdentity": 0}


async def test_whoever_gets_a_name_that_a_linked_person_had_is_compared(app: App) -> None:
    """Deleted in Entra, then created again under the same name: another object id, maybe another person."""
    run = await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0))
    ada = (await app.account("ada@contoso.com"))["id"]
    await app.call("POST", f"accounts/{ada}/release")
    for kind in ("released", "deleted over SCIM"):
        again = await app.plan(graph(7, "ada@contoso.com"))
        assert again["counts"]["conflict"] == 1, kind
        await app.call("POST", f"linking/runs/{again['id']}/cancel")
        await app.wait(f"linking/runs/{again['id']}")
        user = {"schemas": [USER], "userName": "ada@contoso.com", "externalId": object_id(7)}
        assert (await status_of(app.call("POST", "scim/v2/Users", user)))[0] == 409, kind
        assert (await app.account("ada@contoso.com"))["link"] is None
        if kind == "released":
            await app.call("POST", f"accounts/{ada}/link", {"identity": object_id(0)})
            await scim_patch(app, "ada", externalId=object_id(0))
            await app.call("DELETE", f"scim/v2/Users/{ada}")
    assert (await undo(app, run))["counts"] == {"unchanged": 1}
