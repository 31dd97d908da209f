"""Suggestions: shown in the rows of those whom nothing matches, three at most, and linked by nobody but a person."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from link_orchestrator.messages import Slice, Start
from link_orchestrator.orchestrator import NAME_PASSES, PLAN_PASSES, SUGGEST_PASSES, link_accounts
from link_orchestrator.passes import suggest as suggesting
from link_orchestrator.passes.suggest import suggest
from shared.directory.directory import Directories
from tests.link_orchestrator.running import SEEN, App, Engine, Refusal, csv_file, graph, object_id, plan_rows
from tests.link_orchestrator.test_orchestrator import START, answers, stages

ACCOUNTS = csv_file(
    {"userName": "ada@contoso.com", "email": "ada@contoso.com", "displayName": "Ada Byron"},
    {"userName": "amueller", "email": "a.mueller@old.example", "displayName": "Mueller, Anna"},
    {"userName": "berg1", "displayName": "Bo Berg"},
    {"userName": "root", "displayName": "Carl Holm", "protected": "true"},
    {"userName": "nobody", "displayName": "No One"},
)
IDENTITIES = (
    graph(1, "ada@contoso.com", displayName="Ada Byron"),
    graph(2, "x4711@contoso.com", displayName="Anna Müller"),
    graph(3, "bo.b@contoso.com", displayName="Bo Berg"),
    graph(4, "bo.berg2@contoso.com", displayName="Bo Berg"),
    graph(5, "carl.holm@contoso.com", displayName="Carl Holm"),
)


async def planned(app: App) -> Any:
    await app.bring(ACCOUNTS)
    return await app.plan(*IDENTITIES)


async def test_accounts_and_identities_without_a_match_are_suggested_to_each_other(app: App) -> None:
    run = await planned(app)
    assert run["suggestions"] == {"noAccount": 3, "noIdentity": 2}
    accounts = {row["account"]["userName"]: row for row in await app.decisions(run, "noIdentity")}
    identities = {row["identity"]["objectId"]: row for row in await app.decisions(run, "noAccount")}
    (of_account,) = accounts["amueller"]["suggestions"]
    assert of_account["identity"] == {
        "objectId": object_id(2),
        "userPrincipalName": "x4711@contoso.com",
        "displayName": "Anna Müller",
    }
    assert of_account["alike"] == ["name", "nameInAddress"]
    assert 0.9 <= of_account["score"] < 1
    (of_identity,) = identities[object_id(2)]["suggestions"]
    assert of_identity["account"] == {**accounts["amueller"]["account"], "displayName": "Mueller, Anna"}
    assert of_identity["score"] == of_account["score"]
    assert "suggestions" not in accounts["nobody"]


async def test_it_is_warned_of_people_who_would_be_created_though_an_account_is_much_alike(app: App) -> None:
    run = await planned(app)
    (told,) = [one for one in run["warnings"] if one["code"] == "probableAccounts"]
    assert (told["count"], told["acknowledged"]) == (1, False)
    assert told["examples"] == [{"identity": "x4711@contoso.com", "account": "amueller"}]
    with pytest.raises(Refusal, match="probableAccounts"):
        await app.approve(run, acknowledged=[code for code in SEEN if code != "probableAccounts"])
    (row,) = (await app.call("GET", f"linking/runs/{run['id']}/decisions", decision="noAccount", score="0.9"))[
        "decisions"
    ]
    assert row["identity"]["objectId"] == object_id(2)
    review = {"rows": [row["id"]], "action": "link", "account": "amueller"}
    answer = await app.call("POST", f"linking/runs/{run['id']}/review", review)
    assert "probableAccounts" not in [one["code"] for one in answer["run"].get("warnings", ())]


async def test_namesakes_are_said_to_be_so_on_either_side_and_never_sure(app: App) -> None:
    run = await planned(app)
    rows = [*await app.decisions(run, "noIdentity"), *await app.decisions(run, "noAccount")]
    bergs = [one for row in rows for one in row.get("suggestions", []) if "Bo Berg" in str(row) or "berg1" in str(row)]
    assert len(bergs) == 4, "two for the account, one for each of the two people"
    assert all(one["namesakes"] == 1 and one["score"] <= 0.75 for one in bergs)


async def test_a_protected_account_is_suggested_to_nobody(app: App) -> None:
    run = await planned(app)
    assert "root" not in str([row.get("suggestions") for row in await app.decisions(run)])


async def test_an_account_that_is_set_aside_and_reported_is_suggested_to_nobody(app: App) -> None:
    await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES, policy={"setAside": ["amueller"]}, reportSetAside=True)
    rows = {row["account"]["userName"]: row for row in await app.decisions(run, "noIdentity")}
    assert ("suggestions" in rows["amueller"], "suggestions" in rows["berg1"]) == (False, True)


async def test_what_is_suggested_is_linked_by_nobody_unless_a_person_names_it(app: App) -> None:
    done = await app.apply(await planned(app))
    assert done["counts"]["linked"] == 1
    for name in ("amueller", "berg1"):
        assert (await app.account(name))["link"] is None


async def test_nobody_has_more_than_three_suggestions(app: App) -> None:
    await app.bring(csv_file(*({"userName": f"jo.holm{n}", "displayName": "Jo Holm"} for n in range(5))))
    run = await app.plan(*(graph(n, f"x{n}@contoso.com", displayName="Jo Holm") for n in range(5)))
    rows = await app.decisions(run)
    assert [len(row["suggestions"]) for row in rows] == [3] * 10


async def test_a_pass_that_runs_again_suggests_the_same(app: App) -> None:
    run = await planned(app)
    directory = await Directories(app.tables).open("main")
    before, job = await plan_rows(directory, run["id"]), await directory.jobs.get(run["id"])
    slice_ = Slice(job=job.id, directory="main", pass_name="suggest", low=0, high=4)
    counted = await suggest(directory, job, slice_)
    assert counted == Counter({"suggestions.noAccount": 3, "suggestions.noIdentity": 2, "warnings.probableAccounts": 1})
    assert [(row, row.suggestions) for row in await plan_rows(directory, run["id"])] == [
        (row, row.suggestions) for row in before
    ]


async def test_so_many_are_left_that_nobody_is_suggested(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggesting, "MOST_LEFT", 1)
    run = await planned(app)
    assert "suggestions" not in run
    assert not any("suggestions" in row for row in await app.decisions(run))


@pytest.mark.parametrize(
    ("counted", "form", "runs"),
    [
        ({"noAccount": 1, "noIdentity": 1}, 3, True),
        ({"noAccount": 1}, 3, False),
        ({"noIdentity": 1}, 3, False),
        ({"noAccount": 1, "noIdentity": 1}, 2, True),
        ({"noAccount": 1, "noIdentity": 1}, 1, False),
    ],
)
async def test_the_pass_runs_where_both_sides_are_left_and_in_no_history_of_an_earlier_version(
    counted: dict[str, int], form: int, runs: bool
) -> None:
    engine = Engine(answers(decide={"counts": counted}))
    assert await engine.play(link_accounts, START.model_copy(update={"form": form})) == "done"
    finishing = (SUGGEST_PASSES if runs else ()) + (NAME_PASSES if form >= 3 else ())
    assert stages(engine)[: 4 + len(finishing)] == [*PLAN_PASSES, *finishing]
    assert ("suggest" in stages(engine)) == runs
    slices = [message for name, message in engine.calls if message.get("stage") == "suggest"]
    assert [(one["low"], one["high"]) for one in slices] == ([(0, 64)] if runs else [])


def test_the_start_of_a_run_says_its_form() -> None:
    assert Start.from_json(START.to_json()).form == 0
