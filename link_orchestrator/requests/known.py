"""Whose an object id or user principal name is, as far as something that was read and is kept says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from link_orchestrator.kinds import IDENTITIES, RUN
from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.requests.jobs import kept_until
from link_orchestrator.requests.people import find_identities
from link_orchestrator.staged import parts_of
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.directory.matching.identity import Identity
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.access import in_waves

NO_IDENTITY: Final = f"{NO_OBJECT_ID}, or the user principal name of somebody who was read"
"""What is said of a text that is neither. Pages say it otherwise."""
MOST_JOBS: Final = 20
"""Uploads and runs that are looked for, the latest ones."""
MOST_NAMED: Final = 50
"""Identities that a list names: each costs the reading of a bucket of every part that was read last."""
MOST_SCANNED: Final = 20_000
"""Identities of an upload of which no plan was made, up to which one is looked for by name among them all."""
MOST_READ: Final = 8
"""Those of them that are looked into: each costs the reading of a bucket of every part that was read."""


async def get_known_identity(directory: Directory, request: Request) -> Response:
    """Return the identity of an object id, or of a user principal name, and by which upload or run it is known.

    That is the latest one that is kept and knows it.
    """
    object_id, name = read_object_id(request.id), request.id.strip()
    if object_id is None and "@" not in name:
        raise InvalidValue(f"identity: {NO_IDENTITY}")
    for job in await _reads(directory):
        wanted = [object_id] if object_id else await _named(directory, job, name)
        if len(wanted) > 1:
            raise InvalidValue(f"identity: {len(wanted)} people have this name in what was read: name one by object id")
        if identity := next(iter((await find_identities(directory, job, wanted)).values()), None):
            known_by = {"id": job.id, "kind": job.kind, "started": job.started}
            return Response(200, dump({"identity": identity.to_json(), "knownBy": known_by}))
    raise NotFound(
        "nobody of this id or name is in what was read and is kept",
        "identity in what was read and is kept",
        "look it up in Entra, or upload the identities again (POST /linking/identities)",
    )


async def _named(directory: Directory, job: Job, name: str) -> list[str]:
    """Return the object ids of those who have a user principal name in what a run or an upload read.

    A plan has its names in order. Before there is one, an upload is read through, if it is none of very many.
    """
    if job.kind == RUN.name:
        rows, _ = await directory.plan_names(job.id).find(name, "", MOST_NAMED)
        people: Iterable[tuple[str, str]] = (
            (str(one["objectId"]), str(one["userPrincipalName"])) for row in rows if (one := row.shown.get("identity"))
        )
    elif job.counts.get("read", 0) <= MOST_SCANNED:
        buckets = range(directory.keys.buckets)
        read = await in_waves(identities_in(directory, parts_of(job), bucket) for bucket in buckets)
        people = ((one.object_id, one.user_principal_name) for some in read for _, one in some)
    else:
        people = ()
    return list(dict.fromkeys(object_id for object_id, own in people if fold(own) == fold(name)))


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
