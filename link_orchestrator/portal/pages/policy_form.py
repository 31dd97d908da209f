"""The policy as the fields of a form, and back. What the form has no field for is kept as it is.

A list is a text with an entry a line, as a person types it: `*.contoso.com` is a domain with its subdomains,
`pattern svc-*` an exclusion by pattern, and `, create` behind one lets provisioning create whom it leaves out. An entry
that would be read as another, such as a name that begins with one of these words, has its line in JSON. So a form that
is sent as it was shown is the policy that it showed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple, Self

from link_orchestrator.names import RULES as RULE_NAMES
from link_orchestrator.names import rule_in_words
from link_orchestrator.portal.forms import NOTHING_SENT, Form, digits, read_json
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

FIELDS: Final[Mapping[str, str]] = {
    "verifiedDomains": "Verified domains",
    "trustEmails": "Which addresses count as verified",
    "nameIdSource": "What Entra sent as NameID",
    "rules": "Rules",
    "excluded": "Excluded people of Entra",
    "setAside": "Accounts set aside",
    "autoApprove": "Plans approve themselves",
    "schedule": "Plans are made by themselves",
    **{name: label for name, (label, _) in SWITCHES.items()},
    "safeguardShare": "Links without a typed number",
    "undoDays": "Days for which an undo can give values back",
    "jobDays": "Days for which plans and reports are kept",
    "matchingEnded": "Matching has ended",
}
"""What each attribute of a policy is called on the form."""
TRANSFORMS: Final = (
    ("beforeAt", "ada@contoso.com", "ada"),
    ("replaceDomain new.example old.example", "ada@new.example", "ada@old.example"),
    ("addDomain old.example", "ada", "ada@old.example"),
    ("addPrefix CORP\\", "ada", "CORP\\ada"),
    ("stripLeadingZeros", "0042", "42"),
    ("padZeros 8", "42", "00000042"),
)
"""Each transform as it is typed, a value of Entra's, and what the transform makes of it."""


class Rule(NamedTuple):
    """What a rule compares, and whether it may have transforms."""

    name: str
    says: str
    transforms: bool = False

    @property
    def label(self) -> str:
        """What it is called."""
        return RULE_NAMES[self.name]


RULES: Final = {
    rule.name: rule
    for rule in (
        Rule("externalId", "The account's external id is the object id"),
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
            domains=_listed(policy["verifiedDomains"], _domain_line, _domain_of),
            trust_emails=policy["trustEmails"],
            name_id_source=policy["nameIdSource"],
            rules=[*_rules_of(policy["rules"])],
            excluded=_listed(policy["excluded"], _excluded_line, _excluded_of),
            set_aside=_listed(policy["setAside"], str, str),
            safeguard=percent(policy["safeguardShare"]),
            undo_days=str(policy["undoDays"]),
            job_days=str(policy["jobDays"]),
            switches=[name for name in SWITCHES if policy[name]],
            matching_ended=policy["matchingEnded"],
            approves=bool(approval) and approval.get("on", True),
            approve_share=percent(approval.get("share", 0.01)),
            approve_number=str(approval.get("number", 50)),
            scheduled=bool(schedule) and schedule.get("on", True),
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
        """Return the policy that the fields say, as the API takes it; the rest is as before.

        What is off keeps what was typed for it, unless nothing was. Raises InvalidValue for transforms of a rule that
        is off, which a policy does not keep.
        """
        shown = Fields.of(before)
        return {
            **before,
            "verifiedDomains": _entries("verifiedDomains", self.domains, _domain_of),
            "trustEmails": self.trust_emails,
            "nameIdSource": self.name_id_source,
            "rules": [*_rule_documents(self.rules)],
            "excluded": _entries("excluded", self.excluded, _excluded_of),
            "setAside": _entries("setAside", self.set_aside, str),
            "safeguardShare": _share(self.safeguard),
            "undoDays": _whole(self.undo_days),
            "jobDays": _whole(self.job_days),
            **{name: name in self.switches for name in SWITCHES},
            "matchingEnded": self.matching_ended,
            "autoApprove": _switched(self.approves, self._approval(), before["autoApprove"], shown._approval()),
            "schedule": _switched(self.scheduled, self._schedule(), before["schedule"], shown._schedule()),
        }

    def beside(self, other: Fields) -> list[tuple[str, str, str]]:
        """Return what differs from other fields: a label, what these say there alone, and what the others say."""
        return [
            (label, _alone(own, theirs, "what you typed"), _alone(theirs, own, "what is stored"))
            for label, own, theirs in zip(LABELS, self._texts(), other._texts(), strict=True)
            if own != theirs
        ]

    def _texts(self) -> list[list[str]]:
        """Return what the fields say, as lines, in the order of LABELS."""
        approval = f"{self.approve_share} %, {self.approve_number} links" if self.approves else "no"
        source = [self.every_hours, self.scope, self.service_principal, *self.groups.split()]
        return [
            *(_lines(one) for one in (self.domains, self.excluded, self.set_aside)),
            [f"{rule_in_words(one.rule.name)} {one.trust} {one.transforms}".strip() for one in self.rules],
            [self.trust_emails],
            [self.name_id_source],
            [approval],
            [one for one in source if one] if self.scheduled else ["no"],
            [*self.switches],
            [f"{self.safeguard} %", f"{self.undo_days} days", f"{self.job_days} days"],
            ["yes" if self.matching_ended else "no"],
        ]

    @property
    def source_typed(self) -> bool:
        """Whether the source of a schedule says more than that everybody is read."""
        return bool(self.service_principal.strip() or self.groups.strip()) or self.scope not in ("", "all")

    def _approval(self) -> dict[str, Any]:
        return {"share": _share(self.approve_share), "number": _whole(self.approve_number)}

    def _schedule(self) -> dict[str, Any]:
        return {"source": {"graph": self._graph()}, "everyHours": _whole(self.every_hours)}

    def _graph(self) -> dict[str, Any]:
        """Return all that is typed of the scope: the API says what does not go together, and nothing goes unsaid."""
        groups, named = self.groups.replace(",", " ").split(), self.service_principal.strip()
        scope = {"groups": groups} if groups else {}
        return scope | ({"servicePrincipal": named} if named else {}) | {"scope": self.scope or "all"}


def moved(form: Form) -> Form:
    """Return the form with one rule a place up or down, as its pressed button says."""
    way, _, name = form["move"].partition(":")
    names = [*form.all("rule")]
    if name in names:
        at = names.index(name)
        to = min(max(at + (-1 if way == "up" else 1), 0), len(names) - 1)
        names.insert(to, names.pop(at))
    return Form({**form.fields, "rule": tuple(names)}, form.files)


def beside_their_fields(sentences: Iterable[str], form: Form) -> str:
    """Return refusals of the API about entries as one sentence a field of the form: each with its line as typed."""
    fields: dict[str, str] = {}
    for one in sentences:
        field, colon, said = beside_its_field(one, form).partition(": ")
        if colon and field in fields:
            fields[field] += f". {said[:1].upper()}{said[1:]}"
        else:
            fields[field] = colon + said
    return "; ".join(f"{field}{said}" for field, said in fields.items())


def beside_its_field(sentence: str, form: Form = NOTHING_SENT) -> str:
    """Return a refusal of the API about an entry of a list as one about the form's field, and the line."""
    found = re.fullmatch(r"(verifiedDomains|excluded|setAside)\.(\d+)[\w.]*: (.*)", sentence, re.DOTALL)
    if found:
        said = _ENTRY.sub(lambda other: f"entry {int(other[1]) + 1}", found[3])
        at, lines = int(found[2]), _lines(form[found[1]])
        quoted = f" ({lines[at][:QUOTED]})" if at < len(lines) and not said.startswith("'") else ""
        return f"{found[1]}: entry {at + 1}{quoted}: {said}".replace("; ", ", ")
    if rule := re.fullmatch(r"rules\.(\d+)[\w.]*: (.*)", sentence, re.DOTALL):
        return f"rules: rule {int(rule[1]) + 1}: {rule[2]}".replace("; ", ", ")
    name, _, said = sentence.partition(": ")
    if name in NUMBERS and said.startswith("must be"):
        sentence = f"{name}: {NUMBERS[name]} {said}"
    if re.match(r"(rules|excluded|trustEmails|verifiedDomains|setAside|autoApprove[\w.]*): ", sentence):
        return sentence.replace("; ", ", ")
    return sentence


NUMBERS: Final[Mapping[str, str]] = {
    "safeguardShare": "the share of links without a typed number",
    "undoDays": "the days for which an undo can give values back",
    "jobDays": "the days for which plans and reports are kept",
    "autoApprove.share": "the share of accounts up to which plans approve themselves",
    "autoApprove.number": "the links up to which plans approve themselves",
    "schedule.everyHours": "the hours between two plans",
}
"""What a number of the form is called in a refusal of it."""
LABELS: Final = (
    "Verified domains",
    "Excluded people of Entra",
    "Accounts set aside",
    "Rules",
    "Which addresses count",
    "What Entra sent as NameID",
    "Plans approve themselves",
    "Plans are made by themselves",
    "What provisioning may do",
    "Terms",
    "Matching has ended",
)
"""What is compared of two policies."""
QUOTED: Final = 80
"""Characters of a line that a refusal quotes."""
SHOWN: Final = 20
"""Lines of a difference that are shown."""


def _alone(lines: Sequence[str], others: Sequence[str], beside: str) -> str:
    """Return the lines that others lack; all of them where only their order differs, "" where there are no lines."""
    known = {*others}
    alone = [*lines] if known == {*lines} else [line for line in lines if line not in known]
    if lines and not alone:
        return f"nothing beside {beside}"
    more = f", and {len(alone) - SHOWN:,} more" if len(alone) > SHOWN else ""
    return ", ".join(alone[:SHOWN]) + more


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line]


_ENTRY: Final = re.compile(r"\b(?:verifiedDomains|excluded|setAside|rules)\.(\d+)")


def _listed(entries: Iterable[Any], line_of: Callable[[Any], str], entry_of: Callable[[str], Any]) -> str:
    """Return entries a line each: as people write them, or in JSON where that would be read as something else."""
    return "\n".join(_line(entry, line_of(entry), entry_of) for entry in entries)


def _line(entry: Any, line: str, entry_of: Callable[[str], Any]) -> str:
    try:
        is_read = _entries("", line, entry_of) == [entry]
    except InvalidValue:
        is_read = False
    return line if is_read else _exactly(entry)


def _entries(name: str, text: str, entry_of: Callable[[str], Any]) -> list[Any]:
    """Return the entries of a field that has one a line. Raises InvalidValue for a line that is broken JSON."""
    return [_read_exactly(f"{name}: entry {n}", line, entry_of) for n, line in enumerate(_lines(text), 1)]


def _exactly(value: Any) -> str:
    """Return a value in JSON, in which nothing is beyond a line or unseen."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _read_exactly(where: str, text: str, otherwise: Callable[[str], Any]) -> Any:
    """Return the value of a text in JSON, or what it is otherwise. Raises InvalidValue for broken JSON."""
    return read_json(where, text) if _JSON.match(text) else otherwise(text)


_JSON: Final = re.compile(r'[\[{]?\s*"|\[')
"""How JSON begins. An object id may come in braces."""


def _switched(on: bool, typed: dict[str, Any], before: Document | None, shown: Document) -> dict[str, Any] | None:
    """Return what runs by itself, or what of it is kept while it is off: nothing where nothing was typed for it."""
    if on:
        return typed
    return None if before is None and typed == shown else typed | {"on": False}


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
        yield Chosen(RULES[one["rule"]], one["trust"], _transforms_text(one.get("transforms", ())))
    yield from (Chosen(rule, OFF) for name, rule in RULES.items() if name not in named)


def _typed_rules(form: Form) -> Iterator[Chosen]:
    names = dict.fromkeys([*(name for name in form.all("rule") if name in RULES), *RULES])
    for name in names:
        yield Chosen(RULES[name], form[f"trust.{name}"] or OFF, form[f"transforms.{name}"])


def _rule_documents(rules: Iterable[Chosen]) -> Iterator[dict[str, Any]]:
    for one in rules:
        transforms = _transforms_of(f"rules: {one.rule.name}", one.transforms)
        if one.trust != OFF:
            yield {"rule": one.rule.name, "trust": one.trust} | ({"transforms": transforms} if transforms else {})
        elif transforms:
            raise InvalidValue(
                f"rules: {one.rule.name} is off, and a policy keeps no transforms of a rule that is off: "
                "empty their field, or let the rule be weak"
            )


def _transforms_text(transforms: Sequence[Any]) -> str:
    """Return the transforms of a rule in words, with commas between, or in JSON where that would be read otherwise."""
    text = ", ".join(map(_transform_words, transforms))
    return text if _transforms_of("", text) == [*transforms] else _exactly(transforms)


def _transforms_of(where: str, text: str) -> Any:
    return _read_exactly(
        where, text.strip(), lambda words: [_transform_of(one.strip()) for one in words.split(",") if one.strip()]
    )


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


def percent(share: float) -> str:
    """Return a share of 1 as per cent, to the last digit: what is typed as it is shown is the same share."""
    text = f"{Decimal(repr(share)).scaleb(2):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _share(text: str) -> Any:
    """Return a share of 1 of what was typed as per cent; what is no number is for the API to refuse."""
    typed = text.strip().removesuffix("%").strip().replace(",", ".")
    # Python reads nan, inf and 1_0 as numbers, too.
    return float(Decimal(typed).scaleb(-2)) if _NUMBER.fullmatch(typed) else text


_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{0,400})?|\.[0-9]{1,400}")


def _whole(text: str) -> Any:
    """Return a whole number that was typed; what is none is for the API to refuse."""
    number = digits(text)
    return text if number is None else number
