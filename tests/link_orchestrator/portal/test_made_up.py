"""Made-up people come with a policy and a file, and all of it goes again; nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.link_orchestrator.portal.door import READER, Answer, Door, opened
from tests.link_orchestrator.running import csv_file
from tests.waiting import until

BACK = {"do": "back"}


async def tried(door: Door) -> Any:
    """Bring made-up people; return their import once it is done."""
    assert (await door.send("", {"do": "try"})).status == 303
    (job,) = (await door.api.call("GET", "linking/imports"))["imports"]
    return await door.api.wait(f"accounts/imports/{job['id']}", "done")


async def taken_back(door: Door) -> Answer:
    """Take made-up people back, and return the page once that has ended."""
    sent = await door.send("made-up", BACK)
    assert sent.status == 303, sent.text

    async def ended() -> Answer | None:
        page = await door.get("made-up")
        return None if "are being taken back" in page.text else page

    return await until(ended)


async def state(door: Door) -> tuple[Any, Any, Any]:
    """Return the policy, the number of accounts, and the uploads."""
    directory = await door.api.call("GET", "directory", states="true")
    uploads = (await door.api.call("GET", "linking/uploads"))["uploads"]
    return await door.api.call("GET", "directory/policy"), directory["accounts"], uploads


async def test_all_that_they_brought_is_taken_back(door: Door) -> None:
    before = await state(door)
    assert "All of it can be taken back from here" in (await door.get()).text
    await tried(door)
    assert (await state(door))[1] == 60
    overview = await door.get()
    assert "Made-up people are here" in overview.text
    assert 'href="/portal/made-up"' in overview.html
    asked = await door.get("made-up")
    assert "It is theirs as it came, and will be that of a new directory again." in asked.text
    assert "Nothing of theirs is here" in (await taken_back(door)).text
    assert await state(door) == before
    assert "Made-up people are here" not in (await door.get()).text


async def test_what_somebody_changed_since_stays_and_is_named(door: Door) -> None:
    await tried(door)
    theirs = await door.api.call("GET", "directory/policy")
    policy = theirs | {"verifiedDomains": [*theirs["verifiedDomains"], "mine.example"]}
    await door.api.call("PUT", "directory/policy", policy)
    account = (await door.api.call("GET", "accounts", count="1"))["accounts"][0]
    await door.api.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Mine"}})
    own = await door.api.bring(csv_file({"userName": "own"}))
    page = await taken_back(door)
    assert "1 account stayed, because it was edited or linked since" in page.text
    assert f"still has the verified domains {', '.join(theirs['verifiedDomains'])} and" in page.text
    now, accounts, uploads = await state(door)
    assert (now["verifiedDomains"], accounts, uploads) == (policy["verifiedDomains"], 2, [])
    assert own["counts"]["created"] == 1
    assert await door.api.account("own")


async def test_a_file_of_that_name_that_did_not_come_first_is_somebodys_own(door: Door) -> None:
    await door.api.bring(csv_file({"userName": "ada"}))
    await door.api.bring(csv_file({"userName": "bob"}), file="made-up-accounts.csv")
    assert "Made-up people are here" not in (await door.get()).text
    assert "Nothing of theirs is here" in (await door.get("made-up")).text
    assert (await door.send("made-up", BACK, token=(await door.get("import")).token)).status == 303
    assert await door.api.account("bob")


async def test_they_do_not_come_where_somebody_has_set_the_policy(door: Door) -> None:
    token = (await door.get()).token
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": ["mine.example"]})
    assert "Try it with made-up people" not in (await door.get()).text
    refused = await door.send("", {"do": "try"}, token=token)
    assert (refused.status, "omebody has set this directory's policy" in refused.text) == (400, True)
    assert (await door.api.call("GET", "directory/policy"))["verifiedDomains"] == ["mine.example"]


async def test_a_plan_that_waits_keeps_them_and_is_named(door: Door) -> None:
    await tried(door)
    (upload,) = (await state(door))[2]
    run = await door.api.call("POST", "linking/runs", {"identities": upload["id"]})
    await door.api.wait(f"linking/runs/{run['id']}", "planned")
    page = await door.get("made-up")
    assert "A plan waits that knows them" in page.text
    assert "Yes, take all of it back" not in page.text
    refused = await door.send("made-up", BACK, token=(await door.get("import")).token)
    assert (refused.status, "drop the plan that waits first" in refused.text) == (400, True)
    assert (await state(door))[1:] == (60, [upload])
    await door.api.call("POST", f"linking/runs/{run['id']}/cancel")
    await door.api.wait(f"linking/runs/{run['id']}", "cancelled")
    assert "Nothing of theirs is here" in (await taken_back(door)).text


async def test_whom_a_run_linked_goes_once_the_run_is_taken_back(door: Door) -> None:
    await tried(door)
    (upload,) = (await state(door))[2]
    run = await door.api.call("POST", "linking/runs", {"identities": upload["id"]})
    run = await door.api.apply(await door.api.wait(f"linking/runs/{run['id']}", "planned"))
    assert "Undo the run first" in (await door.get("made-up")).text
    refused = await door.send("made-up", BACK, token=(await door.get("import")).token)
    assert (refused.status, "undo the run that linked them first" in refused.text) == (400, True)
    assert (await state(door))[1:] == (60, [upload])
    undo = await door.api.call("POST", f"linking/runs/{run['id']}/undo")
    await door.api.wait(f"linking/undos/{undo['id']}", "done")
    assert "Nothing of theirs is here" in (await taken_back(door)).text
    assert (await state(door))[1:] == (0, [])


async def test_where_there_are_none_their_page_leads_to_the_overview(tmp_path: Path) -> None:
    async with opened(tmp_path) as azure:
        page = await azure.get("made-up")
        assert (page.status, page.headers["Location"]) == (303, "/portal")


async def test_a_reader_looks_on(door: Door) -> None:
    await tried(door)
    page = await door.get("made-up", READER)
    assert (page.status, "<form" in page.html) == (200, False)
    assert (await door.send("made-up", BACK, READER, token=(await door.get("import")).token)).status == 403
    assert (await state(door))[1] == 60
