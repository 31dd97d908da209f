"""Identities: the users of the customer's Entra tenant, wherever they were read.

What an identity is matched on stands in matching/accounts.py. Attribute names are those of
https://learn.microsoft.com/graph/api/resources/user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the customer's Entra tenant. An attribute that has no value there is None or empty."""

    object_id: str
    user_principal_name: str
    mail: str | None = None
    proxy_addresses: tuple[str, ...] = ()
    """As Entra holds them, with their prefix: `SMTP:` the primary address, `smtp:` an alias, others are not e-mail."""
    other_mails: tuple[str, ...] = ()
    employee_id: str | None = None
    display_name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    mail_nickname: str | None = None
    job_title: str | None = None
    department: str | None = None
    account_enabled: bool = True
    user_type: str = "Member"
    on_premises_immutable_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the Graph form of the identity, without the attributes that have no value."""
        document: dict[str, Any] = {"id": self.object_id, "userPrincipalName": self.user_principal_name}
        for name, field in TEXTS:
            if value := getattr(self, field):
                document[name] = value
        if self.proxy_addresses:
            document["proxyAddresses"] = list(self.proxy_addresses)
        if self.other_mails:
            document["otherMails"] = list(self.other_mails)
        if not self.account_enabled:
            document["accountEnabled"] = False
        if self.user_type != "Member":
            document["userType"] = self.user_type
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Identity:
        """Return the identity that `to_json` wrote. Foreign documents are checked by link_orchestrator/files."""
        get = document.get
        return cls(
            object_id=document["id"],
            user_principal_name=document["userPrincipalName"],
            proxy_addresses=tuple(get("proxyAddresses", ())),
            other_mails=tuple(get("otherMails", ())),
            account_enabled=get("accountEnabled", True),
            user_type=get("userType", "Member"),
            **{field: get(name) for name, field in TEXTS},
        )


@dataclass(frozen=True, slots=True)
class Gone:
    """That an identity is in the tenant no more, or is none that can be used, though it was read before."""

    object_id: str

    def to_json(self) -> dict[str, Any]:
        """Return what stands for the identity among others; is_gone() knows it, also as a line."""
        return {"id": self.object_id, _REMOVED: True}


def is_gone(line: str) -> bool:
    """Tell whether the JSON text of an identity is that of one who is gone. No text of an attribute ends so."""
    return line.endswith(f'"{_REMOVED}":true}}')


_REMOVED: Final = "@removed"

TEXTS: Final = (
    ("mail", "mail"),
    ("employeeId", "employee_id"),
    ("displayName", "display_name"),
    ("givenName", "given_name"),
    ("surname", "surname"),
    ("mailNickname", "mail_nickname"),
    ("jobTitle", "job_title"),
    ("department", "department"),
    ("onPremisesImmutableId", "on_premises_immutable_id"),
)
"""The attributes that hold one text or none, with their fields here."""
