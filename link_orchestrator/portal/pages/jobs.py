"""A job by its id: where its page is; and the page of an undo of what creates linked, which belongs to no run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown

COUNT: Final = 50
"""Rows of a page."""
_KIND: Final = re.compile("[a-z]*")
_PLACES: Final = {
    "run": "runs",
    "import": "imports",
    "groupimport": "imports",
    "preview": "previews",
    "grouppreview": "previews",
    "importundo": "import-undos",
    "groupimportundo": "import-undos",
    "importundopreview": "undo-previews",
    "groupimportundopreview": "undo-previews",
    "identities": "uploads",
    "entragroups": "uploads",
}
"""Where the page of a job is, by the kind with which its id begins. Undos and verifications are on their run's."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Undo:
    """What the page of an undo of adoptions shows: the job, and a page of what it did."""

    job: Document
    rows: Sequence[Document]
    cursor: str | None
    at_first: bool

    @property
    def busy(self) -> bool:
        """Whether it goes on."""
        return "ended" not in self.job

    @property
    def done(self) -> int:
        """How far it is."""
        return int(self.job.get("progress", {}).get("done", 0))

    @property
    def of(self) -> int:
        """How much there is to do."""
        return int(self.job.get("progress", {}).get("of", 0))


async def show(asked: Asked) -> Outcome:
    """Lead to a job's page."""
    job_id = asked.path["id"]
    kind = _KIND.match(job_id)
    name = kind[0] if kind else ""
    if name == "verification":
        job = await asked.api.get("linking/verifications/{id}", id=job_id)
        return SeeOther(f"runs/{job['options']['run']}/verify")
    if name == "undo":
        return SeeOther(f"undos/{job_id}")
    return SeeOther(f"{_PLACES.get(name, 'runs')}/{job_id}")


async def show_undo(asked: Asked) -> Outcome:
    """Show an undo of adoptions; one of a run is on the run's page."""
    job_id, cursor = asked.path["id"], asked.query.get("cursor")
    job = await asked.api.get("linking/undos/{id}", id=job_id)
    if run := job["options"].get("run"):
        return SeeOther(f"runs/{run}/undo")
    page = await asked.api.get("linking/undos/{id}/rows", id=job_id, cursor=cursor, count=str(COUNT))
    return Shown("adoptions_undo.html", Undo(job, page["rows"], page.get("cursor"), not cursor))


async def cancel(asked: Asked) -> Outcome:
    """Stop an undo."""
    await asked.api.post("linking/undos/{id}/cancel", id=asked.path["id"])
    return SeeOther(f"undos/{asked.path['id']}", said="cancelled")


PAGES: Final = (
    Page("jobs/{id}", show, under="activity"),
    Page(
        "undos/{id}",
        show_undo,
        {"cancel": cancel},
        under="provisioning",
        notices={
            "cancelled": "It stops after the accounts that it has in hand. What it took back stays so, and another "
            "undo takes the rest."
        },
    ),
)
