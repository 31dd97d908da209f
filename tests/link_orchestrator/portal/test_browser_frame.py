"""The frame in a real browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Browser, Route

import function_app
from infra.local.host import LocalHost
from infra.local.samples import MadeUp
from infra.local.sign_in import SignIn, with_portal
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen
from tests.link_orchestrator.portal.test_overview import bring_people

pytestmark = IN_A_BROWSER


async def test_the_overview_is_shown_to_everybody(screen: Screen) -> None:
    await screen.open()
    assert await screen.page.title() == "Overview · Scimlink"
    await screen.check("overview-empty")


async def test_made_up_people_come_with_a_click(screen: Screen) -> None:
    await screen.open()
    await screen.page.get_by_role("button", name="Try it with made-up people").click()
    await screen.page.get_by_text("made-up accounts are being imported").wait_for()
    await screen.page.get_by_role("link", name="Make a plan").wait_for()  # the import has ended meanwhile
    await screen.page.wait_for_load_state()
    await screen.check("overview-tried")


NOTING = """addEventListener("DOMContentLoaded", () => {
  const status = document.getElementById("status");
  new MutationObserver(() => status.textContent && sessionStorage.setItem("said", status.textContent))
    .observe(status, { childList: true });
})"""
"""Script that notes what the foot of a page says: while a page waits for the next one, nothing can be asked of it."""


async def test_what_takes_longer_than_a_second_is_told_to_be_under_way(screen: Screen) -> None:
    async def held(route: Route) -> None:
        await asyncio.sleep(1.5 if route.request.method == "POST" else 0)
        await route.continue_()

    await screen.page.add_init_script(NOTING)
    await screen.open()
    await screen.page.route("**/portal", held)
    await screen.page.get_by_role("button", name="Try it with made-up people").click()
    await screen.page.get_by_text("made-up accounts are being imported").wait_for()
    assert "The server is at work" in await screen.page.evaluate("sessionStorage.getItem('said')")
    assert not await screen.page.get_by_text("The server is at work").count()


async def test_every_error_is_a_page(screen: Screen) -> None:
    await screen.open("nothing")
    assert await screen.page.get_by_role("heading", level=1).inner_text() == "There is no such page"
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("not-found")


async def test_settings_are_shown_as_they_are(screen: Screen) -> None:
    await screen.open("settings")
    assert await screen.page.get_by_role("row", name="local administration, Entra's provisioning never").count() == 1
    await screen.check("settings")


async def test_the_overview_of_a_directory_at_work(screen: Screen) -> None:
    await bring_people(screen.door)
    await screen.open()
    assert await screen.page.get_by_role("link", name="Connect Entra").count() == 1
    await screen.check("overview-linked")


async def test_on_this_machine_the_portal_opens_by_its_address_alone(browser: Browser, tmp_path: Path) -> None:
    """With the sign-in of `make run`, as somebody who may look only; no header is put in."""
    tables, histories = (SqliteTables.open(tmp_path / "scimlink.db", name) for name in ("accounts", "histories"))
    app = function_app.build(with_portal(Settings.local("t")), tables, MadeUp(1, 1))
    async with LocalHost(app, histories, sign_in=SignIn("reader")) as host:
        page = await browser.new_page()
        await page.goto(f"{host.url}/portal")
        await page.get_by_text("you@this machine").wait_for()
        assert await page.get_by_role("button").count() == 0
        await page.get_by_role("link", name="Sign out").click()
        await page.get_by_text("nobody signs out").wait_for()
        await page.close()
    await tables.close()
    await histories.close()


async def test_a_page_that_loads_itself_again_while_it_is_looked_at_is_looked_at_again(screen: Screen) -> None:
    await screen.open()
    loads = asyncio.create_task(_load_again(screen))
    await screen.check()
    await loads


async def _load_again(screen: Screen) -> None:
    await asyncio.sleep(0.2)  # as long as the first of four looks takes, and no longer
    await screen.page.reload()
