"""Who is in the groups whose members the policy excludes, as far as the run has read groups."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from link_orchestrator.run import policy_of
from link_orchestrator.staged import MEMBERS
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.policy import Policy
from shared.directory.work.jobs import Job
from shared.directory.work.stages import Stages

Members = Mapping[str, frozenset[str]]
"""The folded object ids of the members of groups, by the group's."""


@dataclass(slots=True)
class _Read:
    """What was read last of one directory: of which stage, and of which groups."""

    of: tuple[str, frozenset[str]] | None = None
    members: Members = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_last: WeakKeyDictionary[Stages, _Read] = WeakKeyDictionary()
"""By a directory's stages. A stage of members is whole before a run reads it, and its name is never used again; and to
read it takes as long as it has memberships, of which only a process's first slice is to wait."""


async def policy_with_members(directory: Directory, job: Job) -> Policy:
    """Return the policy of a run with the members of the groups that it excludes: nothing is read if it names none."""
    return await with_members(directory, job, policy_of(job))


async def with_members(directory: Directory, job: Job, policy: Policy) -> Policy:
    """Return a policy with the members of the groups that it excludes, as far as a run has read them."""
    if not policy.excluded_groups or "groups" not in job.options:
        return policy
    last, asked = _last.setdefault(directory.stages, _Read()), (job.options["groups"] + MEMBERS, policy.excluded_groups)
    async with last.lock:
        if last.of != asked:
            last.members = await _read(directory, *asked)
            last.of = asked
    return replace(policy, members=last.members)


async def _read(directory: Directory, name: str, groups: frozenset[str]) -> Members:
    found: defaultdict[str, set[str]] = defaultdict(set)
    members = directory.stage(name)
    for bucket in range(directory.keys.buckets):
        async for items in members.read(bucket):
            for member, group, _ in items:
                if (key := fold(group)) in groups:
                    found[key].add(fold(member))
    return {group: frozenset(inside) for group, inside in found.items()}
