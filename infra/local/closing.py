"""How a server of this machine stops, so that no connection outlives it."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

ACCEPTING_TURNS: Final = 4
"""Turns of the event loop, with one to spare, until a connection that the kernel accepted is known to the server."""


async def close(runner: web.BaseRunner) -> None:
    """Accept nobody any more, then end all connections, and stop.

    aiohttp closes the connections that it knows, a turn after it has stopped. Whoever was accepted in that moment never
    was closed, and waited for a server that was gone: asyncio has no transport for a server without sockets
    (python/cpython #109564).
    """
    for site in runner.sites:
        # aiohttp has no public way to its sockets.
        for listening in site._server.sockets if isinstance(site._server, asyncio.Server) else ():
            asyncio.get_running_loop().remove_reader(listening)
    for _ in range(ACCEPTING_TURNS):
        await asyncio.sleep(0)
    await runner.cleanup()
