"""Whose an object id is, as far as something that was read and is still kept says so. Nothing is kept for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from link_orchestrator.kinds import IDENTITIES, RUN
from link_orchestrator.requests.jobs import kept_until
from link_orchestrator.requests.people import find_identities
from link_orchestrator.staged import parts_of
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.matching.identity import Identity
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MOST_JOBS: Final = 20
"""Uploads and runs that are looked for, the latest ones."""
MOST_NAMED: Final = 50
"""Identities that a list names: each costs the reading of a bucket of every part that was read last."""
MOST_READ: Final = 8
"""Those of them that are looked into: each costs the reading of a bucket of every part that was read."""


async def get_known_identity(directory: Directory, request: Request) -> Response:
    """Return the identity of an object id, and by which upload or run it is known: the latest one that is kept."""
    object_id = read_object_id(request.id)
    if object_id is None:
        raise InvalidValue(f"identity: {NO_OBJECT_ID}")
    for job in await _reads(directory):
        if identity := (await find_identities(directory, job, [object_id])).get(object_id):
            known_by = {"id": job.id, "kind": job.kind, "started": job.started}
            return Response(200, dump({"identity": identity.to_json(), "knownBy": known_by}))
    raise NotFound(
        "nobody of this id is in what was read and is kept",
        "identity in what was read and is kept",
        "look it up in Entra, or upload the identities again (POST /linking/identities)",
    )


async def name_known(directory: Directory, object_ids: Iterable[str]) -> Mapping[str, Identity]:
    """Return the first MOST_NAMED of some identities by their folded object ids, as they were read last."""
    ids = list(dict.fromkeys(one for one in map(read_object_id, object_ids) if one))[:MOST_NAMED]
    reads = await _reads(directory) if ids else []
    return await find_identities(directory, reads[0], ids) if reads else {}


async def _reads(directory: Directory) -> Sequence[Job]:
    """Return the uploads and runs that read identities which are kept, the latest first, MOST_READ at most."""
    jobs, _ = await directory.jobs.page((IDENTITIES.name, RUN.name), "", MOST_JOBS)
    read = {tuple(parts_of(job)): job for job in reversed(jobs) if not _is_over(job, directory.jobs.now())}
    return [*reversed(read.values())][:MOST_READ]


def _is_over(job: Job, now: str) -> bool:
    until = kept_until(job)
    return until is not None and until < now
