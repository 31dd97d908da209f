"""A group's history over HTTP: as long as there were changes of it and of its members, in pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.link_orchestrator.running import App, Refusal, serving

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


async def change(app: App, group: str, operation: dict[str, Any]) -> None:
    await app.call("PATCH", f"scim/v2/Groups/{group}", {"schemas": [PATCH], "Operations": [operation]})


async def pages(app: App, group: str, count: int) -> list[list[Any]]:
    """Return a group's history page by page."""
    found, cursor = list[list[Any]](), ""
    while True:
        page = await app.call("GET", f"groups/{group}", count=str(count), cursor=cursor)
        found.append(page["history"])
        cursor = page.get("cursor", "")
        if not cursor:
            return found


async def made(app: App) -> str:
    """Return the id of a group with ten changes, of itself and of its members in turns."""
    user = await app.call("POST", "scim/v2/Users", {"userName": "ada@contoso.com"})
    group = str((await app.call("POST", "scim/v2/Groups", {"displayName": "Sales", "externalId": "g"}))["id"])
    for number in range(3):
        await change(app, group, {"op": "add", "path": "members", "value": [{"value": user["id"]}]})
        await change(app, group, {"op": "replace", "path": "displayName", "value": f"Sales {number}"})
        await change(app, group, {"op": "remove", "path": "members"})
    return group


async def test_pages_of_any_size_are_the_whole_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        group = await made(app)
        (whole,) = await pages(app, group, 1000)
        assert [one["action"] for one in whole] == ["create", *["members", "replace", "members"] * 3]
        assert [one["at"] for one in whole] == sorted(one["at"] for one in whole)
        for count in (1, 2, 3, 5, 9, 10, 11):
            found = await pages(app, group, count)
            assert [one for page in found for one in page] == whole, count
            assert {len(page) for page in found[:-1]} <= {count}
            assert found[-1], "no page is empty"
        await app.call("DELETE", f"scim/v2/Groups/{group}")
        assert (await pages(app, group, 4))[-1][-1]["action"] == "delete"


@pytest.mark.parametrize(
    "asked", [{"count": "0"}, {"count": "1001"}, {"count": "x"}, {"cursor": "x"}, {"cursor": "~" * 41}]
)
async def test_a_wrong_page_is_refused_with_its_name(tmp_path: Path, asked: dict[str, str]) -> None:
    async with serving(tmp_path) as app:
        group = await made(app)
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", f"groups/{group}", **asked)
        assert (refusal.value.status, refusal.value.detail.startswith(next(iter(asked)))) == (400, True)
