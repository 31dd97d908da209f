"""Files through the portal in a real browser: the main way, and hostile rows."""

from __future__ import annotations

from pathlib import Path

from infra.local.samples import MadeUp
from tests.link_orchestrator.portal.browser import IN_A_BROWSER, Screen
from tests.link_orchestrator.running import csv_file

pytestmark = IN_A_BROWSER

LONG, RIGHT_TO_LEFT = "x" * 10_000, "شركة المثال 👩‍💻"
HOSTILE = csv_file(
    {"userName": "<script>alert(1)</script>@contoso.com", "title": RIGHT_TO_LEFT, "displayName": "<b>Eve</b>"},
    {"userName": "long@contoso.com", "title": LONG[:1000], "displayName": LONG[:300], "<img src=x>": "1"},
    {"userName": LONG, "title": "too long", "displayName": "N/A"},
    {"userName": "", "title": "=cmd()", "displayName": ""},
)


async def choose(screen: Screen, file: Path, what: str = "Accounts of the application") -> None:
    """Choose a file on the page of imports, and send it."""
    await screen.open("import")
    await screen.page.get_by_label(what, exact=True).check()
    await screen.page.get_by_label("Drop the file here, or choose it").set_input_files(file)
    await screen.page.get_by_role("button", name="Look at the file").click()


async def test_a_file_is_looked_at_imported_and_taken_back(screen: Screen, tmp_path: Path) -> None:
    page = screen.page
    await screen.open("import")
    await screen.check("import-empty")
    files = MadeUp(60, 70).files()
    (tmp_path / "accounts.csv").write_bytes(files["accounts"])
    (tmp_path / "users.json").write_bytes(files["identities"])
    await choose(screen, tmp_path / "accounts.csv")
    await page.get_by_role("button", name="Import accounts.csv").wait_for()
    await screen.check("preview")
    await page.get_by_role("button", name="Import accounts.csv").click()
    await page.get_by_role("button", name="Look what taking it back would do").wait_for()
    await screen.check("import-done")
    await choose(screen, tmp_path / "users.json", "Entra's users")
    await page.get_by_text("What was read").wait_for()
    await screen.check("upload")
    await choose(screen, tmp_path / "users.json")
    await page.get_by_text("Chosen now: Entra's users").wait_for()
    assert await page.get_by_label("Entra's users", exact=True).is_checked()
    screen.errors.clear()  # the browser reports the status itself
    await screen.check("import-wrong-file")
    await screen.open("import")
    await screen.check("import")
    await page.get_by_role("link", name="accounts.csv").click()
    await page.get_by_role("button", name="Look what taking it back would do").click()
    await page.get_by_role("button", name="Yes, take the import back").wait_for()
    await screen.check("import-undo-preview")
    number = page.get_by_label("the number of accounts that are deleted")
    await number.fill(str(await number.get_attribute("data-confirm")))
    await page.get_by_role("button", name="Yes, take the import back").click()
    await page.get_by_text("Row by row").wait_for()
    await screen.check("import-undone")


async def test_a_column_that_is_chosen_late_is_asked_about_and_kept(screen: Screen, tmp_path: Path) -> None:
    page, file = screen.page, tmp_path / "hr.csv"
    file.write_bytes(csv_file({"Login": "jane", "Personalnr": "007", "Abteilung": "Sales"}))
    await choose(screen, file)
    await page.get_by_text("2 columns are not read").wait_for()
    await screen.check("preview-unread")
    await page.get_by_label("Personalnr", exact=True).select_option("employeeNumber")
    await page.get_by_role("button", name="Import hr.csv").click()
    await page.get_by_text("There is a problem").wait_for()
    screen.errors.clear()  # the browser reports the status itself
    assert await page.get_by_label("Personalnr", exact=True).input_value() == "employeeNumber"
    await screen.check("preview-chosen-late")
    await page.get_by_label("Choose the file again").set_input_files(file)
    await page.get_by_role("button", name="Look at it again").click()
    await page.get_by_text("1 column is not read").wait_for()
    await page.get_by_role("button", name="Import hr.csv").click()
    await page.get_by_role("button", name="Look what taking it back would do").wait_for()


async def test_hostile_rows_are_only_text(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "<b>.csv").write_bytes(HOSTILE)
    await choose(screen, tmp_path / "<b>.csv")
    await screen.page.get_by_role("button", name="Import <b>.csv").wait_for()
    await screen.check("preview-hostile")


async def test_made_up_people_are_tried_and_taken_back(screen: Screen) -> None:
    page = screen.page
    await screen.open("")
    await page.get_by_role("button", name="Try it with made-up people").click()
    await page.get_by_text("Say which domains are yours").or_(page.get_by_text("Make a plan")).first.wait_for()
    await page.get_by_role("link", name="take all of it back").wait_for()
    await screen.check("overview-made-up")
    await page.get_by_role("link", name="take all of it back").click()
    await page.get_by_text("Take the made-up people back").click()
    await screen.check("made-up")
    await page.get_by_role("button", name="Yes, take all of it back").click()
    await page.get_by_text("Nothing of theirs is here").wait_for()
    await screen.check("made-up-gone")
