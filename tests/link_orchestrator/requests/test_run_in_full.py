"""What a page about a run needs beside its rows: one row with the people it names, and what the run goes by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id

ACCOUNTS = csv_file(
    {"userName": "ada@contoso.com", "email": "ada@contoso.com"},
    {"userName": "bob.local", "employeeNumber": "2"},
)


@pytest.fixture
async def run(app: App) -> Any:
    """A planned run: a link and a review."""
    await app.bring(ACCOUNTS)
    bob = graph(2, "bob@contoso.com", employeeId="2", proxyAddresses=["smtp:robert@contoso.com"])
    return await app.plan(graph(1, "ada@contoso.com"), bob)


async def test_a_row_is_shown_with_the_identity_as_the_source_had_it(app: App, run: Any) -> None:
    (listed,) = await app.decisions(run, "review")
    shown = await app.call("GET", f"linking/runs/{run['id']}/decisions/{listed['id']}")
    assert shown["row"] == listed
    (identity,) = shown["identities"]
    assert (identity["id"], identity["employeeId"]) == (object_id(2), "2")
    assert identity["proxyAddresses"] == ["smtp:robert@contoso.com"]
    alone = await app.call("GET", f"linking/runs/{run['id']}/decisions/{listed['id']}", identities="false")
    assert alone == {"row": listed, "identities": []}


@pytest.mark.parametrize("row", ["x", "00review_" + "0" * 32, "ffreview_" + "0" * 32, "~", "00~s"])
async def test_what_is_no_row_of_the_run_is_not_found(app: App, run: Any, row: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", f"linking/runs/{run['id']}/decisions/{row}")
    assert refusal.value.status == 404


async def test_a_run_says_by_which_policy_and_files_it_went(app: App, run: Any) -> None:
    basis = await app.call("GET", f"linking/runs/{run['id']}/basis")
    assert basis["policy"][0]["sentence"] == "Only addresses in contoso.com and fabrikam.com prove anything."
    assert any("A person decides" in one["sentence"] and one["points"] for one in basis["policy"])
    assert [one["job"]["kind"] for one in basis["files"]] == ["import", "identities"]
    assert "commas" in basis["files"][0]["recognisedAs"]
    assert basis["undos"] == []


async def test_a_file_that_was_taken_back_since_is_said(app: App, run: Any) -> None:
    await app.apply(run)
    basis = await app.call("GET", f"linking/runs/{run['id']}/basis")
    imported = basis["files"][0]["job"]["id"]
    undo = await app.call("POST", f"accounts/imports/{imported}/undo")
    await app.wait(f"accounts/undos/{undo['id']}", "done")
    basis = await app.call("GET", f"linking/runs/{run['id']}/basis")
    assert basis["files"][0]["takenBack"]["id"] == undo["id"]
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await app.wait(f"linking/undos/{undo['id']}", "done")
    basis = await app.call("GET", f"linking/runs/{run['id']}/basis")
    assert [one["id"] for one in basis["undos"]] == [undo["id"]]


async def test_rows_that_nobody_has_decided_about_are_listed_alone(app: App, run: Any) -> None:
    (row,) = await app.decisions(run, "review")

    async def left() -> int:
        page = await app.call("GET", f"linking/runs/{run['id']}/decisions", decision="review", reviewed="false")
        return len(page["decisions"])

    async def decide(action: str) -> None:
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": action})

    assert await left() == 1
    await decide("link")
    assert await left() == 0
    await decide("leave")
    assert await left() == 1
