"""The app over an empty SQLite file, and what a run leaves behind after each of its activities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.link_orchestrator.running import App, serving
from tests.link_orchestrator.test_kill import Step, decide_on_changes_and_reserve, undisturbed


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A running app with one directory of few buckets."""
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """Every activity on the way without a crash, gone once: tests work on copies of its files."""
    with pytest.MonkeyPatch.context() as patch:
        decide_on_changes_and_reserve(patch)
        return asyncio.run(undisturbed(tmp_path_factory.mktemp("undisturbed")))
