"""The form of the policy, sent as it was shown, is the policy that it showed: whatever a policy may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from link_orchestrator.portal.forms import URLENCODED, Form, read_form
from link_orchestrator.portal.frame import Around
from link_orchestrator.portal.pages.policy import Policy as View
from link_orchestrator.portal.pages.policy_form import SWITCHES, Fields
from link_orchestrator.portal.rendering import render
from link_orchestrator.source import RunSource
from shared.directory.matching.policy import LOGIN_NAMES, TRANSFORMING, Policy, Rule, read_asked
from shared.host.auth import Caller
from shared.json_text import dump
from tests.link_orchestrator.portal.test_policy import sent_fields
from tests.link_orchestrator.running import object_id

BEFORE = ("", "type ", "domain ", "pattern ", "group ", "guest", '"', "'", "{", '{"', "[", "*.", "#", "é ", "<b>&amp;")
BEHIND = ("", ", create", ",create", '"', "}", " x", "\\", "&quot;", "</textarea>")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6)
NAMES = st.builds("{}{}@contoso.com{}".format, st.sampled_from(BEFORE), TEXTS, st.sampled_from(BEHIND))
PATTERNS = st.builds("{}{}*{}".format, st.sampled_from(BEFORE), TEXTS, st.sampled_from(BEHIND))
GUIDS = st.integers(1, 99).map(object_id)
DOMAINS = st.sampled_from(["contoso.com", "müller.example", "eu.contoso.com", "xn--mller-kva.test", "a-b.example"])
SHARES = st.floats(0, 1)
CREATE = st.sampled_from([{}, {"create": True}, {"create": False}])
ENTRIES = st.one_of(
    NAMES,
    GUIDS,
    st.builds(lambda one, create: {"identity": one, **create}, NAMES | GUIDS, CREATE),
    st.builds(lambda one, create: {"pattern": one, **create}, PATTERNS, CREATE),
    st.builds(lambda one, create: {"domain": one, **create}, DOMAINS, CREATE),
    st.builds(lambda one, create: {"group": one, **create}, GUIDS, CREATE),
    st.builds(lambda one, create: {"type": one, **create}, st.sampled_from(["guest", "disabled"]), CREATE),
)
TRANSFORMS = st.lists(
    st.one_of(
        st.sampled_from(["beforeAt", "stripLeadingZeros"]),
        st.builds(lambda one: {"addDomain": one}, DOMAINS),
        st.builds(lambda one, to: {"replaceDomain": {"from": one, "to": to}}, DOMAINS, DOMAINS),
        st.builds(lambda one, text: {"addPrefix": one + text}, st.sampled_from(["CORP\\", "a,", '"', "["]), TEXTS),
        st.builds(lambda one: {"padZeros": one}, st.integers(2, 32)),
    ),
    max_size=3,
)
SOURCES = st.one_of(
    st.just({"scope": "all"}),
    st.builds(
        lambda one, scope: {"scope": scope, "servicePrincipal": one}, GUIDS, st.sampled_from(["all", "assigned"])
    ),
    st.builds(lambda some: {"scope": "groups", "groups": some}, st.lists(GUIDS, min_size=1, max_size=3)),
)


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    some = draw(st.permutations([*Rule]))[: draw(st.integers(1, len(Rule)))]
    names = [*dict.fromkeys([*some, Rule.EXTERNAL_ID, Rule.EMAIL])]
    found = []
    for name in names:
        one: dict[str, Any] = {"rule": name.value, "trust": draw(st.sampled_from(["strong", "weak"]))}
        if name in TRANSFORMING and (name in LOGIN_NAMES or draw(st.booleans())):
            one["transforms"] = draw(TRANSFORMS)
        found.append(one)
    return found


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "rules": rules(),
        "verifiedDomains": st.lists(
            DOMAINS | st.builds(lambda one: {"domain": one, "subdomains": True}, DOMAINS), max_size=3
        ),
        "trustEmails": st.sampled_from(["verified", "inVerifiedDomains"]),
        "nameIdSource": st.sampled_from(["mail", "objectId", "userPrincipalName", "onPremisesImmutableId"]),
        "excluded": st.lists(ENTRIES, max_size=4),
        "setAside": st.lists(NAMES | PATTERNS | GUIDS | TEXTS, max_size=4),
        "safeguardShare": SHARES,
        "undoDays": st.integers(1, 365),
        "jobDays": st.integers(30, 3650),
        "matchingEnded": st.booleans(),
        **{name: st.booleans() for name in SWITCHES},
        "autoApprove": st.none()
        | st.fixed_dictionaries({"share": SHARES, "number": st.integers(0, 1_000_000)}, optional={"on": st.booleans()}),
        "schedule": st.none()
        | st.fixed_dictionaries(
            {"source": st.fixed_dictionaries({"graph": SOURCES}), "everyHours": st.integers(1, 168)},
            optional={"on": st.booleans()},
        ),
    },
)


def stored(document: object) -> dict[str, Any]:
    """Return a policy as the API stores it, the source of its schedule included."""
    policy = read_asked(document)
    if policy.schedule is not None:
        source = {"graph": RunSource.model_validate(policy.schedule.source).graph.to_json()}
        policy = replace(policy, schedule=replace(policy.schedule, source=source))
    return policy.to_json()


def sent_unchanged(policy: Mapping[str, Any], *more: tuple[str, str]) -> Form:
    """Return what a browser sends of the page of a policy, with further fields."""
    view = View(
        fields=Fields.of(policy),
        raw="",
        warnings=(),
        history=(),
        cursor="",
        at_first=True,
        schedule={"schedule": None},
        graph={"ready": True},
        seen="1",
        run=None,
        excluded=(),
        aside=(),
        switches=SWITCHES,
    )
    caller = Caller("eva", "main", "eva@contoso.com", True, "Operator")
    html = render("policy.html", {"page": Around("policy", caller=caller), "view": view})
    pairs = [(name, one.replace("\n", "\r\n")) for name, values in sent_fields(html).items() for one in values]
    return read_form(URLENCODED, urlencode([*pairs, *more]).encode())


@settings(max_examples=150, deadline=None)
@given(POLICIES)
def test_the_form_sent_as_it_was_shown_is_the_policy_that_it_showed(document: dict[str, Any]) -> None:
    try:
        policy = stored(document)
    except ValueError:
        assume(False)
    sent = Fields.typed(sent_unchanged(policy)).policy(policy)
    assert dump(stored(sent)) == dump(policy)


@pytest.mark.parametrize(
    "document",
    [
        {"excluded": ["domain x@contoso.com", "jane@contoso.com, create", '"jane"@contoso.com', "{jane@contoso.com"]},
        {"excluded": [{"pattern": "svc-*, create"}, {"pattern": '"svc*"', "create": True}, {"identity": object_id(1)}]},
        {"setAside": ["[room] *", '"kiosk"', "pattern x", object_id(2)]},
        {"autoApprove": {"share": 0.30000000000000004, "number": 7, "on": False}},
        {"safeguardShare": 5e-324},
        {"safeguardShare": -0.0},
        {
            "schedule": {
                "source": {"graph": {"scope": "groups", "groups": [object_id(3)]}},
                "everyHours": 5,
                "on": False,
            }
        },
        {
            "rules": [
                {"rule": "externalId", "trust": "strong"},
                {"rule": "mailNickname", "trust": "weak", "transforms": [{"addPrefix": 'a,b"'}, "beforeAt"]},
            ]
        },
    ],
    ids=repr,
)
def test_what_a_line_cannot_say_is_kept_to_the_letter(document: dict[str, Any]) -> None:
    policy = stored(document)
    sent = Fields.typed(sent_unchanged(policy)).policy(policy)
    assert dump(stored(sent)) == dump(policy)


def test_what_is_switched_off_keeps_what_was_typed_for_it() -> None:
    on = {
        "autoApprove": {"share": 0.5, "number": 7},
        "schedule": {"source": {"graph": {"scope": "groups", "groups": [object_id(1)]}}, "everyHours": 5},
    }
    policy = stored(on)
    form = sent_unchanged(policy)
    off = Form({name: value for name, value in form.fields.items() if name not in ("approves", "scheduled")})
    saved = stored(Fields.typed(off).policy(policy))
    assert saved["autoApprove"] == {"share": 0.5, "number": 7, "on": False}
    assert saved["schedule"] == {**on["schedule"], "on": False}
    again = sent_unchanged(saved, ("approves", "yes"), ("scheduled", "yes"))
    assert stored(Fields.typed(again).policy(saved)) == policy


def test_what_was_never_on_is_not_switched_off_by_being_saved() -> None:
    policy = Policy().to_json()
    saved = Fields.typed(sent_unchanged(policy)).policy(policy)
    assert (saved["autoApprove"], saved["schedule"]) == (None, None)
