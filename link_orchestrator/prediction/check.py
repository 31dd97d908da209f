"""What is wrong with a mapping, for how many people, and what to do about it. Pure.

The numbers come from the counts of the last plan: how many identities have an account, and by which of its values
provisioning could find it beside the stamped externalId (cycle.carried).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from link_orchestrator.prediction.mapping import (
    ACTIVE,
    ANY,
    EXTERNAL_ID,
    KINDS,
    OBJECT_ID,
    USER_NAME,
    AttributeMapping,
    turned_round,
)

UPN, MAIL = "userPrincipalName", "mail"
KEEPERS = (MAIL, "mailNickname", UPN)
"""What userName may be made of so that people keep the names that they have."""
REMEDY = "Map objectId to externalId and give that mapping matching precedence 1."


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: its code, what happens, to how many people (None without a plan), and the remedy."""

    code: str
    text: str
    people: int | None
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """Return the warning as the API shows it."""
        people = {} if self.people is None else {"people": self.people}
        return {"code": self.code, "warning": self.text, **people, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class People:
    """The people who have an account after the last plan: their numbers by what the accounts carry (cycle.carried)."""

    carried: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.carried.values())

    def count(self, *pairs: str) -> int:
        """Return how many accounts carry at least one of these, like `userName=mail`."""
        return sum(count for held, count in self.carried.items() if not set(pairs).isdisjoint(held.split("+")))

    def count_without(self, *pairs: str) -> int:
        """Return how many carry none of them."""
        return self.total - self.count(*pairs)


def check(
    mapping: AttributeMapping, people: People | None, *, adopts: bool = False, name_id: str = UPN
) -> list[Warned]:
    """Return the warnings about a mapping, those of second accounts first; without a plan they name no numbers.

    `adopts` is the policy's adoptOnCreate, and `name_id` its nameIdSource.
    """
    if not mapping.enabled:
        remedy = "Switch the mapping of users on, in the provisioning job."
        return [Warned("usersAreOff", "the job provisions no users at all", _total(people), remedy)]
    found = (*_keys(mapping, people), *_found(mapping, adopts=adopts), *_matching(mapping, people))
    return [*found, *_sign_in(mapping, people, name_id), *_others(mapping, people)]


def sign_in_after(mapping: AttributeMapping, people: People, name_id: str) -> str:
    """Return whether single sign-on still finds people whose userName provisioning changed, and how to keep the names.

    `name_id` is what the policy says that SAML sends as NameID.
    """
    source = mapping.attributes.get(USER_NAME) or "nothing"
    named = "an expression" if source == ANY else source
    found = "finds them by the new name" if source == name_id else "does not find them any more"
    told = (
        f"The policy says that SAML sends {name_id} as NameID, and the mapping makes userName of {named}: an "
        f"application that looks people up by userName at sign-in {found}; one that looks them up by another value, "
        "such as a stored NameID, is not touched. Look that up in the application. Who types a user name types the new "
        "one."
    )
    kept, best = max((people.count(f"{USER_NAME}={one}"), one) for one in KEEPERS)
    now = people.count(f"{USER_NAME}={source}")
    if kept <= now:
        return told
    return (
        f"{told} To keep the names, map {best} to userName, check the mapping, and plan again: {kept:,} of "
        f"{people.total:,} people are called so now, and {now:,} by {named}."
    )


def _sign_in(mapping: AttributeMapping, people: People | None, name_id: str) -> Iterator[Warned]:
    """Warn of a userName that is made of something else than the name which SAML sends."""
    source = mapping.attributes.get(USER_NAME)
    if name_id not in (UPN, MAIL) or not source or source == name_id:
        return
    # Who is called so today may be looked up by that; who is not is found by something else already.
    by_name, kept = f"{USER_NAME}={name_id}", f"{USER_NAME}={source}"
    lost = people.count(by_name, kept) - people.count(kept) if people else None
    if lost == 0:
        return
    text = (
        f"the policy says that SAML sends {name_id} as NameID, and userName comes from "
        f"{'an expression' if source == ANY else source}: {_number(lost)} would have another userName than SAML "
        "sends, and an application that looks people up by userName at sign-in would not find them"
    )
    remedy = (
        f"Map {name_id} to userName, if the application looks people up by userName. If it does so by another value, "
        "leave it; if SAML sends something else, correct nameIdSource in the policy."
    )
    yield Warned("nameIdDiffers", text, lost, remedy)


def _keys(mapping: AttributeMapping, people: People | None) -> Iterator[Warned]:
    """Warn of people who are not found by the externalId that a link stamps."""
    if not mapping.matching:
        everybody = _total(people)
        yield Warned("noMatching", f"no attribute is matched by: {_all(everybody)} second account", everybody, REMEDY)
        return
    if mapping.keyed:
        return
    source = mapping.attributes.get(EXTERNAL_ID)
    pairs = [f"{target}={mapping.attributes.get(target)}" for target in mapping.matching if target != EXTERNAL_ID]
    if source != OBJECT_ID or EXTERNAL_ID not in mapping.matching:
        why = f"externalId comes from {_source(mapping)}" if source != OBJECT_ID else "externalId is not matched by"
        lost = people.count_without(*pairs) if people else None
        yield Warned(
            "externalIdNotKey",
            f"{why}: {_number(lost)} whom no other look-up finds would get a second account",
            lost,
            REMEDY,
        )
    if source != OBJECT_ID:
        stuck = people.count(*pairs) if people else None
        if source and pairs and stuck != 0:
            text = f"every write to {_number(stuck)} whom another look-up finds would be refused"
            yield Warned(
                "externalIdRefused", f"{why}: {text}, as their accounts are linked by object id", stuck, REMEDY
            )
    else:
        text = f"externalId is not matched first: the links of {_number(_total(people))} are not confirmed by"
        yield Warned("externalIdNotFirst", f"{text} the first look-up", _total(people), REMEDY)


def _found(mapping: AttributeMapping, *, adopts: bool) -> Iterator[Warned]:
    """Warn of look-ups that find accounts which are managed here: Entra then updates them, and that is refused."""
    others = [target for target in mapping.matching if target in KINDS and target != EXTERNAL_ID]
    if not others:
        return
    names = " and ".join(others)
    if adopts:
        text = (
            f"{names} is matched by as well, so that Entra finds an existing account and updates it, which is refused"
        )
        yield Warned(
            "adoptNeverReached",
            f"{text}: adoptOnCreate links an account on a create alone",
            None,
            "Take every matching attribute but externalId away, or switch adoptOnCreate off and link by a run.",
        )
    elif not mapping.keyed:
        text = f"{names} finds accounts that are managed here, and every write to them is refused until they are linked"
        yield Warned("findsUnlinked", text, None, f"Link them with a run. {REMEDY}")


def _matching(mapping: AttributeMapping, people: People | None) -> Iterator[Warned]:
    """Warn of attributes that are matched by and find nobody."""
    for target in mapping.matching:
        source = mapping.attributes.get(target, "")
        if target not in KINDS:
            text = f"{target} is matched by, but no index answers it: every look-up scans, or is refused"
            yield Warned("keyNotIndexed", text, None, f"Match by one of {', '.join(KINDS)}.")
        elif not source:
            text = f"{target} is matched by, but nothing feeds it: it is never sent"
            yield Warned("keyNotSent", text, _total(people), f"Give {target} a source, or no precedence.")
        elif source == ANY:
            text = f"{target} is matched by and comes from an expression, which predictions do not evaluate"
            yield Warned("keyNotRead", text, _total(people), "Provision one person on demand and compare.")
        elif people and people.total and target != EXTERNAL_ID and not people.count(f"{target}={source}"):
            text = f"{target} is matched by, but no account's {target} is its person's {source}"
            yield Warned("keyNobodyCarries", text, people.total, REMEDY)
    if not mapping.attributes.get(USER_NAME):
        text = "nothing feeds userName: every create is refused"
        yield Warned("userNameMissing", text, None, "Map userPrincipalName to userName.")


def _others(mapping: AttributeMapping, people: People | None) -> Iterator[Warned]:
    """Warn of what goes wrong after the first cycle, with people who leave and people who come."""
    everybody = _total(people)
    expression = mapping.expressions.get(ACTIVE, "")
    standard = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
    if ACTIVE not in mapping.attributes or not mapping.attributes[ACTIVE]:
        text = f"nothing feeds active: {_number(everybody)} would keep their access when they leave"
        yield Warned("activeMissing", text, everybody, f"Map {standard} to active.")
    elif turned_round(expression):
        text = f"active is turned round: {_number(everybody)} would be deactivated"
        yield Warned("activeTurnedRound", text, everybody, f"Map {standard} to active.")
    elif expression and "issoftdeleted" not in expression.lower():
        text = f"active does not follow IsSoftDeleted: {_number(everybody)} may keep their access when they leave scope"
        yield Warned("activeIgnoresScope", text, everybody, f"Map {standard} to active.")
    if not mapping.creates:
        yield Warned("createsAreOff", "the job creates nobody", None, "Add the action Create, if people are to come.")


def _source(mapping: AttributeMapping) -> str:
    source = mapping.attributes.get(EXTERNAL_ID)
    return "nothing" if not source else "an expression" if source == ANY else source


def _total(people: People | None) -> int | None:
    return people.total if people else None


def _number(people: int | None) -> str:
    return "people" if people is None else "1 person" if people == 1 else f"{people:,} people"


def _all(people: int | None) -> str:
    return "everybody would get a" if people is None else f"{people:,} people would get a"
