"""A policy as a person sends it: what stands there twice, two ways, or unseen is refused by its place; JSON, too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, object_id

FULLWIDTH_STAR = "\uff0a"
ID = object_id(10)
BASE = [{"rule": "externalId", "trust": "strong"}]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"excluded": ["a@x.example", "b@x.example", "A@X.example "]}, "excluded.2: says the same as excluded.0"),
        ({"excluded": [ID, f"{{{ID}}}"]}, "excluded.1: says the same as excluded.0"),
        (
            {"excluded": ["a@x.example", {"identity": "a@x.example", "create": True}]},
            "excluded.1: contradicts excluded.0, which is about the same: take out the one that is not meant",
        ),
        ({"excluded": [{"pattern": "SVC-**"}, {"pattern": "svc-*"}]}, "excluded.1: says the same as excluded.0"),
        ({"excluded": [{"type": "guest", "create": True}, {"type": "guest"}]}, "excluded.1: contradicts excluded.0"),
        ({"excluded": ["a@x.example\nb@x.example"]}, "excluded.0: has the character U+000A in it, which nobody sees"),
        ({"excluded": ["a\u200b@x.example"]}, "excluded.0: has the character U+200B"),
        ({"excluded": [{"pattern": "svc\t-*"}]}, "excluded.0: has the character U+0009"),
        ({"setAside": ["bob", "alice", "BOB"]}, "setAside.2: says the same as setAside.0"),
        ({"setAside": ["x*", "x**"]}, "setAside.1: says the same as setAside.0"),
        ({"setAside": ["bob\u2028alice"]}, "setAside.0: has the character U+2028"),
        ({"verifiedDomains": ["x.example", "X.example"]}, "verifiedDomains.1: says the same as verifiedDomains.0"),
        (
            {"verifiedDomains": ["m\u00fcller.example", {"domain": "xn--mller-kva.example", "subdomains": True}]},
            "verifiedDomains.1: contradicts verifiedDomains.0",
        ),
        ({"rules": [*BASE, *BASE]}, "rules.1: says the same as rules.0"),
        ({"rules": [*BASE, {"rule": "externalId", "trust": "weak"}]}, "rules.1: contradicts rules.0"),
        (
            {"rules": [{"rule": "externalId", "trust": "strong", "transform": ["beforeAt"]}]},
            "rules.0: has no attribute transform: a rule has rule, trust and transforms",
        ),
        ({"autoApprove": {"share": 1, "number": 1, "on": "yes"}}, "autoApprove.on: must be true or false"),
    ],
    ids=repr,
)
async def test_what_is_there_twice_or_two_ways_or_unseen_is_refused_by_its_place(
    app: App, policy: dict[str, Any], told: str
) -> None:
    before = await app.call("GET", "directory/policy")
    status, detail = await status_of(app.call("PUT", "directory/policy", policy))
    assert status == 400
    assert told in detail
    assert await app.call("GET", "directory/policy") == before


async def test_an_entry_in_full_width_letters_is_a_pattern_like_any_other(app: App) -> None:
    status, detail = await status_of(app.call("PUT", "directory/policy", {"setAside": [FULLWIDTH_STAR]}))
    assert (status, detail.startswith("setAside.0: leaves everybody out")) == (400, True), detail
    stored = await app.call("PUT", "directory/policy", {"setAside": [f"kiosk-{FULLWIDTH_STAR}"]})
    assert stored["setAside"] == ["kiosk-*"]


async def test_two_entries_that_contradict_each_other_are_refused(app: App) -> None:
    entries = ["a@x.example", {"identity": "a@x.example", "create": True}]
    status, detail = await status_of(app.call("PUT", "directory/policy", {"excluded": entries}))
    assert (status, detail.startswith("excluded.1: contradicts excluded.0")) == (400, True), detail


async def test_blanks_and_line_ends_around_an_entry_are_nobodys_name(app: App) -> None:
    stored = await app.call("PUT", "directory/policy", {"excluded": [" a@x.example\r\n", f"\ufeff{{{ID}}}"]})
    assert stored["excluded"] == sorted([ID, "a@x.example"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{\n  "excluded": [\n    "a@x.example",\n  ]\n}',
            "The body is not JSON: line 4, column 3: a value is missing here",
        ),
        (b'{"excluded": ["CORP\\jane"]}', "a backslash stands before a character that takes none"),
        (b"{'excluded': []}", "line 1, column 2: the name of a member must stand here, in double quotes"),
        (b'{"undoDays": 5, "undoDays": 9}', 'In the body the member "undoDays" is there twice in one object'),
        (b'{"excluded": [{"pattern": "a*", "pattern": "b*"}]}', 'the member "pattern" is there twice'),
    ],
    ids=repr,
)
async def test_what_is_no_json_or_loses_a_member_is_told_by_its_place(app: App, body: bytes, told: str) -> None:
    status, detail = await status_of(app.call("PUT", "directory/policy", body))
    assert status == 400
    assert told in detail
    assert "Expecting" not in detail


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "linking/runs"),
        ("POST", "linking/mapping"),
        ("PUT", "directory/schemas"),
        ("POST", "accounts/none/link"),
    ],
)
async def test_no_body_of_a_person_loses_a_member(app: App, method: str, path: str) -> None:
    status, detail = await status_of(app.call(method, path, b'{"a": 1, "a": 2}'))
    assert (status, 'the member "a" is there twice' in detail) == (400, True), detail


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (b'{"userName": "jane", "userName": "bob"}\n{"userName": "eva"}\n', "application/x-ndjson"),
        (b'[{"userName": "jane", "userName": "bob"}, {"userName": "eva"}]', "application/json"),
    ],
)
async def test_a_row_that_loses_a_member_is_told_by_its_line(app: App, file: bytes, kind: str) -> None:
    job = await app.bring(file, kind)
    assert job["counts"]["created"] == 1
    (problem,) = await app.problems(job)
    assert problem["line"] == 1
    assert 'the member "userName" is there twice' in problem["reason"]


async def test_what_is_off_is_kept_and_approves_and_starts_nothing(app: App) -> None:
    await app.bring(csv_file({"userName": "jane@contoso.com"}))
    kept = {
        "autoApprove": {"share": 1, "number": 9, "on": False},
        "schedule": {"source": {"graph": {"scope": "all"}}, "everyHours": 2, "on": False},
    }
    stored = await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], **kept})
    assert (stored["autoApprove"], stored["schedule"]) == (kept["autoApprove"], kept["schedule"])
    assert (await app.call("GET", "linking/schedule"))["schedule"] is None
    run = await app.plan({"id": object_id(1), "userPrincipalName": "jane@contoso.com"})
    assert (run["phase"], run["links"], "reason" in run) == ("planned", 1, False)
