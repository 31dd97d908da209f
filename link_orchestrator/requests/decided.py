"""What was decided about rows of a plan since somebody looked at it: how often, by whom, and which rows last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import find_job, named_row
from link_orchestrator.run import refuse_unreviewable, reviews_of
from shared.admin.parameters import refuse_others
from shared.directory.directory import Directory
from shared.directory.text import counted
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import TIMES
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MOST_READ: Final = 20_000
"""Reviewed rows that are looked at for the last ones."""
MOST_NAMED: Final = 20
"""Rows that are named."""
SINCE: Final = "since"
"""The parameter with how often rows had been reviewed when somebody looked."""
MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided since: `times` decisions, after which there are `reviews`; the last rows, the latest first.

    A row about which somebody decided twice counts twice, and is there once. There are no rows where more were reviewed
    than are looked at.
    """

    times: int
    reviews: int
    rows: Sequence[PlanRow]

    @property
    def by(self) -> Counter[str]:
        """Return who decided about how many of these rows: the person where one is known, else the credential."""
        reviews = (row.review or {} for row in self.rows)
        return Counter(str(review.get("person") or review.get("by", "")) for review in reviews)

    def in_words(self) -> str:
        """Return how often it was decided, and by whom."""
        who = ", ".join(f"{who} ({count:,})" for who, count in self.by.most_common())
        return f"{counted(self.times, 'decision')}{f', the last ones by {who}' if who else ''}"


async def decided_since(directory: Directory, job: Job, since: int) -> Decided:
    """Return what was decided about rows of a plan since its rows had been reviewed `since` times."""
    reviews = reviews_of(directory, job.id)
    now = (await reviews.total())[TIMES] if job.reviewed else 0
    times = max(0, now - since)
    rows = list[PlanRow]()
    for bucket in range(directory.keys.buckets if times else 0):
        async for some in reviews.reviewed(bucket):
            rows += some
        if len(rows) > MOST_READ:
            return Decided(times, now, ())
    return Decided(times, now, nlargest(times, rows, key=_at))


def _at(row: PlanRow) -> str:
    return str((row.review or {}).get("at", ""))


async def list_decided(directory: Directory, request: Request) -> Response:
    """Return how often rows of a plan were reviewed since a number of reviews, by whom, and the last ones of them."""
    refuse_others(request, SINCE)
    since = request.params.get(SINCE, "0")
    if not since.isdecimal() or len(since) > MOST_DIGITS:
        raise InvalidValue(f"{SINCE}: how often rows had been reviewed when you looked, as the run shows it: reviews")
    job = await find_job(directory, request, RUN)
    refuse_unreviewable(job)
    found = await decided_since(directory, job, int(since))
    document = {
        "times": found.times,
        "reviews": found.reviews,
        "by": [{"who": who, "rows": count} for who, count in found.by.most_common()],
        "rows": [named_row(row, RUN) for row in found.rows[:MOST_NAMED]],
    }
    return Response(200, dump(document))
