"""Identities: the users of the customer's Entra tenant, from whatever source.

How an identity is matched is in accounts.py. Attribute names are those of
https://learn.microsoft.com/graph/api/resources/user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


class Identity(NamedTuple):
    """A user of the customer's Entra tenant. An attribute that has no value there is None or empty."""

    object_id: str
    user_principal_name: str
    mail: str | None = None
    proxy_addresses: tuple[str, ...] = ()
    """As Entra has them: `SMTP:` begins the primary address, `smtp:` an alias, and others are no e-mail addresses."""
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
    on_premises_sam_account_name: str | None = None
    recipient_type: str | None = None
    """Exchange's RecipientTypeDetails, such as SharedMailbox. Only files have it."""

    def to_json(self) -> dict[str, Any]:
        """Return the Graph form of the identity, without the attributes that have no value."""
        document: dict[str, Any] = {"id": self.object_id, "userPrincipalName": self.user_principal_name}
        for name, field in (*TEXTS, *FILE_TEXTS):
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
            **{field: get(name) for name, field in (*TEXTS, *FILE_TEXTS)},
        )


@dataclass(frozen=True, slots=True)
class Gone:
    """That an identity which was read before is no longer in the tenant, or can no longer be used."""

    object_id: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object in the place of the identity's; is_gone() knows its text."""
        return {"id": self.object_id, _REMOVED: True}


def is_gone(line: str) -> bool:
    """Tell whether a JSON text is that of an identity that is gone; no other identity's ends so."""
    return line.endswith(f'"{_REMOVED}":true}}')


def void(object_id: str) -> dict[str, Any]:
    """Return the JSON object which says that an identity is not to be used, since two rows contradict each other."""
    return {"id": object_id, _VOID: True}


def is_void(line: str) -> bool:
    """Tell whether a JSON text is one that void() returned; no identity's ends so."""
    return line.endswith(f'"{_VOID}":true}}')


_REMOVED: Final = "@removed"
_VOID: Final = "@void"

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
    ("onPremisesSamAccountName", "on_premises_sam_account_name"),
)
"""Attributes of one text or none, each with its field here."""
FILE_TEXTS: Final = (("recipientTypeDetails", "recipient_type"),)
"""Such attributes that Microsoft Graph does not show of a user."""
