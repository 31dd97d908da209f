"""Filters: which rows a list, a review or a pilot is about."""

from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import urlencode

import pytest
from python_calamine import load_workbook

from link_orchestrator.requests.report import RUN_COLUMNS
from tests.link_orchestrator.requests.test_decisions_file import table
from tests.link_orchestrator.requests.test_reviews import review
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id

ACCOUNTS = csv_file(
    {"userName": "a.local", "email": "mail@contoso.com"},
    {"userName": "b.local", "email": "alias@contoso.com"},
    {"userName": "c.local", "email": "other@contoso.com"},
    {"userName": "d.local", "email": "both@contoso.com"},
    {"userName": "berg.old", "displayName": "Anna Berg"},
    {"userName": "smyth.old", "displayName": "Jon Smithe"},
)
IDENTITIES = (
    graph(1, "a@contoso.com", mail="mail@contoso.com", department="IT"),
    graph(2, "b@contoso.com", proxyAddresses=["SMTP:b@contoso.com", "smtp:alias@contoso.com"], department="Sales"),
    graph(3, "c@fabrikam.com", otherMails=["other@contoso.com"]),
    graph(4, "d@contoso.com", mail="both@contoso.com", otherMails=["both@contoso.com"]),
    graph(5, "anna.b@contoso.com", displayName="Anna Berg"),
    graph(6, "j.s@contoso.com", displayName="Jon Smith"),
)


@pytest.fixture
async def run(app: App) -> Any:
    await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES)
    assert (run["counts"]["review"], run["counts"]["noAccount"]) == (4, 2)
    return run


async def listed(app: App, run: Any, **asked: str) -> set[int]:
    """Return the numbers of the identities whose rows a list selects."""
    page = await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked)
    ids = [row["identity"]["objectId"] for row in page["decisions"] if "identity" in row]
    return {number for number in range(1, 7) if object_id(number) in ids}


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"evidence": "mail"}, {1, 4}),
        ({"evidence": "alias"}, {2}),
        ({"evidence": "otherMails"}, {3}),
        ({"department": "it"}, {1}),
        ({"domain": "Fabrikam.com"}, {3}),
        ({"domain": "@contoso.com", "decision": "review"}, {1, 2, 4}),
        ({"rule": "email", "evidence": "alias"}, {2}),
        ({"rule": "userName"}, set()),
        ({"score": "0.5"}, {5, 6}),
        ({"score": "0.89"}, {5}),
        ({"score": "0.89", "decision": "review"}, set()),
    ],
)
async def test_a_list_shows_the_rows_that_meet_every_condition(
    app: App, run: Any, asked: dict[str, str], numbers: set[int]
) -> None:
    assert await listed(app, run, **asked) == numbers


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"descision": "review"}, r"descision: no parameter of this request, which takes decision, rule, .*cursor"),
        ({"Departmnt": "it"}, r"departmnt: no parameter of this request"),
    ],
)
async def test_a_parameter_that_no_list_takes_is_refused_with_those_that_it_takes(
    app: App, run: Any, asked: dict[str, str], told: str
) -> None:
    with pytest.raises(Refusal, match=told) as refusal:
        await listed(app, run, **asked)
    assert refusal.value.status == 400


async def test_a_change_that_provisioning_cannot_make_is_refused_with_those_that_it_can(app: App, run: Any) -> None:
    path, told = (
        f"linking/runs/{run['id']}",
        r"^400 changes: the mapping of the run sends no such .* userName, .*, or any",
    )
    asked: dict[str, Any] = {"changes": "foo"}
    seen = [one["code"] for one in run["warnings"]]
    for act in (
        app.call("GET", path + "/decisions", **asked),
        app.call("GET", path + "/report", format="csv", **asked),
        app.call("POST", path + "/review", {"filter": asked | {"decision": "review"}, "action": "leave"}),
        app.call("POST", path + "/approve", {"filter": asked, "links": run["links"], "acknowledged": seen}),
    ):
        with pytest.raises(Refusal, match=told):
            await act


@pytest.mark.parametrize("asked", [{"score": "2"}, {"score": "x"}, {"evidence": "phone"}, {"rule": "luck"}])
async def test_a_condition_that_is_none_is_refused_by_its_name(app: App, run: Any, asked: dict[str, str]) -> None:
    with pytest.raises(Refusal, match=next(iter(asked))) as refusal:
        await listed(app, run, **asked)
    assert refusal.value.status == 400


@pytest.mark.parametrize("asked", [{"domain": "Fabrikam.com"}, {"department": "it"}, {"score": "0.89"}])
async def test_a_table_has_the_rows_of_the_list_on_every_page(app: App, run: Any, asked: dict[str, str]) -> None:
    found: list[str] = []
    link = f"/linking/runs/{run['id']}/report?{urlencode({'format': 'csv', 'count': 1, **asked})}"
    while link:
        async with app.session.get(link) as answer:
            found.append(await answer.text())
            link = str(answer.links.get("next", {}).get("url", ""))
    rows = list(csv.DictReader(io.StringIO("".join(found).removeprefix("\ufeff"), newline="")))
    listed_rows = (await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked))["decisions"]
    assert {row["row"] for row in rows} == {row["id"] for row in listed_rows}
    book = load_workbook(io.BytesIO(await table(app, run, "xlsx", **asked)))
    column = RUN_COLUMNS.index("row")
    assert {row[column] for row in book.get_sheet_by_index(0).to_python()[1:]} == {row["row"] for row in rows}


async def test_a_condition_is_no_text_without_end(app: App, run: Any) -> None:
    with pytest.raises(Refusal, match=r"filter\.department.*1000"):
        await review(app, run, "leave", filter={"decision": "review", "department": "\u0130" * 1_001})


async def test_a_domain_is_the_same_in_every_spelling(app: App) -> None:
    run = await app.plan(graph(1, "a@m\u00fcller.example"), graph(2, "b@xn--mller-kva.example"))
    for domain in ("M\u00dcLLER.example", "@xn--mller-kva.example"):
        assert await listed(app, run, domain=domain) == {1, 2}


async def test_a_review_decides_about_those_whom_a_filter_selects(app: App, run: Any) -> None:
    answer = await review(app, run, "link", filter={"decision": "review", "evidence": "mail"})
    assert (answer["reviewed"], answer["run"]["review"]) == (2, {"link": 2})
    answer = await review(app, run, "exclude", filter={"decision": "review", "department": "Sales"})
    assert answer["run"]["review"] == {"link": 2, "exclude": 1}
    answer = await review(app, run, "link", filter={"decision": "noAccount", "score": 0.5})
    assert (answer["reviewed"], len(answer["refused"])) == (0, 2), "who is only alike is linked by name alone"


@pytest.mark.parametrize("asked", [{}, {"reviewed": "true"}, {"reviewed": "false"}, {"evidence": "mail"}])
@pytest.mark.parametrize("decision", ["", "review"])
async def test_a_brief_list_has_the_same_rows_by_their_ids_with_what_was_decided(
    app: App, run: Any, decision: str, asked: dict[str, str]
) -> None:
    first, second, *_ = await app.decisions(run, "review")
    await review(app, run, rows=[first["id"], second["id"]], action="exclude")
    await review(app, run, rows=[second["id"]], action="leave")
    asked = asked | ({"decision": decision} if decision else {})
    path = f"linking/runs/{run['id']}/decisions"
    whole = (await app.call("GET", path, **asked))["decisions"]
    brief = (await app.call("GET", path, brief="true", **asked))["decisions"]
    assert brief == [{name: row[name] for name in ("id", "decision", "review") if name in row} for row in whole]
    assert brief


async def test_rows_that_are_found_by_a_name_are_not_listed_by_their_ids(app: App, run: Any) -> None:
    with pytest.raises(Refusal, match="brief: rows that are found by a name are listed whole"):
        await listed(app, run, brief="true", find="anna")
