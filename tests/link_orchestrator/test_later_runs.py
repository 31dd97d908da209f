"""What a later run must not miss: plans that were not carried out, links that do not stand, changes while it looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.graph import GraphStandIn
from link_orchestrator.activities import reach_milestone
from link_orchestrator.lifecycle import tidy_up
from link_orchestrator.messages import Milestone
from link_orchestrator.orchestrator import link_accounts
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, SignInEvidence, Status
from shared.directory.text import timestamp
from shared.directory.work.jobs import Jobs, State
from shared.directory.work.readings import BOOKMARK, Readings
from shared.directory.work.stages import Stages
from shared.tables.port import Upsert
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.graph.test_changes import ACCOUNTS, PEOPLE
from tests.link_orchestrator.graph.test_graph import plan, standing
from tests.link_orchestrator.passes.test_undo import scim_patch, undo
from tests.link_orchestrator.running import (
    App,
    Engine,
    Refusal,
    activity_calls,
    begin_run,
    csv_file,
    graph,
    make_directory,
    object_id,
    plan_rows,
    play_run,
    rows_of,
    start_of,
)
from tests.waiting import until

MORE = [{"userName": f"more{n}", "email": "", "employeeNumber": ""} for n in range(20)]
ADA = {"userName": "ada@contoso.com", "email": "adas@contoso.com", "employeeNumber": ""}
CROWD = graph(1, "ada@contoso.com"), {**graph(2, "rival@contoso.com"), "proxyAddresses": ["smtp:adas@contoso.com"]}
ALIAS = {**graph(3, "rita@contoso.com"), "otherMails": ["rita.alias@contoso.com"]}
RITA = {"userName": "rita", "email": "rita.alias@contoso.com", "employeeNumber": ""}
USER = {"userName": "rita@contoso.com", "externalId": object_id(3), "active": True}


@pytest.mark.parametrize("full", [True, False])
async def test_a_refused_link_on_an_account_that_others_meet_is_decided_again(app: App, full: bool) -> None:
    await app.bring(csv_file(ADA, *MORE))
    run = await app.plan(*CROWD)
    account = await app.account("ada@contoso.com")
    await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Countess"}})
    assert (await app.apply(run, links=1))["counts"]["refused"] == 1
    later = await app.plan(*CROWD, full=full)
    assert later["counts"].get("link") == 1, later


@pytest.mark.parametrize("full", [True, False])
async def test_an_undone_link_on_an_account_that_others_meet_is_decided_again(app: App, full: bool) -> None:
    await app.bring(csv_file(ADA, *MORE))
    run = await app.apply(await app.plan(*CROWD), links=1)
    assert (await undo(app, run))["counts"] == {"undone": 1}
    later = await app.plan(*CROWD, full=full)
    assert later["counts"].get("review") == 1, "only a person joins the pair again"


async def test_a_reviewed_link_that_was_refused_is_decided_again_as_its_outcome_says(app: App) -> None:
    await app.bring(csv_file(RITA, *MORE))
    run = await app.plan(ALIAS)
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    account = await app.account("rita")
    await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Countess"}})
    run = await app.apply(await app.wait(f"linking/runs/{run['id']}", "planned"), links=1)
    (row,) = await app.decisions(run, "review")
    assert row["outcome"] == "refused: the account changed since the plan; a new run decides again"
    later = await app.plan(ALIAS)
    assert later["counts"].get("review") == 1, later


@pytest.mark.parametrize("full", [True, False])
async def test_whoever_was_left_open_is_so_again_after_an_undo_and_a_later_run(app: App, full: bool) -> None:
    await app.bring(csv_file(RITA, *MORE))
    run = await app.plan(ALIAS)
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    run = await app.apply(run, links=1)
    assert (await undo(app, run))["counts"] == {"undone": 1}
    later = await app.plan(ALIAS, full=full)
    if later["phase"] == "planned":
        await app.apply(later, links=0)
    with pytest.raises(Refusal):
        await app.call("POST", "scim/v2/Users", USER)


async def test_whoever_a_review_excluded_stays_so_after_an_undo(app: App) -> None:
    await app.bring(csv_file(ADA, {**ADA, "userName": "bob@contoso.com", "email": ""}, *MORE))
    run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"))
    rows = {row["identity"]["objectId"]: row["id"] for row in await app.decisions(run, "link")}
    asked = {"rows": [rows[object_id(1)]], "action": "exclude"}
    await app.call("POST", f"linking/runs/{run['id']}/review", asked)
    run = await app.apply(await app.wait(f"linking/runs/{run['id']}", "planned"), links=1)
    assert (await undo(app, run))["counts"] == {"undone": 1}
    directory = await Directories(app.tables).open("main")
    assert await directory.left_open.find(object_id(1)) == (run["id"], "excluded")


@pytest.mark.parametrize("trial", ["policy", "change"])
async def test_a_run_that_finds_nothing_changed_takes_the_marks_of_a_cancelled_plan_away(app: App, trial: str) -> None:
    await app.bring(csv_file(RITA, *MORE))
    fill = [graph(n, f"fill{n}@contoso.com") for n in range(10, 20)]
    first = await app.apply(await app.plan(ALIAS, *fill), links=0)
    directory = await Directories(app.tables).open("main")

    async def is_left_open() -> bool:
        return await directory.left_open.find(object_id(3)) == (first["id"], "review")

    assert await is_left_open()
    if trial == "policy":
        rules = [{"rule": "externalId", "trust": "strong"}]
        what_if = await app.plan(ALIAS, *fill, policy={"verifiedDomains": ["contoso.com"], "rules": rules})
    else:
        what_if = await app.plan({**ALIAS, "otherMails": []}, *fill)
    await app.call("POST", f"linking/runs/{what_if['id']}/cancel")
    await app.wait(f"linking/runs/{what_if['id']}", "cancelled")
    await until(is_left_open)  # a job is shown as ended, then its plan goes
    # As it is where the run died before its plan went:
    await directory.jobs.note_planned([what_if["id"]])
    assert not await is_left_open()
    later = await app.plan(ALIAS, *fill)
    assert later["reason"].startswith("Nothing changed"), later
    assert await is_left_open()
    with pytest.raises(Refusal):
        await app.call("POST", "scim/v2/Users", USER)


@pytest.mark.parametrize("approved", [None, "now"])
async def test_what_a_run_that_was_cut_off_left_open_stays_so_once_it_was_approved(
    app: App, approved: str | None
) -> None:
    """Then whom it linked is linked, and whom it left to a person is not provisioning's."""
    await app.bring(csv_file(RITA, *MORE))
    await app.apply(await app.plan(*(graph(n, f"fill{n}@contoso.com") for n in range(10, 20))), links=0)
    later = await app.plan(*(graph(n, f"fill{n}@contoso.com") for n in range(10, 20)), ALIAS)
    directory = await Directories(app.tables).open("main")

    await directory.jobs.change(later["id"], lambda job: replace(job, approved=approved, state=State.CANCELLED))
    await tidy_up(directory, later["id"])
    assert await directory.left_open.find(object_id(3)) == ((later["id"], "review") if approved else None)


@pytest.mark.parametrize("full", [True, False])
async def test_provisioning_links_nobody_by_the_marks_of_a_cancelled_plan(app: App, full: bool) -> None:
    """Two people claim Ada's account. A trial run over one of them is cancelled; a run over both finds no change."""
    await app.bring(csv_file({**ADA, "email": "ada@contoso.com", "emailVerified": "true"}, *MORE))
    fill = [graph(n, f"fill{n}@contoso.com") for n in range(10, 20)]
    rival = {**graph(2, "rival@contoso.com"), "mail": "ada@contoso.com"}
    one = {**graph(1, "ada@contoso.com"), "mail": "other@contoso.com"}
    run = await app.apply(await app.plan(one, rival, *fill), links=0)
    assert run["counts"]["conflict"] == 2
    trial = await app.plan(one, *fill)
    assert trial["counts"]["link"] == 1
    await app.call("POST", f"linking/runs/{trial['id']}/cancel")
    await app.wait(f"linking/runs/{trial['id']}", "cancelled")
    last = await app.plan(one, rival, *fill, full=full)
    assert full or last["reason"].startswith("Nothing changed")
    with suppress(Refusal):
        await scim_patch(app, "ada", externalId=object_id(1), userName="ada@contoso.com")
    assert (await app.account("ada@contoso.com"))["status"] == "local"


@pytest.mark.parametrize("full", [True, False])
async def test_whoever_left_the_source_is_left_open_no_more(app: App, full: bool) -> None:
    await app.bring(csv_file(RITA, *MORE))
    fill = [graph(n, f"fill{n}@contoso.com") for n in range(10, 20)]
    await app.apply(await app.plan(ALIAS, *fill), links=0)
    await app.apply(await app.plan(*fill, full=full), links=0)
    directory = await Directories(app.tables).open("main")
    assert await directory.left_open.find(object_id(3)) is None


POLICY = Policy(verified_domains=frozenset({"contoso.com"}))
PERSON = Identity(object_id(1), "ada@contoso.com")
RIVAL = Identity(object_id(2), "rival@contoso.com", mail="rival@contoso.com")
FILL = [Identity(object_id(n), f"fill{n}@contoso.com") for n in range(10, 20)]


async def add(directory: Directory, name: str) -> None:
    account = Account.new(directory.keys.new_id(name), {"userName": name}, Status.LOCAL, "2025-01-01T00:00:00Z")
    await directory.accounts.create(account, by="test")


async def ada(directory: Directory) -> Account:
    return (await directory.accounts.list_by(Key("userName", "ada@contoso.com")))[0]


async def give_away(directory: Directory) -> None:
    """Say that the rival's address was verified on the account: both claim it from now on."""
    account = await ada(directory)
    after = replace(account, evidence=SignInEvidence(verified_emails=("rival@contoso.com",)))
    await directory.accounts.replace(account, after, by="test")


async def protect(directory: Directory, *, on: bool) -> None:
    account = await ada(directory)
    await directory.accounts.replace(account, replace(account, protected=on), by="test")


async def played(directory: Directory, theirs: list[Identity], stage: str, act: Any, *, full: bool) -> Any:
    """Run a run, with something done before the first slice of a stage."""
    job = await begin_run(directory, theirs, POLICY, full=full)
    calls, done = activity_calls(Directories(directory.tables)), []

    async def call(name: str, message: Any) -> Any:
        if message.get("stage") == stage and not done:
            done.append(await act(directory))
        return await calls(name, message)

    await Engine(call).play(link_accounts, start_of(directory, job))
    assert done
    return job


FULL = [("collect", True), ("join", True), ("weigh", True)]
AGAIN = [(f"{name}", False) for name in ("lead", "touch", "gather", "collect_again", "join_again", "weigh_again")]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("stage", "full"), FULL + AGAIN)
async def test_an_account_that_a_rival_claims_before_it_is_weighed_is_not_linked(
    sqlite_tables: SqliteTables, stage: str, full: bool, known: bool
) -> None:
    """`known`: the account is as the run before saw it, and the identity is new; or else the other way round."""
    directory = await make_directory(sqlite_tables)
    for n in range(20):
        await add(directory, f"more{n}")
    if known:
        await add(directory, "ada@contoso.com")
        await play_run(directory, await begin_run(directory, [RIVAL, *FILL], POLICY))
    else:
        await play_run(directory, await begin_run(directory, [PERSON, RIVAL, *FILL], POLICY))
        await add(directory, "ada@contoso.com")
    await played(directory, [PERSON, RIVAL, *FILL], stage, give_away, full=full)
    assert (await ada(directory)).link is None


@pytest.mark.parametrize("full", [True, False])
async def test_an_account_that_was_otherwise_only_while_it_was_weighed_is_decided_again(
    sqlite_tables: SqliteTables, full: bool
) -> None:
    directory = await make_directory(sqlite_tables)
    for n in range(20):
        await add(directory, f"more{n}")
    await play_run(directory, await begin_run(directory, [RIVAL, *FILL], POLICY))
    await add(directory, "ada@contoso.com")
    stage = "weigh" if full else "weigh_again"
    job = await played(directory, [PERSON, RIVAL, *FILL], stage, lambda d: protect(d, on=True), full=full)
    assert (await directory.jobs.get(job.id)).state is State.DONE
    assert "protected" in {row.decision for row in await plan_rows(directory, job.id)}
    await protect(directory, on=False)
    later = await begin_run(directory, [PERSON, RIVAL, *FILL], POLICY, full=False)
    await play_run(directory, later)
    assert "link" in {row.decision for row in await plan_rows(directory, later.id)}


async def test_a_plan_is_the_last_one_though_it_was_approved_before_its_milestone_ran_again(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = await make_directory(sqlite_tables)
    job = await begin_run(directory, [PERSON], POLICY)
    message = Milestone(job=job.id, directory="main", state="planned", expires="2099-01-01T00:00:00Z").to_json()

    async def killed(self: Jobs, runs: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch, suppress(OSError):
        patch.setattr(Jobs, "note_planned", killed)
        await reach_milestone(Directories(sqlite_tables), message)
    await directory.jobs.change(job.id, lambda job: replace(job, state=State.APPROVED, approved="now"))
    await reach_milestone(Directories(sqlite_tables), message)
    assert await directory.jobs.find_planned() == job.id


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    async with standing(tmp_path, monkeypatch, PEOPLE) as (stand_in, app):
        await app.bring(ACCOUNTS)
        await app.apply(await plan(app), links=30)
        stand_in.requests.clear()
        yield stand_in, app


async def test_the_sweep_leaves_what_a_run_under_way_goes_on_from(both: tuple[GraphStandIn, App]) -> None:
    """The run before it was planned and cancelled; this one began within the week and stood still for two days."""
    stand_in, app = both
    whole = await app.call("POST", "linking/runs", {"source": {"graph": {"scope": "all"}}, "full": True})
    await app.wait(f"linking/runs/{whole['id']}", "planned")
    await app.call("POST", f"linking/runs/{whole['id']}/cancel")
    await app.wait(f"linking/runs/{whole['id']}", "cancelled")
    stand_in.tenant.change(object_id(1), department="Elsewhere")
    run = await plan(app)
    assert run["options"]["parts"][1].startswith(whole["id"])
    directory = await Directories(app.tables).open("main")
    then = timestamp(datetime.now(UTC) + timedelta(days=9))
    await Stages(app.tables, directory.keys, lambda: then).sweep()
    stage = f"main_s_{run['options']['parts'][1]}"
    assert any([await rows_of(app.tables, f"{stage}_{part:02x}") for part in range(4)])


async def test_a_link_to_changes_that_graph_refuses_for_good_is_no_end(both: tuple[GraphStandIn, App]) -> None:
    """The directory's tenant or the endpoint is another one by now: the link leads nowhere, reading all would."""
    _, app = both
    readings = Readings(app.tables, (await Directories(app.tables).open("main")).keys)
    bookmark = await readings.find_bookmark()
    assert bookmark is not None
    columns: dict[str, Any] = {"job": bookmark.job, "since": bookmark.since, "link": "https://graph.elsewhere/v1.0/x"}
    await app.tables.commit("main_j", [Upsert(BOOKMARK, columns)])
    run = await plan(app)
    assert run["phase"] != "failed", run["reason"]


@pytest.mark.parametrize("full", [True, False])
async def test_three_who_come_with_an_alias_are_rivals_of_whoever_comes_with_the_name(app: App, full: bool) -> None:
    """Four have the address, but as an alias no more than three, so that it is evidence."""
    await app.bring(csv_file(ADA, *MORE))
    nobody = graph(99, "nobody@contoso.com")
    await app.apply(await app.plan(nobody), links=0)
    heir = graph(1, "ada@contoso.com", mail=None)
    others = [graph(n, f"p{n}@contoso.com", otherMails=["ada@contoso.com"]) for n in (2, 3, 4)]
    run = await app.plan(nobody, heir, *others, full=full)
    rows = {row["identity"]["objectId"]: row for row in await app.decisions(run) if "identity" in row}
    assert rows[object_id(1)]["decision"] == "review"
    assert rows[object_id(1)]["others"] == [object_id(n) for n in (2, 3, 4)]
