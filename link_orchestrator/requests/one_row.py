"""One row of a plan, with the people whom it names as the source of the run had them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import find_job, named_row
from link_orchestrator.requests.people import find_identities
from link_orchestrator.run import reviews_of
from shared.admin.parameters import read_choice, refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

MOST_IDENTITIES: Final = 8
"""Identities that are looked up for a row, its own first: each costs the reading of a bucket."""


IDENTITIES: Final = "identities"
"""What is told beside the row, and the parameter that leaves it out."""


async def get_row(directory: Directory, request: Request) -> Response:
    """Return one row of a run's plan, and the identities that it names, as the source had them while it is kept.

    Without `identities` it looks for none.
    """
    refuse_others(request, "row", IDENTITIES)
    asked = read_choice(request, IDENTITIES, ("true", "false"))
    job = await find_job(directory, request, RUN)
    (row,) = await reviews_of(directory, job.id).find_rows([request.params["row"]])
    if row is None:
        raise NotFound("no such row in the run", "row of the run", f"GET /{RUN.path}/{job.id}/decisions lists them")
    shown = named_row(row, RUN)
    wanted = [] if asked == "false" else list(dict.fromkeys(_object_ids(shown)))[:MOST_IDENTITIES]
    found = await find_identities(directory, job, wanted)
    identities = [found[fold(one)].to_json() for one in wanted if fold(one) in found]
    return Response(200, dump({"row": shown, "identities": identities}))


def _object_ids(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the object ids that a row names; its `others` may be accounts, whom no source has."""
    if "identity" in row:
        yield row["identity"]["objectId"]
    yield from row.get("others", ())
    yield from (one["identity"]["objectId"] for one in row.get("suggestions", ()) if "identity" in one)
