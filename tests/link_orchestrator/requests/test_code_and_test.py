"""The administrator's functions as Code + Test in the Azure portal calls them: a JSON body, a token, their page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.link_orchestrator.running import App, csv_file, graph
from tests.openapi import check_answer

PANEL = {"Origin": "https://portal.azure.com", "Sec-Fetch-Site": "cross-site", "x-functions-key": "master"}


async def run(app: App, method: str, route: str, body: str | None = None, **query: str) -> tuple[int, Any]:
    """Press Run: the path as the route is written, its parameters in the query."""
    headers = PANEL | {"Content-Type": "application/json"}
    async with app.session.request(method, f"/{route}", params=query, data=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.text())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "body"),
        ("{", "JSON"),
        ("{}", "identities"),
        ('{"identities": "nonsense"}', "identities"),
        ('{"name": "Azure"}', "name"),
    ],
)
async def test_what_the_panel_sends_by_itself_starts_nothing_and_is_told_what_to_send(
    app: App, body: str, told: str
) -> None:
    status, answer = await run(app, "POST", "linking/runs", body)
    assert (status, told in answer["detail"]) == (400, True), answer
    assert (await app.call("GET", "linking/runs"))["runs"] == []


async def test_a_run_is_started_looked_at_approved_and_taken_back(app: App) -> None:
    await app.bring(csv_file({"userName": "kim@contoso.com"}))
    upload = await app.upload(graph(1, "kim@contoso.com"))
    status, job = await run(app, "POST", "linking/runs", json.dumps({"identities": upload}))
    assert status == 202
    check_answer("POST", "/linking/runs", status, job)
    await app.wait(f"linking/runs/{job['id']}", "planned")
    status, planned = await run(app, "GET", "linking/runs/{id}", id=job["id"])
    assert (status, planned["phase"], planned["links"]) == (200, "planned", 1)
    status, page = await run(app, "GET", "linking/runs/{id}/decisions", id=job["id"], decision="link")
    assert (status, len(page["decisions"])) == (200, 1)
    status, answer = await run(app, "POST", "linking/runs/{id}/approve", '{"links": 1}', id=job["id"])
    assert (status, answer["id"]) == (202, job["id"])
    await app.wait(f"linking/runs/{job['id']}", "done")
    status, undo = await run(app, "POST", "linking/runs/{id}/undo", "{}", id=job["id"])
    assert status == 202
    await app.wait(f"linking/undos/{undo['id']}", "done")
    activity = (await app.call("GET", "directory/activity"))["activity"]
    assert [row["operation"] for row in activity[:2]] == ["linking_undo_start", "linking_run_approve"]
    assert activity[0]["job"]["id"] == job["id"]


async def test_a_parameter_that_is_left_out_names_nothing(app: App) -> None:
    assert (await run(app, "GET", "linking/runs/{id}"))[0] == 404
