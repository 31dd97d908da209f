"""Who changed what, and which jobs are under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from link_orchestrator.requests.jobs import all_with_persons, shown
from link_orchestrator.run import APPROVALS, NOTED_ROW, reviews_of
from shared.admin.parameters import page_answer, read_count, read_cursor
from shared.directory.directory import Directory
from shared.directory.keys import ID, is_group
from shared.directory.work.activity import Deed
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

APPROVE: Final = "linking_run_approve"
"""The operation that approves a run, or a pilot of it."""


async def list_activity(directory: Directory, request: Request) -> Response:
    """List who changed what, the latest first: links by hand, imports, runs, approvals, reviews, undos, settings."""
    deeds, cursor = await directory.activity.page(read_cursor(request, "activity"), read_count(request))
    about = dict.fromkeys(deed.about for deed in deeds if ID.fullmatch(deed.about))
    accounts = await directory.accounts.find_many([one for one in about if not is_group(one)])
    groups = await directory.groups.find_many([one for one in about if is_group(one)])
    named = {one.id: one.shown() for one in (*accounts, *groups) if one}
    jobs = await directory.jobs.find_many(one for deed in deeds for one in (deed.about, deed.job) if one)
    people = await directory.activity.people(deed.by for deed in deeds)
    decided, approvals = await _rows_decided(directory, deeds), _approvals(deeds, jobs)
    rows = [
        _row(deed, deed.person or people.get(deed.by, ""), named, jobs, decided, approval)
        for deed, approval in zip(deeds, approvals, strict=True)
    ]
    return page_answer(request, "activity", rows, cursor)


async def list_under_way(directory: Directory, request: Request) -> Response:
    """List the jobs that have not ended, oldest first: imports, runs, undos and verifications."""
    jobs = await all_with_persons(directory, await directory.jobs.list_under_way())
    return Response(200, dump({"jobs": [*map(shown, jobs)]}))


async def _rows_decided(directory: Directory, deeds: Iterable[Deed]) -> dict[str, PlanRow]:
    """Return the rows that deeds decided alone, by their run and id, as far as their plans are kept."""
    asked = defaultdict[str, list[str]](list)
    for deed in deeds:
        if NOTED_ROW in deed.more:
            asked[deed.about].append(str(deed.more[NOTED_ROW]))
    found = {run: await reviews_of(directory, run).find_rows(ids) for run, ids in asked.items()}
    return {f"{run} {row.id}": row for run, rows in found.items() for row in rows if row}


def _row(
    deed: Deed,
    person: str,
    named: Mapping[str, Any],
    jobs: Mapping[str, Job],
    decided: Mapping[str, PlanRow],
    approval: Mapping[str, Any] | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"operation": deed.did, "at": deed.at, "by": deed.by}
    if person:
        row["person"] = person
    if deed.open and approval is None:
        row["open"] = True
    if ID.fullmatch(deed.about):
        row["group" if is_group(deed.about) else "account"] = named.get(deed.about, {"id": deed.about, "deleted": True})
    elif deed.about:
        row["job"] = _job(deed.about, jobs)
    if deed.job:
        row["began"] = _job(deed.job, jobs)
    if counts := {name: count for name, count in deed.more.items() if name != NOTED_ROW}:
        row["decided"] = counts
    if row_id := deed.more.get(NOTED_ROW):
        name = _name(decided.get(f"{deed.about} {row_id}"))
        row["row"] = {"id": row_id, "name": name} if name else {"id": row_id}
    if approval is not None:
        row["links"] = approval["links"]
        if approval["pilot"]:
            row["pilot"] = True
    return row


def _name(row: PlanRow | None) -> str:
    """Return whom a row is about, "" where the plan says that no longer."""
    identity, account = (row.shown.get(one, {}) if row else {} for one in ("identity", "account"))
    known = (identity.get("userPrincipalName"), identity.get("displayName"), account.get("userName"))
    return next((str(one) for one in known if one), "")


def _approvals(deeds: Sequence[Deed], jobs: Mapping[str, Job]) -> list[Mapping[str, Any] | None]:
    """Return what each of some deeds, the latest first, approved, as its run has it; None for the others.

    The run has each approval once, and says of a deed that a killed server left open that it was done. The approval is
    the last deed's before it: whoever pressed again after such a kill approved once. Deeds that are known to be done
    come first, since those of one millisecond are in no order.
    """
    found: list[Mapping[str, Any] | None] = [None] * len(deeds)
    taken = set[tuple[str, str]]()
    for place in sorted(range(len(deeds)), key=lambda place: deeds[place].open):
        deed = deeds[place]
        job = jobs.get(deed.about) if deed.did == APPROVE else None
        approvals = job.options.get(APPROVALS, ()) if job else ()
        mine = (one for one in approvals if one["by"] == deed.by and one["at"] >= deed.at)
        one = next((one for one in mine if (deed.about, one["at"]) not in taken), None)
        if one is not None:
            found[place] = one
            taken.add((deed.about, one["at"]))
    return found


def _job(job_id: str, jobs: Mapping[str, Job]) -> dict[str, Any]:
    job = jobs.get(job_id)
    return {"id": job_id, "kind": job.kind, "phase": job.state.value} if job else {"id": job_id, "deleted": True}
