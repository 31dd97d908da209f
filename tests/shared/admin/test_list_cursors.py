"""A cursor belongs to its list, and to what that was asked for: elsewhere it is refused, and never read as a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph, serving
from tests.openapi import document

NAMES = [f"p{number}@contoso.com" for number in range(3)]
REMEDY = "take the one of the former page, with the parameters of that, or start without"


async def brought(app: App) -> dict[str, str]:
    """Bring accounts, groups and a plan; return an id for each path that asks for one."""
    imported = await app.bring(csv_file(*({"userName": name, "email": "desk@contoso.com"} for name in NAMES)))
    group = await app.call("POST", "scim/v2/Groups", {"displayName": "Sales"})
    await app.call("POST", "scim/v2/Groups", {"displayName": "Desk"})
    run = await app.plan(*(graph(number, name) for number, name in enumerate(NAMES, 1)))
    return {"linking/runs/": run["id"], "accounts/imports/": imported["id"], "groups/": group["id"]}


async def first(app: App, path: str, **asked: str) -> str:
    """Return the cursor behind the first row of a list."""
    return str((await app.call("GET", path, count="1", **asked))["cursor"])


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (("accounts", {}), ("groups", {})),
        (("groups", {}), ("accounts", {})),
        (("accounts", {}), ("accounts", {"state": "local"})),
        (("accounts", {"state": "local"}), ("accounts", {"state": "linked"})),
        (("accounts", {"email": "desk@contoso.com"}), ("accounts", {"email": "other@contoso.com"})),
        (("accounts", {"email": "desk@contoso.com"}), ("accounts", {})),
        (("linking/runs/{id}/decisions", {}), ("linking/runs/{id}/decisions", {"decision": "noAccount"})),
        (("linking/runs/{id}/decisions", {"find": "p"}), ("linking/runs/{id}/decisions", {})),
    ],
    ids=repr,
)
async def test_a_cursor_of_another_list_or_filter_is_refused(
    tmp_path: Path, given: tuple[str, dict[str, str]], taken: tuple[str, dict[str, str]]
) -> None:
    async with serving(tmp_path) as app:
        run = (await brought(app))["linking/runs/"]
        cursor = await first(app, given[0].replace("{id}", run), **given[1])
        status, detail = await status_of(app.call("GET", taken[0].replace("{id}", run), cursor=cursor, **taken[1]))
        assert (status, REMEDY in detail) == (400, True), detail
        again = await app.call("GET", given[0].replace("{id}", run), count="2", cursor=cursor, **given[1])
        assert again, "of its own list it is one, whatever number of rows is asked for"


async def test_every_list_refuses_the_cursor_of_another(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        ids = await brought(app)
        cursors = {"accounts": await first(app, "accounts"), "activity": await first(app, "directory/activity")}
        tried = 0
        for path in _paged():
            own = next((ids[begin] for begin in ids if path.startswith(begin)), "none")
            for name, cursor in cursors.items():
                if path.rpartition("/")[2] == name:
                    continue
                more = {"format": "csv"} if path.endswith("/report") else {}
                status, detail = await status_of(app.call("GET", path.replace("{id}", own), cursor=cursor, **more))
                if status != 404:  # no such undo, or group of a run, is there
                    assert (status, REMEDY in detail) == (400, True), f"{path}: {detail}"
                    tried += 1
        assert tried > 20, "most lists are there"


def _paged() -> list[str]:
    """Return the paths of the API's document whose answers go on by a cursor, `members` as it needs a group."""
    paths: dict[str, Any] = document()["paths"]
    named = {
        path: {one["name"] for one in operations.get("get", {}).get("parameters", ())}
        for path, operations in paths.items()
    }
    return [path.lstrip("/") for path, names in named.items() if "cursor" in names and path != "/members"]
