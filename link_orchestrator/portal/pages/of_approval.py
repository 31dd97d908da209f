"""What the pages of an approval and of a pilot have in common: the warnings seen, a number typed, what is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, SeeOther
from link_orchestrator.portal.pages.of_plan import Row
from link_orchestrator.portal.pages.of_run import Document, Run, Warned
from shared.scim.errors import InvalidValue

POLICY_CHANGED: Final = "policyChanged"
"""Code of the warning that the directory's policy is another than the plan's."""
MOST_LOOKED_AT: Final = 5_000
"""Links of a plan that are held against the policy with the page, in a tenth of a second; of more by a press."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What the pages of an approval and of a pilot show."""

    run: Run
    seen: Collection[str] = ()
    """Warnings whose boxes are ticked."""
    left_out: Document | None = None
    """Links of the plan that the policy would refuse by now, as the API counts them; None where that was not asked."""
    decided: Document | None = None
    """What was decided about rows since the page was opened that was sent; None for nothing."""
    approvals: Sequence[Document] = ()
    """Pilots that were approved since then."""

    @property
    def open(self) -> Sequence[Warned]:
        return self.run.to_acknowledge

    @property
    def known(self) -> Sequence[Warned]:
        """Warnings that need no box any more."""
        return [one for one in self.run.warnings if one not in self.open]

    @property
    def may_leave_out(self) -> bool:
        """Whether the policy may leave out more than when the plan was made, and that was not counted."""
        return self.left_out is None and any(one.document["code"] == POLICY_CHANGED for one in self.run.warnings)

    @property
    def decided_rows(self) -> Sequence[Row]:
        """The rows about which somebody decided since then, the latest first."""
        return [Row(one) for one in (self.decided or {}).get("rows", ())]

    @property
    def policy_leaves_out_more(self) -> bool:
        """Whether somebody was excluded, or an account set aside, since the plan was made."""
        return any((self.left_out or {}).get("entries", {}).values())

    @property
    def refused(self) -> int:
        """How many links of the plan would be refused for that."""
        return sum((self.left_out or {}).get("refused", {}).values())

    @property
    def refused_rows(self) -> Sequence[Row]:
        """The first of them."""
        return [Row(one["row"]) for one in (self.left_out or {}).get("rows", ())]


async def read(asked: Asked) -> Approval:
    """Return what the page shows, with what was ticked."""
    run = await Run.read(asked)
    counts = run.waits and (run.links <= MOST_LOOKED_AT or asked.query.get("count") == "yes")
    left_out = await asked.api.get("linking/runs/{id}/left-out", id=run.id) if counts else None
    seen, known = digits(asked.form["reviews"]), digits(asked.form["approvals"])
    anew = run.waits and seen is not None and seen != run.reviews
    decided = await asked.api.get("linking/runs/{id}/decided", id=run.id, since=str(seen)) if anew else None
    approvals = run.approvals[known:] if known is not None else ()
    return Approval(run, asked.form.all("acknowledged"), left_out, decided, approvals)


def links_shown(asked: Asked, run: Run) -> int | None:
    """Return the number of links that the page showed; None where the plan is another by now, which the API says."""
    same = asked.form["reviews"] in ("", str(run.reviews)) and asked.form["approvals"] in ("", str(len(run.approvals)))
    return run.links if same else None


async def send(asked: Asked, body: Mapping[str, Any], said: str) -> Outcome:
    """Send an approval, with what the page showed of reviews and of provisioning, and go to the run."""
    # What was reviewed since the page was shown, nobody has looked at: as many links may be those of others.
    body = {**body, "reviews": digits(asked.form["reviews"])}
    # As it is ticked, whatever the run was started with.
    body["pauseProvisioning"] = asked.form["pauseProvisioning"] == "yes"
    await asked.api.post("linking/runs/{id}/approve", body, id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}", said)


def number(asked: Asked, name: str, expected: int | None = None) -> int:
    """Return the number that was typed. Raises InvalidValue for none, and for another than is expected."""
    typed = digits(asked.form[name])
    if typed is None or (expected is not None and typed != expected):
        told = "a number of people, 1 or more" if expected is None else f"type {expected:,}, the number of links shown"
        raise InvalidValue(f"{name}: {told}")
    return typed


def acknowledged(asked: Asked, run: Run) -> list[dict[str, str]]:
    """Return the warnings that were ticked, each as it was seen. Raises InvalidValue if one is left out."""
    ticked = [one.partition(" ") for one in asked.form.all("acknowledged")]
    codes = {code for code, _, _ in ticked}
    if any(one.document["code"] not in codes for one in run.to_acknowledge):
        raise InvalidValue("acknowledged: not every warning is ticked: look at each one first")
    return [{"code": code, "digest": digest} for code, _, digest in ticked]
