"""What nobody sees makes no twin of an account or a group: characters that are not shown are refused at every door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.records.model import Account, Status
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, serving

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
HIDDEN = ("\u200b", "\ufeff", "\u200e", "\u00ad", "\u2060", "\ufe0f", "\u034f", "\u3164", "\U000e0041")
JANE = {"userName": "jane@contoso.com", "email": "jane@contoso.com"}
everyone = pytest.mark.parametrize("hidden", HIDDEN, ids=[f"U+{ord(one):04X}" for one in HIDDEN])


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(tmp_path) as running:
        await running.bring(csv_file(JANE))
        yield running


async def refused(call: Any, attribute: str, hidden: str) -> None:
    status, detail = await status_of(call)
    assert (status, detail.startswith(attribute), f"U+{ord(hidden):04X}" in detail) == (400, True, True), detail


@everyone
@pytest.mark.parametrize("before", [False, True])
async def test_a_row_with_one_is_a_problem_with_its_line(app: App, hidden: str, before: bool) -> None:
    for column in ("userName", "email", "externalId", "applicationId"):
        twin = f"{hidden}jane@contoso.com" if before else f"jane@contoso.com{hidden}"
        row = {"userName": "other@contoso.com", "email": "other@contoso.com"} | {column: twin}
        # A byte order mark before the first header is the file's.
        (problem,) = await app.problems(await app.bring(csv_file({"title": "", **JANE}, row)))
        assert (problem["line"], f"U+{ord(hidden):04X}" in problem["reason"]) == (3, True)
    assert (await app.call("GET", "directory"))["accounts"] == 1


@everyone
async def test_provisioning_is_told_the_attribute(app: App, hidden: str) -> None:
    user = {"schemas": [USER], "userName": "new@contoso.com", "externalId": "new"}
    made = await app.call("POST", "scim/v2/Users", user)
    twin = f"jane{hidden}@contoso.com"
    for change in ({"userName": twin}, {"externalId": twin}, {"emails": [{"value": twin, "type": "work"}]}):
        (attribute,) = change
        patch = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": change}]}
        for method, path, body in (
            ("POST", "Users", {**user, "userName": "third@contoso.com", **change}),
            ("PUT", f"Users/{made['id']}", user | change),
            ("PATCH", f"Users/{made['id']}", patch),
        ):
            await refused(app.call(method, f"scim/v2/{path}", body), attribute, hidden)
    group = {"schemas": [GROUP], "displayName": f"Sales{hidden}"}
    await refused(app.call("POST", "scim/v2/Groups", group), "displayName", hidden)


@everyone
async def test_an_edit_is_refused(app: App, hidden: str) -> None:
    path = f"accounts/{(await app.account('jane@contoso.com'))['id']}"
    for body in (
        {"document": {"userName": f"jane{hidden}"}},
        {"document": {"externalId": f"jane{hidden}"}},
        {"applicationId": f"7{hidden}"},
        {"evidence": {"verifiedEmails": [f"jane{hidden}@contoso.com"]}},
    ):
        status, detail = await status_of(app.call("PATCH", path, body))
        assert (status, f"U+{ord(hidden):04X}" in detail) == (400, True)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029"])
async def test_a_separator_of_lines_makes_no_twin_either(app: App, separator: str) -> None:
    twin = f"jane{separator}@contoso.com"
    (problem,) = await app.problems(await app.bring(csv_file(JANE, {"userName": twin})))
    assert problem["line"] == 3
    await refused(app.call("POST", "scim/v2/Users", {"schemas": [USER], "userName": twin}), "userName", separator)
    await refused(
        app.call("POST", "scim/v2/Groups", {"schemas": [GROUP], "displayName": twin}), "displayName", separator
    )
    path = f"accounts/{(await app.account('jane@contoso.com'))['id']}"
    await refused(app.call("PATCH", path, {"document": {"userName": twin}}), "userName", separator)
    await refused(app.call("PATCH", path, {"document": {"displayName": twin}}), "displayName", separator)


async def test_what_is_stored_stays_readable_and_can_be_corrected(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    document = {"userName": "ann\u200b@contoso.com", "externalId": "ann\u200b"}
    new = Account.new(directory.keys.new_id("ann"), document, Status.PROVISIONED, "2026-11-01T12:00:00.000Z")
    ann = await directory.accounts.create(replace(new), by="test")
    patch = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": {"title": "Engineer"}}]}
    assert (await app.call("PATCH", f"scim/v2/Users/{ann.id}", patch))["userName"] == document["userName"]
    patch["Operations"] = [{"op": "replace", "value": {"userName": "ann@contoso.com"}}]
    assert (await app.call("PATCH", f"scim/v2/Users/{ann.id}", patch))["userName"] == "ann@contoso.com"


@pytest.mark.parametrize("name", ["❤\ufe0f Team", "👨\u200d👩\u200d👧", "\u0646\u0647\u200c\u0627", "👍🏽\u200d Team"])
async def test_the_name_of_a_group_may_have_what_makes_another_sign_of_them(app: App, name: str) -> None:
    made = await app.call("POST", "scim/v2/Groups", {"schemas": [GROUP], "displayName": name})
    assert made["displayName"] == name
    job = await app.call("POST", "groups/import", csv_file({"group": name + " 2", "userName": ""}), "text/csv")
    assert (await app.wait(f"groups/imports/{job['id']}", "done"))["counts"]["created"] == 1


LONG = "x" * 1_001
UNFIT = (
    ("userName", LONG, "more than 1,000 characters"),
    ("email", "kein", "no e-mail address"),
    ("email", "a@b.de; c@d.de", "no e-mail address"),
    ("email", f"{LONG}@contoso.com", "more than 1,000 characters"),
    ("email", f"{LONG[:400]}@contoso.com", "no e-mail address"),
    ("displayName", "Jane \u202e dlanoD", "U+202E"),
    ("displayName", LONG, "more than 1,000 characters"),
)


@pytest.mark.parametrize(("attribute", "value", "told"), UNFIT)
async def test_an_edit_refuses_what_an_import_refuses(app: App, attribute: str, value: str, told: str) -> None:
    (problem,) = await app.problems(await app.bring(csv_file(JANE, {"userName": "new", attribute: value})))
    assert told.replace(",", "") in problem["reason"].replace(",", "")
    document = {"emails": [{"value": value}]} if attribute == "email" else {attribute: value}
    path = f"accounts/{(await app.account('jane@contoso.com'))['id']}"
    status, detail = await status_of(app.call("PATCH", path, {"document": document}))
    assert (status, detail.startswith(attribute), told in detail) == (400, True, True), detail
    assert (await app.account("jane@contoso.com"))["document"].get("displayName") is None


async def test_a_name_to_show_may_say_in_which_direction_it_is_written(app: App) -> None:
    path = f"accounts/{(await app.account('jane@contoso.com'))['id']}"
    name = "\u200f\u05e0\u05d5\u05e2\u05d4\u200f"
    assert (await app.call("PATCH", path, {"document": {"displayName": name}}))["document"]["displayName"] == name
    job = await app.bring(csv_file({**JANE, "displayName": name, "title": "x"}))
    assert job["counts"]["updated"] == 1


async def test_provisioning_is_held_to_the_length_and_may_send_addresses_of_any_kind(app: App) -> None:
    user = {"schemas": [USER], "userName": "new@contoso.com", "emails": [{"value": "any text", "type": "work"}]}
    assert (await app.call("POST", "scim/v2/Users", user))["emails"][0]["value"] == "any text"
    for change in ({"userName": LONG}, {"externalId": LONG}):
        status, detail = await status_of(app.call("POST", "scim/v2/Users", {**user, "userName": "b", **change}))
        assert (status, detail) == (400, f"{next(iter(change))}: has more than 1,000 characters: shorten it")
