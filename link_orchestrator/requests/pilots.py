"""Whom a pilot would link: counted and named before it is approved."""

from __future__ import annotations

from typing import Final

from link_orchestrator import pilot
from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import find_job, named_row
from link_orchestrator.requests.selection import CONDITIONS, read_filter, refuse_unsent
from link_orchestrator.run import refuse_unreviewable
from shared.admin.parameters import PAGED, page_answer, read_count, read_cursor, refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import InvalidCursor
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MOST_LOOKED_AT: Final = 20_000
"""Links of a plan that are looked at, of half a second of processor time."""
MOST_DIGITS: Final = 9
"""Digits that a number of people may have."""


async def foresee_pilot(directory: Directory, request: Request) -> Response:
    """Say whom a pilot of a number or a filter would link, of the first 20,000 links of the plan. It changes nothing.

    While nobody decides about a row, the approval of the same pilot links these people, the first ones first.
    """
    refuse_others(request, "number", *CONDITIONS, *PAGED)
    job = await find_job(directory, request, RUN)
    refuse_unreviewable(job)
    wanted, number = read_filter(request), _number(request)
    if wanted:
        refuse_unsent(wanted, job)
    place, count = _place(request), read_count(request)
    found = await pilot.foresee(
        directory,
        job,
        wanted.selects if wanted else lambda row: True,
        number,
        most=MOST_LOOKED_AT,
        kept=range(place, place + count),
    )
    more = str(place + count) if found.links > place + count else None
    beside = {"links": found.links, "signInNames": found.renamed, "lookedAt": found.looked, "more": found.more}
    return page_answer(request, "rows", [named_row(row, RUN) for row in found.rows], more, beside)


def _number(request: Request) -> int | None:
    number = request.params.get("number", "")
    if not number:
        return None
    if not number.isdecimal() or len(number) > MOST_DIGITS or not int(number):
        raise InvalidValue("number: how many people at most, 1 or more")
    return int(number)


def _place(request: Request) -> int:
    """Return how many people are listed before the page. Raises InvalidCursor."""
    place = read_cursor(request, "rows") or "0"
    if not place.isdecimal() or len(place) > MOST_DIGITS:
        raise InvalidCursor
    return int(place)
