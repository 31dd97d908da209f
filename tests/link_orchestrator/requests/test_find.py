"""People are found in a plan by the beginning of their names, in the order of these, page by page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from link_orchestrator.requests import jobs
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
    for cursor in ("x", "00link_0.0", "bnVsbA", "WzEsMl0", "gA"):
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"linking/runs/{run['id']}/decisions", find="ada", cursor=cursor)
        assert refusal.value.status == 400


async def test_a_page_goes_on_though_its_last_row_is_gone_or_has_another_name(app: App) -> None:
    run = await plan(app)
    path = f"linking/runs/{run['id']}/decisions"
    rows = (await Directories(app.tables).open("main")).plan(run["id"])
    for shown in ({"identity": {"displayName": "Somebody Else"}}, None):
        page = await app.call("GET", path, find="a", count="2")
        last = page["decisions"][-1]["id"]
        bucket = int(last[:2], 16)
        (row,) = [row async for some in rows.decided(bucket) for row in some if row.id == last]
        await rows.remove(bucket, [last[2:]])
        if shown:
            await rows.write(bucket, [replace(row, shown=shown)])
        more = await app.call("GET", path, find="a", cursor=page["cursor"])
        assert more["decisions"], "those whose names come behind"
        page = await app.call("GET", path, find="a", count="2")
        assert "cursor" in page, "a page whose last row is gone is not the last one"


async def test_an_address_finds_the_rows_of_its_accounts_each_once_and_of_no_others(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A userName is looked for as it is: the one of another account may begin with it."""
    monkeypatch.setattr(jobs, "ADDRESSED", 3)
    people = ["jan", "jan.a", "jan.b", "jan.c"]
    await app.bring(csv_file(*({"userName": one, "email": "" if one == "jan.c" else "info@x.com"} for one in people)))
    run = await app.plan(graph(1, "info@x.com.au", displayName="Ina"))
    for count in ("1", "100"):
        assert await found(app, run, find="INFO@x.com", count=count) == ["Ina", "jan", "jan.a", "jan.b"]
    page = await app.call("GET", f"linking/runs/{run['id']}/decisions", find="info@x.com", count="2")
    assert len(page["decisions"]) == 2


async def test_a_change_that_is_not_sent_is_refused_beside_a_name_too(app: App) -> None:
    run = await plan(app)
    with pytest.raises(Refusal, match="sends no such attribute"):
        await found(app, run, find="ada", changes="shoeSize")


async def test_a_later_run_since_which_nothing_changed_has_nobody_to_find(app: App) -> None:
    run = await plan(app)
    await app.apply(run)
    later = await app.plan(
        *(graph(place, f"{login_of(name)}@contoso.com", displayName=name) for place, name in enumerate(PEOPLE, 1)),
    )
    assert later["options"]["since"] == [run["id"]], "it looked at what changed only"
    assert await found(app, later, find="ada") == []


async def test_a_plan_of_an_earlier_version_says_so(app: App) -> None:
    run = await plan(app)
    directory = await Directories(app.tables).open("main")
    await directory.plan_names(run["id"]).clear()
    with pytest.raises(Refusal, match="make another one"):
        await found(app, run, find="ada")


async def test_who_is_found_by_a_name_are_in_order_of_names_and_behind_no_row(app: App) -> None:
    run = await plan(app)
    row = (await app.decisions(run))[0]["id"]
    for asked in ({"find": "ada", "behind": row}, {"behind": "x"}):
        with pytest.raises(Refusal, match=r"^400 behind: name a row by its id"):
            await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked)
