"""A disk that is full: whoever approves a run learns it at once, and the run goes on once there is room."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

from shared.tables import sqlite
from tests.link_orchestrator.running import Refusal, csv_file, graph, serving

MOST_SECONDS = 60.0
"""Far more than an answer takes, and far less than a wait for room would."""


def _is_full(*_: object, **__: object) -> NoReturn:
    raise sqlite3.OperationalError("database or disk is full")


async def test_approving_on_a_full_disk_is_refused_at_once_and_done_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table of the file can be written: neither the accounts' nor the one of the orchestrations."""
    async with serving(tmp_path) as app:
        await app.bring(csv_file({"userName": "ada@contoso.com", "email": "ada@contoso.com"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        with monkeypatch.context() as full:
            full.setattr(sqlite._Commit, "apply", _is_full)
            async with asyncio.timeout(MOST_SECONDS):
                with pytest.raises(Refusal, match="503"):
                    await app.approve(run)
                ready = await app.host.handle("GET", "/health/ready")
                live = await app.host.handle("GET", "/health/live")
        assert (ready.status_code, live.status_code) == (503, 200)
        assert "full" in ready.get_body().decode()
        done = await app.apply(run)
    assert (done["phase"], run["links"]) == ("done", 1)
