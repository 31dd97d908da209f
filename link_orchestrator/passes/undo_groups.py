"""The pass that takes back a run's links of groups; passes/undo.py does this for accounts.

A group that the run linked is managed here again, with the externalId, the name and the members that it had. Only the
history knows what it was; the name is in it where a version of the app linked the group that kept names. Groups are
few, so they are done one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.passes.undo_names import DISPLAY_NAME, Owed, debts_of, told_in
from link_orchestrator.passes.undo_verdicts import (
    COUNTED,
    GIVEN_BACK,
    REFUSED,
    RELEASED,
    UNCHANGED,
    UNDONE,
    OwedName,
    keeps_attributes,
    taken_before,
)
from link_orchestrator.run import by_run, by_undo
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Stale
from shared.directory.matching.groups import GroupDecisionKind, is_linked_to
from shared.directory.records.audit import Change, group_before
from shared.directory.records.model import Group
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.tables.port import VersionConflict

ATTEMPTS = 5
"""Times that a group is looked at again because others changed it."""


async def undo_groups(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back the links of groups in a slice of a run's plan; stop early if the undo is cancelled."""
    if "run" not in job.options:
        return Counter()
    run = await directory.jobs.get(job.options["run"])
    plan, report = directory.plan(run.id), directory.plan(job.id)
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets if run.approved else ():
        async for rows in plan.decided(bucket, GroupDecisionKind.LINK.value):
            for row in rows:
                if (await directory.jobs.get(job.id)).cancelled_by:
                    return counts
                if undone := await _take_back(directory, job, run, bucket, row):
                    outcome, shown = undone.outcome, {"reason": undone.told, "group": row.shown["group"]}
                    if row.shown["group"]["id"] not in await told_in(directory, job, bucket):
                        await report.write(bucket, [PlanRow(COUNTED[outcome], row.shown["group"]["id"], shown)])
                    if outcome in GIVEN_BACK:
                        await plan.record_undone(bucket, {row.subject: f"{outcome} by {job.id}"}, [row])
                    counts[COUNTED[outcome]] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of a group that the run linked, and why; `owed` is its former name where another group has that."""

    outcome: str
    reason: str
    owed: OwedName | None = None

    @property
    def told(self) -> str:
        """The reason, and what could not be restored."""
        if self.owed is None:
            return self.reason
        return f"{self.reason} displayName: another group has the former name by now; it keeps the present one."


def _owed(job: Job, undone: Undone, group: Mapping[str, Any]) -> Owed | None:
    """Return the name that a group is owed, None for none."""
    if undone.owed is None:
        return None
    outcome = COUNTED[undone.outcome]
    told, then = (outcome, undone.told), (outcome, undone.reason)
    return Owed(group["id"], DISPLAY_NAME, *undone.owed, job.id, told, then, {"group": group})


async def _take_back(directory: Directory, job: Job, run: Job, bucket: int, row: PlanRow) -> Undone | None:
    """Take back the link of one group; return what became of it, or None if the run did not link it."""
    groups, keep = directory.groups, keeps_attributes(job)
    for _ in range(ATTEMPTS):
        group = await groups.find(row.shown["group"]["id"])
        history = await groups.history(row.shown["group"]["id"])
        verdict = judge(group, history, row.subject, run.id, job.id, keep=keep)
        try:
            if verdict is None:
                await _fence(directory, run, row, group)
                return None
            if group and verdict.after:
                owed = _owed(job, Undone(verdict.outcome, verdict.reason, verdict.owed(group)), row.shown["group"])
                group = await _replace(directory, job, bucket, group, verdict.after, owed)
            if group and verdict.outcome in (UNDONE, RELEASED):
                await groups.give_back(group, by=by_undo(job.id), keep=keep)
            return Undone(verdict.outcome, verdict.reason, verdict.owed(group))
        except (Stale, VersionConflict):
            continue
    return Undone(REFUSED, "not undone: the group is being changed by others.")


async def _fence(directory: Directory, run: Job, row: PlanRow, group: Group | None) -> None:
    """Keep an activity of a dead run, which may come late, from linking a group; as for accounts."""
    if group is None or row.outcome or run.state is State.DONE:
        return
    if row.version in (group.version, group.version_before_link):
        await directory.groups.claims.fence(group)


async def _replace(directory: Directory, job: Job, bucket: int, group: Group, after: Group, owed: Owed | None) -> Group:
    """Store what a group was; where another group has its name by now, it keeps its own and is owed the former one."""
    store = directory.groups.replace
    try:
        return await store(group, after, by=by_undo(job.id), action="undo")
    except AlreadyExists:
        if owed:  # noted first: cut off in between, the undo would owe a name of which nobody knows
            await debts_of(directory, job).write(bucket, [owed.to_row()])
        renamed = after.with_document(after.document() | {"displayName": group.display_name})
        return await store(group, renamed, by=by_undo(job.id), action="undo")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a group that the run linked, and why. `after` is the group to store, None for no change.

    `name` is the displayName that it had before, where that is to be restored.
    """

    outcome: str
    reason: str
    after: Group | None = None
    name: str | None = None

    def owed(self, group: Group | None) -> OwedName | None:
        """Return the name that a group should have and has not, None for none."""
        if self.name is None or group is None or group.display_name == self.name:
            return None
        return OwedName(self.name, group.display_name)


def judge(
    group: Group | None, history: Sequence[Change], subject: str, run: str, undo: str, *, keep: bool = False
) -> Verdict | None:
    """Decide what becomes of a group; None if the run did not link it to the object id `subject`.

    That provisioning deleted it and it came back is no obstacle. With `keep`, name and members stay as provisioning
    made them.
    """
    linked = next((n for n, c in enumerate(history) if (c.action, c.by) == ("link", by_run(run))), None)
    if linked is None:
        return None
    before, since = group_before(history, linked), history[linked + 1 :]
    # One that SCIM deleted is managed here already: then the undo changes that alone.
    ends = [n for n, c in enumerate(since) if STATE & set(c.attributes) and c.action not in PROVISIONING]
    undone = ends[0] if ends and since[ends[0]].by == by_undo(undo) else None
    if ends and undone is None:
        end = since[ends[0]]
        return Verdict(UNCHANGED, taken_before(end))
    if group is None:
        return Verdict(REFUSED, "The group was deleted after the run.")
    if undone is None and not _is_still_linked(group, subject):
        # Changes by an earlier version of the app have no number, so that the history may have them in another order.
        return Verdict(UNCHANGED, "The link was taken back before.")
    changed = _changed(since[:undone])
    after = group.with_link_state(before, keep=keep) if undone is None else None
    if keep and changed:
        reason = f"{changed}: provisioning changed it after the run; that stays, and the group is managed here again."
        return Verdict(RELEASED, reason, after)
    if changed and "displayName" not in history[linked].before:
        return Verdict(UNDONE, f"The link is taken back. {changed}: {_LOST}", after, before.get("displayName"))
    back = f" {changed}: what provisioning changed is taken back." if changed else ""
    return Verdict(UNDONE, f"The group is what it was before the run.{back}", after, before.get("displayName"))


_LOST = (
    "provisioning changed it after the run. An earlier version of the app linked the group, and kept neither its name "
    "nor who was in it: what provisioning changed before the upgrade stays."
)
STATE = {"status", "retired"}
"""Attributes that say who manages a group, and whether it is there for SCIM."""
PROVISIONING = ("retire", "return")
"""Actions by which provisioning deletes a linked group, which is kept here, and comes back to it."""


def _is_still_linked(group: Group, subject: str) -> bool:
    """Tell whether a group is linked to this object id, or SCIM deleted it and nobody linked it since."""
    return group.retired or is_linked_to(group, subject)


def _changed(since: Sequence[Change]) -> str:
    """Return the names of what provisioning changed."""
    names = {name for change in since for name in change.attributes} - {"schemas", "externalId"} - STATE
    names |= {"members" for change in since if change.action == "members"}
    return ", ".join(sorted(names))
