"""Provisioning at work while a run is applied or taken back: at any step of either it creates, patches or deletes.

No acknowledged change is lost but those that the undo takes back, nobody gets two accounts, and what the undo leaves
linked it reports.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

import scim_users.service
from infra.local.faults import Call, FaultyTables
from link_orchestrator.messages import Slice
from link_orchestrator.orchestrator import link_accounts, undo_links
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job, State
from shared.scim.endpoint import Request
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    Engine,
    activity_calls,
    begin_run,
    make_directory,
    object_id,
    plan_rows,
    start_of,
)
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import call_number, pause

POLICY = Policy(verified_domains=frozenset({"contoso.com"}))
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
NAMES = ("ann", "bob")
IDENTITIES = [Identity(object_id(number), f"{name}@contoso.com") for number, name in enumerate(NAMES)]


async def find(directory: Directory, name: str) -> Account | None:
    found = await directory.accounts.list_by(Key("userName", f"{name}@contoso.com"))
    return found[0] if found else None


def request(body: object = None, account_id: str = "") -> Request:
    return Request(base="http://x/scim/v2", by="entra", id=account_id, body=json.dumps(body).encode())


async def patches(directory: Directory) -> None:
    """Come with the identity of ann, and change her title."""
    account = await find(directory, "ann")
    values = {"externalId": object_id(0), "userName": "ann@contoso.com", "title": "Dr"}
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    await scim_users.service.patch(
        directory, request({"schemas": [PATCH], "Operations": operations}, account.id if account else "")
    )


async def creates(directory: Directory) -> None:
    """Make another account for the identity of ann."""
    user = {"schemas": [USER], "userName": "second@x.org", "externalId": object_id(0)}
    await scim_users.service.create(directory, request(user))


async def adopts(directory: Directory) -> None:
    """Make an account for the identity of ann, under her name."""
    user = {"schemas": [USER], "userName": "ann@contoso.com", "externalId": object_id(0)}
    await scim_users.service.create(directory, request(user))


async def deletes(directory: Directory) -> None:
    """Confirm the link of ann, then delete her."""
    await patches(directory)
    account = await find(directory, "ann")
    await scim_users.service.delete(directory, request(account_id=account.id if account else ""))


async def confirms(directory: Directory) -> None:
    """Look ann up by the stamped key."""
    asked = Request(base="http://x/scim/v2", by="entra", params={"filter": f'externalId eq "{object_id(0)}"'})
    await scim_users.service.query(directory, asked)


ACTS = {"patch": patches, "create": creates, "adopt": adopts, "delete": deletes, "confirm": confirms}
REFUSED = {("reserve", "patch"), ("reserve", "delete"), ("undo", "create"), ("undo", "adopt")}
"""Stages and acts where provisioning is refused at every step: no write reaches an account that is managed here, and a
pair that an undo takes apart is left open."""


@dataclass
class Race:
    """A run and its undo, with an act of provisioning before a storage call of one of the passes."""

    tables: Tables
    name: str
    stage: str
    number: int
    act: Callable[[Directory], Awaitable[None]]
    reached: bool = False
    acknowledged: bool = False

    async def call(self, name: str, message: Any) -> Any:
        """Run an activity, held at the call in question while provisioning acts."""
        slow = FaultyTables(self.tables)
        held: list[Any] = []
        if message.get("stage") == self.stage:
            held = pause(slow, call_number(self.number), self._act)
        answer = await activity_calls(Directories(slow))(name, message)
        self.reached = self.reached or bool(held)
        return answer

    async def _act(self) -> None:
        with suppress(DirectoryError):
            await self.act(await Directories(self.tables).open(self.name))
            self.acknowledged = True

    async def play(self) -> tuple[Directory, Job, Job]:
        """Link both accounts and take that back; return the directory, the run and the undo."""
        directory, run = await self.link()
        return directory, run, await self.undo(run)

    async def link(self) -> tuple[Directory, Job]:
        """Link both accounts; return the directory and the run."""
        directory = await make_directory(self.tables, self.name, 1)
        await directory.policies.set(replace(POLICY, adopt_on_create=True))
        for name in NAMES:
            document = {"userName": f"{name}@contoso.com", "title": "Mr"}
            new = Account.new(
                directory.keys.new_id(document["userName"]), document, Status.LOCAL, "2025-01-01T00:00:00Z"
            )
            await directory.accounts.create(new, by="test")
        run = await begin_run(directory, IDENTITIES, POLICY)
        assert await Engine(self.call).play(link_accounts, start_of(directory, run)) == "done"
        await directory.jobs.change(run.id, lambda job: replace(job, approved=job.started))
        return directory, run

    async def undo(self, run: Job) -> Job:
        """Take the links of a run back."""
        directory = await Directories(self.tables).open(self.name)
        undo = await directory.jobs.start("undo", "test", directory.jobs.new_id("undo"), {"run": run.id})
        assert await Engine(self.call).play(undo_links, start_of(directory, undo)) == "done"
        return undo


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("stage", ["reserve", "apply", "undo"])
async def test_provisioning_at_any_step(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, stage: str, act: str
) -> None:
    monkeypatch.setattr("link_orchestrator.passes.apply.WORTH_RESERVING", 1)
    done = 0
    for number in itertools.count(1):
        race = Race(sqlite_tables, f"at{number}", stage, number, ACTS[act])
        directory, run, undo = await race.play()
        if not race.reached:
            break
        done += race.acknowledged
        await check_invariants(sqlite_tables, race.name)
        rows = {row.subject: row for row in await plan_rows(directory, undo.id)}
        accounts = [a for a in await everybody(directory) if a.link and a.link.by == f"run:{run.id}"]
        assert all(rows[account.id].decision == "refused" for account in accounts)
        bob = await find(directory, "bob")
        assert bob
        assert (bob.status, bob.link, bob.external_id) == (Status.LOCAL, None, None)
        ann = await find(directory, "ann")
        assert ann
        taken_back = any(change.action == "undo" for change in await directory.accounts.history(ann.id))
        if race.acknowledged and act == "patch":
            assert ann.document()["title"] == ("Mr" if taken_back else "Dr"), (
                "an acknowledged change is there, or undone"
            )
        if race.acknowledged and act == "delete":
            assert (ann.retired, ann.active, ann.link) == (not taken_back, False, None)
        if race.acknowledged and act == "adopt":
            assert ann.link is not None
            assert (ann.link.rule, ann.link.identity, ann.link.confirmed) == ("adoption", object_id(0), None)
        if race.acknowledged and act == "create":
            assert ann.link is None, "somebody else carries the identity"
        if not race.acknowledged or act == "confirm":
            # A confirmation is no change of the account, whenever it comes.
            assert (ann.status, ann.external_id, ann.document()["title"]) == (Status.LOCAL, None, "Mr")
    assert number > 8
    if (stage, act) in REFUSED:
        assert not done
    else:
        assert done, "provisioning got through at some step"


@pytest.mark.parametrize("act", ACTS)
async def test_an_undo_at_any_step_of_provisioning_that_came_before_the_gate_was_closed(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """A process may take the gate to be open for GATE_SECONDS, and its request may take longer.

    On Table Storage any one of a request's calls may be late. Those beside it are answered before the undo.
    """
    monkeypatch.setattr("shared.directory.records.claims.GIVE_WAY_SECONDS", 0.0)
    for late in itertools.count(1):
        race = Race(sqlite_tables, f"at{late}", "", 0, ACTS[act])
        directory, run = await race.link()
        confirmed = await find(directory, "ann")
        assert confirmed
        await patches(directory)
        slow = FaultyTables(sqlite_tables)
        scim = await Directories(slow).open(race.name)
        numbers, lock, undone = itertools.count(1), asyncio.Lock(), list[Job]()

        async def undo(
            call: Call,
            late: int = late,
            numbers: Iterator[int] = numbers,
            lock: asyncio.Lock = lock,
            undone: list[Job] = undone,
            race: Race = race,
            run: Job = run,
        ) -> None:
            if next(numbers) == late:
                async with lock:
                    for _ in range(50):  # turns of the event loop, in which whatever is asked beside it is answered
                        await asyncio.sleep(0)
                    undone.append(await race.undo(run))

        slow.before = undo
        acknowledged = False
        with suppress(DirectoryError):
            await ACTS[act](scim)
            acknowledged = True
        async with lock:  # a request that is refused may leave a call under way
            pass
        if not undone:
            break
        assert len(await check_invariants(sqlite_tables, race.name)) == 2, late
        (row,) = [row for row in await plan_rows(directory, undone[0].id) if row.subject == confirmed.id]
        ann = await find(directory, "ann")
        assert ann
        assert row.decision in ("undone", "undoneInactive"), (late, row)
        assert (ann.status, ann.link, ann.retired) == (Status.LOCAL, None, False), late
        assert ann.document()["title"] == "Mr", late
        assert not (act in ("create", "adopt") and acknowledged), late
    assert late > 2


async def everybody(directory: Directory) -> list[Account]:
    return [account async for account in directory.listing.scan_facts(0)]


async def late_links(sqlite_tables: SqliteTables) -> int:
    """Let a dead run's activity go on after the run's undo, from each of its steps; return how many links it makes."""
    links = late = 0
    for number in itertools.count(1):
        race = Race(sqlite_tables, f"at{number}", "", 0, patches)
        directory, *_ = await race.play()
        for one in await everybody(directory):  # as if a person had joined them again: a plan leaves the parted open
            parted = await directory.accounts.get(one.id)
            await directory.accounts.replace(parted, replace(parted, parted=()), by="test", action="link")
        second = await begin_run(directory, IDENTITIES, POLICY)
        dying = Engine(race.call, verdict="cancel")
        await dying.play(link_accounts, start_of(directory, second))
        await directory.jobs.change(second.id, lambda job: replace(job, approved=job.started, state=State.APPROVED))
        slow = FaultyTables(sqlite_tables)

        async def undone(directory: Directory = directory, second: Job = second) -> None:
            # As it is when an orchestration is terminated: the job has failed, a slice of it is still under way.
            await directory.jobs.change(second.id, lambda job: replace(job, state=State.FAILED))
            undo = await directory.jobs.start("undo", "test", directory.jobs.new_id("undo"), {"run": second.id})
            calls = activity_calls(Directories(sqlite_tables))
            assert await Engine(calls).play(undo_links, start_of(directory, undo)) == "done"

        reached = pause(slow, call_number(number), undone)
        part = Slice(job=second.id, directory=race.name, pass_name="apply", low=0, high=1)
        with suppress(DirectoryError):
            await activity_calls(Directories(slow))("run_slice", part.to_json())
        if not reached:
            break
        late += 1
        links += sum(account.link is not None for account in await everybody(directory))
        await check_invariants(sqlite_tables, race.name)
    assert late > 5
    return links


async def test_no_slice_begins_whose_run_has_failed(sqlite_tables: SqliteTables) -> None:
    """One slice of a window fails for good; the others are still in the queue."""
    race = Race(sqlite_tables, "queued", "", 0, patches)
    directory, *_ = await race.play()
    run = await begin_run(directory, IDENTITIES, POLICY)
    queued: list[Any] = []

    async def call(name: str, message: Any) -> Any:
        if message.get("stage") == "apply":
            queued.append(message)
            raise RuntimeError("the storage is away for too long")
        return await race.call(name, message)

    with pytest.raises(RuntimeError):
        await Engine(call).play(link_accounts, start_of(directory, run))
    assert (await directory.jobs.get(run.id)).state is State.FAILED
    (apply,) = queued
    assert (await race.call("run_slice", apply))["stopped"]
    assert not any(account.link for account in await everybody(directory))


async def test_an_activity_of_a_dead_run_that_comes_after_the_undo_links_nobody(sqlite_tables: SqliteTables) -> None:
    assert await late_links(sqlite_tables) == 0


async def test_without_the_fence_it_would(sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fence_nobody(accounts: object, some: object) -> set[str]:
        return set()

    monkeypatch.setattr("link_orchestrator.passes.undo.fence_many", fence_nobody)
    assert await late_links(sqlite_tables) > 0


@pytest.mark.parametrize(
    ("ended", "fenced"), [(State.FAILED, {"ann"}), (State.CANCELLED, {"ann"}), (State.DONE, set[str]())]
)
async def test_an_undo_changes_the_version_of_those_alone_whom_a_run_may_still_link(
    sqlite_tables: SqliteTables, ended: State, fenced: set[str]
) -> None:
    """Of ann nothing is said yet, bob changed since the plan, and cleo is refused; a run that is done links no more."""
    names = ("ann", "bob", "cleo")
    directory = await make_directory(sqlite_tables, buckets=1)
    for name in names:
        document = {"userName": f"{name}@contoso.com"}
        new = Account.new(directory.keys.new_id(name), document, Status.LOCAL, directory.accounts.now())
        await directory.accounts.create(new, by="test")
    identities = [Identity(object_id(number), f"{name}@contoso.com") for number, name in enumerate(names)]
    run = await begin_run(directory, identities, POLICY)
    calls = activity_calls(Directories(sqlite_tables))
    await Engine(calls, verdict="cancel").play(link_accounts, start_of(directory, run))
    await directory.jobs.change(run.id, lambda job: replace(job, approved=job.started, state=ended))
    (refused,) = [row for row in await plan_rows(directory, run.id) if row.subject == object_id(2)]
    await directory.plan(run.id).record_outcomes(0, {refused.subject: "refused: somebody has the identity"}, [refused])
    bob = await find(directory, "bob")
    assert bob
    await directory.accounts.replace(bob, bob.with_document(bob.document() | {"title": "Dr"}), by="entra")
    before = {account.user_name: account.etag for account in await everybody(directory)}
    undo = await directory.jobs.start("undo", "test", directory.jobs.new_id("undo"), {"run": run.id})
    await Engine(calls).play(undo_links, start_of(directory, undo))
    after = {account.user_name: account.etag for account in await everybody(directory)}
    assert {name.partition("@")[0] for name in after if after[name] != before[name]} == fenced
    assert await plan_rows(directory, undo.id) == []
