"""The undo of a run: what it would come to, what it did, and whom to switch on, by their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from link_orchestrator import words
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages import of_job
from shared.scim.errors import InvalidValue

ATTRIBUTES: Final = "attributes"
"""What an undo may keep: what provisioning wrote."""


async def show(asked: Asked) -> Outcome:
    """Show what an undo brings back, or what the last one did."""
    view = await of_job.read(asked, "undo", "linking/undos", "outcome", {**words.UNDONE, **words.UNDONE_GROUPS})
    keep = ATTRIBUTES if ATTRIBUTES in (asked.query.get("keep"), asked.form["keep"]) else "nothing"
    looks = asked.query.get("look") == "yes" and not view.busy and not view.run.busy and view.run.has_linked
    if not looks:
        return Shown("undo.html", replace(view, keep=keep))
    preview = await asked.api.get("linking/runs/{id}/undo/preview", id=view.run.id, **_keeping(keep))
    return Shown("undo.html", replace(view, keep=keep, preview=preview))


async def undo(asked: Asked) -> Outcome:
    """Take the run's links back, once the person has seen what comes of it."""
    keep = asked.form["keep"]
    if asked.form["seen"] != "yes":
        return SeeOther(f"runs/{asked.path['id']}/undo", query={"look": "yes", "keep": keep})
    return await _undo(asked, _keeping(keep))


def _keeping(keep: str) -> dict[str, str]:
    return {"keep": ATTRIBUTES} if keep == ATTRIBUTES else {}


async def drop(asked: Asked) -> Outcome:
    """Drop the rest of a plan that waits after a pilot: nobody is taken back by that."""
    await asked.api.post("linking/runs/{id}/cancel", id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}/undo", "dropped", {"look": "yes"})


async def switch_on(asked: Asked) -> Outcome:
    """Switch on whom the undo left inactive, by their number."""
    number = digits(asked.form["activate"])
    if number is None or str(number) != asked.form["expected"]:
        raise InvalidValue(f"activate: type {asked.form['expected']}, the number of accounts shown")
    return await _undo(asked, {"activate": number})


async def _undo(asked: Asked, body: Mapping[str, Any]) -> Outcome:
    await asked.api.post("linking/runs/{id}/undo", body, id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}/undo", "started")


async def cancel(asked: Asked) -> Outcome:
    """Stop the undo that is under way."""
    return await of_job.cancel(asked, "undo", "linking/undos/{id}/cancel", "undo")


PAGES: Final = (
    Page(
        "runs/{id}/undo",
        show,
        {"undo": undo, "drop": drop, "switchOn": switch_on, "cancel": cancel},
        under="runs",
        notices={
            "started": "The undo has begun. Provisioning waits meanwhile, for 15 minutes at most.",
            "dropped": "The rest of the plan is dropped, and nobody of it is linked. The pilot stays linked.",
            "cancelled": "It stops after the accounts that it has in hand. What it took back stays so, and another "
            "undo takes the rest.",
        },
    ),
)
