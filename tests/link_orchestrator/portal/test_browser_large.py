"""A plan of 100,000 accounts in a browser, from its page to the end of linking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from infra.local.bench import jobs
from infra.local.demo import Api
from infra.local.demo_data import generate, write
from tests.link_orchestrator.portal.browser import IN_A_BROWSER
from tests.link_orchestrator.portal.test_browser_journey import tick_warnings

pytestmark = [
    *IN_A_BROWSER,
    # The bench sends its files as they are.
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),
]

ACCOUNTS, IDENTITIES = 100_000, 110_000
USABLE_SECONDS = 15
"""Seconds until a page is there, on a machine that runs other tests, too; `make bench` holds pages to their figure."""
LINKED_SECONDS = 600
"""Seconds for which the page of a run is watched while it links."""


@asynccontextmanager
async def planned(folder: Path) -> AsyncIterator[tuple[str, Any]]:
    """Serve the app with a plan that waits, and hand out its address and the run."""
    write(generate(ACCOUNTS, IDENTITIES), folder)
    await jobs.import_accounts(folder, ACCOUNTS)
    async with jobs.serving(folder) as (server, session):
        api = Api(session)
        upload = await api.call("POST", "linking/identities", (folder / "identities.json").read_bytes())
        run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
        yield server.url, await jobs.ended(api, f"linking/runs/{run['id']}", "planned")


async def test_a_plan_of_100_000_accounts_is_looked_at_searched_and_approved(browser: Browser, tmp_path: Path) -> None:
    context = await browser.new_context(reduced_motion="reduce", locale="en-GB")
    page = await context.new_page()
    page.set_default_timeout(USABLE_SECONDS * 1000)
    async with planned(tmp_path) as (url, run):
        path = f"{url}/portal/runs/{run['id']}"
        await page.goto(path)
        await page.get_by_role("heading", name="Look at it, then approve it").wait_for()
        await page.get_by_role("link", name="Decide row by row").click()
        shown = page.locator("table[data-keys] tbody tr")
        first = await shown.first.text_content()
        await page.get_by_role("link", name="Next page").click()
        assert await shown.first.text_content() != first
        await find(page, f"{path}/decisions?decision=link", run)
        await look_through(page, f"{path}/decisions?decision=link&predicted=created")
        await approve(page, path, run)
    await context.close()


async def find(page: Page, address: str, run: Any) -> None:
    """Choose the links, whose number the page says, then look for one of them by name."""
    await page.goto(address)
    assert f"{run['counts']['link']:,}" in str(await page.get_by_label("Decision", exact=True).text_content())
    name = str(await page.locator("table[data-keys] tbody tr a").first.text_content())
    await page.get_by_label("Find a person").fill(name)
    await page.get_by_role("button", name="Show", exact=True).click()
    await page.locator("table[data-keys] tbody tr").get_by_text(name).first.wait_for()


async def look_through(page: Page, address: str) -> None:
    """Choose rows of which there are none: the page looks through the whole plan by itself."""
    await page.goto(address)
    await page.get_by_text("No such row among the first").wait_for()
    await page.get_by_text("Choose other conditions above").wait_for(timeout=LINKED_SECONDS * 1000)


async def approve(page: Page, path: str, run: Any) -> None:
    """Approve the plan by its number, and watch it until all are linked."""
    await page.goto(f"{path}/approve")
    await tick_warnings(page)
    await page.get_by_label("the number of links").fill(f"{run['links']:,}")
    await page.get_by_role("button", name="Approve, and link").click()
    linked = page.get_by_role("heading", name=f"{run['links']:,} accounts linked")
    await linked.wait_for(timeout=LINKED_SECONDS * 1000)
