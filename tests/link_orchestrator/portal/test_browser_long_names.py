"""Pages about what became of people, with names that nothing breaks: without a space, endless, from right to left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.link_orchestrator.passes.test_verify import create, verify
from tests.link_orchestrator.portal import browser as in_browser
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen, on_screen
from tests.link_orchestrator.portal.door import opened
from tests.link_orchestrator.running import App, csv_file, graph, object_id

pytestmark = IN_A_BROWSER

LONG = "Wolfeschlegelsteinhausenbergerdorff" * 8 + "Ende"
"""A name of nearly 300 letters."""
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd\u0645\u0631\u062d\u0628\u0627" * 20
LOCAL = "wolfeschlegelsteinhausenbergerdorff" * 6
"""What stands before the @ of an address, in 210 letters."""
NAMES = {"long": LONG, "rtl": RIGHT_TO_LEFT, "alike": f"Anna {LONG[:100]}", "second": "Second"}


@pytest_asyncio.fixture(loop_scope="session")
async def screen(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Screen]:
    """A tab of somebody who is signed in, looked at in one width more."""
    monkeypatch.setattr(in_browser, "WIDTHS", (360, 1280, 1600))
    async with opened(tmp_path) as door, on_screen(browser, door) as opened_screen:
        yield opened_screen


def upn(key: str) -> str:
    return f"{LOCAL}.{key}@contoso.com"


def people() -> list[dict[str, Any]]:
    return [graph(number, upn(key), displayName=name) for number, (key, name) in enumerate(NAMES.items(), 1)]


async def linked_by_long_names(app: App) -> Any:
    """Return a run that linked people with such names, of whom provisioning then found one and made others anew."""
    await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    await app.bring(
        csv_file(
            *({"userName": upn(key), "email": upn(key), "displayName": NAMES[key]} for key in ("long", "rtl")),
            {"userName": f"{LOCAL}.local", "displayName": NAMES["alike"]},
            {"userName": f"{LOCAL}.old", "objectId": object_id(4), "displayName": LONG},
        )
    )
    run = await app.apply(await app.plan(*people()))
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"')
    await create(app, upn("alike"), externalId=object_id(3), displayName=NAMES["alike"])
    await create(app, upn("second"), externalId="nick", displayName=LONG)
    return run


async def test_the_longest_names_break_no_page_of_a_verification_a_link_or_an_undo(screen: Screen) -> None:
    app = cast("App", screen.door.api)  # of an App nothing else is used here
    run = await linked_by_long_names(app)
    found = await verify(app, run)
    assert all(found["counts"][one] for one in ("confirmed", "unconfirmed", "created", "alike")), found["counts"]
    for one in ("confirmed", "unconfirmed", "created", "alike"):
        await screen.open(f"runs/{run['id']}/verify?found={one}")
        await look(screen, f"long-verify-{one}")
    (row,) = (await app.call("GET", f"linking/verifications/{found['id']}/rows", found="alike"))["rows"]
    before = row["alike"][0]["id"]
    await screen.open(f"accounts/{before}")
    await look(screen, "long-account")
    await screen.open(f"accounts/{before}/link?identity={object_id(3)}")
    await look(screen, "long-link")
    await screen.open(f"accounts/{before}/link?identity={object_id(1)}")
    await look(screen, "long-link-matched-elsewhere")
    again = await app.plan(*people(), full=True)
    decisions = f"runs/{again['id']}/decisions"
    (alike,) = (await app.call("GET", f"linking/{decisions}", decision="alreadyLinked", score="0.9"))["decisions"]
    await screen.open(f"runs/{again['id']}/rows/{alike['id']}")
    await look(screen, "long-row-alike")
    await screen.open(f"{decisions}?decision=alreadyLinked&score=0.9")
    await look(screen, "long-decisions-alike")
    await screen.open(f"runs/{run['id']}/undo")
    await screen.page.get_by_role("button", name="Look what the undo would do").click()
    await screen.page.get_by_role("heading", name="What this undo would do").wait_for()
    await look(screen, "long-undo-preview")
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await app.wait(f"linking/undos/{undo['id']}", "done")
    await screen.open(f"runs/{run['id']}/undo")
    await look(screen, "long-undo-done")


async def look(screen: Screen, name: str) -> None:
    """Hold a page to what every page is held to, and to showing each table whole."""
    await screen.check(name)
    for width in in_browser.WIDTHS:
        await screen.page.set_viewport_size({"width": width, "height": 900})
        hidden = "[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth - one.clientWidth)"
        assert max(await screen.page.evaluate(hidden), default=0) <= 1, (name, width)
