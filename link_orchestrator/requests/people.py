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


async def find_identities(directory: Directory, run: Job, object_ids: Iterable[str]) -> Mapping[str, Identity]:
    """Return identities of a run by their folded object ids; each bucket in which one is costs the reading of it."""
    buckets: defaultdict[int, set[str]] = defaultdict(set)
    for object_id in object_ids:
        buckets[identity_bucket(directory.keys, object_id)].add(fold(object_id))
    found: dict[str, Identity] = {}
    for bucket, wanted in buckets.items():
        for _, identity in await identities_in(directory, parts_of(run), bucket, wanted):
            if (known := fold(identity.object_id)) in wanted:
                found[known] = identity
    return found


async def are_kept(directory: Directory, run: Job) -> bool:
    """Tell whether anything is left of the identities that a run read."""
    for name in parts_of(run):
        async for _ in directory.stage(name).read_many(0, directory.keys.buckets):
            return True
    return False
