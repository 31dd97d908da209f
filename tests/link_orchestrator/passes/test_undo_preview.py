"""What an undo would come to, over HTTP before it is done: it foretells the undo, and changes nobody."""

from __future__ import annotations

from typing import Any

import pytest

from link_orchestrator.requests import undos
from shared.directory.directory import Directories
from tests.link_orchestrator.passes.test_undo import identities, linked, person, scim_patch, undo
from tests.link_orchestrator.passes.test_verify import create
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, directory_rows, object_id

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
NAMES = ("ada", "bob", "cleo", "dora", "eve")


async def preview(app: App, run: Any, **asked: str) -> Any:
    return await app.call("GET", f"linking/runs/{run['id']}/undo/preview", **asked)


async def changed(app: App) -> Any:
    """Return a run of five, of whom provisioning renamed one and switched one off, and one was released since."""
    run = await linked(app, *NAMES)
    for number, name in enumerate(NAMES[:3]):
        await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(number)}"')
        await scim_patch(app, name, externalId=object_id(number), title="Director")
    await scim_patch(app, "bob", active=False)
    cleo = await app.account("cleo@contoso.com")
    await app.call("POST", f"accounts/{cleo['id']}/release")
    await app.call("PATCH", f"accounts/{cleo['id']}", {"document": {"title": "Own"}})
    await scim_patch(app, "ada", userName="ada.new@contoso.com")
    await create(app, "ada@contoso.com", externalId=object_id(77))
    return run


@pytest.mark.parametrize("asked", [{}, {"keep": "attributes"}])
async def test_it_foretells_what_the_undo_does(app: App, asked: dict[str, str]) -> None:
    run = await changed(app)
    before = await directory_rows(await Directories(app.tables).open("main"))
    foretold = await preview(app, run, **asked)
    assert await directory_rows(await Directories(app.tables).open("main")) == before, "looking changes nothing"
    done = await undo(app, run, **asked)
    assert {name: count for name, count in done["counts"].items() if count} == foretold["outcomes"]
    rows = (await app.call("GET", f"linking/undos/{done['id']}/rows", count="1000"))["rows"]
    told = {row["account"]["id"]: (row["outcome"], row["reason"]) for row in rows if row["outcome"] != "undone"}
    assert {row["account"]["id"]: (row["outcome"], row["reason"]) for row in foretold["rows"]} == told
    assert (foretold["lookedAt"], foretold["more"], foretold["groups"]) == (5, False, 0)


async def test_it_says_which_attributes_come_back_and_who_stays_inactive(app: App) -> None:
    run = await changed(app)
    foretold = await preview(app, run)
    assert foretold["attributes"] == {"title": 2}
    assert foretold["wouldSwitchOn"] == 1
    reasons = " ".join(row["reason"] for row in foretold["rows"])
    assert "another account has the former one, ada@contoso.com" in reasons
    assert (await preview(app, run, keep="attributes"))["attributes"] == {}


async def test_an_attribute_of_an_extension_is_named_by_itself(app: App) -> None:
    run = await linked(app, "ada", department="Sales")
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    await scim_patch(app, "ada", **{f"{ENTERPRISE}:department": "Law"}, externalId=object_id(0))
    assert (await preview(app, run))["attributes"] == {f"{ENTERPRISE}:department": 1}


async def test_it_looks_at_some_links_and_says_that_there_are_more(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await linked(app, *NAMES)
    monkeypatch.setattr(undos, "MOST_FORESEEN", 3)
    foretold = await preview(app, run)
    assert (foretold["lookedAt"], foretold["more"], foretold["outcomes"]) == (3, True, {"undone": 3})
    monkeypatch.setattr(undos, "MOST_FORESEEN", 5)
    assert (await preview(app, run))["more"] is False


async def test_names_that_changed_places_in_the_run_are_in_nobodys_way(app: App) -> None:
    run = await linked(app, "ada", "bob")
    for number, name in enumerate(("ada", "bob")):
        await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(number)}"')
        await scim_patch(app, name, externalId=object_id(number))
    await scim_patch(app, "ada", userName="between@contoso.com")
    await scim_patch(app, "bob", userName="ada@contoso.com")
    foretold = await preview(app, run)
    assert (foretold["outcomes"], foretold["attributes"]["userName"]) == ({"undone": 2}, 2)
    counts = (await undo(app, run))["counts"]
    assert (counts["undone"], counts.get("undonePartly", 0)) == (2, 0)


async def test_it_is_refused_where_the_undo_is(app: App) -> None:
    await app.bring(csv_file(person("ada")))
    run = await app.plan(*identities("ada"))
    status, detail = await status_of(preview(app, run))
    assert (status, "waits for its approval" in detail) == (409, True)
    assert (await status_of(preview(app, run, keep="all")))[0] == 409
    done = await app.apply(run, links=1)
    assert (await status_of(preview(app, done, keep="all")))[0] == 400
    assert (await status_of(preview(app, done, activate="1")))[0] == 400
    assert (await status_of(preview(app, {"id": "none"})))[0] == 404


async def test_whom_provisioning_switched_on_is_counted_and_named_and_switched_off_again(app: App) -> None:
    run = await linked(app, "ada", "bob", active="no")
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    await scim_patch(app, "ada", externalId=object_id(0), active=True)
    foretold = await preview(app, run)
    assert (foretold["wouldSwitchOff"], foretold["wouldSwitchOn"]) == (1, 0)
    assert [row["account"]["userName"] for row in foretold["switchedOff"]] == ["ada@contoso.com"]
    kept = await preview(app, run, keep="attributes")
    assert (kept["wouldSwitchOff"], kept["switchedOff"]) == (0, [])
    await undo(app, run)
    assert (await app.account("ada@contoso.com"))["document"]["active"] is False
