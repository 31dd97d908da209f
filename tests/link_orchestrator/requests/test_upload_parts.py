"""Identities of a company that is larger than a file may be: uploaded in parts, planned as one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, Jobs
from tests.link_orchestrator.running import App, Refusal, csv_file, graph


async def upload(app: App, *people: dict[str, Any], after: str = "") -> Any:
    return await app.call("POST", "linking/identities", {"value": list(people)}, **({"after": after} if after else {}))


async def test_a_run_over_the_last_part_plans_the_identities_of_all(app: App) -> None:
    await app.bring(csv_file(*({"userName": f"{name}@contoso.com"} for name in ("ann", "bob", "cleo"))))
    first = await upload(app, graph(1, "ann@contoso.com"), graph(2, "bob@contoso.com"))
    second = await upload(app, graph(2, "bob@contoso.com"), after=first["id"])
    third = await upload(app, graph(3, "cleo@contoso.com"), after=second["id"])
    assert third["counts"] == {"read": 4, "problems": 0, "repeated": 1}, "a row that says the same again does no harm"
    run = await app.call("POST", "linking/runs", {"identities": third["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 3, "noIdentity": 0}
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3


async def test_two_parts_that_contradict_each_other_about_an_identity_name_both_lines_and_use_neither(app: App) -> None:
    await app.bring(csv_file(*({"userName": f"{name}@contoso.com"} for name in ("ann", "bob", "cleo"))))
    first = await upload(app, graph(1, "ann@contoso.com"), graph(2, "bob@contoso.com"))
    second = await upload(app, graph(3, "cleo@contoso.com"), graph(2, "renamed@contoso.com"), after=first["id"])
    assert second["counts"] == {"read": 3, "problems": 1}
    (problem,) = (await app.call("GET", f"linking/identities/{second['id']}/problems"))["problems"]
    assert f"of the part {first['id']}" in problem["reason"]
    asked = {"identities": second["id"]}
    run = await app.call("POST", "linking/runs", asked)
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 2, "noIdentity": 1}
    await app.apply(run)
    later = await app.wait(f"linking/runs/{(await app.call('POST', 'linking/runs', asked))['id']}", "planned")
    assert later["compared"]["identities"] == 2, "a later run knows as little of them"
    assert {row["decision"] for row in await app.decisions(later)} <= {"alreadyLinked"}
    first_alone = await app.call("POST", "linking/runs", {"identities": first["id"], "full": True})
    first_alone = await app.wait(f"linking/runs/{first_alone['id']}", "planned")
    assert first_alone["counts"]["link"] == 1, "a part is an upload of its own"


async def test_a_former_part_stays_an_upload_of_its_own(app: App) -> None:
    await app.bring(csv_file({"userName": "ann@contoso.com"}, {"userName": "bob@contoso.com"}))
    first = await upload(app, graph(1, "ann@contoso.com"))
    await upload(app, graph(2, "bob@contoso.com"), after=first["id"])
    run = await app.call("POST", "linking/runs", {"identities": first["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 1, "noIdentity": 1}


@pytest.mark.parametrize(("days", "usable"), [(29, True), (31, False)])
async def test_all_parts_of_an_upload_are_kept_as_long_as_the_first(app: App, days: int, usable: bool) -> None:
    keys = (await Directories(app.tables).open("main")).keys
    former, at = datetime.now(UTC) - timedelta(days=days), datetime.now(UTC) - timedelta(days=2)
    first = await _recorded(Jobs(app.tables, keys, lambda: timestamp(former)))
    last = await _recorded(Jobs(app.tables, keys, lambda: timestamp(at)), parts=[first.id])
    (shown, _) = (await app.call("GET", "linking/identities"))["uploads"]
    assert (shown["id"], shown["keptUntil"]) == (last.id, timestamp(former + timedelta(days=30)))
    begun = app.call("POST", "linking/runs", {"identities": last.id})
    if usable:
        assert (await begun)["options"]["parts"] == [first.id, last.id]
    else:
        with pytest.raises(Refusal, match="an upload is kept for 30 days"):
            await begun


async def test_an_upload_whose_first_part_was_removed_is_refused(app: App) -> None:
    keys = (await Directories(app.tables).open("main")).keys
    jobs = Jobs(app.tables, keys)
    last = await _recorded(jobs, parts=[jobs.new_id("identities")])
    with pytest.raises(Refusal, match="upload the identities again"):
        await app.call("POST", "linking/runs", {"identities": last.id})


async def _recorded(jobs: Jobs, parts: Sequence[str] = ()) -> Job:
    job_id = jobs.new_id("identities")
    counts = {"read": 1, "problems": 0}
    return await jobs.record("identities", "ada", job_id, counts, {"parts": [*parts, job_id]} if parts else {})


@pytest.mark.parametrize("after", ["nothing", "an import"])
async def test_a_part_comes_after_an_upload_only(app: App, after: str) -> None:
    job = await app.bring(csv_file({"userName": "ann@contoso.com"}))
    with pytest.raises(Refusal) as refusal:
        await upload(app, graph(1, "ann@contoso.com"), after=job["id"] if after == "an import" else "identities0")
    assert refusal.value.status == 400
    assert "after: name an upload" in refusal.value.detail
