"""An upload is removed before its term, over HTTP: unless something goes by it."""

from __future__ import annotations

from typing import Any

from shared.directory.directory import Directories
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph


async def upload(app: App, *people: Any, **asked: str) -> str:
    """Upload people and return the id of the upload."""
    found = await app.call("POST", "linking/identities", {"value": list(people)}, **asked)
    return str(found["id"])


async def test_no_plan_can_name_it_any_more_and_its_rows_go_by_a_sweep(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    one = await upload(app, graph(1, "ada@contoso.com"), {"id": "no"})
    other = await upload(app, graph(2, "bob@x.example"))
    await app.call("DELETE", f"linking/identities/{one}")
    assert [found["id"] for found in (await app.call("GET", "linking/uploads"))["uploads"]] == [other]
    assert (await status_of(app.call("GET", f"linking/identities/{one}")))[0] == 404
    assert (await status_of(app.call("DELETE", f"linking/identities/{one}")))[0] == 404
    assert (await status_of(app.call("POST", "linking/runs", {"identities": one})))[0] == 400
    directory = await Directories(app.tables).open("main")
    assert await directory.plan(one).page("", "", 10) == ([], None)
    stages = [row for row in await directory.stages._announced("stage_") if row.columns["job"] == one]
    assert stages
    assert not any(row.columns["days"] for row in stages)
    run = await app.call("POST", "linking/runs", {"identities": other})
    await app.wait(f"linking/runs/{run['id']}", "planned")


async def test_it_stays_while_a_run_that_has_not_ended_goes_by_it(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    name = await upload(app, graph(1, "ada@contoso.com"))
    run = await app.call("POST", "linking/runs", {"identities": name})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    status, detail = await status_of(app.call("DELETE", f"linking/identities/{name}"))
    assert (status, run["id"] in detail) == (409, True)
    assert (await app.apply(run))["counts"]["linked"] == 1
    await app.call("DELETE", f"linking/identities/{name}")
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    assert (await app.wait(f"linking/undos/{undo['id']}", "done"))["counts"]["undone"] == 1


async def test_it_stays_while_a_run_goes_by_it_to_know_who_is_assigned(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    everybody, assigned = [await upload(app, graph(1, "ada@contoso.com")) for _ in range(2)]
    run = await app.call("POST", "linking/runs", {"identities": everybody, "assigned": assigned})
    await app.wait(f"linking/runs/{run['id']}", "planned")
    status, detail = await status_of(app.call("DELETE", f"linking/identities/{assigned}"))
    assert (status, run["id"] in detail) == (409, True)


async def test_a_part_stays_while_another_upload_goes_on_with_it(app: App) -> None:
    first = await upload(app, graph(1, "ada@contoso.com"))
    second = await upload(app, graph(2, "bob@contoso.com"), after=first)
    status, detail = await status_of(app.call("DELETE", f"linking/identities/{first}"))
    assert (status, second in detail) == (409, True)
    await app.call("DELETE", f"linking/identities/{second}")
    await app.call("DELETE", f"linking/identities/{first}")
    assert not (await app.call("GET", "linking/uploads"))["uploads"]
