"""The policy by its page: fields and back, order without script, refusals beside fields, two operators at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import pytest

from link_orchestrator.portal.forms import Form
from link_orchestrator.portal.pages.policy import say
from link_orchestrator.portal.pages.policy_form import (
    FIELDS,
    RULES,
    TRANSFORMS,
    Fields,
    _share,
    _transforms_of,
    beside_its_field,
    moved,
    percent,
)
from shared.directory.matching.policy import Policy, Rule, read_asked
from shared.directory.matching.transforms import _APPLY, read_transforms, transformed
from tests.link_orchestrator.portal.door import OPERATOR, READER, SAME_SITE, Answer, Door
from tests.link_orchestrator.portal.runs import api_of, plan_demo
from tests.link_orchestrator.running import TOKEN, csv_file, graph, object_id

POLICY = {
    "verifiedDomains": ["contoso.com", {"domain": "fabrikam.com", "subdomains": True}],
    "rules": [
        {"rule": "nameId", "trust": "strong"},
        {"rule": "externalId", "trust": "strong"},
        {"rule": "transformedName", "trust": "weak", "transforms": ["beforeAt", {"addPrefix": "CORP\\"}]},
        {"rule": "employeeNumber", "trust": "weak", "transforms": [{"padZeros": 8}]},
        {
            "rule": "transformedMail",
            "trust": "weak",
            "transforms": [{"replaceDomain": {"from": "a.example", "to": "b.example"}}],
        },
    ],
    "excluded": [
        "jane@contoso.com",
        {"identity": object_id(1), "create": True},
        {"pattern": "svc-*"},
        {"type": "guest", "create": True},
        {"group": object_id(2)},
    ],
    "setAside": ["*@partner.example"],
    "autoApprove": {"share": 0.015, "number": 50},
    "schedule": {"source": {"graph": {"scope": "groups", "groups": [object_id(3)]}}, "everyHours": 24},
    "safeguardShare": 0.2,
    "adoptOnCreate": True,
}


def sent_by(page: Answer) -> dict[str, list[str]]:
    """Return what the form of the policy would send as it is shown, as a browser reads it."""
    return sent_fields(page.html)


def sent_fields(html: str) -> dict[str, list[str]]:
    """Return what the form of the policy sends on a page of this HTML, as a browser reads it."""
    form = html[html.index('id="policy"') :]
    form = form[: form.index("</form>")]
    found: dict[str, list[str]] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        at = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        if at.get("type") in ("checkbox", "radio") and " checked" not in tag:
            continue
        found.setdefault(at["name"], []).append(at["value"])
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        found[name] = [unescape(text)]
    for name, options in re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = [chosen[1] if chosen else ""]
    return found


async def save(door: Door, fields: Mapping[str, Any]) -> Answer:
    """Send the form as the page shows it, with some fields changed; None takes one away."""
    asked = sent_by(await door.get("policy")) | fields
    flat = [(name, one) for name, value in asked.items() for one in (value if isinstance(value, list) else [value])]
    return await door.ask(
        "POST",
        "policy",
        {**SAME_SITE, **OPERATOR},
        data=[(name, one) for name, one in flat if one is not None],
    )


def test_fields_say_what_the_policy_says() -> None:
    policy = read_asked(POLICY).to_json()
    assert read_asked(Fields.of(policy).policy(policy)).to_json() == policy
    default = Policy().to_json()
    assert read_asked(Fields.of(default).policy(default)).to_json() == default


def test_every_rule_has_its_line() -> None:
    assert {*RULES} == {*Rule}


@pytest.mark.parametrize(("move", "order"), [("up:b", "bac"), ("down:b", "acb"), ("up:a", "abc"), ("down:x", "abc")])
def test_a_rule_goes_up_and_down(move: str, order: str) -> None:
    assert moved(Form({"rule": ("a", "b", "c"), "move": (move,)})).all("rule") == tuple(order)


def test_a_refusal_of_an_entry_is_about_its_field() -> None:
    assert beside_its_field("excluded.2.pattern: leaves everybody out: name a part") == (
        "excluded: entry 3: leaves everybody out: name a part"
    )
    assert beside_its_field("rules.0.transforms.1: is no transform; there are: x") == (
        "rules: rule 1: is no transform, there are: x"
    )


def test_the_form_shows_of_each_transform_what_it_does_and_has_a_name_for_every_attribute() -> None:
    for typed, value, became in TRANSFORMS:
        assert transformed(value, read_transforms("", _transforms_of("", typed))) == became
    assert {typed.split()[0] for typed, _, _ in TRANSFORMS} == {*_APPLY}
    assert {*FIELDS} == {*Policy().to_json()}


async def test_every_line_that_is_wrong_is_said_at_once_and_quoted(door: Door) -> None:
    page = await save(
        door,
        {
            "verifiedDomains": "contoso.com\nwww.fabrikam.com\n\nhttps://www.nordwind.de/",
            "excluded": "type nobody\njane@contoso.com\ngroup Sales\npatern svc-*",
            "setAside": "*",
        },
    )
    assert page.status == 400
    for told in (
        "entry 2: 'www.fabrikam.com' is the name of a web site, in which hardly anybody has an address: write fab",
        "Entry 3: 'https://www.nordwind.de/' is no domain: write nordwind.de",
        "entry 1 (type nobody): must be one of guest, disabled, sharedMailbox, serviceAccount",
        "Entry 3 (group Sales): must be the object id of a group in Entra",
        "Entry 4 (patern svc-*): is neither an object id nor a user principal name",
        "entry 1 (*): leaves everybody out",
    ):
        assert page.text.count(told) == 2, f"in the summary and beside the field: {told}"
    assert page.html.count('class="error"') == 3


async def test_a_mail_domain_that_begins_with_www_is_kept_where_it_is_said_to_be_one(door: Door) -> None:
    mail = {"verifiedDomains": [{"domain": "www.fabrikam.com"}, "contoso.com"]}
    await door.api.call("PUT", "directory/policy", mail)
    stored = (await door.api.call("GET", "directory/policy"))["verifiedDomains"]
    assert stored == ["contoso.com", {"domain": "www.fabrikam.com"}]
    assert (await save(door, {})).status == 303, "the form sends what it showed"
    assert (await door.api.call("GET", "directory/policy"))["verifiedDomains"] == stored


async def test_what_is_entered_is_the_policy(door: Door) -> None:
    sent = await save(door, {"verifiedDomains": "contoso.com\n*.fabrikam.com\n", "excluded": "pattern svc-*"})
    assert (sent.status, sent.headers.get("Location")) == (303, "/portal/policy?said=saved"), sent.text
    page = await door.get("policy?said=saved")
    assert "The policy is saved" in page.text
    assert "contoso.com\n*.fabrikam.com</textarea>" in page.html
    assert "pattern svc-*</textarea>" in page.html
    assert "Verified domains" in page.text
    assert "eva@contoso.com" in page.text


async def test_what_it_risks_stands_above_it(door: Door) -> None:
    assert "only past sign-ins link" in (await door.get("policy")).text
    await save(door, {"verifiedDomains": "contoso.com", "trustEmails": "inVerifiedDomains"})
    page = await door.get("policy")
    assert "Every address of an account in the verified domains is taken as its owner" in page.text
    assert "only past sign-ins link" not in page.text


async def test_rules_go_up_without_script_and_nothing_is_saved_or_lost(door: Door) -> None:
    page = await save(door, {"move": "up:nameId", "verifiedDomains": "typed.example"})
    assert page.status == 200
    assert "Not saved yet" in page.text
    assert "typed.example</textarea>" in page.html
    rules = sent_by(page)["rule"]
    assert rules.index("nameId") < rules.index("signInObjectId")
    assert "typed.example" not in (await door.get("policy")).html
    saved = await save(door, {"rule": rules})
    assert saved.status == 303
    assert sent_by(await door.get("policy"))["rule"][:3] == rules[:3]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"verifiedDomains": "a.example\nnot a domain"}, "entry 2"),
        ({"verifiedDomains": "a.example b.example"}, "holds several words: write one per line"),
        ({"verifiedDomains": "a*.example"}, "for a domain and its subdomains write *.contoso.com"),
        ({"trust.mail": "strong"}, "Choose that above, or make the rule weak"),
        (
            {"excluded": "jane@contoso.com\npatern svc-*"},
            "entry 2 (patern svc-*): is neither an object id nor a user principal name",
        ),
        ({"excluded": "pattern *"}, "leaves everybody out"),
        ({"excluded": "type nobody"}, "must be one of guest"),
        ({"trust.externalId": "off"}, "externalId must be among them"),
        ({"trust.transformedName": "weak"}, "needs one"),
        ({"undoDays": "<script>"}, "undoDays"),
        ({"safeguardShare": "200"}, "must be a number of per cent, from 0 to 100"),
        ({"safeguardShare": "nan"}, "must be a number of per cent, from 0 to 100"),
        ({"safeguardShare": "inf"}, "must be a number of per cent, from 0 to 100"),
        ({"safeguardShare": "1_0"}, "must be a number of per cent, from 0 to 100"),
        ({"scheduled": "yes"}, "SCIMLINK_GRAPH_TENANTS"),
    ],
)
async def test_what_is_refused_is_said_and_kept(door: Door, fields: dict[str, str], told: str) -> None:
    page = await save(door, fields | {"setAside": "kept@contoso.com"})
    assert page.status in (400, 409), page.text
    assert told in page.text
    refused = page.html.partition('class="errors"')[2].partition("</div>")[0]
    assert "scheduled" in fields or "{" not in refused, "a page speaks no JSON"
    assert "kept@contoso.com</textarea>" in page.html
    sent = sent_by(page)
    assert all(sent[name][-1] == value for name, value in fields.items())


@pytest.mark.parametrize("share", [0.00000012, 1e-10, 0.2, 0.123456789, 1])
def test_the_untouched_form_keeps_a_share(share: float) -> None:
    assert _share(percent(share)) == share


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"jobDays": "1"}, "the days for which plans and reports are kept must be a whole number from 30 to 3650"),
        ({"undoDays": "x"}, "the days for which an undo can give values back must be a whole number from 1 to 365"),
    ],
)
async def test_a_number_that_is_refused_is_named_in_the_summary_too(
    door: Door, fields: dict[str, str], told: str
) -> None:
    assert (await save(door, fields)).text.lower().count(told) == 2, "in the summary and beside the field"


async def test_a_domain_that_is_only_a_web_sites_is_warned_of_wherever_it_is_stored(door: Door) -> None:
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": [{"domain": "www.contoso.com"}]})
    page = await door.get("policy")
    assert "named like web sites, in which hardly anybody has an address: www.contoso.com." in page.text
    assert "Write them without www, below." in page.text
    both = {"verifiedDomains": [{"domain": "www.contoso.com"}, "contoso.com"]}
    assert (await door.api.call("PUT", "directory/policy", both))["warnings"] == []


async def test_where_one_side_has_only_what_the_other_has_too_no_cell_says_that_it_has_nothing(door: Door) -> None:
    before = sent_by(await door.get("policy"))
    await save(door, {"verifiedDomains": "contoso.com"})
    page = await save(door, {"seen": before["seen"], "verifiedDomains": "contoso.com\nfabrikam.com"})
    assert "Verified domains differs nothing beside what you typed fabrikam.com" in page.text
    page = await save(door, {"seen": before["seen"], "verifiedDomains": ""})
    assert "Verified domains contoso.com none" in page.text


async def test_the_page_says_that_entras_requests_go_by_it_and_what_its_history_cannot_give_back(door: Door) -> None:
    await door.api.bring(csv_file({"userName": "jane", "email": "jane@contoso.com"}))
    person = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "jane@contoso.com",
        "externalId": object_id(1),
    }
    by_token = {"Authorization": f"Bearer {TOKEN}"}
    async with door.session.post("/scim/v2/Users", json=person, headers=by_token) as answer:
        assert answer.status == 409
    assert (await save(door, {"createBesideMatches": "yes", "excluded": "bob@contoso.com"})).status == 303
    async with door.session.post("/scim/v2/Users", json=person, headers=by_token) as answer:
        assert answer.status == 201, "no plan was made in between"
    page = (await door.get("policy")).text
    assert "Entra's requests go by these ticks a few seconds after you save, without a plan" in page
    assert "it keeps numbers alone, since they name people: copy both lists before you change them" in page
    assert "bob" not in page[page.index("Who changed it") : page.index("The policy as JSON")]


async def test_a_change_of_another_operator_is_not_overwritten_unseen(door: Door) -> None:
    before = sent_by(await door.get("policy"))
    await save(door, {"verifiedDomains": "theirs.example"})
    page = await save(door, {"seen": before["seen"], "verifiedDomains": "mine.example"})
    assert page.status == 400
    assert "somebody else changed the policy" in page.text.lower()
    assert "mine.example</textarea>" in page.html
    compared = page.text.partition("Stored now Typed by you")[2]
    assert "Verified domains differs theirs.example mine.example" in compared
    again = sent_by(page)
    assert (await save(door, {"seen": again["seen"], "verifiedDomains": "mine.example"})).status == 303


async def test_what_has_no_field_is_sent_as_json(door: Door) -> None:
    page = await door.get("policy")
    seen = sent_by(page)["seen"][0]
    refused = await door.send("policy", {"do": "raw", "raw": "{", "seen": seen})
    assert (refused.status, "it is no JSON" in refused.text) == (400, True)
    sent = await door.send("policy", {"do": "raw", "raw": '{"verifiedDomains": ["raw.example"]}', "seen": seen})
    assert sent.status == 303
    assert "raw.example" in (await door.get("policy")).html


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ('{\n  "undoDays": 5,,\n}', "it is no JSON: line 2, column 17: the name of a member must stand here"),
        (
            '{"undoDays": 5, "undoDays": 9}',
            'the member "undoDays" is there twice in one object: take one of the two out',
        ),
        ("", "line 1, column 1: a value is missing here"),
    ],
    ids=["a comma too many", "twice", "nothing"],
)
async def test_what_is_wrong_with_the_json_is_said_beside_it_and_the_form_stays_as_it_was(
    door: Door, raw: str, told: str
) -> None:
    assert (await save(door, {"approves": "yes", "adoptOnCreate": "yes"})).status == 303
    before = sent_by(await door.get("policy"))
    page = await door.send("policy", {"do": "raw", "raw": raw, "seen": before["seen"][0]})
    assert (page.status, told in page.text, "Expecting" in page.text) == (400, True, False), page.text
    assert '<textarea id="f-raw"' in page.html
    assert raw.replace('"', "&#34;") in page.html
    # The boxes of the form beside it are as stored: a tick that is gone would be saved with the next change.
    assert sent_by(page) == before


async def test_transforms_of_a_rule_that_is_off_are_not_dropped_without_a_word(door: Door) -> None:
    page = await save(door, {"trust.mailNickname": "off", "transforms.mailNickname": "padZeros 8"})
    assert (page.status, "mailNickname is off, and a policy keeps no transforms" in page.text) == (400, True)
    assert sent_by(page)["transforms.mailNickname"] == ["padZeros 8"]


async def test_what_is_switched_off_stays_on_the_page(door: Door) -> None:
    await save(door, {"approves": "yes", "autoApprove.share": "12.5", "autoApprove.number": "77"})
    assert (await save(door, {"approves": None})).status == 303
    page = sent_by(await door.get("policy"))
    assert ("approves" in page, page["autoApprove.share"], page["autoApprove.number"]) == (False, ["12.5"], ["77"])
    stored = await door.api.call("GET", "directory/policy")
    assert stored["autoApprove"] == {"share": 0.125, "number": 77, "on": False}


async def test_a_line_that_repeats_another_is_refused_by_both_places(door: Door) -> None:
    page = await save(door, {"excluded": "a@x.example\nb@x.example\nA@x.example, create"})
    assert "entry 3 (A@x.example, create): contradicts entry 1, which is about the same" in page.text


async def test_a_reader_sees_the_policy_and_no_button(door: Door) -> None:
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": ["müster.de"]})
    page = await door.get("policy", READER)
    assert "Verified domains müster.de" in page.text
    assert "Plans approve themselves never" in page.text
    assert "xn--" not in page.html
    assert "<form" not in page.html


async def test_whom_the_policy_left_out_of_the_last_plan_is_shown(door: Door) -> None:
    async with api_of(door) as api:
        run = await plan_demo(api)
        policy = await api.call("GET", "directory/policy")
        rows = (await api.call("GET", f"linking/runs/{run['id']}/decisions", decision="excluded"))["decisions"]
    page = await door.get("policy")
    assert f"/portal/runs/{run['id']}/decisions?decision=excluded" in page.html
    assert all(row["identity"]["userPrincipalName"] in page.text for row in rows[:5])
    assert policy["excluded"], "the demo's policy excludes somebody"
    assert "waits for its approval" in (await door.get("plan")).text


async def test_whom_an_exclusion_does_not_keep_from_being_created_is_said_beside_it(door: Door) -> None:
    async with api_of(door) as api:
        people = ["svc-new@contoso.com", "svc-old@contoso.com"]
        await api.bring(csv_file({"userName": people[1]}))
        policy = {"verifiedDomains": ["contoso.com"], "excluded": [{"pattern": "svc-*"}]}
        await api.call("PUT", "directory/policy", policy)
        before = await door.get("policy")
        assert "whom no account matches it creates in any case" in before.text
        assert "all the same" not in before.text
        run = await api.plan(*(graph(number, name) for number, name in enumerate(people, 1)))
        page = await door.get("policy")
        assert "Provisioning creates 1 of them all the same, as that plan predicts, such as svc-new@" in page.text
        listed = f"runs/{run['id']}/decisions?decision=excluded&predicted=created"
        assert f"/portal/{listed.replace('&', '&amp;')}" in page.html
        rows = (await door.get(listed)).text
        assert people[0].partition("@")[0] in rows
        assert people[1].partition("@")[0] not in rows


async def test_a_domain_is_shown_in_the_letters_that_it_was_typed_in(door: Door) -> None:
    await door.api.call("PUT", "directory/policy", {"verifiedDomains": ["müster.de"]})
    page = await door.get("policy")
    assert sent_by(page)["verifiedDomains"][-1].split() == ["müster.de"]
    assert "→ müster.de" in page.text


async def test_the_history_says_shares_in_per_cent_and_names_the_person(door: Door) -> None:
    await save(door, {"approves": "yes", "autoApprove.share": "1", "autoApprove.number": "50", "safeguardShare": "7.5"})
    page = await door.get("policy")
    history = page.text[page.text.index("Who changed it") :]
    assert "Plans approve themselves: none → 50 links and 1 % of the accounts at most" in history
    assert "→ 7.5 %" in history
    assert "eva@contoso.com" in history


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("schedule", {"source": {"graph": {"scope": "assigned"}}, "everyHours": 24}, "every 24 hours, who is assigned"),
        ("schedule", {"after": "suspended", "why": "undo1 takes back"}, "suspended: undo1 takes back"),
        ("autoApprove", {"share": 0.015, "number": 5, "on": False}, "off, kept for later: 5 links and 1.5 % of the"),
        ("adoptOnCreate", True, "on"),
        ("rules", [{"rule": "userName", "trust": "weak"}], "Sign-in name weak"),
        (
            "verifiedDomains",
            ["a.example", {"domain": "b.example", "subdomains": True}],
            "a.example, b.example with its",
        ),
        ("nameIdSource", "mail", "The mail"),
        ("trustEmails", "inVerifiedDomains", "Every one in the verified domains"),
        ("verifiedDomains", [], "none"),
    ],
)
def test_values_of_the_history_are_said_in_words(name: str, value: Any, said: str) -> None:
    assert say(name, value).startswith(said)
