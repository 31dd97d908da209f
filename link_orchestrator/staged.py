"""What is staged for a job: the names of its stages, and the bucket in which an item is.

A pass writes each item into the bucket in which a later pass reads it (shared/directory/work/staging.py). The name of a
stage is the id of its run, verification or upload, followed by a word of this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from link_orchestrator.files.entra_groups import EntraGroup
from shared.directory.directory import Directory
from shared.directory.keys import Key, Keys
from shared.directory.work.jobs import Job
from shared.directory.work.staging import Stage

KEYS, PAIRS, CANDIDATES, LINKS, LEFT, RESERVED = PLANNED = (
    "keys", "pairs", "candidates", "links", "left", "reserved",
)  # fmt: skip
"""Stages that every run fills, in passes/pairs.py and passes/plan.py; RESERVED in passes/apply.py. LEFT has the
identities that no account matches, for passes/suggest.py."""
CHANGED, MEETING, TOUCHED, LEADS, MET, VALUES, MANY = COMPARED = (
    "changed", "meeting", "touched", "leads", "met", "values", "many",
)  # fmt: skip
"""Stages that the first passes of a later run fill, in passes/compare.py. The run decides again on the identities in
CHANGED, which changed, and in MEETING, which meet an account in TOUCHED, which changed."""
MEMBERS, NAMED = GROUPED = "members", "named"
"""Stages that the planning of groups fills. An upload of Entra's groups has MEMBERS, too."""
VERIFIED = KEYS, PAIRS
"""Stages that a verification fills under its own id, in passes/verify.py."""
IDS: Final = "ids"
"""Stage of an upload of identities with a record of each row, in requests/object_ids.py."""
IMPORTED: Final = "imported"
"""Stage of an import with the ids of the accounts or groups that it may have made or changed, for its undo."""
FREED: Final = "freed"
"""Stage of an import with the userNames that it takes from accounts, each with the account's id."""
SWITCHED_ON: Final = "switchedon"
"""What the name of the list of accounts ends in that an undo may switch on, behind the undo's id."""
UNREAD: Final = "unread"
"""Stage of a preview with the problems that its file was read with, and their counts, for the import of its rows."""
STAGED: Final = "staged"
"""The option of an import that names the preview whose rows it imports."""
READ: Final = "read"
"""Stage that a run fills with the identities it reads from its source, in passes/read.py."""
RESTARTS: Final = 3
"""Times that a reading may begin again, each time into another stage."""
MEMBERS_AT_ONCE: Final = 500
"""Members of a group that are staged before other requests get their turn."""


def rows_of(directory: Directory, job: Job) -> Stage:
    """Return the stage with the rows of an import's or a preview's file."""
    return directory.stage(job.options.get(STAGED, job.id))


def names(job_id: str, words: Sequence[str]) -> list[str]:
    """Return the names of a job's stages."""
    return [job_id + word for word in words]


def reading_names(run_id: str) -> list[str]:
    """Return the names of the stages that a run may read its identities into: each time it begins again, the next one.

    The report on identities that cannot be used has the same name.
    """
    return [f"{run_id}{READ}{restart}" for restart in range(RESTARTS + 1)]


def assigned_of(reading: str) -> str:
    """Return the name of the stage for the people of a reading who are assigned to the application."""
    return f"{reading}assigned"


def groups_of(reading: str) -> str:
    """Return the name of the stage for the groups that are read together with the identities of a reading."""
    return f"{reading}groups"


def entra_groups(name: str) -> list[str]:
    """Return the names of the stages that an EntraGroupWriter fills."""
    return [name, name + MEMBERS]


def parts_of(job: Job) -> Sequence[str]:
    """Return the names of the stages that hold the identities of a run or an upload.

    Where an identity is in several, the first of them counts.
    """
    named: Sequence[str] = job.options.get("parts", [job.options.get("identities", job.id)])
    return named


def identity_bucket(keys: Keys, object_id: str) -> int:
    """Return the bucket of an identity."""
    return keys.bucket(keys.digest(Key("identity", object_id)))


def name_bucket(keys: Keys, display_name: str) -> int:
    """Return the bucket in which a group of this name is planned, and in which the directory would have it."""
    return keys.bucket(keys.digest(Key("displayName", display_name)))


class EntraGroupWriter:
    """Stages groups of Entra under the id of an upload, or under the name of a reading's groups.

    A group is an item `{"id", "displayName"}` in the bucket of its object id. If a group was read twice, under two
    names, the first item counts. A membership is an item `[member, group, bucket]` in the stage that ends in MEMBERS:
    two object ids, and the bucket of the group's name. It is in the bucket in which an account with the member's
    externalId would be found. What a writer holds is lost if it is not closed.
    """

    def __init__(self, directory: Directory, name: str, slice_name: str = "0") -> None:
        self._keys = directory.groups.keys
        self._groups, self._members = (directory.stage(one).writer(slice_name) for one in entra_groups(name))

    async def add(self, group: EntraGroup) -> None:
        """Stage a group and its members; of a group that is not whole yet, only the members."""
        home = name_bucket(self._keys, group.display_name)
        if group.whole:
            item = {"id": group.object_id, "displayName": group.display_name}
            await self._groups.add(self._found_by(group.object_id), item)
        for place, member in enumerate(group.members):
            if place % MEMBERS_AT_ONCE == MEMBERS_AT_ONCE - 1:
                await asyncio.sleep(0)
            await self._members.add(self._found_by(member), [member, group.object_id, home])

    async def close(self) -> None:
        """Write all that is held back."""
        await self._groups.close()
        await self._members.close()

    def _found_by(self, object_id: str) -> int:
        return self._keys.bucket(self._keys.digest(Key("externalId", object_id)))
