"""Who is in the groups whose members the policy excludes, as far as the run has read groups."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from link_orchestrator.run import policy_of
from link_orchestrator.staged import MEMBERS
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.policy import Policy
from shared.directory.work.jobs import Job


async def policy_with_members(directory: Directory, job: Job) -> Policy:
    """Return the policy of a run with the members of the groups that it excludes: nothing is read if it names none."""
    policy = policy_of(job)
    if not policy.excluded_groups or "groups" not in job.options:
        return policy
    found: defaultdict[str, set[str]] = defaultdict(set)
    members = directory.stage(job.options["groups"] + MEMBERS)
    for bucket in range(directory.keys.buckets):
        async for items in members.read(bucket):
            for member, group, _ in items:
                if fold(group) in policy.excluded_groups:
                    found[fold(group)].add(fold(member))
    return replace(policy, members={group: frozenset(inside) for group, inside in found.items()})
