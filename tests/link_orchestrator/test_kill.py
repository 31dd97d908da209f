"""Death at any moment: injected before and after every storage operation of every pass, and of a real process."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local.demo_data import generate, write
from infra.local.faults import Call, Crash, Fault, FaultyTables, random_faults, script
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.messages import Milestone
from link_orchestrator.orchestrator import (
    AGAIN_PASSES,
    APPLY_PASSES,
    COMPARE_PASSES,
    NAME_PASSES,
    PLAN_PASSES,
    SUGGEST_PASSES,
    UNDO_LAST,
    UNDO_PASSES,
    VERIFY_PASSES,
    import_accounts,
    link_accounts,
    undo_links,
    verify_links,
)
from scim_users.authority import confirmed
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job, Jobs, State
from shared.tables.port import Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.infra.test_serve import served
from tests.link_orchestrator.running import (
    SEEN,
    TOKEN,
    Api,
    Engine,
    Refusal,
    activity_calls,
    all_accounts,
    begin_run,
    connected,
    count_rows,
    csv_file,
    make_directory,
    object_id,
    plan_rows,
    start_of,
)
from tests.shared.directory.invariants import check_invariants
from tests.stored import stored_rows
from tests.waiting import PATIENCE, until

FILE = csv_file(
    {"userName": "new@contoso.com", "email": "n@contoso.com", "title": "A", "objectId": "", "employeeNumber": "7"},
    {"userName": "second", "email": "second@contoso.com"},
    {"userName": "SECOND", "email": "third@contoso.com"},
    {"userName": "kept@contoso.com", "title": "New"},
    {"userName": "managed@contoso.com", "title": "New"},
    {"userName": "protected", "email": "shared@contoso.com"},
    {"userName": "stamped", "objectId": object_id(9), "email": "old@contoso.com"},
)
IDENTITIES = (
    Identity(object_id(1), "new@contoso.com", employee_id="7"),
    Identity(object_id(2), "kept@contoso.com", mail="kept@contoso.com"),
    Identity(object_id(3), "three@contoso.com", mail="second@contoso.com"),
    Identity(object_id(4), "four@contoso.com", mail="shared@contoso.com"),
    Identity(object_id(5), "managed@contoso.com"),
    Identity(object_id(6), "nobody@contoso.com"),
    Identity(object_id(9), "renamed@contoso.com"),
)
CHANGED = IDENTITIES[0]._replace(department="Elsewhere")
POLICY = Policy(verified_domains=frozenset({"contoso.com"}))
ACTIVITIES = (
    *("import", "imported", *PLAN_PASSES, *SUGGEST_PASSES, *NAME_PASSES, "planned", *APPLY_PASSES, "done"),
    *(*VERIFY_PASSES, "verified", *UNDO_PASSES, *UNDO_LAST, "undone"),
    *("changes", "extent", *COMPARE_PASSES, *AGAIN_PASSES, *SUGGEST_PASSES, *NAME_PASSES, "planned again"),
    *(*APPLY_PASSES, "done again"),
)
MILESTONES = dict.fromkeys(("imported", "verified", "undone", "done again"), "done") | {"planned again": "planned"}


@dataclass(frozen=True, slots=True)
class Step:
    """One activity of the undisturbed way: how it is called, with how many storage calls, and the file around it."""

    name: str
    message: Any
    calls: int
    before: Path
    after: Path


def copy(source: Path, target: Path) -> Path:
    """Copy a database as it stands now, while it is open."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        new.execute("PRAGMA synchronous = OFF")
        old.backup(new)
    return target


async def prepare(directory: Directory) -> tuple[Job, Job]:
    """Put accounts in, stage a file to import, and record the import and a run."""
    for name, status in (("kept", Status.LOCAL), ("managed", Status.PROVISIONED)):
        document = {"userName": f"{name}@contoso.com", "title": "Old", "externalId": object_id(5)}
        if status is Status.LOCAL:
            del document["externalId"]
        account = Account.new(directory.keys.new_id(document["userName"]), document, status, directory.accounts.now())
        await directory.accounts.create(account, by="test")
    jobs = directory.jobs
    job = await jobs.start("import", "test", jobs.new_id("import"), {})
    writer = directory.stage(job.id).writer()
    for row in read_accounts(FILE):
        assert isinstance(row, AccountRow)
        row = replace(row, protected=row.user_name == "protected")
        await writer.add(directory.keys.bucket(directory.keys.digest(Key("userName", row.user_name))), row.to_json())
    await writer.close()
    return job, await begin_run(directory, IDENTITIES, POLICY)


async def approved(directory: Directory, run: Job) -> None:
    """Say of a run that it was approved, as the service does."""
    await directory.jobs.change(run.id, lambda job: replace(job, approved=job.started))


async def provision(directory: Directory) -> None:
    """Confirm one link, and make an account for somebody whom the plan left open, as provisioning might."""
    (linked,) = await directory.accounts.list_by(Key("identity", object_id(2)))
    await directory.accounts.replace(linked, confirmed(linked, directory.accounts.now()), by="entra", action="confirm")
    document = {"userName": "three@contoso.com", "externalId": object_id(3)}
    made = Account.new(
        directory.keys.new_id(document["userName"]), document, Status.PROVISIONED, directory.accounts.now()
    )
    await directory.accounts.create(made, by="entra")


async def allow_again(directory: Directory) -> None:
    """Let a run link the pairs that an undo took apart, as if it had not: it would leave them to a person."""
    for account in await all_accounts(directory):
        await directory.accounts.replace(account, replace(account, parted=()), by="test", action="edit")


def decide_on_changes_and_reserve(patch: pytest.MonkeyPatch) -> None:
    """Let a later run decide only on what changed, and links be reserved, though these are few people."""
    patch.setattr("link_orchestrator.passes.compare.MOST_SHARE", 10.0)
    patch.setattr("link_orchestrator.passes.apply.WORTH_RESERVING", 1)


@pytest.fixture(autouse=True)
def as_among_many_people(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_on_changes_and_reserve(monkeypatch)


async def undisturbed(folder: Path) -> list[Step]:
    """Import, link, verify, undo, and link what changed, without a crash; return every activity on the way."""
    steps: list[Step] = []
    path = folder / "all.db"
    tables = SqliteTables.open(path)

    async def call(name: str, message: Any) -> Any:
        before = copy(path, folder / f"{len(steps)}-before.db")
        counting = FaultyTables(tables)
        answer = await activity_calls(Directories(counting))(name, message)
        after = copy(path, folder / f"{len(steps)}-after.db")
        steps.append(Step(name, message, counting.requests, before, after))
        return answer

    directory = await make_directory(tables, "small", 2)
    importing, run = await prepare(directory)
    assert await Engine(call).play(import_accounts, start_of(directory, importing)) == "done"
    assert await Engine(call).play(link_accounts, start_of(directory, run)) == "done"
    await approved(directory, run)
    for kind, orchestrator, found in (
        ("verification", verify_links, {"unconfirmed": 2, "predicted.matched": 2, "confirmed": 1, "created": 1}),
        ("undo", undo_links, {"undone": 3}),
    ):
        if kind == "verification":
            await provision(directory)
        after = await directory.jobs.start(kind, "test", directory.jobs.new_id(kind), {"run": run.id})
        assert await Engine(call).play(orchestrator, start_of(directory, after)) == "done"
        assert Counter(await directory.jobs.total(after.id)) == Counter(found)
    total = await Jobs(tables, directory.keys).total(run.id)
    assert total.items() >= {"link": 3, "review": 1, "protected": 1, "alreadyLinked": 1, "linked": 3}.items()
    await allow_again(directory)
    again = await begin_run(directory, (*IDENTITIES[2:], CHANGED), POLICY, full=False)
    assert await Engine(call).play(link_accounts, start_of(directory, again)) == "done"
    total = await Jobs(tables, directory.keys).total(again.id)
    # Three accounts that the undo gave back and one that provisioning made; one identity changed and one went.
    assert total.items() >= {"changed.accounts": 4, "changed.identities": 2, "link": 2, "linked": 2}.items()
    assert "protected" not in total
    await tables.close()
    return steps


MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
AUDIT = re.compile(rb"(?<=_n[0-9]{10})(?:m[0-9a-f]{16})?[0-9a-f]{8}$")


def stored(path: Path) -> list[str]:
    """Return every row of the file without what differs from run to run: etags, moments, ends of the history's keys.

    What is staged is left out: an attempt that was cut off leaves its own, which readers bear.
    """
    found = [row for row in stored_rows(path, "scimlink") if b"_s_" not in row[0]]
    return sorted(MOMENT.sub("T", f"{place!r} {AUDIT.sub(rb'', key)!r} {columns}") for place, key, columns in found)


async def told(path: Path) -> list[Any]:
    """Return what the directory and its jobs tell of a file, without the ids that an import makes up."""
    shown: list[Any] = await in_file(path, check_accounts)
    return shown


async def check_accounts(tables: SqliteTables) -> list[Any]:
    found = await check_invariants(tables, "small")
    directory = await Directories(tables).open("small")
    shown = []
    for account in found:
        history = [change.action for change in await directory.accounts.history(account.id)]
        document = {name: value for name, value in account.document().items() if name != "id"}
        shown.append((account.user_name, document, account.status, account.protected, account.evidence, history))
    jobs = Jobs(tables, directory.keys)
    for job in await jobs.list_all():
        counts = Counter(await jobs.total(job.id))
        # A row that the lost attempt brought up to date is found unchanged by the next.
        counts["unchanged"] += counts.pop("updated", 0)
        rows = sorted((row.decision, row.subject, row.outcome) for row in await plan_rows(directory, job.id))
        shown.append((job.id, job.state, +counts, rows))  # type: ignore[arg-type]  # one list is enough
        shown.append((job.id, await seen_by(directory, job)))  # type: ignore[arg-type]
    return sorted(shown, key=repr)


async def seen_by(directory: Directory, job: Job) -> dict[str, Any]:
    """Return what a run keeps for the next one, by fingerprint and by name: an import makes up ids."""
    seen = directory.seen([*job.options.get("since", ()), job.id])
    known: dict[str, Any] = {}
    for bucket in range(directory.keys.buckets):
        known |= await seen.identities(bucket)
        accounts = await seen.accounts(bucket)
        near = await seen.near(bucket, accounts.keys())
        for account_id, digest in accounts.items():
            account = await directory.accounts.find(account_id)
            known[account.user_name if account else "gone"] = digest, sorted(near.get(account_id, {}).items())
    return dict(sorted(known.items()))


async def until_done(step: Step, tables: Tables) -> int:
    """Call an activity as its host does: again after each failure. Returns how many there were."""
    failures = 0
    while True:
        try:
            await activity_calls(Directories(tables))(step.name, step.message)
        except TablesError:
            failures += 1
        else:
            return failures


async def in_file(path: Path, work: Any) -> Any:
    tables = SqliteTables.open(path)
    try:
        return await work(tables)
    finally:
        await tables.close()


def deaths(calls: int) -> Iterator[tuple[int, Fault]]:
    return ((number, fault) for number in range(1, calls + 1) for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER))


@pytest.mark.parametrize("number", range(len(ACTIVITIES)), ids=ACTIVITIES)
async def test_an_activity_that_dies_at_any_storage_operation_ends_the_same_when_run_again(
    tmp_path: Path, steps: list[Step], number: int
) -> None:
    assert [step.message.get("stage", step.message.get("phase", "extent")) for step in steps] == [
        MILESTONES.get(name, name) for name in ACTIVITIES
    ]
    step = steps[number]
    assert step.calls > 2
    rows, everything = stored(step.after), await told(step.after)
    for place, fault in deaths(step.calls):
        path = copy(step.before, tmp_path / "again.db")

        async def die(tables: SqliteTables, place: int = place, fault: Fault = fault) -> None:
            dying = FaultyTables(tables, script({place: fault}))
            await activity_calls(Directories(dying))(step.name, step.message)

        async def run(tables: SqliteTables) -> list[Any]:
            await activity_calls(Directories(tables))(step.name, step.message)
            return await check_accounts(tables)

        with pytest.raises(Crash):
            await in_file(path, die)
        assert await in_file(path, run) == everything, (place, fault)
        # An import makes up new ids; what an undo that was cut off left of claims and pointers is swept.
        if step.message.get("stage") not in ("import", "undo"):
            assert stored(path) == rows, (place, fault)
        path.unlink()


@pytest.mark.parametrize("number", range(len(ACTIVITIES)), ids=ACTIVITIES)
async def test_an_activity_that_runs_twice_at_once_ends_the_same(
    tmp_path: Path, steps: list[Step], number: int
) -> None:
    """Durable Functions promises once at least; a twin may begin at any storage operation of the first."""
    step = steps[number]
    everything = await told(step.after)
    for lead in range(step.calls):
        path = copy(step.before, tmp_path / "again.db")

        async def run(tables: SqliteTables, lead: int = lead) -> list[Any]:
            first, far_enough = FaultyTables(tables), asyncio.Event()

            async def look(_: Call) -> None:
                if first.requests > lead:
                    far_enough.set()

            async def twin() -> None:
                await asyncio.wait_for(far_enough.wait(), PATIENCE)
                await until_done(step, tables)

            first.before = look
            await asyncio.gather(until_done(step, first), twin())
            return await check_accounts(tables)

        assert await in_file(path, run) == everything, lead
        path.unlink()


@pytest.mark.parametrize("seed", range(12))
async def test_storage_that_fails_now_and_then_changes_nothing_of_the_outcome(
    tmp_path: Path, steps: list[Step], seed: int
) -> None:
    """Lost answers, refusals and short pages; the host calls an activity again that ends with one."""
    failures = 0
    for first, last in ("import", "done"), ("look", "verified"), ("undo", "undone"), ("changes", "done again"):
        job = steps[ACTIVITIES.index(first) : ACTIVITIES.index(last) + 1]
        path = copy(job[0].before, tmp_path / "again.db")

        async def run(tables: SqliteTables, job: Sequence[Step] = job) -> int:
            faulty = FaultyTables(tables, random_faults(seed, 0.08), latency=0)
            return sum([await until_done(step, faulty) for step in job])

        failures += await in_file(path, run)
        assert await told(path) == await told(job[-1].after)
        path.unlink()
    assert failures


async def test_a_milestone_that_is_reached_twice_takes_no_approval_back(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    job = await begin_run(directory, IDENTITIES, POLICY)
    jobs, call = Jobs(sqlite_tables, directory.keys), activity_calls(Directories(sqlite_tables))
    planned = Milestone(job=job.id, directory="main", state="planned", expires="2026-01-03T00:00:00Z").to_json()
    await call("reach_milestone", planned)
    await jobs.change(job.id, lambda job: replace(job, state=State.APPROVED, approved="now", approved_by="somebody"))
    before = await jobs.get(job.id)
    await call("reach_milestone", planned)
    assert await jobs.get(job.id) == before


KILLED = ((2, 1), (0, 100))
"""Workers of the servers that are killed in the midst of a job, and after how many new rows of its."""


@pytest.mark.parametrize("late", ["planned", "done", "cancelled"])
async def test_a_milestone_that_comes_late_changes_no_run_that_has_ended(
    sqlite_tables: SqliteTables, late: str
) -> None:
    directory = await make_directory(sqlite_tables)
    job = await begin_run(directory, IDENTITIES, POLICY)
    call = activity_calls(Directories(sqlite_tables))
    await call("reach_milestone", Milestone(job=job.id, directory="main", state="planned", expires="now").to_json())
    await call("reach_milestone", Milestone(job=job.id, directory="main", state="failed", reason="it died").to_json())
    before = await directory.jobs.get(job.id)
    await call("reach_milestone", Milestone(job=job.id, directory="main", state=late).to_json())
    assert await directory.jobs.get(job.id) == before
    assert (before.state, before.reason) == (State.FAILED, "it died")


class Killed:
    """Servers one after the other over one folder; each is killed with SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self._arguments = ("--data", str(folder), "--token", TOKEN)
        self._file = folder / "scimlink.db"
        self.kills: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def api(self, workers: int = 0) -> Any:
        """Serve; kill the server at the end of the block."""
        async with served(*self._arguments, "--workers", str(workers)) as server, connected(server.url) as session:
            yield Api(session)

    async def see_through(self, path: str, phase: str) -> Any:
        """Return a job once it is in a phase, killing servers in the midst of it."""
        for workers, rows in KILLED:
            before = count_rows(self._file)
            async with self.api(workers) as api:

                async def got_on(api: Api = api, before: int = before, rows: int = rows) -> Any:
                    wrote, job = abs(count_rows(self._file) - before), await api.call("GET", path)
                    return job if wrote >= rows or job["phase"] == phase or "ended" in job else None

                job = await until(got_on)
                if job["phase"] == phase or "ended" in job:
                    return job
                self.kills[phase] += 1
        async with self.api() as api:
            return await api.wait(path, phase)


async def test_a_process_that_is_killed_loses_nothing_and_links_nobody_twice(tmp_path: Path) -> None:
    write(generate(2_000, 2_200), tmp_path)
    accounts, identities = (tmp_path / "accounts.csv").read_bytes(), (tmp_path / "identities.json").read_bytes()
    killed = Killed(tmp_path / "data")
    async with killed.api() as api:
        request = asyncio.create_task(api.call("POST", "accounts/import", accounts, "text/csv"))
        file = tmp_path / "data" / "scimlink.db"
        await until(lambda: request.done() or count_rows(file, "_s_"))  # the upload is being read
    with contextlib.suppress(aiohttp.ClientError, OSError):
        await request
    async with killed.api() as api:
        job = await started(api, accounts)
    done = await killed.see_through(f"accounts/imports/{job}", "done")
    assert (done["phase"], done["counts"]) == ("done", {"created": 2_000, "refused": 0})
    async with killed.api() as api:
        policy = {"verifiedDomains": ["contoso.com", "fabrikam.com"]}
        await api.call("PUT", "directory/policy", policy)
        upload = await api.call("POST", "linking/identities", identities)
        run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
    path = f"linking/runs/{run['id']}"
    planned = await killed.see_through(path, "planned")
    links = planned["counts"]["link"]
    async with killed.api() as api:
        await api.call("POST", path + "/approve", {"links": links, "acknowledged": SEEN})
    done = await killed.see_through(path, "done")
    assert (done["phase"], done["counts"]["linked"], done["counts"].get("refused", 0)) == ("done", links, 0)
    assert all(killed.kills[phase] for phase in ("done", "planned")), killed.kills
    await in_file(tmp_path / "data" / "scimlink.db", lambda tables: check_links(tables, links))
    killed.kills.clear()
    async with killed.api() as api:
        undo = await api.call("POST", path + "/undo")
    done = await killed.see_through(f"linking/undos/{undo['id']}", "done")
    assert (done["phase"], done["counts"]) == ("done", {"undone": links})
    assert killed.kills["done"]
    await in_file(tmp_path / "data" / "scimlink.db", check_invariants_of_main)
    await in_file(tmp_path / "data" / "scimlink.db", lambda tables: check_links(tables, 0))


async def check_invariants_of_main(tables: SqliteTables) -> None:
    await check_invariants(tables, "main")


async def started(api: Api, accounts: bytes) -> str:
    """Import a file, or return the import that the killed process left behind."""
    try:
        return str((await api.call("POST", "accounts/import", accounts, "text/csv"))["id"])
    except Refusal as refusal:
        if refusal.status != 409:
            raise
        return refusal.detail.split()[0]


async def check_links(tables: SqliteTables, links: int) -> None:
    """Assert that 2,000 accounts are there and so many of them are linked, once."""
    directory = await Directories(tables).open("main")
    found = [a for bucket in range(directory.keys.buckets) async for a in directory.listing.scan(bucket)]
    assert len(found) == len({account.user_name for account in found}) == 2_000
    assert await directory.listing.total() == 2_000
    linked = [account for account in found if account.link]
    assert len(linked) == len({account.link.identity for account in linked if account.link}) == links
    for account in linked[:200]:
        changes = await directory.accounts.history(account.id)
        assert [change.action for change in changes] == ["create", "link"]
