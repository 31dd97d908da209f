"""Accounts, groups, the provisioning log and the activity through the portal's door: what they say, do and refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from link_orchestrator.functions import described
from link_orchestrator.portal.forms import Form
from link_orchestrator.portal.pages.account import Account, flat, patch_of
from link_orchestrator.portal.pages.activity import WORDS
from link_orchestrator.portal.pages.listed import COUNT
from link_orchestrator.portal.pages.provisioning import CAUSES
from link_orchestrator.requests.provisioning import REMEDIES
from shared.host.principal import READS
from tests.link_orchestrator.portal.door import COLLEAGUE, OPERATOR, READER, Answer, Door
from tests.link_orchestrator.portal.people import SHORT_HOSTILE, ask, bring, everybody, find
from tests.link_orchestrator.running import csv_file, graph, object_id
from tests.waiting import until

LINK = "They are the same: link"
"""The button of the page that shows an account beside a person."""


def version_on(page: Answer) -> str:
    """Return the version that a page's forms carry."""
    found = re.search(r'name="version" value="([^"]*)"', page.html)
    assert found
    return found[1].replace("&#34;", '"')


async def press(door: Door, path: str, do: str, who: Mapping[str, str] = OPERATOR, **fields: str) -> Answer:
    """Press a button as who has just loaded the page."""
    page = await door.get(path, who)
    return await door.send(path, {"do": do, **shown_on(page), **fields}, who, page.token)


def shown_on(page: Answer) -> dict[str, str]:
    """Return what a page's forms carry of what it showed: the version, and the seal of a question."""
    seal = re.search(r'name="shown" value="([0-9a-f]+)"', page.html)
    return {"version": version_on(page)} | ({"shown": seal[1]} if seal else {})


async def test_accounts_are_found_by_anything_and_listed_by_state(door: Door) -> None:
    ids = await everybody(door)
    for found in ("bob@contoso.com", "BOB@contoso.com", object_id(1), "bob"):
        page = await door.get(f"accounts?find={found}")
        assert f"/portal/accounts/{ids['bob@contoso.com']}" in page.html, found
        assert "ada@contoso.com" not in page.text
    assert "No account has this value" in (await door.get("accounts?find=bob&by=userName")).text
    assert "Ada Lovelace" in (await door.get("accounts?find=4711&by=applicationId")).text
    protected = (await door.get("accounts?state=protected")).text
    assert "root@contoso.com" in protected
    assert "ada@contoso.com" not in protected
    assert (await door.get("accounts?state=nonsense")).status == 400


async def test_an_account_is_found_by_how_its_user_name_or_address_begins(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.api.bring(csv_file({"userName": "ada.l", "email": "lovelace@contoso.com"}, {"userName": "adam"}))
    page = await door.get("accounts?find=ADA")
    assert "Accounts whose sign-in name or e-mail address begins so" in page.text
    assert ("ada.l" in page.text, "adam" in page.text) == (True, True)
    assert "ada.l" in (await door.get("accounts?find=lovel&by=begins")).text
    assert "adam" not in (await door.get("accounts?find=ada.l")).text, "a whole value is enough"
    assert "Nobody has “nobody” as a whole value" in (await door.get("accounts?find=nobody")).text
    assert "latest plan" not in page.text, "there is none"
    await door.api.plan(graph(1, "lovelace@contoso.com", displayName="Ada Lovelace"))
    (plan,) = re.findall(r'href="/portal/(runs/[^"]*find=lovelace)"', (await door.get("accounts?find=lovelace")).html)
    assert "Ada Lovelace" in (await door.get(plan)).text
    monkeypatch.setattr("shared.admin.pages.SCANNED", 1)
    page, seen = await door.get("accounts?find=adam&by=begins"), ""
    for _ in range(3):
        seen += page.text
        if following := re.findall(r'href="/portal/(accounts\?[^"]*)" rel="next"', page.html):
            page = await door.get(unescape(following[0]))
    assert seen.count("adam") >= 1


async def test_of_very_many_who_share_a_value_the_next_ones_are_a_link_away(door: Door) -> None:
    count = COUNT + 5
    await door.api.bring(csv_file(*({"userName": f"p{n:03}", "email": "desk@contoso.com"} for n in range(count))))
    page = await door.get("accounts?find=desk@contoso.com")
    (following,) = re.findall(r'href="/portal/(accounts\?[^"]*)" rel="next"', page.html)
    after = await door.get(unescape(following))
    names = [set(re.findall(r"\bp[0-9]{3}\b", one.text)) for one in (page, after)]
    assert [len(one) for one in names] == [COUNT, 5]
    assert len(names[0] | names[1]) == count
    assert 'rel="next"' not in after.html


async def test_an_account_says_who_changes_what_of_it(door: Door) -> None:
    ids = await everybody(door)
    bob = (await door.get(f"accounts/{ids['bob@contoso.com']}")).text
    assert "Provisioning has not come through this link yet" in bob
    assert "userName bob@contoso.com Entra, once confirmed" in bob
    assert "applicationId none here" in bob
    assert "He called" in bob
    assert "Sales" in bob
    assert "eva@contoso.com" in bob.partition("History")[2]
    await ask(door, "GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"')
    assert "userName bob@contoso.com Entra applicationId" not in bob
    assert "userName bob@contoso.com Entra " in (await door.get(f"accounts/{ids['bob@contoso.com']}")).text


async def test_what_is_done_to_an_account_by_hand_is_done_and_can_be_gone_back(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    for do, fields, said, holds in (
        ("link", {"identity": object_id(5), "reason": "R"}, "linked", {"status": "claimed"}),
        ("link", {"identity": object_id(6)}, "linked", {"status": "claimed"}),
        ("release", {"keepEvidence": "no"}, "released", {"status": "local", "evidence": {}}),
        ("link", {"identity": object_id(6)}, "linked", {"status": "claimed"}),
        ("release", {"keepEvidence": "yes"}, "released", {"evidence": {"objectId": object_id(6)}}),
        ("protect", {"protected": "yes"}, "protected", {"protected": True}),
        ("protect", {"protected": "no"}, "unprotected", {"protected": False}),
        ("switch", {"active": "no"}, "deactivated", {"active": False}),
        ("switch", {"active": "yes"}, "activated", {"active": True}),
    ):
        path = f"{kim}/link?identity={fields['identity']}" if do == "link" else kim
        sent = await press(door, path, do, **fields)
        assert (sent.status, sent.headers["Location"]) == (303, f"/portal/{kim}?said={said}"), (do, fields)
        account = await find(door, "kim")
        assert {name: account[name] for name in holds} == holds
    refused = await press(door, kim, "delete", confirm="kam")
    assert (refused.status, "type the sign-in name" in refused.text) == (400, True)
    assert (await press(door, kim, "delete", confirm="kim")).headers["Location"] == f"/portal/{kim}?said=deleted"
    assert "Its history is kept" in (await door.get(kim)).text


async def test_a_long_history_comes_in_pages_and_the_facts_stay(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("link_orchestrator.portal.pages.account.CHANGES", 3)
    ada = (await bring(door, "ada@contoso.com"))["ada@contoso.com"]
    await ask(door, "POST", f"accounts/{ada}/link", {"identity": object_id(1)})
    for number in range(4):
        await ask(door, "PATCH", f"accounts/{ada}", {"evidence": {"nameId": f"id{number}"}})
    page = await door.get(f"accounts/{ada}")
    assert page.text.count("evidence") >= 3
    following = re.search(r'href="(/portal/accounts/[^"]*changes=[^"]*)" rel="next"', page.html)
    assert following
    second = await door.get(following[1].removeprefix("/portal/"))
    assert "First page" in second.text
    assert "This is the last page." in second.text
    history = (await ask(door, "GET", f"accounts/{ada}"))["history"]
    assert [one["action"] for one in history[:2]] == ["create", "link"]
    for heading in ("Attributes, and who changes them", "Linked, not confirmed yet"):
        assert heading in second.text


async def test_no_link_says_that_an_account_is_deleted_which_is_there(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    assert "The account is deleted" not in (await door.get(f"{kim}?said=deleted")).text


async def test_an_object_id_that_is_none_is_refused_beside_its_field(door: Door) -> None:
    ada = f"accounts/{(await everybody(door))['ada@contoso.com']}"
    page = await press(door, ada, "look", identity="nonsense")
    assert page.status == 400
    assert 'value="nonsense"' in page.html
    assert "type a GUID like" in re.findall(r'id="e-identity">(.*?)</p>', page.html, re.DOTALL)[0]


async def test_a_link_with_whom_another_account_got_meanwhile_is_refused_and_nothing_typed_is_lost(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim', 'lee'))['kim']}/link?identity={object_id(1)}"
    page = await door.get(kim)
    await ask(door, "POST", f"accounts/{(await find(door, 'lee'))['id']}/link", {"identity": object_id(1)})
    sent = {"do": "link", "identity": object_id(1), "reason": "A <reason>", **shown_on(page)}
    refused = await door.send(kim, sent, token=page.token)
    assert (refused.status, "A &lt;reason&gt;" in refused.html) == (400, True)
    assert "This person has an account already" in refused.text
    assert (await find(door, "kim"))["link"] is None


async def test_no_button_links_whom_another_account_has_and_the_other_account_is_a_press_away(door: Door) -> None:
    ids = await everybody(door)
    page = await door.get(f"accounts/{ids['ada@contoso.com']}/link?identity={object_id(1)}")
    (holder,) = (await ask(door, "GET", "accounts", externalId=object_id(1)))["accounts"]
    assert "This person has an account already" in page.text
    assert f'<a href="/portal/accounts/{holder["id"]}">' in page.html
    assert f"signing in as {holder['userName']}. A person has one account" in page.text.replace(" @", "@")
    assert 'value="link"' not in page.html, "the API would refuse it"
    assert f'<a class="button" href="/portal/accounts/{holder["id"]}">Open the other account</a>' in page.html
    own = await door.get(f"accounts/{holder['id']}/link?identity={object_id(1)}")
    assert "has an account already" not in own.text
    assert 'value="link"' in own.html


async def test_a_link_by_hand_shows_whose_the_object_id_is_and_asks_again_where_nobody_knows(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    person = {"id": object_id(7), "userPrincipalName": "kim@contoso.com", "displayName": "Kim Lee"}
    await ask(door, "POST", "linking/identities", {"value": [person]})
    to = await press(door, kim, "look", identity="{" + object_id(7).upper() + "}")
    assert to.headers["Location"] == f"/portal/{kim}/link?identity={object_id(7)}"
    stranger = f"{kim}/link?identity={object_id(8)}"
    page = await door.get(stranger)
    assert "Nobody of this id was in what was read" in page.text
    refused = await door.send(stranger, {"do": "link", "identity": object_id(8)}, token=page.token)
    assert (refused.status, "nothing was linked" in refused.text) == (400, True)
    assert (await find(door, "kim"))["link"] is None
    known = f"{kim}/link?identity={object_id(7)}"
    page = await door.get(known)
    assert "Link kim with Kim Lee" in page.text
    assert "Sign-in name differs kim kim@contoso.com" in page.text
    assert (await press(door, known, "link", identity=object_id(7))).headers["Location"] == f"/portal/{kim}?said=linked"
    page = await door.get(kim)
    assert "Person in Entra Kim Lee Sign-in name in Entra kim@contoso.com Person as read" in page.text


async def test_values_that_differ_in_what_nobody_sees_are_said_to(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    await ask(door, "PATCH", kim, {"document": {"displayName": "\u200fKim Lee", "title": "Chief"}})
    person = {"id": object_id(7), "userPrincipalName": "k@contoso.com", "displayName": "Kim Lee", "jobTitle": "Boss"}
    await ask(door, "POST", "linking/identities", {"value": [person]})
    page = (await door.get(f"{kim}/link?identity={object_id(7)}")).text
    assert "Display name differs in invisible characters" in page
    assert "Job title differs Chief Boss" in page


async def planned_for_two(door: Door) -> tuple[Any, dict[str, str]]:
    """Return a plan that links jo with her person, and the ids of the accounts of jo and iwolf, whom nobody matches."""
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    iwolf = {"userName": "iwolf", "displayName": "Ida Wolf", "department": "Legal"}
    await door.api.bring(csv_file({"userName": "jo@contoso.com"}, iwolf))
    run = await door.api.plan(
        graph(1, "jo@contoso.com", displayName="Jörg Groß", department="Legal"),
        graph(2, "new@contoso.com", displayName="Ida Wolf"),
    )
    ids = {name: (await find(door, name))["id"] for name in ("jo@contoso.com", "iwolf")}
    return run, ids


async def test_an_account_shows_its_row_of_the_last_plan_and_who_matched_it(door: Door) -> None:
    run, ids = await planned_for_two(door)
    (row,) = await door.api.decisions(run, "link")
    page = await door.get(f"accounts/{ids['jo@contoso.com']}")
    assert "In the last plan The run Link Jörg Groß jo@contoso.com" in page.text.replace(" @", "@")
    assert f'href="/portal/runs/{run["id"]}/rows/{row["id"]}"' in page.html
    page = await door.get(f"accounts/{ids['iwolf']}")
    assert "No identity Nobody in Entra matches it." in page.text


async def test_a_link_with_a_person_whom_the_last_plan_matches_with_another_account_says_so_before(door: Door) -> None:
    _, ids = await planned_for_two(door)
    page = await door.get(f"accounts/{ids['iwolf']}/link?identity={object_id(1)}")
    told = page.text.replace(" @", "@").replace(" :", ":")
    assert "The last plan matches this person with another account jo@contoso.com: The account matches by" in told
    assert f'href="/portal/accounts/{ids["jo@contoso.com"]}"' in page.html
    assert f'class="button danger">{LINK}<' in page.html, "the plan says otherwise"
    page = await door.get(f"accounts/{ids['jo@contoso.com']}/link?identity={object_id(2)}")
    assert "The last plan matches this account with somebody else jo@contoso.com" in page.text.replace(" @", "@")
    assert f'class="button danger">{LINK}<' in page.html, "the plan says otherwise"
    own = await door.get(f"accounts/{ids['jo@contoso.com']}/link?identity={object_id(1)}")
    assert "The last plan matches" not in own.text
    assert f'class="button primary">{LINK}<' in own.html


async def test_no_link_by_hand_of_two_who_share_nothing_is_the_natural_one(door: Door) -> None:
    await bring(door, "iwolf", "joana")
    await door.api.upload(graph(1, "jo@contoso.com", displayName="Joana Groß"))
    for name, tone in (("iwolf", "danger"), ("joana", "primary")):
        page = await door.get(f"accounts/{(await find(door, name))['id']}/link?identity={object_id(1)}")
        assert ("Nothing of the two is alike" in page.text) == (tone == "danger")
        assert f'class="button {tone}">{LINK}<' in page.html


@pytest.mark.parametrize("planned", [True, False])
async def test_a_person_is_named_by_the_sign_in_name_that_was_read(door: Door, planned: bool) -> None:
    if planned:
        await planned_for_two(door)
    else:
        await bring(door, "iwolf")
        await door.api.upload(graph(1, "jo@contoso.com", displayName="Jörg Groß"))
    iwolf = f"accounts/{(await find(door, 'iwolf'))['id']}"
    to = await press(door, iwolf, "look", identity=" Jo@Contoso.com ")
    assert to.headers["Location"] == f"/portal/{iwolf}/link?identity={object_id(1)}"
    page = await door.get(f"{iwolf}/link?identity={object_id(1)}")
    assert "Link iwolf with Jörg Groß" in page.text
    assert object_id(1) in page.text
    refused = await press(door, iwolf, "look", identity="nobody@contoso.com")
    assert (refused.status, "nobody of this sign-in name is in what was read" in refused.text) == (400, True)
    assert (await press(door, f"{iwolf}/link?identity={object_id(1)}", "link", identity=object_id(1))).status == 303
    assert (await find(door, "iwolf"))["link"]["identity"] == object_id(1)


async def test_nobody_is_linked_by_hand_but_by_the_page_that_shows_the_two_as_they_are(door: Door) -> None:
    _, ids = await planned_for_two(door)
    iwolf, jo = (f"accounts/{ids[name]}/link" for name in ("iwolf", "jo@contoso.com"))
    page = await door.get(f"{iwolf}?identity={object_id(2)}")
    other = await door.get(f"{jo}?identity={object_id(2)}")
    colleagues = await door.get(f"{iwolf}?identity={object_id(2)}", COLLEAGUE)
    version = {"version": version_on(page)}
    link = {"do": "link", "identity": object_id(2)}
    for forged in (
        {},
        version,
        {"shown": shown_on(page)["shown"]},
        version | {"shown": shown_on(other)["shown"]},
        version | {"shown": shown_on(colleagues)["shown"]},
        {**shown_on(page), "identity": object_id(1)},
        {**shown_on(page), "identity": object_id(9)},
    ):
        refused = await door.send(iwolf, link | forged, token=page.token)
        assert (refused.status, "were not shown side by side as they are now" in refused.text) == (400, True), forged
    await door.api.upload(graph(2, "new@contoso.com", displayName="Somebody Else"))
    refused = await door.send(iwolf, link | shown_on(page), token=page.token)
    assert (refused.status, "Somebody Else" in refused.text) == (400, True), "the person is another by now"
    assert (await find(door, "iwolf"))["link"] is None
    assert (await door.send(iwolf, link | shown_on(refused), token=page.token)).status == 303


async def test_who_else_the_last_plan_matches_with_the_account_is_shown_before_it_is_linked(door: Door) -> None:
    await door.api.bring(csv_file({"userName": "jo@contoso.com"}))
    run = await door.api.plan(other := graph(3, "other@contoso.com"))
    await door.api.upload(graph(2, "new@contoso.com"))  # whom no plan knows
    jo = f"accounts/{(await find(door, 'jo@contoso.com'))['id']}/link"
    page = await door.get(f"{jo}?identity={object_id(2)}")
    assert "The last plan matches" not in page.text
    await ask(door, "POST", f"linking/runs/{run['id']}/cancel")
    await door.api.wait(f"linking/runs/{run['id']}", "cancelled")
    await door.api.plan(other, graph(1, "jo@contoso.com"))
    link = {"do": "link", "identity": object_id(2)}
    refused = await door.send(jo, link | shown_on(page), token=page.token)
    assert (refused.status, "matches this account with somebody else" in refused.text) == (400, True)
    assert (await find(door, "jo@contoso.com"))["link"] is None
    assert (await door.send(jo, link | shown_on(refused), token=page.token)).status == 303


async def test_what_was_typed_is_shown_where_somebody_linked_the_account_meanwhile(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    page = await door.get(f"{kim}/edit")
    await ask(door, "POST", f"{kim}/link", {"identity": object_id(9)})
    sent = {"do": "edit", "version": version_on(page), "userName": "kim.typed", "title": "Typed title"}
    again = await door.send(f"{kim}/edit", sent, token=page.token)
    assert again.status == 412
    assert all(typed in again.text for typed in ("Somebody changed this account", "kim.typed", "Typed title"))


@pytest.mark.parametrize(("do", "fields"), [("release", {}), ("link", {"identity": object_id(8)})])
async def test_a_button_does_nothing_to_an_account_that_changed_since_it_was_shown(
    door: Door, do: str, fields: dict[str, str]
) -> None:
    account = f"accounts/{(await everybody(door))['bob@contoso.com']}"
    bob = f"{account}/link?identity={fields['identity']}" if do == "link" else account
    page = await door.get(bob)
    await ask(door, "PATCH", account, {"applicationId": "new"})
    sent = {"do": do, **shown_on(page), **fields}
    again = await door.send(bob, sent, token=page.token)
    assert again.status == 412
    assert "Somebody changed this account while you had it open" in again.text
    assert "There is a problem Somebody changed this meanwhile, so your change was not stored." in again.text
    assert (await find(door, "bob@contoso.com"))["link"]["identity"] == object_id(1)
    assert (await door.send(bob, sent | shown_on(again), token=page.token)).status == 303


async def test_an_edit_changes_what_was_typed_otherwise_and_keeps_the_rest(door: Door) -> None:
    ids = await everybody(door)
    ada = f"accounts/{ids['ada@contoso.com']}"
    emails = [{"value": "a@contoso.com", "type": "work", "primary": True}, {"value": "b@contoso.com", "type": "home"}]
    await ask(door, "PATCH", ada, {"document": {"emails": emails}})
    same = await press(door, f"{ada}/edit", "edit", title="Analyst", emails="a@contoso.com\r\nb@contoso.com")
    assert same.headers["Location"] == f"/portal/{ada}?said=unchanged"
    sent = await press(
        door,
        f"{ada}/edit",
        "edit",
        **{
            "title": "",
            "name.familyName": "Byron",
            "emails": "a@contoso.com\r\nc@contoso.com",
            "department": "Numbers",
            "applicationId": "4712",
            "evidence.verifiedEmails": "a@contoso.com",
        },
    )
    assert sent.headers["Location"] == f"/portal/{ada}?said=edited"
    account = await find(door, "ada@contoso.com")
    assert "title" not in account["document"]
    assert account["document"]["displayName"] == "Ada Lovelace"
    assert account["document"]["emails"] == [emails[0], {"value": "c@contoso.com"}]
    assert (account["applicationId"], account["evidence"]) == ("4712", {"verifiedEmails": ["a@contoso.com"]})
    taken = await press(door, f"{ada}/edit", "edit", applicationId="4712", userName="bob@contoso.com", title="X")
    assert taken.status == 409
    assert 'value="X"' in taken.html


async def test_of_a_linked_account_only_what_is_managed_here_can_be_edited(door: Door) -> None:
    bob = f"accounts/{(await everybody(door))['bob@contoso.com']}/edit"
    page = await door.get(bob)
    assert 'name="userName"' not in page.html
    assert 'name="applicationId"' in page.html
    await press(door, bob, "edit", userName="eve", applicationId="b")
    account = await find(door, "bob@contoso.com")
    assert (account["userName"], account["applicationId"]) == ("bob@contoso.com", "b")


async def test_a_group_shows_its_members_and_is_released(door: Door) -> None:
    ids = await everybody(door)
    sales = f"groups/{ids['Sales']}"
    assert ids["Sales"] in (await door.get("groups?find=sales")).html
    page = await door.get(sales)
    assert 'Account</td><td><span class="badge">Linked</span>' in page.html, "the list knows of no confirmation"
    sent = await door.send(sales, {"do": "release", "keep": "attributes"}, token=page.token)
    assert sent.headers["Location"] == f"/portal/{sales}?said=released"
    released = await door.get(sales)
    assert "This group is managed here" in released.text
    assert "new@contoso.com" in released.text
    assert "Release it from Entra" not in released.text


async def test_refused_requests_stand_under_their_remedy(door: Door) -> None:
    await everybody(door)
    page = await door.get("provisioning")
    here, protected = page.text.split("The account is protected")
    assert "ada@contoso.com 4711 Deletion" in here
    assert "root@contoso.com Deletion" in protected
    assert "Users and groups of the enterprise application" in protected


async def test_a_refused_deletion_is_not_met_by_a_link_which_would_let_entra_delete(door: Door) -> None:
    ada = (await bring(door, "ada@contoso.com"))["ada@contoso.com"]
    await ask(door, "DELETE", f"scim/v2/Users/{ada}")
    page = (await door.get("provisioning")).text
    assert "Entra wanted to delete the account" in page
    assert "Do not link it" in page
    assert "link the account" not in page
    await ask(door, "POST", f"accounts/{ada}/link", {"identity": object_id(1)})
    page = (await door.get("provisioning")).text
    assert "If it was a deletion and the account is to stay, release it on its page" in page


async def test_a_refused_request_says_whose_the_external_id_is_that_it_carried(door: Door) -> None:
    kim = (await bring(door, "kim@contoso.com"))["kim@contoso.com"]
    for external_id in (object_id(1), object_id(2), "kim"):
        operation = {"op": "replace", "path": "externalId", "value": external_id}
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
        await ask(door, "PATCH", f"scim/v2/Users/{kim}", body)
    assert "Kim Holm" not in (await door.get("provisioning")).text
    await door.api.upload(graph(1, "kim.holm@contoso.com", displayName="Kim Holm"))
    page = (await door.get("provisioning")).text
    assert f"Kim Holm {object_id(1)}" in page
    assert object_id(2) in page
    rows = (await ask(door, "GET", "linking/refusals", identities="true"))["refusals"]
    (named,) = [row["identity"] for row in rows if "identity" in row]
    assert named == {"objectId": object_id(1), "userPrincipalName": "kim.holm@contoso.com", "displayName": "Kim Holm"}
    assert all("identity" not in row for row in (await ask(door, "GET", "linking/refusals"))["refusals"])


async def test_the_activity_names_who_did_what(door: Door) -> None:
    await everybody(door)
    text = (await door.get("activity")).text
    assert "Linked an account by hand bob@contoso.com eva@contoso.com" in text
    assert "No import, run, undo or verification is under way." in text


async def test_the_activity_says_for_how_long_it_is_kept_and_that_a_plan_waits(door: Door) -> None:
    assert "with their name, for 180 days." in (await door.get("activity")).text
    await door.api.plan(graph(1, "ada@contoso.com"))
    assert "A plan waits for its approval: Run of" in (await door.get("activity")).text


async def test_a_file_that_was_looked_at_is_not_called_imported(door: Door) -> None:
    await door.api.call("POST", "accounts/import", csv_file({"userName": "kim"}), "text/csv", preview="true")
    text = (await door.get("activity")).text
    assert "Looked at what an import would do" in text
    assert "Imported accounts" not in text


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("/edit", {"do": "edit", "title": "Boss", "emails": "kim@contoso.com\nk@contoso.com"}),
        ("/link", {"do": "link", "identity": object_id(7), "reason": "She asked for it"}),
        ("", {"do": "delete", "confirm": "kimberly"}),
    ],
    ids=["edit", "link", "delete"],
)
async def test_what_was_typed_for_an_account_that_a_colleague_deleted_is_shown_and_who_it_was(
    door: Door, path: str, typed: dict[str, str]
) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    page = await door.get(kim)
    assert (await press(door, kim, "delete", COLLEAGUE, confirm="kim")).status == 303
    gone = await door.send(kim + path, typed, token=page.token)
    assert (gone.status, "somebody removed it while this page was open" in gone.text) == (404, True), gone.text
    assert "max@contoso.com" in gone.text
    kept = gone.html.partition("What you had typed")[2]
    assert all(f"<dd>{value}</dd>" in kept for name, value in typed.items() if name != "do")
    assert "token" not in gone.text.partition("What you had typed")[2].partition("History")[0]


@pytest.mark.parametrize("do", ["link", "release"])
async def test_what_was_typed_beside_an_account_that_a_colleague_changed_stays(door: Door, do: str) -> None:
    ids = await everybody(door)
    path = f"accounts/{ids['bob@contoso.com' if do == 'release' else 'ada@contoso.com']}"
    to = f"{path}/link?identity={object_id(9)}" if do == "link" else path
    before = await door.get(to)
    assert (await press(door, path, "protect", COLLEAGUE, protected="yes")).status == 303
    link = {"identity": object_id(9), "reason": "She asked for it"}
    typed = link if do == "link" else {"keepEvidence": "no"}
    page = await door.send(to, {"do": do, **shown_on(before), **typed}, token=before.token)
    assert (page.status, "Somebody changed this account while you had it open" in page.text) == (412, True), page.text
    # A protected account has no form for a release, so that it is said what was chosen.
    kept = page.html if do == "link" else page.html.partition("What you had typed")[2]
    assert all(value in kept for value in typed.values())


async def test_the_activity_names_what_was_done_on_a_page(door: Door) -> None:
    kim = f"accounts/{(await bring(door, 'kim'))['kim']}"
    await press(door, kim, "protect", protected="yes")
    assert "Edited an account kim eva@contoso.com" in (await door.get("activity")).text


@pytest.mark.parametrize("path", ["accounts", "groups", "provisioning", "activity"])
async def test_a_reader_sees_everything_and_no_button(door: Door, path: str) -> None:
    ids = await everybody(door)
    one = {"accounts": f"accounts/{ids['bob@contoso.com']}", "groups": f"groups/{ids['Sales']}"}.get(path, path)
    for shown in {path, one}:
        page = await door.get(shown, READER)
        assert page.status == 200
        assert 'method="post"' not in page.html
    token = (await door.get(f"accounts/{ids['bob@contoso.com']}")).token
    sent = await door.send(f"accounts/{ids['bob@contoso.com']}", {"do": "release"}, READER, token)
    assert sent.status == 403


async def adopt(door: Door) -> str:
    """Have a create over SCIM link an account, and return its id."""
    name = "kim@contoso.com"
    await ask(door, "PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], "adoptOnCreate": True})
    ids = await bring(door, name)
    upload = await ask(door, "POST", "linking/identities", {"value": [graph(9, "eve@contoso.com")]})
    run = await ask(door, "POST", "linking/runs", {"identities": upload["id"]})

    async def planned() -> bool:
        return bool((await ask(door, "GET", f"linking/runs/{run['id']}"))["phase"] == "planned")

    await until(planned)
    await ask(door, "POST", "scim/v2/Users", {"userName": name, "externalId": object_id(1)})
    return ids[name]


async def test_what_a_create_linked_is_listed_and_taken_back_together(door: Door) -> None:
    kim = await adopt(door)
    page = await door.get("provisioning?show=adoptions")
    assert "kim@contoso.com" in page.text
    assert "Take all of them back" in page.text
    assert "This takes back the 1 link of this list" in page.text
    sent = await door.send("provisioning?show=adoptions", {"do": "undo"}, token=page.token)
    assert sent.status == 303
    where = sent.headers["Location"].removeprefix("/portal/")
    assert (await door.get(f"jobs/{where.partition('/')[2]}")).headers["Location"] == f"/portal/{where}"

    async def ended() -> bool:
        return "What became of each" in (await door.get(where)).text

    await until(ended)
    assert "kim@contoso.com" in (await door.get(where)).text
    assert (await ask(door, "GET", f"accounts/{kim}"))["status"] == "local"
    assert "Started to take back the links that provisioning made by itself" in (await door.get("activity")).text


async def test_every_job_leads_to_its_page(door: Door) -> None:
    await bring(door, "kim")
    upload = await ask(door, "POST", "linking/identities", {"value": [graph(9, "eve@contoso.com")]})
    for job, place in ((upload["id"], "uploads"), ("run2026", "runs"), ("groupimportundo1", "import-undos")):
        assert (await door.get(f"jobs/{job}")).headers["Location"] == f"/portal/{place}/{job}"
    assert (await door.get(f"uploads/{upload['id']}")).status == 200
    assert (await door.get("jobs/verification1")).status == 404
    assert (await door.get("undos/undo1")).status == 404


@pytest.mark.parametrize("path", ["accounts/nobody", "groups/nobody", f"accounts/{'0' * 36}/edit"])
async def test_who_is_not_there_is_a_page_that_says_so(door: Door, path: str) -> None:
    assert (await door.get(path)).status == 404


async def test_hostile_texts_are_shown_as_texts(door: Door) -> None:
    ids = await everybody(door)
    for path in ("accounts", f"accounts/{ids[SHORT_HOSTILE]}", f"accounts/{ids[SHORT_HOSTILE]}/edit", "groups"):
        page = await door.get(path)
        assert "<img" not in page.html
        assert "<script>" not in page.html
        assert SHORT_HOSTILE in page.text or "edit" in path


def test_a_document_is_told_attribute_by_attribute() -> None:
    document: Any = {
        "schemas": ["x"],
        "id": "1",
        "name": {"givenName": "Ada"},
        "emails": [{"value": "a@b.c", "type": "work", "primary": True}, {"value": "d@e.f"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "7"}},
        "active": True,
    }
    assert [*flat(document)] == [
        ("name.givenName", "Ada"),
        ("emails[work]", "a@b.c (primary)"),
        ("emails[2]", "d@e.f"),
        ("enterprise.manager.value", "7"),
        ("active", "yes"),
    ]


def test_a_form_changes_nothing_that_it_does_not_have() -> None:
    account = {
        "document": {"userName": "kim", "title": "T"},
        "evidence": {},
        "applicationId": None,
        "sourceOfAuthority": "local",
    }
    view = Account(account)
    assert patch_of(view, Form({"title": ("T",), "displayName": (" ",)})) == {}
    assert patch_of(view, Form({"title": (" ",)})) == {"document": {"title": None}}
    assert patch_of(replace(view, account=account | {"sourceOfAuthority": "idp"}), Form({"title": ("",)})) == {}


def test_every_cause_has_a_remedy_and_every_change_has_words() -> None:
    assert [cause.name for cause in CAUSES] == [*REMEDIES]
    assert {route.name for route in described() if route.method not in READS} == {*WORDS}


async def renamed_by_entra(door: Door) -> str:
    """Have provisioning give a linked account another user name and title, and return its id."""
    kim = (await bring(door, "kim"))["kim"]
    await ask(door, "PATCH", f"accounts/{kim}", {"document": {"title": "Boss"}})
    await ask(door, "POST", f"accounts/{kim}/link", {"identity": object_id(5)})
    await ask(door, "GET", "scim/v2/Users", filter=f'externalId eq "{object_id(5)}"')
    changes = [{"op": "replace", "value": {"userName": "kim@contoso.com", "title": "Chief"}}]
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": changes}
    await ask(door, "PATCH", f"scim/v2/Users/{kim}", body)
    return kim


async def test_a_released_account_says_by_which_name_the_person_signs_in_and_gives_back_the_former(door: Door) -> None:
    kim = f"accounts/{await renamed_by_entra(door)}"
    shown = (await door.get(kim)).text
    assert "Sign-in name: kim became kim@contoso.com" in shown
    assert "Job title: Boss became Chief" in shown
    assert "goes on signing in as kim@contoso.com, and not as kim" in shown
    sent = await press(door, kim, "release", keepEvidence="yes")
    released = (await door.get(sent.headers["Location"].removeprefix("/portal/"))).text
    assert "signs in as before" not in released
    assert "The person signs in as kim@contoso.com ; before the link it was kim" in released
    sent = await press(door, kim, "rename", userName="kim")
    assert sent.headers["Location"] == f"/portal/{kim}?said=renamed"
    assert (await find(door, "kim"))["formerUserNames"] == ["kim@contoso.com"]
    assert "before the link it was" not in (await door.get(kim)).text


async def test_an_account_is_found_by_its_former_user_name(door: Door) -> None:
    kim = await renamed_by_entra(door)
    assert "kim@contoso.com was kim" in (await door.get("accounts?find=KIM")).text
    await ask(door, "PATCH", f"accounts/{kim}", {"applicationId": "7"})
    await ask(door, "POST", f"accounts/{kim}/release", {})
    (found,) = (await ask(door, "GET", "accounts", formerUserName="kim"))["accounts"]
    assert (found["id"], found["formerUserNames"]) == (kim, ["kim"])
    second = await bring(door, "kim")
    assert second["kim"] != kim, "the name is free for another"
    await ask(door, "DELETE", f"accounts/{kim}")
    assert (await ask(door, "GET", "accounts", formerUserName="kim"))["accounts"] == []


@pytest.mark.parametrize(("given", "taken"), [("accounts", "groups"), ("accounts", "accounts?state=local")])
async def test_a_page_that_goes_on_with_another_list_says_so_and_leads_to_its_first_page(
    door: Door, given: str, taken: str
) -> None:
    await bring(door, "kim", "lee")
    cursor = (await door.api.call("GET", given, count="1"))["cursor"]
    page = await door.get(f"{taken}{'&' if '?' in taken else '?'}cursor={cursor}")
    assert (page.status, "as it was asked for elsewhere, or in another way" in page.text) == (400, True), page.text
    assert f'href="/portal/{taken.partition("?")[0]}">Begin with its first page' in page.html
