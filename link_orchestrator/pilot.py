"""A pilot: an approval of some rows of a plan. They are linked, and the rest is planned as before.

Which rows these are is written beside the plan before the run is approved, under an id of the approval's own, and the
run links those and no others. The plan waits for the rest until it expires, as if nothing had been approved of it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from link_orchestrator.run import PILOT, PILOTS, reviews_of
from shared import turns
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow, keeps_name
from shared.directory.work.reviews import EXCLUDE, LINK, account_chosen


async def choose(directory: Directory, job: Job, selects: Callable[[PlanRow], bool], number: int | None) -> list[str]:
    """Return the ids of the rows that a run would link and that are selected; the first `number` of them, if given."""
    found: list[str] = []
    for bucket in range(directory.keys.buckets):
        async for rows in rows_to_link(directory, job, bucket):
            found += [row.id for row in rows if selects(row)]
            if number is not None and len(found) >= number:
                return found[:number]
    return found


@dataclass(slots=True)
class Foreseen:
    """Whom a pilot would link, in the order in which choose() takes them: `links` people, some of whose rows are kept.

    `renamed` is how many of them get another sign-in name with the first cycle. `looked` links of the plan were looked
    at; `more` says that there are others, among which this pilot may link further ones.
    """

    rows: list[PlanRow] = field(default_factory=list)
    links: int = 0
    renamed: int = 0
    looked: int = 0
    more: bool = False


async def foresee(
    directory: Directory, job: Job, selects: Callable[[PlanRow], bool], number: int | None, *, most: int, kept: range
) -> Foreseen:
    """Return whom a pilot would link of the first links of a plan, about `most`, with the rows at the places `kept`."""
    found, turn = Foreseen(), turns.Turns()
    for bucket in range(directory.keys.buckets):
        if found.looked >= most:
            found.more = True
            break
        async for rows in rows_to_link(directory, job, bucket):
            for row in rows:
                await turn.step()
                if found.links == number:
                    return found
                found.looked += 1
                if selects(row):
                    _add(found, row, kept)
    return found


def _add(found: Foreseen, row: PlanRow, kept: range) -> None:
    if found.links in kept:
        found.rows.append(row)
    changes = account_chosen(row).get("changes", {})
    found.links += 1
    found.renamed += "userName" in changes and not keeps_name(changes)


def links(row: PlanRow) -> bool:
    """Tell whether approving the plan would link a row that was not applied yet."""
    action = (row.review or {}).get("action")
    planned = row.decision == DecisionKind.LINK and action != EXCLUDE
    return not row.outcome and (planned or action == LINK)


async def rows_to_link(directory: Directory, job: Job, bucket: int) -> AsyncIterator[list[PlanRow]]:
    """Yield the rows of a bucket that approving the plan would link, and that were not applied yet."""
    async for rows in directory.plan(job.id).decided(bucket, DecisionKind.LINK.value):
        yield list(filter(links, rows))
    if job.reviewed:
        async for rows in reviews_of(directory, job.id).chosen(bucket):
            yield [row for row in rows if row.decision != DecisionKind.LINK and links(row)]


async def note(directory: Directory, job: Job, rows: Sequence[str]) -> dict[str, Any]:
    """Write down which rows a pilot links, and return the option by which the run finds them."""
    pilot_id = secrets.token_hex(6)
    await directory.plan(job.id).mark(pilot_id, rows)
    return {PILOT: {"id": pilot_id, "links": len(rows)}}


def is_ended(job: Job, pilots: int) -> bool:
    """Tell whether a run has ended the pilot before which `pilots` others were applied."""
    return bool(job.options.get(PILOTS, 0) > pilots)


def ended(job: Job, pilots: int, counts: Mapping[str, int]) -> Job:
    """Return a run planned again whose pilot was applied, unless it is so already, or is being cancelled."""
    if job.state is not State.APPROVED or job.cancelled_by or is_ended(job, pilots):
        return job
    options = {**job.options, PILOTS: pilots + 1, PILOT: {**job.options[PILOT], "done": True}}
    return replace(job, state=State.PLANNED, counts=counts, options=options)
