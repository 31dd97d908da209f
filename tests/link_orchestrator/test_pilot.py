"""A pilot links the rows that it names and no others; the rest waits, and is approved, cancelled or undone after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from link_orchestrator import activities
from link_orchestrator.approving import approved
from link_orchestrator.messages import Milestone, Slice
from link_orchestrator.orchestrator import APPLY_PASSES, PILOT_PASSES, PLAN_PASSES, link_accounts
from link_orchestrator.passes.apply import apply
from link_orchestrator.pilot import note
from link_orchestrator.requests import pilots
from shared.directory.directory import Directories
from shared.directory.work.jobs import Job, State
from tests.link_orchestrator.running import (
    App,
    Engine,
    Refusal,
    Task,
    all_accounts,
    csv_file,
    graph,
    object_id,
    serving,
)
from tests.link_orchestrator.test_orchestrator import START, Stopping, answers, milestones, stages

NAMES = [f"p{n}@contoso.com" for n in range(8)]
ACCOUNTS = csv_file(
    *({"userName": name} for name in NAMES), *({"userName": f"w{n}.local", "employeeNumber": f"{n}"} for n in (1, 2))
)
IDENTITIES = [
    *(graph(n, name, department="it" if n < 3 else "sales") for n, name in enumerate(NAMES)),
    *(graph(20 + n, f"w{n}@contoso.com", employeeId=f"{n}") for n in (1, 2)),
]


@pytest.fixture
async def run(app: App) -> Any:
    """A planned run: 8 links, 2 reviews."""
    await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES)
    assert run["links"] == 8
    return run


async def pilot(app: App, run: Any, **asked: Any) -> Any:
    """Approve a pilot and return the run once it waits again."""
    job = await app.call("GET", f"linking/runs/{run['id']}")
    before = job["options"]["pilots"]
    await app.call(
        "POST", f"linking/runs/{run['id']}/approve", {"links": job["links"], "acknowledged": _codes(job)} | asked
    )
    while True:
        job = await app.call("GET", f"linking/runs/{run['id']}")
        if "ended" in job or job["options"]["pilots"] > before:
            return job


def _codes(job: Any) -> list[str]:
    """Return the codes of what a run warns of."""
    return [warning["code"] for warning in job.get("warnings", ())]


async def linked(app: App) -> set[str]:
    """Return the object ids of the identities that are linked."""
    found = set()
    for name in (*NAMES, "w1.local", "w2.local"):
        if link := (await app.account(name))["link"]:
            found.add(link["identity"])
    return found


async def test_a_pilot_of_a_number_links_so_many_and_the_rest_is_approved_after_it(app: App, run: Any) -> None:
    job = await pilot(app, run, number=3)
    assert (job["phase"], job["links"], job["counts"]["linked"]) == ("planned", 5, 3)
    assert len(await linked(app)) == 3
    assert job["expires"] == run["expires"], "it waits as long as it would have"
    async with app.session.post("/scim/v2/Users", json={"schemas": [], "userName": "new@contoso.com"}) as answer:
        assert answer.status != 503, "provisioning goes on meanwhile"
    job = await pilot(app, run, number=2)
    assert (job["links"], job["options"]["pilots"]) == (3, 2)
    with pytest.raises(Refusal, match="would link 3 accounts"):
        await app.approve(run, links=8)
    done = await app.apply(run, links=3)
    assert (done["phase"], done["counts"]["linked"], len(await linked(app))) == ("done", 8, 8)
    told = [(one["links"], one["pilot"], one["by"]) for one in done["options"]["approvals"]]
    assert told == [(3, True, "local"), (2, True, "local"), (3, False, "local")]


async def test_what_a_pilot_acknowledges_is_asked_again_of_whoever_approves_the_rest(app: App) -> None:
    await app.bring(
        csv_file(*({"userName": name.partition("@")[0], "email": name, "emailVerified": "yes"} for name in NAMES))
    )
    run = await app.plan(*IDENTITIES)
    assert _codes(run) == ["userNameChanges"]
    with pytest.raises(Refusal, match="userNameChanges"):
        await app.approve(run, number=1, acknowledged=[])
    job = await pilot(app, run, number=1)
    assert job["options"]["approvals"][0]["acknowledged"] == ["userNameChanges"]
    assert [one["acknowledged"] for one in job["warnings"]] == [False]
    with pytest.raises(Refusal, match="userNameChanges"):
        await app.approve(job, acknowledged=[])
    done = await app.apply(job)
    assert [one["acknowledged"] for one in done["warnings"]] == [True]


async def test_a_pilot_of_rows_links_these_rows(app: App, run: Any) -> None:
    rows = {row["identity"]["objectId"]: row["id"] for row in await app.decisions(run, "link")}
    named = [object_id(1), object_id(6)]
    job = await pilot(app, run, rows=[rows[one] for one in named])
    assert (job["links"], await linked(app)) == (6, {*named})


async def test_a_pilot_of_a_filter_links_whom_it_selects_and_who_was_reviewed(app: App, run: Any) -> None:
    with pytest.raises(Refusal, match=r"would link 3 of 10 accounts.*safeguardShare.*\{\"number\": 3\}"):
        await pilot(app, run, filter={"department": "IT"})
    assert await linked(app) == set()
    await pilot(app, run, filter={"department": "IT"}, number=2)
    await pilot(app, run, filter={"department": "IT"})
    assert await linked(app) == {object_id(n) for n in range(3)}
    (row, _) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    job = await pilot(app, run, filter={"rule": "employeeNumber"})
    assert (job["links"], row["identity"]["objectId"] in await linked(app)) == (5, True)


async def test_a_pilot_links_the_people_whom_it_named_before(app: App, run: Any) -> None:
    out, *_ = await app.decisions(run, "link")
    (weak, _) = await app.decisions(run, "review")
    for row, action in ((out, "exclude"), (weak, "link")):
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": action})
    for asked, filter_ in (
        ({"number": 3}, {}),
        ({"number": 2, "department": "IT"}, {"filter": {"department": "IT"}}),
        ({"number": 1, "rule": "employeeNumber"}, {"filter": {"rule": "employeeNumber"}}),
    ):
        before = await linked(app)
        params = {name: str(value) for name, value in asked.items()}
        found = await app.call("GET", f"linking/runs/{run['id']}/pilot", **params)
        people = {row["identity"]["objectId"] for row in found["rows"]}
        assert (found["links"], found["more"]) == (len(people), False)
        await pilot(app, run, **({"number": asked["number"]} | filter_))
        assert await linked(app) - before == people
    assert out["identity"]["objectId"] not in await linked(app)


async def test_the_people_of_a_pilot_are_listed_page_by_page(app: App, run: Any) -> None:
    path = f"linking/runs/{run['id']}/pilot"
    whole = await app.call("GET", path, number="5")
    first = await app.call("GET", path, number="5", count="3")
    rest = await app.call("GET", path, number="5", count="3", cursor=first["cursor"])
    assert [*first["rows"], *rest["rows"]] == whole["rows"]
    assert (first["links"], rest["links"], "cursor" in rest) == (5, 5, False)
    more = await app.call("GET", path, number="50")
    assert (more["links"], more["lookedAt"]) == (8, 8)
    nobody = await app.call("GET", path, department="none")
    assert (nobody["links"], nobody["rows"]) == (0, [])


@pytest.mark.parametrize("number", ["0", "x", "1.5", "9" * 20])
async def test_a_number_of_people_that_is_none_is_refused(app: App, run: Any, number: str) -> None:
    with pytest.raises(Refusal, match="number: how many people at most"):
        await app.call("GET", f"linking/runs/{run['id']}/pilot", number=number)


async def test_of_a_large_plan_a_pilot_names_those_among_its_first_links(
    app: App, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilots, "MOST_LOOKED_AT", 2)
    found = await app.call("GET", f"linking/runs/{run['id']}/pilot")
    assert (found["more"], found["links"]) == (True, found["lookedAt"])
    assert 2 <= found["links"] < 8


async def test_whom_a_run_has_linked_is_listed(app: App, run: Any) -> None:
    async def listed(**asked: str) -> set[str]:
        page = await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked)
        return {row["identity"]["objectId"] for row in page["decisions"] if "identity" in row}

    assert await listed(linked="true") == set()
    await pilot(app, run, number=3)
    job = await pilot(app, run, number=2)
    assert await listed(linked="true") == await linked(app)
    page = await app.call("GET", f"linking/runs/{run['id']}/decisions", linked="true", count="2")
    behind = page["decisions"][-1]["id"]
    assert len(await listed(linked="true", count="2", cursor=page["cursor"])) == 2
    assert len(await listed(linked="true", behind=behind)) == 3
    assert await listed(linked="true", decision="review") == set()
    assert len(await listed(linked="false")) == 5
    await app.apply(job)
    assert await listed(linked="true") == await linked(app)


async def test_an_undo_of_a_pilot_is_foreseen_while_the_rest_waits(app: App, run: Any) -> None:
    (weak, _) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [weak["id"]], "action": "link"})
    await pilot(app, run, rows=[weak["id"], (await app.decisions(run, "link"))[0]["id"]])
    found = await app.call("GET", f"linking/runs/{run['id']}/undo/preview")
    assert (found["lookedAt"], found["outcomes"], found["waits"]) == (2, {"undone": 2}, 7)
    with pytest.raises(Refusal, match="waits for its approval"):
        await app.call("POST", f"linking/runs/{run['id']}/undo")
    job = await app.call("GET", f"linking/runs/{run['id']}")
    assert (job["phase"], job["links"], len(await linked(app))) == ("planned", 7, 2)


async def test_what_a_pilot_could_not_link_no_undo_is_foreseen_of(app: App, run: Any) -> None:
    gone, kept = (await app.decisions(run, "link"))[:2]
    await app.call("DELETE", f"accounts/{gone['account']['id']}")
    await pilot(app, run, rows=[gone["id"], kept["id"]])
    found = await app.call("GET", f"linking/runs/{run['id']}/undo/preview")
    assert (found["lookedAt"], found["outcomes"]) == (1, {"undone": 1})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"rows": ["x"]}, "rows.0: the plan would link nobody by this row"),
        ({"filter": {"domain": "nowhere.example"}}, "nobody whom this pilot selects"),
        ({"rows": ["x"], "number": 1}, "rows"),
        ({"number": 0}, "number"),
        ({"number": 1, "groups": 0}, "groups"),
    ],
)
async def test_a_pilot_that_links_nobody_or_is_none_is_refused(
    app: App, run: Any, asked: dict[str, Any], why: str
) -> None:
    with pytest.raises(Refusal, match=why):
        await pilot(app, run, **asked)
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"


async def test_a_row_that_is_not_to_be_linked_is_in_no_pilot(app: App, run: Any) -> None:
    (review, _) = await app.decisions(run, "review")
    (first, *_) = await app.decisions(run, "link")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [first["id"]], "action": "exclude"})
    for row in (review, first):
        with pytest.raises(Refusal, match="would link nobody by this row"):
            await pilot(app, run, rows=[row["id"]])
    await pilot(app, run, number=7)
    assert first["identity"]["objectId"] not in await linked(app)


async def test_what_a_pilot_linked_is_reviewed_no_more_and_linked_by_no_other(app: App, run: Any) -> None:
    (first, *_) = await app.decisions(run, "link")
    await pilot(app, run, rows=[first["id"]])
    answer = await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [first["id"]], "action": "exclude"})
    assert "applied already" in answer["refused"][0]["reason"]
    with pytest.raises(Refusal, match="has linked them already"):
        await pilot(app, run, rows=[first["id"]])
    assert len(await linked(app)) == 1


async def test_a_pilot_is_undone_once_its_run_is_cancelled_and_nobody_else_is_touched(app: App, run: Any) -> None:
    await pilot(app, run, number=2)
    with pytest.raises(Refusal, match=r"the rest of .* waits for its approval: cancel it"):
        await app.call("POST", f"linking/runs/{run['id']}/undo")
    directory = await Directories(app.tables).open("main")
    before = {account.id: account for account in await all_accounts(directory)}
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    undo = await app.wait(f"linking/undos/{undo['id']}", "done")
    assert undo["counts"]["undone"] == 2
    assert await linked(app) == set()
    after = {account.id: account.etag for account in await all_accounts(directory)}
    untouched = [account for account in before.values() if account.link is None]
    assert len(untouched) == 8
    assert [after[account.id] for account in untouched] == [account.etag for account in untouched]
    assert (await app.plan(*IDENTITIES))["counts"]["review"] == 4, "what was taken apart a person joins again"


async def test_an_undo_after_the_rest_takes_back_all(app: App, run: Any) -> None:
    await pilot(app, run, number=2)
    await app.apply(run, links=6)
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    assert (await app.wait(f"linking/undos/{undo['id']}", "done"))["counts"]["undone"] == 8
    assert await linked(app) == set()


async def test_a_run_that_a_pilot_left_waiting_holds_up_others_as_any_that_waits(app: App, run: Any) -> None:
    await pilot(app, run, number=2)
    with pytest.raises(Refusal, match=run["id"]):
        await app.plan(*IDENTITIES)
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    later = await app.plan(*IDENTITIES)
    assert (later["counts"]["alreadyLinked"], later["links"]) == (2, 6), "the rest is planned again"


async def test_a_pilot_that_is_said_again_is_no_second_one(app: App, run: Any) -> None:
    """Its answer was lost, or the button was pressed twice, before it was applied and after."""
    path, asked = f"linking/runs/{run['id']}/approve", {"number": 2, "links": 8}
    with pytest.raises(Refusal, match=r"name that number, too: \{\"links\": 8\}"):
        await app.call("POST", path, {"number": 2})
    job = await app.call("POST", path, asked)
    for _ in range(3):
        with suppress(Refusal):
            await app.call("POST", path, asked)
    job = await app.wait(f"linking/runs/{run['id']}", "planned")
    with pytest.raises(Refusal, match="would link 6 accounts"):
        await app.call("POST", path, asked)
    job = await app.call("GET", f"linking/runs/{run['id']}")
    assert (job["phase"], job["links"], len(await linked(app))) == ("planned", 6, 2)
    assert (await app.apply(run, links=6))["counts"]["linked"] == 8


async def test_a_plan_of_which_a_pilot_was_applied_waits_through_another_start_of_the_app(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        await app.bring(ACCOUNTS)
        run = await app.plan(*IDENTITIES)
        await pilot(app, run, number=2)
    async with serving(tmp_path) as app:
        assert (await app.call("GET", f"linking/runs/{run['id']}"))["links"] == 6
        await pilot(app, run, number=1)
    async with serving(tmp_path) as app:
        assert (await app.apply(run, links=5))["counts"]["linked"] == 8


async def test_what_an_approval_noted_that_was_cut_off_is_in_no_pilot(app: App, run: Any) -> None:
    directory = await Directories(app.tables).open("main")
    rows = await app.decisions(run, "link")
    await note(directory, await directory.jobs.get(run["id"]), [row["id"] for row in rows])
    await pilot(app, run, number=1)
    assert len(await linked(app)) == 1


async def test_a_pass_of_a_pilot_that_comes_late_links_nobody_else(app: App, run: Any) -> None:
    await pilot(app, run, number=2)
    directory = await Directories(app.tables).open("main")
    job = await directory.jobs.get(run["id"])
    counts = await apply(directory, job, Slice(job=job.id, directory="main", pass_name="apply", low=0, high=4))
    assert (counts, len(await linked(app))) == ({"linked": 2}, 2)


@pytest.mark.parametrize("seed", range(2))
async def test_a_pilot_whose_host_stops_anywhere_links_its_number_and_the_rest_comes_after_it(
    tmp_path: Path, seed: int
) -> None:
    people = [f"person{number}@contoso.com" for number in range(60)]
    async with serving(tmp_path) as app:
        await app.bring(csv_file(*({"userName": name} for name in people)))
        run = await app.plan(*(graph(number, name) for number, name in enumerate(people)))
        path = f"linking/runs/{run['id']}"
        await app.call("POST", f"{path}/approve", {"number": 20, "links": 60})
    hosts = Stopping(tmp_path, seed)
    job = await hosts.see_through(path, "planned")
    assert (job["links"], job["counts"]["linked"], job["options"]["pilots"]) == (40, 20, 1)
    async with serving(tmp_path) as app:
        directory = await Directories(app.tables).open("main")
        assert len([1 for account in await all_accounts(directory) if account.link]) == 20
        await app.call("POST", f"{path}/approve", {"links": 40})
    done = await hosts.see_through(path, "done")
    assert (done["phase"], done["counts"]["linked"]) == ("done", 60)
    assert hosts.stops > 1


class Piloting(Engine):
    """Approves pilots, and then the rest, each by an event of its own; a told-again one changes nothing."""

    pilots = 2

    def __init__(self, call: Callable[[str, Any], Any]) -> None:
        super().__init__(call)
        self.heard: list[str] = []

    async def _answer(self, wanted: Any) -> Any:
        if isinstance(wanted, tuple):
            (approved,) = [task for task in wanted if task.name.startswith("approve")]
            assert approved.name not in self.heard, "an event that came before is no verdict"
            self.heard.append(approved.name)
            number = int(approved.name.removeprefix("approve") or 0)
            winner = Task(approved.name, result={"pilot": number < self.pilots})
            return _Won(winner, approved)
        return await super()._answer(wanted)


class _Won(Task):
    """A task that came in, and its result."""

    def __init__(self, winner: Task, task: Task) -> None:
        object.__setattr__(self, "name", winner.name)
        object.__setattr__(self, "result", winner.result)
        object.__setattr__(self, "task", task)

    def __eq__(self, other: object) -> bool:
        return other is self.__getattribute__("task")

    __hash__ = None  # type: ignore[assignment]


def answering(state: str) -> Callable[[str, Any], Any]:
    answer = answers()

    async def call(name: str, message: Any) -> Any:
        return {"state": state} if name == "reach_milestone" else await answer(name, message)

    return call


async def test_the_passes_of_pilots_reserve_nothing_and_come_before_those_of_the_rest() -> None:
    engine = Piloting(answering("planned"))
    assert await engine.play(link_accounts, START) == "done"
    assert stages(engine) == [*PLAN_PASSES, *PILOT_PASSES, *APPLY_PASSES], "of two pilots the passes are neighbours"
    assert milestones(engine) == ["planned", "planned", "planned", "done"]
    pilots = [message["pilot"] for name, message in engine.calls if name == "reach_milestone"]
    assert pilots == [None, 0, 1, None]


async def test_a_pilot_that_is_approved_as_the_plan_expires_is_no_approval_of_the_rest() -> None:
    """Its event was not heard in time: the pilot is applied as one, and then the plan has expired."""
    reached = iter([{"state": "planned"}, {"state": "approved", "pilot": True}, {"state": "planned"}])
    answer = answers()

    async def call(name: str, message: Any) -> Any:
        return next(reached, {"state": "expired"}) if name == "reach_milestone" else await answer(name, message)

    engine = Engine(call, verdict="timer")
    assert await engine.play(link_accounts, START) == "expired"
    assert stages(engine) == [*PLAN_PASSES, *PILOT_PASSES]
    assert milestones(engine) == ["planned", "expired", "planned", "expired"]


async def test_a_pilot_that_was_not_heard_of_is_told_apart_from_an_approval_of_all(app: App, run: Any) -> None:
    directories = Directories(app.tables)
    directory = await directories.open("main")

    def piloted(job: Job) -> Job:
        return replace(job, state=State.APPROVED, options={**job.options, "pilot": {"id": "x", "links": 1}})

    await directory.jobs.change(run["id"], piloted)
    told = Milestone(job=run["id"], directory="main", state="expired").to_json()
    reached = await activities.reach_milestone(directories, told)
    assert (reached["state"], reached["pilot"]) == ("approved", True)
    everything = {name: value for name, value in run["options"].items() if name != "pilot"}
    await directory.jobs.change(run["id"], lambda job: replace(job, options=everything))
    assert (await activities.reach_milestone(directories, told))["pilot"] is False


async def test_a_run_that_is_cancelled_while_a_pilot_is_applied_ends() -> None:
    engine = Piloting(answering("approved"))
    assert await engine.play(link_accounts, START) == "cancelled"
    assert milestones(engine) == ["planned", "planned", "cancelled"]


async def test_the_end_of_a_pilot_that_is_told_late_changes_nothing(app: App, run: Any) -> None:
    """The activity ran, and its answer was lost; the rest was approved since."""
    await pilot(app, run, number=2)
    directory = await Directories(app.tables).open("main")
    job = await directory.jobs.get(run["id"])
    next_one = {"pilot": {"id": "another", "links": 1}}
    job = await directory.jobs.replace(job, approved(directory, job, "somebody", options=next_one))
    told = Milestone(job=run["id"], directory="main", state="planned", pilot=0).to_json()
    assert (await activities.reach_milestone(Directories(app.tables), told))["state"] == "planned"
    assert await directory.jobs.get(run["id"]) == job
