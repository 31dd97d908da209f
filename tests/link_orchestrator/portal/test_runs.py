"""The pages of a run, through the door: what they say is the API's, and what they do is done."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from link_orchestrator import words
from link_orchestrator.portal.frame import Around
from link_orchestrator.portal.pages import decisions, of_approval
from link_orchestrator.portal.pages.of_job import OfJob
from link_orchestrator.portal.pages.of_run import Progress, Run
from link_orchestrator.portal.pages.run import OneRun
from link_orchestrator.portal.rendering import render, said
from link_orchestrator.requests import jobs
from shared.directory.directory import Directories
from shared.host.auth import Caller
from tests.link_orchestrator.portal.door import COLLEAGUE, EVA, OPERATOR, READER, SAME_SITE, Answer, Door
from tests.link_orchestrator.portal.people import bring
from tests.link_orchestrator.portal.runs import HOSTILE, api_of, plan_demo, plan_hostile
from tests.link_orchestrator.portal.test_words import raw_words
from tests.link_orchestrator.running import TOKEN, Api, csv_file, graph, object_id

TOKENED = {"Authorization": f"Bearer {TOKEN}"}
"""The header of whoever has the administrator's token."""
LOOK = "/undo?look=yes"
"""The page of an undo where it is looked at."""


@pytest.fixture
async def api(door: Door) -> AsyncIterator[Api]:
    """The JSON API behind the door."""
    async with api_of(door) as found:
        yield found


@pytest.fixture
async def run(api: Api) -> Any:
    """A planned run over the demo's people and groups."""
    return await plan_demo(api)


def here(run: Any, page: str = "") -> str:
    """Return the path of a page about a run."""
    return f"runs/{run['id']}{page}"


def boxes(run: Any) -> list[str]:
    """Return what the boxes of all warnings of a run send."""
    return [f"{one['code']} {one['digest']}" for one in run["warnings"]]


def seal_on(page: Answer) -> str:
    """Return the seal of what a page shows."""
    found = re.search(r'name="shown" value="([0-9a-f]+)"', page.html)
    assert found, "nothing is asked on this page"
    return found[1]


async def row_of(api: Api, run: Any, decision: str, place: int = 0) -> Any:
    return (await api.decisions(run, decision))[place]


async def approved(door: Door, api: Api, run: Any) -> Any:
    """Approve a run on its page, and return it once it has ended."""
    sent = await door.send(
        here(run, "/approve"),
        {"do": "approve", "links": f"{run['links']:,}", "acknowledged": boxes(run), "pauseProvisioning": "yes"},
    )
    assert (sent.status, sent.headers["Location"]) == (303, f"/portal/{here(run)}?said=approved"), sent.text
    return await api.wait(f"linking/runs/{run['id']}", "done")


async def test_a_row_that_was_not_taken_is_told_in_one_sentence(api: Api, door: Door) -> None:
    file = csv_file({"userName": "kim@contoso.com"}, {"userName": "l\x07ea@contoso.com"})
    job = await api.call("POST", "accounts/import", file, "text/csv")
    await api.wait(f"accounts/imports/{job['id']}", "done")
    people = await api.call("POST", "linking/identities", json.dumps({"value": [graph(1, "kim@contoso.com")]}).encode())
    run = await api.call("POST", "linking/runs", {"identities": people["id"]})
    await api.wait(f"linking/runs/{run['id']}", "planned")
    page = (await door.get(f"runs/{run['id']}")).text
    assert "holds control characters" in page
    assert ".." not in page


async def test_without_a_run_the_list_says_how_to_begin(door: Door) -> None:
    page = await door.get("runs")
    assert page.status == 200
    assert "There was no run yet" in page.text


async def test_every_number_on_the_pages_of_a_plan_is_the_apis(door: Door, run: Any) -> None:
    listed, page = await door.get("runs"), await door.get(here(run))
    assert f"{run['links']:,}" in listed.text
    for count in (*run["counts"].values(), *run["predicted"].values(), *run["impact"].values()):
        assert f"{count:,}" in page.text
    for warning in run["warnings"]:
        assert warning["warning"] in page.text
    assert "GET /linking" not in page.text, "remedies lead to pages"
    assert "Only addresses in contoso.com and fabrikam.com prove anything." in page.text
    assert "accounts.csv" in page.text


@pytest.mark.parametrize("page", ["", "/decisions", "/approve", "/pilot", "/verify", "/undo", "/groups", "/problems"])
async def test_a_reader_sees_every_page_and_no_button(door: Door, run: Any, page: str) -> None:
    shown = await door.get(here(run, page), READER)
    assert shown.status == 200
    assert 'method="post"' not in shown.html


@pytest.mark.parametrize(
    "page", ["", "/decisions", "/rows/00link_0", "/approve", "/pilot", "/verify", "/undo", "/groups"]
)
async def test_a_run_that_is_not_there_is_said(door: Door, page: str) -> None:
    assert (await door.get(f"runs/run0{page}")).status == 404


async def test_a_second_plan_is_led_to_the_one_that_waits(door: Door, api: Api, run: Any) -> None:
    upload = run["options"]["identities"]
    page = await door.send("plan", {"do": "start", "from": "upload", "identities": upload})
    assert page.status == 409
    assert "Another run waits for its approval, or is being carried out: approve it, or drop it, first." in page.text
    assert f'href="/portal/jobs/{run["id"]}"' in page.html
    assert "POST" not in page.text


async def test_what_is_lost_with_a_plan_is_said_before_it_is_dropped(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "review")
    await api.call("POST", f"linking/{here(run)}/review", {"rows": [row["id"]], "action": "exclude"})
    page = await door.get(here(run))
    assert "what was decided about its rows is lost: 1 to exclude" in page.text
    assert page.html.index("Drop this plan") < page.html.index("Yes, drop it")


@pytest.mark.parametrize("decision", ["conflict", "outsideVerifiedDomains", "excluded"])
async def test_what_to_do_about_a_row_is_said_in_the_words_of_pages(
    door: Door, api: Api, run: Any, decision: str
) -> None:
    row = await row_of(api, run, decision)
    page = await door.get(here(run, f"/rows/{row['id']}"))
    for word in ("POST /", "verifiedDomains", "excluded in the policy"):
        assert word not in page.text


async def test_a_plan_is_dropped_by_its_button(door: Door, api: Api, run: Any) -> None:
    sent = await door.send(here(run), {"do": "cancel"})
    assert (sent.status, sent.headers["Location"]) == (303, f"/portal/{here(run)}?said=cancelled")
    await api.wait(f"linking/runs/{run['id']}", "cancelled")
    page = await door.get(here(run))
    assert "This run is cancelled" in page.text
    assert "Nothing has changed." in page.text


@pytest.mark.parametrize("page", ["", "/verify", "/undo"])
async def test_how_far_it_is_can_be_asked_for_alone(door: Door, api: Api, run: Any, page: str) -> None:
    asked = {"identities": run["options"]["identities"], "full": True}
    await api.call("POST", f"linking/runs/{run['id']}/cancel")
    await api.wait(f"linking/runs/{run['id']}", "cancelled")
    again = await api.call("POST", "linking/runs", asked)
    shown = await door.get(here(again, page), READER)
    part = await door.get(here(again, f"{page}?fragment=progress"), READER)
    assert (shown.status, part.status) == (200, 200)
    assert 'class="live"' in part.html
    assert "<html" not in part.html


async def test_a_row_is_reviewed_by_its_button_and_the_next_one_is_at_hand(door: Door, api: Api, run: Any) -> None:
    first, second = (await api.decisions(run, "review"))[:2]
    path = here(run, "/decisions?decision=review")
    sent = await door.send(path, {"do": "review", "one": f"link {first['id']}"})
    assert sent.status == 303
    page = await door.get(sent.headers["Location"].removeprefix("/portal/"))
    assert re.search(rf'<tr data-at[^>]*>\s*<td class="tick"><input[^>]*value="{second["id"]}"', page.html)
    assert "It is linked with the run" in page.text
    assert (await row_of(api, run, "review"))["review"]["person"] == "eva@contoso.com"


async def test_why_a_files_decisions_were_not_taken_is_counted_by_reason(door: Door, api: Api, run: Any) -> None:
    rows = (await api.decisions(run, "noIdentity"))[:4]
    lines = ["run,row,action", *(f"{run['id']},{row['id']},exclude" for row in rows), f"{run['id']},x,jump"]
    form = aiohttp.FormData()
    for name, value in {"token": (await door.get(here(run, "/decisions"))).token, "do": "file"}.items():
        form.add_field(name, value)
    form.add_field("file", "\n".join(lines).encode(), filename="d.csv", content_type="text/csv")
    shown = await door.ask("POST", here(run, "/decisions"), {**SAME_SITE, **OPERATOR}, data=form)
    answer = await api.call("POST", f"linking/runs/{run['id']}/decisions", "\n".join(lines).encode(), "text/csv")
    assert answer["notTaken"] == 5
    assert "How many by which reason" in shown.text
    for one in answer["byReason"]:
        assert f"{one['count']} {one['reason']}" in shown.text
    review = {"rows": [row["id"] for row in rows], "action": "exclude"}
    answer = await api.call("POST", f"linking/runs/{run['id']}/review", review)
    assert sum(one["count"] for one in answer["byReason"]) == len(answer["refused"]) == 4
    page = await door.get(here(run, "/decisions"))
    ticked = {"do": "review", "rows": review["rows"], "action": "exclude"}
    shown = await door.send(here(run, "/decisions"), ticked, token=page.token)
    for one in answer["byReason"]:
        assert f"{one['count']} {one['reason']}" in shown.text


async def test_ticked_rows_are_decided_together_and_those_not_taken_are_named(door: Door, api: Api, run: Any) -> None:
    (ambiguous,) = await api.decisions(run, "ambiguous")
    reviews = await api.decisions(run, "review")
    rows = [ambiguous["id"], *(row["id"] for row in reviews)]
    page = await door.send(here(run, "/decisions"), {"do": "review", "action": "link", "rows": rows})
    assert page.status == 200
    assert f"{len(reviews)} other rows were decided" in page.text
    assert "open the row, and choose it there" in page.text
    sent = await door.send(here(run, "/decisions"), {"do": "review", "action": "leave", "rows": rows[1:]})
    assert sent.status == 303
    assert (
        (await door.send(here(run, "/decisions"), {"do": "review", "action": "link"}))
        .headers["Location"]
        .endswith("=none")
    )


@pytest.mark.parametrize("page", ["list", "list of those not reviewed", "row"])
async def test_a_row_that_a_colleague_decided_about_meanwhile_is_not_decided_unseen(
    door: Door, api: Api, run: Any, page: str
) -> None:
    row = await row_of(api, run, "review")
    path = here(run, f"/rows/{row['id']}") if page == "row" else here(run, "/decisions?decision=review")
    path += "&reviewed=false" if page == "list of those not reviewed" else ""
    fields = {"do": "review", "one": "link" if page == "row" else f"link {row['id']}"}
    shown = await door.get(path)
    fields["seen"] = re.findall(r'name="seen" value="([^"]*)"', shown.html)
    other = {"do": "review", "one": fields["one"].replace("link", "exclude")}
    assert (await door.send(path, other, COLLEAGUE)).status == 303
    refused = await door.send(path, fields)
    assert (refused.status, "Since the page was shown" in refused.text) == (400, True)
    assert (await row_of(api, run, "review"))["review"]["action"] == "exclude"
    if page == "list of those not reviewed":
        assert row["identity"]["userPrincipalName"] not in refused.text
        return
    assert f"max@contoso.com decided about {row['identity']['userPrincipalName']}" in refused.text
    fields["seen"] = re.findall(r'name="seen" value="([^"]*)"', refused.html)
    assert (await door.send(path, fields)).status == 303, "whoever has seen it decides"
    assert (await row_of(api, run, "review"))["review"]["action"] == "link"


async def test_the_same_decision_is_taken_twice(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "review")
    path = here(run, "/decisions?decision=review")
    fields = {"do": "review", "one": f"link {row['id']}", "seen": f"{row['id']} "}
    for _ in range(2):
        assert (await door.send(path, fields)).status == 303
    assert (await door.send(path, {**fields, "one": f"exclude {row['id']}"})).status == 400


async def test_all_rows_that_conditions_choose_are_counted_and_decided_by_their_number(
    door: Door, api: Api, run: Any
) -> None:
    rows = await api.decisions(run, "review")
    decided = await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [rows[0]["id"]], "action": "exclude"})
    assert decided["reviewed"] == 1
    path = here(run, "/all?decision=review&action=link")
    assert path.replace("&", "&amp;") in (await door.get(here(run, "/decisions?decision=review"))).html
    page = await door.get(path)
    left = len(rows) - 1
    assert f"{left} rows" in page.text
    assert rows[0]["identity"]["userPrincipalName"] not in page.text, "somebody has decided about it"
    (digest,) = re.findall(r'name="digest" value="([^"]*)"', page.html)
    fields = {"do": "decide", "digest": digest, "number": str(left)}
    wrong = await door.send(path, {**fields, "number": "3"})
    assert (wrong.status, f"type {left}, the number of rows shown" in wrong.text.lower()) == (400, True)
    assert 'value="3"' in wrong.html
    other = await door.send(path, {**fields, "digest": "0" * 32})
    assert (other.status, "other rows than the page had shown" in other.text) == (400, True)
    assert len([row for row in await api.decisions(run, "review") if "review" in row]) == 1
    sent = await door.send(path, fields)
    assert sent.headers["Location"].endswith("said=all"), sent.text
    actions = [row["review"]["action"] for row in await api.decisions(run, "review")]
    assert actions == ["exclude", *["link"] * left]
    assert "There is no such row" in (await door.get(path)).text
    back = here(run, "/all?decision=review&action=leave")
    (digest,) = re.findall(r'name="digest" value="([^"]*)"', (await door.get(back)).html)
    assert (await door.send(back, {"do": "decide", "digest": digest, "number": str(len(rows))})).status == 303
    assert {row["review"]["action"] for row in await api.decisions(run, "review")} == {"leave"}


async def test_where_no_row_can_be_decided_nothing_is_there_to_tick_or_to_press(door: Door, run: Any) -> None:
    page = await door.get(here(run, "/decisions?decision=noIdentity"))
    assert "No identity" in page.text
    for offered in ('type="checkbox" name="rows"', "Tick all", "With the ticked rows", "Your decision", "tick,"):
        assert offered not in page.html, offered
    choose = await door.get(here(run, "/decisions?decision=noAccount"))
    assert ("Your decision" in choose.html, "Tick all" in choose.html) == (True, False), "its account is named"


async def test_what_is_decided_is_taken_off_the_rows_above_the_table_and_paper_names_the_rows(
    door: Door, api: Api, run: Any
) -> None:
    rows = await api.decisions(run, "review")
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [rows[0]["id"]], "action": "link"})
    page = await door.get(here(run, "/decisions?decision=review"))
    assert f"{len(rows)} rows, {len(rows) - 1} undecided" in page.text
    (paper,) = re.findall(r'<p class="print-only">(.*?)</p>', page.html)
    assert "decision: For a person to review; loaded <time" in paper
    everything = await door.get(here(run, "/decisions"))
    assert "(planned); all rows; loaded" in everything.html


async def test_of_several_accounts_the_choice_stands_with_them_and_before_the_exclusion(
    door: Door, api: Api, run: Any
) -> None:
    row = await row_of(api, run, "ambiguous")
    page = await door.get(here(run, f"/rows/{row['id']}"))
    (card,) = re.findall(r'<section class="card next">.*?</section>', page.html, re.DOTALL)
    assert card.count("Link with this one, on approval<") == len(row["candidates"])
    assert card.index("Link with this one") < card.index("Exclude from this run")
    assert "Why not" not in card, "nothing speaks against one"
    assert "Go on to approve" in page.html, "it is the last row"


async def test_a_conflict_names_whose_the_account_says_that_it_is_and_what_can_be_done(
    door: Door, api: Api, run: Any
) -> None:
    row = await row_of(api, run, "conflict")
    path = here(run, f"/rows/{row['id']}")
    assert "nobody of this Object ID is in what was read" in (await door.get(path)).text
    account = await api.call("GET", f"accounts/{row['account']['id']}")
    other = {"id": account["evidence"]["objectId"], "userPrincipalName": "chen@new.example", "displayName": "Chen B"}
    await api.call("POST", "linking/identities", {"value": [other]})
    page = (await door.get(path)).text
    assert "who else it may be Chen B chen@new.example" in page
    assert "If it is this person's, open the account and link it by hand" in page


async def test_what_a_tick_adds_to_an_exclusion_is_said_before_the_button_that_excludes(
    door: Door, api: Api, run: Any
) -> None:
    row = await row_of(api, run, "review")
    for path, button in (
        (f"/rows/{row['id']}", 'value="exclude"'),
        ("/decisions?decision=review", 'name="action" value="exclude"'),
        ("/all?decision=review&action=exclude", ">Exclude all of them<"),
    ):
        page = await door.get(here(run, path))
        assert page.html.index('type="checkbox" id="f-create-yes"') < page.html.index(button), path
        assert "a second account beside the one here" in page.text, path


async def test_all_rows_are_not_taken_back_where_a_colleague_decided_otherwise_meanwhile(
    door: Door, api: Api, run: Any
) -> None:
    """They are the same rows and as many, but what somebody said of one is not what the page had shown."""
    rows = [row["id"] for row in await api.decisions(run, "review")]
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": rows, "action": "link"})
    path = here(run, "/all?decision=review&action=leave")
    (digest,) = re.findall(r'name="digest" value="([^"]*)"', (await door.get(path)).html)
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": rows[:1], "action": "exclude"})
    refused = await door.send(path, {"do": "decide", "digest": digest, "number": str(len(rows))})
    assert (refused.status, "decided otherwise" in refused.text) == (400, True)
    assert [row["review"]["action"] for row in await api.decisions(run, "review")] == [
        "exclude",
        *["link"] * (len(rows) - 1),
    ]
    (digest,) = re.findall(r'name="digest" value="([^"]*)"', refused.html)
    assert (await door.send(path, {"do": "decide", "digest": digest, "number": str(len(rows))})).status == 303


async def test_rows_behind_those_that_one_page_looks_through_are_reached(
    door: Door, api: Api, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ROWS_READ", 1)
    first, *_ = rows = await api.decisions(run, "review")
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [first["id"]], "action": "exclude"})
    page, path = await door.get(here(run, "/all?decision=review&action=link")), ""
    assert "None so far" in page.text, "nobody says that all are decided about"
    named = 0
    while following := re.findall(r'href="/portal/([^"]*)"[^>]*>[Ll]ook through the next ones', page.html):
        path = following[0].replace("&amp;", "&")
        page = await door.get(path)
        named += "1 row" in page.text
    assert named == len(rows) - 1


async def test_no_first_page_is_empty_while_a_row_behind_it_meets_the_conditions(
    door: Door, api: Api, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ROWS_READ", 1)
    monkeypatch.setattr(decisions, "ROWS", 1)
    first, *others = await api.decisions(run, "link")
    department = first["identity"]["department"]
    row = next(one for one in others if one["identity"]["department"] != department)
    asked = f"/decisions?decision=link&department={row['identity']['department']}"
    name, path = row["identity"]["userPrincipalName"], here(run, asked)
    monkeypatch.setattr(decisions, "PATIENCE_SECONDS", 60)
    assert name in (await door.get(path)).text, "it goes on looking by itself"
    monkeypatch.setattr(decisions, "PATIENCE_SECONDS", -1)
    page = await door.get(path)
    assert "No such row among the first 5,000" in page.text
    for _ in range(20):
        if not (further := re.findall(r'href="/portal/([^"]*)"[^>]*>Go on looking', page.html)):
            break
        page = await door.get(further[0].replace("&amp;", "&"))
    assert name in page.text


async def test_sign_in_names_that_change_whatever_is_approved_are_said_to_be_none_of_the_links(
    api: Api, door: Door
) -> None:
    await api.bring(
        csv_file({"userName": "ada"}, {"userName": "bob", "email": "bob@contoso.com", "emailVerified": "y"})
    )
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    ada = await api.account("ada")
    await api.call("POST", f"accounts/{ada['id']}/link", {"identity": object_id(1)})
    run = await api.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"))
    (warned,) = [one for one in run["warnings"] if one["code"] == "userNameChanges"]
    assert (run["links"], warned["count"], warned["values"]) == (1, 2, {"linkedBefore": 1})
    assert "2 sign-in names will change with the first provisioning cycle; 1 of them of an account" in warned["warning"]
    page = (await door.get(here(run, "/approve"))).text
    assert "1 of them is of an account that was linked before this run, or by hand: it changes whatever" in page


async def test_of_all_rows_those_that_are_not_taken_are_named(door: Door, api: Api, run: Any) -> None:
    """An account that was protected since the plan is linked by nobody."""
    row = await row_of(api, run, "review")
    await api.call("PATCH", f"accounts/{row['account']['id']}", {"protected": True})
    path = here(run, "/all?decision=review&action=link")
    page = await door.get(path)
    (digest,) = re.findall(r'name="digest" value="([^"]*)"', page.html)
    number = len(await api.decisions(run, "review"))
    told = await door.send(path, {"do": "decide", "digest": digest, "number": str(number)})
    assert told.status == 200
    assert "1 row not taken" in told.text
    assert row["identity"]["userPrincipalName"] in told.text


@pytest.mark.parametrize(
    "query", ["", "?action=link", "?decision=conflict&action=link", "?decision=outsideVerifiedDomains&action=link"]
)
async def test_what_is_looked_at_one_by_one_is_not_decided_all_at_once(door: Door, run: Any, query: str) -> None:
    assert (await door.get(here(run, f"/all{query}"))).status == 400


async def test_no_button_of_a_row_is_pressed_by_enter_in_a_box(door: Door, run: Any) -> None:
    for path in (here(run, "/decisions"), here(run, "/decisions?decision=review")):
        form = (await door.get(path)).html.partition('id="review"')[2]
        harmless = form.index('<button hidden name="do" value="nothing">')
        assert harmless < form.index('name="one"'), "a browser presses the first button"
    page = await door.send(here(run, "/decisions"), {"do": "nothing", "rows": "x"})
    assert page.status == 200


async def test_a_decision_that_is_refused_is_said_on_the_page_with_the_ticks_kept(
    door: Door, api: Api, run: Any
) -> None:
    row = await row_of(api, run, "conflict")
    path = here(run, "/decisions?decision=conflict")
    page = await door.send(path, {"do": "review", "one": f"link {row['id']}", "rows": row["id"]})
    assert page.status == 400
    assert "A row that is conflict can not be reviewed to link" in page.text
    assert f'value="{row["id"]}" aria-label="{row["identity"]["userPrincipalName"]}" checked' in page.html


async def test_rows_are_chosen_by_every_condition_of_the_api_page_by_page(door: Door, api: Api, run: Any) -> None:
    page = await door.get(here(run, "/decisions?decision=link"))
    assert f"{run['counts']['link']} rows, 50 on this page" in page.text
    following = page.html.split('rel="next"')[0].rpartition('href="/portal/')[2].partition('"')[0].replace("&amp;", "&")
    assert "This is the last page." in (await door.get(following)).text
    assert f"{run['impact']['userName']} row" in (await door.get(here(run, "/decisions?changes=userName"))).text
    assert f"{run['predicted']['created']} row" in (await door.get(here(run, "/decisions?predicted=created"))).text
    chosen = await door.get(here(run, "/decisions?changes=userName&domain=fabrikam.com"))
    listed = await api.call("GET", f"linking/runs/{run['id']}/decisions", changes="userName", domain="fabrikam.com")
    assert f"{len(listed['decisions'])} rows on this page" in chosen.text


async def test_the_approval_leads_to_every_sign_in_name_that_changes_also_where_reviews_alone_link(
    door: Door, api: Api
) -> None:
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    there = [
        {"userName": "bob.old", "employeeNumber": "1"},
        {"userName": "kim.old", "employeeNumber": "2"},
        {"userName": "sue.old", "email": "sue@contoso.com"},
        {"userName": "s.older", "email": "sue@contoso.com"},
    ]
    await api.bring(csv_file(*there))
    names = ("bob", "kim", "sue")
    run = await api.plan(*(graph(n, f"{one}@contoso.com", employeeId=str(n)) for n, one in enumerate(names, 1)))
    path = f"linking/runs/{run['id']}"
    reviews = await api.decisions(run, "review")
    bob, kim = sorted(reviews, key=lambda row: str(row["identity"]["userPrincipalName"]))
    (sue,) = await api.decisions(run, "ambiguous")
    older = next(one["id"] for one in sue["candidates"] if one["userName"] == "s.older")
    listed = here(run, "/decisions?changes=userName")
    assert "No such row" in (await door.get(listed)).text, "nothing is linked yet"
    await api.call("POST", path + "/review", {"rows": [bob["id"]], "action": "link"})
    await api.call("POST", path + "/review", {"rows": [kim["id"]], "action": "exclude"})
    await api.call("POST", path + "/review", {"rows": [sue["id"]], "action": "link", "account": older})
    assert (await api.call("GET", path))["impact"]["userName"] == 2
    approval = await door.get(here(run, "/approve"))
    assert 'decisions?changes=userName">see from what to what' in approval.html
    page = (await door.get(listed)).text
    assert "2 rows" in page
    for name, before in (("bob", "bob.old"), ("sue", "s.older")):
        assert f"Signs in as {name}@contoso.com from then on, before as {before}." in page
    assert "kim@contoso.com" not in page
    both = {row["id"] for row in (await api.call("GET", path + "/decisions", changes="userName"))["decisions"]}
    assert both == {bob["id"], sue["id"]}


@pytest.mark.parametrize("wrong", ["score=2", "rule=luck", "decision=luck", "reviewed=perhaps", "evidence=x"])
async def test_a_condition_that_is_none_is_said_beside_the_filter(door: Door, run: Any, wrong: str) -> None:
    page = await door.get(here(run, f"/decisions?{wrong}"))
    assert page.status == 200
    assert "No row can be chosen so" in page.text
    assert wrong.partition("=")[0] in page.text


async def test_a_row_is_shown_side_by_side_with_what_differs(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "review")
    page = await door.get(here(run, f"/rows/{row['id']}"))
    assert page.status == 200
    assert "Sign-in name differs" in page.text
    assert said(row["remedy"]).striptags() in page.text
    assert said(row["reason"]).striptags() in page.text
    assert "An import" in page.text, "the account's history"


@pytest.mark.parametrize(
    "decision", ["link", "noAccount", "noIdentity", "conflict", "ambiguous", "excluded", "outsideVerifiedDomains"]
)
async def test_every_kind_of_row_has_its_page(door: Door, api: Api, run: Any, decision: str) -> None:
    for row in (await api.decisions(run, decision))[:2]:
        page = await door.get(here(run, f"/rows/{row['id']}"))
        assert page.status == 200, page.text
        assert said(row["reason"]).striptags() in page.text


async def test_of_several_accounts_each_stands_beside_the_person(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "ambiguous")
    page = await door.get(here(run, f"/rows/{row['id']}"))
    assert "The person, and each account as it is now" in page.text
    assert all(f'<th scope="col">{one["userName"]}</th>' in page.html for one in row["candidates"])
    assert "What connects the two" not in page.text, "which account it belongs to is not in there"


async def test_the_next_row_is_at_hand_though_the_one_decided_is_not_chosen_any_more(
    door: Door, api: Api, run: Any
) -> None:
    path = here(run, "/decisions?decision=review&reviewed=false")
    page = await door.get(path)
    ids = re.findall(r'name="rows" value="([^"]+)"', page.html)
    seen = re.findall(r'name="seen" value="([^"]*)"', page.html)
    assert len(ids) > 2
    sent = await door.send(path, {"do": "review", "one": f"exclude {ids[0]}", "seen": seen[0]}, token=page.token)
    assert sent.status == 303, sent.text
    after = await door.get(sent.headers["Location"].removeprefix("/portal/"))
    assert ids[0] not in re.findall(r'name="rows" value="([^"]+)"', after.html)
    assert re.search(rf'<tr data-at tabindex="-1">\s*<td class="tick"><input[^>]* value="{ids[1]}"', after.html)
    name = next(row for row in await api.decisions(run, "review") if row["id"] == ids[0])["identity"][
        "userPrincipalName"
    ]
    assert f"<strong>{name}</strong>: stays out of this run." in after.html


async def test_figures_lead_to_the_rows_that_they_count(door: Door, api: Api, run: Any) -> None:
    (row,) = (await api.decisions(run, "review"))[:1]
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    page = await door.get(here(run))
    counts = run["counts"]
    assert f"{counts['link']} as planned , 1 by a person's decision" in page.text
    assert f"{counts['review'] - 1} to review" in page.text
    for name, word in (("ambiguous", "with several accounts"), ("outsideVerifiedDomains", "outside the verified")):
        assert f"{counts[name]} {word}" in page.text
        assert f"decisions?decision={name}&amp;reviewed=false" in page.html


async def test_the_links_to_approve_add_up_whatever_was_excluded(door: Door, api: Api, run: Any) -> None:
    path = f"linking/runs/{run['id']}/review"
    linked, left = (await api.decisions(run, "review"))[:2]
    planned = await row_of(api, run, "link")
    await api.call("POST", path, {"rows": [linked["id"]], "action": "link"})
    await api.call("POST", path, {"rows": [left["id"], planned["id"]], "action": "exclude"})
    links = (await api.call("GET", f"linking/runs/{run['id']}"))["links"]
    assert links == run["links"]
    page = (await door.get(here(run))).text
    assert f"{links - 1} as planned , 1 by a person's decision" in page
    assert "Reviews so far: 3 rows 2 to exclude, 1 to link." in page
    left = sum(run["counts"].get(one, 0) for one in ("review", "ambiguous", "outsideVerifiedDomains"))
    assert f"2 of them are of the {left} left to a person; the plan had said of the others: linked on app" in page


async def test_a_link_of_many_is_offered_only_where_rows_may_be_linked_together(door: Door, run: Any) -> None:
    bulk = '<button class="button" name="action" value="link">Link</button>'
    assert bulk in (await door.get(here(run, "/decisions?decision=review"))).html
    assert bulk not in (await door.get(here(run, "/decisions?decision=outsideVerifiedDomains"))).html


async def test_a_person_is_found_among_the_decisions(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "review")
    page = await door.get(here(run, f"/decisions?find={row['identity']['userPrincipalName'][:-4].upper()}"))
    assert f'value="{row["id"]}"' in page.html
    assert "Link all" not in page.text, "nobody is decided about by a name alone"
    shown = await door.get(here(run, f"/rows/{row['id']}?find=x"))
    assert shown.status == 200


async def test_the_counterpart_is_named_on_the_page_of_a_row(door: Door, api: Api, run: Any) -> None:
    (row,) = await api.decisions(run, "ambiguous")
    path = here(run, f"/rows/{row['id']}")
    refused = await door.send(path, {"do": "look", "account": "nobody <b>"})
    assert refused.status == 400
    assert "no account has that sign-in name, key in the application, or id" in refused.text
    assert 'value="nobody &lt;b&gt;"' in refused.html
    assert (await door.send(path, {"do": "look", "account": ""})).status == 400
    account = row["candidates"][0]
    to = await door.send(path, {"do": "look", "account": account["userName"].upper()})
    pair = f"{path}/counterpart?account={account['id']}"
    assert (to.status, to.headers["Location"]) == (303, f"/portal/{pair}")
    assert "It is to be linked" not in (await door.get(path)).text, "nothing is decided before the two were shown"
    page = await door.get(pair)
    assert "Are they the same person?" in page.text
    assert "Nothing of the two is alike" not in page.text
    sent = {"do": "name", "account": account["id"], "shown": seal_on(page)}
    assert (await door.send(pair, sent)).status == 303
    assert "It is to be linked" in (await door.get(path)).text
    assert (await door.send(path, {"do": "review", "one": "leave"})).status == 303
    assert "It is to be linked" not in (await door.get(path)).text


async def test_accounts_that_are_probably_somebodys_are_linked_together_by_a_file_as_their_page_says(
    door: Door, api: Api
) -> None:
    await api.bring(csv_file({"userName": "amueller", "displayName": "Anna Mueller"}, {"userName": "kim"}))
    run = await api.plan(graph(1, "x1@contoso.com", displayName="Anna Mueller"), graph(2, "new@contoso.com"))
    path = "/decisions?decision=noAccount&score=0.9"
    page = await door.get(here(run, path))
    assert "Many of them at once, by a file" in page.text
    assert "Many of them at once" not in (await door.get(here(run, path), READER)).text
    assert "or decide many by a file" in (await door.get(here(run))).text
    table = (await door.get(here(run, "/report?format=csv&decision=noAccount&score=0.9"))).html
    (row,) = csv.DictReader(io.StringIO(table.lstrip("\ufeff")))
    assert row["suggestions"].startswith("amueller ")
    body = csv_file({**row, "action": "link", "account": row["suggestions"].split(" ")[0]})
    answer = await api.call("POST", f"linking/runs/{run['id']}/decisions", body, "text/csv")
    assert (answer["reviewed"], answer["run"]["links"]) == (1, 1)
    assert "Many of them at once" not in (await door.get(here(run, path))).text


async def test_nobody_is_named_but_by_the_page_that_shows_the_two_as_they_are(door: Door, api: Api, run: Any) -> None:
    (row,) = await api.decisions(run, "ambiguous")
    path = here(run, f"/rows/{row['id']}")
    brought = await bring(door, "zzyx.qwv", "zzyx.two")
    stranger, other = brought["zzyx.qwv"], brought["zzyx.two"]
    to = await door.send(path, {"do": "name", "account": stranger})
    pair = f"{path}/counterpart?account={stranger}"
    assert (to.status, to.headers["Location"]) == (303, f"/portal/{pair}"), "the row's page showed none but candidates"
    shown, colleague = seal_on(await door.get(pair)), seal_on(await door.get(pair, COLLEAGUE))
    elsewhere = seal_on(await door.get(f"{path}/counterpart?account={other}"))
    for seal in ("", "0" * 64, "\u00e9", colleague, elsewhere):
        refused = await door.send(pair, {"do": "name", "account": stranger, "shown": seal})
        assert (refused.status, "were not shown side by side as they are now" in refused.text) == (400, True)
        assert seal_on(refused) == shown, "the page asks its question"
    await api.bring(csv_file({"userName": "zzyx.qwv", "displayName": "Somebody Else"}))
    refused = await door.send(pair, {"do": "name", "account": stranger, "shown": shown})
    assert (refused.status, "Somebody Else" in refused.text) == (400, True), "the account changed since"
    assert "It is to be linked" not in (await door.get(path)).text


async def test_a_counterpart_that_shares_nothing_is_said_to_be_a_stranger(door: Door, api: Api, run: Any) -> None:
    (row,) = await api.decisions(run, "ambiguous")
    stranger = (await bring(door, "zzyx.qwv"))["zzyx.qwv"]
    page = await door.get(here(run, f"/rows/{row['id']}/counterpart?account={stranger}"))
    assert "Nothing of the two is alike They share no name, no address and no number." in page.text
    gone = await door.send(here(run, f"/rows/{row['id']}"), {"do": "look", "account": f"{stranger}0"})
    assert gone.status == 400


async def test_a_counterpart_of_an_account_is_a_person_who_was_read(door: Door, api: Api, run: Any) -> None:
    (row,), (person,) = (await api.decisions(run, "noIdentity"))[:1], (await api.decisions(run, "noAccount"))[:1]
    path, object_id = here(run, f"/rows/{row['id']}"), person["identity"]["objectId"]
    for typed, told in (("", "type the person's object id"), ("x", "GUID"), (str(UUID(int=9)), "nobody of this")):
        refused = await door.send(path, {"do": "look", "identity": typed})
        assert (refused.status, told in refused.text) == (400, True)
    to = await door.send(path, {"do": "look", "identity": object_id})
    pair = to.headers["Location"].removeprefix("/portal/")
    page = await door.get(pair)
    assert person["identity"]["userPrincipalName"] in page.text
    assert (await door.send(pair, {"do": "name", "identity": object_id})).status == 400
    sent = {"do": "name", "identity": object_id, "shown": seal_on(page)}
    assert (await door.send(pair, sent)).status == 303


async def test_a_file_of_decisions_is_taken_and_what_was_not_is_said_by_its_line(
    door: Door, api: Api, run: Any
) -> None:
    (link, review) = await row_of(api, run, "link"), await row_of(api, run, "review")
    lines = ["action,row,run", f"exclude,{link['id']},{run['id']}", f"link,{review['id']},{run['id']}"]
    path = here(run, "/decisions")

    async def send(*more: str) -> Any:
        import aiohttp

        form = aiohttp.FormData()
        for name, value in (("token", (await door.get(path)).token), ("do", "file")):
            form.add_field(name, value)
        text = "\r\n".join([*lines, *more]) if more != ("",) else ""
        form.add_field("file", text, filename="decisions.csv", content_type="application/vnd.ms-excel")
        from tests.link_orchestrator.portal.door import OPERATOR, SAME_SITE

        return await door.ask("POST", path, {**SAME_SITE, **OPERATOR}, data=form)

    page = await send(f"dance,{review['id']},{run['id']}")
    assert page.status == 200
    assert "Line 4 : action: one of link, exclude, leave, acknowledge" in page.text
    assert "2 other rows were decided" in page.text
    again = await send(f"dance,{review['id']},{run['id']}")
    assert "0 other rows were decided as you said, 2 were so already." in again.text
    taken = await send()
    assert taken.status == 303
    shown = await door.get(taken.headers["Location"].partition("/portal/")[2])
    assert "0 rows decided by the file, 2 were so already." in shown.text
    assert (await send("")).status == 400
    other = await send(f"link,{review['id']},run0")
    assert other.status == 400
    assert "nothing was decided" in other.text


async def test_whom_a_file_excludes_and_the_plan_links_is_hard_to_miss_and_excluded_by_a_press(
    door: Door, api: Api, run: Any
) -> None:
    row, path = await row_of(api, run, "link"), here(run, "/decisions")
    person = row["identity"]
    lines = "action,decision,objectId,userName,displayName\r\n"
    lines += f"exclude,review,{person['objectId']},{row['account']['userName']},{person['displayName']}"
    form = aiohttp.FormData()
    for name, value in (("token", (await door.get(path)).token), ("do", "file"), ("by", "names")):
        form.add_field(name, value)
    form.add_field("file", lines, filename="decisions.csv", content_type="text/csv")
    page = await door.ask("POST", path, {**SAME_SITE, **OPERATOR}, data=form)
    assert "This plan links 1 person whom your file excludes" in page.text
    assert 'role="alert"' in page.html
    who = f"{person['displayName']}, {row['account']['userName']}, {person['objectId']}"
    assert f"Line 2: {who}" in page.text
    assert page.html.index("whom your file excludes") < page.html.index("row not taken")
    assert f'<a href="/portal/{here(run, "/rows/" + row["id"])}">{who}</a>' in page.html
    assert (await door.send(path, {"do": "review", "rows": row["id"], "action": "exclude"})).status == 303
    assert (await row_of(api, run, "link"))["review"]["action"] == "exclude"


async def test_an_approval_takes_the_number_and_the_warnings_and_keeps_what_was_typed(
    door: Door, api: Api, run: Any
) -> None:
    path = here(run, "/approve")
    without = await door.send(
        path, {"do": "approve", "links": "7", "acknowledged": boxes(run), "pauseProvisioning": "yes"}
    )
    assert without.status == 400
    assert f"type {run['links']}, the number of links shown" in without.text
    assert 'value="7"' in without.html
    assert without.html.count('name="acknowledged"') == without.html.count('" checked>')
    unseen = await door.send(path, {"do": "approve", "links": str(run["links"]), "acknowledged": boxes(run)[1:]})
    assert unseen.status == 400
    assert "not every warning is ticked" in unseen.text
    changed = [*boxes(run)[1:], boxes(run)[0].split()[0] + " 0000000000000000"]
    assert (await door.send(path, {"do": "approve", "links": str(run["links"]), "acknowledged": changed})).status == 409
    assert (await api.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"
    done = await approved(door, api, run)
    assert done["counts"]["linked"] == run["links"]
    assert "by eva@contoso.com." in (await door.get(here(run))).text.partition("What the plan warned of")[2]
    again = await door.send(path, {"do": "approve", "links": str(run["links"])}, token=without.token)
    assert again.status == 409


@pytest.mark.parametrize("page", ["/approve", "/pilot"])
async def test_whom_the_policy_leaves_out_since_the_plan_is_counted_and_named_before_the_approval(
    door: Door, api: Api, run: Any, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = await api.call("GET", "directory/policy")
    assert "would be refused" not in (await door.get(here(run, page))).text
    first, second = (await api.decisions(run, "link"))[:2]
    name = first["identity"]["userPrincipalName"]
    changed = policy | {"excluded": [name], "setAside": [second["account"]["id"]]}
    await api.call("PUT", "directory/policy", changed)
    foretold = await api.call("GET", f"linking/runs/{run['id']}/left-out")
    assert foretold["refused"] == {"excluded": 1, "setAside": 1}
    shown = (await door.get(here(run, page))).text
    assert "2 links of this plan would be refused" in shown
    assert "1 person of it was excluded in the policy, and 1 account of it was set aside" in shown
    assert f"the other {foretold['lookedAt'] - 2:,} links are made" in shown
    assert name in shown
    monkeypatch.setattr(of_approval, "MOST_LOOKED_AT", 1)
    large = await door.get(here(run, page))
    assert "would be refused" not in large.text
    assert 'href="?count=yes"' in large.html, "of many links it is counted by a press"
    assert "2 links of this plan would be refused" in (await door.get(here(run, f"{page}?count=yes"))).text
    monkeypatch.undo()
    await api.call("PUT", "directory/policy", policy | {"excluded": [*policy["excluded"], "nobody@contoso.com"]})
    shown = (await door.get(here(run, page))).text
    assert f"None of its {foretold['lookedAt']:,} links would be refused for that" in shown
    await api.call("PUT", "directory/policy", policy)
    assert "would be refused" not in (await door.get(here(run, page))).text


async def test_reviews_that_the_page_did_not_count_are_not_approved_unseen(door: Door, api: Api, run: Any) -> None:
    """One row less and another one more: the number that was typed is right, and means other people."""
    page = await door.get(here(run, "/approve"))
    (seen,) = re.findall(r'name="reviews" value="([^"]*)"', page.html)
    link, review = await row_of(api, run, "link"), await row_of(api, run, "review")
    for action, row in (("exclude", link), ("link", review)):
        await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": action})
    fields = {"do": "approve", "links": str(run["links"]), "acknowledged": boxes(run), "pauseProvisioning": "yes"}
    refused = await door.send(here(run, "/approve"), fields | {"reviews": seen})
    assert (refused.status, "since you looked" in refused.text) == (409, True)
    (seen,) = re.findall(r'name="reviews" value="([^"]*)"', refused.html)
    run = await api.call("GET", f"linking/runs/{run['id']}")
    fields |= {"links": str(run["links"]), "acknowledged": boxes(run), "reviews": seen}
    assert (await door.send(here(run, "/approve"), fields)).status == 303


@pytest.mark.parametrize("ticked", [True, False])
async def test_provisioning_waits_as_it_is_ticked_whatever_the_run_began_with(
    door: Door, api: Api, run: Any, ticked: bool
) -> None:
    fields = {"do": "approve", "links": str(run["links"]), "acknowledged": boxes(run)}
    directory = await Directories(door.tables).open("main")
    await directory.jobs.change(
        run["id"], lambda job: replace(job, options={**job.options, "pauseProvisioning": not ticked})
    )
    fields |= {"pauseProvisioning": "yes"} if ticked else {}
    assert (await door.send(here(run, "/approve"), fields)).status == 303
    done = await api.wait(f"linking/runs/{run['id']}", "done")
    assert done["options"]["pauseProvisioning"] is ticked


async def test_reports_are_files_of_the_portal(door: Door, run: Any) -> None:
    for query, kind, end in (("", "text/html", "html"), ("?format=csv&decision=link", "text/csv", "csv")):
        report = await door.get(here(run, f"/report{query}"))
        assert (report.status, report.headers["Content-Type"].split(";")[0]) == (200, kind)
        assert report.headers["Content-Disposition"] == f'attachment; filename="{run["id"]}.{end}"'
    assert (await door.get(here(run, "/report?format=pdf"))).status == 400


async def test_what_linking_refused_is_counted_by_what_was_in_the_way(door: Door, api: Api, run: Any) -> None:
    policy = await api.call("GET", "directory/policy")
    changed, gone, excluded, aside = (await api.decisions(run, "link"))[:4]
    await api.call("PATCH", f"accounts/{changed['account']['id']}", {"document": {"title": "Dr"}})
    await api.call("DELETE", f"accounts/{gone['account']['id']}")
    named = {"excluded": [excluded["identity"]["objectId"]], "setAside": [aside["account"]["userName"]]}
    await api.call("PUT", "directory/policy", policy | named)
    done = await api.apply(await api.call("GET", f"linking/runs/{run['id']}"))
    assert done["refusedBy"] == {"changed": 1, "deleted": 1, "excluded": 1, "setAside": 1}
    assert sum(done["refusedBy"].values()) == done["counts"]["refused"]
    page = (await door.get(here(run))).text
    assert "Accounts that were refused, by what was in the way" in page
    for label in ("Changed since the plan", "Deleted since the plan", "Person excluded in the policy since"):
        assert label in page
    async with door.session.get(f"/linking/runs/{run['id']}/report", headers=TOKENED) as answer:
        assert "Account set aside in the policy since" in await answer.text()


async def test_groups_are_linked_with_their_box_alone(door: Door, api: Api, run: Any) -> None:
    groups = run["counts"]["groupLink"]
    fields = {"do": "approve", "links": str(run["links"]), "acknowledged": boxes(run), "groups": str(groups)}
    assert (await door.send(here(run, "/approve"), fields)).status == 303
    done = await api.wait(f"linking/runs/{run['id']}", "done")
    assert done["counts"]["groupsLinked"] == groups


async def test_a_pilot_is_chosen_by_rows_by_a_filter_or_by_a_number(door: Door, api: Api, run: Any) -> None:
    changing = (await api.call("GET", f"linking/runs/{run['id']}/decisions", changes="userName"))["decisions"]
    row = changing[0]
    path = here(run, "/pilot")
    chosen = await door.send(path, {"do": "choose", "rows": row["id"]}, token=(await door.get(path)).token)
    assert "The 1 row that you ticked" in chosen.text
    assert row["identity"]["userPrincipalName"] in chosen.text
    assert "changes 1 sign-in name of this person." in chosen.text
    weak = await row_of(api, run, "review")
    both = await door.send(path, {"do": "choose", "rows": [row["id"], weak["id"]]}, token=(await door.get(path)).token)
    assert "1 row that you ticked would not be linked" in both.text
    assert "1 person would be linked" in both.text
    nobody = await door.send(path, {"do": "look"})
    assert nobody.status == 400
    assert "say how many people at most" in nobody.text
    assert (await door.send(path, {"do": "look", "number": "1.5"})).status == 400
    to = await door.send(path, {"do": "look", "filter.department": "No such"})
    none = await door.get(to.headers["Location"].removeprefix("/portal/"))
    assert "The plan would link nobody so" in none.text
    assert 'value="No such"' in none.html
    fields = {"do": "approve", "acknowledged": boxes(run)}
    shown = await named(door, f"{path}?number=1")
    assert (await door.send(path, {**fields, "rows": row["id"]})).headers["Location"].endswith("said=piloted")
    run = await api.wait(f"linking/runs/{run['id']}", "planned")
    while run["phase"] != "planned" or run["counts"].get("linked") != 1:
        run = await api.call("GET", f"linking/runs/{run['id']}")
    page = await door.get(here(run))
    assert "The pilot linked 1 account" in page.text
    again = await door.send(f"{path}?number=1", {**fields, **shown})
    assert again.status == 409, "the page that was shown before it, sent once more, is no second pilot"
    shown = await named(door, f"{path}?number=2")
    unseen = await door.send(f"{path}?number=2", {**fields, **shown, "acknowledged": ""})
    assert unseen.status == 400, "what was ticked for a pilot was ticked for its people"
    fields["acknowledged"] = boxes(run)
    assert (await door.send(f"{path}?number=2", {**fields, **shown, "people": "3"})).status == 400
    assert (await door.send(f"{path}?number=3", {**fields, **shown})).status == 400, "the page named other people"
    assert (await door.send(f"{path}?number=2", {**fields, **shown})).status == 303


async def named(door: Door, path: str) -> dict[str, str]:
    """Return what the form of a pilot sends to say what its page has shown."""
    page = (await door.get(path)).html
    found = {name: re.findall(rf'name="{name}" value="([^"]*)"', page) for name in ("planned", "people", "shown")}
    found["reviews"] = re.findall(r'name="reviews" value="([^"]*)"', page)
    return {name: value for name, (value,) in found.items()}


async def piloted(api: Api, run: Any, number: int) -> Any:
    """Link some people first, and return the run once the rest of it waits."""
    body = {"number": number, "links": run["links"], "acknowledged": [one["code"] for one in run["warnings"]]}
    await api.call("POST", f"linking/runs/{run['id']}/approve", body)
    while True:
        now = await api.call("GET", f"linking/runs/{run['id']}")
        if now["options"].get("pilots"):
            return now


async def test_a_pilot_names_its_people_before_they_are_linked_and_leads_to_them_afterwards(
    door: Door, api: Api, run: Any
) -> None:
    path = here(run, "/pilot")
    page = await door.get(f"{path}?number=3", READER)
    foreseen = await api.call("GET", f"linking/runs/{run['id']}/pilot", number="3")
    names = [row["identity"]["userPrincipalName"] for row in foreseen["rows"]]
    assert "3 people would be linked" in page.text
    assert not list(raw_words(path, page.html)), "the evidence is in words"
    assert [name in page.text for name in names] == [True] * 3
    assert "first</button>" not in page.html, "a reader sees who they are, and links nobody"
    told = (await door.get(f"{path}?number=3")).text
    assert told.index("about the whole plan") < told.index("Tick each warning")
    all_of_them = await door.get(f"{path}?number=60")
    assert "60 people, 50 on this page" in all_of_them.text
    (further,) = re.findall(r'href="/portal/([^"]*)" rel="next"', all_of_them.html)
    assert "This is the last page" in (await door.get(further.replace("&amp;", "&"))).text
    fields = {"do": "approve", "acknowledged": boxes(run), **await named(door, f"{path}?number=3")}
    assert (await door.send(f"{path}?number=3", fields)).status == 303
    while not run["options"].get("pilots"):
        run = await api.call("GET", f"linking/runs/{run['id']}")
    page = await door.get(here(run))
    assert f'The pilot linked <a href="/portal/{here(run, "/decisions?linked=true")}">3 accounts</a>' in page.html
    assert f"{run['counts']['link']} as planned , less 3 linked by a pilot" in page.text
    assert run["links"] == run["counts"]["link"] - 3
    facts = page.text.partition("This run Run ")[2]
    assert ("Planned" in facts, "Pilot 3 links" in facts, "Approved" in facts) == (True, True, False), "the rest waits"
    report = (await door.get(here(run, "/report"))).text
    assert ("Approval expires" in report, "Approved 20" in report) == (True, False)
    rows = await door.get(here(run, "/decisions?linked=true"))
    assert "3 rows" in rows.text
    assert [name in rows.text for name in names] == [True] * 3
    assert rows.html.count('scope="row"') == 3


async def test_while_the_rest_of_a_plan_waits_its_verification_asks_to_provision_on_demand_alone(
    door: Door, api: Api, run: Any
) -> None:
    run = await piloted(api, run, 3)
    page = await door.get(here(run, "/verify"))
    assert f"Do not start provisioning yet : {run['links']} links of the plan still wait" in page.text
    assert "Provision on demand : provision one of the 3 that the pilot linked" in page.text
    assert "Start provisioning" not in page.text
    await door.send(here(run, "/verify"), {"do": "verify"})
    job = await api.call("GET", f"linking/runs/{run['id']}/verification")
    await api.wait(f"linking/verifications/{job['id']}", "done")
    page = await door.get(here(run, "/verify?found=unconfirmed"))
    assert "Provision on demand , choose the person" in page.text
    assert "If its first cycle is not completed" not in page.text
    await api.apply(await api.call("GET", f"linking/runs/{run['id']}"))
    other = here(run, "/verify")
    assert "Do not start provisioning" not in (await door.get(other)).text


async def test_an_undo_of_a_pilot_is_looked_at_while_the_rest_waits_and_nothing_is_undone_by_that(
    door: Door, api: Api, run: Any
) -> None:
    await door.send(
        here(run, "/decisions"), {"do": "review", "one": f"exclude {(await row_of(api, run, 'link'))['id']}"}
    )
    run = await piloted(api, await api.call("GET", f"linking/runs/{run['id']}"), 3)
    page = await door.get(here(run, LOOK))
    assert "What an undo of the pilot would do" in page.text
    assert "As before their link 3" in page.text
    assert f"{run['links']} links of the plan still wait" in page.text
    assert "what was decided about its rows goes with it: 1 to exclude" in page.text
    assert "Yes, take the links back" not in page.text
    refused = await door.send(here(run, LOOK), {"do": "undo", "keep": "nothing", "seen": "yes"})
    assert refused.status == 409
    now = await api.call("GET", f"linking/runs/{run['id']}")
    assert (now["phase"], now["counts"]["linked"], "takenBack" in now) == ("planned", 3, False)
    assert (await door.send(here(run, LOOK), {"do": "drop"}, READER, page.token)).status == 403
    dropped = await door.send(here(run, LOOK), {"do": "drop"})
    assert dropped.headers["Location"] == f"/portal/{here(run, '/undo?look=yes&said=dropped')}"
    await api.wait(f"linking/runs/{run['id']}", "cancelled")
    page = await door.get(here(run, LOOK))
    assert "As before their link 3" in page.text
    assert "Yes, take the links back" in page.text


async def test_whoever_approves_is_told_what_was_decided_since_by_whom_and_about_whom(
    door: Door, api: Api, run: Any
) -> None:
    """Two tabs: what the first one typed is not simply another number by now."""
    page = await door.get(here(run, "/approve"))
    (seen,) = re.findall(r'name="reviews" value="([^"]*)"', page.html)
    link = await row_of(api, run, "link")
    await door.send(here(run, "/decisions"), {"do": "review", "one": f"exclude {link['id']}"}, COLLEAGUE)
    fields = {"do": "approve", "links": str(run["links"]), "acknowledged": boxes(run), "pauseProvisioning": "yes"}
    refused = await door.send(here(run, "/approve"), fields | {"reviews": seen, "approvals": "0"})
    assert refused.status == 409
    assert "1 decision about rows of this plan since you opened the page" in refused.text
    assert "max@contoso.com decided about 1 row" in refused.text
    assert f"the plan would link {run['links'] - 1} accounts by now" in refused.text
    assert f'href="/portal/{here(run, "/rows/" + link["id"])}"' in refused.html
    assert f"{link['identity']['userPrincipalName']} : stays out" in refused.text
    assert "GET /linking" not in refused.text
    told = await api.call("GET", f"linking/runs/{run['id']}/decided", since=seen)
    assert (told["times"], told["by"]) == (1, [{"who": "max@contoso.com", "rows": 1}])
    (seen,) = re.findall(r'name="reviews" value="([^"]*)"', refused.html)
    run = await api.call("GET", f"linking/runs/{run['id']}")
    await piloted(api, run, 2)
    refused = await door.send(
        here(run, "/approve"), fields | {"links": str(run["links"]), "reviews": seen, "approvals": "0"}
    )
    assert refused.status in (400, 409)
    assert "A part of the plan was approved since you opened the page" in refused.text
    assert "2 links, a pilot" in refused.text
    assert (await api.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"


async def test_a_verification_says_of_how_many_the_plan_expected_that_they_wait(api: Api, door: Door) -> None:
    names = ("kim@contoso.com", "lea@contoso.com")
    job = await api.call("POST", "accounts/import", csv_file(*({"userName": name} for name in names)), "text/csv")
    await api.wait(f"accounts/imports/{job['id']}", "done")
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    people = [graph(number, name, accountEnabled=number == 0) for number, name in enumerate(names)]
    uploaded = await api.call("POST", "linking/identities", json.dumps({"value": people}).encode())
    run = await api.call("POST", "linking/runs", {"identities": uploaded["id"]})
    await api.wait(f"linking/runs/{run['id']}", "planned")
    rows = [row["id"] for row in await api.decisions(run, "review")]
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": rows, "action": "link"})
    await approved(door, api, await api.call("GET", f"linking/runs/{run['id']}"))
    await door.send(here(run, "/verify"), {"do": "verify"})
    found = (await api.call("GET", f"linking/runs/{run['id']}/verification"))["id"]
    await api.wait(f"linking/verifications/{found}", "done")
    page = (await door.get(here(run, "/verify"))).text
    assert "1 of these 2 the plan expected to wait" in page
    overview = (await door.get("")).text
    assert "Provisioning has not come through 1 link yet. 1 link waits as the plan expected" in overview
    assert "created" not in overview[overview.index("Not every link is confirmed") :].partition("See whose")[0]


async def test_a_plan_in_which_other_attributes_change_than_sign_in_names_is_approved(api: Api, door: Door) -> None:
    job = await api.call("POST", "accounts/import", csv_file({"userName": "kim@contoso.com"}), "text/csv")
    await api.wait(f"accounts/imports/{job['id']}", "done")
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    people = json.dumps({"value": [graph(1, "kim@contoso.com", department="Sales", displayName="Kim")]}).encode()
    uploaded = await api.call("POST", "linking/identities", people)
    run = await api.call("POST", "linking/runs", {"identities": uploaded["id"]})
    run = await api.wait(f"linking/runs/{run['id']}", "planned")
    assert "userName" not in run["impact"]
    assert "No sign-in name changes by that" in (await door.get(here(run, "/approve"))).text
    assert "changes none either, as far as the mapping tells" in (await door.get(here(run, "/pilot"))).text


async def test_names_that_change_in_case_alone_are_told_apart_from_those_of_the_warning(api: Api, door: Door) -> None:
    await api.bring(
        csv_file({"userName": "Kim@contoso.com"}, {"userName": "bob", "email": "bob@contoso.com", "emailVerified": "y"})
    )
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    run = await api.plan(graph(1, "kim@contoso.com"), graph(2, "bob@contoso.com"))
    page = (await door.get(here(run, "/approve"))).text
    assert "2 sign-in names change: see from what to what" in page
    assert "1 of the 2 changes in capital and small letters alone" in page
    assert "the warning below counts the other 1." in page
    assert "1 sign-in name will change with the first provisioning cycle; 1 more in capital and small letters" in page
    page = (await door.get(here(run))).text
    assert "1 of them in capital and small letters alone: the warning counts the others" in page


async def test_a_plan_that_changes_names_in_case_alone_leads_to_no_warning_that_is_not_there(
    api: Api, door: Door
) -> None:
    job = await api.call("POST", "accounts/import", csv_file({"userName": "Kim@contoso.com"}), "text/csv")
    await api.wait(f"accounts/imports/{job['id']}", "done")
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    people = json.dumps({"value": [graph(1, "kim@contoso.com")]}).encode()
    uploaded = await api.call("POST", "linking/identities", people)
    run = await api.call("POST", "linking/runs", {"identities": uploaded["id"]})
    run = await api.wait(f"linking/runs/{run['id']}", "planned")
    assert run["impact"]["userName"] == 1
    page = (await door.get(here(run, "/approve"))).text
    assert "Only capital and small letters differ" in page
    assert "at that warning below" not in page


async def test_a_run_is_verified_and_taken_back_on_its_pages(door: Door, api: Api, run: Any) -> None:
    await approved(door, api, run)
    page = await door.get(here(run, "/verify"))
    assert "Start provisioning" in page.text
    created = f"{run['predicted']['created']} accounts are created"
    assert (created in page.text, created in (await door.get("")).text) == (True, True)
    assert "<h1>Verify</h1>" in page.html, "the badge of the run is not that of the verification"
    assert (await door.send(here(run, "/verify"), {"do": "verify"})).status == 303
    found = (await api.call("GET", f"linking/runs/{run['id']}/verification"))["id"]
    found = await api.wait(f"linking/verifications/{found}", "done")
    page = await door.get(here(run, "/verify"))
    assert f"Not yet confirmed {found['counts']['unconfirmed']}" in page.text
    assert "Provision on demand" in page.text
    assert "the plan expected to wait" not in page.text
    rows = await api.call("GET", f"linking/verifications/{found['id']}/rows", found="unconfirmed", count="50")
    for row in rows["rows"]:
        assert said(row["reason"]).striptags() in page.text
        assert said(row["remedy"]).striptags() in page.text
        assert f'href="/portal/{here(run, "/rows/" + row["row"])}"' in page.html
    told = await door.get(f"verifications/{found['id']}/report?format=csv")
    assert rows["rows"][0]["account"]["userName"] in told.html
    undo = await door.get(here(run, "/undo"))
    assert "for 90 days" not in undo.text
    assert "more than 90 days ago" in undo.text
    assert (await door.send(here(run, LOOK), {"do": "undo", "keep": "nothing", "seen": "yes"})).status == 303
    back = (await api.call("GET", f"linking/runs/{run['id']}/undo"))["id"]
    back = await api.wait(f"linking/undos/{back}", "done")
    page = await door.get(here(run, "/undo"))
    assert f"As before their link {back['counts']['undone']}" in page.text
    assert "nothing of it is left to undo" in page.text
    assert "Undo once more" not in page.text
    assert 'href="/portal/accounts?state=provisioned"' in page.html, "who was made stays, and is found"
    assert "its next cycle switches their accounts off, and deletes none" in page.text
    await api.call("POST", "scim/v2/Users", {"userName": "made@contoso.com", "externalId": object_id(9)})
    assert re.search(r"Made by Entra made \d", (await door.get("accounts?state=provisioned")).text)
    assert "<h1>Undo <span" in page.html
    assert "Done</span></h1>" in page.html
    row = await row_of(api, run, "link")
    told = (await door.get(here(run, "/rows/" + row["id"]))).text
    assert "Linked. Taken back since (as before their link), by an undo" in told
    meant = f"{back['counts']['undone']:,} links of this run were taken back Nobody loses access by that"
    assert meant in (await door.get(here(run))).text
    assert meant in (await door.get("")).text


async def test_whom_provisioning_created_instead_is_named_and_what_to_do_stands_in_its_order(
    door: Door, api: Api
) -> None:
    await api.bring(csv_file({"userName": "lovelace", "objectId": object_id(1)}))
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], "createBesideMatches": True})
    run = await api.apply(await api.plan(graph(1, "ada@contoso.com", displayName="Ada King", mailNickname="ada")))
    await api.call("POST", "scim/v2/Users", {"userName": "ada@contoso.com", "externalId": "ada"})
    await door.send(here(run, "/verify"), {"do": "verify"})
    job = await api.call("GET", f"linking/runs/{run['id']}/verification")
    await api.wait(f"linking/verifications/{job['id']}", "done")
    page = await door.get(here(run, "/verify?found=created"))
    assert "Ada King ada@contoso.com" in page.text
    assert object_id(1) not in page.text
    assert "an account of the same identity (linked on approval)" in page.text
    places = [page.text.index(one) for one in ("Stop provisioning", "Delete it", "Restart provisioning")]
    assert places == sorted(places)


async def test_an_undo_is_looked_at_before_it_is_done(door: Door, api: Api, run: Any) -> None:
    done = await approved(door, api, run)
    path = here(run, "/undo")
    token = (await door.get(here(run, "/verify"))).token
    first = await door.send(path, {"do": "undo", "keep": "attributes"}, token=token)
    assert (first.status, first.headers["Location"]) == (303, f"/portal/{path}?look=yes&keep=attributes")
    assert "takenBack" not in await api.call("GET", f"linking/runs/{run['id']}")
    preview = await api.call("GET", f"linking/runs/{run['id']}/undo/preview")
    assert preview["outcomes"] == {"undone": done["counts"]["linked"]}
    page = await door.get(f"{path}?look=yes&keep=nothing")
    assert f"As before their link {done['counts']['linked']}" in page.text
    assert "no attribute of them was changed by provisioning" in page.text.lower()
    assert "Yes, take the links back" not in (await door.get(f"{path}?look=yes", READER)).text


async def test_the_look_at_an_undo_names_whom_it_switches_off(door: Door, api: Api) -> None:
    await api.bring(csv_file({"userName": "ada@contoso.com", "active": "no"}))
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    run = await api.apply(await api.plan(graph(1, "ada@contoso.com")), links=1)
    ada = (await api.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"'))["Resources"][0]
    assert "Nobody is switched on or off" in (await door.get(here(run, LOOK))).text
    change = {"op": "replace", "path": "active", "value": True}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [change]}
    await api.call("PATCH", f"scim/v2/Users/{ada['id']}", body)
    page = await door.get(here(run, LOOK))
    assert "1 account that provisioning switched on is switched off again, as before the run: ada@" in page.text
    assert f'href="/portal/accounts/{ada["id"]}"' in page.html
    assert "Nobody is switched on or off" not in page.text
    assert "Active of" not in page.text


@pytest.fixture
async def switched_off(api: Api) -> Any:
    """A run that linked ada and bob, of whom provisioning has switched ada off since."""
    await api.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob@contoso.com"}))
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    run = await api.apply(await api.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com")), links=2)
    ada = (await api.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"'))["Resources"][0]
    change = {"op": "replace", "path": "active", "value": False}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [change]}
    await api.call("PATCH", f"scim/v2/Users/{ada['id']}", body)
    return run


async def test_how_whoever_stays_inactive_is_switched_on_is_said_in_the_words_of_pages(
    door: Door, api: Api, switched_off: Any
) -> None:
    look = await door.get(here(switched_off, LOOK))
    undo = await api.call("POST", f"linking/runs/{switched_off['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    for page in (look, await door.get(here(switched_off, "/undo?outcome=undoneInactive"))):
        assert "stays inactive, as provisioning left it. To switch it on, edit it on its page." in page.text
        assert "as activate" not in page.text


async def test_the_look_at_an_undo_says_of_nobody_what_its_figures_deny(door: Door, switched_off: Any) -> None:
    everybody = "Everybody whom the run linked (2 accounts) returns to what they were"
    assert everybody in (await door.get(here(switched_off, "/undo"))).text
    look = (await door.get(here(switched_off, LOOK))).text
    assert "Given back, still inactive 1" in look
    assert everybody not in look


async def test_after_an_undo_its_page_begins_with_what_to_do_next(door: Door, api: Api, switched_off: Any) -> None:
    undo = await api.call("POST", f"linking/runs/{switched_off['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    page = await door.get(here(switched_off, "/undo"))
    told = page.text[: page.text.index("What the undo came to")]
    assert "Keep provisioning stopped" in told
    assert "Entra would be refused at these 2 accounts" in told
    assert "Taken apart" in told
    assert 'href="/portal/plan"' in page.html[: page.html.index("What the undo came to")]


@pytest.mark.parametrize(("phase", "then"), [("planned", "approve the rest"), ("done", "make another plan")])
def test_a_verified_pilot_leads_to_the_rest_of_its_plan(phase: str, then: str) -> None:
    at = "2026-01-01T00:00:00Z"
    document = {"id": "run1", "phase": phase, "started": at, "startedBy": "eva", "approved": at, "links": 233}
    run = Run({**document, "counts": {"linked": 5}, "options": {}})
    job = {"id": "verification1", "phase": "done", "started": at, "startedBy": "eva", "ended": at, "options": {}}
    around = Around(caller=Caller("entra:eva", "main", "eva@contoso.com"), token="t")
    view = OfJob(run, {**job, "counts": {"confirmed": 5}}, words.FOUND)
    shown = render("verify.html", {"page": around, "view": view})
    told = shown[shown.index("Every link is confirmed") :]
    assert ("233 links" in told, "approve the rest" in told) == ((True, True) if phase == "planned" else (False, False))
    assert then in told


async def test_an_import_after_a_run_asks_nobody_to_undo_the_run_first(door: Door, api: Api) -> None:
    first = await api.bring(csv_file({"userName": "ada@contoso.com"}))
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await api.apply(await api.plan(graph(1, "ada@contoso.com")), links=1)
    second = await api.bring(csv_file({"userName": "bob@contoso.com"}))
    assert "Undo the run first" in (await door.get(f"imports/{first['id']}")).text
    assert "Undo the run first" not in (await door.get(f"imports/{second['id']}")).text


async def test_an_accounts_page_tells_after_an_undo_what_happened_as_it_did_before(door: Door, api: Api) -> None:
    await api.bring(csv_file({"userName": "ada@contoso.com", "title": "Engineer"}))
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    run = await api.apply(await api.plan(graph(1, "ada@contoso.com")), links=1)
    ada = (await api.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"'))["Resources"][0]
    change = {"op": "replace", "value": {"title": "Director", "displayName": "Ada Lovelace"}}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [change]}
    await api.call("PATCH", f"scim/v2/Users/{ada['id']}", body)
    path, written = (
        f"accounts/{ada['id']}",
        "Display name: none became Ada Lovelace Job title: Engineer became Director",
    )
    assert written in (await door.get(path)).text
    job = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{job['id']}", "done")
    page = (await door.get(path)).text
    assert written in page
    assert "Display name: Ada Lovelace became none Job title: Director became Engineer" in page
    await api.call("PATCH", path, {"document": {"title": "Countess"}})
    assert "Job title: Director became a value that is not kept" in (await door.get(path)).text


@pytest.mark.parametrize("page", ["run", "verify", "undo"])
def test_what_is_stopped_says_before_what_stays_and_how_to_go_on(page: str) -> None:
    at = "2026-01-01T00:00:00Z"
    document = {"id": "run1", "phase": "approved", "started": at, "startedBy": "eva", "approved": at}
    run = Run({**document, "counts": {}, "options": {}})
    job = {"id": "undo1", "phase": "started", "counts": {}, "options": {}}
    view = OneRun(run, {"undos": [], "policy": [], "files": []}, Progress.of_job(job, datetime.now(UTC)))
    around = Around(caller=Caller("entra:eva", "main", "eva@contoso.com"), token="t")
    shown = render(f"{page}.html", {"page": around, "view": view if page == "run" else OfJob(run, job, words.FOUND)})
    (form,) = re.findall(r'<details class="sure">.*?</details>', shown, re.DOTALL)
    assert 'name="do" value="cancel"' in form
    assert "To go on, " in form
    assert shown.count('name="do" value="cancel"') == 1


async def test_who_stayed_inactive_is_switched_on_by_their_number(door: Door, api: Api, run: Any) -> None:
    await approved(door, api, run)
    row = await row_of(api, run, "link")
    account = await api.call("GET", f"accounts/{row['account']['id']}")
    off = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": False}],
    }
    found = await api.call("GET", "scim/v2/Users", filter=f'externalId eq "{account["document"]["externalId"]}"')
    await api.call("PATCH", f"scim/v2/Users/{found['Resources'][0]['id']}", off, "application/scim+json")
    assert (await door.send(here(run, LOOK), {"do": "undo", "seen": "yes"})).status == 303
    back = (await api.call("GET", f"linking/runs/{run['id']}/undo"))["id"]
    await api.wait(f"linking/undos/{back}", "done")
    page = await door.get(here(run, "/undo"))
    assert "1 account stayed inactive" in page.text
    wrong = await door.send(here(run, "/undo"), {"do": "switchOn", "expected": "1", "activate": "2"})
    assert wrong.status == 400
    assert "type 1, the number of accounts shown" in wrong.text
    assert (await door.send(here(run, "/undo"), {"do": "switchOn", "expected": "1", "activate": "1"})).status == 303
    back = (await api.call("GET", f"linking/runs/{run['id']}/undo"))["id"]
    await api.wait(f"linking/undos/{back}", "done")
    assert (await api.call("GET", f"accounts/{account['id']}"))["active"]


async def test_a_groups_difference_is_shown_by_its_members(door: Door, api: Api, run: Any) -> None:
    row = await row_of(api, run, "groupLink")
    page = await door.get(here(run, "/groups"))
    assert row["group"]["displayName"] in page.text
    assert "linked with nobody yet, counts twice: only here by the account" in page.text
    difference = await door.get(here(run, f"/groups/{row['entraGroup']['id']}"))
    assert f"Only here {row['members']['onlyHere']}" in difference.text
    assert f"<h1>{row['entraGroup']['displayName']}</h1>" in difference.html
    assert f"Only in Entra {row['members']['onlyThere']} not in the group here yet" in difference.text
    assert "come with provisioning" not in difference.text, "nobody promises it of who is disabled or under review"
    assert f'<a href="/portal/{here(run, "/groups")}" aria-current="page">Groups</a>' in difference.html
    assert f"Groups to link {run['counts']['groupLink']}" in (await door.get(here(run))).text
    for one in (await api.call("GET", f"linking/{here(run, '/groups/' + row['entraGroup']['id'])}/difference"))[
        "differing"
    ]:
        identity = one.get("identity", {})
        for shown in (
            one.get("account", {}).get("userName"),
            identity.get("userPrincipalName"),
            identity.get("unknown"),
        ):
            assert (shown or "") in difference.text
    assert (await door.get(here(run, "/groups/x"))).status == 404


async def test_hostile_names_are_shown_as_they_are(door: Door, api: Api) -> None:
    run = await plan_hostile(api)
    for path in (
        here(run),
        here(run, "/decisions"),
        *(here(run, f"/rows/{row['id']}") for row in await api.decisions(run)),
    ):
        page = await door.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
    listed = (await door.get(here(run, "/decisions"))).html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in listed
    assert HOSTILE["emoji"] in listed


async def test_after_an_undo_no_page_claims_its_links(door: Door, api: Api, run: Any) -> None:
    done = await approved(door, api, run)
    job = await api.call("POST", f"linking/runs/{run['id']}/verification")
    await api.wait(f"linking/verifications/{job['id']}", "done")
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    told = (await api.call("GET", f"linking/runs/{run['id']}"))["takenBack"]
    assert (told["links"], told["undo"]) == (done["counts"]["linked"], undo["id"])
    links = f"{told['links']} links of this run were taken back since"
    for page in ("/decisions", "/verify", "/groups"):
        assert links in (await door.get(here(run, page))).text, page
    assert f"{told['links']} taken back" in (await door.get("runs")).text
    overview = (await door.get()).text
    assert f"Taken back since {told['links']}" in " ".join(overview.split())
    assert "Links confirmed" not in overview


async def test_what_persons_decided_is_taken_off_what_is_left_to_decide(door: Door, api: Api, run: Any) -> None:
    left = sum(run["counts"].get(name, 0) for name in ("review", "ambiguous", "outsideVerifiedDomains"))
    (first, second, third), _ = (await api.decisions(run, "review"))[:3], None
    for row, action in ((first, "link"), (second, "exclude"), (third, "link")):
        await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": action})
    await api.call("POST", f"linking/runs/{run['id']}/review", {"rows": [third["id"]], "action": "leave"})
    assert (await api.call("GET", f"linking/runs/{run['id']}"))["decided"]["review"] == 2
    page = (await door.get(here(run))).text
    assert f"2 of {left} decided by a person" in page
    assert f"{left - 2} rows wait for a person to decide" in (await door.get()).text
    await approved(door, api, await api.call("GET", f"linking/runs/{run['id']}"))
    assert f"2 of {left} decided by a person" in (await door.get(here(run))).text


async def test_a_plan_that_approves_itself_is_told_before_and_after(door: Door, api: Api) -> None:
    rule = {"autoApprove": {"share": 0.5, "number": 3}}
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]} | rule)
    await api.bring(csv_file({"userName": "ann@contoso.com"}, {"userName": "bob@contoso.com"}))
    people = await api.upload(graph(1, "ann@contoso.com"))
    before = (await door.get("plan")).text
    assert "Plans approve themselves up to 3 links and 50 % of the accounts" in before
    assert "nobody types their number" in before
    assert "It changes nobody: you look at it" not in before
    run = await api.call("POST", "linking/runs", {"identities": people})
    done = await api.wait(f"linking/runs/{run['id']}", "done")
    page = (await door.get(here(done))).text
    assert "1 account linked No person approved this: the plan approved itself by the policy's rule" in page
    assert "autoApprove:" not in page
    assert "approved itself" in (await door.get("runs")).text


async def test_a_run_of_the_schedule_says_by_name_who_had_switched_that_on(door: Door, api: Api) -> None:
    directory = await Directories(door.tables).open("main")
    by = f"schedule:entra:{EVA}"
    job_id = directory.jobs.new_id("run")
    await directory.jobs.start("run", by, job_id, {"policy": {}, "slices": 1})
    (listed,) = (await api.call("GET", "linking/runs"))["runs"]
    assert "persons" not in listed, "nobody of that id has done anything that is kept"
    shown = (await door.get("runs")).text
    assert f"The schedule, switched on by somebody who signed in ({EVA})" in shown
    await door.send("policy", {"do": "raw", "seen": "0", "raw": "{}"})
    for path, name in (("linking/runs", "runs"), ("directory/under-way", "jobs")):
        (listed,) = (await api.call("GET", path))[name]
        assert (listed["startedBy"], listed["persons"]) == (by, {"started": "eva@contoso.com"})
    assert (await api.call("GET", "directory"))["latest"]["run"]["persons"] == {"started": "eva@contoso.com"}
    for page in ("runs", ""):
        shown = (await door.get(page)).text
        assert "The schedule, switched on by eva@contoso.com" in shown
        assert EVA not in shown


async def test_a_plan_that_approved_itself_names_who_allowed_that(door: Door, api: Api) -> None:
    policy = {"verifiedDomains": ["contoso.com"], "autoApprove": {"share": 0.5, "number": 3}}
    await door.send("policy", {"do": "raw", "seen": "0", "raw": json.dumps(policy)})
    await api.bring(csv_file({"userName": "ann@contoso.com"}, {"userName": "bob@contoso.com"}))
    run = await api.call("POST", "linking/runs", {"identities": await api.upload(graph(1, "ann@contoso.com"))})
    done = await api.wait(f"linking/runs/{run['id']}", "done")
    assert (done["approvedBy"], done["persons"]) == (f"autoApprove:entra:{EVA}", {"approved": "eva@contoso.com"})
    assert "The policy's rule, switched on by eva@contoso.com" in (await door.get("activity")).text
    report = (await door.get(f"{here(done)}/report")).text
    assert EVA not in report


async def test_a_plan_that_a_person_approves_says_nothing_of_approving_itself(door: Door, api: Api, run: Any) -> None:
    await approved(door, api, run)
    for page in (here(run), "runs", "plan"):
        told = (await door.get(page)).text
        assert "approve themselves" not in told
        assert "approved itself" not in told


async def test_while_an_undo_is_the_last_to_change_links_no_page_starts_provisioning(
    door: Door, api: Api, run: Any
) -> None:
    await approved(door, api, run)
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    body = {"identities": run["options"]["identities"], "full": True}
    again = await api.call("POST", "linking/runs", body)
    again = await api.wait(f"linking/runs/{again['id']}", "planned")
    codes = [one["code"] for one in again["warnings"]]
    await api.call("POST", f"linking/runs/{again['id']}/approve", {"links": again["links"], "acknowledged": codes})
    done = await api.wait(f"linking/runs/{again['id']}", "done")
    assert not done["counts"].get("linked")
    for page in (here(again), ""):
        told = (await door.get(page)).text
        assert "Nobody was linked" in told
        assert "leave it stopped" in told
        assert "Switch provisioning on" not in told
    assert "Leave provisioning stopped" in (await door.get("connect")).text


async def test_once_a_run_has_linked_people_again_a_later_one_that_links_nobody_stops_no_provisioning(
    door: Door, api: Api
) -> None:
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await api.bring(csv_file(*({"userName": f"{n}@contoso.com"} for n in range(2))))
    people = [graph(n, f"{n}@contoso.com") for n in range(2)]

    async def linked(*some: Any) -> Any:
        run = await api.call("POST", "linking/runs", {"identities": await api.upload(*some), "full": True})
        return await api.apply(await api.wait(f"linking/runs/{run['id']}", "planned"))

    first = await linked(people[0])
    undo = await api.call("POST", f"linking/runs/{first['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    assert (await linked(people[1]))["counts"]["linked"] == 1
    last = await linked(people[1])
    assert not last["counts"].get("linked")
    for page in (here(last), ""):
        told = (await door.get(page)).text
        assert "Nobody was linked" in told
        assert "leave it stopped" not in told
    assert "The last run that linked anybody linked 1 account: it may be on" in (await door.get("connect")).text


async def test_while_some_pairs_that_an_undo_took_apart_are_undecided_no_page_starts_provisioning(
    door: Door, api: Api, run: Any
) -> None:
    await approved(door, api, run)
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    undo = await api.wait(f"linking/undos/{undo['id']}", "done")
    taken = sum(undo["counts"].get(one, 0) for one in words.TAKEN_BACK)
    again = await api.call("POST", "linking/runs", {"identities": run["options"]["identities"], "full": True})
    again = await api.wait(f"linking/runs/{again['id']}", "planned")
    parted = await api.call("GET", f"linking/runs/{again['id']}/decisions?decision=review&parted=true")
    review = {"rows": [one["id"] for one in parted["decisions"][:3]], "action": "link"}
    await api.call("POST", f"linking/runs/{again['id']}/review", review)
    again = await api.call("GET", f"linking/runs/{again['id']}")
    await api.apply(again, acknowledged=[one["code"] for one in again["warnings"]])
    for page in (here(again), ""):
        told = (await door.get(page)).text
        assert "3 accounts linked" in told
        assert f"{taken - 3} links that an undo took back are not made again" in told
        assert "leave it stopped" in told
        assert "witch provisioning on" not in told


async def test_once_every_pair_is_linked_again_provisioning_is_next(door: Door, api: Api, run: Any) -> None:
    await approved(door, api, run)
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    again = await api.call("POST", "linking/runs", {"identities": run["options"]["identities"], "full": True})
    again = await api.wait(f"linking/runs/{again['id']}", "planned")
    chosen = {"filter": {"decision": "review", "parted": True}, "action": "link"}
    await api.call("POST", f"linking/runs/{again['id']}/review", chosen)
    again = await api.call("GET", f"linking/runs/{again['id']}")
    await api.apply(again, acknowledged=[one["code"] for one in again["warnings"]])
    for page in (here(again), ""):
        told = (await door.get(page)).text
        assert "not made again" not in told
        assert "Switch provisioning on" in told


async def test_a_plan_of_who_changed_says_so_beside_its_numbers_and_after_an_undo_everybody_is_ticked(
    door: Door, api: Api
) -> None:
    ticked = r'id="f-full-yes"[^>]* checked'
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await api.bring(csv_file(*({"userName": f"{n}@contoso.com"} for n in range(4))))
    people = [graph(n, f"{n}@contoso.com") for n in range(3)]
    run = await api.call("POST", "linking/runs", {"identities": await api.upload(*people)})
    run = await api.wait(f"linking/runs/{run['id']}", "planned")
    assert "who changed" not in (await door.get(here(run))).text
    await api.apply(run)
    upload = await api.upload(*people, graph(3, "3@contoso.com"))
    assert not re.search(ticked, (await door.get("plan")).html)
    assert re.search(ticked, (await door.get("plan?full=yes")).html)
    again = await api.call("POST", "linking/runs", {"identities": upload})
    again = await api.wait(f"linking/runs/{again['id']}", "planned")
    page = await door.get(here(again))
    assert "The plan decides on 1 of 4 people in Entra. About the other 3 nothing changed" in page.text
    assert 'href="/portal/plan?full=yes"' in page.html
    await api.call("POST", f"linking/runs/{again['id']}/cancel")
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    page = await door.get("plan")
    assert re.search(ticked, page.html)
    assert "An undo took links back" in page.text


async def test_pairs_that_an_undo_took_apart_are_shown_alone_and_linked_together(door: Door, api: Api) -> None:
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await api.bring(csv_file(*({"userName": f"{n}@contoso.com"} for n in range(3))))
    people = [graph(n, f"{n}@contoso.com") for n in range(2)]
    run = await api.call("POST", "linking/runs", {"identities": await api.upload(*people)})
    await api.apply(await api.wait(f"linking/runs/{run['id']}", "planned"))
    undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
    await api.wait(f"linking/undos/{undo['id']}", "done")
    disabled = graph(2, "2@contoso.com", accountEnabled=False)
    again = await api.call("POST", "linking/runs", {"identities": await api.upload(*people, disabled), "full": True})
    again = await api.wait(f"linking/runs/{again['id']}", "planned")
    assert again["counts"]["review"] == 3
    names = {f"{n}@contoso.com" for n in range(3)}
    for value, wanted in (("true", {"0@contoso.com", "1@contoso.com"}), ("false", {"2@contoso.com"})):
        page = await door.get(here(again, f"/decisions?decision=review&parted={value}"))
        assert {name for name in names if name in page.text} == wanted
    path = here(again, "/all?action=link&decision=review&parted=true")
    page = await door.get(path)
    assert "An undo or a release took each pair apart" in page.text
    assert "weak" not in page.text
    digest = re.findall(r'name="digest" value="(\w+)"', page.html)[0]
    assert (await door.send(path, {"do": "decide", "digest": digest, "number": "2"})).status == 303
    told = await api.call("GET", f"linking/runs/{again['id']}")
    assert (told["links"], told["review"]) == (2, {"link": 2})
