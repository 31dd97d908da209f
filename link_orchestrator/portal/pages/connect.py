"""Connect: what to enter in the Entra admin center, step by step, and whether provisioning came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_run import count_apart, why_stopped
from link_orchestrator.portal.remedies import WARNED
from link_orchestrator.prediction.mapping import ACTIVE, DEFAULT, EXTERNAL_ID, USER_NAME
from shared.scim.errors import InvalidSyntax, InvalidValue

Document = Mapping[str, Any]

MAIL: Final = "mail"
SOON: Final = 30
"""Days before its end from which a credential is said to end soon."""
SWITCH: Final = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
NAMES: Final = {
    "emails": 'emails[type eq "work"].value',
    "employeeNumber": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
}
"""Attributes whose name in the Entra admin center is another one than here."""

OTHERS: Final = (
    (
        (EXTERNAL_ID,),
        "Change it, as above: it comes from objectId. Do not delete it.",
    ),
    (
        (USER_NAME,),
        "Keep it, or change its source, as the next step says. Do not delete it: nobody could be created.",
    ),
    (
        (ACTIVE,),
        "Keep it: whoever leaves is deactivated by it. Its expression begins with Switch([IsSoftDeleted], …).",
    ),
    (
        ("displayName", "name.givenName", "name.familyName", "name.formatted", 'emails[type eq "work"].value'),
        "Keep them, unless the application's own values are to stay: then delete the mapping.",
    ),
    (
        ("title", "preferredLanguage", "phoneNumbers[…]", "addresses[…]", "…:User:department", "…:User:manager"),
        "Keep those whose values Entra has better than the application; delete the others, and what is here stays.",
    ),
    (
        ("…:User:employeeNumber",),
        "Keep it, if employee numbers are in Entra: later runs find people by it, too.",
    ),
)
"""What to do about the mappings that Entra makes by itself, by their targets.

https://learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups
"""


class Mapped(NamedTuple):
    """An attribute of the mapping: its name in the Entra admin center, what is asked for, and what is there."""

    target: str
    asked: str
    asked_precedence: int
    source: str
    precedence: int

    @property
    def is_choice(self) -> bool:
        """Whether it is another sign-in name than is asked for, of which the administrator has the choice."""
        return self.target == USER_NAME and bool(self.source) and not self.is_right

    @property
    def is_right(self) -> bool:
        """Whether it is as it is asked for. What expressions do is for the warnings."""
        return self.source == self.asked and (self.precedence == self.asked_precedence or self.asked_precedence != 1)


class Credential(NamedTuple):
    """A credential for provisioning: its name, its end and the days until then, and when it last came."""

    name: str
    expires: str | None
    days: int | None
    last_request: str | None
    last_write: str | None


@dataclass(frozen=True, slots=True)
class Connect:
    """What the page of the connection shows."""

    connection: Document
    mapping: Document
    graph: Document
    mapped: Sequence[Mapped]
    credentials: Sequence[Credential]
    name_id: str = "userPrincipalName"
    adopts: bool = False
    linked: int = 0
    """Accounts that the last run with links linked; 0 where provisioning is to stay off."""
    stopped: str = ""
    """Why provisioning stays stopped after an undo, "" where no undo says so."""
    switch: str = SWITCH
    others: Sequence[tuple[Sequence[str], str]] = OTHERS
    soon: int = SOON

    @property
    def to_correct(self) -> list[tuple[str, list[str]]]:
        """What to do about the mapping, each time with the warnings one after the other that it answers."""
        by_remedy = groupby(self.mapping["warnings"], lambda one: WARNED.get(one["code"], str(one["remedy"])))
        return [(remedy, [str(one["warning"]) for one in warnings]) for remedy, warnings in by_remedy]


async def show(asked: Asked) -> Outcome:
    """Show how provisioning is connected."""
    connection, mapping, sources, policy, directory, page = await asyncio.gather(
        asked.api.get("linking/connection"),
        asked.api.get("linking/mapping"),
        asked.api.get("linking/sources"),
        asked.api.get("directory/policy"),
        asked.api.get("directory", states=""),
        asked.api.get("linking/runs"),
    )
    latest, runs = directory["latest"], page["runs"]
    stopped = why_stopped(latest, runs, await count_apart(asked, latest, runs))
    return Shown(
        "connect.html",
        Connect(
            connection=connection,
            mapping=mapping,
            graph=sources["graph"],
            mapped=compare(mapping["mapping"], policy),
            name_id=policy["nameIdSource"],
            linked=0 if stopped else _linked(runs),
            stopped=stopped,
            adopts=bool(policy["adoptOnCreate"]),
            credentials=[_credential(one) for one in connection["credentials"]],
        ),
        untrue=("checked",) if mapping["warnings"] else (),
    )


def _linked(runs: Sequence[Document]) -> int:
    """Return how many accounts the last run linked that ended with links of which none was taken back; 0 for none."""
    made = (int(run["counts"].get("linked", 0)) for run in runs if "ended" in run and "takenBack" not in run)
    return next(filter(None, made), 0)


def compare(mapping: Document, policy: Document) -> list[Mapped]:
    """Return the attributes that the mapping is asked to have under a policy, beside what it has."""
    asked = {**DEFAULT.attributes, ACTIVE: SWITCH}
    if policy["nameIdSource"] == MAIL:
        asked[USER_NAME] = MAIL  # what people sign in by stays their name
    # An update of an account that a look-up finds is refused, and a create alone adopts it.
    matching = [one for one in DEFAULT.matching if one == EXTERNAL_ID or not policy["adoptOnCreate"]]
    return [
        Mapped(
            NAMES.get(target, target),
            source,
            _precedence(matching, target),
            _source(mapping, target),
            _precedence(mapping["matching"], target),
        )
        for target, source in asked.items()
    ]


def _source(mapping: Document, target: str) -> str:
    """Return what feeds an attribute, as the Entra admin center shows it; "" for nothing."""
    source = mapping["attributes"].get(target, "")
    if source != "?":
        return str(source)
    default = SWITCH if target == ACTIVE and not mapping.get("expressions") else "an expression"
    return str(mapping.get("expressions", {}).get(target, default))


def _precedence(matching: Sequence[str], target: str) -> int:
    return [*matching].index(target) + 1 if target in matching else 0


def _credential(one: Document) -> Credential:
    expires = one["expires"]
    days = (datetime.fromisoformat(expires) - datetime.now(UTC)).days if expires else None
    return Credential(one["name"], expires, days, one["lastRequest"], one["lastWrite"])


async def check_mapping(asked: Asked) -> Outcome:
    """Keep the provisioning schema that was downloaded in the Entra admin center, and check it."""
    file = asked.form.files.get("mapping")
    if file is None:
        raise InvalidValue("mapping: choose the file that you downloaded")
    try:
        await asked.api.post("linking/mapping", file.content)
    except InvalidSyntax as error:
        said = error.detail.replace("The body", "the file").replace("the body", "the file").rstrip(".")
        raise InvalidValue(f"mapping: {said}. Choose the schema as Entra gives it under Download") from None
    return SeeOther("connect", said="checked")


async def read_mapping(asked: Asked) -> Outcome:
    """Read the provisioning schema from Microsoft Graph, and check it."""
    job = asked.form["source.graph.job"].strip()
    named = {"servicePrincipal": asked.form["source.graph.servicePrincipal"].strip()}
    await asked.api.post("linking/mapping", {"source": {"graph": named | ({"job": job} if job else {})}})
    return SeeOther("connect", said="checked")


PAGES: Final = (
    Page(
        "connect",
        show,
        {"check": check_mapping, "read": read_mapping},
        label="Connect",
        notices={"checked": "The mapping is kept for plans from now on. Nothing is wrong with it."},
    ),
)
