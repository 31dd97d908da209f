"""Small populations where about everybody collides with somebody: what an administrator would bring, by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.link_orchestrator.running import POLICY, graph, object_id

DOMAINS = ("contoso.com", "contoso.com", "fabrikam.com", "x.org")
NAMES = ("ada", "bob", "cyd", "dan")
COLUMNS = ("email", "emailVerified", "employeeNumber", "objectId", "nameId", "externalId", "protected")


@dataclass(frozen=True, slots=True)
class Population:
    """The rows of an accounts file, the users of Graph, and the policy."""

    rows: list[dict[str, str]]
    people: list[dict[str, Any]]
    policy: dict[str, Any]


def population(seed: int) -> Population:
    """Return a population; no two of its people are provisioned under one name or nickname."""
    draw = random.Random(seed)
    people: dict[str, dict[str, Any]] = {}
    for number in range(draw.randint(1, 5)):
        person = _person(draw, number)
        people.setdefault(person["userPrincipalName"].partition("#")[0].replace("_", "@"), person)
    rows: dict[str, dict[str, str]] = {}
    for number in range(draw.randint(1, 5)):
        row = _row(draw, number)
        rows.setdefault(row["userName"], row)
    policy: dict[str, Any] = dict(POLICY)
    if draw.random() < 0.2:
        policy["excluded"] = [object_id(0)]
    policy |= {name: True for name in ("createBesideMatches", "adoptOnCreate") if draw.random() < 0.15}
    return Population(list(rows.values()), list(people.values()), policy)


def _address(draw: random.Random) -> str:
    return f"{draw.choice(NAMES)}@{draw.choice(DOMAINS)}"


def _person(draw: random.Random, number: int) -> dict[str, Any]:
    name = _address(draw)
    if guest := draw.random() < 0.15:
        name = f"{draw.choice(NAMES)}_{draw.choice(DOMAINS)}#EXT#@contoso.onmicrosoft.com"
    person = graph(number, name, mailNickname=f"nick{number}", displayName=f"Person {number}")
    if guest or draw.random() < 0.5:
        person["mail"] = _address(draw) if draw.random() < 0.6 else None
    for attribute, value in (
        ("proxyAddresses", ["smtp:" + _address(draw)]),
        ("otherMails", [_address(draw)]),
        ("employeeId", draw.choice(("1", "2", "3", "n/a"))),
        ("accountEnabled", False),
    ):
        if draw.random() < (0.1 if value is False else 0.3):
            person[attribute] = value
    return person


def _row(draw: random.Random, number: int) -> dict[str, str]:
    name = _address(draw) if draw.random() < 0.7 else f"local{number}"
    row = {"userName": name, **dict.fromkeys(COLUMNS, ""), "active": "no" if draw.random() < 0.1 else "yes"}
    if draw.random() < 0.6:
        row["email"] = name if "@" in name and draw.random() < 0.6 else _address(draw)
        row["emailVerified"] = draw.choice(("yes", ""))
    rarely = (
        ("employeeNumber", draw.choice(("1", "02", "3", "N/A")), 0.3),
        ("objectId", object_id(draw.randint(0, 6)), 0.15),
        ("nameId", _address(draw), 0.1),
        ("externalId", object_id(draw.randint(0, 6)), 0.1),
        ("protected", "yes", 0.1),
    )
    return row | {column: value for column, value, share in rarely if draw.random() < share}
