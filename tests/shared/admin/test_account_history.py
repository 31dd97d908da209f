"""An account's history over HTTP: in pages, the latest first, each change with what it led to on any page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.keys import AUDIT
from shared.directory.records.model import ENTERPRISE
from shared.tables.port import Insert
from tests.link_orchestrator.passes.test_undo import linked, scim_patch, undo
from tests.link_orchestrator.running import App, Refusal, csv_file, serving


async def pages(app: App, account: str, count: int) -> list[list[Any]]:
    """Return an account's history page by page, the latest page first."""
    found, cursor = list[list[Any]](), ""
    while True:
        page = await app.call("GET", f"accounts/{account}", count=str(count), cursor=cursor)
        found.append(page["history"])
        cursor = page.get("cursor", "")
        if not cursor:
            return found


async def renamed(app: App, times: int) -> str:
    """Return the id of an account that was renamed so many times."""
    await app.bring(csv_file({"userName": "name0"}))
    account = str((await app.account("name0"))["id"])
    for number in range(1, times + 1):
        await app.call("PATCH", f"accounts/{account}", {"document": {"userName": f"name{number}"}})
    return account


async def test_pages_of_any_size_are_the_whole_in_order_from_the_latest_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        account = await renamed(app, 9)
        (whole,) = await pages(app, account, 1000)
        assert [one["number"] for one in whole] == [*range(1, 11)]
        names = [one["values"]["userName"] for one in whole[1:]]
        assert names == [{"from": f"name{n}", "to": f"name{n + 1}"} for n in range(9)]
        for count in (1, 2, 3, 5, 9, 10, 11):
            found = await pages(app, account, count)
            assert [one for page in found[::-1] for one in page] == whole, count
            assert {len(page) for page in found[:-1]} <= {count}
            assert found[-1], "no page is empty"
        await app.call("DELETE", f"accounts/{account}")
        gone = await pages(app, account, 4)
        assert (gone[0][-1]["action"], sum(map(len, gone))) == ("delete", 11)


async def test_what_is_switched_is_told_from_what_to_what_on_any_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        await app.bring(csv_file({"userName": "kim", "title": "Boss"}))
        account = (await app.account("kim"))["id"]
        sent: list[dict[str, Any]] = [
            {"document": {"active": False}}, {"protected": True}, {"document": {"active": True, "title": "Chief"}},
            {"protected": False}, {"document": {"title": "Boss"}}, {"document": {"active": False}},
        ]  # fmt: skip
        for change in sent:
            await app.call("PATCH", f"accounts/{account}", change)
        off, on = {"from": True, "to": False}, {"from": False, "to": True}
        expected = [{"active": off}, {"protected": on}, {"active": on}, {"protected": off}, {}, {"active": off}]
        for count in (1, 2, 1000):
            found = [one for page in (await pages(app, account, count))[::-1] for one in page]
            assert [one.get("values", {}) for one in found[1:]] == expected


async def test_changes_of_earlier_versions_come_before_all_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        account = await renamed(app, 3)
        directory = await Directories(app.tables).open("main")
        rows = [
            Insert(
                f"{AUDIT}{account}_{n:017d}{'0' * 24}",
                {"action": "edit", "by": "old", "at": f"2020-01-01T00:00:0{n}.000Z", "attributes": "title"},
            )
            for n in range(5)
        ]
        await app.tables.commit(directory.keys.home(account), rows)
        (whole,) = await pages(app, account, 1000)
        assert [one["by"] for one in whole[:5]] == ["old"] * 5
        for count in (1, 2, 4, 5, 8):
            assert [one for page in (await pages(app, account, count))[::-1] for one in page] == whole, count


async def test_a_page_reads_no_change_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as app:
        account, read = await renamed(app, 9), list[int]()
        query = app.tables.query

        async def counted(partition: str, low: str = "", *more: Any, **options: Any) -> Any:
            page = await query(partition, low, *more, **options)
            if low.startswith(f"{AUDIT}{account}"):
                read.append(len(page.rows))
            return page

        monkeypatch.setattr(app.tables, "query", counted)
        await app.call("GET", f"accounts/{account}", count="3")
        assert sum(read) == 3


async def test_an_undo_leaves_what_happened_before_it_as_it_happened(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        run = await linked(app, "ada", department="Sales")
        await scim_patch(
            app, "ada", title="Director", displayName="Ada Lovelace", **{f"{ENTERPRISE}:department": "Law"}
        )
        account = (await app.account("ada@contoso.com"))["id"]
        written = {
            "displayName": {"to": "Ada Lovelace"},
            "title": {"from": "Engineer", "to": "Director"},
            f"{ENTERPRISE}:department": {"from": "Sales", "to": "Law"},
        }
        before = (await pages(app, account, 1000))[0]
        assert before[-1]["values"] == written
        await undo(app, run)
        (history,) = await pages(app, account, 1000)
        assert history[: len(before)] == before
        back = {
            name: dict(zip(("to", "from"), (one.get("from"), one["to"]), strict=True)) for name, one in written.items()
        }
        assert history[-1]["values"] == back | {"displayName": {"from": "Ada Lovelace"}}


async def test_what_a_change_made_and_nobody_knows_any_more_is_not_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        await linked(app, "ada", department="Sales")
        await scim_patch(app, "ada", title="Director", **{f"{ENTERPRISE}:department": "Law"})
        account = (await app.account("ada@contoso.com"))["id"]
        await app.call("POST", f"accounts/{account}/release")
        await app.call(
            "PATCH", f"accounts/{account}", {"document": {"title": None, ENTERPRISE: {"department": "West"}}}
        )
        (history,) = await pages(app, account, 1000)
        assert history[-3]["values"] == {
            "title": {"from": "Engineer", "unknown": True},
            f"{ENTERPRISE}:department": {"from": "Sales", "unknown": True},
        }


@pytest.mark.parametrize(
    "asked", [{"count": "0"}, {"count": "1001"}, {"count": "x"}, {"cursor": "x"}, {"cursor": "~" * 41}]
)
async def test_a_wrong_page_is_refused_with_its_name(tmp_path: Path, asked: dict[str, str]) -> None:
    async with serving(tmp_path) as app:
        account = await renamed(app, 1)
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"accounts/{account}", **asked)
        assert (refusal.value.status, refusal.value.detail.startswith(next(iter(asked)))) == (400, True)
