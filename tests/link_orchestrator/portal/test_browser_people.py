"""Accounts, groups, the provisioning log and the activity in a real browser."""

from __future__ import annotations

from playwright.async_api import expect

from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen
from tests.link_orchestrator.portal.people import SHORT_HOSTILE, ask, everybody
from tests.link_orchestrator.portal.test_people import adopt
from tests.link_orchestrator.running import object_id

pytestmark = IN_A_BROWSER


async def test_what_is_empty_says_what_comes_there(screen: Screen) -> None:
    for path in ("accounts", "groups", "provisioning", "provisioning?show=adoptions", "provisioning?show=foreign"):
        await screen.open(path)
        await expect(screen.page.locator(".empty .title")).to_be_visible()
        await screen.check(path.replace("?show=", "-") + "-empty")
    await screen.open("activity")
    await screen.check("activity-empty")


async def test_an_account_is_found_linked_by_hand_and_released(screen: Screen) -> None:
    page = screen.page
    ids = await everybody(screen.door)
    await screen.open("accounts")
    await screen.check("accounts")
    await page.get_by_label("Find an account").fill("Ada@Contoso.com")
    await page.get_by_role("button", name="Find").click()
    await page.get_by_role("link", name="ada@contoso.com").click()
    await screen.check("account-local")
    await page.get_by_text("Link with an identity in Entra").click()
    await page.get_by_label("The person in Entra").fill("nonsense")
    await page.get_by_role("button", name="Show whose it is").click()
    await page.get_by_role("alert").wait_for()
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("account-refused")
    await page.get_by_label("The person in Entra").fill(object_id(7))
    await page.get_by_role("button", name="Show whose it is").click()
    await page.get_by_text("Nobody of this id was in what was read").wait_for()
    await page.get_by_label("Reason").fill("She called <b>")
    await screen.check("account-link-unknown")
    await page.get_by_role("button", name="I looked them up in Entra: link").click()
    await page.get_by_text("The account is linked.").wait_for()
    await screen.check("account-linked")
    await page.get_by_text("Release it from Entra").click()
    await page.get_by_role("button", name="Release the account").click()
    await page.get_by_text("The account is managed here now").wait_for()
    await page.get_by_text("Link with an identity in Entra").click()
    person = {"id": object_id(7), "userPrincipalName": "ada@contoso.com", "displayName": "Ada Lovelace"}
    await ask(screen.door, "POST", "linking/identities", {"value": [person]})
    await page.get_by_label("The person in Entra").fill(object_id(7))
    await page.get_by_role("button", name="Show whose it is").click()
    await screen.check("account-link-known")
    await page.get_by_role("button", name="They are the same: link").click()
    await page.get_by_text("The account is linked.").wait_for()
    await screen.open(f"accounts/{ids[SHORT_HOSTILE]}")
    await screen.check("account-hostile")
    await screen.open(f"accounts/{ids['bob@contoso.com']}/edit")
    await screen.check("account-edit-linked")
    await screen.open(f"accounts/{ids[SHORT_HOSTILE]}/edit")
    await screen.check("account-edit-hostile")


async def test_groups_the_log_and_the_activity_show_everybody(screen: Screen) -> None:
    ids = await everybody(screen.door)
    for path, name in {
        "groups": "groups",
        f"groups/{ids['Sales']}": "group",
        "provisioning": "provisioning",
        "activity": "activity",
        "accounts?state=protected": "accounts-protected",
        "accounts?find=nobody": "accounts-nobody",
    }.items():
        await screen.open(path)
        await screen.check(name)


async def test_a_second_operators_change_keeps_what_was_typed(screen: Screen) -> None:
    page, ids = screen.page, await everybody(screen.door)
    await screen.open(f"accounts/{ids['ada@contoso.com']}/edit")
    await page.get_by_label("Job title").fill("Countess")
    await ask(screen.door, "PATCH", f"accounts/{ids['ada@contoso.com']}", {"document": {"title": "Programmer"}})
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("alert").wait_for()
    assert await page.get_by_label("Job title").input_value() == "Countess"
    await expect(page.get_by_role("cell", name="Programmer")).to_be_visible()
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("account-conflict")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("The changes are stored.").wait_for()


async def test_what_creates_linked_is_taken_back_together(screen: Screen) -> None:
    page = screen.page
    await adopt(screen.door)
    await screen.open("provisioning?show=adoptions")
    await screen.check("provisioning-adoptions")
    await page.get_by_text("Take all of them back", exact=True).click()
    await page.get_by_role("button", name="Yes, take all of them back").click()
    await page.get_by_text("What became of each").wait_for()
    await screen.check("provisioning-undo")
    await page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Activity").click()
    await screen.check("activity-with-jobs")
