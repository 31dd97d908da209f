"""What the pages about the rows of a plan have in common: a row, what may be done about it, and its review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from link_orchestrator import words
from link_orchestrator.portal.page import Asked
from link_orchestrator.portal.pages.of_run import Document
from link_orchestrator.portal.remedies import DECIDED, NAMED_HERE
from link_orchestrator.words import Bar
from shared.scim.errors import InvalidValue

CONDITIONS: Final = (
    "decision", "reviewed", "rule", "evidence", "domain", "department", "warning", "changes", "predicted", "score",
    "parted", "linked",
)  # fmt: skip
"""Query parameters by which the API chooses rows."""
LINKABLE: Final = ("review", "outsideVerifiedDomains")
EXCLUDABLE: Final = ("link", "review", "ambiguous", "conflict", "outsideVerifiedDomains")
NAMEABLE: Final = ("review", "ambiguous", "outsideVerifiedDomains", "noAccount")
"""Decisions on rows that a review may link, exclude, or give another account. The API judges each once more."""
RULES: Final = (
    "externalId", "signInObjectId", "nameId", "userName", "verifiedEmail", "mail", "email", "employeeNumber",
    "mailNickname", "onPremisesSamAccountName", "transformedName", "transformedMail",
)  # fmt: skip
DONE: Final[Mapping[str, str]] = {
    "link": "It is linked with the run, once that is approved.",
    "exclude": "It stays out of this run. To take that back, leave it as planned.",
    "acknowledge": "That you have seen the warning is noted. The row stays a link.",
    "leave": "It stays as the plan has it.",
    "filed": "The file was taken, whole.",
    "all": "All of them are decided as you said. To take that back, leave all of them as planned.",
    "none": "Nothing was ticked, so nothing was decided.",
}


class NotTaken(NamedTuple):
    """A row or a line of a file that was not reviewed, and why."""

    which: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a plan as the API shows it, and what may be done about it."""

    document: Document
    open: bool = True
    """Whether the run still takes reviews."""

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def decision(self) -> str:
        return str(self.document["decision"])

    @property
    def taken_back(self) -> Bar:
        """How an undo took its link back."""
        outcome = str(self.document.get("undone", "")).partition(" ")[0]
        return {**words.UNDONE, **words.UNDONE_GROUPS}.get(outcome, words.UNDONE["undone"])

    @property
    def person(self) -> Document:
        """Who it is in Entra, or the group there; empty for nobody."""
        found: Document = self.document.get("identity") or self.document.get("entraGroup") or {}
        return found

    @property
    def account(self) -> Document:
        """The account here, or the group; of a reviewed row the one that the person named. Empty for none."""
        chosen = self.review.get("account")
        if "version" in self.review:
            return {"id": chosen, **self.review}
        candidates = (one for one in self.document.get("candidates", ()) if one["id"] == chosen)
        own: Document = self.document.get("account") or self.document.get("group") or {}
        return next(candidates, own)

    @property
    def changes(self) -> Document:
        """What the first provisioning cycle changes of that account; empty where it is not foretold."""
        found: Document = self.account.get("changes") or self.document.get("changes") or {}
        return found

    @property
    def likeliest(self) -> tuple[str, float] | None:
        """The counterpart that is suggested first, with its score; None for none."""
        if not (some := self.document.get("suggestions")):
            return None
        who = some[0].get("account") or some[0].get("identity")
        return who.get("userName") or who.get("userPrincipalName"), some[0]["score"]

    @property
    def candidates(self) -> Sequence[str]:
        """Ids of the accounts that match, of which a person names one."""
        return [one["id"] for one in self.document.get("candidates", ())]

    @property
    def name(self) -> str:
        """What the row is called where it is spoken of."""
        value = self.document.get("value", {}).get("value")
        person, account = self.person, self.account
        known = (person.get("userPrincipalName"), person.get("displayName"), account.get("userName"))
        return next((str(one) for one in (*known, account.get("displayName"), value) if one), self.id)

    @property
    def review(self) -> Document:
        """What a person decided about it; empty where nobody did, or took it back."""
        found: Document = self.document.get("review", {})
        return found if found.get("action", "leave") != "leave" else {}

    @property
    def is_to_link(self) -> bool:
        """Whether an approval links it, as it was planned and decided, and none has yet."""
        action = self.review.get("action")
        return "outcome" not in self.document and (
            action == "link" or (self.decision == "link" and action != "exclude")
        )

    @property
    def seen(self) -> str:
        """What a form sends to say which decision about the row its page showed."""
        return f"{self.id} {self.document.get('review', {}).get('at', '')}"

    @property
    def remedy(self) -> str:
        """What would make it a link."""
        here = NAMED_HERE.get(self.decision) if self.changeable else None
        return here or DECIDED.get(self.decision, str(self.document.get("remedy", "")))

    @property
    def rules(self) -> Sequence[str]:
        return list(dict.fromkeys(one["rule"] for one in self.document.get("evidence", ())))

    @property
    def changeable(self) -> bool:
        return self.open and "outcome" not in self.document

    @property
    def may_link(self) -> bool:
        return self.changeable and self.decision in LINKABLE and self.review.get("action") != "link"

    @property
    def may_exclude(self) -> bool:
        return self.changeable and self.decision in EXCLUDABLE and self.review.get("action") != "exclude"

    @property
    def may_acknowledge(self) -> bool:
        warned = self.decision == "link" and bool(self.document.get("warnings"))
        return self.changeable and warned and self.review.get("action") != "acknowledge"

    @property
    def may_leave(self) -> bool:
        return self.changeable and bool(self.review)

    @property
    def may_name(self) -> bool:
        return self.changeable and self.decision in NAMEABLE

    @property
    def may_choose(self) -> bool:
        """Whether it is linked only with an account that the person names."""
        return self.may_name and self.decision not in LINKABLE

    @property
    def may_decide(self) -> bool:
        """Whether its box is of use."""
        return self.changeable and (self.decision in EXCLUDABLE or self.may_leave)


def refuse_unseen(asked: Asked, rows: Mapping[str, Row], body: Mapping[str, Any]) -> None:
    """Raise InvalidValue where somebody decided otherwise about a row of a review since the form was shown.

    `rows` are as they are now, by id. One that is not there was decided about, on a page of those that were not.
    """
    if "seen" not in asked.form:
        return
    shown = asked.form.all("seen")
    for row in map(rows.get, body["rows"]):
        if row is None:
            raise InvalidValue("since the page was shown, somebody decided about one of these rows: look at them again")
        made = row.document.get("review", {})
        same = body.keys() == {"rows", "action"} and made.get("action") == body["action"] and "version" not in made
        if row.seen not in shown and not same:
            who = made.get("person") or made.get("by", "somebody")
            raise InvalidValue(
                f"since the page was shown, {who} decided about {row.name}: look at what it says now, then decide"
            )


def conditions(asked: Asked) -> dict[str, str]:
    """Return the conditions of the address, without those that say nothing."""
    return {name: value for name in CONDITIONS if (value := asked.query.get(name, "").strip())}


def looked_for(asked: Asked) -> dict[str, str]:
    """Return the conditions of the address, and the name that is looked for: lists go by it, and no review does."""
    find = asked.query.get("find", "").strip()
    return {**({"find": find} if find else {}), **conditions(asked)}


async def review(asked: Asked, body: Mapping[str, Any]) -> Any:
    """Send a review, and return the answer."""
    return await asked.api.post("linking/runs/{id}/review", body, id=asked.path["id"])
