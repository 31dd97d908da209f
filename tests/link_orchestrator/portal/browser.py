"""A real browser on the portal: Chromium of the system, one for each process of tests.

Screens go to `.screens/`, for people to look at. A module of browser tests begins with `pytestmark = IN_A_BROWSER`;
`pytest -k "not browser"` leaves them out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Error, Page, async_playwright

from tests.environments import ROOT
from tests.link_orchestrator.portal.door import OPERATOR, Door

IN_A_BROWSER = [pytest.mark.asyncio(loop_scope="session")]
"""Marks of a module whose tests share the browser of their process, and so its event loop."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCREENS = ROOT / ".screens"
WIDTHS = (360, 1600)
SERIOUS = ("serious", "critical")
LOADS = 3
"""How often a page may load itself while it is looked at."""


def find_chromium() -> str:
    """Return the browser's path. Fails the test with what to install where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "no browser: these tests need Chromium on the PATH (apt-get install chromium); "
            'pytest -k "not browser" leaves them out',
            pytrace=False,
        )
    return found


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """Start the browser."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=options)
        yield browser
        await browser.close()


@dataclass(frozen=True, slots=True)
class Screen:
    """A page in the browser, of a person who is signed in."""

    page: Page
    door: Door
    errors: list[str] = field(default_factory=list)
    """What the console complained about: a blocked style or script, an exception."""
    asked: list[str] = field(default_factory=list)
    """Addresses of all requests."""
    loaded: list[str] = field(default_factory=list)
    """Addresses of all pages that began to load: asked for by a test, a link, or the page itself."""

    async def open(self, path: str = "") -> None:
        """Load a page of the portal."""
        await self.page.goto(f"{self.door.url}/portal/{path}".rstrip("/"))

    async def save(self, name: str) -> None:
        """Keep pictures of the page in light and dark, wide and narrow."""
        SCREENS.mkdir(exist_ok=True)
        for scheme in ("light", "dark"):
            for width in WIDTHS if scheme == "light" else WIDTHS[1:]:
                await self._look(scheme, width)
                await self.page.evaluate("scrollTo(0, 0)")
                await self.page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)

    async def picture(self, name: str) -> None:
        """Keep the first screenful in light and dark, as README shows it (infra/docs/screens)."""
        SCREENS.mkdir(exist_ok=True)
        await self.page.set_viewport_size({"width": 1280, "height": 860})
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # as in _look()
            await self.page.evaluate("scrollTo(0, 0)")
            await self.page.screenshot(path=SCREENS / f"readme-{name}-{scheme}.png")

    async def check(self, name: str = "") -> None:
        """Hold the page to what everybody needs: nothing serious in light or dark, wide or narrow, and no overflow.

        With a `name`, keep pictures of it, too. A page that follows a job loads itself again when the job ends: if that
        happens under this look, it is begun again.
        """
        for _ in range(LOADS):
            before = len(self.loaded)
            try:
                return await self._check(name)
            except (Error, AssertionError):
                if len(self.loaded) == before:
                    raise
            await self.page.wait_for_load_state()
        raise AssertionError(f"the page was loaded again and again: {self.loaded[-LOADS:]}")

    async def _check(self, name: str) -> None:
        for scheme in ("light", "dark"):
            for width in WIDTHS:
                await self._look(scheme, width)
                found = (await Axe().run(self.page)).response["violations"]
                assert not [_told(one) for one in found if one["impact"] in SERIOUS], (scheme, width)
                wide = await self.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"the page is {wide} px wide on a screen of {width}"
        if name:
            await self.save(name)
        assert not self.errors
        assert all(address.startswith((self.door.url, "data:")) for address in self.asked), self.asked

    async def _look(self, scheme: str, width: int) -> None:
        await self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # "light" or "dark"
        await self.page.set_viewport_size({"width": width, "height": 900})


def _told(violation: Mapping[str, Any]) -> str:
    nodes = "; ".join(f"{node['html']} {node['failureSummary']}" for node in violation["nodes"][:3])
    return f"{violation['id']}: {violation['help']}: {nodes}"


@asynccontextmanager
async def on_screen(browser: Browser, door: Door, who: Mapping[str, str] = OPERATOR) -> AsyncIterator[Screen]:
    """Open a tab of somebody who is signed in."""
    context = await browser.new_context(
        extra_http_headers=dict(who), viewport={"width": 1280, "height": 900}, reduced_motion="reduce", locale="en-GB"
    )
    page = await context.new_page()
    screen = Screen(page, door)
    page.on("console", lambda told: screen.errors.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: screen.errors.append(str(error)))
    page.on("request", lambda request: screen.asked.append(request.url))
    page.on("request", lambda request: screen.loaded.append(request.url) if request.is_navigation_request() else None)
    yield screen
    await context.close()
