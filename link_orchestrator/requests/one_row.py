"""One row of a plan, with the people whom it names as the source of the run had them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.requests.jobs import find_job, named_row
from link_orchestrator.run import reviews_of
from link_orchestrator.staged import identity_bucket, parts_of
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

MOST_IDENTITIES: Final = 8
"""Identities that are looked up for a row, its own first: each costs the reading of a bucket."""


async def get_row(directory: Directory, request: Request) -> Response:
    """Return one row of a run's plan, and the identities that it names, as the source had them while it is kept."""
    job = await find_job(directory, request, RUN)
    (row,) = await reviews_of(directory, job.id).find_rows([request.params["row"]])
    if row is None:
        raise NotFound("no such row in the run", "row of the run", f"GET /{RUN.path}/{job.id}/decisions lists them")
    shown = named_row(row, RUN)
    wanted = list(dict.fromkeys(_object_ids(shown)))[:MOST_IDENTITIES]
    return Response(200, dump({"row": shown, "identities": await _find(directory, job, wanted)}))


def _object_ids(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the object ids that a row names; its `others` may be accounts, whom no source has."""
    if "identity" in row:
        yield row["identity"]["objectId"]
    yield from row.get("others", ())
    yield from (one["identity"]["objectId"] for one in row.get("suggestions", ()) if "identity" in one)


async def _find(directory: Directory, run: Job, object_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return identities in the order of their ids, as they were read for the run; without those that are not kept."""
    buckets: defaultdict[int, set[str]] = defaultdict(set)
    for object_id in object_ids:
        buckets[identity_bucket(directory.keys, object_id)].add(fold(object_id))
    found: dict[str, dict[str, Any]] = {}
    for bucket, wanted in buckets.items():
        for _, identity in await identities_in(directory, parts_of(run), bucket, wanted):
            if fold(identity.object_id) in wanted:
                found[fold(identity.object_id)] = identity.to_json()
    return [found[fold(one)] for one in object_ids if fold(one) in found]
