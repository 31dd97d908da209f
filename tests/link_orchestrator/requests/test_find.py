"""People are found in a plan by the beginning of their names, in the order of these, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.work import names
from tests.link_orchestrator.running import App, Refusal, csv_file, graph

PEOPLE = ("Ada Abel", "Ada Byron", "Bob Abel", "Zoe Ada")
"""The last one has no account."""


async def plan(app: App) -> Any:
    await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    rows = [{"userName": f"{login_of(name)}@contoso.com", "displayName": name} for name in PEOPLE[:-1]]
    mail = {"userName": "hidden.login", "displayName": "Hidden", "email": "known@contoso.com"}
    await app.bring(csv_file(*({"email": ""} | row for row in rows), mail))
    return await app.plan(
        *(graph(place, f"{login_of(name)}@contoso.com", displayName=name) for place, name in enumerate(PEOPLE, 1))
    )


def login_of(name: str) -> str:
    return name.lower().replace(" ", ".")


async def found(app: App, run: Any, **asked: str) -> list[str]:
    """Return whom a search finds, page by page."""
    names_, cursor = list[str](), ""
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked, **more)
        for row in page["decisions"]:
            names_.append(row["identity"]["displayName"] if "identity" in row else row["account"]["userName"])
        cursor = page.get("cursor", "")
        if not cursor:
            return names_


@pytest.mark.parametrize("count", ["1", "2", "100"])
@pytest.mark.parametrize("chunk", [2, 300])
@pytest.mark.parametrize(
    ("find", "whom"),
    [
        ("ada", ["Zoe Ada", "Ada Abel", "Ada Byron"]),
        ("ADA B", ["Ada Byron"]),
        ("abel", ["Ada Abel", "Bob Abel"]),
        ("zoe.ada@contoso.com", ["Zoe Ada"]),
        ("known@contoso.com", ["hidden.login"]),
        ("nobody", []),
    ],
)
async def test_people_are_found_by_the_beginning_of_their_names(
    app: App, monkeypatch: pytest.MonkeyPatch, find: str, whom: list[str], count: str, chunk: int
) -> None:
    monkeypatch.setattr(names, "CHUNK", chunk)
    run = await plan(app)
    assert await found(app, run, find=find, count=count) == whom


async def test_a_search_goes_with_a_decision_and_other_conditions(app: App) -> None:
    run = await plan(app)
    assert await found(app, run, find="ada", decision="noAccount") == ["Zoe Ada"]
    assert await found(app, run, find="ada", reviewed="true") == []


async def test_a_cursor_of_another_listing_is_refused(app: App) -> None:
    run = await plan(app)
    for cursor in ("x", "00link_0.0"):
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"linking/runs/{run['id']}/decisions", find="ada", cursor=cursor)
        assert refusal.value.status == 400


async def test_a_plan_of_an_earlier_version_says_so(app: App) -> None:
    run = await plan(app)
    directory = await Directories(app.tables).open("main")
    await directory.plan_names(run["id"]).clear()
    with pytest.raises(Refusal, match="make another one"):
        await found(app, run, find="ada")
