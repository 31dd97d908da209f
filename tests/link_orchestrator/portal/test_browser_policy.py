"""Connect, policy and plan in a real browser: the main way by mouse and keys, and hostile entries."""

from __future__ import annotations

from pathlib import Path

from infra.local.samples import MadeUp
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen
from tests.link_orchestrator.portal.runs import api_of, plan_demo
from tests.link_orchestrator.portal.test_browser_bring import choose

pytestmark = IN_A_BROWSER


async def test_the_connection_is_shown_step_by_step(screen: Screen, tmp_path: Path) -> None:
    page = screen.page
    await screen.open("connect")
    await page.get_by_text("No test connection was seen yet").wait_for()
    await screen.check("connect")
    schema = tmp_path / "schema.json"
    schema.write_text('{"attributes": {"externalId": "mailNickname", "userName": "mail"}, "matching": ["userName"]}')
    await page.get_by_label("The downloaded schema").set_input_files(schema)
    await page.get_by_role("button", name="Check the mapping").click()
    await page.get_by_text("ExternalId comes from mailNickname").first.wait_for()
    await screen.check("connect-warned")


async def test_rules_are_put_in_order_by_keys_and_saved(screen: Screen) -> None:
    page = screen.page
    await screen.open("policy")
    await screen.check("policy-empty")
    await page.get_by_label("Verified domains", exact=True).fill("contoso.com\n*.fabrikam.com")
    await page.get_by_label("Trust of Any e-mail address").select_option("off")
    up = page.get_by_role("button", name="Move Sign-in name up")
    await up.focus()
    await page.keyboard.press("Enter")
    assert await up.evaluate("element => element === document.activeElement")
    assert "Rule 3 of 12" in await page.get_by_role("status").inner_text()
    await page.get_by_role("button", name="Save the policy").last.click()
    await page.get_by_text("The policy is saved").wait_for()
    rows = page.locator("[data-order] tr th")
    assert (await rows.nth(2).inner_text()).startswith("Sign-in name")
    assert await page.get_by_label("Trust of Any e-mail address").input_value() == "off"
    await screen.check("policy")


async def test_what_is_refused_is_kept_and_hostile_entries_are_only_text(screen: Screen) -> None:
    page = screen.page
    await screen.open("policy")
    hostile = "<script>alert(1)</script>@contoso.com\nشركة@contoso.com\n" + "x" * 10_000 + "@contoso.com"
    await page.get_by_label("Excluded people of Entra").fill(hostile)
    await page.get_by_label("Days for which plans and reports are kept").fill("1")
    await page.get_by_role("button", name="Save the policy").last.click()
    await page.get_by_role("alert").wait_for()
    assert await page.get_by_label("Excluded people of Entra").input_value() == hostile
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("policy-refused")
    await page.get_by_label("Days for which plans and reports are kept").fill("60")
    await page.get_by_role("button", name="Save the policy").last.click()
    await page.get_by_text("The policy is saved").wait_for()
    await screen.check("policy-hostile")


async def test_a_plan_is_made_of_an_upload(screen: Screen, tmp_path: Path) -> None:
    page = screen.page
    await screen.open("plan")
    await page.get_by_text("There are no accounts to link yet").wait_for()
    await screen.check("plan-empty")
    files = MadeUp(60, 70).files()
    (tmp_path / "accounts.csv").write_bytes(files["accounts"])
    (tmp_path / "users.json").write_bytes(files["identities"])
    await choose(screen, tmp_path / "accounts.csv")
    await page.get_by_role("button", name="Import accounts.csv").click()
    await page.get_by_role("button", name="Look what taking it back would do").wait_for()
    await choose(screen, tmp_path / "users.json", "Entra's users")
    await page.get_by_role("link", name="Plan with it").click()
    await screen.check("plan")
    await page.get_by_role("button", name="Make the plan").click()
    await page.wait_for_url("**/portal/runs/run*")


async def test_the_policy_shows_whom_it_left_out_of_the_last_plan(screen: Screen) -> None:
    async with api_of(screen.door) as api:
        await plan_demo(api)
    await screen.open("policy")
    await screen.page.get_by_text("By the last plan").first.wait_for()
    await screen.check("policy-planned")
    await screen.open("plan")
    await screen.check("plan-waits")
