"""The connection by its page: what to enter, whether a test was seen, and the mapping checked."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from link_orchestrator.portal.pages.connect import SWITCH, compare
from link_orchestrator.prediction.mapping import DEFAULT, read_mapping
from tests.link_orchestrator.portal.door import OPERATOR, READER, SAME_SITE, Answer, Door
from tests.link_orchestrator.portal.test_overview import bring_people
from tests.link_orchestrator.running import TOKEN, graph

POLICY = {"nameIdSource": "userPrincipalName", "adoptOnCreate": False}


async def check(door: Door, document: Any) -> Answer:
    """Send a schema by the page's form."""
    form = aiohttp.FormData({"token": (await door.get("connect")).token, "do": "check"})
    form.add_field("mapping", json.dumps(document), filename="schema.json", content_type="application/json")
    return await door.ask("POST", "connect", {**SAME_SITE, **OPERATOR}, data=form)


async def test_a_test_connection_is_seen(door: Door) -> None:
    page = await door.get("connect")
    assert "No test connection was seen yet" in page.text
    assert f"{door.url}/scim/v2" in page.text
    assert "local" in page.text
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with door.session.get("/scim/v2/Users?filter=userName eq %22nobody%22", headers=headers) as answer:
        assert answer.status == 200
    page = await door.get("connect")
    assert "The connection works" in page.text
    assert "It has changed nothing yet" in page.text
    assert TOKEN not in page.html
    assert "The connection works" in (await door.get("connect?fragment=seen")).text


async def test_provisioning_stays_stopped_on_it_after_an_undo_and_after_a_small_run_that_follows(door: Door) -> None:
    await bring_people(door)
    assert "linked 2 accounts: it may be on" in (await door.get("connect")).text
    run = (await door.api.call("GET", "linking/runs"))["runs"][0]
    undo = await door.api.call("POST", f"linking/runs/{run['id']}/undo")
    await door.api.wait(f"linking/undos/{undo['id']}", "done")
    page = (await door.get("connect")).text
    assert "Leave provisioning stopped An undo took links back, and nobody was linked since." in page
    assert "it may be on" not in page
    people = [graph(number, f"{name}@contoso.com") for number, name in enumerate(("ada", "ben", "cid"))]
    await door.api.apply(await door.api.plan(*people), links=1)
    page = (await door.get("connect")).text
    assert "Leave provisioning stopped 2 links that an undo took back are not made again." in page
    assert "Not yet: 2 links that an undo took back" in page
    assert "it may be on" not in page
    assert "2 links that an undo took back are not made again" in (await door.get()).text


async def test_a_mapping_is_checked(door: Door) -> None:
    attributes = {"externalId": "mailNickname", "userName": "userPrincipalName"}
    sent = await check(door, {"attributes": attributes, "matching": ["externalId"]})
    assert (sent.status, sent.headers["Location"]) == (303, "/portal/connect?said=checked")
    page = await door.get("connect")
    assert "externalId comes from mailNickname" in page.text
    assert "Map objectId to externalId and give that mapping matching precedence 1." in page.text


async def test_a_mapping_with_something_wrong_is_not_announced_as_well(door: Door) -> None:
    """A green sentence above, and what is wrong far below it, was read as the whole answer."""
    attributes = {"externalId": "mailNickname", "userName": "mail"}
    await check(door, {"attributes": attributes, "matching": ["userName"]})
    page = await door.get("connect?said=checked")
    assert 'class="said"' not in page.html
    assert "4 things in the mapping to correct before you start provisioning" in page.text
    assert page.text.count("Map objectId to externalId and give that mapping matching precedence 1.") == 2, (
        "no row of 3"
    )
    assert "another choice: see step 4" in page.text
    assert "nameIdSource" not in page.text, "a page calls it by the name of its field"
    assert "<code>Switch([IsSoftDeleted], , &#34;False&#34;" in page.html
    await check(door, DEFAULT.to_json())
    page = await door.get("connect?said=checked")
    assert "The mapping is kept for plans from now on. Nothing is wrong with it." in page.text
    assert "to correct" not in page.text


async def test_a_file_that_is_no_schema_is_refused_beside_its_field(door: Door) -> None:
    page = await check(door, {"value": []})
    assert page.status == 400
    assert "must be an exported provisioning schema: choose the file that Entra gives under Show" in page.text
    assert "{" not in page.html.partition('class="errors"')[2].partition("</div>")[0], "a page speaks no JSON"
    assert 'id="e-mapping"' in page.html
    page = await door.send("connect", {"do": "check"})
    assert "choose the file that you downloaded" in page.text
    page = await door.send("connect", {"do": "read", "source.graph.servicePrincipal": "<b>"})
    assert page.status == 400
    assert 'value="&lt;b&gt;"' in page.html


async def test_a_reader_sees_the_steps_and_no_button(door: Door) -> None:
    page = await door.get("connect", READER)
    assert "Matching precedence" in page.text
    assert "<form" not in page.html


async def test_connect_is_enough_to_set_entra_up(door: Door) -> None:
    page = (await door.get("connect")).text
    for told in (
        "SCIMLINK_CREDENTIALS",
        "scimCredentials",
        "add a second entry beside the first",
        "Only during object creation",
        "Who has no mail in Entra gets no account",
        "Sync only assigned users and groups",
        "Provision Microsoft Entra ID Groups",
        "preferredLanguage",
        "Target object actions",
    ):
        assert told in page, told
    await door.api.call("PUT", "directory/policy", {"nameIdSource": "mail"})
    assert (
        "By sign-in name: then that must be what Entra sends as NameID, mail as the policy has it"
        in (await door.get("connect")).text
    )


def test_the_mapping_that_is_asked_for_is_right_in_itself() -> None:
    assert all(one.is_right for one in compare(DEFAULT.to_json(), POLICY))
    attributes = {"externalId": "objectId", "userName": "mail"}
    own = read_mapping({"attributes": attributes, "matching": ["userName", "externalId"]}).to_json()
    assert {one.target: one.is_right for one in compare(own, POLICY)}["externalId"] is False
    assert [one.asked for one in compare(own, POLICY)][-1] == SWITCH


async def test_what_is_no_object_id_is_said_in_words(door: Door) -> None:
    page = await door.send("connect", {"do": "read", "source.graph.servicePrincipal": "abc"})
    assert "an object id of Entra is a GUID" in page.text
    assert "String should match" not in page.text
