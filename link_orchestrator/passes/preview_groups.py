"""The pass that previews an import of groups: it goes the import's way, counts, and changes no group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from link_orchestrator.messages import Slice
from link_orchestrator.passes.import_groups import Bucket, go_through
from shared.directory.directory import Directory
from shared.directory.records.members import Member
from shared.directory.records.model import Group
from shared.directory.work.jobs import Job


async def preview_groups(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Count what an import would do about the rows of a slice; stop early if the preview is cancelled."""
    return await go_through(slice_, lambda bucket: _Look(directory, job, bucket))


class _Look(Bucket):
    """An import of one bucket's groups that keeps to itself what it would store."""

    async def create(self, group: Group) -> Group:
        """Return a new group as it would be stored."""
        return group

    async def replace(self, before: Group, after: Group) -> Group:
        """Return what a row would make of a group."""
        return after

    async def add(self, group_id: str, missing: Sequence[Member]) -> bool:
        """Tell that the members would be added."""
        return True
