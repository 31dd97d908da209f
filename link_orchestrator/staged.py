"""What is staged for a job: under which name, and in which bucket an item is.

A pass writes each item to the bucket in which the next pass reads it (shared/directory/work/staging.py). A set's name
is the id of its run, verification or upload, and a word of this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from link_orchestrator.files.entra_groups import EntraGroup
from shared.directory.directory import Directory
from shared.directory.keys import Key, Keys
from shared.directory.work.jobs import Job

KEYS, PAIRS, CANDIDATES, LINKS, RESERVED = PLANNED = "keys", "pairs", "candidates", "links", "reserved"
"""Filled by the passes of every run: passes/plan.py, and RESERVED by passes/apply.py."""
CHANGED, MEETING, TOUCHED, LEADS, MET, VALUES = COMPARED = "changed", "meeting", "touched", "leads", "met", "values"
"""Filled by a later run's first passes: passes/compare.py. The first two hold the identities that it decides on again,
those that changed and those that meet an account which changed; TOUCHED holds those accounts."""
MEMBERS, NAMED = GROUPED = "members", "named"
"""Filled by the passes that plan groups. MEMBERS is also what an upload of Entra's groups calls its memberships."""
VERIFIED = KEYS, PAIRS
"""Filled by a verification, under its own id: passes/verify.py."""
READ: Final = "read"
"""Filled with the identities that a run reads from its source: passes/read.py."""
RESTARTS: Final = 3
"""Times that a reading may begin again, each time into another set."""
MEMBERS_AT_ONCE: Final = 500
"""Members of a group that are staged before other requests get their turn."""


def names(job_id: str, words: Sequence[str]) -> list[str]:
    """Return the names of a job's sets, to be announced."""
    return [job_id + word for word in words]


def reading_names(run_id: str) -> list[str]:
    """Return the names of the sets that a run may read its identities into: each new start takes the next.

    The report on those that cannot be used has the same name.
    """
    return [f"{run_id}{READ}{restart}" for restart in range(RESTARTS + 1)]


def groups_of(reading: str) -> str:
    """Return the name of the set that holds the groups read with the identities of another set."""
    return f"{reading}groups"


def entra_groups(name: str) -> list[str]:
    """Return the names of the sets that an EntraGroupWriter fills."""
    return [name, name + MEMBERS]


def parts_of(job: Job) -> Sequence[str]:
    """Return the names of the sets that hold a run's or an upload's identities, the ones that count first."""
    named: Sequence[str] = job.options.get("parts", [job.options.get("identities", job.id)])
    return named


def identity_bucket(keys: Keys, object_id: str) -> int:
    """Return the bucket of an identity."""
    return keys.bucket(keys.digest(Key("identity", object_id)))


def name_bucket(keys: Keys, display_name: str) -> int:
    """Return the bucket in which a group of this name is planned, and would be found here."""
    return keys.bucket(keys.digest(Key("displayName", display_name)))


class EntraGroupWriter:
    """Stages groups of Entra for runs, under the id of an upload or the name of a reading's set.

    Each group is an item `{"id", "displayName"}` by the bucket of its object id; of a group that was read twice, under
    two names, the first item counts. Each membership is an item `[member, group, bucket]` in the set that ends in
    MEMBERS: both object ids and the bucket of the group's name, by the bucket in which the member's account would be
    found by its externalId. Close the writer, or what it holds is lost.
    """

    def __init__(self, directory: Directory, name: str, slice_name: str = "0") -> None:
        self._keys = directory.groups.keys
        self._groups, self._members = (directory.stage(one).writer(slice_name) for one in entra_groups(name))

    async def add(self, group: EntraGroup) -> None:
        """Stage a group; one that is not whole yet only with its members."""
        home = name_bucket(self._keys, group.display_name)
        if group.whole:
            item = {"id": group.object_id, "displayName": group.display_name}
            await self._groups.add(self._found_by(group.object_id), item)
        for place, member in enumerate(group.members):
            if place % MEMBERS_AT_ONCE == MEMBERS_AT_ONCE - 1:
                await asyncio.sleep(0)
            await self._members.add(self._found_by(member), [member, group.object_id, home])

    async def close(self) -> None:
        """Write all that is held."""
        await self._groups.close()
        await self._members.close()

    def _found_by(self, object_id: str) -> int:
        return self._keys.bucket(self._keys.digest(Key("externalId", object_id)))
