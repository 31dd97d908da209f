"""The pages about runs: what they say in each state, and that whatever people wrote is text in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator import words
from link_orchestrator.requests.pages.files import MOST_FILES
from link_orchestrator.requests.pages.policy import sentences
from link_orchestrator.requests.pages.run import summary
from link_orchestrator.requests.pages.undo import undo_summary
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.policy import Policy, Rule
from tests.link_orchestrator.requests.test_report import Page
from tests.link_orchestrator.running import App, csv_file, graph

NICKNAMES = {
    "attributes": {"externalId": "mailNickname", "userName": "userPrincipalName"},
    "matching": ["userName"],
}
PLANNED = {
    "id": "run1",
    "phase": "planned",
    "started": "2026-11-30T10:00:00.000Z",
    "startedBy": "ann",
    "planned": "2026-11-30T10:01:00.000Z",
    "expires": "2026-12-07T10:01:00.000Z",
    "links": 2,
    "counts": {"link": 2, "review": 1, "noAccount": 3, "noIdentity": 4},
    "predicted": {"matched": 2, "created": 3},
    "options": {"policy": Policy(verified_domains=frozenset({"contoso.com"})).to_json()},
}


def test_every_decision_has_a_name_a_meaning_and_a_place_in_the_whole() -> None:
    rows = {*DecisionKind, *GroupDecisionKind}
    assert rows <= {*words.DECISIONS, *words.GROUPS, *words.SHARED}
    assert all(bar.meaning for bar in words.DECISIONS.values())
    assert sorted(name for *_, names in words.WHOLES for name in names) == sorted(words.DECISIONS)


def test_a_plan_says_what_would_happen_and_how_to_approve_it_and_to_go_back() -> None:
    text = Page(summary(PLANNED)).text
    for said in (
        "Nothing has changed yet",
        "Linking contoso.com",
        "POST /linking/runs/run1/approve",
        '{"links":2}',
        "expires at 2026-12-07 10:01:00 UTC",
        "POST /linking/runs/run1/undo",
        "POST /linking/runs/run1/cancel drops it",
        "10 in all.",
    ):
        assert said in text
    approval, back = text.partition("How to approve it")[2].partition("How to go back")[::2]
    assert approval.index("In the portal (/portal/runs/run1)") < approval.index("Or over the API")
    assert "type the number of links, 2" in approval
    assert back.index("in the portal, on its page Undo") < back.index("Or over the API")


@pytest.mark.parametrize("phase", ["started", "approved", "done", "cancelled", "expired", "failed"])
def test_only_a_plan_that_waits_says_how_to_approve_it(phase: str) -> None:
    text = Page(summary(PLANNED | {"phase": phase})).text
    assert "How to approve it" not in text
    assert "Nothing has changed yet" not in text


def test_what_reviews_chose_since_stands_beside_the_numbers_of_the_plan() -> None:
    text = Page(summary({**PLANNED, "review": {"link": 26, "exclude": 3}})).text
    assert "So says the plan. Since then, reviews chose rows: 26 to link, 3 to exclude." in text
    assert "So says the plan" not in Page(summary(PLANNED)).text


def test_an_import_that_was_taken_back_says_so() -> None:
    back = {"started": "2026-11-30T09:30:00.000Z", "startedBy": "ann"}
    read = {"id": "import1", "kind": "import", "started": "2026-11-30T09:00:00.000Z", "takenBack": back}
    assert "Taken back2026-11-30 09:30:00 UTC by ann" in Page(summary(PLANNED, read=[read])).text.replace("\n", "")


def test_after_a_pilot_a_page_does_not_say_that_nothing_has_changed() -> None:
    counts = PLANNED["counts"] | {"linked": 10}  # type: ignore[operator]
    piloted = PLANNED | {"counts": counts, "approved": "2026-11-30T11:00:00.000Z", "approvedBy": "ann"}
    text = Page(summary(piloted)).text
    assert "A pilot has linked 10 accounts with their Entra identities." in text
    assert "POST /linking/runs/run1/cancel, and once that has ended POST /linking/runs/run1/undo" in text
    assert "2 more existing accounts would be linked" in text
    expired = Page(summary(piloted | {"phase": "expired"})).text
    assert "Nobody approved the rest of the plan in time. A pilot has linked 10 accounts" in expired
    assert "othing has changed" not in text + expired
    assert "there is nothing to take back" not in text + expired


def test_of_one_account_a_page_speaks_as_of_one() -> None:
    text = Page(summary(PLANNED | {"links": 1})).text
    assert "1 existing account would be linked with its Entra identity, and nothing else of it changes." in text


def test_what_was_applied_says_how_to_go_back_and_what_was_never_approved_does_not() -> None:
    done = PLANNED | {"phase": "done", "approved": "2026-11-30T11:00:00.000Z", "counts": {"linked": 2}}
    assert "POST /linking/runs/run1/undo" in Page(summary(done)).text
    expired = PLANNED | {"phase": "expired"}
    assert "undo" not in Page(summary(expired)).text


def test_a_trial_cannot_be_approved_and_says_how_to_make_the_plan_that_can() -> None:
    text = Page(summary(PLANNED, trial=True)).text
    assert "nothing can be approved from it" in text
    assert text.index("In the portal of the app (/portal)") < text.index("Or over the API: PUT /directory/policy")
    assert "POST /accounts/import" in text
    assert "/linking/runs/run1" not in text


async def test_the_page_names_what_the_run_goes_by_and_nothing_that_came_later(app: App) -> None:
    job = await app.bring(csv_file({"userName": "ann@contoso.com", "title": "a"}, {"userName": "", "title": "b"}))
    other = await app.upload(graph(7, "other@contoso.com"))
    run = await app.plan(graph(1, "ann@contoso.com"))
    later = await app.bring(csv_file({"userName": "ben@contoso.com"}))
    async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
        text = Page(await answer.text()).text
    assert {one: one in text for one in (job["id"], run["options"]["identities"], other, later["id"])} == {
        job["id"]: True,
        run["options"]["identities"]: True,
        other: False,
        later["id"]: False,
    }
    assert "1 created, 1 refused" in text
    assert "ann@" not in text, "a summary names nobody"


def test_of_many_files_the_latest_are_named_and_the_others_counted() -> None:
    read = [{"kind": "import", "id": f"import{n:03}", "started": "2026-11-30T10:00:00Z"} for n in range(MOST_FILES + 3)]
    text = Page(summary(PLANNED, read=read)).text
    assert f"import{MOST_FILES + 2:03}" in text
    assert "import002" not in text
    assert "3 files more" in text


@given(st.text(), st.text())
def test_whatever_people_wrote_is_text(name: str, domain: str) -> None:
    written = f"<b>{name}</b>\"'><script>"
    policy = PLANNED["options"]["policy"] | {"verifiedDomains": [f"<i>{domain}</i>"], "unknown": written}  # type: ignore[index]
    read = [{"kind": "import", "id": "import1", "startedBy": written, "started": "2026-11-30T10:00:00Z"}]
    run = PLANNED | {
        "startedBy": written,
        "reason": written,
        "options": {"policy": policy},
        "warnings": [{"warning": written, "remedy": written}],
    }
    page = Page(summary(run, [{"warning": written, "remedy": written}], read=read))
    assert page.open == []
    assert not {"b", "i", "script"} & set(page.tags)


def test_a_page_is_read_aloud_in_order_and_pictures_say_nothing_that_words_do_not() -> None:
    text = summary(PLANNED, [{"warning": "w", "remedy": "r"}])
    page = Page(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1
    assert text.count("<svg") == text.count('aria-hidden="true"><svg') + text.count('aria-hidden="true"><rect')
    assert text.count('<th scope="row">') == text.count('<td class="number">')


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"verifiedDomains": []}, "no address proves anything"),
        ({"verifiedDomains": ["a.com", "b.com"]}, "Only addresses in a.com and b.com prove anything"),
        (
            {"verifiedDomains": ["b.com", {"domain": "a.com", "subdomains": True}]},
            "Only addresses in a.com with its subdomains and b.com prove anything",
        ),
        ({"verifiedDomains": ["a.com"], "trustEmails": "inVerifiedDomains"}, "would become the colleague's"),
        ({"rules": [{"rule": "new", "trust": "strong", "part": "{x}"}]}, 'new {"part": "{x}"}'),
        ({"rules": [{"rule": "userName", "trust": "strong"}]}, "its userName is the identity's user principal name"),
        ({"rules": [{"rule": "new", "trust": "weak"}]}, "new"),
        ({"excluded": ["a", "b"]}, "2 identities"),
        (
            {"excluded": [{"pattern": "svc-*"}, {"type": "guest"}]},
            "Left out of every run: pattern svc-* and type guest",
        ),
        ({"setAside": ["a"]}, "Set aside, so that no run links or reports them: 1 entry"),
        (
            {"rules": [{"rule": "transformedName", "trust": "weak", "transforms": ["beforeAt"]}]},
            "its userName is the identity's userPrincipalName (the part before @)",
        ),
        ({"rules": [{"rule": "employeeNumber", "trust": "weak"}]}, "the identity's employeeId"),
        ({"undoDays": 30}, "undoDays: 30"),
        ({"somethingNew": {"x": 1}}, 'somethingNew: {"x": 1}'),
    ],
)
def test_a_policy_is_said_in_sentences_and_nothing_of_it_is_kept_back(policy: Any, said: str) -> None:
    assert said in Page(sentences(policy)).text


def test_a_page_names_domains_with_and_without_their_subdomains() -> None:
    domains = ["b.com", {"domain": "a.com", "subdomains": True}]
    assert (
        "Linking a.com and b.com" in Page(summary(PLANNED | {"options": {"policy": {"verifiedDomains": domains}}})).text
    )


def test_every_rule_is_said_in_words() -> None:
    document = Policy(verified_domains=frozenset({"a.com"})).to_json()
    text = sentences(document)
    assert not [rule for rule in Rule if f"<li>{rule}</li>" in text]
    assert "undoDays" not in text


WARNED = {
    "code": "userNameChanges",
    "warning": "230 sign-in names will change",
    "count": 230,
    "examples": [{"identity": "ann@contoso.com"}],
    "remedy": "Look at them: GET /linking/runs/run1/decisions?changes=userName. Tell these people.",
    "digest": "ab",
    "acknowledged": False,
}


def test_an_approval_names_the_warnings_that_are_to_be_acknowledged() -> None:
    known = WARNED | {"code": "inactive", "warning": "seen before", "acknowledged": True, "acknowledgedBy": "ann"}
    page = Page(summary(PLANNED | {"warnings": [known | {"acknowledgedAt": "2026-11-29T10:00:00Z"}, WARNED]}))
    assert '{"links":2,"acknowledged":["userNameChanges"]}' in page.text
    assert page.text.index("230 sign-in names") < page.text.index("seen before")
    assert "Acknowledged 2026-11-29 10:00:00 UTC by ann." in page.text
    assert "ann@contoso.com" not in page.text, "a page names nobody"


def test_a_remedy_is_in_the_words_of_the_portal_and_leads_to_its_page() -> None:
    page = summary(PLANNED | {"warnings": [WARNED]})
    text = Page(page).text
    assert "GET /linking/runs" not in text.partition("How to approve it")[0]
    assert "Tell these people, or let them keep their names: Connect says" in text
    assert f'<a href="/portal/runs/{PLANNED["id"]}/decisions?changes=userName">The rows</a>' in page


def test_who_acknowledged_a_warning_is_named_where_they_are_known_as_a_person() -> None:
    known = {"acknowledged": True, "acknowledgedBy": "entra:1", "acknowledgedAt": "2026-11-29T10:00:00Z"}
    text = Page(summary(PLANNED | {"warnings": [WARNED | known | {"persons": {"acknowledged": "ann"}}]})).text
    assert "Acknowledged 2026-11-29 10:00:00 UTC by ann." in text
    assert "entra:1" not in text


def test_domains_are_in_the_letters_that_people_write() -> None:
    policy = Policy(verified_domains=frozenset({"xn--mster-kva.de"})).to_json()
    text = Page(summary(PLANNED | {"options": {"policy": policy}})).text
    assert "Linking müster.de" in text
    assert "Only addresses in müster.de prove anything." in text
    assert "xn--" not in text


def test_remedies_of_a_trial_name_the_rows_and_not_an_app_that_is_gone() -> None:
    disabled = {
        "remedy": "Look: GET /linking/runs/run1/decisions?decision=review&warning=disabled.",
        "code": "disabled",
    }
    unread = {"remedy": "See why: GET /linking/runs/run1/problems.", "code": "unreadRows"}
    text = Page(summary(PLANNED | {"warnings": [WARNED, WARNED | disabled, WARNED | unread]}, trial=True)).text
    assert "See why: problems.csv. Correct the file, and plan again." in text
    assert "Look at them: rows.csv, where changes has userName. Tell these people." in text
    assert "Look: rows.csv, where decision has review and warnings has disabled." in text
    assert "/decisions" not in text


def test_what_the_first_cycle_changes_is_counted_by_attribute_what_people_notice_first() -> None:
    impact = {"accounts": 9, "nickName": 2, "title": 3, "userName": 2, "active": 1}
    text = Page(summary(PLANNED | {"impact": impact})).text
    assert "Something changes of 9 accounts" in text
    places = [text.index(name) for name in ("Sign-in name", "Switched on or off", "title", "nickName")]
    assert places == sorted(places)
    assert "8 in all" not in text


async def test_a_page_warns_of_a_mapping_once(app: App) -> None:
    await app.bring(csv_file({"userName": "ann@contoso.com"}))
    run = await app.plan(graph(1, "ann@contoso.com"), mapping=NICKNAMES)
    warned = [one["warning"] for one in run["warnings"]]
    async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
        text = Page(await answer.text()).text
    assert warned
    assert [text.count(one) for one in warned] == [1] * len(warned)


def test_a_run_that_read_the_identities_itself_names_the_tenant_and_whom_it_read() -> None:
    options = {"source": {"graph": {"scope": "assigned"}}, "tenant": "contoso.onmicrosoft.com"}
    text = Page(summary(PLANNED | {"options": options})).text
    for said in ("Microsoft Graph", "contoso.onmicrosoft.com", "who is assigned to the application"):
        assert said in text


def test_what_was_warned_of_is_not_the_first_thing_to_look_at_once_it_is_done() -> None:
    text = Page(summary(PLANNED | {"phase": "done", "warnings": [WARNED]})).text
    assert "What the plan warned of" in text
    assert "Look at this first" not in text


def undo_of(**counts: int) -> dict[str, Any]:
    return {"id": "undo1", "phase": "done", "started": "2026-11-30T12:00:00.000Z", "startedBy": "ann", "counts": counts}


def test_after_an_undo_the_pages_say_first_what_it_means_and_how_to_go_on() -> None:
    run = {**PLANNED, "phase": "done", "approved": "2026-11-30T11:00:00.000Z", "approvedBy": "ann"}
    undo = undo_of(undone=900, undonePartly=20, undoneInactive=3, refused=1)
    for text in (Page(summary(run, (), [undo])).text, Page(undo_summary(undo)).text):
        assert "923 links of this run were taken back3 accounts that provisioning had switched off stay so" in text
        assert "Nobody else loses access by that" in text
        assert "unless the policy lets it create beside an account that matches" in text
        assert "A schedule of runs, if there is one, is suspended" in text
        assert "Entra's next provisioning cycle is refused at each of them" in text
        assert "To go on: correct what was wrong, make another plan" in text
    assert "What is linked can be taken back" not in Page(summary(run, (), [undo])).text
    assert "Nobody loses access" not in Page(summary(run, (), [undo_of(refused=2)])).text + Page(summary(run)).text
