"""Every macro on one page: what pages are made of can be seen, used by keys, and read aloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

import pytest
import pytest_asyncio
from jinja2 import ChoiceLoader, FileSystemLoader
from playwright.async_api import Browser, Route, expect

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.rendering import environment
from shared.directory.errors import NotFound
from shared.host.auth import Forbidden
from shared.scim.errors import InvalidValue
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen, on_screen
from tests.link_orchestrator.portal.door import add_pages, opened

pytestmark = IN_A_BROWSER


WITHIN_OTHERS = {"badge", "count", "duration", "error_summary", "job", "value", "who"}
"""Parts that others in the gallery are made of."""


@dataclass
class Seen:
    """How often the gallery was loaded, and whether what it follows has ended."""

    seen: int = 0
    ended: bool = True
    trouble: Exception | None = None
    """What the page is answered with instead."""


counter = Seen()


async def show(asked: Asked) -> Outcome:
    counter.seen += 1
    if counter.trouble is not None:
        raise counter.trouble
    return Shown("gallery.html", counter)


async def save(asked: Asked) -> Outcome:
    if asked.form["verifiedDomains"] == "contoso.com":
        return SeeOther("gallery", said="saved")
    raise InvalidValue("verifiedDomains: a domain, like contoso.com; links: 821, the number shown")


@pytest_asyncio.fixture(loop_scope="session")
async def gallery(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Screen]:
    """A tab on the gallery."""
    copy(Path(__file__).with_name("gallery.html"), tmp_path)
    made, counter.ended, counter.trouble = environment(), True, None
    monkeypatch.setattr(made, "loader", ChoiceLoader([made.loader, FileSystemLoader(tmp_path)]))  # type: ignore[list-item]
    page = Page("gallery", show, {"save": save}, label="Gallery", notices={"saved": "It is saved."})
    add_pages(monkeypatch, page)
    async with opened(tmp_path) as door, on_screen(browser, door) as screen:
        await screen.open("gallery")
        yield screen


async def test_every_part_can_be_seen_and_used(gallery: Screen) -> None:
    shown = Path(__file__).with_name("gallery.html").read_text()
    parts = {name for name in vars(environment().globals["ui"]) if f"ui.{name}(" not in shown}
    assert parts <= WITHIN_OTHERS, "a part that nobody has looked at"
    await gallery.check("gallery")


async def test_a_refusal_keeps_what_was_typed_and_stands_beside_its_field(gallery: Screen) -> None:
    page = gallery.page
    await page.get_by_label("Domains").fill("<script>")
    await page.get_by_label("Strong").check()
    await page.get_by_label("Link groups, too").uncheck()
    await page.get_by_label("Type 821 to approve").fill("821")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("alert").wait_for()
    assert await page.get_by_label("Domains").input_value() == "<script>"
    assert await page.get_by_label("Strong").is_checked()
    assert not await page.get_by_label("Link groups, too").is_checked()
    assert await page.evaluate("document.activeElement.className") == "errors"
    await page.get_by_role("alert").get_by_role("link", name="a domain, like contoso.com").click()
    assert await page.evaluate("document.activeElement.name") == "verifiedDomains"
    gallery.errors.clear()  # the browser reports the status itself
    await gallery.check("gallery-refused")
    await page.get_by_label("Domains").fill("contoso.com")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("It is saved.").wait_for()
    await expect(page.locator(".said"), "Tab goes on from what was done").to_be_focused()


async def test_a_number_that_is_not_the_one_shown_is_said_before_anything_is_sent(gallery: Screen) -> None:
    page = gallery.page
    await page.get_by_label("Type 821 to approve").fill("12")
    await page.get_by_role("button", name="Save").click()
    assert "821" in await page.get_by_label("Type 821 to approve").evaluate("element => element.validationMessage")
    assert await page.get_by_role("alert").count() == 0


async def test_a_table_is_gone_through_by_keys(gallery: Screen) -> None:
    page = gallery.page
    for key in ("j", "j", "x", "k"):
        await page.keyboard.press(key)
    assert await page.locator("tr[data-at]").inner_text() == "\tRow 0\t0"
    assert await page.get_by_label("Row 1").is_checked()
    await page.keyboard.press("l")
    await page.wait_for_url("**/portal/runs")


async def test_what_is_followed_goes_on_says_that_nobody_answers_and_recovers(gallery: Screen) -> None:
    page = gallery.page
    counter.ended, counter.seen = False, 0
    await page.reload()
    await page.get_by_text("Seen 3 times").wait_for()
    await page.context.set_offline(True)
    await page.get_by_text("The server does not answer").wait_for()
    await page.context.set_offline(False)
    await page.get_by_text("The server does not answer").wait_for(state="hidden")
    async with page.expect_navigation():  # it has ended: the page is loaded again by itself
        counter.ended = True
    assert "fragment" not in page.url


async def sign_out(route: Route) -> None:
    """Answer as App Service does to somebody whose sign-in has ended: with the way to the sign-in of Entra."""
    await route.fulfill(status=302, headers={"Location": "https://login.microsoftonline.com/"})


async def test_the_end_of_a_sign_in_is_said_and_goes_on_after_it(gallery: Screen) -> None:
    page = gallery.page
    counter.ended = False
    await page.reload()
    await page.get_by_label("Domains").fill("contoso.com")
    await page.route("**/portal/gallery?**", sign_out)
    await page.get_by_text("Your sign-in has ended").wait_for()
    assert await page.get_by_label("Domains").input_value() == "contoso.com"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (NotFound("no such run", "run"), "There is no such page"),
        (Forbidden("this takes a role"), "You may not do this"),
    ],
)
async def test_what_is_followed_and_is_gone_is_said_by_the_page_itself_once(
    gallery: Screen, trouble: Exception, said: str
) -> None:
    page = gallery.page
    counter.ended = False
    await page.reload()
    counter.trouble = trouble
    await page.get_by_role("heading", name=said).wait_for()
    seen = counter.seen
    await page.wait_for_timeout(1_500)
    assert counter.seen == seen, "a page that cannot be shown is not loaded again and again"


async def test_what_was_typed_beside_it_stays_when_what_is_followed_ends_or_is_gone(gallery: Screen) -> None:
    page = gallery.page
    counter.ended = False
    await page.reload()
    await page.get_by_label("Domains").fill("contoso.com")
    counter.trouble = NotFound("no such run", "run")
    await page.get_by_text("Nothing that you typed is lost").wait_for()
    assert await page.get_by_label("Domains").input_value() == "contoso.com"


async def test_a_form_is_not_sent_to_a_server_that_is_away(gallery: Screen) -> None:
    page = gallery.page
    await page.get_by_label("Domains").fill("contoso.com")
    await page.get_by_label("Type 821 to approve").fill("821")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Nothing was sent, and nothing of what you typed is lost").wait_for()
    assert await page.get_by_label("Domains").input_value() == "contoso.com"
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("It is saved.").wait_for()


async def test_a_form_is_not_sent_into_a_sign_in(gallery: Screen) -> None:
    page = gallery.page
    await page.get_by_label("Domains").fill("contoso.com")
    await page.get_by_label("Type 821 to approve").fill("821")
    await page.route("**/portal/gallery", sign_out)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Your sign-in has ended").wait_for()
    assert await page.get_by_label("Domains").input_value() == "contoso.com"
    await page.unroute("**/portal/gallery")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("It is saved.").wait_for()
