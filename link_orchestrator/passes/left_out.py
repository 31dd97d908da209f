"""Whom the directory's policy leaves out by now, though a plan that was made before would link them.

A plan goes by the policy of its beginning. Whom to leave out counts at the moment of the link all the same: who was
excluded since, or whose account was set aside, is refused, and the row says so. How many these would be is counted
before (requests/left_out.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from link_orchestrator.passes.excluded_groups import with_members
from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.run import policy_of
from link_orchestrator.staged import parts_of
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.policy import Policy
from shared.directory.policies import EXCLUDED, SET_ASIDE
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The policy as it is stored now, and the folded ids of whom its new patterns and the like exclude.

    `entries` says how many entries came since the plan, by their attribute.
    """

    policy: Policy
    identities: frozenset[str]
    entries: Mapping[str, int]

    @classmethod
    async def read(cls, directory: Directory, job: Job) -> Self:
        """Read the policy, and all identities of the run only if a pattern, domain, group or type came since."""
        stored, planned = (await directory.policies.read()).policy, policy_of(job)
        come = tuple(one for one in stored.criteria if one not in planned.criteria)
        entries = {
            EXCLUDED: len(stored.excluded - planned.excluded) + len(come),
            SET_ASIDE: len(stored.set_aside - planned.set_aside),
        }
        found = await _excluded(directory, job, replace(stored, criteria=come)) if come else frozenset()
        return cls(stored, found, entries)

    def find(self, row: PlanRow, account_id: str, user_name: str) -> str:
        """Return the attribute of the policy by which an account is not linked by a row, or ""."""
        name = str(row.shown.get("identity", {}).get("userPrincipalName", ""))
        if not self.policy.excluded.isdisjoint((fold(row.subject), fold(name))) or fold(row.subject) in self.identities:
            return EXCLUDED
        return SET_ASIDE if self.policy.sets_aside(account_id, user_name) else ""


async def _excluded(directory: Directory, job: Job, policy: Policy) -> frozenset[str]:
    """Return the folded ids of identities of a run that a policy excludes; of groups as far as the run read them."""
    known = await with_members(directory, job, policy)
    found = set[str]()
    for bucket in range(directory.keys.buckets):
        for _, identity in await identities_in(directory, parts_of(job), bucket):
            if known.exclusion_of(identity):
                found.add(fold(identity.object_id))
    return frozenset(found)
