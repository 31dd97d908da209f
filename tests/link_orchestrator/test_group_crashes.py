"""Death at any moment while groups are imported, planned and linked: every storage operation, and a killed process."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Call, Crash, FaultyTables, random_faults, script
from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.orchestrator import GROUP_APPLY_PASSES, GROUP_PLAN_PASSES, import_groups, link_accounts
from link_orchestrator.passes import import_groups as import_groups_pass
from link_orchestrator.staged import EntraGroupWriter, entra_groups
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.members import Member
from shared.directory.records.model import Account, Group, Status
from shared.directory.work.differences import Differences
from shared.directory.work.jobs import Job, Jobs
from shared.directory.work.plan import Plan
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    SEEN,
    Engine,
    activity_calls,
    begin_run,
    csv_file,
    holder,
    make_directory,
    object_id,
    start_of,
)
from tests.link_orchestrator.test_groups import IDENTITIES, PEOPLE
from tests.link_orchestrator.test_kill import Killed, Step, copy, deaths, in_file, stored, until_done
from tests.scim_groups.test_linking_at_once import join
from tests.waiting import PATIENCE

FILE = (
    b"group,userName,groupExternalId\nSales,ada@contoso.com,\nsales,bob@contoso.com,\nEmpty,,\nSales,nobody,\n"
    b"Kept,ada@contoso.com,k\nKept,bob@contoso.com,k\nManaged,ada@contoso.com,\nSame,ada@contoso.com,\nHalf,bob@contoso.com,\n"
)
ENTRA = (
    EntraGroup(object_id(901), "SALES", (object_id(2), object_id(3))),
    EntraGroup(object_id(902), "Kept", (object_id(1), object_id(2), object_id(77))),
    EntraGroup(object_id(903), "Nobody's", (object_id(1),)),
    EntraGroup(object_id(904), "Managed", ()),
)
STEPS = ("import_groups", *GROUP_PLAN_PASSES, *GROUP_APPLY_PASSES)


async def prepare(directory: Directory) -> tuple[Job, Job]:
    """Put accounts and groups in, stage a file to import and Entra's groups, and record the import and a run."""
    for name in PEOPLE:
        document = {"userName": f"{name}@contoso.com"}
        account = Account.new(
            directory.keys.new_id(document["userName"]), document, Status.LOCAL, directory.accounts.now()
        )
        await directory.accounts.create(account, by="test")
    local = [(name, Status.LOCAL) for name in ("Kept", "Same", "Half")]
    for name, status in (*local, ("Managed", Status.PROVISIONED)):
        group = Group.new(directory.groups.keys.new_id(name), {"displayName": name}, status, directory.groups.now())
        await directory.groups.create(group, by="test")
    ada = await holder(directory.accounts, Key("userName", "ada@contoso.com"))
    same = await holder(directory.groups, Key("displayName", "Same"))
    assert ada
    assert same
    await directory.members.add(same.id, [Member(ada.id)])
    jobs, keys = directory.jobs, directory.groups.keys
    job = await jobs.start("groupimport", "test", jobs.new_id("groupimport"), {})
    writer = directory.stage(job.id).writer()
    for row in read_groups(FILE):
        assert isinstance(row, GroupRow)
        await writer.add(keys.bucket(keys.digest(Key("displayName", row.display_name))), row.to_json())
    await writer.close()
    upload = jobs.new_id("entragroups")
    await directory.stages.announce(upload, entra_groups(upload), days=30)
    groups = EntraGroupWriter(directory, upload)
    for entra in ENTRA:
        await groups.add(entra)
    await groups.close()
    identities = [Identity(item["id"], item["userPrincipalName"]) for item in IDENTITIES]
    run = await begin_run(directory, identities, Policy(verified_domains=frozenset({"contoso.com"})))
    options = {**run.options, "groups": upload, "groupsApproved": 2}
    return job, await jobs.change(run.id, lambda job: replace(job, options=options))


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """Every activity that concerns groups on the way without a crash, gone once: tests work on copies of its files."""
    return asyncio.run(undisturbed(tmp_path_factory.mktemp("undisturbed")))


async def undisturbed(folder: Path) -> dict[str, Step]:
    """Import and link without a crash; return every activity that concerns groups, by its pass."""
    steps: dict[str, Step] = {}
    path = folder / "all.db"
    tables = SqliteTables.open(path)

    async def call(name: str, message: Any) -> Any:
        passed = message.get("stage", "")
        before = copy(path, folder / f"{passed}-before.db")
        counting = FaultyTables(tables)
        answer = await activity_calls(Directories(counting))(name, message)
        if passed in STEPS:
            steps[passed] = Step(name, message, counting.requests, before, copy(path, folder / f"{passed}-after.db"))
        return answer

    directory = await make_directory(tables, "small", 2)
    importing, run = await prepare(directory)
    start = start_of(directory, run).model_copy(update={"groups": True})
    assert await Engine(call).play(import_groups, start_of(directory, importing)) == "done"
    assert await Engine(call).play(link_accounts, start) == "done"
    jobs = Jobs(tables, directory.keys)
    total = await jobs.total(importing.id)
    counts = {name: count for name, count in total.items() if "." not in name}
    assert counts == {"created": 2, "updated": 2, "unchanged": 1, "members": 6, "refused": 2}
    total = await jobs.total(run.id)
    assert total.items() >= {"link": 4, "groupLink": 2, "groupConflict": 1, "noGroup": 1, "localGroup": 3}.items()
    assert total["groupsLinked"] == 2
    await tables.close()
    return steps


async def told(path: Path) -> list[Any]:
    """Return what the directory and its jobs tell of a file, without the ids that an import makes up."""
    shown: list[Any] = await in_file(path, check)
    return shown


async def check(tables: SqliteTables) -> list[Any]:
    directory = await Directories(tables).open("small")
    accounts = [a for bucket in range(2) async for a in directory.listing.scan(bucket)]
    names = {account.id: account.user_name for account in accounts}
    groups = [g for bucket in range(2) async for g in directory.group_listing.scan(bucket)]
    assert (
        len({group.display_name.casefold() for group in groups}) == len(groups) == await directory.group_listing.total()
    )
    shown: list[Any] = []
    for group in groups:
        assert await holder(directory.groups, group.name) == group
        members = [member.id async for page in directory.members.scan(group.id) for member in page]
        pairs = await directory.members.indexed(members) if members else []
        assert {member for member, held in pairs if held == group.id} == set(members)
        # An attempt that was cut off leaves its mark behind: the version is newer than any member.
        actions = {change.action for change in await directory.groups.history(group.id)}
        shown.append((group.display_name, group.status, group.external_id, sorted(map(names.get, members)), actions))  # type: ignore[type-var]
        names[group.id] = group.display_name
    jobs = Jobs(tables, directory.keys)
    for job in await jobs.list_all():
        rows, _ = await Plan(tables, directory.keys, job.id).page("", "", 1_000)
        for row in rows:
            members = row.shown.get("members")
            counts = members and [members[name] for name in ("both", "onlyHere", "onlyThere")]
            listed = await Differences(tables, directory.keys, job.id, row.subject).page("", 1_000)
            differing = sorted((item.only, names.get(item.member), item.identity) for item in listed[0])
            subject = names.get(row.subject, row.subject)
            shown.append((row.decision, subject, row.outcome, counts, differing))
        total = Counter(await jobs.total(job.id))
        # What a twin brought up to date is found unchanged.
        total["unchanged"] += total.pop("updated", 0)
        total = Counter({name: count for name, count in total.items() if not name.startswith("changes.")})
        shown.append((job.kind, job.state, sorted(total.items())))
    return sorted(shown, key=repr)


@pytest.mark.parametrize("name", STEPS)
async def test_an_activity_that_dies_at_any_storage_operation_ends_the_same_when_run_again(
    tmp_path: Path, steps: dict[str, Step], name: str
) -> None:
    step = steps[name]
    assert step.calls > 2
    rows, everything = stored(step.after), await told(step.after)
    for place, fault in deaths(step.calls):
        path = copy(step.before, tmp_path / "again.db")

        async def die(tables: SqliteTables, place: int = place, fault: Any = fault) -> None:
            dying = FaultyTables(tables, script({place: fault}))
            await activity_calls(Directories(dying))(step.name, step.message)

        async def run(tables: SqliteTables) -> list[Any]:
            await activity_calls(Directories(tables))(step.name, step.message)
            return await check(tables)

        with pytest.raises(Crash):
            await in_file(path, die)
        assert await in_file(path, run) == everything, (place, fault)
        if name in GROUP_PLAN_PASSES:
            assert stored(path) == rows, (place, fault)
        path.unlink()


@pytest.mark.parametrize("name", STEPS)
async def test_an_activity_that_runs_twice_at_once_ends_the_same(
    tmp_path: Path, steps: dict[str, Step], name: str
) -> None:
    step = steps[name]
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
            return await check(tables)

        assert await in_file(path, run) == everything, lead
        path.unlink()


@pytest.mark.parametrize("seed", range(6))
async def test_storage_that_fails_now_and_then_changes_nothing_of_the_outcome(
    tmp_path: Path, steps: dict[str, Step], seed: int
) -> None:
    for name in STEPS:
        path = copy(steps[name].before, tmp_path / "again.db")

        async def run(tables: SqliteTables, name: str = name) -> None:
            await until_done(steps[name], FaultyTables(tables, random_faults(seed, 0.05), latency=0))

        await in_file(path, run)
        assert await told(path) == await told(steps[name].after), name
        path.unlink()


async def test_a_group_whose_import_was_cut_off_gets_its_new_version_all_the_same(
    tmp_path: Path, steps: dict[str, Step]
) -> None:
    """Who read it before must not be told later that nothing changed since."""
    step = steps["import_groups"]
    for place, fault in deaths(step.calls):
        path = copy(step.before, tmp_path / "again.db")
        seen: dict[str, tuple[str, list[str]]] = {}

        async def look(tables: SqliteTables, seen: dict[str, tuple[str, list[str]]] = seen) -> None:
            directory = await Directories(tables).open("small")
            for bucket in range(2):
                async for found in directory.group_listing.scan(bucket):
                    (group,) = await directory.groups.with_heads([found])
                    members = [member.id for member in await directory.members.first(group.id, 10)]
                    version, before = seen.get(group.id, ("", members))
                    assert version != group.version or members == before, group.display_name
                    seen[group.id] = (group.version, members)

        async def die(tables: SqliteTables, place: int = place, fault: Any = fault) -> None:
            dying = FaultyTables(tables, script({place: fault}))
            await activity_calls(Directories(dying))(step.name, step.message)

        async def run(tables: SqliteTables) -> None:
            await activity_calls(Directories(tables))(step.name, step.message)

        await in_file(path, look)
        with pytest.raises(Crash):
            await in_file(path, die)
        await in_file(path, look)
        await in_file(path, run)
        await in_file(path, look)
        path.unlink()


@pytest.mark.parametrize("change", ["rename", "join", "delete", "linked to another"])
async def test_who_changes_a_group_while_it_is_linked_loses_nothing(
    tmp_path: Path, steps: dict[str, Step], change: str
) -> None:
    step = steps["apply_groups"]

    async def run(tables: SqliteTables) -> None:
        directory = await Directories(tables).open("small")
        groups = directory.groups
        sales = await holder(groups, Key("displayName", "Sales"))
        assert sales
        watched = FaultyTables(tables)

        async def be_faster(call: Call) -> None:
            if call.verb != "commit" or sales.key not in call.keys:
                return
            watched.before = None
            match change:
                case "rename":
                    renamed = sales.with_document(sales.document() | {"displayName": "Renamed"})
                    await groups.replace(sales, renamed, by="other")
                case "join":
                    assert await join(directory, sales, sales.id, by="other")
                case "delete":
                    await groups.delete(sales, by="other")
                case _:
                    stamped = sales.with_document(sales.document() | {"externalId": "other"})
                    await groups.replace(sales, replace(stamped, status=Status.CLAIMED), by="other")

        watched.before = be_faster
        done = await activity_calls(Directories(watched))(step.name, step.message)
        why = "deleted" if change == "delete" else "changed"
        assert done["counts"] == {"groupsLinked": 1, "groupsRefused": 1, f"groupsRefusedBy.{why}": 1}
        assert (await groups.history(sales.id))[-1].by == "other"
        left = await groups.find(sales.id)
        assert (left is None) is (change == "delete")
        assert left is None or left.external_id in (None, "other")

    await in_file(copy(step.before, tmp_path / "own.db"), run)


@pytest.mark.parametrize(("name", "place"), [("import_groups", "_m_"), ("apply_groups", "_g_")])
async def test_a_job_that_is_cancelled_stops_and_counts_what_it_did(
    tmp_path: Path, steps: dict[str, Step], monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    monkeypatch.setattr(import_groups_pass, "NAMES_AT_ONCE", 1)
    step = steps[name]

    async def run(tables: SqliteTables) -> Any:
        watched = FaultyTables(tables)
        jobs = (await Directories(tables).open("small")).jobs

        async def cancel(call: Call) -> None:
            if call.verb == "commit" and place in call.partition:
                await jobs.change(step.message["job"], lambda job: replace(job, cancelled_by="test"))

        watched.after = cancel
        done = await activity_calls(Directories(watched))(step.name, step.message)
        assert done["counts"] == {name: n for name, n in (await jobs.total(step.message["job"], name)).items() if n}
        return done

    done = await in_file(copy(step.before, tmp_path / "own.db"), run)
    assert done["stopped"]
    whole = {"import_groups": ("created", "updated", "unchanged"), "apply_groups": ("groupsLinked",)}[name]
    assert 0 < sum(done["counts"].get(count, 0) for count in whole) < {"import_groups": 5, "apply_groups": 2}[name]


async def test_a_process_that_is_killed_loses_no_group_and_no_member(tmp_path: Path) -> None:
    people = [f"person{number}@contoso.com" for number in range(300)]
    rows = [{"group": f"Group {g}", "userName": people[(7 * g + m) % 300]} for g in range(120) for m in range(25)]
    identities = [{"id": object_id(n), "userPrincipalName": name, "mail": name} for n, name in enumerate(people)]
    groups = [
        {
            "id": object_id(9_000 + g),
            "displayName": f"GROUP {g}",
            "members": [object_id((7 * g + m) % 300) for m in range(24)],
        }
        for g in range(120)
    ]
    killed = Killed(tmp_path / "data")
    async with killed.api() as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        await api.bring(csv_file(*({"userName": name} for name in people)))
        job = await api.call("POST", "groups/import", csv_file(*rows), "text/csv")
    done = await killed.see_through(f"groups/imports/{job['id']}", "done")
    assert done["counts"] == {"created": 120, "members": 3_000, "refused": 0}
    async with killed.api() as api:
        uploads = [
            await api.call("POST", path, {"value": v})
            for path, v in (("linking/identities", identities), ("linking/groups", groups))
        ]
        run = await api.call("POST", "linking/runs", {"identities": uploads[0]["id"], "groups": uploads[1]["id"]})
    path = f"linking/runs/{run['id']}"
    planned = await killed.see_through(path, "planned")
    assert planned["counts"] == {"link": 300, "noIdentity": 0, "groupLink": 120}
    async with killed.api() as api:
        await api.call("POST", path + "/approve", {"links": 300, "groups": 120, "acknowledged": SEEN})
    done = await killed.see_through(path, "done")
    assert done["counts"] == {**planned["counts"], "linked": 300, "groupsLinked": 120}
    assert all(killed.kills[phase] for phase in ("done", "planned")), killed.kills
    async with killed.api() as api:
        rows = await api.decisions(run, "groupLink")
        assert {(row["members"]["both"], row["members"]["onlyHere"], row["members"]["onlyThere"]) for row in rows} == {
            (24, 1, 0)
        }
        page = await api.call("GET", "scim/v2/Groups", count="200", excludedAttributes="members")
        assert {g["externalId"] for g in page["Resources"]} == {group["id"] for group in groups}
