"""All rows that conditions choose, decided at once: they are counted and named first, and decided by their number."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_plan import EXCLUDABLE, NotTaken, Row, conditions, review
from link_orchestrator.portal.pages.of_run import Document, Run
from shared.scim.errors import InvalidValue

AT_ONCE: Final = 1_000
"""Rows that the API takes in one request."""
SHOWN: Final = 10
"""Rows that are named."""
LEAVE: Final = "leave"
ACTIONS: Final[Mapping[str, Sequence[str]]] = {
    "link": ("review",),
    "exclude": EXCLUDABLE,
    LEAVE: EXCLUDABLE,
    "acknowledge": ("link",),
}
"""What may be said of all rows of a decision. Others that can be linked are looked at one by one."""


@dataclass(frozen=True, slots=True)
class AllRows:
    """What the page of a decision about all rows shows."""

    run: Run
    asked: Mapping[str, str]
    """The conditions, as the address of the decisions has them."""
    action: str
    rows: Sequence[Row]
    """The rows by their ids, as many as are decided by one press: that takes some seconds."""
    examples: Sequence[Row]
    """The first of them, as they are shown."""
    cursor: str
    """Where those begin that are looked through next, "" where all were."""
    at_first: bool
    """Whether the first rows of the plan are among those that were looked through."""
    not_taken: Sequence[NotTaken] = ()
    left_out: int = 0
    by_reason: Sequence[Document] = ()
    taken: int = 0

    @property
    def digest(self) -> str:
        """What a form sends to say which rows its page counted, and which decision about each it showed."""
        return hashlib.sha256("\n".join(row.seen for row in self.rows).encode()).hexdigest()[:32]


async def show(asked: Asked) -> Outcome:
    """Show how many rows there are, and the first of them."""
    return Shown("all_rows.html", await _read(asked))


async def _read(asked: Asked, **told: Any) -> AllRows:
    run, wanted, action = await Run.read(asked), conditions(asked), asked.query.get("action", "")
    if wanted.get("decision") not in ACTIONS.get(action, ()):
        raise InvalidValue("decision: choose rows of one decision, and what becomes of all of them, on the decisions")
    cursor = asked.query.get("cursor", "")
    # Whatever somebody decided stays as it is: they looked at the row.
    chosen = wanted | {"reviewed": "true" if action == LEAVE else "false"}
    page: Document = {"decisions": ()}
    if run.waits:
        path = "linking/runs/{id}/decisions"
        page = await asked.api.get(path, id=run.id, cursor=cursor, brief="true", **chosen)
    rows = [Row(one) for one in page["decisions"]]
    shown = await _find(asked, [row.id for row in rows[:SHOWN]])
    return AllRows(run, wanted, action, rows, shown, page.get("cursor", ""), not cursor, **told)


async def _find(asked: Asked, rows: Sequence[str]) -> list[Row]:
    """Return rows whole, by their ids."""
    path, run = "linking/runs/{id}/decisions/{row}", asked.path["id"]
    return [Row((await asked.api.get(path, id=run, row=row, identities="false"))["row"]) for row in rows]


async def decide(asked: Asked) -> Outcome:
    """Decide about all of them, if they are those that were counted."""
    view = await _read(asked)
    if asked.form["digest"] != view.digest:
        raise InvalidValue(
            "number: these are other rows than the page had shown, or somebody decided otherwise: look at them again"
        )
    if digits(asked.form["number"]) != len(view.rows):
        raise InvalidValue(f"number: type {len(view.rows):,}, the number of rows shown")
    more = {name: True for name in ("inPolicy", "create") if name in asked.form and view.action == "exclude"}
    taken, refused, reasons = 0, list[Document](), Counter[str]()
    for begin in range(0, len(view.rows), AT_ONCE):
        some = [row.id for row in view.rows[begin : begin + AT_ONCE]]
        answer = await review(asked, {"rows": some, "action": view.action, **more})
        taken += answer["reviewed"]
        refused += answer["refused"]
        reasons.update({one["reason"]: one["count"] for one in answer["byReason"]})
    if not refused:
        return SeeOther(f"runs/{asked.path['id']}/decisions", "all", view.asked)
    first = refused[:SHOWN]
    names = {row.id: row.name for row in await _find(asked, [one["id"] for one in first])}
    not_taken = [NotTaken(names[one["id"]], one["reason"]) for one in first]
    told = {"not_taken": not_taken, "left_out": len(refused), "taken": taken}
    by_reason = [{"reason": reason, "count": count} for reason, count in reasons.most_common()]
    return Shown("all_rows.html", await _read(asked, by_reason=by_reason, **told))


PAGES: Final = (Page("runs/{id}/all", show, {"decide": decide}, under="runs"),)
