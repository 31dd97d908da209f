"""After a run: a verification of its links, its undo, and its groups with their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from link_orchestrator import words
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_plan import Row
from link_orchestrator.portal.pages.of_run import Document, Progress, Run
from link_orchestrator.words import Bar, Bars
from shared.scim.errors import InvalidValue

ROWS: Final = 50
FOUND: Final[Bars] = {
    "unconfirmed": Bar("Not yet confirmed", "ask", "Provisioning has not come through these links."),
    "created": Bar("Created instead", "stop", "Provisioning made a second account of these people."),
    "unlinked": Bar("Not linked any more", "apart", "The link was taken back, or the account deleted, since."),
    "confirmed": Bar("Confirmed", "go", "Provisioning found these accounts, and manages them."),
}
"""What a verification finds, that first which somebody has to do something about."""


@dataclass(frozen=True, slots=True)
class Afterwards:
    """A job about a run, and a page of its rows: a verification, or an undo."""

    run: Run
    job: Document | None
    known: Bars
    chosen: str = ""
    rows: Sequence[Document] = ()
    cursor: str = ""
    at_first: bool = True
    again: bool = False
    """Whether another such job is wanted although there was one."""

    @property
    def busy(self) -> bool:
        return self.job is not None and "ended" not in self.job

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
    def by(self) -> str:
        """Who started the job."""
        job = self.job or {}
        return str(job.get("persons", {}).get("started") or job.get("startedBy", ""))

    @property
    def inactive(self) -> int:
        """Accounts that the undo left inactive, and another one may switch on."""
        return self.counts.get("undoneInactive", 0)


async def _read(asked: Asked, kind: str, rows: str, filter_by: str, known: Bars) -> Afterwards:
    run = await Run.read(asked)
    job = await asked.api.find(f"linking/runs/{{id}}/{kind}", id=run.id)
    if job and "ended" not in job:
        job = await asked.api.get(f"{rows}/{{id}}", id=job["id"])  # with its progress
    if not job or "ended" not in job:
        return Afterwards(run, job, known)
    chosen, cursor = asked.query.get(filter_by, ""), asked.query.get("cursor", "")
    if chosen not in known:
        chosen = next((name for name in known if job["counts"].get(name)), "")
    page = await asked.api.get(
        f"{rows}/{{id}}/rows", id=job["id"], cursor=cursor, count=str(ROWS), **{filter_by: chosen}
    )
    again = asked.query.get("again") == "yes"
    return Afterwards(run, job, known, chosen, page["rows"], page.get("cursor", ""), not cursor, again)


async def show_verification(asked: Asked) -> Outcome:
    """Show what provisioning made of the links, by the last verification."""
    view = await _read(asked, "verification", "linking/verifications", "found", FOUND)
    return Shown("verify.html", view)


async def verify(asked: Asked) -> Outcome:
    """Start a verification, which changes nobody."""
    await asked.api.post("linking/runs/{id}/verification", id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}/verify", "started")


async def show_undo(asked: Asked) -> Outcome:
    """Show what an undo brings back, or what the last one did."""
    view = await _read(asked, "undo", "linking/undos", "outcome", {**words.UNDONE, **words.UNDONE_GROUPS})
    return Shown("undo.html", view)


async def undo(asked: Asked) -> Outcome:
    """Take the run's links back."""
    keep = {"keep": "attributes"} if asked.form["keep"] == "attributes" else {}
    return await _undo(asked, keep)


async def switch_on(asked: Asked) -> Outcome:
    """Switch on whom the undo left inactive, by their number."""
    number = digits(asked.form["activate"])
    if number is None or str(number) != asked.form["expected"]:
        raise InvalidValue(f"activate: type {asked.form['expected']}, the number of accounts shown")
    return await _undo(asked, {"activate": number})


async def _undo(asked: Asked, body: Mapping[str, Any]) -> Outcome:
    await asked.api.post("linking/runs/{id}/undo", body, id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}/undo", "started")


async def cancel_undo(asked: Asked) -> Outcome:
    """Stop the undo that is under way."""
    return await _cancel(asked, "undo", "linking/undos/{id}/cancel")


async def cancel_verification(asked: Asked) -> Outcome:
    """Stop the verification that is under way."""
    return await _cancel(asked, "verification", "linking/verifications/{id}/cancel")


async def _cancel(asked: Asked, kind: str, path: str) -> Outcome:
    job = await asked.api.get(f"linking/runs/{{id}}/{kind}", id=asked.path["id"])
    await asked.api.post(path, id=job["id"])
    return SeeOther(f"runs/{asked.path['id']}/{'undo' if kind == 'undo' else 'verify'}", "cancelled")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a plan, of one decision."""

    run: Run
    chosen: str
    rows: Sequence[Row]
    cursor: str
    at_first: bool

    @property
    def decisions(self) -> Sequence[tuple[str, Bar, int]]:
        counts = self.run.counts
        return [(name, bar, counts[name]) for name, bar in words.GROUPS.items() if counts.get(name)]


async def show_groups(asked: Asked) -> Outcome:
    """Show the groups of a plan."""
    run, cursor = await Run.read(asked), asked.query.get("cursor", "")
    present = [name for name in words.GROUPS if run.counts.get(name)]
    chosen = asked.query.get("decision", "")
    if chosen not in words.GROUPS:
        chosen = present[0] if present else "groupLink"
    page = await asked.api.get(
        "linking/runs/{id}/decisions", id=run.id, decision=chosen, cursor=cursor, count=str(ROWS)
    )
    rows = [Row(one, run.waits) for one in page["decisions"]]
    return Shown("run_groups.html", Groups(run, chosen, rows, page.get("cursor", ""), not cursor))


@dataclass(frozen=True, slots=True)
class Difference:
    """Who is in a group on one side alone."""

    run: Run
    group: str
    document: Document
    at_first: bool


async def show_difference(asked: Asked) -> Outcome:
    """Show how the members of a group differ."""
    run, cursor = await Run.read(asked), asked.query.get("cursor", "")
    path = "linking/runs/{id}/groups/{group}/difference"
    found = await asked.api.get(path, id=run.id, group=asked.path["group"], cursor=cursor, count=str(ROWS))
    return Shown("difference.html", Difference(run, asked.path["group"], found, not cursor))


PAGES: Final = (
    Page(
        "runs/{id}/verify",
        show_verification,
        {"verify": verify, "cancel": cancel_verification},
        under="runs",
        notices={
            "started": "The verification has begun. Nobody is changed by it.",
            "cancelled": "It stops within a page. What it found by then is kept.",
        },
    ),
    Page(
        "runs/{id}/undo",
        show_undo,
        {"undo": undo, "switchOn": switch_on, "cancel": cancel_undo},
        under="runs",
        notices={
            "started": "The undo has begun. Provisioning waits meanwhile, for 15 minutes at most.",
            "cancelled": "It stops within a page. What it took back stays so, and another undo takes the rest.",
        },
    ),
    Page("runs/{id}/groups", show_groups, under="runs"),
    Page("runs/{id}/groups/{group}", show_difference, under="runs"),
)
