"""What people had before a run is theirs again after its undo: attributes, in order, for a term, nobody unseen."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import scim_users.service
from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.orchestrator import link_accounts, undo_links
from shared.admin.functions import tidy
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import AUDIT, KEPT
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy, Schedule
from shared.directory.records.model import ENTERPRISE, Account, Status
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, State
from shared.scim.endpoint import Request
from shared.tables.port import Delete, Insert, Replace, Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    Engine,
    activity_calls,
    begin_run,
    make_directory,
    object_id,
    plan_rows,
    rows_of,
    start_of,
)
from tests.shared.directory.invariants import check_invariants, stale_rows

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
POLICY = Policy(verified_domains=frozenset({"contoso.com"}))
NAMES = ("ann", "bob", "cleo")


class Clock:
    """The time of a directory, which a test may set."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> str:
        self.moment += timedelta(milliseconds=1)
        return timestamp(self.moment)


class Scene:
    """Three people whom a run has linked, provisioning, and the undo."""

    def __init__(self, tables: Tables, name: str = "main") -> None:
        self.tables = tables
        self.name = name
        self.clock = Clock()
        self.directory: Directory
        self.run: Job
        self.before: list[Account]

    async def set(self, **has: Any) -> Scene:
        await make_directory(self.tables, self.name, 2)
        self.directory = await self.opened(self.tables).open(self.name)
        await self.directory.policies.set(POLICY)
        self.before = [await self._person(name, has) for name in NAMES]
        identities = [Identity(object_id(number), f"{name}@contoso.com") for number, name in enumerate(NAMES)]
        self.run = await begin_run(self.directory, identities, POLICY)
        assert await self.play(link_accounts, self.run) == "done"
        self.run = await self.directory.jobs.change(self.run.id, lambda job: replace(job, approved=job.started))
        return self

    def opened(self, tables: Tables) -> Directories:
        return Directories(tables, self.clock)

    async def _person(self, name: str, has: dict[str, Any]) -> Account:
        document: dict[str, Any] = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
            "userName": f"{name}@contoso.com",
            "emails": [{"value": f"{name}@contoso.com", "type": "work"}],
            "title": "Mr",
            "active": True,
            ENTERPRISE: {"department": "Sales", "costCenter": "7"},
        } | has
        document = {name: value for name, value in document.items() if value is not None}
        accounts = self.directory.accounts
        new = Account.new(accounts.keys.new_id(document["userName"]), document, Status.LOCAL, accounts.now())
        return await accounts.create(new, by="test")

    async def play(
        self, body: Any, job: Job, tables: Tables | None = None, answers: dict[str, Any] | None = None
    ) -> Any:
        """Run an orchestration; an activity whose answer is known does not run again, as with Durable Functions."""
        activities = activity_calls(self.opened(tables or self.tables))
        known = {} if answers is None else answers

        async def calls(name: str, message: Any) -> Any:
            place = f"{name} {message}"
            if place not in known:
                known[place] = await activities(name, message)
            return known[place]

        start = start_of(self.directory, job).model_copy(
            update={"prepares": job.kind == "undo", "activate": job.options.get("activate")}
        )
        return await Engine(calls).play(body, start)

    async def now(self, number: int = 0) -> Account:
        return await self.directory.accounts.get_any(self.before[number].id)

    async def patch(self, number: int = 0, **values: Any) -> None:
        """Let provisioning come through the stamped externalId with new values; None removes one."""
        values = {"externalId": object_id(number)} | values
        operations = [
            {"op": "remove", "path": path} if value is None else {"op": "replace", "path": path, "value": value}
            for path, value in values.items()
        ]
        body = json.dumps({"schemas": [PATCH], "Operations": operations}).encode()
        asked = Request(base="http://x/scim/v2", by="entra", id=self.before[number].id, body=body)
        await scim_users.service.patch(self.directory, asked)

    async def delete(self, number: int = 0) -> None:
        asked = Request(base="http://x/scim/v2", by="entra", id=self.before[number].id, body=b"")
        await scim_users.service.delete(self.directory, asked)

    async def edit(self, number: int = 0, **values: Any) -> None:
        """Change attributes here, as an administrator or an import does."""
        account = await self.now(number)
        after = account.with_document(account.document() | values)
        await self.directory.accounts.replace(account, after, by="local", action="edit")

    async def start(self, **asked: Any) -> Job:
        jobs = self.directory.jobs
        return await jobs.start("undo", "test", jobs.new_id("undo"), {"run": self.run.id, "slices": 1, **asked})

    async def undo(self, **asked: Any) -> tuple[Counter[str], dict[str, tuple[str, str]]]:
        """Take the run back; return the counts, and outcome and reason by the first word of the planned userName."""
        job = await self.start(**asked)
        await self.play(undo_links, job)
        rows = await plan_rows(self.directory, job.id)
        plan = await plan_rows(self.directory, self.run.id)
        planned = {r.shown["account"]["id"]: r.shown["account"]["userName"].partition("@")[0] for r in plan}
        told = {planned[r.subject]: (r.decision, r.shown["reason"]) for r in rows}
        return Counter(await self.directory.jobs.total(job.id)), told


@pytest.fixture
async def scene(sqlite_tables: SqliteTables) -> Scene:
    return await Scene(sqlite_tables).set()


def of(account: Account) -> tuple[Any, ...]:
    """Return what an undo gives back of an account."""
    return account.document(), account.status, account.link, account.retired, account.evidence, account.emails


async def provision_everything(scene: Scene, number: int = 0) -> None:
    """Write every kind of attribute, some twice: changed, added, taken away, and within an extension."""
    name = f"new{number}@contoso.com"
    await scene.patch(number, title="Director", userName=name, emails=[{"value": name, "type": "work"}])
    await scene.patch(number, displayName="New", active=False, **{f"{ENTERPRISE}:department": "Law"})
    await scene.patch(number, active=True, title=None, **{"name.givenName": "N", f"{ENTERPRISE}:costCenter": None})
    await scene.patch(number, **{f"{ENTERPRISE}:department": None, f"{ENTERPRISE}:division": "West"})


class TestAttributes:
    async def test_every_attribute_that_provisioning_wrote_is_what_it_was(self, scene: Scene) -> None:
        for number in range(3):
            await provision_everything(scene, number)
        counts, told = await scene.undo()
        assert counts == {"undone": 3}
        assert told["ann"] == ("undone", "The account is what it was before it was linked.")
        for number, before in enumerate(scene.before):
            assert of(await scene.now(number)) == of(before)
            assert await scene.directory.accounts.list_by(before.name) == [await scene.now(number)]
        await check_invariants(scene.tables, "main")
        assert await stale_rows(scene.tables, "main") == 0

    async def test_they_stay_as_provisioning_wrote_them_where_that_is_asked_for(self, scene: Scene) -> None:
        await scene.patch(title="Director", active=False)
        counts, told = await scene.undo(keep="attributes")
        assert counts == {"undone": 2, "released": 1}
        assert told["ann"][1].startswith("active, title: provisioning changed it since; that stays")
        ann = await scene.now()
        assert (ann.status, ann.active, ann.document()["title"]) == (Status.LOCAL, False, "Director")

    async def test_what_was_edited_here_since_stays_and_is_named(self, scene: Scene) -> None:
        await scene.patch(title="Director", displayName="Ann")
        await scene.delete()
        await scene.edit(title="Countess", **{ENTERPRISE: {"department": "Law"}})
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undoneInactive": 1}
        assert "title: edited here since, and left as it is" in told["ann"][1]
        ann = await scene.now()
        assert (ann.document()["title"], ann.document()[ENTERPRISE]) == ("Countess", {"department": "Law"})
        assert "displayName" not in ann.document(), "what nobody edited is what it was"

    async def test_an_external_id_and_evidence_that_people_wrote_since_stay_and_are_named(self, scene: Scene) -> None:
        await scene.patch()
        await scene.delete()
        await scene.edit(externalId="ours")
        ann = await scene.now()
        known = replace(ann.evidence, name_id="ann")
        await scene.directory.accounts.replace(ann, replace(ann, evidence=known), by="local", action="edit")
        _, told = await scene.undo()
        assert "evidence, externalId: edited here since, and left as it is" in told["ann"][1]
        ann = await scene.now()
        assert (ann.external_id, ann.evidence, ann.link) == ("ours", known, None)
        await check_invariants(scene.tables, "main")

    async def test_a_part_of_an_extension_that_was_edited_is_named_though_another_part_comes_back(
        self, scene: Scene
    ) -> None:
        await scene.patch(**{f"{ENTERPRISE}:department": "Law"})
        await scene.edit(**{ENTERPRISE: {"department": "Art", "costCenter": "7"}})
        await scene.patch(**{f"{ENTERPRISE}:costCenter": "8"})
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undonePartly": 1}
        assert f"{ENTERPRISE}: edited here since" in told["ann"][1]
        assert (await scene.now()).document()[ENTERPRISE] == {"department": "Art", "costCenter": "7"}

    async def test_an_edit_that_provisioning_overwrote_comes_back(self, scene: Scene) -> None:
        await scene.patch(title="Director")
        await scene.edit(title="Countess")
        await scene.patch(title="Chief")
        assert (await scene.undo())[0] == {"undone": 3}
        assert (await scene.now()).document()["title"] == "Countess"

    async def test_a_user_name_that_another_account_has_by_now_stays_and_is_named(self, scene: Scene) -> None:
        await scene.patch(userName="new@contoso.com", title="Director")
        taken = Account.new(
            scene.directory.keys.new_id("ann@contoso.com"), {"userName": "ANN@contoso.com"}, Status.LOCAL, scene.clock()
        )
        await scene.directory.accounts.create(taken, by="test")
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undonePartly": 1}
        assert told["ann"] == (
            "undonePartly",
            "The link is taken back; userName: another account has the former one, ann@contoso.com, by now.",
        )
        ann = await scene.now()
        assert (ann.status, ann.user_name, ann.document()["title"]) == (Status.LOCAL, "new@contoso.com", "Mr")
        await check_invariants(scene.tables, "main")

    async def test_it_is_named_also_by_a_slice_that_runs_again(self, scene: Scene) -> None:
        await scene.patch(userName="new@contoso.com")
        await scene.patch(userName="newer@contoso.com")
        taken = Account.new(
            scene.directory.keys.new_id("ann@contoso.com"), {"userName": "ann@contoso.com"}, Status.LOCAL, scene.clock()
        )
        await scene.directory.accounts.create(taken, by="test")
        job, whole = await scene.start(), {"directory": scene.name, "stage": "undo", "low": 0, "high": 2}
        calls = activity_calls(scene.opened(scene.tables))
        for _ in range(2):
            answer = await calls("run_slice", whole | {"job": job.id})
            assert answer["counts"] == {"undone": 2, "undonePartly": 1}
        assert len(await plan_rows(scene.directory, job.id)) == 3

    async def test_what_provisioning_made_itself_is_kept_nowhere(self, scene: Scene) -> None:
        document = {"userName": "made@contoso.com", "externalId": "made"}
        new = Account.new(scene.directory.keys.new_id("made"), document, Status.PROVISIONED, scene.clock())
        made = await scene.directory.accounts.create(new, by="entra")
        after = made.with_document(made.document() | {"title": "Dr"})
        await scene.directory.accounts.replace(made, after, by="entra", keep=True)
        assert await kept_rows(scene) == 0

    async def test_a_confirmation_keeps_nothing(self, scene: Scene) -> None:
        await scene.patch()
        assert (await scene.now()).link
        assert await kept_rows(scene) == 0


async def kept_rows(scene: Scene) -> int:
    keys = scene.directory.keys
    rows = [row for b in range(keys.buckets) for row in await rows_of(scene.tables, keys.resources(b))]
    return sum(row.key.startswith(KEPT) for row in rows)


class TestSwitchedOn:
    async def test_whom_provisioning_switched_off_stays_so_and_is_listed(self, scene: Scene) -> None:
        await scene.patch(active=False, title="Director")
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undoneInactive": 1}
        assert told["ann"][0] == "undoneInactive"
        assert "activate" in told["ann"][1]
        ann = await scene.now()
        assert (ann.status, ann.active, ann.document()["title"]) == (Status.LOCAL, False, "Mr")

    async def test_their_number_switches_them_on(self, scene: Scene) -> None:
        await scene.patch(active=False)
        await scene.patch(1)
        await scene.delete(1)
        counts, _ = await scene.undo(activate=2)
        assert counts == {"activating": 2, "undone": 3}
        assert [of(await scene.now(number)) for number in range(3)] == [of(before) for before in scene.before]

    @pytest.mark.parametrize("number", [0, 1, 3])
    async def test_another_number_changes_nothing_and_the_reason_names_the_right_one(
        self, scene: Scene, number: int
    ) -> None:
        await scene.patch(active=False)
        await scene.patch(1, active=False)
        before = [await scene.now(n) for n in range(3)]
        job = await scene.start(activate=number)
        assert await scene.play(undo_links, job) == "failed"
        ended = await scene.directory.jobs.get(job.id)
        assert ended.state is State.FAILED
        assert ended.reason
        assert f"would switch on 2 accounts, not {number}" in ended.reason
        assert [(await scene.now(n)).etag for n in range(3)] == [account.etag for account in before]

    async def test_another_undo_switches_on_whom_the_first_left_inactive(self, scene: Scene) -> None:
        await scene.patch(active=False, title="Director")
        await scene.undo()
        counts, told = await scene.undo()
        assert counts == {"unchanged": 3}
        assert "stays inactive" in told["ann"][1]
        assert told["ann"][1].endswith("To switch on this one, edit its attribute active.")
        counts, told = await scene.undo(activate=1)
        assert counts == {"activating": 1, "activated": 1, "unchanged": 2}
        assert of(await scene.now()) == of(scene.before[0])

    async def test_whom_scim_deleted_and_a_second_undo_switched_on_was_linked_anew_by_nobody(
        self, scene: Scene
    ) -> None:
        await scene.patch(1)
        await scene.delete(1)
        await scene.undo()
        await scene.undo(activate=1)
        counts, told = await scene.undo()
        assert counts == {"unchanged": 3}
        assert told["bob"][1].startswith("The link was taken back before, by ")

    async def test_whom_scim_deleted_and_the_first_undo_switched_on_was_linked_anew_by_nobody(
        self, scene: Scene
    ) -> None:
        await scene.patch(1)
        await scene.delete(1)
        await scene.undo(activate=1)
        counts, told = await scene.undo()
        assert counts == {"unchanged": 3}
        assert told["bob"][1].startswith("The link was taken back before, by ")

    async def test_who_was_active_without_saying_so_is_that_again(self, sqlite_tables: SqliteTables) -> None:
        scene = await Scene(sqlite_tables).set(active=None)
        await scene.patch(active=False)
        # An earlier version of the app kept nothing where an account did not say it.
        home = scene.directory.keys.home(scene.before[0].id)
        (kept,) = [row for row in await rows_of(sqlite_tables, home) if row.key.startswith(KEPT)]
        columns = {**kept.columns, "values": '{"active":null}'}
        await sqlite_tables.commit(home, [Replace(kept.key, columns, kept.etag)])
        assert (await scene.undo())[0] == {"undone": 2, "undoneInactive": 1}
        counts, _ = await scene.undo(activate=1)
        assert counts == {"activating": 1, "activated": 1, "unchanged": 2}
        assert of(await scene.now()) == of(scene.before[0])

    async def test_whom_somebody_switched_off_here_stays_so(self, scene: Scene) -> None:
        await scene.patch(active=False)
        await scene.undo()
        await scene.edit(active=True)
        await scene.edit(active=False)
        assert (await scene.undo(activate=0))[0] == {"activating": 0, "unchanged": 3}

    async def test_whoever_was_switched_off_after_they_were_counted_stays_so(self, scene: Scene) -> None:
        await scene.patch(active=False)
        job = await scene.start(activate=1)
        calls = activity_calls(scene.opened(scene.tables))

        async def call(name: str, message: Any) -> Any:
            if message.get("stage") == "undo":
                await scene.patch(1, active=False)
                await scene.patch(title="Director")
            return await calls(name, message)

        start = start_of(scene.directory, job).model_copy(update={"activate": 1})
        assert await Engine(call).play(undo_links, start) == "done"
        assert not (await scene.now()).active, "she is not as she was counted"
        assert not (await scene.now(1)).active

    async def test_whom_provisioning_deleted_is_back_and_inactive_until_the_number_is_named(self, scene: Scene) -> None:
        await scene.patch(title="Director")
        await scene.delete()
        counts, _ = await scene.undo()
        assert counts == {"undone": 2, "undoneInactive": 1}
        ann = await scene.now()
        assert (ann.retired, ann.active, ann.link, ann.document()["title"]) == (False, False, None, "Mr")
        assert ann.evidence == scene.before[0].evidence
        assert (await scene.undo(activate=1))[0]["activated"] == 1
        assert of(await scene.now()) == of(scene.before[0])


class TestOrder:
    async def test_with_the_clock_an_hour_back_a_change_after_the_run_is_after_it(self, scene: Scene) -> None:
        scene.clock.moment -= timedelta(hours=1)
        await scene.patch(title="Director")
        await scene.patch(title="Chief")
        history = await scene.directory.accounts.history(scene.before[0].id)
        assert [change.action for change in history] == ["create", "link", "confirm", "replace"]
        assert [change.number for change in history] == [1, 2, 3, 4]
        assert history[-1].at < history[0].at
        assert (await scene.undo())[0] == {"undone": 3}
        assert of(await scene.now()) == of(scene.before[0])
        history = await scene.directory.accounts.history(scene.before[0].id)
        assert history[-1].action == "undo"

    async def test_a_fence_is_no_change(self, scene: Scene) -> None:
        ann = await scene.now()
        await scene.directory.accounts.claims.fence(ann)
        fenced = await scene.now()
        assert (fenced.changes, fenced.etag != ann.etag) == (ann.changes, True)

    async def test_a_deletion_is_the_last_change(self, scene: Scene) -> None:
        await scene.undo()
        ann = await scene.now()
        scene.clock.moment -= timedelta(hours=1)
        await scene.directory.accounts.delete(ann, by="local")
        assert [c.number for c in await scene.directory.accounts.history(ann.id)] == [1, 2, 3, 4]


class TestTerm:
    async def test_what_is_older_than_the_undo_term_is_not_given_back_and_named(self, scene: Scene) -> None:
        await scene.patch(title="Director")
        scene.clock.moment += timedelta(days=91)
        await scene.patch(displayName="Ann")
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undonePartly": 1}
        assert told["ann"][1] == (
            "The link is taken back; title: left as provisioning wrote it, because the value before is not kept."
        )
        document = (await scene.now()).document()
        assert (document["title"], "displayName" in document) == ("Director", False)

    async def test_the_sweep_removes_what_is_older_whatever_is_under_way(self, scene: Scene) -> None:
        await scene.directory.policies.set(replace(POLICY, undo_days=5))
        await scene.patch(title="Director")
        scene.clock.moment += timedelta(days=4)
        await scene.patch(1, title="Director")
        await scene.directory.jobs.start("run", "test", "run9", {})
        assert (await tidy(scene.directory))[0] == 0
        scene.clock.moment += timedelta(days=2)
        assert (await tidy(scene.directory))[0] == 1
        assert await kept_rows(scene) == 1

    async def test_what_was_kept_of_an_account_goes_with_it(self, scene: Scene) -> None:
        await scene.patch(title="Director")
        await scene.undo()
        assert await kept_rows(scene) == 2
        await scene.directory.accounts.delete(await scene.now(), by="local")
        assert await kept_rows(scene) == 0


async def make_older(scene: Scene) -> None:
    """Rewrite all accounts as the version before this one stored them: by time, without numbers and kept values."""
    keys = scene.directory.keys
    moments = itertools.count(1)
    for bucket in range(keys.buckets):
        partition = keys.resources(bucket)
        for row in await rows_of(scene.tables, partition):
            if row.key.startswith(KEPT):
                await scene.tables.commit(partition, [Delete(row.key, row.etag)])
            elif row.key.startswith(AUDIT):
                account = row.key[len(AUDIT) :].partition("_")[0]
                at = str(row.columns["at"]).translate(str.maketrans("", "", "-:.TZ"))
                key = f"{AUDIT}{account}_{at}{next(moments):016x}{0:08x}"
                await scene.tables.commit(partition, [Delete(row.key, row.etag), Insert(key, row.columns)])
            elif "changes" in row.columns:
                columns = {name: value for name, value in row.columns.items() if name != "changes"}
                await scene.tables.commit(partition, [Replace(row.key, columns, row.etag)])


class TestOlderDirectories:
    async def test_links_are_given_back_and_what_was_not_kept_yet_is_named(self, scene: Scene) -> None:
        await scene.patch(title="Director")
        await make_older(scene)
        await scene.patch(1, title="Director")
        history = await scene.directory.accounts.history(scene.before[1].id)
        assert [(change.action, change.number) for change in history] == [("create", 0), ("link", 0), ("confirm", 1)]
        counts, told = await scene.undo()
        assert counts == {"undone": 2, "undonePartly": 1}
        assert told["ann"][1].startswith("The link is taken back; title: left as provisioning wrote it")
        ann, bob = await scene.now(), await scene.now(1)
        assert (ann.status, ann.document()["title"]) == (Status.LOCAL, "Director")
        assert of(bob) == of(scene.before[1])

    async def test_an_undo_that_the_version_before_began_ends_and_frees_the_directory(self, scene: Scene) -> None:
        jobs = scene.directory.jobs
        job = await scene.start(changed="release")
        rows = {row.key: row for row in await rows_of(scene.tables, scene.directory.keys.jobs())}
        await scene.tables.commit(
            scene.directory.keys.jobs(),
            [
                *(Delete(key, rows[key].etag) for key in ("lock_undo", "lock_changing")),
                Insert("lock_run", {"id": job.id}),
            ],
        )
        with pytest.raises(DirectoryError, match=job.id):
            await scene.start()
        await scene.play(undo_links, job)
        assert not await jobs.is_under_way("run", "changing", "undo")


class TestParted:
    async def test_an_undo_parts_the_pair_and_leaves_the_identity_open(self, scene: Scene) -> None:
        await scene.undo()
        assert (await scene.now()).parted == (object_id(0),)
        assert await scene.directory.left_open.find(object_id(0)) == (scene.run.id, "review")

    async def test_whoever_was_not_linked_by_the_run_is_not_parted(self, scene: Scene) -> None:
        bob = await scene.now(1)
        after = replace(bob, link=replace(bob.link, by="local")) if bob.link else bob
        await scene.directory.accounts.replace(bob, after, by="local", action="link")
        await scene.undo()
        assert (await scene.now(1)).parted == ()
        assert await scene.directory.left_open.find(object_id(1)) is None


class TestAround:
    async def test_the_gate_is_closed_while_it_lasts_and_the_schedule_is_suspended(self, scene: Scene) -> None:
        await scene.directory.policies.set(replace(POLICY, schedule=Schedule({"graph": {"scope": "all"}}, 24)))
        job, calls = await scene.start(), activity_calls(scene.opened(scene.tables))
        closed: list[str] = []

        async def call(name: str, message: Any) -> Any:
            if message.get("stage") in ("undo", "undo_groups"):
                other = await Directories(scene.tables, scene.clock).open("main")
                with pytest.raises(DirectoryError, match="taken back"):
                    await other.gate.refuse_closed()
                closed.append(message["stage"])
            return await calls(name, message)

        start = start_of(scene.directory, job).model_copy(update={"prepares": True})
        assert await Engine(call).play(undo_links, start) == "done"
        assert closed == ["undo", "undo_groups"]
        other = await Directories(scene.tables, scene.clock).open("main")
        await other.gate.refuse_closed()
        assert (await other.schedule.get()).suspended

    async def test_the_rows_of_the_plan_say_which_undo_took_their_links_back(self, scene: Scene) -> None:
        await scene.patch(active=False)
        job = await scene.start()
        await scene.play(undo_links, job)
        told = {row.subject: row.undone for row in await plan_rows(scene.directory, scene.run.id)}
        assert told == {
            object_id(0): f"undoneInactive by {job.id}",
            object_id(1): f"undone by {job.id}",
            object_id(2): f"undone by {job.id}",
        }


async def prepared(tables: SqliteTables, name: str) -> Scene:
    """Return a scene with one account renamed, one switched off, and one deleted by provisioning."""
    scene = await Scene(tables, name).set()
    await provision_everything(scene)
    await scene.patch(1, active=False)
    await scene.patch(2)
    await scene.delete(2)
    return scene


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
async def test_killed_anywhere_and_run_again_it_ends_where_it_began(sqlite_tables: SqliteTables, fault: Fault) -> None:
    for number in itertools.count(1):
        scene = await prepared(sqlite_tables, f"at{number}")
        job = await scene.start(activate=2)
        dying, answers = FaultyTables(sqlite_tables, script({number: fault})), dict[str, Any]()
        with suppress(Crash, TablesError):
            await scene.play(undo_links, job, dying, answers)
        job = await scene.directory.jobs.get(job.id)
        if job.state is State.FAILED:  # a lost answer alone does not kill the process, which then tells of its failure
            job = await scene.start(activate=await _inactive(scene))
        if not job.state.ended:
            await scene.play(undo_links, job, answers=answers)
        assert [of(await scene.now(n)) for n in range(3)] == [of(before) for before in scene.before], number
        assert len(await plan_rows(scene.directory, job.id)) == 3
        await check_invariants(sqlite_tables, scene.name)
        if dying.requests < number:
            assert number > 20
            break


async def _inactive(scene: Scene) -> int:
    return sum([not (await scene.now(number)).active for number in range(3)])


async def test_two_activities_at_once_come_to_the_same(sqlite_tables: SqliteTables) -> None:
    """Durable Functions may run an activity twice at once: the twin is at work before each of its storage calls."""
    for number in itertools.count(1):
        scene = await prepared(sqlite_tables, f"at{number}")
        job = await scene.start()
        slow = FaultyTables(sqlite_tables)
        reached = 0

        async def twin(call: Any, scene: Scene = scene, job: Job = job, number: int = number) -> None:
            nonlocal reached
            reached += 1
            if reached == number:
                whole = {"job": job.id, "directory": scene.name, "stage": "undo", "low": 0, "high": 2}
                await activity_calls(scene.opened(scene.tables))("run_slice", whole)

        calls = activity_calls(scene.opened(slow))

        async def call(name: str, message: Any, calls: Callable[..., Any] = calls, slow: FaultyTables = slow) -> Any:
            slow.before = twin if message.get("stage") == "undo" else None
            return await calls(name, message)

        assert await Engine(call).play(undo_links, start_of(scene.directory, job)) == "done"
        assert sorted(r.decision for r in await plan_rows(scene.directory, job.id)) == [
            "undone",
            "undoneInactive",
            "undoneInactive",
        ]
        assert of(await scene.now())[0] == scene.before[0].document()
        await check_invariants(sqlite_tables, scene.name)
        if reached < number:
            assert number > 10
            break
