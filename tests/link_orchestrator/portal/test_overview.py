"""The overview: what it says to do next, rendered without a server, and its numbers as the API has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from link_orchestrator import words
from link_orchestrator.portal.frame import Around
from link_orchestrator.portal.pages.of_job import OfJob
from link_orchestrator.portal.pages.of_run import Run, why_stopped
from link_orchestrator.portal.pages.overview import Overview, find_next
from link_orchestrator.portal.pages.run import OneRun
from link_orchestrator.portal.rendering import render
from link_orchestrator.requests.pages.run import summary
from link_orchestrator.requests.pages.verification import verification_summary
from link_orchestrator.requests.verified import FIND_OUT
from shared.host.auth import Caller
from tests.link_orchestrator.portal.door import READER, SETTINGS, Answer, Door, opened
from tests.link_orchestrator.running import csv_file, graph

NOW = datetime(2026, 11, 30, tzinfo=UTC)
POLICY = {"verifiedDomains": ["contoso.com"]}
EVA = Around(caller=Caller("entra:eva", "main", "eva@contoso.com"), token="t")


def job(kind: str, phase: str = "done", about: str = "", **more: Any) -> dict[str, Any]:
    """Return a job as the API shows it."""
    ended = {"ended": "2026-11-30T12:00:00Z"} if phase not in ("started", "planned", "approved") else {}
    document = {"id": f"{kind}1", "kind": kind, "phase": phase, "started": "2026-11-30T11:00:00Z", "startedBy": "eva"}
    return document | {"options": {"run": about} if about else {}, "counts": {}} | ended | more


def directory(*jobs: Mapping[str, Any], accounts: int = 10, **more: Any) -> dict[str, Any]:
    """Return a directory as the API shows it."""
    latest = {one["kind"]: one for one in jobs}
    return {"name": "main", "accounts": accounts, "groups": 0, "latest": latest, "credentials": []} | more


UNUSED = {"tenantUrl": None, "lastRequest": None, "lastWrite": None, "credentials": []}
USED = UNUSED | {"lastRequest": "2026-11-30T09:00:00Z"}
NONE = {"refusals": []}
DONE = job("run", counts={"linked": 8}, approved="2026-11-30T11:30:00Z")
UNDONE = job("undo", about="run0", started="2026-11-30T13:00:00Z", counts={"undone": 8})
LINKED_SINCE = DONE | {"approved": "2026-11-30T14:00:00Z"}
LATER = job("run", approved="2026-11-30T15:00:00Z")


def verified(skipped: int = 0, **counts: int) -> dict[str, Any]:
    """Return a verification of the run, of whose links that are not confirmed the plan expected some to wait."""
    return job("verification", about="run1", counts={"confirmed": 5, **counts}, predicted={"skipped": skipped})


@pytest.mark.parametrize(
    ("told", "policy", "step", "path"),
    [
        (directory(accounts=0), {}, "Import", "import"),
        (directory(job("import", "started"), accounts=0), {}, "Import", "imports/import1"),
        (directory(job("import", "failed"), accounts=0), {}, "Import", "import"),
        (directory(job("import")), {"verifiedDomains": []}, "Policy", "policy"),
        (directory(job("import")), POLICY, "Plan", "plan"),
        (directory(job("run", "started")), POLICY, "Plan", "runs/run1"),
        (directory(job("run", "planned", links=8)), POLICY, "Review", "runs/run1"),
        (directory(job("run", "approved")), POLICY, "Approve", "runs/run1"),
        (directory(job("run", "expired")), POLICY, "Plan", "plan"),
        (directory(job("run", "failed")), POLICY, "Plan", "plan"),
        (directory(DONE), POLICY, "Provision", "runs/run1/verify"),
        (directory(DONE, job("verification", about="run0")), POLICY, "Provision", "runs/run1/verify"),
        (directory(DONE, job("verification", "started", "run1")), POLICY, "Verify", "runs/run1/verify"),
        (
            directory(DONE, job("verification", about="run1", counts={"created": 1})),
            POLICY,
            "Verify",
            "runs/run1/verify",
        ),
        (directory(DONE, job("verification", about="run1", counts={"confirmed": 8})), POLICY, "", "plan"),
        (directory(DONE, verified(unconfirmed=3, skipped=3)), POLICY, "", "plan"),
        (directory(DONE, verified(alike=2)), POLICY, "", "runs/run1/verify"),
        (directory(DONE, verified(unconfirmed=4, skipped=3)), POLICY, "Verify", "runs/run1/verify"),
        (directory(DONE, verified(unconfirmed=3, skipped=3, created=1)), POLICY, "Verify", "runs/run1/verify"),
        (directory(DONE, job("undo", "started", "run1")), POLICY, "Plan", "runs/run1/undo"),
        (directory(DONE, job("undo", about="run1")), POLICY, "Plan", "plan"),
        (directory(DONE, job("undo", "failed", "run1")), POLICY, "Plan", "runs/run1/undo"),
        (directory(DONE, job("undo", "cancelled", "run1")), POLICY, "Plan", "runs/run1/undo"),
        (directory(DONE, job("undo", about="run1", counts={"refused": 1})), POLICY, "Plan", "runs/run1/undo"),
        (directory(DONE, UNDONE), POLICY, "Plan", "plan"),
        (directory(DONE, UNDONE | {"counts": {"refused": 8}}), POLICY, "Provision", "runs/run1/verify"),
        (directory(LINKED_SINCE, UNDONE), POLICY, "Provision", "runs/run1/verify"),
        (directory(DONE | {"counts": {}}), POLICY, "Plan", "plan"),
        (directory(DONE, job("verification", "cancelled", "run1")), POLICY, "Verify", "runs/run1/verify"),
        (directory(job("run", counts={})), POLICY, "", "plan"),
        (directory(job("import"), job("importundo", "started")), POLICY, "Import", "import-undos/importundo1"),
        (directory(job("import"), job("importundo"), accounts=0), POLICY, "Import", "import"),
        (directory(job("import"), job("run", "cancelled"), accounts=0), POLICY, "Import", "import"),
        (directory(job("import", "started"), job("run", "cancelled"), accounts=0), POLICY, "Import", "imports/import1"),
        (directory(job("run", "planned", links=8), accounts=0), POLICY, "Review", "runs/run1"),
    ],
)
def test_there_is_one_thing_to_do_next(told: Any, policy: Any, step: str, path: str) -> None:
    found = find_next(told, policy)
    assert (found.step, found.path) == (step, path)
    page = render("overview.html", {"page": EVA, "view": Overview.of(told, policy, USED, NONE, NOW)})
    assert page.count('class="button primary"') == 1
    assert f'href="/portal/{path}"' in page


FORESEEN = DONE | {
    "approvedBy": "eva",
    "impact": {"accounts": 8, "userName": 1},
    "predicted": {"created": 26, "refused": 13, "matched": 8},
}
"""A run with what its plan said of the first cycle."""
FORETOLD = "1 sign-in name changes, 26 accounts are created, 13 people are refused until settled"


@pytest.mark.parametrize("connection", [USED, UNUSED])
def test_who_is_to_start_provisioning_is_told_what_it_changes_and_how_to_go_back(connection: Any) -> None:
    page = text_of(
        render("overview.html", {"page": EVA, "view": Overview.of(directory(FORESEEN), POLICY, connection, NONE, NOW)})
    )
    assert f"With its first cycle {FORETOLD}." in page
    assert "To go back, stop provisioning there" in page
    assert "Leave provisioning off" not in page
    assert ("Connect Entra first" in page) == (connection is UNUSED)
    views: dict[str, Any] = {
        "run.html": OneRun(Run(FORESEEN), {"undos": [], "policy": [], "files": []}, None),
        "verify.html": OfJob(Run(FORESEEN), None, words.FOUND),
    }
    for name, view in views.items():
        html = render(name, {"page": EVA, "view": view})
        shown = text_of(html)
        assert FORETOLD.replace(", ", " , ") in shown
        assert "To go back, stop provisioning in Entra" in shown
        assert 'href="/portal/runs/run1/decisions?changes=userName"' in html


@pytest.mark.parametrize("phase", ["cancelled", "failed", "expired"])
def test_a_run_that_ended_on_its_way_starts_no_provisioning(phase: str) -> None:
    """Whoever was not linked is refused, and many refusals put Entra's job into quarantine."""
    counts = {"linked": 5, "link": 97}
    run = FORESEEN | {"phase": phase, "links": 97, "counts": counts, "planned": "2026-11-30T11:20:00Z"}
    verification = verified() | {"counts": {"confirmed": 5}}
    views: dict[str, tuple[str, Any]] = {
        "the run": ("run.html", OneRun(Run(run), {"undos": [], "policy": [], "files": []}, None)),
        "before": ("verify.html", OfJob(Run(run), None, words.FOUND)),
        "verified": ("verify.html", OfJob(Run(run), verification, words.FOUND)),
        "overview": ("overview.html", Overview.of(directory(run), POLICY, UNUSED, NONE, NOW)),
    }
    for name, (template, view) in views.items():
        page = text_of(render(template, {"page": EVA, "view": view}))
        assert "92 links of the plan were not made" in page, name
        assert "Do not start provisioning" in page, name
        assert "Start provisioning ." not in page, name
    template, view = views["the run"]
    page = text_of(render(template, {"page": EVA, "view": view}))
    assert "5 of its 97 links were made" in page
    assert "What the first cycle does" not in page
    assert "What the first cycle would do" in page


@pytest.mark.parametrize(
    ("counts", "skipped", "told", "tone"),
    [
        ({"confirmed": 0, "unconfirmed": 99}, 0, "0 of 99 confirmed", "ask"),
        ({"confirmed": 5, "created": 1}, 0, "5 of 5 confirmed", "stop"),
        ({"confirmed": 5, "alike": 1}, 0, "5 of 5 confirmed", "ask"),
        ({"confirmed": 5, "unconfirmed": 3}, 3, "5 of 8 confirmed", "go"),
        ({"confirmed": 5}, 0, "5 of 5 confirmed", "go"),
    ],
)
def test_a_verification_says_by_its_badge_what_it_found_and_not_that_it_ended(
    counts: Any, skipped: int, told: str, tone: str
) -> None:
    job = verified(skipped) | {"counts": counts}
    html = render("verify.html", {"page": EVA, "view": OfJob(Run(DONE), job, words.FOUND)})
    assert f'<h1>Verify <span class="badge {tone}">{told}</span></h1>' in html
    assert "of this run is done" not in text_of(html)


def test_no_step_is_done_once_the_only_import_was_taken_back() -> None:
    told = directory(job("import"), job("importundo"), job("run", "cancelled"), accounts=0)
    assert Overview.of(told, POLICY, UNUSED, NONE, NOW).done == ()


TAKEN_BACK = job("importundo", started="2026-11-30T14:00:00Z", options={"import": "import1"}, counts={"removed": 292})
BROUGHT = job("import", started="2026-11-30T10:00:00Z")


@pytest.mark.parametrize("accounts", [0, 10])
def test_accounts_that_an_imports_undo_deleted_are_told_with_the_way_back_and_no_step_is_done(accounts: int) -> None:
    told = directory(BROUGHT, DONE, job("undo", about="run1", counts={"undone": 8}), TAKEN_BACK, accounts=accounts)
    found = find_next(told, POLICY)
    assert found.title == "292 accounts were deleted with an import that was taken back"
    assert "bring the file again: the accounts come back with other ids" in found.text
    assert "sign in as before" not in found.text
    assert Overview.of(told, POLICY, UNUSED, NONE, NOW).done == ()
    assert "292 accounts were deleted" in why_stopped(told["latest"], [DONE], 0)


@pytest.mark.parametrize(
    "since",
    [
        job("import", started="2026-11-30T15:00:00Z", id="import2"),
        job("run", started="2026-11-30T15:00:00Z"),
        BROUGHT | {"started": "2026-11-30T13:00:00Z"},
        TAKEN_BACK | {"counts": {"undone": 3}},
    ],
    ids=["imported since", "planned since", "no plan knew them", "nobody was deleted"],
)
def test_accounts_that_are_back_or_meant_to_stay_deleted_are_not_told_again(since: Any) -> None:
    told = directory(BROUGHT, DONE, TAKEN_BACK, since)
    assert "deleted" not in find_next(told, POLICY).title


def test_links_that_wait_as_the_plan_expected_are_counted_apart_and_end_the_journey() -> None:
    told = directory(DONE, verified(unconfirmed=3, skipped=3))
    found = find_next(told, POLICY)
    assert found.title == "Every link is confirmed, or waits as expected"
    assert "3 links wait as the plan expected: the people are disabled in Entra" in found.text
    page = text_of(render("overview.html", {"page": EVA, "view": Overview.of(told, POLICY, UNUSED, NONE, NOW)}))
    assert "Not yet confirmed 3 Of these, wait as expected 3" in page
    verify = OfJob(Run(DONE), told["latest"]["verification"], words.FOUND)
    page = text_of(render("verify.html", {"page": EVA, "view": verify}))
    assert "Not yet confirmed 3 Of these, wait as expected 3" in page
    assert "Every link is confirmed, or waits as expected" in page
    assert "but for 3 links of people who are disabled in Entra" in page
    report = text_of(verification_summary(told["latest"]["verification"]))
    assert "Wait as expected: 3 links" in report
    assert FIND_OUT not in report


def text_of(html: str) -> str:
    """Return what a person reads of a page."""
    return Answer(200, {}, html).text


@pytest.mark.parametrize("linked", [0, 8])
def test_a_cancelled_run_is_said_to_have_linked_whom_it_did(linked: int) -> None:
    run = job("run", "cancelled", counts={"linked": linked}, approved="2026-11-30T11:30:00Z")
    text = find_next(directory(run), POLICY).text
    assert ("stays linked" in text, "It linked nobody." in text) == (bool(linked), not linked)


def test_provisioning_stays_stopped_after_an_undo_until_any_run_links_somebody() -> None:
    told = directory(LATER, UNDONE)
    assert "leave it stopped" in find_next(told, POLICY).text
    since = find_next(told | {"runs": [LATER, LINKED_SINCE]}, POLICY)
    assert (since.title, "nothing to verify" in since.text) == ("Nobody was linked", True)
    assert "leave it stopped" in find_next(told | {"runs": [LATER, DONE]}, POLICY).text


STOPPED = job(
    "run",
    "cancelled",
    counts={"linked": 1_308},
    approved="2026-11-30T11:30:00Z",
    approvedBy="eva",
    takenBack={"links": 1_308},
)
HALF = STOPPED | {"takenBack": {"links": 700}}
GROUPS = STOPPED | {"counts": {"linked": 1_308, "groupsLinked": 4}}


@pytest.mark.parametrize(
    ("run", "phase", "counts", "title", "left"),
    [
        (STOPPED, "done", {"undone": 1_308}, "1,308 links of this run were taken back", ""),
        (STOPPED, "cancelled", {"undone": 1_308}, "1,308 links of this run were taken back", "none stays"),
        (HALF, "cancelled", {"undone": 700}, "700 of the 1,308 links of this run were taken back", "others stay"),
        (GROUPS, "cancelled", {"undone": 1_308}, "1,308 links of this run were taken back", "0 of 4 groups"),
        (HALF, "done", {"undone": 700, "refused": 608}, "700 of the 1,308 links of this run", "608 links stay"),
    ],
)
def test_every_page_says_the_same_of_an_undo_after_a_stopped_run(
    run: Any, phase: str, counts: Any, title: str, left: str
) -> None:
    undo = job("undo", phase, "run1", counts=counts)
    told = find_next(directory(run, undo), POLICY)
    shown = Run(run)
    views: dict[str, Any] = {
        "run.html": OneRun(shown, {"undos": [undo], "policy": [], "files": []}, None),
        "undo.html": OfJob(shown, undo, words.UNDONE),
    }
    pages = {name: render(name, {"page": EVA, "view": view}) for name, view in views.items()}
    report = summary(run, undos=[undo])
    assert title in told.title
    assert title in pages["run.html"]
    assert title in report
    for page in (told.text, *pages.values(), report):
        assert left in page
        assert "linked by then stay linked" not in page
        assert ("until another undo" in page) == (left in ("others stay", "0 of 4 groups"))


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        ("2026-11-29T00:00:00+00:00", "The credential entra has ended"),
        ("2026-12-02T00:00:00Z", "The credential entra ends in 2 days"),
        ("2027-01-28T00:00:00Z", "The credential entra ends in 59 days"),
        ("2027-03-01T00:00:00Z", ""),
        (None, ""),
    ],
)
def test_a_credential_that_ends_is_named_in_time(expires: str | None, told: str) -> None:
    known = UNUSED | {"credentials": [{"name": "entra", "expires": expires}]}
    page = render("overview.html", {"page": EVA, "view": Overview.of(directory(), POLICY, known, NONE, NOW)})
    assert told in page
    assert ("The credential" in page) == bool(told)


HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x>", "مرحبا", "👩🏽‍🚀", "x" * 10_000, "{{ 7191 * 7 }}")


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_people_are_called_is_shown_as_text(text: str) -> None:
    refused = {"refusals": [{"account": {"id": "1", "userName": text}, "last": text, "reason": text}]}
    found = directory(job("run", persons={"started": text}), name=text)
    around = Around(caller=Caller("entra:eva", text, text), token="t")
    page = render(
        "overview.html",
        {"page": around, "view": Overview.of(found, POLICY, UNUSED | {"lastRequest": text}, refused, NOW)},
    )
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "50337" not in page
    assert "👩🏽‍🚀" in page or "👩" not in text


def test_accounts_by_state_lead_to_their_lists_and_are_left_out_where_there_are_too_many() -> None:
    states = {"local": 7, "linked": 3, "unconfirmed": 0}
    for told, shown in ((directory(states=states), True), (directory(), False)):
        html = render("overview.html", {"page": EVA, "view": Overview.of(told, POLICY, UNUSED, NONE, NOW)})
        assert ("/portal/accounts?state=linked" in html) is shown
        assert "state=unconfirmed" not in html


async def test_every_number_is_the_apis(tmp_path: Path) -> None:
    async with opened(tmp_path, SETTINGS) as door:
        await bring_people(door)
        shown = await door.get()
        told = await door.api.call("GET", "directory")
        assert f"Accounts {told['accounts']} Groups {told['groups']}" in shown.text
        assert f"Linked by the last run {told['latest']['run']['counts']['linked']}" in shown.text
        assert "Connect Entra first, then provision" in shown.text


async def bring_people(door: Door) -> None:
    """Import three accounts, and link two of them."""
    names = [f"{name}@contoso.com" for name in ("ada", "ben", "cid")]
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await door.api.bring(csv_file(*({"userName": name, "email": name} for name in names)))
    run = await door.api.plan(*(graph(number, name) for number, name in enumerate(names[:2])))
    await door.api.apply(run)


async def test_a_reader_is_told_who_does_what_is_next(door: Door) -> None:
    page = await door.get("", READER)
    assert "An Operator or an Owner does it. Your role looks on. Look at its page" in page.text
    assert "Your role looks on" not in (await door.get("")).text
