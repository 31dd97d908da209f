"""The way from a plan to its undo in a real browser, by keys alone; and every page of a run, looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from shared.directory.work.plan import Plan, PlanRow
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, SCREENS, Screen
from tests.link_orchestrator.portal.runs import api_of, plan_demo, plan_hostile
from tests.link_orchestrator.running import Api

pytestmark = IN_A_BROWSER


@pytest_asyncio.fixture(loop_scope="session")
async def api(screen: Screen) -> AsyncIterator[Api]:
    """The JSON API behind the tab's door."""
    async with api_of(screen.door) as found:
        yield found


async def tab_to(page: Page, role: str, name: str) -> None:
    """Go by the Tab key to what has this role and name."""
    wanted = await page.get_by_role(role, name=name, exact=True).first.element_handle()  # type: ignore[arg-type]
    assert wanted, name
    for _ in range(150):
        if await page.evaluate("one => document.activeElement === one", wanted):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not come to {name}")


async def enter(page: Page, role: str, name: str) -> None:
    """Press what has this role and name by the keyboard alone."""
    await tab_to(page, role, name)
    await page.keyboard.press("Enter")


async def test_the_way_from_plan_to_undo_works_by_keys_alone(screen: Screen, api: Api) -> None:
    run, page = await plan_demo(api), screen.page
    here = f"runs/{run['id']}"
    await screen.open(here)
    await screen.check("run-planned")
    await screen.picture("run")
    await enter(page, "link", "Decide row by row")
    await page.wait_for_url("**/decisions?decision=review")
    for key in ("j", "y"):
        await page.keyboard.press(key)
    await page.get_by_text("It is linked with the run").wait_for()
    await page.keyboard.press("n")
    await page.get_by_text("It stays out of this run").wait_for()
    await screen.check("decisions-review")
    await page.keyboard.press("l")
    await page.wait_for_url("**/rows/*")
    await screen.check("row-review")
    await page.keyboard.press("y")
    await page.get_by_text("It is to be linked").wait_for()
    async with page.expect_navigation():
        await page.keyboard.press("j")
    await page.keyboard.press("h")
    await page.wait_for_url("**/decisions?decision=review")
    await enter(page, "link", "Approve")
    await page.wait_for_url("**/approve")
    await screen.check("approve")
    reviewed = await api.call("GET", f"linking/{here}")
    links = reviewed["links"]
    assert links == run["links"] + 2
    for warning in reviewed["warnings"]:
        await tab_to(page, "checkbox", warning["warning"])
        await page.keyboard.press("Space")
    await tab_to(page, "textbox", f"Type {links}, the number of links")
    await page.keyboard.type("7")
    await page.keyboard.press("Enter")
    assert "number shown" in await page.get_by_role("textbox").evaluate("element => element.validationMessage")
    await page.keyboard.press("Backspace")
    await page.keyboard.type(str(links))
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name=f"{links} accounts linked").wait_for()
    await page.wait_for_load_state()
    await screen.check("run-done")
    await enter(page, "link", "Verify")
    await page.wait_for_url("**/verify")
    await screen.check("verify-before")
    await enter(page, "button", f"Verify {links} links")
    await page.get_by_role("heading", name="Not yet confirmed").wait_for()
    await screen.check("verify-done")
    await enter(page, "link", "Undo")
    await page.wait_for_url("**/undo")
    await screen.check("undo-before")
    await enter(page, "button", "Look what the undo would do")
    await page.get_by_role("heading", name="What this undo would do").wait_for()
    assert "takenBack" not in await api.call("GET", f"linking/{here}"), "to look changes nobody"
    await expect(page.get_by_role("main")).to_contain_text(f"As before their link {links}")
    await screen.check("undo-preview")
    await enter(page, "button", "Yes, take the links back")
    await page.get_by_role("heading", name="What the undo came to").wait_for()
    await screen.check("undo-done")
    assert (await api.call("GET", f"linking/{here}/undo"))["counts"]["undone"] == links


async def test_what_an_undo_would_not_give_back_is_seen_before_it(screen: Screen, api: Api) -> None:
    run = await plan_demo(api)
    await api.approve(run)
    await api.wait(f"linking/runs/{run['id']}", "done")
    row, *_ = await api.decisions(run, "link")
    await api.call("GET", "scim/v2/Users", filter=f'externalId eq "{row["identity"]["objectId"]}"')
    values = {"active": False, "title": "Director", "userName": "new@contoso.com"}
    operations = [{"op": "replace", "path": name, "value": value} for name, value in values.items()]
    asked = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}
    await api.call("PATCH", f"scim/v2/Users/{row['account']['id']}", asked, "application/scim+json")
    for number in range(60):
        evidence = {"evidence": {"nameId": f"id{number}"}}
        await api.call("PATCH", f"accounts/{row['account']['id']}", evidence)
    await screen.open(f"runs/{run['id']}/undo")
    await screen.page.get_by_role("button", name="Look what the undo would do").click()
    main = screen.page.get_by_role("main")
    await expect(main).to_contain_text("1 account that provisioning switched off stays inactive")
    await expect(main).to_contain_text("Sign-in name of 1 account")
    await expect(screen.page.get_by_role("link", name="new@contoso.com")).to_be_visible()
    await screen.check("undo-preview-partly")
    await screen.open(f"accounts/{row['account']['id']}")
    await screen.page.get_by_role("link", name="Next page").click()
    await expect(main).to_contain_text("This is the last page.")
    await screen.check("account-history-older")
    await screen.page.get_by_role("link", name="First page").click()
    await expect(screen.page.get_by_role("link", name="Next page")).to_be_visible()


async def test_every_page_of_a_plan_is_looked_at(screen: Screen, api: Api) -> None:
    await screen.open("runs")
    await screen.check("runs-empty")
    run = await plan_demo(api)
    here = f"runs/{run['id']}"
    pages = {"runs": "runs", "pilot": f"{here}/pilot", "pilot-named": f"{here}/pilot?number=5"}
    pages |= {"decisions": f"{here}/decisions", "run-groups": f"{here}/groups"}
    pages |= {"decisions-none": f"{here}/decisions?decision=link&department=Nobody", "problems": f"{here}/problems"}
    (group, *_) = await api.decisions(run, "groupLink")
    pages |= {"difference": f"{here}/groups/{group['entraGroup']['id']}"}
    for decision in ("ambiguous", "noIdentity", "conflict"):
        pages |= {f"row-{decision}": f"{here}/rows/{(await api.decisions(run, decision))[0]['id']}"}
    for name, path in pages.items():
        await screen.open(path)
        await screen.check(name)
    await screen.open(f"{here}/approve")
    await screen.page.get_by_label("the number of links").fill(str(run["links"]))
    await screen.page.get_by_role("button", name="Approve, and link").click()
    await screen.page.get_by_role("alert").wait_for()
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("approve-refused")
    await screen.open(f"{here}/decisions?decision=review")
    await screen.page.get_by_label("Tick all on this page").check()
    await screen.page.get_by_label("Tick all on this page").press("Enter")
    await screen.page.wait_for_load_state()
    assert not [row for row in await api.decisions(run, "review") if "review" in row]
    await screen.page.get_by_role("button", name="Link these first").click()
    await screen.page.get_by_text("that you ticked would not be linked").wait_for()
    await screen.check("pilot-rows")


async def test_the_table_of_decisions_can_be_understood_without_seeing_it(screen: Screen, api: Api) -> None:
    run, page = await plan_demo(api), screen.page
    rows = await api.decisions(run, "review")
    await screen.open(f"runs/{run['id']}/decisions?decision=review")
    table = page.get_by_role("table", name=f"{len(rows)} rows", exact=True)
    headers = await table.get_by_role("columnheader").all_inner_texts()
    assert headers[1:] == ["In Entra", "Here", "Decision", "Why", "Your decision"]
    await expect(table.get_by_role("columnheader", name="Tick", exact=False).first).to_be_visible()
    assert await table.get_by_role("row").count() == len(rows) + 1
    for row in rows:
        person, name = row["identity"], row["identity"]["userPrincipalName"]
        header = table.get_by_role("rowheader", name=f"{person['displayName']} {name}", exact=True)
        await expect(header).to_have_count(1)
        await expect(table.get_by_role("checkbox", name=name, exact=True)).to_have_count(1)
        for button in ("Link", "Exclude"):  # what each button is about is part of its name
            await expect(table.get_by_role("button", name=f"{button} {name}", exact=True)).to_have_count(1)
    await expect(page.get_by_role("region", name=f"{len(rows)} rows", exact=True)).to_have_attribute("tabindex", "0")
    for landmark in ("banner", "main", "search"):
        await expect(page.get_by_role(landmark)).to_have_count(1)  # type: ignore[arg-type]


async def test_a_narrow_screen_says_what_the_box_ticks_and_cuts_nothing_off(screen: Screen, api: Api) -> None:
    run, page = await plan_demo(api), screen.page
    await screen.open(f"runs/{run['id']}/decisions")
    label = page.get_by_text("Tick all on this page")
    for width, shown in ((1280, False), (360, True)):
        await page.set_viewport_size({"width": width, "height": 900})
        box = await label.bounding_box()
        assert box
        assert (box["width"] > 100) == shown, "wide, the head of the column says it to readers of screens alone"
        assert (await page.locator(".rowactions kbd").first.is_visible()) != shown
        cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert not await page.evaluate(cut)
    await label.click()
    assert await page.locator("input[name=rows]:checked").count() == await page.locator("input[name=rows]").count()


async def test_what_is_printed_has_every_column_and_nothing_to_press(screen: Screen, api: Api) -> None:
    run, page = await plan_demo(api), screen.page
    for name, path in (("run", ""), ("decisions", "/decisions?decision=review")):
        await screen.open(f"runs/{run['id']}{path}")
        await page.set_viewport_size({"width": 760, "height": 1_050})  # A4 between its margins
        await page.emulate_media(media="print", color_scheme="dark")
        for gone in ("banner", "search", "button", "checkbox"):
            for one in await page.get_by_role(gone).all():  # type: ignore[arg-type]
                await expect(one).to_be_hidden()
        for table in await page.locator(".scroll").all():
            wide = await table.evaluate("one => one.scrollWidth - one.clientWidth")
            assert wide <= 0, f"{wide} px of a table of {name} are cut off on paper"
        await page.screenshot(path=SCREENS / f"{name}-print.png", full_page=True)
        await page.emulate_media(media="screen")


async def test_all_rows_of_a_filter_are_decided_by_their_number(screen: Screen, api: Api) -> None:
    run, page = await plan_demo(api), screen.page
    number = len(await api.decisions(run, "review"))
    await screen.open(f"runs/{run['id']}/decisions?decision=review")
    await page.get_by_role("link", name="Exclude all undecided ones").click()
    await screen.check("all-rows")
    await page.get_by_label("the number of rows").fill(str(number))
    await page.get_by_role("button", name="Exclude all of them").click()
    await page.get_by_text("All of them are decided as you said").wait_for()
    assert {row["review"]["action"] for row in await api.decisions(run, "review")} == {"exclude"}


async def test_hostile_names_break_no_page(screen: Screen, api: Api) -> None:
    run = await plan_hostile(api)
    here = f"runs/{run['id']}"
    await screen.open(here)
    await screen.check("hostile-run")
    await screen.open(f"{here}/decisions")
    await screen.check("hostile-decisions")
    for place, row in enumerate(await api.decisions(run)):
        await screen.open(f"{here}/rows/{row['id']}")
        await screen.check(f"hostile-row-{place}")


async def test_what_is_side_by_side_stays_so_whatever_people_are_called(screen: Screen, api: Api) -> None:
    run, page = await plan_hostile(api), screen.page
    stranger = (await api.call("GET", "accounts", userName="long@contoso.com"))["accounts"][0]["id"]
    (row,) = await api.decisions(run, "review")
    group = {"displayName": "Long" * 60, "members": [{"value": stranger}]}
    await api.call("POST", "scim/v2/Groups", group, "application/scim+json")
    pages = {"counterpart-long": f"runs/{run['id']}/rows/{row['id']}/counterpart?account={stranger}"}
    pages |= {"account-long": f"accounts/{stranger}", "groups-long": "groups", "accounts-long": "accounts"}
    for name, path in pages.items():
        await screen.open(path)
        await screen.check(name)
        await page.set_viewport_size({"width": 1280, "height": 900})
        wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)"
        assert not await page.locator(".scroll").evaluate_all(wide), "nobody has to scroll sideways"


async def test_a_run_is_followed_through_a_lost_network(
    screen: Screen, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plan_demo(api)
    run: Any = (await api.call("GET", "linking/runs"))["runs"][0]
    await api.call("POST", f"linking/runs/{run['id']}/cancel")
    await api.wait(f"linking/runs/{run['id']}", "cancelled")
    asked = {"identities": run["options"]["identities"], "full": True}
    seen, write = asyncio.Event(), Plan.write

    async def held(plan: Plan, bucket: int, rows: Sequence[PlanRow]) -> None:
        await seen.wait()
        await write(plan, bucket, rows)

    monkeypatch.setattr(Plan, "write", held)
    again = await api.call("POST", "linking/runs", asked)
    await screen.page.route("**/*fragment=progress", lambda route: route.abort())
    await screen.open(f"runs/{again['id']}")
    await screen.page.get_by_text("The server does not answer").wait_for()
    await screen.page.unroute("**/*fragment=progress")
    seen.set()
    await screen.page.get_by_role("heading", name="Look at it, then approve it").wait_for()
