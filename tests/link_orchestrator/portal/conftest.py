"""Fixtures of the portal's tests: its door, and a tab of a browser that is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from infra.local.samples import MadeUp
from tests.link_orchestrator.portal.browser import Screen, on_screen, started
from tests.link_orchestrator.portal.door import Door, opened


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """The portal over an empty directory."""
    async with opened(tmp_path, samples=MadeUp(60, 70)) as found:
        yield found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of this process of tests."""
    async with started() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def screen(browser: Browser, tmp_path: Path) -> AsyncIterator[Screen]:
    """A tab of an operator, on the portal over an empty directory."""
    async with opened(tmp_path, samples=MadeUp(60, 70)) as door, on_screen(browser, door) as found:
        yield found
