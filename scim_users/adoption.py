"""When a SCIM write to an account that is managed here links it: exactly when a linking run would.

An identity is known as far as provisioning has shown it: by the write itself, and by the look-ups that found the
account before, since Entra matches by filter and then sends only what differs. What the last plan left to the
administrator stays with the administrator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.directory.directory import Directory
from shared.directory.errors import Refused
from shared.directory.keys import Key
from shared.directory.matching.accounts import Decision, facts_of, identity_keys
from shared.directory.matching.authority import KEPT_FROM_SCIM, LEFT_OPEN, decide_alone
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import ENTERPRISE, Account, Status
from shared.directory.text import dump, timestamp
from shared.tables.port import Upsert

LOOKED_UP = "l_"
"""Row key prefix, in an account's partition, of the look-ups that found it."""
FRESH = timedelta(hours=24)
"""Time for which a look-up tells what the identity's matching attribute holds: Entra writes minutes after it."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What provisioning showed of an identity; None or empty where it did not."""

    external_id: str | None = None
    user_name: str | None = None
    emails: tuple[str, ...] = ()
    employee_number: str | None = None


def presented(document: Mapping[str, Any]) -> Presented:
    """Return what a document, or the part of one that a write touched, shows of an identity."""
    emails = tuple(email["value"] for email in document.get("emails", ()) if email.get("value"))
    number = document.get(ENTERPRISE, {}).get("employeeNumber")
    return Presented(document.get("externalId"), document.get("userName"), emails, number)


async def remember_look_up(directory: Directory, account: Account, key: Key) -> None:
    """Keep that provisioning found an account by a key: its identity has this value in the matching attribute."""
    if account.status is not Status.LOCAL or account.protected:
        return
    kept = await _look_ups(directory, account)
    if kept.get(key.kind, {}).get("value") == key.value:
        return
    kept[key.kind] = {"value": key.value, "at": timestamp()}
    partition = directory.keys.home(account.id)
    await directory.tables.commit(partition, [Upsert(LOOKED_UP + account.id, {"keys": dump(kept)})])


async def decide_adoption(directory: Directory, account: Account, shown: Presented, policy: Policy) -> Decision:
    """Return the decision on the identity that writes to a local account. Raises Refused if it has no externalId."""
    if not shown.external_id:
        raise Refused(
            "externalId: this account is managed here; it can only be linked by a write that carries its identity: "
            "map objectId to externalId in the provisioning attribute mapping, or link it with a linking run"
        )
    await refuse_left_open(directory, shown.external_id, KEPT_FROM_SCIM)
    known = {kind: look_up["value"] for kind, look_up in (await _look_ups(directory, account)).items()}
    emails = (*shown.emails, *((known["email"],) if "email" in known else ()))
    identity = Identity(
        object_id=shown.external_id,
        user_principal_name=shown.user_name or known.get("userName", ""),
        mail=emails[0] if emails else None,
        other_mails=emails[1:],
        employee_id=shown.employee_number or known.get("employeeNumber"),
    )
    accounts: dict[str, Account] = {}
    for key in dict.fromkeys(Key(key.kind, key.value) for key in identity_keys(identity, policy)):
        accounts |= {account.id: account for account in await directory.accounts.list_by(key)}
    return decide_alone(identity, map(facts_of, accounts.values()), policy)


async def refuse_left_open(directory: Directory, object_id: str, decisions: Sequence[str] = LEFT_OPEN) -> None:
    """Raise Refused if the last plan left an identity to the administrator: a run sees rivals and aliases, SCIM not."""
    found = await directory.left_open.find(object_id)
    if found and found[1] in decisions:
        raise Refused(f"the linking run {found[0]} left this person to an administrator ({found[1]}): settle it first")


async def _look_ups(directory: Directory, account: Account) -> dict[str, dict[str, str]]:
    """Return the fresh look-ups of an account: value and time, by the kind of key."""
    row = await directory.tables.get(directory.keys.home(account.id), LOOKED_UP + account.id)
    known: dict[str, dict[str, str]] = json.loads(str(row.columns["keys"])) if row else {}
    since = datetime.now(UTC) - FRESH
    return {kind: look_up for kind, look_up in known.items() if datetime.fromisoformat(look_up["at"]) > since}
