"""Whatever happens to accounts after a run: an undo brings each back to what it was, or says why not, and only once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.link_orchestrator.passes.test_undo import PATCH, rows, undo
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id
from tests.shared.directory.invariants import check_invariants

numbers = itertools.count(1)


async def scim(app: App, account: Any, **values: Any) -> None:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    await app.call("PATCH", f"scim/v2/Users/{account['id']}", {"schemas": [PATCH], "Operations": operations})


async def confirm(app: App, account: Any, identity: str) -> None:
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{identity}"')


async def provision(app: App, account: Any, identity: str) -> None:
    await scim(app, account, externalId=identity, title="Director")


async def deactivate(app: App, account: Any, identity: str) -> None:
    await scim(app, account, active=False)


async def delete(app: App, account: Any, identity: str) -> None:
    await app.call("DELETE", f"scim/v2/Users/{account['id']}")


async def release(app: App, account: Any, identity: str) -> None:
    await app.call("POST", f"accounts/{account['id']}/release")


async def point_elsewhere(app: App, account: Any, identity: str) -> None:
    await app.call("POST", f"accounts/{account['id']}/link", {"identity": object_id(10**6 + next(numbers))})


async def point_back(app: App, account: Any, identity: str) -> None:
    await app.call("POST", f"accounts/{account['id']}/link", {"identity": identity})


async def protect(app: App, account: Any, identity: str) -> None:
    await app.call("PATCH", f"accounts/{account['id']}", {"protected": True})


async def edit(app: App, account: Any, identity: str) -> None:
    await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Countess"}})


async def remove(app: App, account: Any, identity: str) -> None:
    await app.call("DELETE", f"accounts/{account['id']}")


EVENTS: list[Callable[[App, Any, str], Awaitable[None]]] = [
    *(confirm, provision, deactivate, delete, release, point_elsewhere, point_back, protect, edit, remove)
]
MINE = ("id", "userName", "status", "sourceOfAuthority", "active", "deletedOverScim", "link", "document")
"""What an undo brings back; protection and evidence are the administrator's."""


async def account_of(app: App, account_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await app.call("GET", f"accounts/{account_id}")
    return found


@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(EVENTS)), max_size=7),
    stamped=st.booleans(),
    kept=st.sampled_from(["refuse", "release"]),
)
@example(events=[(0, point_elsewhere), (0, release)], stamped=False, kept="refuse")
@settings(max_examples=25)
async def test_any_history(app: App, events: list[tuple[int, Any]], stamped: bool, kept: str) -> None:
    first = next(numbers) * 10
    names = [f"p{first + n}@contoso.com" for n in range(3)]
    columns = [{"externalId": f"k{first}"} if stamped and not n else {"externalId": ""} for n in range(3)]
    await app.bring(
        csv_file(*({"userName": name, "title": "Mr"} | more for name, more in zip(names, columns, strict=True)))
    )
    before = [await app.account(name) for name in names]
    run = await app.apply(await app.plan(*(graph(first + n, name) for n, name in enumerate(names))), links=3)
    for person, event in events:
        with suppress(Refusal):
            await event(app, before[person], object_id(first + person))
    after = [await account_of(app, account["id"]) for account in before]
    job = await undo(app, run, changed=kept)
    told = await rows(app, job)
    assert sum(job["counts"].values()) == len(told) == 3
    for was, then in zip(before, after, strict=True):
        now = await account_of(app, was["id"])
        outcome, reason = told[was["userName"].partition("@")[0]]
        assert reason
        if outcome == "undone":
            assert {name: now[name] for name in MINE} == {name: was[name] for name in MINE}
        elif outcome == "released":
            assert (now["status"], now["link"], now["document"]["title"]) == ("local", None, then["document"]["title"])
        else:
            assert now == then
            assert outcome == "unchanged" or now.get("deleted") or now["link"] or now["deletedOverScim"]
    settled = [await account_of(app, account["id"]) for account in before]
    await undo(app, run, changed=kept)
    assert [await account_of(app, account["id"]) for account in before] == settled
    await check_invariants(app.tables, "main")
