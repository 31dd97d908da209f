"""The verification of a run's links: whom provisioning confirmed, whom not yet, and whom it created instead."""

from __future__ import annotations

from typing import Final

from link_orchestrator import words
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages import of_job


async def show(asked: Asked) -> Outcome:
    """Show what provisioning made of the links, by the last verification."""
    view = await of_job.read(asked, "verification", "linking/verifications", "found", words.FOUND)
    return Shown("verify.html", view)


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
            "cancelled": "It stops within a page. What it found by then is kept.",
        },
    ),
)
