"""The policy as the fields of a form, and back. What the form has no field for is kept as it is.

A list is a text with an entry a line, as a person types it: `*.contoso.com` is a domain with its subdomains,
`pattern svc-*` an exclusion by pattern, and `, create` behind one lets provisioning create whom it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from link_orchestrator.portal.forms import Form, digits
from shared.scim.errors import InvalidValue

Document = Mapping[str, Any]

OFF: Final = "off"
KINDS: Final = ("pattern", "domain", "group", "type")
"""Words with which an exclusion begins that is no person's id or name."""
CREATE: Final = re.compile(r",\s*create$")
SWITCHES: Final[Mapping[str, tuple[str, str]]] = {
    "adoptOnCreate": (
        "Provisioning may link the account that a create collides with",
        "Only where the account proves itself. Otherwise such a create is refused.",
    ),
    "linkGroupsOnCreate": (
        "Provisioning may take over the group of the same name",
        "Otherwise a group is linked by an approved plan alone.",
    ),
    "createBesideMatches": (
        "Provisioning may create a person beside an account that shares an address or a number",
        "That makes second accounts. Otherwise such a create is refused.",
    ),
    "foreignObjectIds": (
        "The object ids that accounts carry are not this tenant's",
        "They are the application's own, or a former tenant's, and object to no link then.",
    ),
}


class Rule(NamedTuple):
    """What a rule compares, and whether it may have transforms."""

    name: str
    says: str
    transforms: bool = False


RULES: Final = {
    rule.name: rule
    for rule in (
        Rule("externalId", "The account's externalId is the object id"),
        Rule("signInObjectId", "A past sign-in brought the object id"),
        Rule("nameId", "A past sign-in brought this NameID"),
        Rule("userName", "The account signs in by the user principal name"),
        Rule("verifiedEmail", "An address that the application verified is the identity's"),
        Rule("mail", "An address of the account is the identity's mail, alone"),
        Rule("email", "Any address of the account is any of the identity's, aliases included"),
        Rule("employeeNumber", "Both have the same employee number", transforms=True),
        Rule("mailNickname", "The account signs in by the mail nickname", transforms=True),
        Rule("onPremisesSamAccountName", "The account signs in by the name in Active Directory", transforms=True),
        Rule("transformedName", "The account signs in by what transforms make of the name", transforms=True),
        Rule("transformedMail", "An address is what transforms make of the mail", transforms=True),
    )
}


class Chosen(NamedTuple):
    """A rule as the form has it: how far it is trusted, or off, and its transforms in words."""

    rule: Rule
    trust: str
    transforms: str = ""


@dataclass(frozen=True, slots=True)
class Fields:
    """What the form shows: texts as typed, whether right or wrong."""

    domains: str
    trust_emails: str
    name_id_source: str
    rules: Sequence[Chosen]
    excluded: str
    set_aside: str
    safeguard: str
    undo_days: str
    job_days: str
    switches: Sequence[str]
    matching_ended: bool
    approves: bool
    approve_share: str
    approve_number: str
    scheduled: bool
    every_hours: str
    scope: str
    service_principal: str
    groups: str

    @classmethod
    def of(cls, policy: Document) -> Self:
        """Return the fields of a policy."""
        approval, schedule = policy["autoApprove"] or {}, policy["schedule"] or {}
        graph = schedule.get("source", {}).get("graph", {})
        return cls(
            domains="\n".join(map(_domain_line, policy["verifiedDomains"])),
            trust_emails=policy["trustEmails"],
            name_id_source=policy["nameIdSource"],
            rules=[*_rules_of(policy["rules"])],
            excluded="\n".join(map(_excluded_line, policy["excluded"])),
            set_aside="\n".join(policy["setAside"]),
            safeguard=_percent(policy["safeguardShare"]),
            undo_days=str(policy["undoDays"]),
            job_days=str(policy["jobDays"]),
            switches=[name for name in SWITCHES if policy[name]],
            matching_ended=policy["matchingEnded"],
            approves=bool(approval),
            approve_share=_percent(approval.get("share", 0.01)),
            approve_number=str(approval.get("number", 50)),
            scheduled=bool(schedule),
            every_hours=str(schedule.get("everyHours", 24)),
            scope=graph.get("scope", "all"),
            service_principal=graph.get("servicePrincipal", ""),
            groups="\n".join(graph.get("groups", ())),
        )

    @classmethod
    def typed(cls, form: Form) -> Self:
        """Return the fields as they were typed."""
        return cls(
            domains=form["verifiedDomains"],
            trust_emails=form["trustEmails"],
            name_id_source=form["nameIdSource"],
            rules=[*_typed_rules(form)],
            excluded=form["excluded"],
            set_aside=form["setAside"],
            safeguard=form["safeguardShare"],
            undo_days=form["undoDays"],
            job_days=form["jobDays"],
            switches=[name for name in SWITCHES if form[name]],
            matching_ended=bool(form["matchingEnded"]),
            approves=bool(form["approves"]),
            approve_share=form["autoApprove.share"],
            approve_number=form["autoApprove.number"],
            scheduled=bool(form["scheduled"]),
            every_hours=form["schedule.everyHours"],
            scope=form["schedule.source.graph"],
            service_principal=form["schedule.source.graph.servicePrincipal"],
            groups=form["schedule.source.graph.groups"],
        )

    def policy(self, before: Document) -> dict[str, Any]:
        """Return the policy that the fields say, as the API takes it; the rest is as before."""
        return {
            **before,
            "verifiedDomains": [*map(_domain_of, _lines(self.domains))],
            "trustEmails": self.trust_emails,
            "nameIdSource": self.name_id_source,
            "rules": [_rule_document(one) for one in self.rules if one.trust != OFF],
            "excluded": [*map(_excluded_of, _lines(self.excluded))],
            "setAside": _lines(self.set_aside),
            "safeguardShare": _share(self.safeguard),
            "undoDays": _whole(self.undo_days),
            "jobDays": _whole(self.job_days),
            **{name: name in self.switches for name in SWITCHES},
            "matchingEnded": self.matching_ended,
            "autoApprove": {"share": _share(self.approve_share), "number": _whole(self.approve_number)}
            if self.approves
            else None,
            "schedule": {"source": {"graph": self._graph()}, "everyHours": _whole(self.every_hours)}
            if self.scheduled
            else None,
        }

    def refuse_lost(self) -> None:
        """Raise InvalidValue for what was typed for a rule that is off: the policy has no place for it."""
        if lost := [one.rule.name for one in self.rules if one.trust == OFF and one.transforms.strip()]:
            raise InvalidValue(
                f"rules: {', '.join(lost)}: it is off, and what is typed for it would be lost. Make it weak or strong, "
                "or empty that field"
            )

    def _graph(self) -> dict[str, Any]:
        scope: dict[str, Any] = {"scope": self.scope or "all"}
        if scope["scope"] == "groups":
            scope["groups"] = self.groups.replace(",", " ").split()
        elif named := self.service_principal.strip():
            scope["servicePrincipal"] = named
        return scope


def moved(form: Form) -> Form:
    """Return the form with one rule a place up or down, as its pressed button says."""
    way, _, name = form["move"].partition(":")
    names = [*form.all("rule")]
    if name in names:
        at = names.index(name)
        to = min(max(at + (-1 if way == "up" else 1), 0), len(names) - 1)
        names.insert(to, names.pop(at))
    return Form({**form.fields, "rule": tuple(names)}, form.files)


def beside_its_field(sentence: str) -> str:
    """Return a refusal of the API about an entry of a list as one about the form's field, and the line."""
    found = re.fullmatch(r"(verifiedDomains|excluded|setAside)\.(\d+)[\w.]*: (.*)", sentence, re.DOTALL)
    if found:
        return f"{found[1]}: entry {int(found[2]) + 1}: {found[3]}".replace("; ", ", ")
    if rule := re.fullmatch(r"rules\.(\d+)[\w.]*: (.*)", sentence, re.DOTALL):
        return f"rules: rule {int(rule[1]) + 1}: {rule[2]}".replace("; ", ", ")
    if re.match(r"(rules|excluded|trustEmails|verifiedDomains|setAside|autoApprove[\w.]*): ", sentence):
        return sentence.replace("; ", ", ")
    return sentence


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _domain_line(item: Any) -> str:
    return item if isinstance(item, str) else f"{'*.' if item.get('subdomains') else ''}{item['domain']}"


def _domain_of(line: str) -> Any:
    return {"domain": line[2:], "subdomains": True} if line.startswith("*.") else line


def _excluded_line(item: Any) -> str:
    if isinstance(item, str):
        return item
    kind = next(name for name in item if name != "create")
    said = item[kind] if kind == "identity" else f"{kind} {item[kind]}"
    return f"{said}, create" if item.get("create") else said


def _excluded_of(line: str) -> Any:
    said = CREATE.sub("", line)
    kind, _, value = said.partition(" ")
    entry = {kind: value.strip()} if kind in KINDS and value.strip() else {"identity": said}
    if said != line:
        return {**entry, "create": True}
    return said if "identity" in entry else entry


def _rules_of(rules: Sequence[Document]) -> Iterator[Chosen]:
    """Yield the rules of a policy in order, and then those that it leaves out."""
    named = set()
    for one in rules:
        named.add(one["rule"])
        yield Chosen(RULES[one["rule"]], one["trust"], ", ".join(map(_transform_words, one.get("transforms", ()))))
    yield from (Chosen(rule, OFF) for name, rule in RULES.items() if name not in named)


def _typed_rules(form: Form) -> Iterator[Chosen]:
    names = dict.fromkeys([*(name for name in form.all("rule") if name in RULES), *RULES])
    for name in names:
        yield Chosen(RULES[name], form[f"trust.{name}"] or OFF, form[f"transforms.{name}"])


def _rule_document(one: Chosen) -> dict[str, Any]:
    said: dict[str, Any] = {"rule": one.rule.name, "trust": one.trust}
    transforms = [_transform_of(text.strip()) for text in one.transforms.split(",") if text.strip()]
    return said | ({"transforms": transforms} if transforms else {})


def _transform_words(item: Any) -> str:
    if isinstance(item, str):
        return item
    ((name, value),) = item.items()
    return f"{name} {value['from']} {value['to']}" if isinstance(value, Mapping) else f"{name} {value}"


def _transform_of(text: str) -> Any:
    """Return a transform as the API takes it; what is none is for the API to refuse."""
    name, *values = text.split()
    if name == "replaceDomain" and len(values) == 2:
        return {name: {"from": values[0], "to": values[1]}}
    if name in ("addDomain", "addPrefix", "padZeros") and len(values) == 1:
        return {name: _whole(values[0]) if name == "padZeros" else values[0]}
    return text


def _percent(share: float) -> str:
    return f"{share * 100:.10f}".rstrip("0").rstrip(".")


def _share(text: str) -> Any:
    """Return a share of 1 of what was typed as per cent; what is no number is for the API to refuse."""
    typed = text.strip().removesuffix("%").strip().replace(",", ".")
    # Python reads nan, inf and 1_0 as numbers, too.
    return round(float(typed) / 100, 12) if _NUMBER.fullmatch(typed) else text


_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20}")


def _whole(text: str) -> Any:
    """Return a whole number that was typed; what is none is for the API to refuse."""
    number = digits(text)
    return text if number is None else number
