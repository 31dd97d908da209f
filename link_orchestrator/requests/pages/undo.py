"""The page about an undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from link_orchestrator import words
from link_orchestrator.requests.pages.parts import actor, at, bars, box, document, facts, heading, section
from shared.directory.text import counted


def undo_summary(undo: Mapping[str, Any]) -> str:
    """Return the page about an undo, given as the API shows it."""
    options = undo.get("options", {})
    known = (
        ("Undo", undo["id"]),
        ("Of the run", options.get("run", "")),
        ("Of", "the links that creates over SCIM made" if options.get("adoptions") else ""),
        ("Attributes", "stay as they are" if options.get("keep") else "become what they were"),
        ("Switches on", _switches_on(options)),
        ("Started", at(undo, "started", "startedBy")),
        ("Cancelled", f"by {actor(undo, 'cancelledBy')}" if "cancelledBy" in undo else ""),
        ("Ended", at(undo, "ended")),
        ("Reason", undo.get("reason", "")),
    )
    lead = "Links taken back, and what people had before them. Whom provisioning created stays."
    taken_back = words.after_undo([undo])
    body = [
        heading("Scimlink", "Undo", undo["phase"], lead),
        box(*taken_back) if taken_back else "",
        section("What it came to", outcome(undo)),
        section("This undo", facts(known)),
    ]
    return document(f"Undo {undo['id']}", body)


def outcome(undo: Mapping[str, Any]) -> str:
    """Return what became of the accounts and groups of an undo, as bars."""
    counts = undo.get("counts", {})
    groups = bars("Groups", words.UNDONE_GROUPS, counts)
    return bars("Accounts", words.UNDONE, counts) + groups


def _switches_on(options: Mapping[str, Any]) -> str:
    if "activate" not in options:
        return "nobody"
    return f"whoever was active before, if these are {counted(options['activate'], 'account')}"
