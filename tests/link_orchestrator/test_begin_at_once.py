"""Two requests that would begin the same kind of job at the same time: one begins it, and the other says which."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.link_orchestrator.running import App, Refusal, csv_file, graph


@pytest.mark.parametrize("attempt", range(3))
async def test_of_two_undos_at_once_the_second_is_refused_by_name_and_nothing_is_logged(
    app: App, caplog: pytest.LogCaptureFixture, attempt: int
) -> None:
    """The second one found the first recorded and not yet started, and started it, too."""
    await app.bring(csv_file({"userName": "ada@contoso.com", "email": "ada@contoso.com"}))
    run = await app.apply(await app.plan(graph(1, "ada@contoso.com")))

    async def undo() -> Any:
        try:
            return await app.call("POST", f"linking/runs/{run['id']}/undo")
        except Refusal as refusal:
            return refusal

    with caplog.at_level(logging.WARNING):
        answers = await asyncio.gather(*(undo() for _ in range(4)))
    (begun,) = [one for one in answers if not isinstance(one, Refusal)]
    refusals = [one for one in answers if isinstance(one, Refusal)]
    assert [one.status for one in refusals] == [409] * 3
    assert all(one.detail.startswith(f"{begun['id']} is under way in this directory: GET ") for one in refusals)
    assert [record.getMessage() for record in caplog.records] == []
    await app.wait(f"linking/undos/{begun['id']}", "done")
