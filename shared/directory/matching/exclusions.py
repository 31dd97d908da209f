"""Whom a policy leaves out: identities by pattern, domain, group or type beside those it names; accounts set aside.

Each is decided by what the identity itself says; a group's members are what a run's source knows of it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from shared.directory.keys import fold
from shared.directory.matching.domains import domain_of, to_ascii
from shared.directory.matching.entries import refuse_twice, refuse_unseen
from shared.directory.matching.identity import Identity
from shared.directory.object_ids import compared_id, read_object_id
from shared.directory.text import Advice

ATTRIBUTE: Final = "excluded"
SET_ASIDE: Final = "setAside"
MAX_PATTERN: Final = 256
"""Characters of a pattern, at most."""
MOST_CRITERIA: Final = 200
"""Entries of a policy that are no names, at most: each is held against every identity."""

_GUEST: Final = "#ext#"
"""What Entra puts into the user principal name of a guest, in small letters."""
_SERVICE_WORDS = "svc srv service sa app bot robot daemon noreply batch sync backup scan scanner printer test kiosk"
_SERVICE: Final = frozenset(_SERVICE_WORDS.split())
_MAILBOXES = "shared room equipment scheduling discovery group team legacy"
_SHARED_MAILBOXES: Final = frozenset(f"{kind}mailbox" for kind in _MAILBOXES.split())


def is_guest(identity: Identity) -> bool:
    """Tell whether a person belongs to another tenant: by userType, or by the name that Entra gives guests."""
    return identity.user_type.lower() == "guest" or _GUEST in identity.user_principal_name.lower()


def is_shared_mailbox(identity: Identity) -> bool:
    """Tell whether Exchange's RecipientTypeDetails, which only a file can have, is that of a mailbox of nobody's own.

    https://learn.microsoft.com/powershell/module/exchangepowershell/get-recipient. Microsoft Graph shows no such thing
    of a list of users.
    """
    return (identity.recipient_type or "").lower() in _SHARED_MAILBOXES


def is_service_account(identity: Identity) -> bool:
    """Tell whether an identity looks like no person's: without given name and surname, and named like a service."""
    words = re.split(r"[^a-z]+", fold(identity.user_principal_name).partition("@")[0])
    return not (identity.given_name or identity.surname) and not _SERVICE.isdisjoint(words)


TYPES: Final[Mapping[str, Callable[[Identity], bool]]] = {
    "guest": is_guest,
    "disabled": lambda identity: not identity.account_enabled,
    "sharedMailbox": is_shared_mailbox,
    "serviceAccount": is_service_account,
}
"""The types by which identities are excluded, each by what the data says."""


class Names(NamedTuple):
    """The names and addresses of somebody as criteria compare them: made once, since a policy may have 200 of these."""

    folded: tuple[str, ...]
    domains: frozenset[str]

    @classmethod
    def of(cls, *names: str | None) -> Self:
        """Return the names that are not empty."""
        known = [name for name in names if name]
        return cls(tuple(map(fold, known)), frozenset(map(domain_of, known)))


@dataclass(frozen=True, slots=True)
class Criterion:
    """An entry that may leave many out: its kind (pattern, domain, group or type) and value, compared folded.

    `create` says that provisioning may create whom it leaves out beside the accounts that they match.
    """

    kind: str
    value: str
    create: bool = False

    @property
    def label(self) -> str:
        """The name under which a run counts whom the entry left out."""
        return f"{self.kind}:{self.value}"

    def matches(self, identity: Identity, names: Names) -> bool:
        """Tell whether an identity of these names is one of those. Of a group only a run knows."""
        return TYPES[self.value](identity) if self.kind == "type" else self.matches_one_of(names)

    def matches_one_of(self, names: Names) -> bool:
        """Tell whether somebody of whom names alone are known is one of those; of the types names tell guests."""
        if self.kind == "pattern":
            return any(matches_pattern(self.value, name) for name in names.folded)
        if self.kind == "type":
            return self.value == "guest" and any(_GUEST in name for name in names.folded)
        return self.kind == "domain" and self.value in names.domains

    def to_json(self) -> dict[str, Any]:
        """Return the entry as the policy shows it."""
        return {self.kind: self.value} | ({"create": True} if self.create else {})


def matches_pattern(pattern: str, text: str) -> bool:
    """Tell whether a text is as a pattern says, in which `*` is any text and nothing else is special.

    Each piece between two stars is looked for once, from where the one before ended: no pattern takes long.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        at = text.find(piece, at, end)
        if at == -1:
            return False
        at += len(piece)
    return True


def read_excluded(value: object) -> tuple[frozenset[str], frozenset[str], tuple[Criterion, ...]]:
    """Return who is excluded by id or name, who of them may be created, and the criteria that leave others out.

    Raises ValueError saying what an entry may be.
    """
    everybody: dict[str, bool] = {}
    criteria: dict[tuple[str, str], Criterion] = {}
    for number, item in enumerate(value if isinstance(value, list) else [None]):
        kind, text, create = _entry(item)
        if kind == "identity":
            everybody[text] = create
        else:
            one = Criterion(kind, _value_of(number, kind, text), create)
            criteria[one.kind, one.value] = one
    if len(criteria) > MOST_CRITERIA:
        raise ValueError(f"{ATTRIBUTE}: has more than {MOST_CRITERIA} patterns, domains, groups and types")
    creatable = frozenset(one for one, create in everybody.items() if create)
    return frozenset(everybody), creatable, tuple(criteria[key] for key in sorted(criteria))


def _entry(item: object) -> tuple[str, str, bool]:
    """Return the kind of an entry, its value, and whether it lets create."""
    if isinstance(item, str):
        return "identity", item, False
    if isinstance(item, Mapping):
        create, named = item.get("create", False), [name for name in item if name != "create"]
        if isinstance(create, bool) and len(named) == 1 and named[0] in _KINDS and isinstance(item[named[0]], str):
            return named[0], item[named[0]], create
    raise ValueError(
        f'{ATTRIBUTE}: must be a list of strings, or of objects like {{"identity": "…", "create": true}}, '
        '{"pattern": "svc-*"}, {"domain": "partner.example"}, {"group": "<object id>"} or {"type": "guest"}'
    )


_KINDS: Final = ("identity", "pattern", "domain", "group", "type")


def check_excluded(value: object) -> None:
    """Raise ValueError for an entry by which nobody can be meant, and for two that are about the same.

    Every user principal name has an @ in it. A policy that is stored may have such an entry from an earlier version of
    the app, which it did nothing for.
    """
    items = value if isinstance(value, list) else []
    for number, item in enumerate(items):
        _check_entry(number, item)
    refuse_twice(ATTRIBUTE, (_compared(number, *_entry(item)) for number, item in enumerate(items)))


def _check_entry(number: int, item: object) -> None:
    """Raise ValueError for an entry by which nobody can be meant."""
    kind, text, _ = _entry(item)
    if not read_object_id(text):
        refuse_unseen(f"{ATTRIBUTE}.{number}", text)
    if kind != "identity":
        _value_of(number, kind, text)
    elif not read_object_id(text) and "@" not in fold(text):
        raise ValueError(
            Advice(
                f"{ATTRIBUTE}.{number}: is neither an object id nor a user principal name, and so excludes nobody:",
                'name a person by one of these, or say what it is, like {"pattern": "svc-*"}',
                "excludesNobody",
            )
        )


def objections(document: Mapping[str, Any]) -> Iterator[str | Advice]:
    """Yield what is wrong with each entry of a policy by which nobody, or everybody, would be left out or set aside."""
    for attribute, check in ((ATTRIBUTE, _check_entry), (SET_ASIDE, _check_aside)):
        entries = document.get(attribute)
        for number, item in enumerate(entries if isinstance(entries, list) else ()):
            try:
                check(number, item)
            except ValueError as error:
                yield error.args[0]


def _check_aside(number: int, item: object) -> None:
    """Raise ValueError for an account that nobody can be meant by. What is no text is refused with the whole list."""
    if isinstance(item, str):
        refuse_unseen(f"{SET_ASIDE}.{number}", item)
        if "*" in fold(item):
            check_pattern(f"{SET_ASIDE}.{number}", item)


def _value_of(number: int, kind: str, text: str) -> str:
    """Return the value of a criterion in the form in which it is compared. Raises ValueError with the remedy."""
    where = f"{ATTRIBUTE}.{number}.{kind}"
    if kind == "pattern":
        return check_pattern(where, text)
    if kind == "domain":
        if domain := to_ascii(text.strip()):
            return domain
        raise ValueError(f"{where}: must be a domain like partner.example, without @ and *")
    if kind == "group":
        if group := read_object_id(text):
            return group
        raise ValueError(f"{where}: must be the object id of a group in Entra, a GUID; not its name")
    if text in TYPES:
        return text
    raise ValueError(f"{where}: must be one of {', '.join(TYPES)}")


def check_pattern(where: str, text: str) -> str:
    """Return a pattern in the form in which it is compared. Raises ValueError for one that leaves everybody out."""
    pattern = re.sub(r"\*+", "*", fold(text))
    if not pattern.strip("*@. "):
        raise ValueError(f"{where}: leaves everybody out: name a part of the names that are meant, like svc-*")
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"{where}: has more than {MAX_PATTERN} characters")
    return pattern


def read_set_aside(value: object) -> frozenset[str]:
    """Return which accounts are set aside: ids, userNames, and patterns with a `*`. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ValueError(
            f'{SET_ASIDE}: must be a list of account ids, userNames, or patterns of these like "*@partner.example"'
        )
    found = frozenset(
        check_pattern(f"{SET_ASIDE}.{n}", one) if "*" in fold(one) else fold(one) for n, one in enumerate(value)
    )
    if sum("*" in one for one in found) > MOST_CRITERIA:
        raise ValueError(f"{SET_ASIDE}: has more than {MOST_CRITERIA} patterns")
    return found


def patterns_in(entries: Iterable[str]) -> tuple[str, ...]:
    """Return those of some folded entries that are patterns."""
    return tuple(sorted(one for one in entries if "*" in one))


def _compared(number: int, kind: str, text: str, create: bool) -> tuple[tuple[str, str], bool]:
    """Return what an entry is about, as it is compared, and whether it lets create."""
    return (kind, compared_id(text) if kind == "identity" else _value_of(number, kind, text)), create


def check_set_aside(value: object) -> None:
    """Raise ValueError for an account that is named twice, and for a name that has what nobody sees in it."""
    items = value if isinstance(value, list) else []
    for number, item in enumerate(items):
        refuse_unseen(f"{SET_ASIDE}.{number}", item)
    refuse_twice(SET_ASIDE, ((re.sub(r"\*+", "*", fold(item)), True) for item in items))
