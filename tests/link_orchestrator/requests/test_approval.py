"""Approval: the safeguard asks for the number, and SCIM waits while a run is applied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.local.faults import FaultyTables
from link_orchestrator import activities
from link_orchestrator.messages import Milestone
from link_orchestrator.staged import KEYS
from shared.directory.directory import Directories, Directory
from shared.directory.errors import Busy
from shared.directory.matching.policy import Policy
from shared.directory.work.gate import Gate
from shared.directory.work.jobs import Job, State
from shared.tables.port import Unavailable
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import App, Refusal, begin_run, csv_file, graph, make_directory, staged_in
from tests.waiting import until

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "new@contoso.com", "active": True}


async def planned(app: App, links: int, others: int, **asked: Any) -> Any:
    people = [f"p{n}@contoso.com" for n in range(links)]
    await app.bring(csv_file(*({"userName": name} for name in people), *({"userName": f"o{n}"} for n in range(others))))
    return await app.plan(*(graph(n, name) for n, name in enumerate(people)), **asked)


async def approve_without_number(app: App, run: Any) -> Any:
    return await app.call("POST", f"linking/runs/{run['id']}/approve")


async def test_more_than_a_share_of_the_accounts_is_linked_by_its_number_only(app: App) -> None:
    run = await planned(app, 3, 7)
    with pytest.raises(Refusal, match=r'that would link 3 of 10 accounts.*0\.2.*\{"links": 3\}') as refusal:
        await approve_without_number(app, run)
    assert refusal.value.status == 409
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3


async def test_a_share_at_the_safeguard_needs_no_number_and_the_policy_sets_it(app: App) -> None:
    run = await planned(app, 2, 8)
    assert (await approve_without_number(app, run))["approvedBy"] == "local"
    await app.wait(f"linking/runs/{run['id']}", "done")
    await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], "safeguardShare": 0})
    await app.bring(csv_file({"userName": "late@contoso.com"}))
    late = await app.plan(graph(99, "late@contoso.com"))
    with pytest.raises(Refusal, match="safeguardShare"):
        await approve_without_number(app, late)


@pytest.mark.parametrize("share", [True, "0.2", -0.1, 1.1, None])
async def test_a_share_that_is_none_is_refused(app: App, share: Any) -> None:
    with pytest.raises(Refusal, match="safeguardShare"):
        await app.call("PUT", "directory/policy", {"safeguardShare": share})


async def writes(app: App) -> int:
    """Return the status of a SCIM write."""
    async with app.session.post("/scim/v2/Users", json=USER | {"userName": "new@contoso.com"}) as answer:
        if answer.status == 503:
            assert answer.headers["Retry-After"] == "30"
            assert "linking run" in (await answer.json(content_type=None))["detail"]
        return answer.status


async def test_the_gate_is_closed_while_a_run_applies_and_open_after_it(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    run = await planned(app, 1, 0)
    await directory.gate.close(run["id"])
    assert await writes(app) == 503
    changes = [(method, f"{of}/x") for method in ("PUT", "PATCH", "DELETE") for of in ("Users", "Groups")]
    for method, path in (*changes, ("POST", "Groups"), ("POST", "Bulk")):
        with pytest.raises(Refusal) as refusal:
            await app.call(method, f"scim/v2/{path}", {})
        assert refusal.value.status == 503
    found = await app.call("GET", "scim/v2/Users", filter='userName eq "p0@contoso.com"')
    assert found["totalResults"] == 1, "reading goes on"
    asked = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "count": 1}
    assert (await app.call("POST", "scim/v2/Users/.search", asked))["totalResults"] == 1
    await app.apply(run)
    statuses = [503]

    async def is_open() -> bool:
        statuses.append(await writes(app))
        return statuses[-1] != 503

    await until(is_open)  # a gate that nobody opened would stay closed for longer
    assert statuses[-1] == 201


@pytest.mark.parametrize(
    ("started", "approved", "closed"),
    [({}, {}, True), ({"pauseProvisioning": False}, {}, False), ({}, {"pauseProvisioning": False}, False)],
)
async def test_pausing_is_a_matter_of_the_run_and_the_approver(
    app: App, monkeypatch: pytest.MonkeyPatch, started: dict[str, Any], approved: dict[str, Any], closed: bool
) -> None:
    gates: list[str] = []

    async def close(self: Gate, job_id: str) -> None:
        gates.append(job_id)

    monkeypatch.setattr(Gate, "close", close)
    run = await planned(app, 1, 0, **started)
    done = await app.apply(run, **approved)
    assert gates == ([run["id"]] if closed else [])
    assert done["options"]["pauseProvisioning"] is closed


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_an_open_gate_is_asked_once_in_two_seconds_and_a_closed_one_by_every_write(
    sqlite_tables: SqliteTables,
) -> None:
    tables, clock = FaultyTables(sqlite_tables), Clock()
    keys = (await Directories(sqlite_tables).open("main")).keys
    now = ["2026-01-01T00:00:00.000Z"]
    ours, theirs = (Gate(tables, keys, lambda: now[0], clock) for _ in range(2))
    await theirs.refuse_closed()
    tables.reset()
    for _ in range(5):
        await theirs.refuse_closed()
    assert tables.requests == 0, "no round trip of its own"
    await ours.close("run1")
    await theirs.refuse_closed()
    clock.seconds = 2.5
    with pytest.raises(Busy, match="linking run"):
        await theirs.refuse_closed()
    await ours.open("run1")
    await theirs.refuse_closed()
    clock.seconds = 5.0
    await ours.close("run1")
    with pytest.raises(Busy):
        await theirs.refuse_closed()
    # A run that died leaves it closed: it opens by itself, and costs nothing from then on.
    now[0] = "2026-01-01T00:15:00.000Z"
    await theirs.refuse_closed()
    tables.reset()
    await theirs.refuse_closed()
    assert tables.requests == 0
    await theirs.open("run2")
    assert await sqlite_tables.get(keys.settings(), "gate"), "another run's"
    await theirs.open("run1")
    assert await sqlite_tables.get(keys.settings(), "gate") is None


async def test_an_approval_that_is_said_again_closes_the_gate_that_a_crash_left_open(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await planned(app, 1, 1)
    closed: list[str] = []

    async def close(self: Gate, job_id: str) -> None:
        closed.append(job_id)
        if len(closed) == 1:
            raise Unavailable("refused on purpose")

    monkeypatch.setattr(Gate, "close", close)
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", f"linking/runs/{run['id']}/approve", {"links": 1})
    assert refusal.value.status == 503
    await app.call("POST", f"linking/runs/{run['id']}/approve", {"links": 1})
    assert closed == [run["id"]] * 2


async def test_an_approval_that_is_said_again_as_the_run_ends_leaves_the_gate_open(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await planned(app, 1, 1)
    close, path = Gate.close, f"linking/runs/{run['id']}"

    async def is_tidied_up() -> bool:
        # The run opens the gate once more after it shows that it is done, and then clears its stages.
        return run["id"] + KEYS not in await staged_in(app.tables)

    async def close_late(self: Gate, job_id: str) -> None:
        await app.wait(path, "done")
        await until(is_tidied_up)
        await close(self, job_id)

    await app.call("POST", f"{path}/approve", {"links": 1})
    directory = await Directories(app.tables).open("main")
    approved = await directory.jobs.get(run["id"])
    monkeypatch.setattr(Gate, "close", close_late)
    monkeypatch.setattr("link_orchestrator.requests.approval.ensure_started", _as_it_was(approved))
    # The orchestration still hears it: it shows that its job is done a moment before it ends itself.
    monkeypatch.setattr("link_orchestrator.requests.approval.tell", _heard)
    await app.call("POST", f"{path}/approve", {"links": 1})
    assert (await app.call("GET", path))["phase"] == "done"
    assert await writes(app) == 201


async def _heard(*_: object) -> None:
    pass


def _as_it_was(job: Job) -> Callable[..., Awaitable[Job]]:
    async def started(*_: object) -> Job:
        return replace(job, state=State.APPROVED)

    return started


async def test_whoever_sees_that_a_run_has_ended_may_write(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = await make_directory(sqlite_tables)
    run = await begin_run(directory, [], Policy())
    await directory.gate.close(run.id)
    seen: list[State] = []

    async def tidy_up(directory: Directory, job_id: str) -> None:
        seen.append((await directory.jobs.get(job_id)).state)
        await directory.gate.refuse_closed()

    monkeypatch.setattr(activities, "tidy_up", tidy_up)
    done = Milestone(job=run.id, directory=directory.name, state="failed").to_json()
    await activities.reach_milestone(Directories(sqlite_tables), done)
    assert seen == [State.FAILED]


async def test_a_run_that_is_terminated_by_hand_lets_provisioning_in_again(app: App) -> None:
    run = await planned(app, 1, 1)
    directory = await Directories(app.tables).open("main")
    await directory.gate.close(run["id"])
    await app.host.executor.terminate(run["id"], "by hand")
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "failed"
    assert await writes(app) == 201
