"""What an approved plan does when the directory moved on: the rows concerned are refused, the rest applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from link_orchestrator.messages import Slice
from link_orchestrator.passes.apply import apply
from shared.directory.directory import Directories
from shared.directory.errors import DirectoryError, Stale, TooLarge
from tests.link_orchestrator.running import POLICY, App, csv_file, directory_rows, graph, object_id

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CHANGED = "refused: the account changed since the plan; a new run decides again"


def person(name: str, **columns: str) -> dict[str, str]:
    address = f"{name}@contoso.com"
    return {"userName": address, "email": address, "title": "Engineer"} | columns


async def planned(app: App, *names: str) -> Any:
    """Return the plan that links these people, the first one with the identity of number 0."""
    await app.bring(csv_file(*map(person, names)))
    run = await app.plan(*(graph(number, f"{name}@contoso.com") for number, name in enumerate(names)))
    assert run["counts"]["link"] == len(names)
    return run


async def outcomes(app: App, run: Any) -> dict[str, str]:
    """Return what became of each row, by the first word of the userName."""
    rows = await app.decisions(run, "link")
    return {row["account"]["userName"].partition("@")[0]: row["outcome"] for row in rows}


async def test_rows_whose_account_changed_are_refused_and_the_others_applied(app: App) -> None:
    run = await planned(app, "updated", "deleted", "adopted", "ada", "bob")
    await app.bring(csv_file(person("updated", title="Director")))
    directory = await Directories(app.tables).open("main")
    deleted = await directory.accounts.get((await app.account("deleted@contoso.com"))["id"])
    await directory.accounts.delete(deleted, by="the application")
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    user = {"schemas": [USER], "userName": "adopted@contoso.com", "externalId": object_id(2)}
    assert (await app.call("POST", "scim/v2/Users", user))["id"] == (await app.account("adopted@contoso.com"))["id"]
    done = await app.apply(run, links=5)
    assert (done["phase"], done["counts"]["linked"], done["counts"]["refused"]) == ("done", 2, 3)
    assert await outcomes(app, run) == {
        "updated": CHANGED,
        "deleted": "refused: the account was deleted since the plan",
        "adopted": CHANGED,
        "ada": "linked",
        "bob": "linked",
    }
    updated = await app.account("updated@contoso.com")
    assert (updated["link"], updated["document"]["title"]) == (None, "Director")
    assert (await app.account("ada@contoso.com"))["link"]["identity"] == object_id(3)
    again = await app.plan(*(graph(n, f"{name}@contoso.com") for n, name in enumerate(("updated", "deleted"))))
    assert (again["counts"]["link"], again["counts"]["noAccount"]) == (1, 1), "a new run decides again"


async def test_an_identity_that_another_account_carries_by_now_is_refused(app: App) -> None:
    run = await planned(app, "ada", "bob")
    user = {"schemas": [USER], "userName": "somebody@x.org", "externalId": object_id(0), "active": True}
    created = await app.call("POST", "scim/v2/Users", user)
    done = await app.apply(run, links=2)
    assert (done["counts"]["linked"], done["counts"]["refused"]) == (1, 1)
    assert await outcomes(app, run) == {
        "ada": "refused: another account holds this identity's externalId by now",
        "bob": "linked",
    }
    ada = await app.account("ada@contoso.com")
    assert (ada["link"], ada["status"]) == (None, "local")
    holders = (await app.call("GET", "accounts", externalId=object_id(0)))["accounts"]
    assert [holder["id"] for holder in holders] == [created["id"]]


@pytest.mark.parametrize("decision", ["link", "review"])
async def test_a_pass_that_begins_behind_a_cancel_links_nobody(app: App, decision: str) -> None:
    """Neither by the plan nor by a review: the orchestration looks only between two windows of slices."""
    name = "ada@contoso.com" if decision == "link" else "ada.local"
    await app.bring(csv_file({"userName": name, "employeeNumber": "7"}))
    run = await app.plan(graph(0, "ada@contoso.com", employeeId="7"))
    (row,) = await app.decisions(run, decision)
    if decision == "review":
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    directory = await Directories(app.tables).open("main")
    job = await directory.jobs.change(run["id"], lambda job: replace(job, approved="now", cancelled_by="somebody"))
    part = Slice(job=job.id, directory="main", pass_name="apply", low=0, high=4)
    assert await apply(directory, job, part) == {}
    assert (await app.account(name))["link"] is None
    job = await directory.jobs.change(run["id"], lambda job: replace(job, cancelled_by=None))
    assert await apply(directory, job, part) == {"linked": 1}


@pytest.mark.parametrize("refusal", [Stale("changed"), TooLarge("too large")])
async def test_what_fails_again_and_again_is_refused(
    app: App, monkeypatch: pytest.MonkeyPatch, refusal: DirectoryError
) -> None:
    async def refuse(accounts: object, changes: Sequence[object], **_: object) -> list[DirectoryError]:
        return [refusal] * len(changes)

    run = await planned(app, "ada")
    monkeypatch.setattr("link_orchestrator.passes.apply.replace_many", refuse)
    assert (await app.apply(run, links=1))["counts"]["refused"] == 1
    assert await outcomes(app, run) == {"ada": CHANGED}


async def test_a_refused_row_changes_nothing(app: App) -> None:
    run = await planned(app, "ada")
    await app.bring(csv_file(person("ada", title="Director")))
    directory = await Directories(app.tables).open("main")
    before = await directory_rows(directory)
    await app.apply(run)
    assert await directory_rows(directory) == before


async def test_a_first_link_changes_neither_email_nor_active_nor_name(app: App) -> None:
    await app.bring(csv_file(person("ada", active="no", emailVerified="yes", userName="ada.l")))
    before = (await app.account("ada.l"))["document"]
    await app.apply(await app.plan(graph(1, "ada@contoso.com", displayName="Other", jobTitle="Other")), links=1)
    after = await app.account("ada.l")
    assert after["active"] is False
    assert after["document"] == before | {"externalId": object_id(1)}


async def test_a_link_names_the_rule_that_proves_it(app: App) -> None:
    """The userName lies outside the verified domains and proves nothing; the verified address does."""
    await app.bring(csv_file(person("ada", userName="ada@x.org", emailVerified="yes")))
    run = await app.plan(graph(1, "ada@x.org") | {"mail": "ada@contoso.com"})
    (row,) = await app.decisions(run, "link")
    assert [item["rule"] for item in row["evidence"]][:2] == ["userName", "verifiedEmail"]
    await app.apply(run, links=1)
    assert (await app.account("ada@x.org"))["link"]["rule"] == "verifiedEmail"


async def test_a_review_joins_a_pair_again_that_was_taken_apart(app: App) -> None:
    await app.bring(csv_file({"userName": "ada.old", "employeeNumber": "7"}))
    directory = await Directories(app.tables).open("main")
    before = await directory.accounts.get((await app.account("ada.old"))["id"])
    parted = replace(before, parted=(object_id(0), object_id(5)))
    await directory.accounts.replace(before, parted, by="undo:x", action="undo")
    run = await app.plan({**graph(0, "ada@contoso.com"), "employeeId": "7"})
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    await app.apply(run, links=1)
    after = await directory.accounts.get(before.id)
    assert after.link
    assert (after.link.identity, after.parted) == (object_id(0), (object_id(5),))
