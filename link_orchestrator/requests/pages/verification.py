"""The page about a verification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from link_orchestrator import words
from link_orchestrator.requests.pages.parts import at, bars, document, facts, heading, items, section
from link_orchestrator.requests.verified import FIND_OUT, REMEDIES
from link_orchestrator.words import counted


def verification_summary(verification: Mapping[str, Any]) -> str:
    """Return the page about a verification, given as the API shows it."""
    known = (
        ("Verification", verification["id"]),
        ("Of the run", verification.get("options", {}).get("run", "")),
        ("Started", at(verification, "started", "startedBy")),
        ("Ended", at(verification, "ended")),
        ("Reason", verification.get("reason", "")),
    )
    lead = "Whom of the run's links provisioning came through. To look changes nobody."
    body = [
        heading("Scimlink", "Verification", verification["phase"], lead),
        section("What it found", bars("Links", words.FOUND, verification.get("counts", {}))),
        section("What to do next", items(_steps(_to_do(verification), words.expected_to_wait(verification)))),
        section("This verification", facts(known)),
    ]
    return document(f"Verification {verification['id']}", body)


def _to_do(verification: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the counts of what was found, without the links that wait as expected."""
    counts: Mapping[str, int] = verification.get("counts", {})
    return {**counts, "unconfirmed": counts.get("unconfirmed", 0) - words.expected_to_wait(verification)}


def _steps(counts: Mapping[str, int], expected: int) -> Iterator[str]:
    """Yield what to do about each of what was found, in HTML; the rows name what is another's."""
    if expected:
        who = f"{counted(expected, 'link')} of people who are disabled in Entra, or left out there."
        yield f"<strong>Wait as expected:</strong> {who} Nothing is to be done about that."
    for name, remedy in {"unconfirmed": FIND_OUT, **REMEDIES}.items():
        if counts.get(name):
            yield f"<strong>{escape(words.FOUND[name].label)}:</strong> {escape(remedy)}"
