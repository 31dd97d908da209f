"""Accounts that were imported after a plan was made: the plan that waits says so wherever it is shown."""

from __future__ import annotations

import pytest

from tests.link_orchestrator.running import POLICY, SEEN, App, Refusal, csv_file, graph

CODE = "importedSince"
PEOPLE = (graph(1, "ann@contoso.com"), graph(2, "bob@contoso.com"))
FIRST, SECOND = csv_file({"userName": "ann@contoso.com"}), csv_file({"userName": "bob@contoso.com"})


async def test_a_plan_that_waits_says_that_accounts_were_imported_since_and_it_is_acknowledged(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(FIRST)
    run = await app.plan(*PEOPLE)
    assert CODE not in [one["code"] for one in run.get("warnings", ())]
    await app.bring(FIRST)
    run = await app.call("GET", f"linking/runs/{run['id']}")
    assert CODE not in [one["code"] for one in run.get("warnings", ())], "nothing came of that import"
    await app.bring(SECOND)
    run = await app.call("GET", f"linking/runs/{run['id']}")
    (told,) = [one for one in run["warnings"] if one["code"] == CODE]
    assert (told["count"], told["values"]) == (1, {"accounts created": 1})
    assert "make another one" in told["remedy"]
    with pytest.raises(Refusal, match=CODE):
        await app.approve(run, acknowledged=[code for code in SEEN if code != CODE])
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    again = await app.plan(*PEOPLE)
    assert CODE not in [one["code"] for one in again.get("warnings", ())]
