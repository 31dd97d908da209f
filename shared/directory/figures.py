"""Figures of a directory for whoever watches over the deployment: numbers, and nothing about a person."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from shared.directory.directory import Directory
from shared.directory.keys import LIVE, prefix_end
from shared.directory.records.model import Link
from shared.directory.text import timestamp
from shared.json_text import load
from shared.tables.access import scan_pages

OVERDUE_AFTER = timedelta(days=3)
"""How old an unconfirmed link is that something is wrong with. Entra's cycles are 40 minutes apart, and the first one
of a large tenant takes a day or two."""


async def count_links(directory: Directory, now: datetime | None = None) -> Counter[str]:
    """Return how many accounts are `linked`, how many links are `unconfirmed`, and how many `overdue`."""
    late, counts = timestamp((now or datetime.now(UTC)) - OVERDUE_AFTER), Counter[str]()
    for bucket in range(directory.keys.buckets):
        partition = directory.keys.resources(bucket)
        async for page in scan_pages(directory.tables, partition, LIVE, prefix_end(LIVE), select=["link"]):
            links = [Link.from_json(load(str(row.columns["link"]))) for row in page.rows if "link" in row.columns]
            waiting = [link.at for link in links if not link.confirmed]
            counts.update(linked=len(links), unconfirmed=len(waiting), overdue=sum(at < late for at in waiting))
    return counts
