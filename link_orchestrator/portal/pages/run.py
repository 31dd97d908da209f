"""One run: what it decides, what to look at first, how far it is, and what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from link_orchestrator import words
from link_orchestrator.names import label_of
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_run import Document, Progress, Run, count_apart, why_stopped
from link_orchestrator.words import Bar

LINKED: Final = "linked=true"
"""The query of the decisions by which the run linked an account."""


@dataclass(frozen=True, slots=True)
class OneRun:
    """What the page of a run shows."""

    run: Run
    basis: Document
    progress: Progress | None
    provisioned: str = ""
    """When provisioning last changed something, if that was after the end of the run; "" otherwise."""
    stopped: str = ""
    """Why provisioning stays stopped though the run is done, "" where it may go on."""
    deleted: words.Told | None = None
    """What it means that accounts were deleted since with an import that was taken back, None if none was."""
    import_undo: str = ""
    """The undo of an import that began since a plan that waits was made, "" for none."""

    @property
    def after_undo(self) -> words.Told | None:
        """What it means that links of the run were taken back, None if none was."""
        return words.after_undo(self.basis["undos"], self.run.document)

    @property
    def stays(self) -> str:
        """What the last undo left of the run's links, "" for nothing."""
        return words.stays(self.run.document, self.basis["undos"])

    @property
    def flow(self) -> Sequence[tuple[str, int, str]]:
        """Where the people of the source go, by what becomes of them."""
        counts = self.run.counts
        rows = [(label, sum(counts.get(name, 0) for name in names), tone) for label, tone, names in words.WHOLES[:-1]]
        return [(label[:1].upper() + label[1:], count, tone) for label, count, tone in rows if count]

    @property
    def people(self) -> int:
        """People of the source on whom the plan decided."""
        return sum(count for _, count, _ in self.flow)

    @property
    def others(self) -> int | None:
        """People of the source about whom the plans before decided; None for a plan of everybody."""
        if "since" not in self.run.document["options"]:
            return None
        return max(0, int(self.run.document.get("compared", {}).get("identities", 0)) - self.people)

    @property
    def decisions(self) -> Sequence[tuple[Bar, int, str]]:
        return self.run.bars({**words.DECISIONS, **words.SHARED}, "decision")

    @property
    def impact(self) -> Sequence[tuple[Bar, int, str]]:
        """Attributes that the first cycle changes, those that people notice first."""
        counts = {name: count for name, count in self.run.document.get("impact", {}).items() if name != "accounts"}
        others = sorted(counts.keys() - words.CHANGED.keys(), key=lambda name: (-counts[name], name))
        named = {**words.CHANGED, **{name: Bar(label_of(name), "new") for name in others}}
        if in_case := self.run.names_in_case:
            told = f"{in_case:,} of them in capital and small letters alone: the warning counts the others."
            named["userName"] = named["userName"]._replace(meaning=told)
        return [(bar, counts[name], f"changes={name}") for name, bar in named.items() if counts.get(name)]

    @property
    def applied(self) -> Sequence[tuple[Bar, int, str]]:
        found = self.run.bars({**words.APPLIED, **{name: _group(bar) for name, bar in words.APPLIED_GROUPS.items()}})
        return [(bar, count, LINKED if bar is words.APPLIED["linked"] else "") for bar, count, _ in found]

    @property
    def refused_by(self) -> Sequence[tuple[str, Sequence[tuple[Bar, int, str]]]]:
        """What was in the way of accounts and of groups that were refused, each with what its table is called."""
        known = {"refusedBy": "Accounts", "groupsRefusedBy": "Groups"}
        found = ((f"{what} that were refused, by what was in the way", name) for name, what in known.items())
        bars = ((caption, self.run.bars(words.REFUSED_BY, counts=name)) for caption, name in found)
        return [one for one in bars if one[1]]

    @property
    def predicted(self) -> Sequence[tuple[Bar, int, str]]:
        warned = {one["code"]: one["count"] for one in self.run.document.get("warnings", ())}
        second = warned.get("secondAccounts", 0)
        beside = f"{second:,} of them beside an account that matches the person: a second one."
        known = {
            **words.PREDICTED,
            **({"created": words.PREDICTED["created"]._replace(meaning=beside)} if second else {}),
        }
        return self.run.bars(known, "predicted", counts="predicted")

    @property
    def alike(self) -> int:
        """People without a match to whom an account here is much alike."""
        return sum(one["count"] for one in self.run.document.get("warnings", ()) if one["code"] == "probableAccounts")


def _group(bar: Bar) -> Bar:
    return bar._replace(label=f"Groups: {bar.label[:1].lower()}{bar.label[1:]}")


async def show(asked: Asked) -> Outcome:
    """Show a run."""
    run = await Run.read(asked)
    nothing: dict[str, Any] = {"policy": [], "files": [], "undos": []}
    basis = nothing if run.busy else await asked.api.get("linking/runs/{id}/basis", id=run.id, reviewers="false")
    progress = Progress.of_job(run.document, datetime.now(UTC)) if run.busy else None
    provisioned = await _provisioned(asked, run)
    stopped, deleted = ("", None) if provisioned else await _stopped(asked, run)
    view = OneRun(run, basis, progress, provisioned, stopped, deleted, await _import_undo(asked, run))
    return Shown("run.html", view)


async def _import_undo(asked: Asked, run: Run) -> str:
    if not run.waits:
        return ""
    imports = (await asked.api.get("linking/imports"))["imports"]
    undos = [one["takenBack"] for one in imports if "takenBack" in one]
    return next((str(one["undo"]) for one in undos if one["started"] > run.document["started"]), "")


async def _stopped(asked: Asked, run: Run) -> tuple[str, words.Told | None]:
    if not (run.is_approved and run.ended):
        return "", None
    directory, page = await asyncio.gather(asked.api.get("directory"), asked.api.get("linking/runs"))
    latest, runs = directory["latest"], page["runs"]
    is_last = latest.get("run", {}).get("id") == run.id
    deleted = words.accounts_deleted(latest) if is_last else None
    return why_stopped(latest, runs, await count_apart(asked, latest, runs)), deleted


async def _provisioned(asked: Asked, run: Run) -> str:
    if not (run.has_linked and run.ended):
        return ""
    last = (await asked.api.get("linking/connection"))["lastWrite"] or ""
    return str(last) if last > run.document["ended"] else ""


async def cancel(asked: Asked) -> Outcome:
    """Cancel a run: what it linked stays linked."""
    await asked.api.post("linking/runs/{id}/cancel", id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}", said="cancelled")


PAGES: Final = (
    Page(
        "runs/{id}",
        show,
        {"cancel": cancel},
        under="runs",
        notices={
            "cancelled": "The run stops after the accounts that it has in hand. What it linked by then stays linked "
            "until an undo.",
            "approved": "The plan is approved. Linking changes no sign-in name.",
            "piloted": "The pilot is approved. Nobody but its people is linked; the rest of the plan waits. Provision "
            "on demand and Verify come next.",
        },
    ),
)
