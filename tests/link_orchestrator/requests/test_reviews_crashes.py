"""Death at any storage operation of a review, and of applying what was reviewed: doing it again ends the same."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator import activities
from link_orchestrator.messages import FORM, Milestone, Slice
from link_orchestrator.orchestrator import PLAN_PASSES
from link_orchestrator.requests import reviews
from shared.directory.directory import Directories, Directory
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import State
from shared.directory.work.plan import Plan
from shared.directory.work.reviews import TIMES
from shared.scim.endpoint import Request
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import begin_run, left_open, make_directory, object_id, plan_rows
from tests.shared.directory.invariants import check_invariants

NUMBER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PEOPLE = [Identity(object_id(n), f"p{n}@contoso.com", employee_id=str(n)) for n in range(3)] + [
    Identity(object_id(9), "two@contoso.com", employee_id="0")
]


class Client:
    """A durable client whose orchestrations run for ever."""

    async def get_status(self, instance_id: str) -> Any:
        return SimpleNamespace(runtime_status=SimpleNamespace(value="Running"), custom_status=None)


async def prepare(path: Path) -> str:
    """Make a file with a planned run; return the run's id."""
    tables = SqliteTables.open(path)
    directory = await make_directory(tables, "main", 2)
    now = directory.accounts.now()
    for n in range(3):
        document = {"userName": f"local{n}", NUMBER: {"employeeNumber": str(n)}}
        account = Account.new(directory.keys.new_id(document["userName"]), document, Status.LOCAL, now)
        await directory.accounts.create(account, by="test")
    job = await begin_run(directory, PEOPLE[1:3], Policy())
    for stage in PLAN_PASSES:
        await activities.run_slice(Directories(tables), slice_of(job.id, stage))
    planned = Milestone(job=job.id, directory="main", state="planned", expires="2999-01-01T00:00:00Z")
    await activities.reach_milestone(Directories(tables), planned.to_json())
    await tables.close()
    return job.id


def slice_of(job: str, stage: str) -> dict[str, Any]:
    return Slice(job=job, directory="main", pass_name=stage, low=0, high=2, form=FORM).to_json()


async def review(tables: Tables, job: str) -> None:
    """Link all rows of weak evidence, as an administrator who asks again until it was answered."""
    body = json.dumps({"filter": {"decision": "review"}, "action": "link"}).encode()
    directory = await Directories(tables).open("main")
    client: Any = Client()
    await reviews.review(directory, Request("http://x/scim/v2", "me", job, body=body), client)


async def approve(directory: Directory, job: str) -> None:
    await directory.jobs.change(job, lambda found: replace(found, state=State.APPROVED, approved="now"))


async def told(tables: SqliteTables, job: str) -> Any:
    """Return what the plan, the counts, the accounts and what is left open tell."""
    directory = await Directories(tables).open("main")
    accounts = await check_invariants(tables, "main")
    rows = [(row.subject, row.outcome, row.review and row.review["action"]) for row in await plan_rows(directory, job)]
    plan = Plan(tables, directory.keys, job)
    links = [(account.user_name, account.link and account.link.identity) for account in accounts]
    histories = [[c.action for c in await directory.accounts.history(account.id)] for account in accounts]
    left = [await left_open(tables, plan, one.object_id) for one in PEOPLE]
    counts = +Counter(await directory.jobs.total(job))
    del counts[TIMES]  # a review that is done again is another one
    return sorted(rows), sorted(links, key=str), histories, left, counts


@pytest.mark.parametrize("step", ["review", "apply"])
async def test_what_dies_at_any_storage_operation_ends_the_same_when_done_again(tmp_path: Path, step: str) -> None:
    made = tmp_path / "made.db"
    job = await prepare(made)

    async def act(tables: Tables) -> None:
        if step == "review":
            await review(tables, job)
        else:
            await activities.run_slice(Directories(tables), slice_of(job, "apply"))

    if step == "apply":
        tables = SqliteTables.open(made)
        await review(tables, job)
        await approve(await Directories(tables).open("main"), job)
        await tables.close()

    async def played(faults: dict[int, Fault]) -> tuple[Any, int]:
        path = tmp_path / "again.db"
        path.unlink(missing_ok=True)
        shutil.copy(made, path)
        tables = SqliteTables.open(path)
        try:
            dying = FaultyTables(tables, script(faults))
            if faults:
                with pytest.raises(Crash):
                    await act(dying)
            await act(tables if faults else dying)
            return await told(tables, job), dying.requests
        finally:
            await tables.close()

    expected, calls = await played({})
    rows, links, _, left, counts = expected
    assert {action for _, _, action in rows if action} == {"link"}
    assert counts["review.link"] == counts["review.links"] == 2
    if step == "apply":
        assert [identity for _, identity in links if identity] == [object_id(1), object_id(2)]
        assert counts["linked"] == 2
        assert left == [None] * 4
    for place in range(1, calls + 1):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            again, _ = await played({place: fault})
            assert again == expected, (place, fault)
