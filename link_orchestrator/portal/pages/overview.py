"""Overview: where the directory stands, and the one thing to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown

ENDED: Final = frozenset({"done", "expired", "cancelled", "failed"})


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: a sentence, and the button's text and path."""

    title: str
    text: str
    button: str
    path: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What the overview shows."""

    latest: Mapping[str, Any] | None
    refusals: Sequence[Mapping[str, Any]]
    domains: Sequence[str]
    next: Step
    may_try: bool

    @classmethod
    def of(cls, policy: Any, runs: Any, refusals: Any, *, samples: bool = False) -> Self:
        """Return the view of the API's documents."""
        latest = runs["runs"][-1] if runs["runs"] else None
        return cls(
            latest=latest,
            refusals=refusals["refusals"],
            domains=policy.get("verifiedDomains", ()),
            next=_next(latest),
            may_try=samples and latest is None,
        )


def _next(latest: Mapping[str, Any] | None) -> Step:
    if latest is None:
        text = "A file with the accounts that the application has today. Nothing is changed before you have seen it."
        return Step("Bring your accounts", text, "Import your accounts", "import")
    return Step(
        "Look at the latest run", "It shows what was decided about everybody.", "Open it", f"runs/{latest['id']}"
    )


async def show(asked: Asked) -> Outcome:
    """Show the overview."""
    policy = await asked.api.get("directory/policy")
    runs = await asked.api.get("linking/runs")
    refusals = await asked.api.get("linking/refusals", count="5")
    return Shown("overview.html", Overview.of(policy, runs, refusals, samples=asked.samples is not None))


async def try_it(asked: Asked) -> Outcome:
    """Bring made-up people: their policy, their accounts, and their identities."""
    if asked.samples is None:
        return SeeOther("")
    files = asked.samples.files()
    await asked.api.put("directory/policy", json.loads(files["policy"]))
    await asked.api.post("accounts/import", files["accounts"], "text/csv", file="accounts.csv")
    await asked.api.post("linking/identities", files["identities"], file="identities.json")
    return SeeOther("", said="tried")


PAGES: Final = (
    Page(
        "",
        show,
        {"try": try_it},
        label="Overview",
        notices={"tried": "1,000 made-up accounts are being imported, and the identities of their company are here."},
    ),
)
