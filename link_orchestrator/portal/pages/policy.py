"""Policy: what is ours, by what people are matched, whom to leave out, and what runs by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.names import in_words, rule_in_words
from link_orchestrator.portal.forms import read_json
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.policy_form import (
    FIELDS,
    SWITCHES,
    TRANSFORMS,
    Fields,
    beside_their_fields,
    moved,
    percent,
)
from link_orchestrator.portal.remedies import POLICY_WARNED, worded_each
from link_orchestrator.words import counted
from shared.scim.endpoint import PreconditionFailed
from shared.scim.errors import InvalidValue, ScimError

Document = Mapping[str, Any]

EXAMPLES: Final = "5"
MOST_CREATED: Final = 50
"""People who are excluded, and created all the same, that are counted: those that a page of decisions shows."""
"""People and accounts that are shown as examples of whom an exclusion matches."""
ENTRIES: Final = "10"
"""Entries of the history that are shown at once."""
NAME_IDS: Final = (
    ("userPrincipalName", "The user principal name"),
    ("mail", "The mail"),
    ("objectId", "The object id"),
    ("onPremisesImmutableId", "The immutable id of Active Directory"),
)
TRUST_EMAILS: Final = (
    (
        "verified",
        "Those that the application verified",
        "Nobody takes an account over by an address that is not theirs.",
    ),
    (
        "inVerifiedDomains",
        "Every one in the verified domains",
        (
            "What it risks: whoever registered an account with a colleague's address hands it to that colleague, with "
            "what is in it. Links with other names, of deactivated accounts and of shared addresses wait for a review."
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the page of the policy shows."""

    fields: Fields
    raw: str
    warnings: Sequence[Document]
    history: Sequence[Document]
    cursor: str
    at_first: bool
    schedule: Document
    graph: Document
    seen: str
    """Number of the latest change that the page knows of."""
    run: Document | None
    excluded: Sequence[Document]
    aside: Sequence[Document]
    switches: Mapping[str, tuple[str, str]]
    newer: Sequence[tuple[str, str, str]] = ()
    """What differs between the policy as somebody else stored it meanwhile and what was typed: label, stored, typed."""
    created: Sequence[Document] = ()
    """The first rows of the last plan about people who are excluded, and whom provisioning creates all the same."""
    is_edited: bool = False
    """Whether there is something in the form that was not saved."""
    name_ids: Sequence[tuple[str, str]] = NAME_IDS
    trusts: Sequence[tuple[str, str, str]] = TRUST_EMAILS

    transforms: Sequence[tuple[str, str, str]] = TRANSFORMS

    def label(self, name: str) -> str:
        """Return what the form calls an attribute of the policy, for an entry of the history."""
        return FIELDS.get(name) or in_words(name)

    def said(self, name: str, value: Any) -> str:
        """Return the value of an attribute in an entry of the history, in words."""
        return say(name, value)

    def remedy(self, warning: Document) -> str:
        """Return what to do about a warning of the policy."""
        return POLICY_WARNED.get(warning["code"], str(warning["remedy"]))

    @property
    def matched(self) -> int:
        """How many identities the exclusions left out in the last plan."""
        return int(self.run["counts"].get("excluded", 0)) if self.run else 0

    @property
    def many_created(self) -> str:
        """How many of them provisioning creates all the same, as the last plan predicts."""
        return f"more than {MOST_CREATED}" if len(self.created) > MOST_CREATED else str(len(self.created))

    @property
    def set_aside(self) -> int:
        """How many identities met an account that is set aside in the last plan."""
        return int(self.run["counts"].get("setAside", 0)) if self.run else 0


SCOPES: Final = {"all": "everybody in the tenant", "assigned": "who is assigned", "groups": "the members of groups"}
"""Whom a schedule reads from Microsoft Graph, in words."""


def say(name: str, value: Any) -> str:
    """Return the value of a policy's attribute in words."""
    match name, value:
        case _, None | []:
            return "none"
        case _, bool():
            return "on" if value else "off"
        case "safeguardShare", int() | float():
            return f"{percent(value)} %"
        case "autoApprove", {"number": number, "share": share}:
            return f"{_kept(value)}{number:,} links and {percent(share)} % of the accounts at most"
        case "schedule", {"everyHours": hours, "source": {"graph": {**graph}}}:
            whom = SCOPES.get(str(graph.get("scope")), str(graph.get("scope")))
            return f"{_kept(value)}every {counted(hours, 'hour')}, {whom}"
        case "schedule", {"after": became, **rest}:
            return f"{became}: {rest['why']}" if "why" in rest else str(became)
        case "rules", [*rules]:
            return ", ".join(f"{rule_in_words(one['rule'])} {one['trust']}{_made(one)}" for one in rules)
        case "verifiedDomains", [*domains]:
            return ", ".join(one if isinstance(one, str) else f"{one['domain']} with its subdomains" for one in domains)
        case "nameIdSource" | "trustEmails", str():
            return _CHOICES[name].get(value, value)
        case _, [*values] if all(isinstance(one, str) for one in values):
            return ", ".join(values)
        case _, str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


_CHOICES: Final = {
    "nameIdSource": dict(NAME_IDS),
    "trustEmails": {value: text for value, text, _ in TRUST_EMAILS},
}
"""What each value of an attribute is called on the form."""


def _kept(value: Document) -> str:
    return "" if value.get("on", True) else "off, kept for later: "


def _made(rule: Document) -> str:
    """Return what a rule makes of Entra's value first, as JSON in brackets; "" for nothing."""
    return f" ({json.dumps(rule['transforms'], ensure_ascii=False)})" if rule.get("transforms") else ""


async def show(asked: Asked) -> Outcome:
    """Show the policy; after a refusal, with what was typed."""
    return await _show(asked, Fields.typed(asked.form) if asked.form["do"] == "save" else None)


async def _show(asked: Asked, typed: Fields | None) -> Outcome:
    api, cursor = asked.api, asked.query.get("history", "")
    policy, warned, history, latest, schedule, sources, runs = await asyncio.gather(
        api.get("directory/policy"),
        api.get("directory/policy/warnings"),
        api.get("directory/policy/history", cursor=cursor, count=ENTRIES),
        api.get("directory/policy/history", count="1"),
        api.get("linking/schedule"),
        api.get("linking/sources"),
        api.get("linking/runs"),
    )
    run = next((one for one in runs["runs"] if "planned" in one), None)
    excluded, aside = await _examples(asked, run, "excluded"), await _examples(asked, run, "setAside")
    created = await _examples(asked, run, "excluded", count=str(MOST_CREATED + 1), predicted="created")
    return Shown(
        "policy.html",
        Policy(
            fields=typed or Fields.of(policy),
            raw=json.dumps(policy, indent=2, ensure_ascii=False),
            warnings=warned["warnings"],
            history=history["history"],
            cursor=history.get("cursor", ""),
            at_first=not cursor,
            schedule=schedule,
            graph=sources["graph"],
            seen=_number(latest),
            run=run,
            excluded=excluded,
            aside=aside,
            created=created,
            switches=SWITCHES,
            newer=Fields.of(policy).beside(typed) if typed and asked.form["seen"] != _number(latest) else (),
            is_edited=typed is not None,
        ),
    )


async def _examples(
    asked: Asked, run: Document | None, decision: str, count: str = EXAMPLES, **conditions: str
) -> Sequence[Document]:
    """Return the first rows of the last plan that the policy left out, and that meet conditions."""
    if run is None or not run["counts"].get(decision):
        return []
    page = await asked.api.find(
        "linking/runs/{id}/decisions", id=run["id"], decision=decision, count=count, **conditions
    )
    return page["decisions"] if page else []


def _number(history: Document) -> str:
    return str(history["history"][0]["number"]) if history["history"] else "0"


async def save(asked: Asked) -> Outcome:
    """Save the form; or, where a button of a rule was pressed, show the rules in another order and save nothing."""
    if asked.form["move"]:
        return await _show(asked, Fields.typed(moved(asked.form)))
    before = await asked.api.get("directory/policy")
    return await _put(asked, Fields.typed(asked.form).policy(before))


async def save_raw(asked: Asked) -> Outcome:
    """Save the policy as JSON."""
    return await _put(asked, read_json("raw", asked.form["raw"]))


async def _put(asked: Asked, policy: Any) -> Outcome:
    seen = f'W/"{asked.form["seen"]}"'
    try:
        await asked.api.call("PUT", "directory/policy", body=policy, if_match=seen)
    except PreconditionFailed:
        raise InvalidValue(
            "somebody else changed the policy since you opened it: the history below says what. Your entries are kept "
            "here, and were not saved. Send them again to put them in the place of that change"
        ) from None
    except ScimError as error:
        raise type(error)(beside_their_fields(worded_each(error, error.detail), asked.form)) from error
    return SeeOther("policy", said="saved")


async def resume(asked: Asked) -> Outcome:
    """Let the schedule go on that an undo has suspended."""
    await asked.api.post("linking/schedule/resume")
    return SeeOther("policy", said="resumed")


PAGES: Final = (
    Page(
        "policy",
        show,
        {"save": save, "raw": save_raw, "resume": resume},
        label="Policy",
        notices={
            "saved": "The policy is saved. Entra's requests go by it in a few seconds, and plans from now on: what is "
            "linked stays linked, and a plan that waits goes by the policy with which it was made, but links nobody "
            "whom this one leaves out.",
            "resumed": "The schedule goes on.",
        },
    ),
)
