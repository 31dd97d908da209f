"""Two operators at once, each in their own browser: who comes second is told, and loses nothing that they typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from link_orchestrator.passes import apply
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen, on_screen
from tests.link_orchestrator.portal.door import COLLEAGUE
from tests.link_orchestrator.portal.runs import plan_demo

pytestmark = IN_A_BROWSER


@pytest_asyncio.fixture(loop_scope="session")
async def colleague(browser: Browser, screen: Screen) -> AsyncIterator[Screen]:
    """A tab of a second operator, in a browser of their own."""
    async with on_screen(browser, screen.door, COLLEAGUE) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def run(screen: Screen) -> Any:
    """A planned run."""
    return await plan_demo(screen.door.api)


def row(page: Page, name: str) -> Any:
    """Return the row of a table that is about somebody."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


async def test_a_row_that_the_other_decided_about_is_not_overruled_unseen(
    screen: Screen, colleague: Screen, run: Any
) -> None:
    first, second = (await screen.door.api.decisions(run, "review"))[:2]
    names = [one["identity"]["displayName"] for one in (first, second)]
    for one in (screen, colleague):
        await one.open(f"runs/{run['id']}/decisions?decision=review")
    await row(colleague.page, names[0]).get_by_role("button", name="Exclude").click()
    await colleague.page.get_by_text("It stays out of this run").wait_for()
    await row(screen.page, names[1]).get_by_role("checkbox").check()
    await row(screen.page, names[0]).get_by_role("button", name="Link").click()
    told = screen.page.get_by_role("alert")
    await expect(told).to_contain_text("max@contoso.com decided about")
    await expect(row(screen.page, names[0])).to_contain_text("stays out")
    await expect(row(screen.page, names[1]).get_by_role("checkbox")).to_be_checked()
    await row(screen.page, names[0]).get_by_role("button", name="Link").click()
    await screen.page.get_by_text("It is linked with the run").wait_for()
    reviewed = {one["id"]: one.get("review") for one in await screen.door.api.decisions(run, "review")}
    assert reviewed[first["id"]]["action"] == "link"
    assert reviewed[second["id"]] is None


async def test_an_approval_after_the_others_review_keeps_what_was_typed_and_after_their_cancel_says_so(
    screen: Screen, colleague: Screen, run: Any
) -> None:
    page, here = screen.page, f"runs/{run['id']}"
    await screen.open(f"{here}/approve")
    for box in await page.locator("[name=acknowledged]").all():
        await box.check()
    number = page.get_by_label("the number of links")
    await number.fill(str(run["links"]))
    await colleague.open(f"{here}/decisions?decision=link")
    await colleague.page.get_by_role("button", name="Exclude").first.click()
    await colleague.page.get_by_text("It stays out of this run").wait_for()
    await page.get_by_role("button", name="Approve, and link").click()
    await page.get_by_role("alert").wait_for()
    await expect(number).to_have_value(str(run["links"]))
    await expect(page.locator("[name=acknowledged]:checked")).to_have_count(len(run["warnings"]))
    left = run["links"] - 1
    await number.fill(str(left))
    await colleague.open(here)
    await colleague.page.get_by_text("Drop this plan").click()
    await colleague.page.get_by_role("button", name="Yes, drop it").click()
    await colleague.page.get_by_role("heading", name="This run is cancelled").wait_for()
    await page.get_by_role("button", name="Approve, and link").click()
    await expect(page.get_by_role("alert")).to_contain_text("cancelled")
    await expect(page.locator(".facts", has_text="Number of links")).to_contain_text(str(left))
    assert (await screen.door.api.call("GET", f"linking/{here}"))["counts"].get("linked") is None


async def test_what_both_approve_is_linked_once(screen: Screen, colleague: Screen, run: Any) -> None:
    for one in (screen, colleague):
        await one.open(f"runs/{run['id']}/approve")
        for box in await one.page.locator("[name=acknowledged]").all():
            await box.check()
        await one.page.get_by_label("the number of links").fill(str(run["links"]))
    for one in (screen, colleague):
        await one.page.get_by_role("button", name="Approve, and link").click()
    await screen.page.get_by_role("heading", name=f"{run['links']} accounts linked").wait_for()
    # Whoever comes second while it is linked means the same; after it they are told.
    main = colleague.page.get_by_role("main")
    await expect(main).to_contain_text("accounts linked" if await told(colleague.page) == "" else "is done")
    done = await screen.door.api.call("GET", f"linking/runs/{run['id']}")
    assert len(done["options"]["approvals"]) == 1


async def told(page: Page) -> str:
    """Return what a refusal says, "" for none."""
    alert = page.get_by_role("alert")
    return await alert.inner_text() if await alert.count() else ""


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let linking stop after its first few accounts until the event is set."""
    go_on, link = asyncio.Event(), apply._link

    async def linked(*args: Any, **options: Any) -> dict[str, str]:
        outcomes = await link(*args, **options)
        await go_on.wait()
        return outcomes

    monkeypatch.setattr(apply, "AT_ONCE", 5)
    monkeypatch.setattr(apply, "_link", linked)
    return go_on


async def test_linking_is_stopped_by_one_and_seen_by_both(
    screen: Screen, colleague: Screen, run: Any, held: asyncio.Event
) -> None:
    api, here = screen.door.api, f"runs/{run['id']}"
    await api.approve(run)
    for one in (screen, colleague):
        await one.open(here)
        await one.page.get_by_role("heading", name="Accounts are being linked").wait_for()
    await screen.check("run-linking")
    await screen.page.get_by_text("Stop linking").click()
    await expect(screen.page.get_by_role("main")).to_contain_text("What is linked by then stays linked; the rest stays")
    await screen.check("run-stopping")
    assert "cancelledBy" not in await api.call("GET", f"linking/{here}"), "one click stops nothing"
    await screen.page.get_by_role("button", name="Yes, stop it").click()
    await screen.page.get_by_role("heading", name="It is being cancelled").wait_for()
    await colleague.page.get_by_role("heading", name="It is being cancelled").wait_for()  # without a reload by anybody
    await screen.check("run-cancelling")
    held.set()
    for one in (screen, colleague):
        await one.page.get_by_role("heading", name="This run is cancelled").wait_for()
    linked = (await api.call("GET", f"linking/{here}"))["counts"]["linked"]
    assert 0 < linked < run["links"], "it stopped on the way"
    await expect(screen.page.get_by_role("main")).to_contain_text(f"{linked} accounts linked by then stay linked")
    await screen.check("run-cancelled")
    await screen.page.get_by_role("link", name="Undo").last.click()
    await screen.page.get_by_role("button", name="Look what the undo would do").click()
    await screen.page.get_by_role("button", name="Yes, take the links back").click()
    await screen.page.get_by_role("heading", name="What the undo came to").wait_for()
    assert (await api.call("GET", f"linking/{here}/undo"))["counts"]["undone"] == linked
