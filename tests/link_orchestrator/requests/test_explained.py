"""A row says where account and identity have the value that connects them, and what would make it a link."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.requests.explained import ALIAS, DOUBT, JOIN, NUMBER, REMEDIES, UNVERIFIED, explained
from shared.directory.matching.evidence import MatchEvidence
from shared.directory.matching.policy import Policy, Rule, Trust
from tests.link_orchestrator.running import App, csv_file, graph, object_id

VERIFIED = {"emailVerified": "yes"}


@pytest.mark.parametrize(
    ("account", "identity", "place", "remedy"),
    [
        (
            {"userName": "ada", "email": "a@home.example", "otherEmails": "ada@contoso.com"},
            graph(1, "x@contoso.com", proxyAddresses=["smtp:ada@contoso.com"]),
            "The account's second e-mail is the identity's alias (proxyAddresses).",
            "and not an alias",
        ),
        (
            {"userName": "ada", "email": "ada@contoso.com"},
            graph(1, "ada@contoso.com"),
            "The account's first e-mail is the identity's mail",
            "emailVerified",
        ),
        (
            {"userName": "ada@contoso.com"},
            graph(1, "ada@contoso.com"),
            "The account's userName is the identity's userPrincipalName",
            "",
        ),
        (
            {"userName": "old@contoso.com"},
            graph(1, "new@contoso.com", otherMails=["old@contoso.com"]),
            "The account's userName is the identity's other mail (otherMails).",
            "and not an alias",
        ),
        (
            {"userName": "ada", "employeeNumber": "17"},
            graph(1, "ada@contoso.com", employeeId="17"),
            "The account's employeeNumber is the identity's employeeId.",
            "a number alone",
        ),
        (
            {"userName": "ada@partner.example"},
            graph(1, "ada@partner.example"),
            "The account's userName is the identity's userPrincipalName",
            "verifiedDomains",
        ),
        (
            {"userName": "ada@contoso.com"},
            graph(1, "ada@contoso.com", accountEnabled=False),
            "The account's userName is the identity's userPrincipalName",
            "what the reason names is settled",
        ),
        ({"userName": "zed"}, graph(1, "ada@contoso.com"), "", "if the person is new here"),
    ],
)
async def test_a_reason_names_the_place_and_the_remedy(
    app: App, account: dict[str, str], identity: Any, place: str, remedy: str
) -> None:
    await app.bring(csv_file(account))
    run = await app.plan(identity)
    (row,) = [row for row in await app.decisions(run) if row.get("identity", {}).get("objectId") == object_id(1)]
    assert place in row["reason"]
    assert remedy in row.get("remedy", "")
    assert ("remedy" in row) is bool(remedy)


async def test_who_was_taken_apart_is_joined_by_a_person_and_by_no_later_plan(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    done = await app.apply(await app.plan(graph(1, "ada@contoso.com")))
    undo = await app.call("POST", f"linking/runs/{done['id']}/undo")
    await app.wait(f"linking/undos/{undo['id']}", "done")
    (row,) = await app.decisions(await app.plan(graph(1, "ada@contoso.com"), full=True), "review")
    assert "took the two apart" in row["reason"]
    assert "No later plan does it by itself" in row["remedy"]


async def test_each_page_of_a_filtered_csv_is_filtered(app: App) -> None:
    names = [f"p{n}@{domain}" for n in range(4) for domain in ("contoso.com", "partner.example")]
    await app.bring(csv_file(*({"userName": name} for name in names)))
    run = await app.plan(*(graph(n, name) for n, name in enumerate(names)))
    path, found = f"/linking/runs/{run['id']}/report?format=jsonl&domain=partner.example&count=1", list[str]()
    while path:
        async with app.session.get(path) as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
            found += [line["identity"]["userPrincipalName"] for line in lines]
            path = str(answer.links["next"]["url"].relative()) if "next" in answer.links else ""
    assert sorted(found) == sorted(name for name in names if "partner" in name)


async def test_each_of_several_candidates_says_where_it_has_the_value(app: App) -> None:
    await app.bring(csv_file({"userName": "a", "email": "ada@contoso.com"}, {"userName": "ada@contoso.com"}))
    run = await app.plan(graph(1, "b@contoso.com", mail="ada@contoso.com", otherMails=["ada@contoso.com"]))
    (row,) = await app.decisions(run, "ambiguous")
    places = {one["userName"]: one["places"] for one in row["candidates"]}
    assert places["a"] == ["the account's first e-mail is the identity's mail"]
    assert places["ada@contoso.com"] == ["the account's userName is the identity's mail"]
    assert "Name the account" in row["remedy"]


async def test_the_csv_has_changes_and_remedies_and_can_be_filtered_by_them(app: App) -> None:
    rows = [{"userName": f"p{n}", "email": f"p{n}@contoso.com", **VERIFIED} for n in range(3)]
    await app.bring(csv_file(*rows, {"userName": "same@contoso.com"}))
    run = await app.plan(*(graph(n, f"p{n}@contoso.com") for n in range(3)), graph(9, "same@contoso.com"))
    path, found = f"/linking/runs/{run['id']}/report?format=csv&changes=userName&count=2", list[dict[str, str]]()
    header: list[str] = []
    while path:
        async with app.session.get(path) as answer:
            read = list(csv.reader(io.StringIO(await answer.text())))
            header = header or read.pop(0)
            found += [dict(zip(header, row, strict=True)) for row in read]
            path = str(answer.links["next"]["url"].relative()) if "next" in answer.links else ""
    assert sorted(row["changes"] for row in found) == [f'userName: "p{n}" -> "p{n}@contoso.com"' for n in range(3)]
    async with app.session.get(f"/linking/runs/{run['id']}/report?format=jsonl&changes=userName") as answer:
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert len(lines) == 3
    assert all("changes" in line for line in lines)


@given(
    rule=st.sampled_from(Rule),
    held=st.sampled_from(["", "emails 1", "emails 12", "verifiedEmails", "userName", "nameId", "employeeNumber"]),
    attribute=st.sampled_from(["mail", "proxyAddresses", "id", "userPrincipalName"]),
    decision=st.sampled_from(["link", "review", "ambiguous", "noAccount", "groupLink", ""]),
)
def test_whatever_a_row_holds_it_is_explained(rule: Rule, held: str, attribute: str, decision: str) -> None:
    evidence = MatchEvidence(rule, Trust.WEAK, attribute, held=held)
    row = explained({"decision": decision, "reason": "So.", "evidence": [evidence.to_json()]})
    assert row["reason"].startswith("So.")
    if held and held != "verifiedEmails":
        assert row["evidence"][0].get("accountAttribute") == held.split(" ")[0]


def test_a_row_of_an_earlier_version_says_nothing_of_the_place_of_an_address() -> None:
    old = {"rule": "email", "trust": "weak", "attribute": "mail"}
    row = explained({"decision": "review", "reason": "So.", "evidence": [old]})
    assert (row["reason"], row["evidence"]) == ("So.", [old])


def test_a_remedy_says_a_setting_in_words_and_its_name_in_brackets() -> None:
    settings = [name for name in Policy().to_json() if name.lower() != name]
    for remedy in (*REMEDIES.values(), UNVERIFIED, ALIAS, NUMBER, JOIN, DOUBT):
        words = re.sub(r"\([^)]*\)", "", remedy)
        assert not [name for name in (*settings, "emailVerified", "POST ", "PUT ") if name in words], remedy
    assert "in the portal under Policy (trustEmails)" in UNVERIFIED
