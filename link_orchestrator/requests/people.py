"""Identities of a run by their object ids, as its source had them: while what was read is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.staged import identity_bucket, parts_of
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.identity import Identity
from shared.directory.work.jobs import Job
from shared.tables.access import in_waves


async def find_identities(directory: Directory, run: Job, object_ids: Iterable[str]) -> Mapping[str, Identity]:
    """Return identities of a run by their folded object ids; each bucket in which one is costs the reading of it."""
    buckets: defaultdict[int, set[str]] = defaultdict(set)
    for object_id in object_ids:
        buckets[identity_bucket(directory.keys, object_id)].add(fold(object_id))
    names = parts_of(run)
    read = await in_waves(identities_in(directory, names, bucket, wanted) for bucket, wanted in buckets.items())
    known = {fold(identity.object_id): identity for some in read for _, identity in some}
    return {one: known[one] for wanted in buckets.values() for one in wanted if one in known}


async def are_kept(directory: Directory, run: Job) -> bool:
    """Tell whether anything is left of the identities that a run read."""
    for name in parts_of(run):
        async for _ in directory.stage(name).read_many(0, directory.keys.buckets):
            return True
    return False
