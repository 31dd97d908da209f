"""What is around every page: sign-in, roles, tokens, errors, headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.link_orchestrator.portal.door import OPERATOR, READER, SETTINGS, Door, opened, signed_in
from tests.link_orchestrator.running import csv_file


async def test_the_overview_of_an_empty_directory_says_what_to_do_next(door: Door) -> None:
    page = await door.get()
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Import your accounts" in page.text
    assert "Try it with made-up people" in page.text
    assert "eva@contoso.com" in page.text


async def test_made_up_people_are_a_button_away(door: Door) -> None:
    sent = await door.send("", {"do": "try"})
    assert (sent.status, sent.headers["Location"]) == (303, "/portal?said=tried")
    assert "Made-up accounts are being imported" in (await door.get("?said=tried")).text


async def test_made_up_people_come_to_an_empty_directory_alone(door: Door, tmp_path: Path) -> None:
    """They bring a policy, which must not take the place of one that somebody made."""
    token = (await door.get()).token
    await door.api.bring(csv_file({"userName": "ada"}))
    policy = await door.api.call("GET", "directory/policy")
    again = await door.send("", {"do": "try"}, token=token)
    assert (again.status, "has people already" in again.text) == (400, True)
    assert await door.api.call("GET", "directory/policy") == policy
    (tmp_path / "azure").mkdir()
    async with opened(tmp_path / "azure") as azure:  # without made-up people, as Azure's app is
        assert "<form" not in (await azure.get()).html


async def test_a_reader_is_shown_no_button_and_refused_behind_it(door: Door) -> None:
    page = await door.get(headers=READER)
    assert page.status == 200
    assert "<form" not in page.html
    token = (await door.get()).token
    assert (await door.send("", {"do": "try"}, READER, token)).status == 403


async def test_who_is_not_signed_in_is_told_how(door: Door) -> None:
    page = await door.get("runs", headers={})
    assert page.status == 401
    assert "/.auth/login/aad?post_login_redirect_uri=%2Fportal%2Fruns" in page.html
    assert "Users and groups" in (await door.get(headers=signed_in())).text


async def test_where_the_sign_in_is_off_the_portal_says_which_setting_switches_it_on(tmp_path: Path) -> None:
    async with opened(tmp_path, SETTINGS.model_copy(update={"portal_auth": False})) as door:
        page = await door.get()
        assert page.status == 404
        assert "SCIMLINK_PORTAL_AUTH=easyauth" in page.text


@pytest.mark.parametrize("path", ["nothing", "runs/x/nothing", "assets/portal.css", "%F0%9F%98%80"])
async def test_what_is_no_page_is_said_on_a_page(door: Door, path: str) -> None:
    page = await door.get(path)
    assert page.status == 404
    assert "There is no such page" in page.text
    assert "Overview" in page.text
    assert "aria-current" not in page.html, "no page of the navigation is this one"


async def test_a_form_without_the_persons_token_changes_nothing(door: Door) -> None:
    page = await door.send("", {"do": "try"}, token="0" * 32)
    assert page.status == 403
    assert "Nothing was changed" in page.text
    assert (await door.send("", {"do": "try"}, OPERATOR, page.token)).status == 303
