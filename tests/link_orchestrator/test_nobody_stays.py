"""What is left of a person in all tables once every term is over: nothing, of whoever has no account."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.directory import sweep, text
from shared.directory.directory import Directories
from shared.directory.records.resources import Resources
from tests.link_orchestrator.life import USER
from tests.link_orchestrator.passes.test_undo import person, scim_patch, undo
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, all_accounts, csv_file, graph, object_id
from tests.stored import stored_rows, stored_tables

GONE = "zoe"

"""What every name, address and title of people begins with who have no account in the end."""


class Later(datetime):
    """The clock, when every term is over."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the time two years from now."""
        return datetime.now(tz) + timedelta(days=730)


def rows_about(folder: Path, word: str) -> list[tuple[str, ...]]:
    """Return table, partition, key and columns of every row that has a word, in any letters."""
    found, file = [], folder / "scimlink.db"
    for name in stored_tables(file):
        for partition, key, columns in stored_rows(file, name):
            row = partition.decode(), key.decode(), columns
            if word in " ".join(row).casefold():
                found.append((name, *row))
    return found


async def live(app: App) -> None:
    """Let people come into every list that there is, none of whom has an account in the end."""
    people = csv_file(person("ada"), person("zoe.import"), person("zoe.import", title="Zoe"), person("zoe2"))
    job = await app.bring(people)
    assert await app.problems(job)
    groups = csv_file({"displayName": "Staff", "members": "zoe2"}, {"displayName": "Others", "members": "zoe.nobody"})
    job = await app.call("POST", "groups/import", groups, "text/csv")
    await app.wait(f"groups/imports/{job['id']}", "done")
    await app.bring(csv_file({"userName": "zoe.alias", "email": "rita.alias@contoso.com"}))
    theirs = [{"id": "g1", "displayName": "Staff", "members": [{"id": object_id(1)}, {"id": object_id(9)}]}]
    for verdict in ("cancel", "approve"):
        upload = await app.call("POST", "linking/groups", {"value": theirs})
        people = [
            graph(0, "ada@contoso.com"),
            graph(1, "zoe2@contoso.com"),
            graph(2, "zoe.new@contoso.com", displayName="Zoe New"),
            graph(3, "zoe.review@contoso.com", proxyAddresses=["smtp:rita.alias@contoso.com"]),
            {"id": "", "userPrincipalName": "zoe.unusable@contoso.com"},
        ]
        run = await app.plan(*people, groups=upload["id"])
        if verdict == "cancel":
            await app.call("POST", f"linking/runs/{run['id']}/cancel")
            await app.wait(f"linking/runs/{run['id']}")
        else:
            await app.apply(run, groups=run["counts"].get("groupLink", 0))
    await scim_patch(app, "ada", displayName="Ada of Zoe")
    user = {"schemas": [USER], "userName": "zoe.review@contoso.com", "externalId": object_id(3)}
    assert (await status_of(app.call("POST", "scim/v2/Users", user)))[0] == 409
    job = await app.call("POST", f"linking/runs/{run['id']}/verification")
    await app.wait(f"linking/verifications/{job['id']}")
    await undo(app, run)
    directory = await Directories(app.tables).open("main")
    for account in await all_accounts(directory):
        if account.user_name.startswith(GONE):
            await app.call("DELETE", f"accounts/{account.id}")


async def test_nothing_is_left_of_whoever_has_no_account_once_every_term_is_over(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(app)
    kinds = {partition.split("_")[1] for _, partition, *_ in rows_about(tmp_path, GONE) if "_" in partition}
    assert kinds >= {"p", "s"}, "rows of plans and reports, and staged ones"
    for module in (text, sweep):
        monkeypatch.setattr(module, "datetime", Later)
    for timer in ("sweep", "jobs_remove"):
        await app.host.run_timer(timer)
    assert not rows_about(tmp_path, GONE)


async def test_the_names_of_a_deleted_account_leave_its_history_though_a_crash_came_between(
    app: App, tmp_path: Path
) -> None:
    await app.bring(csv_file(person("zoe"), person("zoe2")))
    run = await app.apply(await app.plan(graph(0, "zoe@contoso.com"), graph(1, "zoe2@contoso.com")))
    await undo(app, run)
    directory = await Directories(app.tables).open("main")
    deleted, crashed = await all_accounts(directory)
    assert "userName" in (await directory.accounts.history(deleted.id))[1].before
    await directory.accounts.delete(deleted, by="test")
    await Resources.delete(directory.accounts, crashed, by="test")
    histories = [await directory.accounts.history(one.id) for one in (deleted, crashed)]
    assert ["userName" in history[1].before for history in histories] == [False, True]
    await app.host.run_timer("sweep")
    for one in (deleted, crashed):
        history = await directory.accounts.history(one.id)
        assert [change.action for change in history] == ["create", "link", "undo", "delete"]
        assert history[1].before == {"status": "local", "externalId": None, "link": None}
        assert "userName" not in history[2].before
