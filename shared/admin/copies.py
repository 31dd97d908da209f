"""The nightly copy of the tables, for a restore (infra/restore.py)."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.host.settings import Settings
from shared.tables.copying import Manifest, copy

if TYPE_CHECKING:
    from shared.tables.azure import AzureTables
    from shared.tables.blobs import Blobs

log = logging.getLogger("scimlink")

CONTAINER: Final = "backups"
SECONDS: Final = 900.0
"""Seconds that one go may take; the next goes on from there. host.json ends a function after 30 minutes."""
NIGHT: Final = "0 5,25,45 0,1 * * *"
"""When the tables are copied: what is not done the first time is gone on with, and a copy that is complete is left."""


async def copy_tables(settings: Settings, day: str = "") -> Manifest | None:
    """Go on with the copy of a day, today unless given, or do nothing where no place for it is set."""
    if not settings.backups_endpoint:
        return None
    day = day or datetime.now(UTC).date().isoformat()
    source = open_source(settings)
    try:
        async with open_blobs(settings) as blobs:
            manifest, news = await copy(source, blobs, day, SECONDS)
    finally:
        await source.close()
    if manifest.ended and news:
        told = (day, len(manifest.parts), manifest.rows, manifest.bytes)
        log.info("tables copied: day=%s parts=%d rows=%d bytes=%d", *told)
    return manifest


def open_source(settings: Settings) -> AzureTables:
    """Return the tables, with connections of their own: those that answer requests are not held up."""
    from shared.tables.azure import AzureTables

    return AzureTables.open(settings.tables, settings.tables_endpoint, settings.client_id)


def open_blobs(settings: Settings) -> AbstractAsyncContextManager[Blobs]:
    """Return the container of the copies, which the app's managed identity opens."""
    from shared.tables.azure import ManagedIdentity
    from shared.tables.blobs import SCOPE, Blobs

    identity = ManagedIdentity(settings.client_id or None)

    async def token() -> str:
        return (await identity.get_token(SCOPE)).token

    return Blobs(f"{settings.backups_endpoint}/{CONTAINER}", token)
