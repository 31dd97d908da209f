"""Tokens that end soon: said in the log, for the alert, by their names. The tokens themselves nobody has here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from shared.host.settings import Credential, now

log = logging.getLogger("scimlink")

SOON_DAYS = 60
"""Days before its end from which on a token is told of. Alerts choose how many of them are too few."""


def tell_expiring(credentials: Iterable[Credential], at: datetime | None = None) -> None:
    """Log the days that are left of each credential that ends soon, or has ended."""
    at = at or now()
    for one in credentials:
        days = one.days_left(at)
        if days is not None and days <= SOON_DAYS:
            log.warning("credential ends: directory=%s name=%s days=%d", one.directory, one.name, days)
