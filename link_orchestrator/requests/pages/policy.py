"""A policy said in sentences, for the page of the run that went by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from link_orchestrator.requests.pages.parts import items, listed
from link_orchestrator.words import in_letters
from shared.directory.matching.domains import entry_of
from shared.directory.matching.exclusions import read_excluded
from shared.directory.matching.policy import ON, Policy, Trust
from shared.directory.matching.transforms import in_words, read_transforms
from shared.directory.text import counted

_RULES: Final = {
    "externalId": "its externalId is the identity's object id",
    "signInObjectId": "a past sign-in carried the identity's object id",
    "nameId": "the NameID of its past sign-ins is the identity's {nameIdSource}",
    "userName": "its userName is the identity's user principal name",
    "verifiedEmail": "a verified e-mail address of it is the identity's mail",
    "mail": "an e-mail address of it that nobody verified is the identity's mail",
    "email": "another e-mail address of it is a mail, an alias or a further address of the identity",
    "employeeNumber": "its employee number is the identity's {employeeId}",
    "mailNickname": "its userName is the identity's {mailNickname}",
    "onPremisesSamAccountName": "its userName is the identity's {onPremisesSamAccountName}",
    "transformedName": "its userName is the identity's {userPrincipalName}",
    "transformedMail": "an e-mail address of it is the identity's {mail}",
}
"""What each rule compares, said of an account. What is in braces may be transformed before it is compared."""

_COMPARED: Final = re.compile(r"\{(\w+)\}")

_SWITCHES: Final = {
    "adoptOnCreate": "A create by provisioning links the account that it collides with (adoptOnCreate).",
    "createBesideMatches": "Provisioning may create a person beside an account that shares an address or a number with "
    "them (createBesideMatches).",
    "foreignObjectIds": "Object ids that accounts carry are not this tenant's, and make no conflict "
    "(foreignObjectIds).",
    "matchingEnded": "Matching has ended: no run is started or approved (matchingEnded).",
    "linkGroupsOnCreate": "A create by provisioning links the group of the same name (linkGroupsOnCreate).",
}
"""What is off unless it is set."""


class Said(NamedTuple):
    """A sentence about a policy, and the points that it ends in."""

    sentence: str
    points: Sequence[str] = ()


def sentences(policy: Mapping[str, Any]) -> str:
    """Return a policy, as the API shows it, as a list of sentences in HTML. "" for none."""
    return items(escape(one.sentence) + items(map(escape, one.points)) for one in say(policy)) if policy else ""


def say(policy: Mapping[str, Any]) -> Iterator[Said]:
    """Yield the sentences about a policy, as the API shows it, with domains in the letters that people write."""
    said = [*map(Said, _domains(policy)), *_rules(policy), *map(Said, (*_limits(policy), *_others(policy)))]
    for one in said:
        yield Said(in_letters(one.sentence), [*map(in_letters, one.points)])


def _domains(policy: Mapping[str, Any]) -> Iterator[str]:
    known = [f"{one} with its subdomains" if below else one for one, below in domains_of(policy)]
    if not known:
        yield "No verified domain is set, so no address proves anything."
        return
    yield f"Only addresses in {listed(known)} prove anything."
    if policy.get("trustEmails") == "inVerifiedDomains":
        yield (
            "An address there counts as verified, also where nobody verified it (trustEmails): an account that "
            "somebody registered with a colleague's address would become the colleague's."
        )


def domains_of(policy: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return the verified domains of a policy, as the API shows it, each with whether its subdomains belong to it."""
    return sorted(map(entry_of, policy.get("verifiedDomains", ())))


def _rules(policy: Mapping[str, Any]) -> Iterator[Said]:
    for trust, what in (
        (Trust.STRONG, "An account is linked once the plan is approved, if one of these is so:"),
        (Trust.WEAK, "A person decides, if only one of these is so:"),
    ):
        said = [_compared(rule, policy) for rule in policy.get("rules", ()) if rule["trust"] == trust]
        if said:
            yield Said(what, said)


def _compared(rule: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
    """Return what a rule compares, and whatever else is said of it."""
    said = _RULES.get(rule["rule"], rule["rule"]).replace("{nameIdSource}", str(policy.get("nameIdSource", "")))
    more = {name: value for name, value in rule.items() if name not in ("rule", "trust")}
    if compared := _COMPARED.search(said):
        made = read_transforms("transforms", more.pop("transforms", []))
        said = said.replace(compared[0], in_words(compared[1], made))
    return f"{said} {json.dumps(more, ensure_ascii=False)}" if more else said


def _limits(policy: Mapping[str, Any]) -> Iterator[str]:
    yield from _left_out(policy)
    yield from (said for name, said in _SWITCHES.items() if policy.get(name))
    if share := policy.get("safeguardShare"):
        yield f"A plan that links more than {share:.0%} of the accounts is approved by its number only."
    if (limit := policy.get("autoApprove")) and limit.get(ON, True):
        many = counted(limit["number"], "link")
        yield f"A run approves itself up to {many} and {limit['share']:.1%} of the accounts (autoApprove)."
    if (schedule := policy.get("schedule")) and schedule.get(ON, True):
        yield f"Runs start by themselves every {counted(schedule['everyHours'], 'hour')} (schedule)."


def _left_out(policy: Mapping[str, Any]) -> Iterator[str]:
    names, _, criteria = read_excluded([*policy.get("excluded", ())])
    if names:
        yield f"Left out of every run by name: {counted(len(names), 'identity')}."
    if criteria:
        yield f"Left out of every run: {listed([f'{one.kind} {one.value}' for one in criteria])}."
    if aside := len(policy.get("setAside", ())):
        yield f"Set aside, so that no run links or reports them: {counted(aside, 'entry')}."


_SAID: Final = {
    "verifiedDomains", "trustEmails", "rules", "nameIdSource", "excluded", "setAside", "safeguardShare", "autoApprove",
    "schedule", *_SWITCHES,
}  # fmt: skip


def _others(policy: Mapping[str, Any]) -> Iterator[str]:
    """Yield every further attribute that is not what it is unless set, so that a page keeps none back."""
    usual = Policy().to_json()
    for name, value in policy.items():
        if name not in _SAID and value != usual.get(name):
            yield f"{name}: {json.dumps(value, ensure_ascii=False)}"
