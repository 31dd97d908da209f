"""The pass that takes back a run's links of groups; passes/undo.py does this for accounts.

A group that the run linked is managed here again, with the externalId that it had, unless provisioning changed it or
its members since. Groups are few, so they are done one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.passes.undo import REFUSED, RELEASED, UNCHANGED, UNDONE, keeps_attributes
from link_orchestrator.run import by_run, by_undo
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Stale
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.records.audit import Change
from shared.directory.records.model import Group, Status
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.tables.port import VersionConflict

COUNTED: Mapping[str, str] = {
    UNDONE: "groupsUndone",
    RELEASED: "groupsReleased",
    REFUSED: "groupsRefused",
    UNCHANGED: "groupsUnchanged",
}
"""The outcomes of accounts, and what they are called for groups in the same counts and rows."""
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
                if undone := await _take_back(directory, job, run, row):
                    outcome, reason = undone
                    shown = {"reason": reason, "group": row.shown["group"]}
                    await report.write(bucket, [PlanRow(COUNTED[outcome], row.shown["group"]["id"], shown)])
                    counts[COUNTED[outcome]] += 1
    return counts


async def _take_back(directory: Directory, job: Job, run: Job, row: PlanRow) -> tuple[str, str] | None:
    """Take back the link of one group; return its outcome and why, or None if the run did not link it."""
    groups, by = directory.groups, by_undo(job.id)
    for _ in range(ATTEMPTS):
        group = await groups.find(row.shown["group"]["id"])
        history = await groups.history(row.shown["group"]["id"])
        verdict = judge(group, history, run.id, job.id, release=keeps_attributes(job))
        try:
            if verdict is None:
                if group and not row.outcome and group.version == row.version and run.state is not State.DONE:
                    await groups.claims.fence(group)  # as for accounts: an activity of a dead run may come late
                return None
            outcome, reason, after = verdict
            if group and after:
                await groups.replace(group, after, by=by, action="undo")
            return outcome, reason
        except AlreadyExists as taken:
            return REFUSED, f"not undone: {taken}"
        except (Stale, VersionConflict):
            continue
    return REFUSED, "not undone: the group is being changed by others."


def judge(
    group: Group | None, history: Sequence[Change], run: str, undo: str, *, release: bool = False
) -> tuple[str, str, Group | None] | None:
    """Return a group's outcome, why, and the group to store (None for no change); None if the run did not link it."""
    linked = next((n for n, c in enumerate(history) if (c.action, c.by) == ("link", by_run(run))), None)
    if linked is None:
        return None
    before, since = history[linked].before, history[linked + 1 :]
    end = next((n for n, change in enumerate(since) if "status" in change.attributes), None)
    undone = end if end is not None and since[end].by == by_undo(undo) else None
    if end is not None and undone is None:
        return UNCHANGED, f"The link was taken back before ({since[end].action} by {since[end].by}).", None
    if group is None:
        return REFUSED, "The group was deleted after the run.", None
    names = {name for change in since[:undone] for name in change.attributes} - {"schemas"}
    names |= {"members" for change in since[:undone] if change.action == "members"}
    after = _restored(group, before) if undone is None else None
    if not names:
        return UNDONE, "The group is what it was before the run.", after
    changed = f"{', '.join(sorted(names))}: provisioning changed it after the run"
    if release:
        return RELEASED, f"{changed}; that stays, and the group is managed here again.", after
    return REFUSED, f"{changed}; it stays the identity provider's.", None


def _restored(group: Group, before: Mapping[str, Any]) -> Group:
    document = group.document()
    document.pop("externalId", None)
    if before["externalId"]:
        document["externalId"] = before["externalId"]
    return replace(group.with_document(document), status=Status(before["status"]))
