"""Which rows of a plan a request is about: the same filter for a list, a review and a pilot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from link_orchestrator.prediction.impact import Impact
from link_orchestrator.run import LINKED, is_parted_row, mapping_of
from link_orchestrator.warnings import DISABLED
from shared.admin.body import Body
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.domains import domain_of, to_ascii
from shared.directory.matching.policy import Rule
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import EXCLUDE, LEAVE, LINK, account_chosen
from shared.scim.endpoint import Request
from shared.scim.errors import InvalidValue

Evidence = Literal["mail", "alias", "otherMails", "userPrincipalName"]
ATTRIBUTES: Final = {"alias": "proxyAddresses"}
"""What the evidence of a plan's row calls an attribute of the identity, where that has another name here."""
Warned = Literal["inactive", "disabled", "unassigned"]
Predicted = Literal["matched", "created", "refused", "skipped", "second"]
ANY_CHANGE: Final = "any"
"""What asks for every row of which anything changes."""
Text = Annotated[str, Field(max_length=1_000)]
"""A text that every row is compared with."""


class Filter(Body):
    """Conditions that a row meets."""

    rule: Rule | None = None
    """A match rule that is among the row's evidence."""
    evidence: Evidence | None = None
    """The attribute of the identity that alone, of its addresses, is among the row's evidence."""
    domain: Text | None = None
    """The domain of the identity's user principal name."""
    department: Text | None = None
    """The identity's department."""
    warning: Warned | None = None
    """A warning that the row has."""
    changes: Text | None = None
    """An attribute of the account that the first provisioning cycle changes; any for whichever."""
    predicted: Predicted | None = None
    """What the first provisioning cycle will do; second: create somebody whom an account matches."""
    reviewed: bool | None = None
    """Whether a person has decided about the row."""
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    """The least score that one of the row's suggestions has."""
    parted: bool | None = None
    """Whether an undo or a release took the pair apart, so that only a person joins the two again."""
    linked: bool | None = None
    """Whether the run has linked the row's account."""

    def selects(self, row: PlanRow) -> bool:
        """Tell whether a row meets the conditions."""
        identity, account = row.shown.get("identity", {}), account_chosen(row)
        evidence = row.shown.get("evidence", ())
        return (
            (self.rule is None or self.rule in {item["rule"] for item in evidence})
            and (self.evidence is None or self._rests_on(evidence))
            and (self.domain is None or _is_in(identity, self.domain))
            and (self.department is None or fold(identity.get("department") or "") == fold(self.department))
            and (self.warning is None or self.warning in account.get("warnings", ()))
            and (self.changes is None or self._changes(account.get("changes", ())))
            and (self.predicted is None or self._is_predicted(row.shown.get("predicted", {})))
            and (self.reviewed is None or self.reviewed is _is_reviewed(row))
            and (self.score is None or any(one["score"] >= self.score for one in row.suggestions))
            and (self.parted is None or self.parted is is_parted_row(row))
            and (self.linked is None or self.linked is _is_linked(row))
        )

    @property
    def asks_for_reviews_alone(self) -> bool:
        """Whether a row's review says whether it meets the conditions."""
        return not self.model_fields_set - {"reviewed", "decision"}

    def selects_among(self, decision: str) -> Callable[[PlanRow], bool]:
        """Return what tells whether a row is listed where a request names a decision, "" for none.

        Who asks for a warning or for changes, and for no decision, means links. Whoever is disabled in Entra is none.
        """
        of_links = not decision and (self.warning not in (None, DISABLED) or self.changes)
        return (lambda row: _is_link(row) and self.selects(row)) if of_links else self.selects

    def _is_predicted(self, predicted: Mapping[str, Any]) -> bool:
        return bool(
            predicted.get("second") if self.predicted == "second" else predicted.get("outcome") == self.predicted
        )

    def _changes(self, changed: Collection[str]) -> bool:
        wanted = fold(self.changes or "")
        return bool(changed) if wanted == ANY_CHANGE else wanted in map(fold, changed)

    def _rests_on(self, evidence: Any) -> bool:
        names = {item["attribute"] for item in evidence}
        addresses = {ATTRIBUTES.get(one, one) for one in get_args(Evidence)}
        return names & addresses == {ATTRIBUTES.get(self.evidence or "", self.evidence)}


class Selection(Filter):
    """The rows of one decision that meet every condition given."""

    decision: DecisionKind


CONDITIONS: Final = tuple(Filter.model_fields)
"""Conditions by the names of their query parameters."""


def read_filter(request: Request) -> Filter | None:
    """Return the conditions that a request names as query parameters, None for none.

    Raises ValidationError, which names the parameter.
    """
    asked = {name: value for name in CONDITIONS if (value := request.params.get(name))}
    return Filter.model_validate(asked) if asked else None


def _is_link(row: PlanRow) -> bool:
    """Tell whether a row links an account, or is of one that was linked before: the rows that a run's impact counts."""
    if (action := (row.review or {}).get("action")) in (LINK, EXCLUDE):
        return bool(action == LINK)
    return row.decision in (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)


def _is_linked(row: PlanRow) -> bool:
    """Tell whether the run has linked an account by a row; a group that it linked is none."""
    return row.outcome == LINKED and "identity" in row.shown


def _is_reviewed(row: PlanRow) -> bool:
    """Tell whether a person has decided about a row; who took that back has decided nothing."""
    return bool((row.review or {}).get("action", LEAVE) != LEAVE)


def refuse_unsent(wanted: Filter, run: Job) -> None:
    """Raise InvalidValue for the change of an attribute that provisioning does not send, by the mapping of a run."""
    sent = Impact(mapping_of(run)).names
    if wanted.changes and fold(wanted.changes) not in map(fold, (ANY_CHANGE, *sent)):
        raise InvalidValue(f"changes: the mapping of the run sends no such attribute: one of {', '.join(sent)}, or any")


def _is_in(identity: Mapping[str, Any], domain: str) -> bool:
    """Tell whether the user principal name of an identity is in a domain, which may have an @ before it."""
    wanted = to_ascii(domain.strip().removeprefix("@"))
    return wanted is not None and domain_of(str(identity.get("userPrincipalName", ""))) == wanted
