"""The verification of a run's links: whom provisioning confirmed, whom not yet, and whom it created instead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from link_orchestrator import words
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages import of_job
from link_orchestrator.portal.pages.account import find_known
from link_orchestrator.portal.pages.of_run import Document


async def show(asked: Asked) -> Outcome:
    """Show what provisioning made of the links, by the last verification."""
    view = await of_job.read(asked, "verification", "linking/verifications", "found", words.FOUND)
    if view.chosen == "created":
        view = replace(view, rows=await _with_people(asked, view.rows))
    return Shown("verify.html", view)


async def _with_people(asked: Asked, rows: Sequence[Document]) -> Sequence[Document]:
    """Return rows with whom their object ids are, as they were read last; with the id alone where nobody knows."""
    ids = list(dict.fromkeys(one for row in rows for one in row.get("identities", ())))
    found = await asyncio.gather(*(find_known(asked, one) for one in ids))
    known = {one: told["identity"] for one, told in zip(ids, found, strict=True) if told}
    people = {one: known.get(one, {"objectId": one}) for one in ids}
    return [{**row, "people": [people[one] for one in row.get("identities", ())]} for row in rows]


async def verify(asked: Asked) -> Outcome:
    """Start a verification, which changes nobody."""
    await asked.api.post("linking/runs/{id}/verification", id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}/verify", "started")


async def cancel(asked: Asked) -> Outcome:
    """Stop the verification that is under way."""
    return await of_job.cancel(asked, "verification", "linking/verifications/{id}/cancel", "verify")


PAGES: Final = (
    Page(
        "runs/{id}/verify",
        show,
        {"verify": verify, "cancel": cancel},
        under="runs",
        notices={
            "started": "The verification has begun. Nobody is changed by it.",
            "cancelled": "It stops after what it has in hand. What it found by then is kept.",
        },
    ),
)
