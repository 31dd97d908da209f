"""Whatever happens to accounts after a run: an undo brings each back to what it was, or says why not, and only once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.directory.records.model import ENTERPRISE
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


async def rename(app: App, account: Any, identity: str) -> None:
    name = f"renamed{next(numbers)}@contoso.com"
    await scim(app, account, externalId=identity, userName=name, emails=[{"value": name, "type": "work"}])


async def extend(app: App, account: Any, identity: str) -> None:
    values = {"department": "Sales", "employeeNumber": str(next(numbers)), "costCenter": None}
    await scim(app, account, externalId=identity, **{f"{ENTERPRISE}:{name}": value for name, value in values.items()})


async def put(app: App, account: Any, identity: str) -> None:
    body = {"userName": account["userName"], "externalId": identity, "displayName": "Ada", "active": True}
    await app.call("PUT", f"scim/v2/Users/{account['id']}", body)


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


async def bring_again(app: App, account: Any, identity: str) -> None:
    await app.bring(csv_file({"userName": account["userName"], "displayName": "Lady", "department": "Maths"}))


async def remove(app: App, account: Any, identity: str) -> None:
    await app.call("DELETE", f"accounts/{account['id']}")


HERE = (edit, bring_again)
"""Events that change attributes here."""
EVENTS: list[Callable[[App, Any, str], Awaitable[None]]] = [
    *(confirm, provision, rename, extend, put, deactivate, delete),
    *(release, point_elsewhere, point_back, protect, edit, bring_again, remove),
]
MINE = ("id", "userName", "status", "sourceOfAuthority", "active", "deletedOverScim", "link")
"""What an undo brings back beside the document; protection is the administrator's."""


async def account_of(app: App, account_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await app.call("GET", f"accounts/{account_id}")
    return found


def edited(expected: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the document that an undo should lead to, once people changed one here from `before` to `after`."""
    names = [n for n in before.keys() | after.keys() if before.get(n) != after.get(n)]
    return {n: v for n, v in expected.items() if n not in names} | {n: after[n] for n in names if n in after}


@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(EVENTS)), max_size=7),
    stamped=st.booleans(),
    keep=st.sampled_from([{}, {}, {"keep": "attributes"}]),
)
@example(events=[(0, point_elsewhere), (0, release)], stamped=False, keep={})
@example(events=[(0, provision), (0, rename), (0, extend), (0, put), (0, extend)], stamped=True, keep={})
@example(events=[(0, provision), (0, delete), (0, edit), (1, confirm), (1, deactivate)], stamped=False, keep={})
@settings(max_examples=25)
async def test_any_history(app: App, events: list[tuple[int, Any]], stamped: bool, keep: dict[str, str]) -> None:
    first = next(numbers) * 10
    names = [f"p{first + n}@contoso.com" for n in range(3)]
    columns = [{"externalId": f"k{first}"} if stamped and not n else {"externalId": ""} for n in range(3)]
    file = ({"userName": n, "title": "Mr", "costCenter": "7"} | more for n, more in zip(names, columns, strict=True))
    await app.bring(csv_file(*file))
    before = [await app.account(name) for name in names]
    expected = [account["document"] for account in before]
    run = await app.apply(await app.plan(*(graph(first + n, name) for n, name in enumerate(names))), links=3)
    for person, event in events:
        was = await account_of(app, before[person]["id"])
        with suppress(Refusal):
            await event(app, was if "userName" in was else before[person], object_id(first + person))
        if event in HERE and "document" in was:
            now = await account_of(app, before[person]["id"])
            expected[person] = edited(expected[person], was["document"], now["document"])
    after = [await account_of(app, account["id"]) for account in before]
    job = await undo(app, run, **keep)
    told = await rows(app, job)
    assert sum(job["counts"].values()) == len(told) == 3
    for was, then, document in zip(before, after, expected, strict=True):
        now = await account_of(app, was["id"])
        outcome, reason = told[was["userName"].partition("@")[0]]
        assert reason
        if outcome in ("undone", "undonePartly", "undoneInactive"):
            left = {"active": False} if outcome == "undoneInactive" else {}
            named = {"userName": document["userName"]} if not keep else {}
            assert {name: now[name] for name in MINE} == {name: was[name] for name in MINE} | left | named
            assert now["document"] == document | left
            assert outcome != "undoneInactive" or not then["active"]
        elif outcome == "released":
            assert (now["status"], now["link"], now["deletedOverScim"]) == ("local", None, False)
            assert without_key(now["document"]) == without_key(then["document"])
        else:
            assert now == then
            assert outcome == "unchanged" or now.get("deleted") or now["link"] or now["deletedOverScim"]
    settled = [await account_of(app, account["id"]) for account in before]
    await undo(app, run, **keep)
    assert [await account_of(app, account["id"]) for account in before] == settled
    await check_invariants(app.tables, "main")


def without_key(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "externalId"}
