"""The app over an empty SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.link_orchestrator.running import App, serving


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A running app with one directory of few buckets."""
    async with serving(tmp_path) as running:
        yield running
