"""The main job over HTTP, as an administrator does it, and every way in which it can be asked for wrongly."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import function_app
from infra.local.faults import Call, Crash, FaultyTables
from link_orchestrator import activities
from link_orchestrator.kinds import KINDS, Kind
from link_orchestrator.requests import imports, sent_file
from link_orchestrator.staged import IDS, IMPORTED
from shared.directory.directory import Directories
from shared.directory.keys import Key
from shared.directory.work.jobs import Jobs, State
from shared.directory.work.seen import stages_of
from shared.directory.work.stages import STAGE, Stages
from shared.host.settings import Settings
from shared.scim.endpoint import Request
from tests.link_orchestrator.running import (
    TOKEN,
    App,
    Refusal,
    csv_file,
    graph,
    object_id,
    rows_of,
    serving,
    staged_in,
)
from tests.openapi import document
from tests.waiting import until

JANE = {"userName": "jane@contoso.com", "email": "jane@contoso.com", "title": "Engineer"}
JOHN = {"userName": "john", "email": "john@contoso.com", "emailVerified": "true"}
NOBODY = {"userName": "nobody.contractor"}
REVIEWED = {"userName": "rita", "email": "rita.alias@contoso.com"}
ACCOUNTS = csv_file(JANE | JOHN, JANE, NOBODY | {"title": ""}, REVIEWED)
IDENTITIES = (
    graph(1, "Jane@contoso.com"),
    graph(2, "john@contoso.com"),
    graph(3, "rita@contoso.com", proxyAddresses=["smtp:rita.alias@contoso.com"]),
    graph(4, "new@contoso.com"),
)


class Gate:
    """Holds the app's storage calls on partitions that hold a text, until it is opened."""

    def __init__(self) -> None:
        self.partition = ""
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    def close(self, partition: str) -> None:
        """Hold the calls to come."""
        self.partition = partition
        self.reached.clear()
        self.opened.clear()

    async def __call__(self, call: Call) -> None:
        if self.partition and self.partition in call.partition:
            self.reached.set()
            await self.opened.wait()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held(tmp_path: Path, gate: Gate) -> AsyncIterator[App]:
    """The app with a gate before its storage."""

    def wrap(tables: Any) -> FaultyTables:
        gated = FaultyTables(tables)
        gated.before = gate
        return gated

    async with serving(tmp_path, wrap) as running:
        yield running
        gate.opened.set()


async def status_of(call: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.status, refusal.value.detail


async def test_the_whole_way(app: App) -> None:
    imported = await app.bring(ACCOUNTS)
    assert imported["counts"] == {"created": 4, "refused": 0}
    run = await app.plan(*IDENTITIES)
    assert run["phase"] == "planned"
    assert {run["planned"] < run["expires"], "approved" in run} == {True, False}
    assert run["counts"] == {"link": 2, "review": 1, "noAccount": 1, "noIdentity": 1}
    assert (await app.account("jane@contoso.com"))["link"] is None, "a plan changes nothing"
    done = await app.apply(run, links=2)
    assert (done["phase"], done["approvedBy"]) == ("done", "local")
    assert done["counts"] == {**run["counts"], "linked": 2}
    rows = await app.decisions(run)
    assert Counter(row["decision"] for row in rows) == run["counts"]
    assert {row.get("outcome") for row in rows if row["decision"] == "link"} == {"linked"}
    assert {row.get("outcome") for row in rows if row["decision"] != "link"} == {None}
    assert all(row["reason"] for row in rows)
    jane, john = await app.account("jane@contoso.com"), await app.account("john")
    assert jane["status"] == john["status"] == "claimed"
    assert (jane["link"]["identity"], jane["link"]["rule"]) == (object_id(1), "userName")
    assert (john["link"]["identity"], john["link"]["rule"]) == (object_id(2), "verifiedEmail")
    assert jane["link"]["by"] == f"run:{run['id']}"
    assert [change["action"] for change in jane["history"]] == ["create", "link"]
    assert jane["document"]["externalId"] == object_id(1)
    assert jane["document"]["emails"] == [{"value": "jane@contoso.com", "type": "work", "primary": True}]
    nobody = await app.account("nobody.contractor")
    assert (nobody["status"], len(nobody["history"])) == ("local", 1)


async def test_of_an_identity_that_comes_twice_with_different_values_neither_row_is_used(app: App) -> None:
    await app.bring(csv_file({"userName": "first@contoso.com"}, {"userName": "third@contoso.com"}))
    third = graph(3, "third@contoso.com")
    upload = await app.call(
        "POST",
        "linking/identities",
        {"value": [graph(1, "first@contoso.com"), graph(1, "second@contoso.com"), third, third]},
    )
    assert upload["counts"] == {"read": 2, "problems": 2, "repeated": 1}
    found = (await app.call("GET", f"linking/identities/{upload['id']}/problems"))["problems"]
    assert sum("with other values: none of them is used" in problem["reason"] for problem in found) == 2
    run = await app.call("POST", "linking/runs", {"identities": upload["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 1, "noIdentity": 1}


async def test_an_account_that_gave_up_an_address_is_no_match(app: App) -> None:
    """Its pointer is there, as a change that died before it removed it leaves it."""
    await app.bring(csv_file({"userName": "jane@contoso.com"}, {"userName": "other", "email": "new@contoso.com"}))
    directory = await Directories(app.tables).open("main")
    other = (await app.account("other"))["id"]
    await directory.accounts.claims.point(Key("email", "jane@contoso.com"), other)
    run = await app.plan(graph(1, "jane@contoso.com"))
    assert run["counts"] == {"link": 1, "noIdentity": 1}


async def test_a_second_run_over_everything_finds_the_links_of_the_first(app: App) -> None:
    await app.bring(ACCOUNTS)
    await app.apply(await app.plan(*IDENTITIES))
    again = await app.plan(*IDENTITIES, full=True)
    assert again["counts"] == {"alreadyLinked": 2, "review": 1, "noAccount": 1, "noIdentity": 1}
    assert (await app.apply(again, links=0))["counts"] == again["counts"]
    runs = (await app.call("GET", "linking/runs"))["runs"]
    assert [run["phase"] for run in runs] == ["done", "done"]


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_paging_by_cursor_loses_nothing(app: App, count: int) -> None:
    people = [f"person{number}@contoso.com" for number in range(20)]
    await app.bring(csv_file(*({"userName": name} for name in people)))
    run = await app.plan(*(graph(number, name) for number, name in enumerate(people)), graph(99, "new@contoso.com"))
    for decision, expected in (("", 21), ("link", 20), ("noAccount", 1), ("review", 0)):
        paged = await app.decisions(run, decision, count)
        assert len(paged) == expected
        assert paged == await app.decisions(run, decision)


async def test_of_two_runs_at_once_the_second_is_told_of_the_first(app: App) -> None:
    upload = await app.upload(*IDENTITIES)
    answers = await asyncio.gather(
        *(app.call("POST", "linking/runs", {"identities": upload}) for _ in range(4)), return_exceptions=True
    )
    (first,) = (answer for answer in answers if not isinstance(answer, BaseException))
    for refusal in (answer for answer in answers if isinstance(answer, Refusal)):
        assert refusal.status == 409
        assert first["id"] in refusal.detail
    await app.wait(f"linking/runs/{first['id']}", "planned")
    await app.call("POST", f"linking/runs/{first['id']}/cancel")
    await app.wait(f"linking/runs/{first['id']}", "cancelled")
    assert (await app.plan(*IDENTITIES))["phase"] == "planned"


async def test_of_two_imports_at_once_the_second_changes_nothing(held: App, gate: Gate) -> None:
    gate.close("_u_")
    first = await held.call("POST", "accounts/import", ACCOUNTS, "text/csv")
    await gate.reached.wait()
    status, detail = await status_of(held.call("POST", "accounts/import", csv_file({"userName": "late"}), "text/csv"))
    assert status == 409
    assert first["id"] in detail
    gate.opened.set()
    done = await held.wait(f"accounts/imports/{first['id']}", "done")
    assert done["counts"]["created"] == 4
    assert (await held.call("GET", "accounts", userName="late"))["accounts"] == []


class TestApproval:
    async def test_a_run_that_is_not_planned_yet_cannot_be_approved(self, held: App, gate: Gate) -> None:
        identities = await held.upload(*IDENTITIES)
        gate.close("_s_identities")
        run = await held.call("POST", "linking/runs", {"identities": identities})
        await gate.reached.wait()
        status, detail = await status_of(held.call("POST", f"linking/runs/{run['id']}/approve"))
        assert (status, detail) == (409, "phase: the run is started, only a planned run can be approved")
        gate.opened.set()
        assert (await held.wait(f"linking/runs/{run['id']}", "planned"))["phase"] == "planned"

    async def test_only_the_planned_number_of_links_is_approved(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        run = await app.plan(*IDENTITIES)
        for wrong in (0, 1, 3, -2):
            status, detail = await status_of(app.call("POST", f"linking/runs/{run['id']}/approve", {"links": wrong}))
            assert status == 409
            assert "would link 2 accounts" in detail
        for no_number in (True, "2", [2], 2.5):
            body = {"links": no_number}
            assert (await status_of(app.call("POST", f"linking/runs/{run['id']}/approve", body)))[0] == 400
        assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"
        assert (await app.apply(run, links=2))["counts"]["linked"] == 2

    async def test_saying_it_twice_is_no_error_and_links_once(self, held: App, gate: Gate) -> None:
        await held.bring(ACCOUNTS)
        run = await held.plan(*IDENTITIES)
        gate.close("_p_")
        for _ in range(3):
            answer = await held.approve(run)
            assert answer["phase"] == "approved"
        gate.opened.set()
        done = await held.wait(f"linking/runs/{run['id']}", "done")
        assert done["counts"]["linked"] == 2
        assert [c["action"] for c in (await held.account("john"))["history"]] == ["create", "link"]
        assert (await status_of(held.call("POST", f"linking/runs/{run['id']}/approve")))[0] == 409

    async def test_a_plan_expires(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        run = await app.call(
            "POST", "linking/runs", {"identities": await app.upload(*IDENTITIES), "expiresHours": 1e-4}
        )
        ended = await app.wait(f"linking/runs/{run['id']}", "expired")
        assert ended["phase"] == "expired"
        assert (await status_of(app.call("POST", f"linking/runs/{run['id']}/approve")))[0] == 409
        assert (await app.account("jane@contoso.com"))["link"] is None
        assert (await app.plan(*IDENTITIES))["phase"] == "planned", "the directory is free again"


class TestCancelling:
    async def test_a_planned_run_ends_without_a_link(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        run = await app.plan(*IDENTITIES)
        assert (await app.call("POST", f"linking/runs/{run['id']}/cancel"))["cancelledBy"] == "local"
        assert (await app.wait(f"linking/runs/{run['id']}", "cancelled"))["phase"] == "cancelled"
        assert (await app.account("jane@contoso.com"))["link"] is None
        for verb in ("cancel", "approve"):
            assert (await status_of(app.call("POST", f"linking/runs/{run['id']}/{verb}")))[0] == 409

    async def test_a_run_that_is_being_planned_ends(self, held: App, gate: Gate) -> None:
        await held.bring(ACCOUNTS)
        upload = await held.upload(*IDENTITIES)
        gate.close("_s_run")
        run = await held.call("POST", "linking/runs", {"identities": upload})
        await gate.reached.wait()
        await held.call("POST", f"linking/runs/{run['id']}/cancel")
        gate.opened.set()
        assert (await held.wait(f"linking/runs/{run['id']}", "cancelled"))["phase"] == "cancelled"

    async def test_a_plan_is_dropped_at_once_whatever_it_waits_for(
        self, held: App, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(activities, "LOOK_SECONDS", 0.01)
        await held.bring(ACCOUNTS)
        upload = await held.upload(*IDENTITIES)
        gate.close("_x_")  # the pointers, never to be read
        run = await held.call("POST", "linking/runs", {"identities": upload})
        await gate.reached.wait()
        await held.call("POST", f"linking/runs/{run['id']}/cancel")
        assert (await held.wait(f"linking/runs/{run['id']}", "cancelled"))["phase"] == "cancelled"

    async def test_what_a_run_linked_before_stays_linked_and_is_counted(self, held: App, gate: Gate) -> None:
        people = [f"person{number}@contoso.com" for number in range(20)]
        await held.bring(csv_file(*({"userName": name} for name in people)))
        run = await held.plan(*(graph(number, name) for number, name in enumerate(people)))
        gate.close("_u_02")
        await held.approve(run)
        await gate.reached.wait()
        await held.call("POST", f"linking/runs/{run['id']}/cancel")
        gate.opened.set()
        ended = await held.wait(f"linking/runs/{run['id']}", "cancelled")
        assert ended["phase"] == "cancelled"
        links = [name for name in people if (await held.account(name))["link"]]
        outcomes = [row for row in await held.decisions(run, "link") if row.get("outcome") == "linked"]
        assert 0 < len(links) < 20
        assert len(outcomes) == len(links) == ended["counts"]["linked"]


class Dying:
    """A durable client in a process that dies as it starts an orchestration."""

    async def get_status(self, instance_id: str) -> None:
        return None

    async def start_new(self, *_: object) -> str:
        raise Crash


async def import_and_die(app: App) -> str:
    """Post an import to a process that dies between recording and starting it; return its id."""
    directory = await Directories(app.tables).open("main")
    request = Request(base="http://x/scim/v2", by="local", id="", params={}, body=ACCOUNTS, content_type="text/csv")
    with pytest.raises(Crash):
        await imports.import_accounts(directory, request, Dying())  # type: ignore[arg-type]  # dies before more
    (job,) = await Jobs(app.tables, directory.keys).list_all()
    return job.id


class TestCancellingAnImport:
    async def test_it_stops_and_what_came_in_stays_and_is_counted(
        self, held: App, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        people = csv_file(*({"userName": f"person{number}"} for number in range(40)))
        gate.close("_u_02")
        job = await held.call("POST", "accounts/import", people, "text/csv")
        path = f"accounts/imports/{job['id']}"
        await gate.reached.wait()
        for _ in range(2):
            assert (await held.call("POST", path + "/cancel"))["cancelledBy"] == "local"
        gate.opened.set()
        ended = await held.wait(path)
        assert ended["phase"] == "cancelled"
        assert 0 < ended["counts"]["created"] < 40
        directory = await Directories(held.tables).open("main")
        assert await directory.listing.total() == ended["counts"]["created"]
        assert await status_of(held.call("POST", path + "/cancel")) == (409, "phase: the import is cancelled already")
        assert (await held.bring(people))["counts"]["created"] == 40 - ended["counts"]["created"]


class TestFiles:
    @pytest.mark.parametrize("path", ["accounts/import", "linking/identities"])
    async def test_one_that_is_too_large_is_to_be_split(
        self, app: App, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setattr(sent_file, "MAX_FILE_BYTES", len(ACCOUNTS) - 1)
        status, detail = await status_of(app.call("POST", path, ACCOUNTS, "text/csv"))
        assert status == 413
        assert "Split it" in detail

    @pytest.mark.parametrize(
        ("path", "file", "words"),
        [
            ("accounts/import", b"userName,title\n,x\n,y\n", "Line 2: "),
            ("accounts/import", b"[]", "There is no row in it."),
            ("linking/identities", b"id,userPrincipalName\n1,\n", "Line 2: The column userPrincipalName is empty. "),
            ("linking/identities", b'{"value": []}', "There is no row in it."),
        ],
    )
    async def test_one_without_a_usable_row_is_refused_with_the_first_reason(
        self, app: App, path: str, file: bytes, words: str
    ) -> None:
        status, detail = await status_of(app.call("POST", path, file, ""))
        assert status == 400
        assert detail.startswith("No row of the file can be used. " + words)

    async def test_what_was_staged_goes_with_its_job_and_uploads_stay(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        run = await app.apply(await app.plan(*IDENTITIES))
        upload, seen = run["options"]["identities"], {*stages_of(run["id"])}

        async def only_the_upload_and_what_was_seen_is_staged() -> bool:
            staged = {name for name in await staged_in(app.tables) if not name.endswith(IMPORTED)}  # for an undo
            return upload in staged and bool(staged & seen) and staged <= {upload, upload + IDS, *seen}

        await until(only_the_upload_and_what_was_seen_is_staged)  # a job is shown as done, then its stages go

    async def test_the_nightly_sweep_clears_what_a_dead_request_staged(self, app: App) -> None:
        keys = (await Directories(app.tables).open("main")).keys
        await Stages(app.tables, keys, lambda: "2026-01-01T00:00:00.000Z").announce("import1", ["import1"])
        functions = function_app.build(Settings.local(TOKEN), app.tables).get_functions()
        (sweep,) = (found.get_user_function() for found in functions if found.get_function_name() == "sweep")
        await sweep(None)
        assert not [row for row in await rows_of(app.tables, "main_j") if row.key.startswith(STAGE)]

    async def test_a_run_over_an_upload_that_is_kept_no_longer_is_refused(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = await app.upload(*IDENTITIES)
        kept = replace(KINDS["identities"], days=-1)
        monkeypatch.setitem(cast(dict[str, Kind], KINDS), "identities", kept)
        status, detail = await status_of(app.call("POST", "linking/runs", {"identities": upload}))
        assert status == 400
        assert detail.endswith("upload the identities again")


async def approve_untold(app: App, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Approve a run while its orchestration cannot be told."""

    async def fails(*_: object) -> None:
        raise OSError("the task hub's storage is away")

    with monkeypatch.context() as away:
        away.setattr(app.host.executor, "raise_event", fails)
        assert (await status_of(app.approve(run)))[0] == 503


class TestLostOrchestrations:
    async def test_a_job_whose_orchestration_was_never_started_is_started_by_the_next_post(self, app: App) -> None:
        job = await import_and_die(app)
        status, detail = await status_of(app.call("POST", "accounts/import", ACCOUNTS, "text/csv"))
        assert status == 409
        assert f"{job} is under way" in detail
        assert f"GET /accounts/imports/{job} " in detail
        jobs = Jobs(app.tables, (await Directories(app.tables).open("main")).keys)

        async def is_done() -> bool:
            return (await jobs.get(job)).state is State.DONE

        await until(is_done)  # nobody asked for it over HTTP
        assert (await app.wait(f"accounts/imports/{job}", "done"))["counts"] == {"created": 4, "refused": 0}

    async def test_it_is_started_by_the_next_look_as_well(self, app: App) -> None:
        job = await import_and_die(app)
        assert (await app.wait(f"accounts/imports/{job}", "done"))["counts"] == {"created": 4, "refused": 0}

    async def test_a_run_after_one_whose_orchestration_is_dead_takes_its_place(self, app: App) -> None:
        run = await app.plan(*IDENTITIES)
        await app.host.executor.terminate(run["id"], "by hand")
        assert (await app.plan(*IDENTITIES))["phase"] == "planned"
        assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "failed"

    @pytest.mark.parametrize("look", ["GET", "cancel"])
    async def test_a_run_whose_orchestration_is_dead_has_failed_and_frees_the_directory(
        self, app: App, look: str
    ) -> None:
        run = await app.plan(*IDENTITIES)
        await app.host.executor.terminate(run["id"], "by hand")
        path = f"linking/runs/{run['id']}"
        if look == "cancel":
            assert (await status_of(app.call("POST", path + "/cancel"))) == (409, "phase: the run is failed already")
        assert (await app.call("GET", path))["phase"] == "failed"
        assert (await status_of(app.call("POST", path + "/approve")))[0] == 409
        assert (await app.plan(*IDENTITIES))["phase"] == "planned"

    async def test_a_plan_whose_orchestration_is_dead_cannot_be_approved(self, app: App) -> None:
        run = await app.plan(*IDENTITIES)
        await app.host.executor.terminate(run["id"], "by hand")
        status, detail = await status_of(app.call("POST", f"linking/runs/{run['id']}/approve"))
        assert (status, detail) == (409, "phase: the run is failed, only a planned run can be approved")

    @pytest.mark.parametrize("approved", [False, True])
    async def test_a_run_whose_orchestration_is_gone_has_failed_and_frees_the_directory(
        self, app: App, monkeypatch: pytest.MonkeyPatch, approved: bool
    ) -> None:
        """The task hub was emptied by hand, or another one put in its place."""
        run = await app.plan(*IDENTITIES)
        if approved:
            await approve_untold(app, run, monkeypatch)
        await app.host.executor.terminate(run["id"], "by hand")
        await app.host.executor.purge(run["id"])
        found = await app.call("GET", f"linking/runs/{run['id']}")
        assert found["phase"] == "failed"
        assert "its orchestration ended without saying how, or is gone" in found["reason"]
        assert (await app.plan(*IDENTITIES))["phase"] == "planned"

    @pytest.mark.parametrize("gone", [False, True])
    async def test_one_that_nobody_asks_for_ends_at_night(self, app: App, gone: bool) -> None:
        run = await app.plan(*IDENTITIES)
        await app.host.executor.terminate(run["id"], "by hand")
        if gone:
            await app.host.executor.purge(run["id"])
        await app.host.run_timer("jobs_remove")
        jobs = (await Directories(app.tables).open("main")).jobs
        assert (await jobs.get(run["id"])).state is State.FAILED
        assert not await jobs.is_under_way("run", "changing")

    async def test_one_that_was_never_started_is_started_at_night(self, app: App) -> None:
        job = await import_and_die(app)
        await app.host.run_timer("jobs_remove")
        assert (await app.wait(f"accounts/imports/{job}", "done"))["counts"] == {"created": 4, "refused": 0}

    @pytest.mark.parametrize("look", ["GET", "night"])
    async def test_a_run_that_was_not_told_of_its_approval_is_told_by_the_next_look(
        self, app: App, monkeypatch: pytest.MonkeyPatch, look: str
    ) -> None:
        run = await app.plan(*IDENTITIES)
        await approve_untold(app, run, monkeypatch)
        if look == "GET":
            await app.call("GET", f"linking/runs/{run['id']}")
        else:
            await app.host.run_timer("jobs_remove")
        jobs = (await Directories(app.tables).open("main")).jobs

        async def is_done() -> bool:
            return (await jobs.get(run["id"])).state is State.DONE

        await until(is_done)

    @pytest.mark.parametrize("verb", ["approve", "cancel"])
    async def test_a_verdict_that_comes_as_the_run_ends_is_too_late(
        self, app: App, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        run = await app.plan(*IDENTITIES)
        raise_event = app.host.executor.raise_event

        async def late(instance_id: str, *event: str) -> Any:
            await app.host.executor.terminate(instance_id, "by hand")
            return await raise_event(instance_id, *event)

        monkeypatch.setattr(app.host.executor, "raise_event", late)
        answer = await status_of(app.call("POST", f"linking/runs/{run['id']}/{verb}"))
        assert answer == (409, "phase: the run is failed already")


class TestWrongRequests:
    async def test_what_is_not_there_is_not_found(self, app: App) -> None:
        imported = await app.bring(ACCOUNTS)
        run = await app.plan(*IDENTITIES)
        for method, path in (
            ("GET", "linking/runs/none"),
            ("GET", f"linking/runs/{imported['id']}"),
            ("GET", f"accounts/imports/{run['id']}"),
            ("GET", f"accounts/imports/{run['id']}/problems"),
            ("GET", f"linking/identities/{run['id']}/problems"),
            ("POST", f"linking/runs/{imported['id']}/approve"),
            ("POST", f"linking/runs/{imported['id']}/cancel"),
            ("GET", "linking/runs/a%20b%C3%A9"),
        ):
            assert (await status_of(app.call(method, path)))[0] == 404, path

    async def test_an_upload_must_be_named(self, app: App) -> None:
        imported = await app.bring(ACCOUNTS)
        for body, expected, words in (
            ({}, 400, "identities"),
            ({"identities": 3}, 400, "identities"),
            ({"identities": "none"}, 400, "identities: name an upload"),
            ({"identities": imported["id"]}, 400, "identities: name an upload"),
            ({"identities": "x", "surprise": 1}, 400, "surprise"),
            ({"identities": "x", "expiresHours": 0}, 400, "expiresHours"),
            ({"identities": "x", "expiresHours": 721}, 400, "expiresHours"),
            (b"{", 400, "not JSON"),
        ):
            status, detail = await status_of(app.call("POST", "linking/runs", body))
            assert status == expected
            assert words in detail

    async def test_a_wrong_policy_is_explained(self, app: App) -> None:
        upload = await app.upload(*IDENTITIES)
        status, detail = await status_of(
            app.call("POST", "linking/runs", {"identities": upload, "policy": {"rules": [{"rule": "luck"}]}})
        )
        assert status == 400
        assert detail.startswith("policy: rules: must be a list")

    @pytest.mark.parametrize(
        ("params", "status"),
        [
            ({"decision": "luck"}, 400),
            ({"decision": "LINK"}, 400),
            ({"count": "0"}, 400),
            ({"count": "1001"}, 400),
            ({"count": "-1"}, 400),
            ({"count": "9" * 5000}, 400),
            ({"cursor": "x"}, 400),
            ({"cursor": "ffa_" + "0" * 32}, 400),
            ({"cursor": "00../../x"}, 400),
        ],
    )
    async def test_a_wrong_page_is_refused(self, app: App, params: dict[str, str], status: int) -> None:
        run = await app.plan(*IDENTITIES)
        answer, detail = await status_of(app.call("GET", f"linking/runs/{run['id']}/decisions", **params))
        assert answer == status
        assert detail.startswith(next(iter(params)))


MARK = "personal-value"
texts = st.sampled_from(["", MARK, "\x00", "\ud800", "é" * 99, "../x"]) | st.text(max_size=9)
values = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats() | st.integers(10**20, 10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
named = st.dictionaries(
    st.sampled_from(["identities", "policy", "expiresHours", "links"]) | texts,
    values
    | st.dictionaries(
        st.sampled_from(["rules", "verifiedDomains", "nameIdSource", "excluded", "adoptOnCreate"]), values, max_size=3
    ),
    max_size=4,
)
users = st.lists(
    st.dictionaries(
        st.sampled_from(["userName", "emails", "email", "active", "name", "id", "userPrincipalName", "mail", "nameId"])
        | texts,
        values,
        max_size=4,
    ),
    max_size=3,
)
bodies = st.one_of(
    (named | values | users).map(lambda body: json.dumps(body).encode()),
    users.map(lambda rows: json.dumps({"value": rows}).encode()),
    users.map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.binary(max_size=60),
    st.sampled_from([b"", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe{", b"userName\n\xff\n", b"id,userPrincipalName\n,"]),
)


queries = st.dictionaries(
    st.sampled_from(["mapping", "count", "cursor", "decision"]), texts | values.map(json.dumps), max_size=2
).map(lambda params: "&".join(f"{name}={quote(text.encode('utf-8', 'replace'))}" for name, text in params.items()))


# One app serves all examples: each must stand whatever came before it.
@given(body=bodies, query=queries)
@settings(max_examples=100)
async def test_nothing_that_is_sent_is_answered_500(
    app: App, caplog: pytest.LogCaptureFixture, body: bytes, query: str
) -> None:
    caplog.set_level(logging.DEBUG)
    upload = await app.upload(*IDENTITIES)
    for method, path in (
        ("POST", "accounts/import"),
        ("POST", "linking/identities"),
        ("POST", "linking/runs"),
        ("POST", "linking/runs/none/approve"),
        ("POST", "linking/runs/none/review"),
        ("POST", "linking/mapping"),
        ("PUT", "directory/policy"),
        ("GET", f"linking/identities/{upload}/problems"),
    ):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        answer = await app.host.handle(method, f"/{path}?{query}", headers, body)
        shown = answer.get_body().decode()
        assert answer.status_code in {200, 201, 202, 400, 404, 409, 413}, shown
        assert answer.status_code < 400 or json.loads(shown)["detail"]
    assert MARK not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()


async def test_no_log_line_tells_about_a_person_or_a_token(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await app.bring(ACCOUNTS + b"not an e-mail,bad.email,broken\n")
    run = await app.plan(*IDENTITIES, {"id": "only"})
    await app.apply(run, links=2)
    await app.bring(csv_file(JANE | {"title": "Director"}))
    assert len(caplog.records) > 10
    lines = "\n".join(record.getMessage() + str(record.exc_text or "") for record in caplog.records).lower()
    for secret in (
        "jane",
        "john",
        "nobody",
        "rita",
        "contoso",
        "engineer",
        "director",
        object_id(1),
        TOKEN,
        "bad.email",
    ):
        assert secret.lower() not in lines, secret


LISTED = "lists those there are"


@pytest.mark.parametrize(
    ("method", "path", "what", "remedy"),
    [
        ("GET", "linking/runs/run0", "run", f"GET /linking/runs {LISTED}"),
        ("GET", "linking/runs/run0/decisions", "run", f"GET /linking/runs {LISTED}"),
        ("GET", "linking/runs/run0/report", "run", f"GET /linking/runs {LISTED}"),
        ("POST", "linking/runs/run0/cancel", "run", f"GET /linking/runs {LISTED}"),
        ("GET", "linking/undos/undo0", "undo", f"GET /linking/undos {LISTED}"),
        ("GET", "linking/identities/identities0", "upload of identities", f"GET /linking/identities {LISTED}"),
        ("GET", "linking/groups/entragroups0", "upload of groups", f"GET /linking/groups {LISTED}"),
        ("GET", "accounts/imports/import0", "import", f"GET /linking/imports {LISTED}"),
        ("GET", "groups/imports/import0/problems", "import of groups", f"GET /linking/imports {LISTED}"),
        ("GET", "accounts/previews/p0", "preview of an import", "take the id that its beginning was answered with"),
        ("GET", "accounts/0f9a", "account", f"GET /accounts {LISTED}"),
        ("GET", "groups/0f9a", "group", f"GET /groups {LISTED}"),
        ("POST", "accounts/0f9a/release", "account", f"GET /accounts {LISTED}"),
        ("POST", "groups/0f9a/release", "group", f"GET /groups {LISTED}"),
    ],
)
async def test_what_is_not_there_is_named_by_its_kind_with_where_to_find_those_that_are(
    app: App, method: str, path: str, what: str, remedy: str
) -> None:
    with pytest.raises(Refusal, match=f"^404 there is no such {what} in this directory: {remedy}$"):
        await app.call(method, path)


async def test_no_answer_calls_what_is_not_there_a_resource(app: App) -> None:
    """Every address with an id, of the administrator and of SCIM, is asked for one that nothing has."""
    paths = document()["paths"]
    asked = [(method.upper(), path) for path, methods in paths.items() for method in methods if "{" in path]
    asked += [(method, f"/scim/v2/{kind}/{{id}}") for kind in ("Users", "Groups") for method in ("GET", "DELETE")]
    asked += [("GET", "/scim/v2/Schemas/{id}"), ("GET", "/no/such/address")]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    told = []
    for method, path in asked:
        answer = await app.host.handle(method, re.sub(r"{[a-z]+}", object_id(404), path), headers, b"{}")
        if answer.status_code == 404:
            told.append(json.loads(answer.get_body())["detail"])
    assert len(told) > 30
    assert not [one for one in told if "resource in" in one or "job in" in one]
