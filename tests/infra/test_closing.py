"""A server that stops leaves no connection open."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from infra.local.closing import ACCEPTING_TURNS, close


@pytest.mark.parametrize("turns", range(ACCEPTING_TURNS + 2))
async def test_whoever_is_accepted_while_the_server_stops_is_told(turns: int) -> None:
    runner = web.ServerRunner(web.Server(lambda _: web.Response()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.create_connection(runner.addresses[0][:2]) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await close(runner)
        client.settimeout(1)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            assert turns < ACCEPTING_TURNS, "it was accepted"
