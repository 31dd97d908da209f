"""A run is started by the page, refused beside its field, and what comes first is said."""

from __future__ import annotations

import json
import re

import pytest

from link_orchestrator.portal.pages.plan import estimate, find_checks, undone_since
from tests.link_orchestrator.portal.door import READER, Door
from tests.link_orchestrator.portal.test_bring import followed, send_file
from tests.link_orchestrator.running import graph

NOTHING = {"accounts": 0, "latest": {}}
POLICY = {"matchingEnded": False, "verifiedDomains": []}
CHECKED = {"isDefault": False, "warnings": []}


async def uploaded(door: Door) -> str:
    """Upload an identity and return the upload's id."""
    people = json.dumps([graph(1, "jane@contoso.com")]).encode()
    path, _ = await followed(door, await send_file(door, people, what="identities"), "Plan with it")
    return path.removeprefix("uploads/")


async def test_a_plan_is_made_of_an_upload(door: Door) -> None:
    upload = await uploaded(door)
    page = await door.get(f"plan?identities={upload}")
    assert f'value="{upload}" selected' in page.html
    sent = await door.send("plan", {"do": "start", "from": "upload", "identities": upload, "expiresHours": "24"})
    assert sent.status == 303
    assert re.fullmatch(r"/portal/runs/run[0-9a-f]+", sent.headers["Location"])
    assert "run" in (await door.get("plan")).text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"from": "upload"}, "choose an upload"),
        ({"from": "upload", "identities": "identities0", "expiresHours": "soon"}, "Hours"),
        ({"from": "graph", "source.graph": "all"}, "SCIMLINK_GRAPH_TENANTS"),
        ({"from": "graph", "source.graph": "groups", "source.graph.groups": "x"}, "an object id of Entra is a GUID"),
        ({"from": "upload", "identities": "x", "whose": "own", "policy": "{"}, "it is no JSON"),
        ({"from": "graph", "source.graph": "assigned", "source.graph.groups": "g1"}, "some groups: choose"),
        ({"from": "upload", "identities": "x", "source.graph.groups": "g1"}, "some groups: choose"),
        ({"from": "graph", "source.graph": "groups", "source.graph.servicePrincipal": "sp1"}, "another scope: choose"),
    ],
)
async def test_what_is_refused_is_said_and_kept(door: Door, fields: dict[str, str], told: str) -> None:
    page = await door.send("plan", {"do": "start"} | fields)
    assert page.status in (400, 409)
    assert told in page.text
    for name in ("expiresHours", "policy", "source.graph.groups", "source.graph.servicePrincipal"):
        if name in fields:
            assert fields[name] in page.html
    assert ('<p class="error" id="e-source.graph.' in page.html) == ("choose both" in page.text)
    if "source.graph" in fields:
        assert f'value="{fields["source.graph"]}" checked' in page.html


async def test_a_reader_sees_the_checks_and_no_button(door: Door) -> None:
    page = await door.get("plan", READER)
    assert "There are no accounts to link yet" in page.text
    assert "<form" not in page.html


def test_what_comes_first_is_said_before_it() -> None:
    checks = find_checks(NOTHING, POLICY, [], {"ready": False}, {"isDefault": True, "warnings": []})
    assert [one.tone for one in checks] == ["stop", "ask", "stop", "ask"]
    waiting = {"run": {"id": "run1", "phase": "planned", "options": {}}}
    well = find_checks(
        {"accounts": 1, "latest": waiting}, POLICY | {"verifiedDomains": ["a"]}, [{}], {"ready": True}, CHECKED
    )
    assert [(one.tone, one.path) for one in well] == [("go", ""), ("stop", "jobs/run1"), ("go", "")]
    ended = find_checks(NOTHING, POLICY | {"matchingEnded": True}, [{}], {"ready": True}, CHECKED)
    assert "Matching has ended" in ended[1].text


def test_the_time_of_a_plan_is_that_of_the_last_one_of_everybody() -> None:
    one = {"options": {}, "started": "2026-01-01T00:00:00.000Z", "planned": "2026-01-01T00:00:09.000Z"}
    later = {"options": {"since": ["x"]}, "started": "2026-01-01T00:00:00.000Z", "planned": "2026-01-01T00:00:01.000Z"}
    assert "took 9 s" in estimate([one, later])
    assert "No plan was made here yet" in estimate([])


def test_after_an_undo_a_plan_is_of_everybody_until_one_was_approved() -> None:
    undo = {"undo": {"started": "2026-01-02"}}
    before = {"options": {}, "approved": "2026-01-01"}
    later = {"options": {"since": ["x"]}, "approved": "2026-01-03"}
    dropped = {"options": {}}
    assert undone_since(undo, [dropped, later, before]) == "2026-01-02"
    assert undone_since(undo, [{"options": {}, "approved": "2026-01-03"}, before]) == ""
    assert undone_since({}, [before]) == ""
