"""The mapping of the customer's provisioning job: what feeds the attributes that people are matched by.

It is read from the provisioning schema that Entra exports, a synchronizationSchema of
https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationschema. cycle.py predicts what a mapping
leads to, check.py warns of what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shared.directory.matching.identity import Identity
from shared.directory.records.model import ENTERPRISE
from shared.directory.text import Advice

USER_NAME: Final = "userName"
EXTERNAL_ID: Final = "externalId"
EMAIL: Final = "emails"
EMPLOYEE_NUMBER: Final = "employeeNumber"
ACTIVE: Final = "active"
OBJECT_ID: Final = "objectId"
FULL_NAME: Final = "givenName surname"
"""The source of what Entra's default joins of given name and surname."""

KINDS: Final = {USER_NAME: "userName", EXTERNAL_ID: "externalId", EMAIL: "email", EMPLOYEE_NUMBER: "employeeNumber"}
"""The mapped attributes by which an account can be found, each with its kind of key."""
ANY: Final = "?"
"""The source of an attribute that comes from a constant, or from an expression, which is not evaluated here."""

_GUEST = re.compile(r"(.+)_([^_]+)#EXT#@.+", re.IGNORECASE)
_TARGETS = {
    "username": USER_NAME,
    "externalid": EXTERNAL_ID,
    f"{ENTERPRISE}:employeeNumber".lower(): EMPLOYEE_NUMBER,
    "active": ACTIVE,
}


def provisioned_name(user_principal_name: str) -> str:
    """Return the name as provisioned: a guest's `jane_home.example#EXT#@tenant` is `jane@home.example` again."""
    guest = _GUEST.fullmatch(user_principal_name) if "#" in user_principal_name else None
    return f"{guest[1]}@{guest[2]}" if guest else user_principal_name


SOURCES: Final[Mapping[str, Callable[[Identity], str | None]]] = {
    OBJECT_ID: lambda one: one.object_id,
    "userPrincipalName": lambda one: provisioned_name(one.user_principal_name),
    "originalUserPrincipalName": lambda one: one.user_principal_name,
    "mail": lambda one: one.mail,
    "mailNickname": lambda one: one.mail_nickname,
    "employeeId": lambda one: one.employee_id,
    "onPremisesImmutableId": lambda one: one.on_premises_immutable_id,
    "immutableId": lambda one: one.on_premises_immutable_id,
    "displayName": lambda one: one.display_name,
    "givenName": lambda one: one.given_name,
    "surname": lambda one: one.surname,
    "jobTitle": lambda one: one.job_title,
    "department": lambda one: one.department,
    FULL_NAME: lambda one: " ".join(filter(None, (one.given_name, one.surname))),
}
"""The attributes of an identity that are read here, by their names in a mapping."""


@dataclass(frozen=True, slots=True)
class AttributeMapping:
    """Which source feeds which attribute here, and by which attributes accounts are matched, in order.

    `expressions` holds, by attribute, the expressions that are not evaluated here, for the mapping check. `creates`
    says whether the job may create users, `enabled` whether it provisions users at all. `others` has what feeds
    attributes that nobody is matched by, by their SCIM paths, as far as a source of it is read here.
    """

    attributes: Mapping[str, str]
    matching: tuple[str, ...]
    expressions: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    creates: bool = True
    others: Mapping[str, str] = field(default_factory=dict)

    def values(self, identity: Identity) -> dict[str, str]:
        """Return what the job sends of an identity, by attribute; what has no value is not sent."""
        found = {}
        for target, source in self.attributes.items():
            read = SOURCES.get(source)
            if read is not None and (value := read(identity)):
                found[target] = value
        return found

    @property
    def activates(self) -> bool | None:
        """Tell whether somebody in scope is sent as active; None if nothing is sent of that."""
        if not self.attributes.get(ACTIVE):
            return None
        return not turned_round(self.expressions.get(ACTIVE, ""))

    @property
    def keyed(self) -> bool:
        """Tell whether a link is found first of all: by the object id that it stamped as externalId."""
        return self.matching[:1] == (EXTERNAL_ID,) and self.attributes.get(EXTERNAL_ID) == OBJECT_ID

    def to_json(self) -> dict[str, Any]:
        """Return the mapping as the JSON object that `read_mapping` reads again."""
        shown: dict[str, Any] = {"attributes": dict(self.attributes), "matching": list(self.matching)}
        if self.expressions:
            shown["expressions"] = dict(self.expressions)
        if self.others:
            shown["others"] = dict(self.others)
        return shown | {name: False for name, on in (("enabled", self.enabled), ("creates", self.creates)) if not on}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the mapping that `to_json` wrote."""
        get = document.get
        return cls(
            dict(document["attributes"]),
            tuple(document["matching"]),
            dict(get("expressions", {})),
            get("enabled", True),
            get("creates", True),
            dict(get("others", {})),
        )


def turned_round(expression: str) -> bool:
    """Tell whether a Switch on IsSoftDeleted makes deleted people active."""
    match = re.match(r"\s*switch\s*\(\s*\[IsSoftDeleted\]\s*,(.*)\)\s*$", expression, re.IGNORECASE | re.DOTALL)
    if not match:
        return False
    _, *rest = (part.strip().strip('"').lower() for part in match[1].split(","))
    return dict(zip(rest[::2], rest[1::2], strict=False)).get("false") == "false"


DEFAULT: Final = AttributeMapping(
    {
        EXTERNAL_ID: OBJECT_ID,
        USER_NAME: "userPrincipalName",
        EMAIL: "mail",
        EMPLOYEE_NUMBER: "employeeId",
        ACTIVE: ANY,
    },
    (EXTERNAL_ID, USER_NAME),
    others={
        "displayName": "displayName",
        "title": "jobTitle",
        "name.givenName": "givenName",
        "name.familyName": "surname",
        "name.formatted": FULL_NAME,
        f"{ENTERPRISE}:department": "department",
    },
)
"""What we ask customers for: Entra's own default, except that externalId comes from objectId and is matched first."""


def read_mapping(document: object) -> AttributeMapping:
    """Return the mapping of an exported provisioning schema, or of its short form.

    The short form is `{"attributes": {"userName": "userPrincipalName", …}, "matching": ["externalId", …]}`. Raises
    ValueError saying what is wrong.
    """
    if not isinstance(document, Mapping):
        raise ValueError("mapping: must be a JSON object")
    if "synchronizationRules" in document:
        return _read_schema(document)
    attributes, matching = document.get("attributes"), document.get("matching", [EXTERNAL_ID, USER_NAME])
    if not isinstance(attributes, Mapping) or not isinstance(matching, list):
        raise ValueError(
            Advice(
                "mapping: must be an exported provisioning schema:",
                "as Entra gives it (synchronizationRules), or like "
                '{"attributes": {"externalId": "objectId", "userName": "mail"}, "matching": ["externalId"]}',
                "schema",
            )
        )
    known, sources = (*KINDS, ACTIVE), (*SOURCES, ANY)
    others = {target: source for target, source in attributes.items() if target in DEFAULT.others}
    attributes = {target: source for target, source in attributes.items() if target not in others}
    if not all(target in known and source in sources for target, source in attributes.items()):
        raise ValueError(f"mapping.attributes: from {', '.join(known)} to one of {', '.join(sources)}")
    if not all(source in SOURCES for source in others.values()):
        raise ValueError(f"mapping.attributes: {', '.join(others)} are read from one of {', '.join(SOURCES)}")
    if not all(isinstance(target, str) and target in attributes for target in matching):
        raise ValueError("mapping.matching: each must be one of mapping.attributes")
    return AttributeMapping(attributes, tuple(dict.fromkeys(matching)), others=others)


def _read_schema(document: Mapping[str, Any]) -> AttributeMapping:
    users = max(_user_mappings(document), key=lambda mapping: mapping.get("enabled", True) is True, default=None)
    if users is None:
        raise ValueError("mapping: the schema maps no users (objectMappings with targetObjectName User)")
    attributes, expressions, others = dict[str, str](), dict[str, str](), dict[str, str]()
    matching: list[tuple[int, str]] = []
    for one in _objects(users.get("attributeMappings")):
        target = _target(str(one.get("targetAttributeName") or ""))
        given = one.get("source")
        source: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        priority = one.get("matchingPriority")
        if isinstance(priority, int) and priority > 0:
            matching.append((priority, target))
        elif target not in (*KINDS, ACTIVE):
            read, _ = _source(source)
            if _PATH.fullmatch(target) and read in SOURCES:
                others[target] = read
            continue
        attributes[target], expression = _source(source)
        if expression:
            expressions[target] = expression
    flows = users.get("flowTypes")
    return AttributeMapping(
        attributes,
        tuple(dict.fromkeys(target for _, target in sorted(matching))),
        expressions,
        users.get("enabled", True) is True,
        not isinstance(flows, str) or "add" in flows.lower(),
        others,
    )


_PATH = re.compile(r"(urn:[\w.:-]+:)?[A-Za-z]\w*(\.[A-Za-z]\w*)?")
"""A SCIM path of one value."""
_JOINED = re.compile(r"""join\(\s*" "\s*,\s*\[givenName\]\s*,\s*\[surname\]\s*\)""", re.IGNORECASE)


def _user_mappings(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for rule in _objects(document["synchronizationRules"]):
        for mapping in _objects(rule.get("objectMappings")):
            if str(mapping.get("targetObjectName", "")).rpartition(":")[2].lower() in ("user", "users"):
                yield mapping


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _target(name: str) -> str:
    lower = name.strip().lower()
    return EMAIL if lower.startswith("emails") and lower.endswith("value") else _TARGETS.get(lower, name)


def _source(source: Mapping[str, Any]) -> tuple[str, str]:
    """Return the attribute that a source names, or ANY with its expression, or "" where it has neither."""
    expression, name = str(source.get("expression") or ""), str(source.get("name") or "")
    attribute = expression.strip().removeprefix("[").removesuffix("]") or name
    if _JOINED.fullmatch(expression.strip()):
        return FULL_NAME, ""
    if attribute in SOURCES:
        return attribute, ""
    return (ANY, expression or name) if expression or name else ("", "")
