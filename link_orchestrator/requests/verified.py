"""The rows of a verification as they are shown: why the run linked each, by its plan, and what to do next.

The verification's own row names the plan's. So a million links have one reason each, and not another with every
verification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from link_orchestrator.passes.verify import ALIKE, CREATED, UNCONFIRMED, UNLINKED
from link_orchestrator.requests.explained import explained
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow

PRECEDENCE: Final = "in Entra, map objectId to externalId with matching precedence 1"
"""What makes Entra's first look-up find a linked account."""
FIND_OUT: Final = (
    "Once Entra's first cycle is completed, verify again. If it still waits, provision this person on demand in Entra: "
    "that shows why."
)
"""What to do about a link that Entra is expected to find."""
NEXT: Final[Mapping[str, str]] = {
    "skipped": "If they are to have the account, enable and assign them in Entra. If they have left, deactivate the "
    "account here, or release it.",
    "refused": f"Settle that, or correct the mapping: {PRECEDENCE}. Then provision this person on demand.",
    "created": f"Stop provisioning before it creates a second account, and correct the mapping: {PRECEDENCE}.",
}
"""What to do about a link that Entra is not expected to find, by what the plan predicted of it."""
REMEDIES: Final[Mapping[str, str]] = {
    CREATED: f"Stop provisioning, and {PRECEDENCE}. Release and delete the new account here, and restart provisioning: "
    "its next cycle finds the account from before.",
    ALIKE: "Compare the two. Two people keep theirs: then there is nothing to do. Of one person's two, in this order: "
    "stop provisioning in Entra; here, release the new account, and delete it; link the one from before by hand with "
    "the person's object id; restart provisioning. An object id is linked with one account at a time.",
    UNLINKED: "Nothing in Entra. If the two are to be linked again, make another plan, and link them in a review.",
}
"""What to do about what else a verification finds."""


async def told(directory: Directory, verification: Job, rows: Sequence[PlanRow]) -> list[dict[str, Any]]:
    """Return rows of a verification as the API shows them; without a reason where the plan's row is gone."""
    run = verification.options["run"]
    planned = await reviews_of(directory, run).find_rows([str(row.shown.get("row", "")) for row in rows])
    return [_told(row, plan) for row, plan in zip(rows, planned, strict=True)]


def _told(row: PlanRow, planned: PlanRow | None) -> dict[str, Any]:
    because = _because(planned) if planned else {}
    shown: dict[str, Any] = {"found": row.decision, **because, **row.shown}
    remedy = _next(shown.get("predicted", {})) if row.decision == UNCONFIRMED else REMEDIES.get(row.decision, "")
    return shown | ({"remedy": remedy} if remedy else {})


def _because(planned: PlanRow) -> dict[str, Any]:
    """Return what the plan's row says of why the two were linked, and of what became of that."""
    document = explained(planned.to_json())
    names = ("reason", "evidence", "predicted", "review", "undone")
    return {name: document[name] for name in names if name in document}


def _next(predicted: Mapping[str, Any]) -> str:
    """Return what to do about a link that provisioning has not come through."""
    then = NEXT.get(str(predicted.get("outcome")))
    return f"The plan expected: {predicted['why']} {then}" if then else FIND_OUT
