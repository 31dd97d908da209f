"""Who may see and do what on the portal: every page and every button, by every way in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local.samples import MadeUp
from link_orchestrator.portal.api import Api, by_path
from link_orchestrator.portal.api import Door as ApiDoor
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther
from link_orchestrator.portal.pages import PAGES
from link_orchestrator.portal.rendering import TEMPLATES
from shared.directory.errors import Busy, NotFound, TooLarge
from shared.directory.policies import Policies
from shared.host.auth import Caller, Forbidden
from shared.host.http import Route
from shared.scim.endpoint import Request, Response
from shared.tables.port import Unavailable
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.portal.door import (
    EVA,
    MAX,
    OPERATOR,
    READER,
    SAME_SITE,
    SETTINGS,
    Door,
    add_pages,
    opened,
    signed_in,
)
from tests.link_orchestrator.running import make_directory

BUTTONS = [(re.sub(r"\{\*?\w+\}", "x", page.path), do) for page in PAGES for do in page.does]
"""Every page with what its buttons do."""
POLICY = {"verifiedDomains": ["contoso.com", "fabrikam.com"]}


async def unchanged(door: Door) -> bool:
    """Tell whether nothing was done in the directory."""
    return not (await door.api.call("GET", "directory"))["latest"]


@pytest.mark.parametrize(
    ("who", "status", "told"),
    [
        ({}, 401, "Sign in"),
        ({"X-MS-CLIENT-PRINCIPAL": "e30="}, 401, "Sign in"),
        ({"X-MS-CLIENT-PRINCIPAL-ID": "eva", "X-MS-CLIENT-PRINCIPAL-NAME": "eva"}, 401, "Sign in"),
        (signed_in("Operator", aud="another"), 403, "for another application"),
        (signed_in("Operator", tid="another"), 403, "no directory here is for the tenant"),
        (signed_in("Operator", oid=""), 401, "Sign in"),
        (signed_in(), 403, "under Users and groups"),
        (signed_in("Administrator"), 403, "under Users and groups"),
        ({"Authorization": "Bearer token-of-the-administrator"}, 401, "Sign in"),
    ],
)
async def test_who_may_not_come_is_told_why_and_does_nothing(
    door: Door, who: Mapping[str, str], status: int, told: str
) -> None:
    token = (await door.get()).token
    for answer in (await door.get(headers=who), await door.send("", {"do": "try"}, who, token)):
        assert answer.status == status
        assert told.lower() in answer.text.lower()
        assert "eva@contoso.com" not in answer.text
    assert await unchanged(door)


@pytest.mark.parametrize(("path", "do"), BUTTONS)
async def test_a_reader_is_refused_behind_every_button(door: Door, path: str, do: str) -> None:
    token = (await door.get()).token
    for one in (token, ""):
        answer = await door.send(path, {"do": do}, READER, one)
        assert (answer.status, "Operator or Owner" in answer.text) == (403, True)
    assert await unchanged(door)


@pytest.mark.parametrize(("path", "do"), BUTTONS)
async def test_no_button_works_without_the_persons_own_token(door: Door, path: str, do: str) -> None:
    of_max = (await door.get("", signed_in("Operator", oid=MAX))).token
    for token in ("", "0" * 32, of_max, "😀"):
        answer = await door.send(path, {"do": do}, OPERATOR, token)
        assert answer.status in (403, 404)  # 404: the page is about something that is not there
    assert await unchanged(door)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://other.contoso.com"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {},
    ],
)
async def test_another_site_has_nothing_sent_even_with_the_token(door: Door, headers: Mapping[str, str]) -> None:
    token = (await door.get()).token
    answer = await door.ask("POST", "", {**OPERATOR, **headers}, data={"token": token, "do": "try"})
    assert (answer.status, "comes from another site" in answer.text) == (403, True)
    assert await unchanged(door)


async def test_a_page_of_ours_sends_its_forms_with_the_origin_null(door: Door) -> None:
    """That is what browsers write where a page sends no referrer."""
    token, headers = (await door.get()).token, {**OPERATOR, **SAME_SITE, "Origin": "null"}
    assert (await door.ask("POST", "", headers, data={"token": token, "do": "try"})).status == 303


@pytest.mark.parametrize(
    ("roles", "shown"), [(["Reader"], "Reader"), (["Operator", "Reader"], "Operator"), (["Operator", "Owner"], "Owner")]
)
async def test_a_page_says_by_which_role_somebody_is_here(door: Door, roles: list[str], shown: str) -> None:
    html = (await door.get(headers=signed_in(*roles))).html
    assert f'<span class="badge">{shown}</span>' in html


async def test_the_api_on_a_page_changes_nothing_for_a_reader(sqlite_tables: SqliteTables) -> None:
    """Beside the door, which refuses a Reader's form: a page that is loaded must not change anything either."""
    called = list[str]()

    async def service(directory: object, request: Request) -> Response:
        called.append(request.by)
        return Response(200, "{}")

    doors = by_path(ApiDoor(Route("x", method, "x", service)) for method in ("GET", "POST", "PUT", "DELETE"))
    directory = await make_directory(sqlite_tables)
    api = Api(doors, directory, Caller("entra:x", "main", may_change=False), None, "")  # type: ignore[arg-type]
    assert await api.get("x") == {}
    for call in (api.post("x"), api.put("x", {}), api.call("DELETE", "x")):
        with pytest.raises(Forbidden):
            await call
    assert called == ["entra:x"]


async def test_what_is_done_is_done_by_the_person(door: Door) -> None:
    assert (await door.send("", {"do": "try"})).status == 303
    job = (await door.api.call("GET", "directory"))["latest"]["import"]
    assert (job["startedBy"], job["persons"]) == (f"entra:{EVA}", {"started": "eva@contoso.com"})


@pytest.mark.parametrize("settings", [{"portal_auth": False}, {"portal_audience": ""}])
async def test_no_sign_in_counts_where_it_is_off(tmp_path: Path, settings: Mapping[str, object]) -> None:
    async with opened(tmp_path, SETTINGS.model_copy(update=settings)) as door:
        for answer in (await door.get(), await door.send("", {"do": "try"}, token="x")):
            assert (answer.status, "SCIMLINK_PORTAL_AUDIENCE" in answer.text) == (404, True)


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def test_every_answer_has_the_headers_of_safety(door: Door) -> None:
    answers = [
        await door.get(),
        await door.get("nothing"),
        await door.get(headers={}),
        await door.get("?fragment=next"),
        await door.send("", {"do": "try"}, token="x"),
        await door.send("", {"do": "try"}),
        await door.ask("HEAD", "", OPERATOR),
    ]
    assert [answer.status for answer in answers] == [200, 404, 401, 200, 403, 303, 200]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


async def test_what_is_asked_before_a_form_is_sent_makes_no_page(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of many rows is seconds of work; whether storage answers is one read."""

    def render(*asked: object) -> str:
        pytest.fail("a page was made")

    monkeypatch.setattr("link_orchestrator.portal.rendering.render", render)
    assert (await door.ask("HEAD", "runs", OPERATOR)).status == 200


async def test_assets_are_small_and_kept_for_ever(door: Door) -> None:
    paths = re.findall(r'"/portal/(assets/[^"]+)"', (await door.get()).html)
    assert len(paths) == 2
    sizes = []
    for path in paths:
        answer = await door.get(path, headers={})  # an error page for a stranger has them, too
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        sizes.append(len(answer.html))
    assert sum(sizes) < 100_000


@pytest.mark.parametrize("file", sorted(TEMPLATES.rglob("*.html")), ids=lambda file: file.name)
def test_no_template_has_a_script_or_a_style_in_it(file: Path) -> None:
    text = file.read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|javascript:|\|\s*safe\b|autoescape", text)
    assert re.findall(r"<script\b[^>]*>", text) in ([], ["""<script type="module" src="{{ asset('portal.js') }}">"""])


async def test_what_was_typed_stays_where_storage_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("storage does not answer")

    async with opened(tmp_path) as door:
        monkeypatch.setattr(Policies, "set", away)
        page = await door.send("policy", {"do": "raw", "raw": '{"undoDays": 33}', "seen": "1"})
        assert (page.status, "not known whether this was done" in page.text) == (503, True)
        assert "&#34;undoDays&#34;: 33" in page.html


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (NotFound("no such run", "run"), 404, "There is no such page"),
        (Busy("another run is under way"), 409, "Another run is under way."),
        (Busy("a run is being applied", retry_after=30), 503, "Try again in a moment"),
        (Unavailable("storage does not answer"), 503, "Try again in a moment"),
        (TooLarge("x"), 413, "That is too large"),
        (ZeroDivisionError("the name of a person"), 500, "Something went wrong"),
    ],
)
async def test_every_error_is_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, told: str
) -> None:
    async def fail(asked: Asked) -> Outcome:
        raise error

    async def show(asked: Asked) -> Outcome:
        return SeeOther("")

    add_pages(monkeypatch, Page("fails", fail), Page("sends", show, {"fail": fail}))
    async with opened(tmp_path, samples=MadeUp(1, 1)) as door:
        page = await door.get("fails")
        assert (page.status, told in page.text, "Overview" in page.text) == (status, True, True)
        assert "the name of a person" not in page.html
        assert ("Retry-After" in page.headers) == (status == 503)
        token = (await door.get()).token
        if status not in (409, 413, 503):  # these show the form's own page again
            assert (await door.send("sends", {"do": "fail"}, token=token)).status == status


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("", b"x", 400),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", 400),
        ("application/x-www-form-urlencoded", b"a=1&" * 3_000, 400),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 5_000_000, 413),
        ("application/x-www-form-urlencoded", b"\xff\xfe=%ff", 403),
    ],
)
async def test_what_is_no_form_is_said_on_a_page(door: Door, content_type: str, body: bytes, status: int) -> None:
    headers = {**OPERATOR, **SAME_SITE, "Content-Type": content_type}
    answer = await door.ask("POST", "", headers, data=io.BytesIO(body))
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert await unchanged(door)
