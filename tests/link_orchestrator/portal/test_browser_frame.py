"""The frame in a real browser."""

from __future__ import annotations

from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen

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


async def test_every_error_is_a_page(screen: Screen) -> None:
    await screen.open("nothing")
    assert await screen.page.get_by_role("heading", level=1).inner_text() == "There is no such page"
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("not-found")


async def test_settings_are_shown_as_they_are(screen: Screen) -> None:
    await screen.open("settings")
    assert await screen.page.get_by_role("row", name="local admin, scim never").count() == 1
    await screen.check("settings")
