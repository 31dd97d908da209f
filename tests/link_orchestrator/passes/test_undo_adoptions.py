"""Links that creates over SCIM made, taken back together as a run's are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.directory.directory import Directories, Directory
from shared.directory.records.model import Account, Link, Status
from tests.link_orchestrator.passes.test_undo import rows
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, object_id
from tests.shared.directory.invariants import check_invariants


async def adopted(directory: Directory, number: int, **written: Any) -> Account:
    """Return an account as it was before a create over SCIM linked it, and wrote into it."""
    document = {"userName": f"p{number}@contoso.com", "title": "Mr"}
    new = Account.new(directory.keys.new_id(document["userName"]), document, Status.LOCAL, directory.accounts.now())
    before = await directory.accounts.create(new, by="import")
    link = Link(object_id(number), "adoption", directory.accounts.now(), "entra")
    await directory.adoptions.note(before.id, link)
    sent = before.with_document(before.document() | written | {"externalId": object_id(number)})
    after = replace(sent, status=Status.CLAIMED, link=link)
    await directory.accounts.replace(before, after, by="entra", action="adopt", keep=True)
    return before


async def undo(app: App, **asked: Any) -> Any:
    job = await app.call("POST", "linking/adoptions/undo", asked or None)
    return await app.wait(f"linking/undos/{job['id']}")


async def test_everybody_returns_to_what_they_were_before_the_create(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    before = [await adopted(directory, number, title="Director", displayName="New") for number in range(5)]
    first = await directory.accounts.get(before[0].id)
    await directory.accounts.replace(
        first, first.with_document(first.document() | {"title": "Chief"}), by="entra", keep=True
    )
    job = await undo(app)
    assert (job["phase"], job["counts"], job["options"]["adoptions"]) == ("done", {"undone": 5}, True)
    for was in before:
        now = await directory.accounts.get(was.id)
        assert (now.document(), now.status, now.link) == (was.document(), Status.LOCAL, None)
    assert (await directory.accounts.get(first.id)).parted == (object_id(0),)
    assert (await app.call("GET", "linking/adoptions"))["adoptions"] == []
    assert {outcome for outcome, _ in (await rows(app, job)).values()} == {"undone"}
    assert (await undo(app))["counts"] == {"unchanged": 5}
    await check_invariants(app.tables, "main")


async def test_links_of_others_stay(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    before = await adopted(directory, 1)
    other = await adopted(directory, 2)
    await app.call("POST", f"accounts/{other.id}/link", {"identity": object_id(7)})
    assert (await undo(app))["counts"] == {"undone": 1, "refused": 1}
    linked = await directory.accounts.get(other.id)
    assert linked.link
    assert linked.link.identity == object_id(7)
    assert (await directory.accounts.get(before.id)).link is None


async def test_attributes_stay_where_that_is_asked_for(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    before = await adopted(directory, 1, title="Director")
    assert (await undo(app, keep="attributes"))["counts"] == {"released": 1}
    assert (await directory.accounts.get(before.id)).document()["title"] == "Director"


@pytest.mark.parametrize("body", [{"keep": "luck"}, {"keep": "attributes", "activate": 1}, []])
async def test_a_wrong_body_is_refused(app: App, body: object) -> None:
    assert (await status_of(app.call("POST", "linking/adoptions/undo", body)))[0] == 400
