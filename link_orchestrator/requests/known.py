"""Whose an object id is, as far as something that was read and is still kept says so. Nothing is kept for it."""

from __future__ import annotations

from typing import Final

from link_orchestrator.kinds import IDENTITIES, RUN
from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.requests.jobs import kept_until
from link_orchestrator.staged import identity_bucket, parts_of
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MOST_JOBS: Final = 20
"""Uploads and runs that are looked at, the latest ones."""
MOST_READ: Final = 8
"""Stages that are looked into at most: each costs the reading of a bucket."""


async def get_known_identity(directory: Directory, request: Request) -> Response:
    """Return the identity of an object id, and by which upload or run it is known: the latest one that is kept."""
    object_id = read_object_id(request.id)
    if object_id is None:
        raise InvalidValue(f"identity: {NO_OBJECT_ID}")
    jobs, _ = await directory.jobs.page((IDENTITIES.name, RUN.name), "", MOST_JOBS)
    bucket, wanted, seen = identity_bucket(directory.keys, object_id), fold(object_id), set[str]()
    for job in jobs:
        until = kept_until(job)
        if until is not None and until < directory.jobs.now():
            continue
        names = [name for name in parts_of(job) if name not in seen]
        if len(seen) + len(names) > MOST_READ:
            break
        seen.update(names)
        for _, identity in await identities_in(directory, names, bucket, {wanted}):
            if fold(identity.object_id) == wanted:
                known_by = {"id": job.id, "kind": job.kind, "started": job.started}
                return Response(200, dump({"identity": identity.to_json(), "knownBy": known_by}))
    raise NotFound(
        "nobody of this id is in what was read and is kept",
        "identity in what was read and is kept",
        "look it up in Entra, or upload the identities again (POST /linking/identities)",
    )
