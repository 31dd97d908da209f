"""The passes that take an import of groups back: whom it put in goes out, and the groups that it made go.

foresee_group_import   says what an undo would come to at each group, as things are; it changes none
undo_group_import      the import's list of groups, their members and histories -> groups as they were, a report

A member's row says which import put it there. A group's history tells what else happened to it since, as the piles of
undo_import_verdicts.py read it. Groups are few, so they are done one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.messages import Slice
from link_orchestrator.passes.undo_import_verdicts import REMOVED, Asked, piles
from link_orchestrator.passes.undo_verdicts import PARTLY, REFUSED, UNCHANGED, UNDONE
from link_orchestrator.run import by_import, by_undo
from link_orchestrator.staged import IMPORTED
from shared.directory.directory import Directory
from shared.directory.errors import Stale
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.records.audit import UNDO_IMPORT, Change
from shared.directory.records.members import Member
from shared.directory.records.model import NO_HEAD, Group, Status
from shared.directory.work.jobs import RUN, Job, State
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts, together

OUTCOMES: Final = (REMOVED, UNDONE, PARTLY, REFUSED, UNCHANGED)
ATTEMPTS = 5
"""Times that a group is looked at again because others changed it."""
MEMBERS: Final = "members"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a group, and why. Unless `ends`, its members that the import put in go out.

    `former` is the externalId to give back, where `gives_back` says so; `removes` deletes the group if nobody is in it.
    """

    outcome: str
    reason: str
    ends: bool = False
    gives_back: bool = False
    former: str | None = None
    removes: bool = False


async def foresee_group_import(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Say what an undo of the import would come to at the groups of a slice, as things are. It changes none."""
    counts: Counter[str] = Counter()
    async for bucket, asked, one in _groups(directory, job, slice_):
        group, brought, verdict = await _look(directory, asked, one)
        if verdict is None:
            continue
        if verdict.removes and len(await directory.members.first(one, len(brought) + 1)) > len(brought):
            verdict = _OTHERS_ARE_IN
        counts[verdict.outcome] += 1
        await directory.plan(job.id).write(bucket, [_row(one, group, verdict)])
    return counts


async def undo_group_import(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back what the import did to the groups of a slice; stop early if the undo is cancelled."""
    counts: Counter[str] = Counter()
    plan = directory.plan(job.id)
    async for bucket, asked, one in _groups(directory, job, slice_):
        group = await directory.groups.find(one)
        verdict = await _take_back(directory, asked, one)
        if verdict is None:
            continue
        counts[verdict.outcome] += 1
        # Of one that an attempt which was cut off removed, that has told the name.
        if group or plan.key(verdict.outcome, one) not in await plan.keys(bucket, [verdict.outcome]):
            await plan.write(bucket, [_row(one, group, verdict)])
    return counts


async def _groups(directory: Directory, job: Job, slice_: Slice) -> AsyncIterator[tuple[int, Asked, str]]:
    """Yield the groups of a slice that the import may have touched, with their bucket and what is asked there.

    None comes any more once the job is cancelled.
    """
    stage = directory.stage(job.options["import"] + IMPORTED)
    for bucket in slice_.buckets:
        ids = sorted({one async for items in stage.read(bucket) for one in items})
        if not ids:
            continue
        asked = await _asked(directory, job, bucket)
        for one in ids:
            if (await directory.jobs.get(job.id)).cancelled_by:
                return
            yield bucket, asked, one


def _row(group_id: str, group: Group | None, verdict: Verdict) -> PlanRow:
    """Return what is told of a group."""
    named = {"id": group_id, "displayName": group.display_name if group else ""}
    return PlanRow(verdict.outcome, group_id, {"reason": verdict.reason, "group": named})


async def _asked(directory: Directory, job: Job, bucket: int) -> Asked:
    run, planned = await directory.jobs.find_under_way(RUN), set[str]()
    if run and run.state is State.PLANNED:
        async for rows in directory.plan(run.id).decided(bucket, GroupDecisionKind.LINK.value):
            planned |= {str(row.shown["group"]["id"]) for row in rows}
    return Asked(job.id, job.options["import"], {}, run.id if run else "", planned)


async def _take_back(directory: Directory, asked: Asked, group_id: str) -> Verdict | None:
    """Take back what the import did to one group; return what became of it, or None if it did nothing to it."""
    for _ in range(ATTEMPTS):
        group, brought, verdict = await _look(directory, asked, group_id)
        if verdict is None or verdict.ends or group is None:
            return verdict
        try:
            await _take_out(directory, group_id, brought, by_undo(asked.undo))
            return await _settle(directory, group_id, verdict, by_undo(asked.undo))
        except Stale:
            continue
    return Verdict(REFUSED, "not undone: the group is being changed by others.")


async def _look(
    directory: Directory, asked: Asked, group_id: str
) -> tuple[Group | None, Sequence[str], Verdict | None]:
    """Return a group, whom the import put into it, and what is decided about it by that and its history."""
    group = await directory.groups.find(group_id)
    brought = await directory.members.brought_by(group_id, asked.imported) if group else []
    return group, brought, judge(group, await directory.groups.history(group_id), brought, asked)


async def _take_out(directory: Directory, group_id: str, brought: Sequence[str], by: str) -> None:
    """Take members out of a group that is managed here. Raises Stale, also where it is that no longer."""
    groups, members = directory.groups, directory.members
    for some in in_parts(brought, members.room):
        now = await groups.find(group_id)
        if now is None or now.status is not Status.LOCAL:
            raise Stale("the group was linked or deleted")
        await groups.hold(now, by=by)
        await members.change(group_id, out=map(Member, some), by=by, etag=(now.head or NO_HEAD).etag)


async def _settle(directory: Directory, group_id: str, verdict: Verdict, by: str) -> Verdict:
    """Give a group its externalId back, or delete it if nobody is in it. Raises Stale."""
    groups = directory.groups
    now = await groups.find(group_id)
    if now is None:
        raise Stale("the group was deleted")
    if verdict.removes:
        if await directory.members.first(group_id, 1):
            return _OTHERS_ARE_IN
        await groups.delete(now, by=by)
        # What a crash leaves from here on is invisible, and the sweep removes it.
        await together(directory.members.clear(group_id), directory.members.leave(group_id, by=by))
    elif verdict.gives_back:
        document = now.document()
        document.pop("externalId", None)
        after = now.with_document(document | ({"externalId": verdict.former} if verdict.former else {}))
        await groups.replace(now, after, by=by, action=UNDO_IMPORT)
    return verdict


_OTHERS_ARE_IN: Final = Verdict(
    PARTLY, "Whom the import put in is taken out; others were put in since, so the group stays."
)


def judge(group: Group | None, history: Sequence[Change], brought: Collection[str], asked: Asked) -> Verdict | None:
    """Decide what becomes of a group, in which the members `brought` are whom the import put there. Pure."""
    by = by_import(asked.imported)
    mine = [change for change in history if change.by == by]
    if not mine:
        return None
    if group is None:
        end = history[-1]
        own = end.by == by_undo(asked.undo)
        before = Verdict(UNCHANGED, f"The group was deleted before, by {end.by.removeprefix(by_undo(''))}.", ends=True)
        return Verdict(REMOVED, _REMOVED, ends=True) if own else before
    if group.status is not Status.LOCAL or group.retired:
        return Verdict(REFUSED, "The group was linked since: it and its members are as they were.", ends=True)
    standing = piles(history)
    others = {name for name, pile in standing.items() if pile and pile[-1].by != by}
    if any(change.action == "create" for change in mine):
        return _made(group, history, others, asked)
    pile = standing.get("externalId", [])
    gives_back = bool(pile) and pile[-1].by == by
    former = next((change.before.get("externalId") for change in pile if change.by == by), None)
    if others & {name for change in mine for name in change.attributes}:
        told = "Whom the import put in is taken out. externalId: changed since, and left as it is."
        return Verdict(PARTLY, told)
    if gives_back or brought or any(change.by == by_undo(asked.undo) for change in history):
        return Verdict(UNDONE, "The group is what it was before the import.", gives_back=gives_back, former=former)
    return Verdict(UNCHANGED, "The import was taken back before, or whom it put in is out already.", ends=True)


def _made(group: Group, history: Sequence[Change], others: Collection[str], asked: Asked) -> Verdict:
    """Return the verdict on a group that the import made."""
    if group.id in asked.planned:
        told = f"The plan of {asked.run} would link the group: it stays. Cancel that run first."
        return Verdict(REFUSED, told, ends=True)
    if others:
        told = f"{', '.join(sorted(others))}: changed since; the group stays. Delete it by hand, if need be."
        return Verdict(REFUSED, told, ends=True)
    here = (by_import(""), by_undo(""))
    if any(change.action == MEMBERS and not change.by.startswith(here) for change in history):
        return Verdict(REFUSED, "members: changed since; the group stays. Delete it by hand, if need be.", ends=True)
    return Verdict(REMOVED, _REMOVED, removes=True)


_REMOVED = "The import had made the group, and nobody has changed it since."
