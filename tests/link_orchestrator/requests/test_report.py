"""A run's reports: whole, page by page, safe to open in a spreadsheet, and one page to print."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.passes import suggest
from link_orchestrator.requests import reviewers
from link_orchestrator.requests.pages.run import summary
from link_orchestrator.requests.pages.undo import undo_summary
from link_orchestrator.requests.report import RUN_COLUMNS, UNDO_COLUMNS, VERIFICATION_COLUMNS, safe
from tests.link_orchestrator.passes.test_undo import linked
from tests.link_orchestrator.passes.test_verify import rows, verify
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id


@pytest.fixture
async def run(app: App) -> Any:
    names = [f"p{n}@contoso.com" for n in range(20)]
    await app.bring(csv_file(*({"userName": name} for name in names), {"userName": "=1+1@x.org"}))
    people = [graph(n, name) for n, name in enumerate(names)]
    return await app.plan(*people, graph(99, "+new@contoso.com", displayName='=HYPERLINK("http://x","y")'))


async def read(app: App, job: Any, **params: str) -> tuple[str, list[str], str]:
    """Return all pages of a run's or undo's report as one text, the pages, and the content type."""
    url, pages, kind = f"/linking/{job['kind']}s/{job['id']}/report", list[str](), ""
    asked: dict[str, str] | None = params
    while url:
        async with app.session.get(url, params=asked) as answer:
            assert answer.status == 200, await answer.text()
            kind = answer.content_type
            pages.append((await answer.read()).decode("utf-8-sig"))
            following = answer.links.get("next")
            url, asked = (str(following["url"]), None) if following else ("", None)
    return "".join(pages), pages, kind


@pytest.mark.parametrize("count", ["1", "7", "5000"])
async def test_the_pages_of_a_csv_are_one_file_with_every_row_once(app: App, run: Any, count: str) -> None:
    text, pages, kind = await read(app, run, format="csv", count=count)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert kind == "text/csv"
    assert len(pages) == {"1": 23, "7": 4, "5000": 1}[count]
    assert tuple(rows[0]) == RUN_COLUMNS
    assert len({row["objectId"] + row["accountId"] for row in rows}) == len(rows) == 22
    decided = {row["objectId"]: row["decision"] for row in rows if row["objectId"]}
    assert decided[object_id(0)] == "link"
    assert {row["predicted"] for row in rows if row["objectId"]} == {"matched", "created"}


async def test_no_cell_of_a_csv_is_a_formula(app: App, run: Any) -> None:
    text, _, _ = await read(app, run, format="csv")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert {"'=1+1@x.org", "'+new@contoso.com", '\'=HYPERLINK("http://x","y")'} <= set(cells)


@given(st.text())
def test_a_safe_cell_starts_no_formula_and_loses_nothing(text: str) -> None:
    made = safe(text)
    assert made.removeprefix("'") == text.removeprefix("'")
    assert made.lstrip(" ")[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


async def test_json_lines_are_the_rows_of_the_plan(app: App, run: Any) -> None:
    text, _, kind = await read(app, run, format="jsonl", count="9")
    rows = [json.loads(line) for line in text.splitlines()]
    assert kind == "application/jsonl"
    assert rows == [{k: v for k, v in row.items() if k != "id"} for row in await app.decisions(run)]
    text, _, _ = await read(app, run, format="jsonl", decision="noAccount")
    assert [json.loads(line)["decision"] for line in text.splitlines()] == ["noAccount"]


class Page(HTMLParser):
    """Collects tags and text; raises nothing, so tags are checked by their balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_summary_has_the_counts_as_a_chart_and_nothing_to_load(app: App, run: Any) -> None:
    await app.call(
        "POST",
        f"linking/runs/{run['id']}/review",
        {"rows": [(await app.decisions(run, "link"))[0]["id"]], "action": "exclude"},
    )
    await app.apply(await app.call("GET", f"linking/runs/{run['id']}"))
    async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.content_type == "text/html"
        text = await answer.text()
    page = Page(text)
    assert page.open == []
    assert {"svg", "rect", "h1"} <= set(page.tags)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "http" not in text
    for shown in (
        run["id"],
        "done",
        "Linked on approval",
        "20",
        "by local",
        "1 to exclude",
        "contoso.com and fabrikam.com",
    ):
        assert shown in page.text
    assert "p0@" not in text, "a summary names nobody"


async def test_the_summary_says_for_how_many_a_counterpart_is_suggested_and_shows_the_likeliest(app: App) -> None:
    await app.bring(csv_file({"userName": "anna.old", "displayName": "Anna Berg"}, {"userName": "ada@contoso.com"}))
    run = await app.plan(graph(1, "anna@contoso.com", displayName="Anna Berg"), graph(2, "ada@contoso.com"))
    page, _, _ = await read(app, run)
    assert "a counterpart is suggested for 1 identity and 1 account without a match" in page
    assert "Anna Berg · anna@contoso.com" in page
    assert "Anna Berg · anna.old" in page
    assert "ada@contoso.com" not in page, "whom the plan links it counts alone"
    assert "Who may be whom" not in summary({**run, "suggestions": {}})


async def test_of_many_suggestions_a_summary_shows_those_with_the_highest_scores(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest, "MOST_LIKELIEST", 1)
    monkeypatch.setattr(reviewers, "MOST_LIKELIEST", 1)
    await app.bring(
        csv_file({"userName": "ulla.x", "displayName": "Ulla Brandt"}, {"userName": "a.b", "displayName": "Anna Berg"})
    )
    people = graph(1, "ullas@contoso.com", displayName="Ursula Brandt"), graph(2, "ab@x.org", displayName="Anna Berg")
    page, _, _ = await read(app, await app.plan(*people))
    assert "Anna Berg · ab@x.org" in page
    assert "ullas@contoso.com" not in page


def test_a_summary_counts_people_without_shared_values_and_names_what_the_policy_switches_on() -> None:
    policy = {"verifiedDomains": [], "rules": [], "safeguardShare": 0.2, "adoptOnCreate": True, "schedule": None}
    run = {"id": "run1", "phase": "planned", "counts": {"link": 2, "noAccount": 1, "sharedValue": 7}}
    text = Page(summary(run | {"options": {"policy": policy}}, [])).text
    assert "3 in all." in text
    assert "7 in all." in text
    assert "adoptOnCreate" in text
    assert "schedule" not in text
    assert "links more than 20% of the accounts is approved by its number only" in text


@pytest.mark.parametrize("phase", ["failed", "done"])
def test_a_summary_of_an_undo_says_whom_it_may_switch_on_and_not_that_it_did(phase: str) -> None:
    undo = {"id": "undo1", "phase": phase, "options": {"run": "run1", "activate": 7}, "counts": {"activating": 2}}
    text = Page(undo_summary(undo)).text
    assert "if these are 7 accounts" in text
    assert "Whom provisioning created stays" in text


def test_what_people_wrote_is_text_in_the_summary() -> None:
    run = {"id": "run1", "phase": "planned", "startedBy": "<b>me</b>", "started": "2026-01-01T00:00:00Z"}
    policy = {"verifiedDomains": ["<script>"], "rules": [], "safeguardShare": 0.2}
    warnings = [{"warning": "<i>x</i>", "remedy": "&"}]
    page = Page(summary(run | {"counts": {}, "options": {"policy": policy}}, warnings))
    assert not {"b", "i", "script"} & set(page.tags)


@pytest.mark.parametrize(
    "params",
    [{"format": "pdf"}, {"format": "csv", "count": "0"}, {"format": "csv", "count": "99999"},
     {"format": "jsonl", "cursor": "zz"}, {"format": "csv", "decision": "maybe"}],
)  # fmt: skip
async def test_a_wrong_report_is_refused(app: App, run: Any, params: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", f"linking/runs/{run['id']}/report", **params)
    assert refusal.value.status == 400


async def test_a_run_that_is_not_there_has_no_report(app: App) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", "linking/runs/none/report")
    assert refusal.value.status == 404


async def test_an_undo_has_a_report_and_the_runs_tells_of_it(app: App) -> None:
    await app.bring(csv_file({"userName": "ann@contoso.com"}, {"userName": "=1+1@contoso.com"}))
    job = await app.call("POST", "groups/import", b"group,userName\nStaff,ann@contoso.com\n", "text/csv")
    await app.wait(f"groups/imports/{job['id']}", "done")
    groups = await app.call(
        "POST", "linking/groups", {"value": [{"id": object_id(9), "displayName": "Staff", "members": []}]}
    )
    run = await app.plan(graph(1, "ann@contoso.com"), graph(2, "=1+1@contoso.com"), groups=groups["id"])
    run = await app.apply(run, groups=1)
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    undo = await app.wait(f"linking/undos/{undo['id']}", "done")
    text, _, kind = await read(app, undo, format="csv", count="2")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert kind == "text/csv"
    assert tuple(rows[0]) == UNDO_COLUMNS
    assert {(row["userName"], row["outcome"]) for row in rows} == {
        ("ann@contoso.com", "undone"),
        ("'=1+1@contoso.com", "undone"),
        ("Staff", "groupsUndone"),
    }
    text, _, _ = await read(app, undo, format="jsonl", outcome="groupsUndone")
    assert [json.loads(line)["group"]["displayName"] for line in text.splitlines()] == ["Staff"]
    page = Page((await read(app, undo))[0])
    assert page.open == []
    for shown in (undo["id"], run["id"], "As before their link", "Groups", "2", "by local"):
        assert shown in page.text
    page = Page((await read(app, run))[0])
    for shown in ("Taken back", undo["id"], "What applying the plan came to", f"What {undo['id']} came to"):
        assert shown in page.text
    text, _, _ = await read(app, run, format="csv", decision="link")
    assert {row["undone"] for row in csv.DictReader(io.StringIO(text, newline=""))} == {f"undone by {undo['id']}"}
    text, _, _ = await read(app, run, format="csv", decision="groupLink")
    assert {row["undone"] for row in csv.DictReader(io.StringIO(text, newline=""))} == {f"undone by {undo['id']}"}
    for params in ({"format": "pdf"}, {"format": "csv", "outcome": "maybe"}):
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"linking/undos/{undo['id']}/report", **params)
        assert refusal.value.status == 400
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", f"linking/undos/{run['id']}/report")
    assert refusal.value.status == 404


async def test_a_verification_has_a_report_with_what_its_list_says(app: App) -> None:
    run = await linked(app, "ada", "bob")
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    job = await verify(app, run)
    (row,) = await rows(app, job, "unconfirmed")
    text, _, kind = await read(app, job, format="csv", found="unconfirmed")
    (told,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (kind, tuple(told)) == ("text/csv", VERIFICATION_COLUMNS)
    for name in ("found", "reason", "remedy", "row", "linked"):
        assert told[name] == row[name]
    assert (told["userName"], told["objectId"], told["rules"]) == (
        "bob@contoso.com",
        object_id(1),
        "userName email",
    )
    text, _, _ = await read(app, job, format="jsonl", count="1")
    assert {json.loads(line)["found"] for line in text.splitlines()} == {"confirmed", "unconfirmed"}
    page = Page((await read(app, job))[0])
    for said in (job["id"], run["id"], "Not yet confirmed", "What to do next", "provision this person on demand"):
        assert said in page.text
    for params, status in (({"format": "csv", "found": "luck"}, 400), ({"format": "pdf"}, 400)):
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"linking/verifications/{job['id']}/report", **params)
        assert refusal.value.status == status
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", f"linking/verifications/{run['id']}/report")
    assert refusal.value.status == 404


async def test_the_summary_says_who_reviewed_approved_and_took_back(app: App, run: Any) -> None:
    row, other, *_ = await app.decisions(run, "link")
    for one, action in ((row, "exclude"), (other, "exclude"), (other, "leave")):
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [one["id"]], "action": action})
    done = await app.apply(await app.call("GET", f"linking/runs/{run['id']}"))
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await app.wait(f"linking/undos/{undo['id']}", "done")
    page, _, _ = await read(app, run)
    text = Page(page).text
    assert re.search("localreviewed 2 rows: 1 to (exclude and 1 to leave|leave and 1 to exclude)", text)
    assert f"localapproved {done['counts']['linked']} links" in text
    assert f"localtook it back: {undo['id']}, done" in text
    reviewers = (await app.call("GET", f"linking/runs/{run['id']}/basis"))["reviewers"]
    assert [(one["who"], one["actions"]) for one in reviewers] == [("local", {"exclude": 1, "leave": 1})]
    assert "reviewers" not in await app.call("GET", f"linking/runs/{run['id']}/basis", reviewers="false")


def test_a_summary_names_the_person_where_one_is_known_and_a_bounded_number_of_reviewers() -> None:
    at = "2026-01-01T00:00:00.000Z"
    job = {"id": "run1", "phase": "done", "started": at, "startedBy": "admin", "cancelledBy": "admin", "ended": at}
    persons = {"started": "eva@contoso.com", "cancelled": "max@contoso.com"}
    approvals = [{"by": "admin", "person": "ida@contoso.com", "at": at, "links": 1, "pilot": True}]
    run = job | {"persons": persons, "options": {"approvals": approvals}, "counts": {}}
    undo = job | {"id": "undo1", "persons": {"started": "uwe@contoso.com"}}
    many = [{"who": f"r{n}@contoso.com", "actions": {"link": 1}, "last": at} for n in range(25)]
    text = Page(summary(run, (), [undo], reviewers=many)).text
    assert "by eva@contoso.com" in text
    assert "ida@contoso.comapproved a pilot of 1 link2026" in text
    assert "max@contoso.comcancelled the run" in text
    assert "uwe@contoso.comtook it back: undo1, done" in text
    assert "r19@contoso.com" in text
    assert "r20@contoso.com" not in text
    assert "5 more reviewers decided about fewer rows each." in text
