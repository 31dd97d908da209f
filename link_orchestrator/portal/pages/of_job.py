"""What the pages of a job about a run have in common: a verification or an undo, how far it is, and a page of its rows.

The last such job is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from link_orchestrator import words
from link_orchestrator.names import label_of
from link_orchestrator.portal.page import Asked, Outcome, SeeOther
from link_orchestrator.portal.pages.of_run import Document, Progress, Run
from link_orchestrator.words import Bar, Bars

ROWS: Final = 50
"""Rows on a page."""


@dataclass(frozen=True, slots=True)
class OfJob:
    """A job about a run, and a page of its rows."""

    run: Run
    job: Document | None
    known: Bars
    chosen: str = ""
    rows: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows of what is chosen have which reason, beside the first page of them."""
    cursor: str = ""
    at_first: bool = True
    keep: str = "nothing"
    """What an undo that is asked for keeps: nothing, or attributes."""
    preview: Document | None = None
    """What that undo would come to, where somebody looks at it."""

    @property
    def busy(self) -> bool:
        return self.job is not None and "ended" not in self.job

    @property
    def phase(self) -> str:
        """The phase of the job, "" for none."""
        job = self.job or {}
        return "being cancelled" if self.busy and "cancelledBy" in job else str(job.get("phase", ""))

    @property
    def progress(self) -> Progress:
        return Progress.of_job(self.job or {}, datetime.now(UTC))

    @property
    def counts(self) -> Mapping[str, int]:
        found: Mapping[str, int] = (self.job or {}).get("counts", {})
        return found

    @property
    def outcomes(self) -> Sequence[tuple[str, Bar, int]]:
        return [(name, bar, self.counts[name]) for name, bar in self.known.items() if self.counts.get(name)]

    @property
    def expected(self) -> int:
        """How many of the links that a verification found not confirmed wait as the plan expected."""
        return words.expected_to_wait(self.job or {})

    @property
    def taken_back(self) -> int:
        """How many links of accounts the undo took back."""
        return sum(self.counts.get(name, 0) for name in words.TAKEN_BACK)

    @property
    def stays(self) -> str:
        """What the undo left of the run's links, "" for nothing."""
        return words.stays(self.run.document, [self.job or {}])

    @property
    def is_whole(self) -> bool:
        """Whether the undo, and those before it, left nothing that another one could take or give back."""
        links = self.run.taken_back.get("links", 0) >= self.run.linked
        groups = sum(self.counts.get(name, 0) for name in words.GROUPS_TAKEN_BACK)
        left = any(self.counts.get(name) for name in (*words.NOT_WHOLLY, "groupsRefused"))
        return links and groups >= self.run.counts.get("groupsLinked", 0) and not left and self.phase == "done"

    @property
    def given_back(self) -> Sequence[tuple[str, int]]:
        """The attributes that an undo would give back, in words, and of how many accounts.

        Not whether they are active: who is switched off is told by name.
        """
        found = (self.preview or {}).get("attributes", {})
        return [(label_of(name), count) for name, count in found.items() if name != "active"]

    @property
    def inactive(self) -> int:
        """Accounts that the undo left inactive, and another one may switch on."""
        return self.counts.get("undoneInactive", 0)


async def read(asked: Asked, kind: str, rows: str, filter_by: str, known: Bars) -> OfJob:
    """Return the last job of a kind about the run of the page, with the rows that the query asks for."""
    run = await Run.read(asked)
    job = await asked.api.find(f"linking/runs/{{id}}/{kind}", id=run.id)
    if job and "ended" not in job:
        job = await asked.api.get(f"{rows}/{{id}}", id=job["id"])  # with its progress
    if not job or "ended" not in job:
        return OfJob(run, job, known)
    chosen, cursor = asked.query.get(filter_by, ""), asked.query.get("cursor", "")
    if chosen not in known:
        chosen = next((name for name in known if job["counts"].get(name)), "")
    page = await asked.api.get(
        f"{rows}/{{id}}/rows", id=job["id"], cursor=cursor, count=str(ROWS), **{filter_by: chosen}
    )
    return OfJob(run, job, known, chosen, page["rows"], page.get("byReason", ()), page.get("cursor", ""), not cursor)


async def cancel(asked: Asked, kind: str, path: str, back: str) -> Outcome:
    """Stop the job of a kind that is under way, by its path, and go back to the page of the run."""
    job = await asked.api.get(f"linking/runs/{{id}}/{kind}", id=asked.path["id"])
    await asked.api.post(path, id=job["id"])
    return SeeOther(f"runs/{asked.path['id']}/{back}", "cancelled")
