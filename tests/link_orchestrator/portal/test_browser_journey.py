"""The whole way on 1,000 accounts, by mouse: from made-up people to a verified cut-over, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page

from infra.local.entra import Cycle
from infra.local.samples import MadeUp
from link_orchestrator.files.identities import read_identities
from link_orchestrator.problems import Problem
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen, on_screen
from tests.link_orchestrator.portal.door import opened
from tests.link_orchestrator.portal.test_browser_bring import choose
from tests.link_orchestrator.running import TOKEN, csv_file

pytestmark = IN_A_BROWSER

PEOPLE = MadeUp(1_000, 1_100)
PROVISIONED = 40
"""Identities that Entra's stand-in provisions: enough to see what is confirmed beside what is not yet."""
PILOT = 25
MORE = csv_file(
    {"userName": "late@contoso.com", "email": "late@contoso.com", "displayName": "Late Joiner"},
    {"userName": "", "email": "", "displayName": "Nameless"},
    {"userName": "LATE@contoso.com", "email": "twice@contoso.com", "displayName": "Twice"},
)
"""One account, and two rows that are none."""


@pytest_asyncio.fixture(loop_scope="session")
async def screen(browser: Browser, tmp_path: Path) -> AsyncIterator[Screen]:
    """A tab of an operator, where a click brings 1,000 accounts."""
    async with opened(tmp_path, samples=PEOPLE) as door, on_screen(browser, door) as found:
        yield found


async def test_the_whole_way_goes_from_made_up_people_to_verified_links_and_back(
    screen: Screen, tmp_path: Path
) -> None:
    page, api = screen.page, screen.door.api
    await bring_everybody(screen, tmp_path)
    before = await names_of(screen)
    assert len(before) == 1_001
    await say_what_is_ours(screen)
    run = await make_a_plan(screen)
    await decide_on_three(screen, run)
    await pilot(screen, run)
    await approve_the_rest(screen, run)
    await provision(screen.door.url)
    await verify(screen, run)
    await undo(screen, run)
    after = await names_of(screen)
    assert {name: after[name] for name in before} == before, "everybody is what they were"
    await follow(page, "Pages", "Activity")
    done = page.get_by_role("table", name="Changes by people")
    for deed in ("Approve", "Undo", "Policy"):
        assert await done.get_by_role("row", name=deed).count()
    assert not screen.errors
    assert all(address.startswith((screen.door.url, "data:")) for address in screen.asked)
    assert (await api.call("GET", f"linking/{run}/undo"))["counts"]["undone"]


async def follow(page: Page, navigation: str, name: str) -> None:
    """Go to a page of a navigation by its link."""
    await page.get_by_role("navigation", name=navigation, exact=True).get_by_role("link", name=name, exact=True).click()


async def names_of(screen: Screen) -> dict[str, Any]:
    """Return who manages each account, and whether it is linked, by its userName, page by page of the API."""
    found, cursor = dict[str, Any](), ""
    while True:
        listed = await screen.door.api.call("GET", "accounts", count="500", **({"cursor": cursor} if cursor else {}))
        found |= {one["userName"]: (one["status"], one["document"]) for one in listed["accounts"]}
        if not (cursor := listed.get("cursor", "")):
            return found


async def bring_everybody(screen: Screen, folder: Path) -> None:
    """Bring the made-up people by a click, the wrong file by mistake, and a file of which two rows are no accounts."""
    page = screen.page
    await screen.open()
    await page.get_by_role("button", name="Try it with made-up people").click()
    await page.get_by_role("link", name="Make a plan").wait_for()  # the import has ended meanwhile
    (folder / "users.json").write_bytes(MadeUp(2, 2).files()["identities"])
    await choose(screen, folder / "users.json")
    await page.get_by_text("Chosen now: Entra's users").wait_for()
    screen.errors.clear()  # the browser reports the status itself
    (folder / "more.csv").write_bytes(MORE)
    await choose(screen, folder / "more.csv")
    await page.get_by_role("button", name="Import more.csv").wait_for()
    refused = page.get_by_role("table", name="Every row, by line").get_by_role("row")
    assert await refused.count() == 3, "the header, and the two rows"
    await page.get_by_role("button", name="Import more.csv").click()
    await page.get_by_role("button", name="Look what taking it back would do").wait_for()


async def say_what_is_ours(screen: Screen) -> None:
    """Add a domain to the policy."""
    page = screen.page
    await follow(page, "Pages", "Policy")
    domains = page.get_by_label("Verified domains", exact=True)
    await domains.fill(f"{await domains.input_value()}\nfabrikam.example")
    await page.get_by_role("button", name="Save the policy").last.click()
    await page.get_by_text("The policy is saved").wait_for()


async def make_a_plan(screen: Screen) -> str:
    """Make a plan of the uploaded identities, and return the path of its page."""
    page = screen.page
    await follow(page, "Pages", "Plan")
    await page.get_by_role("button", name="Make the plan").click()
    await page.get_by_role("heading", name="Look at it, then approve it").wait_for()  # without a reload by anybody
    return "runs/" + page.url.rpartition("/")[2]


async def document(screen: Screen, run: str) -> Any:
    """Return the run as the API shows it."""
    return await screen.door.api.call("GET", f"linking/{run}")


async def decide_on_three(screen: Screen, run: str) -> None:
    """Link two of the rows that are for a person, and exclude a third."""
    page = screen.page
    planned = (await document(screen, run))["links"]
    await page.get_by_role("link", name="Decide row by row").click()
    rows = page.locator("tbody tr")
    for place in range(2):
        await rows.nth(place).get_by_role("checkbox").check()
    await page.get_by_role("button", name="Link", exact=True).last.click()
    await page.get_by_text("It is linked with the run").wait_for()
    await rows.nth(2).get_by_role("button", name="Exclude").click()
    await page.get_by_text("It stays out of this run").wait_for()
    assert (await document(screen, run))["links"] == planned + 2


async def tick_warnings(page: Page) -> None:
    """Say of every warning that it was seen."""
    for box in await page.locator("[name=acknowledged]").all():
        await box.check()


async def pilot(screen: Screen, run: str) -> None:
    """Link the first people alone."""
    page = screen.page
    await follow(page, "This run", "Approve")
    await page.get_by_role("link", name="Choose a pilot").click()
    await page.get_by_label("How many people at most").fill(str(PILOT))
    await page.get_by_role("button", name="See who they are").click()
    await page.get_by_role("heading", name=f"{PILOT} people would be linked").wait_for()
    await tick_warnings(page)
    await page.get_by_role("button", name=f"Link these {PILOT} first").click()
    await page.get_by_role("heading", name=f"The pilot linked {PILOT} accounts").wait_for()
    assert (await document(screen, run))["counts"]["linked"] == PILOT


async def approve_the_rest(screen: Screen, run: str) -> None:
    """Type the number, and see the links made without a reload by anybody."""
    page = screen.page
    left = (await document(screen, run))["links"]
    await follow(page, "This run", "Approve")
    await tick_warnings(page)
    await page.get_by_label("the number of links").fill(f"{left:,}")
    await page.get_by_role("button", name="Approve, and link").click()
    await page.get_by_role("heading", name="accounts linked").wait_for()
    linked = (await document(screen, run))["counts"]["linked"]
    assert linked == left + PILOT
    assert await page.get_by_role("heading", name=f"{linked} accounts linked").count() == 1


async def provision(base: str) -> None:
    """Let Entra's stand-in come through some of the links."""
    found = read_identities(PEOPLE.files()["identities"])
    people = [one for one in found if not isinstance(one, Problem)]
    await Cycle(base, TOKEN).run(people[:PROVISIONED])


async def verify(screen: Screen, run: str) -> None:
    """See what is confirmed and what is not yet."""
    page = screen.page
    await follow(page, "This run", "Verify")
    await page.get_by_role("button", name="Verify").click()
    await page.get_by_role("heading", name="Not yet confirmed").wait_for()
    counts = (await screen.door.api.call("GET", f"linking/{run}/verification"))["counts"]
    assert counts["confirmed"] > 0
    for name in ("confirmed", "unconfirmed"):
        assert await page.locator(".figure", has_text=f"{counts[name]:,}").count()


async def undo(screen: Screen, run: str) -> None:
    """Take every link back, and see the number."""
    page = screen.page
    linked = (await document(screen, run))["counts"]["linked"]
    await follow(page, "This run", "Undo")
    await page.get_by_role("button", name="Look what the undo would do").click()
    await page.get_by_role("button", name="Yes, take the links back").click()
    await page.get_by_role("heading", name="What the undo came to").wait_for()
    assert await page.locator(".figure", has_text=f"{linked:,}").count() == 1
