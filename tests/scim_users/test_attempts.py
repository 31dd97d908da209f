"""Attempts to link or change an account that is managed here over SCIM: none succeeds, and nothing of it changes.

The table is shape x account x policy: whatever is looked up before, whatever a write names, whatever a create carries.
Each batch is one server with one directory; since no attempt changes anything, all of them meet the same accounts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.faults import FaultyTables
from scim_users import service
from scim_users.authority import retire
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.records.model import ENTERPRISE, Account, Link, SignInEvidence, Status
from shared.directory.text import timestamp
from shared.scim.endpoint import Request
from shared.scim.errors import ScimError
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import POLICY, App, csv_file, graph, make_directory, object_id, serving

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
NOW = "2026-11-29T12:00:00.000Z"
DEFAULT_TRUST = ("externalId", "signInObjectId", "nameId", "userName", "verifiedEmail", "email", "employeeNumber")
ALL_STRONG = {"rules": [{"rule": rule, "trust": "strong"} for rule in DEFAULT_TRUST]}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "adoptOnCreate": {"adoptOnCreate": True},
    "createBesideMatches": {"createBesideMatches": True},
    "everything strong": {"adoptOnCreate": True, **ALL_STRONG},
}

Call = tuple[str, str, Any]
"""Method, path below /scim/v2, body."""


@dataclass(frozen=True, slots=True)
class Victim:
    """An account, and the identity that is after it. `carried` is what it sends as externalId."""

    id: str
    user_name: str
    address: str
    identity: str
    carried: str = ""

    @property
    def external_id(self) -> str:
        return self.carried or self.identity


async def send(app: App, call: Call) -> tuple[int, Any]:
    """Send a SCIM request; return status and JSON."""
    method, path, body = call
    headers = {"Content-Type": "application/scim+json"}
    data = None if body is None else json.dumps(body)
    query = {}
    if method == "FIND":
        method, query, data = "GET", {"filter": body}, None
    async with app.session.request(method, f"/scim/v2/{path}", data=data, params=query, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else {}


def patch(victim: Victim, *operations: Mapping[str, Any]) -> Call:
    return "PATCH", f"Users/{victim.id}", {"schemas": [PATCH_OP], "Operations": list(operations)}


def look_up(text: str) -> Call:
    return "FIND", "Users", text


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "Add", "path": path, "value": value}


def key(victim: Victim) -> dict[str, Any]:
    """Return the operation that stamps the identity."""
    return add("externalId", victim.external_id)


def kelvin(text: str) -> str:
    return text.replace("k", "\u212a", 1)


def full_width(text: str) -> str:
    return chr(ord(text[0]) + 0xFEE0) + text[1:]


def work(address: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "work", "value": address, "primary": True, **more}]


def bulk(*operations: Call) -> Call:
    items = [
        {"method": method, "path": f"/{path}", "bulkId": str(place), **({} if body is None else {"data": body})}
        for place, (method, path, body) in enumerate(operations)
    ]
    return "POST", "Bulk", {"schemas": [BULK], "Operations": items}


def put(victim: Victim, **more: Any) -> Call:
    return "PUT", f"Users/{victim.id}", {"schemas": [USER], "userName": victim.user_name} | more


Shape = Callable[[Victim], Iterable[Call]]

WRITES: Mapping[str, Shape] = {
    "the key alone": lambda v: [patch(v, key(v))],
    "no key": lambda v: [patch(v, add("title", "Owner"))],
    "disabling": lambda v: [patch(v, {"op": "Replace", "path": "active", "value": "False"})],
    "emails []": lambda v: [patch(v, add("emails", []), key(v))],
    "its own emails": lambda v: [patch(v, add("emails", work(v.address)), key(v))],
    "emails.primary": lambda v: [patch(v, add('emails[type eq "work"].primary', True), key(v))],
    "emails.display": lambda v: [patch(v, add('emails[type eq "work"].display', "x"), key(v))],
    "a remove that matches nothing": lambda v: [patch(v, {"op": "remove", "path": 'emails[type eq "other"]'}, key(v))],
    "a remove of an address": lambda v: [patch(v, {"op": "remove", "path": f'emails[value eq "{v.address}"]'}, key(v))],
    "userName.x": lambda v: [patch(v, add("userName.x", "y"), key(v))],
    "its own userName": lambda v: [patch(v, {"op": "replace", "path": "userName", "value": v.user_name}, key(v))],
    "its userName in capitals": lambda v: [
        patch(v, {"op": "replace", "path": "userName", "value": v.user_name.upper()}, key(v))
    ],
    "a look-alike userName": lambda v: [patch(v, add("userName", kelvin(v.user_name)), key(v))],
    "no path": lambda v: [
        patch(v, {"op": "add", "value": {"externalId": v.external_id, "userName": v.user_name, "emails": []}})
    ],
    "no path, its own values": lambda v: [
        patch(v, {"op": "replace", "value": {"externalid": v.external_id, "emails": work(v.address)}})
    ],
    "dotted keys": lambda v: [
        patch(v, {"op": "add", "value": {"name.givenName": "x", "externalId": v.external_id, "userName.x": "y"}})
    ],
    "URN keys": lambda v: [
        patch(v, {"op": "replace", "value": {f"{USER}:externalId": v.external_id, f"{USER}:userName": v.user_name}})
    ],
    "a URN path": lambda v: [patch(v, add(f"{USER}:externalId", v.external_id))],
    "a value path as a key": lambda v: [
        patch(v, {"op": "add", "value": {'emails[type eq "work"].value': v.address, "externalId": v.external_id}})
    ],
    "removed and added": lambda v: [patch(v, {"op": "remove", "path": "externalId"}, key(v))],
    "its employeeNumber": lambda v: [patch(v, add(f"{ENTERPRISE}:employeeNumber", "77"), key(v))],
    "PUT": lambda v: [put(v, externalId=v.external_id, emails=work(v.address))],
    "PUT without a key": lambda v: [put(v, title="Owner")],
    "PUT with the key alone": lambda v: [put(v, externalId=v.external_id)],
    "DELETE": lambda v: [("DELETE", f"Users/{v.id}", None)],
    "Bulk": lambda v: [bulk(patch(v, key(v)), put(v, externalId=v.external_id), ("DELETE", f"Users/{v.id}", None))],
    "found by userName": lambda v: [look_up(f'userName eq "{v.user_name}"'), patch(v, key(v))],
    "found by a Kelvin sign": lambda v: [look_up(f'userName eq "{kelvin(v.user_name)}"'), patch(v, key(v))],
    "found by full width": lambda v: [look_up(f'userName eq "{full_width(v.user_name)}"'), patch(v, key(v))],
    "found by e-mail": lambda v: [look_up(f'emails[type eq "work"].value eq "{v.address}"'), patch(v, key(v))],
    "found by employeeNumber": lambda v: [look_up(f'{ENTERPRISE}:employeeNumber eq "77"'), patch(v, key(v))],
    "found by all, by another": lambda v: [
        look_up(f'externalId eq "{object_id(9)}"'),
        look_up(f'userName eq "{v.user_name}"'),
        look_up(f'emails.value eq "{v.address}"'),
        ("POST", "Users/.search", {"filter": f'userName eq "{v.user_name}"'}),
        patch(v, key(v)),
        patch(v, key(replace(v, carried=object_id(9)))),
    ],
    "mailNickname": lambda v: [look_up(f'userName eq "{v.user_name}"'), patch(v, key(replace(v, carried="kim")))],
    "written again and again": lambda v: [patch(v, key(v))] * 3,
}
"""What is looked up and written, by what it tries."""

NUMBERED = {"active": True, ENTERPRISE: {"employeeNumber": "77"}}
Change = Callable[[Account, str], Account]
MANAGED_HERE: Mapping[str, Change] = {
    "a name and a verified address": lambda a, _: a,
    "its own past sign-in": lambda a, own: replace(a, evidence=replace(a.evidence, object_id=own)),
    "its externalId": lambda a, own: a.with_document(a.document() | {"externalId": own}),
    "another's externalId": lambda a, _: a.with_document(a.document() | {"externalId": object_id(2)}),
    "deactivated": lambda a, _: a.with_document(a.document() | {"active": False}),
    "protected": lambda a, _: replace(a, protected=True),
    "taken apart": lambda a, own: replace(a, parted=(own,)),
    "retired": lambda a, _: a,
}
"""Accounts that are managed here: each is the identity's, as far as anything shows."""


async def put_account(directory: Directory, number: int = 0, kind: str = "its externalId") -> Victim:
    """Store an account of a kind, and return it with the identity that is after it."""
    own = object_id(100 + number)
    name = f"kim{number}@contoso.com"
    document = {"schemas": [USER], "userName": name, "emails": work(name), **NUMBERED}
    new = Account.new(directory.keys.new_id(name), document, Status.LOCAL, NOW)
    new = MANAGED_HERE[kind](replace(new, evidence=SignInEvidence(verified_emails=(name,))), own)
    account = await directory.accounts.create(new, by="import")
    if kind == "retired":
        account = await link(directory, account.id, own, NOW)
        await directory.accounts.replace(account, retire(account), by="entra")
    return Victim(account.id, name, name, own)


async def link(directory: Directory, account_id: str, identity: str, confirmed: str | None) -> Account:
    """Link an account as a run does."""
    account = await directory.accounts.get(account_id)
    made = Link(identity, "userName", NOW, "run", confirmed)
    stamped = account.with_external_id(identity, status=Status.CLAIMED, link=made)
    return await directory.accounts.replace(account, stamped, by="run")


def is_refused(method: str, path: str, status: int, body: Any) -> bool:
    """Tell whether an answer, or each within a Bulk's, is a refusal."""
    if path == "Bulk" and status == 200:
        return all(int(one["status"]) in (403, 404, 409, 412) for one in body["Operations"])
    return status in (403, 404, 409)


async def attempt(app: App, directory: Directory, victims: Sequence[Victim], calls: Iterable[Call]) -> list[str]:
    """Make an attempt, and return what is wrong with its outcome."""
    before = [await directory.accounts.find(victim.id) for victim in victims]
    wrong: list[str] = []
    for call in calls:
        status, body = await send(app, call)
        method, path, _ = call
        if method == "FIND" or path == "Users/.search":
            wrong += [] if status == 200 else [f"{method} answered {status}"]
        elif method == "POST" and path == "Users" and status == 201:
            # A second account where the policy lets it be: that links nobody, and it goes again.
            wrong += [f"answered with {body['id']}"] if body["id"] in {victim.id for victim in victims} else []
            await send(app, ("DELETE", f"Users/{body['id']}", None))
        elif not is_refused(method, path, status, body):
            wrong.append(f"{method} answered {status}")
    after = [await directory.accounts.find(victim.id) for victim in victims]
    changed = [a for a, b in zip(before, after, strict=True) if a != b or (a and b and a.etag != b.etag)]
    return wrong + [f"{account.user_name} changed" for account in changed if account]


@pytest.mark.parametrize("policy", POLICIES)
async def test_no_write_reaches_an_account_that_is_managed_here(tmp_path: Path, policy: str) -> None:
    wrong: dict[str, list[str]] = {}
    async with serving(tmp_path) as app:
        directory = await Directories(app.tables).open("main")
        await app.call("PUT", "directory/policy", POLICY | POLICIES[policy])
        for number, kind in enumerate(MANAGED_HERE):
            victim = await put_account(directory, number, kind)
            for shape, calls in WRITES.items():
                if found := await attempt(app, directory, [victim], calls(victim)):
                    wrong[f"{shape} x {kind}"] = found
        assert wrong == {}
        await assert_nobody_is_linked(directory)


async def assert_nobody_is_linked(directory: Directory) -> None:
    for bucket in range(directory.keys.buckets):
        async for account in directory.listing.scan_facts(bucket):
            assert account.link is None, account.user_name
            assert account.status is Status.LOCAL


@dataclass(frozen=True, slots=True)
class Pair:
    """Accounts and identities of which a plan finds out that a create may not adopt.

    The first account is what the create is after. `sent` is what it sends beside the usual, `mine` says which identity
    sends it. `prepared` is what becomes of the account before the plan.
    """

    accounts: Sequence[Mapping[str, str]]
    identities: Sequence[Mapping[str, Any]]
    mine: str
    sent: Mapping[str, Any] = field(default_factory=dict)
    prepared: Callable[[Account], Account] | None = None
    excluded: Sequence[str] = ()


def pairs() -> dict[str, Pair]:
    """Return the pairs by what keeps them apart; each has a name and identities of its own."""
    made: dict[str, Pair] = {}

    def pair(why: str, account: Mapping[str, str], *others: Any, **more: Any) -> None:
        number = 100 + 10 * len(made)
        name = f"kim{number}@contoso.com"
        held = {column: value.format(name=name, number=number) for column, value in account.items()}
        accounts = [{"userName": name, "email": name, "emailVerified": "yes", **held}]
        theirs = [graph(number, name, employeeId=str(number))]
        for other in others:
            filled = json.loads(json.dumps(other).replace("$name", name).replace("$number", str(number)))
            place = number + 1 + len(theirs)
            theirs += [graph(place, f"bob{place}@contoso.com", **filled)] if "userName" not in filled else []
            accounts += [filled] if "userName" in filled else []
        made[why] = Pair(accounts, theirs, object_id(number), **more)

    pair("two accounts", {}, {"userName": "two.$name", "email": "$name", "emailVerified": "yes"})
    pair("a weak second account", {}, {"userName": "second.$number", "email": "$name"})
    pair("an account of that number", {}, {"userName": "third.$number", "employeeNumber": "$number"})
    pair("an alias of another", {}, {"proxyAddresses": ["smtp:$name"]})
    pair("the mail of another", {}, {"mail": "$name"})
    pair("another mail of another", {}, {"otherMails": ["$name"]})
    pair("the number of another", {"employeeNumber": "{number}"}, {"employeeId": "$number"})
    pair("another number", {"employeeNumber": "9{number}"}, sent={ENTERPRISE: {"employeeNumber": "1815"}})
    pair("another's past sign-in", {"objectId": object_id(7)})
    pair("another's externalId", {"externalId": object_id(8)})
    pair("another's NameID", {"nameId": "somebody@contoso.com"})
    pair("an unverified address", {"userName": "local.{number}", "emailVerified": "no"})
    pair("a number alone", {"userName": "local.{number}", "email": "", "employeeNumber": "{number}"})
    pair("a foreign domain", {"userName": "kim{number}@home.example", "email": "kim{number}@home.example"},
         sent={"userName": "kim{number}@home.example", "emails": work("kim{number}@home.example")})  # fmt: skip
    pair("protected", {"protected": "yes"})
    pair("deactivated", {"active": "no"})
    pair("taken apart", {}, prepared=lambda a: replace(a, parted=("$identity",)))
    pair("mailNickname", {}, sent={"externalId": "kim"})
    pair("an id in braces", {}, sent={"externalId": "{{{identity}}}"})
    pair("no externalId", {}, sent={"externalId": None})
    pair("a Kelvin sign", {}, sent={"userName": "\u212aim{number}@contoso.com", "emails": []})
    pair("full width", {}, sent={"userName": "\uff4bim{number}@contoso.com", "emails": []})
    pair("another identity's name", {}, sent={"externalId": object_id(6)}, excluded=["$identity"])
    pair("excluded", {}, excluded=["$identity"])
    pair("excluded by name", {}, excluded=["$name"])
    pair("excluded in braces", {}, excluded=["{$identity}"])
    pair(
        "an address of no type", {"userName": "local.{number}"}, sent={"emails": [{"value": "kim{number}@contoso.com"}]}
    )
    return made


PAIRS = pairs()


def sent_by(name: str, pair: Pair) -> dict[str, Any]:
    """Return the body of the create by which the identity of a pair comes."""
    number = int(pair.mine[:8], 16)
    text = json.dumps(pair.sent).replace("{number}", str(number)).replace("{{{identity}}}", f"{{{pair.mine}}}")
    address = f"kim{number}@contoso.com"
    body = {"schemas": [USER], "userName": address, "externalId": pair.mine, "active": True, "emails": work(address)}
    return {key: value for key, value in (body | json.loads(text)).items() if value is not None}


CREATES: Mapping[str, Callable[[dict[str, Any]], Iterable[Call]]] = {
    "as Entra sends it": lambda body: [("POST", "Users", body)],
    "in capitals": lambda body: [("POST", "Users", body | {"userName": body["userName"].upper()})],
    "without addresses": lambda body: [("POST", "Users", {n: v for n, v in body.items() if n != "emails"})],
    "deactivated": lambda body: [("POST", "Users", body | {"active": False, "title": "Owner"})],
    "the id in capitals": lambda body: [
        ("POST", "Users", body | ({"externalId": body["externalId"].upper()} if "externalId" in body else {}))
    ],
    "in a Bulk": lambda body: [bulk(("POST", "Users", body))],
    "found before": lambda body: [
        look_up(f'externalId eq "{body.get("externalId", "")}"'),
        look_up(f'userName eq "{body["userName"]}"'),
        look_up(f'emails[type eq "work"].value eq "{body["userName"]}"'),
        ("POST", "Users", body),
    ],
    "twice": lambda body: [("POST", "Users", body)] * 2,
}
ADOPTING: Mapping[str, Mapping[str, Any]] = {
    "adoptOnCreate": {"adoptOnCreate": True},
    "everything strong": {"adoptOnCreate": True, **ALL_STRONG},
    "off": {},
}


@asynccontextmanager
async def planned(folder: Path) -> AsyncIterator[tuple[App, Directory, dict[str, list[Victim]], dict[str, Any]]]:
    """Serve an app that planned all pairs, and approved nothing; yield what is after which accounts, and the policy."""
    excluded = [
        one.replace("$identity", pair.mine).replace("$name", str(pair.identities[0]["mail"]))
        for pair in PAIRS.values()
        for one in pair.excluded
    ]
    policy = POLICY | {"excluded": excluded}
    async with serving(folder) as app:
        await app.call("PUT", "directory/policy", policy)
        await app.bring(csv_file(*(account for pair in PAIRS.values() for account in pair.accounts)))
        directory = await Directories(app.tables).open("main")
        victims: dict[str, list[Victim]] = {}
        for why, pair in PAIRS.items():
            victims[why] = []
            for row in pair.accounts:
                account = await directory.accounts.get((await app.account(row["userName"]))["id"])
                if pair.prepared:
                    after = pair.prepared(account)
                    after = replace(after, parted=tuple(pair.mine for _ in after.parted))
                    account = await directory.accounts.replace(account, after, by="test")
                victims[why].append(Victim(account.id, account.user_name, "", pair.mine))
        await app.plan(*(one for pair in PAIRS.values() for one in pair.identities))
        yield app, directory, victims, policy


async def test_no_create_reaches_an_account_that_anything_keeps_apart(tmp_path: Path) -> None:
    wrong: dict[str, list[str]] = {}
    async with planned(tmp_path) as (app, directory, victims, policy):
        for name, more in ADOPTING.items():
            await app.call("PUT", "directory/policy", policy | more)
            for why, pair in PAIRS.items():
                for shape, calls in CREATES.items():
                    if found := await attempt(app, directory, victims[why], calls(sent_by(why, pair))):
                        wrong[f"{shape} x {why} x {name}"] = found
        assert wrong == {}
        await assert_nobody_is_linked(directory)


IN_A_RUN: Mapping[str, str] = {
    **dict.fromkeys(("two accounts", "a weak second account", "an account of that number"), "ambiguous"),
    **dict.fromkeys(("an alias of another", "another mail of another", "another number", "taken apart"), "review"),
    **dict.fromkeys(("an unverified address", "a number alone"), "review"),
    **dict.fromkeys(("the mail of another", "another's past sign-in", "another's externalId"), "conflict"),
    **dict.fromkeys(("another identity's name", "excluded", "excluded by name", "excluded in braces"), "excluded"),
    "a foreign domain": "noAccount",
    "protected": "protected",
}
"""What a run decides on the pairs that it keeps apart, too. Of the others only the create is wrong."""


async def test_no_run_reaches_an_account_that_anything_but_the_create_keeps_apart(tmp_path: Path) -> None:
    async with planned(tmp_path) as (app, directory, victims, _):
        (run,) = (await app.call("GET", "linking/runs"))["runs"]
        rows = {row["identity"]["objectId"]: row for row in await app.decisions(run) if "identity" in row}
        assert {why: rows[PAIRS[why].mine]["decision"] for why in IN_A_RUN} == IN_A_RUN
        deactivated = rows[PAIRS["deactivated"].mine]
        assert (deactivated["decision"], deactivated["warnings"]) == ("link", ["inactive"])
        done = await app.apply(run)
        assert done["counts"]["linked"] == len(PAIRS) - len(IN_A_RUN)
        for why in IN_A_RUN:
            for victim in victims[why]:
                account = await directory.accounts.find(victim.id)
                assert account is not None
                assert (account.status, account.link) == (Status.LOCAL, None), why


def test_the_table_has_hundreds_of_attempts() -> None:
    assert len(WRITES) * len(MANAGED_HERE) * len(POLICIES) + len(PAIRS) * len(CREATES) * len(ADOPTING) >= 1_000


KIM = {"userName": "kim@contoso.com", "email": "kim@contoso.com", "emailVerified": "yes"}
CREATE = {
    "schemas": [USER],
    "userName": "kim@contoso.com",
    "externalId": object_id(1),
    "emails": work("kim@contoso.com"),
}


async def test_without_a_plan_of_everybody_in_the_last_30_days_nothing_is_adopted(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    await app.bring(csv_file(KIM))
    directory = await Directories(app.tables).open("main")
    victim = Victim((await app.account("kim@contoso.com"))["id"], "", "", "")
    assert await attempt(app, directory, [victim], [("POST", "Users", CREATE)]) == []
    run = await app.plan(graph(1, "kim@contoso.com"))
    old = timestamp(datetime.now(UTC) - timedelta(days=30, minutes=1))
    await directory.jobs.change(run["id"], lambda job: replace(job, planned=old))
    assert await attempt(app, directory, [victim], [("POST", "Users", CREATE)]) == []
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    await directory.jobs.change(run["id"], lambda job: replace(job, planned=timestamp()))
    assert await attempt(app, directory, [victim], [("POST", "Users", CREATE)]) == []
    await app.plan(graph(1, "kim@contoso.com"))
    assert (await send(app, ("POST", "Users", CREATE)))[0] == 201


async def test_what_is_switched_off_adopts_nothing(app: App) -> None:
    await app.bring(csv_file(KIM))
    await app.plan(graph(1, "kim@contoso.com"))
    directory = await Directories(app.tables).open("main")
    victim = Victim((await app.account("kim@contoso.com"))["id"], "", "", "")
    assert await attempt(app, directory, [victim], [("POST", "Users", CREATE)]) == []


SECOND: Mapping[str, Mapping[str, str]] = {
    "the address": {"email": "kim@contoso.com"},
    "the sign-in": {"objectId": object_id(1)},
    "the externalId": {"externalId": object_id(1)},
    "the number": {"employeeNumber": "1815"},
    "the name": {"userName": "kim.new@contoso.com"},
}


@pytest.mark.parametrize("shared", SECOND)
async def test_an_account_that_the_plan_did_not_know_is_in_the_way(app: App, shared: str) -> None:
    await app.bring(csv_file(KIM | {"userName": "kim.local"}))
    await app.plan(graph(1, "kim.new@contoso.com", mail="kim@contoso.com"))
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    second = {"userName": "second"} | SECOND[shared]
    await app.bring(csv_file(second))
    directory = await Directories(app.tables).open("main")
    victims = [Victim((await app.account(name))["id"], "", "", "") for name in ("kim.local", second["userName"])]
    create = CREATE | {"userName": "kim.new@contoso.com", ENTERPRISE: {"employeeNumber": "1815"}}
    assert await attempt(app, directory, victims, [("POST", "Users", create)]) == []
    # Without the second account it is theirs.
    await app.call("DELETE", f"accounts/{victims[1].id}")
    assert (await send(app, ("POST", "Users", create)))[1]["id"] == victims[0].id


@pytest.mark.parametrize("late", ["made", "renamed", "given a sign-in"])
async def test_an_account_that_is_not_as_the_plan_saw_it_is_not_adopted(app: App, late: str) -> None:
    """Of its rivals no plan knows: here a colleague, who had the name before, has it as an alias."""
    people = graph(1, "kim@contoso.com"), graph(2, "kim.old@contoso.com", otherMails=["kim@contoso.com"])
    evidence = {"evidence": {"nameId": "kim@contoso.com"}}
    changes = {"renamed": {"document": {"userName": "kim@contoso.com"}}, "given a sign-in": evidence}
    before = {"userName": "kim.local" if late == "renamed" else "kim@contoso.com", "email": ""}
    if late != "made":
        await app.bring(csv_file(before))
    await app.plan(*people[: 1 if late == "given a sign-in" else 2])
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    if late == "made":
        await app.bring(csv_file(before))
    else:
        await app.call("PATCH", f"accounts/{(await app.account(before['userName']))['id']}", changes[late])
    directory = await Directories(app.tables).open("main")
    victim = Victim((await app.account("kim@contoso.com"))["id"], "", "", "")
    assert await attempt(app, directory, [victim], [("POST", "Users", CREATE)]) == []
    # The remedy that the refusal names: a run, which sees the pair.
    (run,) = [job for job in (await app.call("GET", "linking/runs"))["runs"] if job["phase"] == "planned"]
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    rows = await app.decisions(await app.plan(*people))
    assert [row["decision"] for row in rows if row.get("identity", {}).get("objectId") == object_id(1)] == ["review"]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(tmp_path) as running:
        yield running


ADOPTED: Mapping[str, tuple[Mapping[str, str], Mapping[str, Any]]] = {
    "by userName": (KIM, CREATE),
    "in another case": (KIM, CREATE | {"userName": "KIM@contoso.com", "externalId": object_id(1).upper()}),
    "by its verified work address": (KIM | {"userName": "kim.local"}, CREATE | {"userName": "kim.new@contoso.com"}),
    "deactivated": (KIM, CREATE | {"active": False}),
}


@pytest.mark.parametrize("how", ADOPTED)
async def test_a_create_adopts_what_it_proves_and_waits_for_confirmation(app: App, how: str) -> None:
    row, create = ADOPTED[how]
    await app.bring(csv_file(row | {"title": "Analyst"}))
    before = await app.account(row["userName"])
    await app.plan(graph(1, "kim@contoso.com"))
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    status, body = await send(
        app, ("POST", "Users", create | {"displayName": "Kim", "emails": work("kim@contoso.com")})
    )
    assert (status, body["id"], body["displayName"], body["title"]) == (201, before["id"], "Kim", "Analyst")
    after = await app.account(row["userName"])
    assert (after["status"], after["link"]["rule"], after["link"]["confirmed"]) == ("claimed", "adoption", None)
    assert (after["link"]["identity"], after["document"]["externalId"]) == (object_id(1), create["externalId"])
    assert all(after["document"].get(name) == before["document"].get(name) for name in ("userName", "emails", "active"))
    assert [change["action"] for change in after["history"]] == ["create", "adopt"]
    listed = (await app.call("GET", "linking/adoptions"))["adoptions"]
    assert [(one["account"]["id"], one["confirmed"]) for one in listed] == [(before["id"], None)]
    victim = Victim(before["id"], "", "", "")
    change = patch(victim, {"op": "replace", "path": "emails", "value": work("new@contoso.com")})
    assert (await send(app, change))[0] == 403
    assert (await send(app, look_up(f'externalId eq "{create["externalId"]}"')))[1]["totalResults"] == 1
    assert (await send(app, change))[0] == 200
    assert (await send(app, ("POST", "Users", create)))[0] == 409


async def test_of_two_who_prove_it_one_gets_the_account(app: App) -> None:
    await app.bring(csv_file(KIM))
    await app.plan(graph(1, "kim@contoso.com"))
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})

    async def settled(number: int) -> tuple[int, Any]:
        while True:
            answer = await send(app, ("POST", "Users", CREATE | {"externalId": object_id(number)}))
            if answer[0] != 503:  # the others were faster: send it again
                return answer

    answers = await asyncio.gather(*map(settled, (1, 2, 1, 2)))
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    (listed,) = (await app.call("GET", "linking/adoptions"))["adoptions"]
    assert listed["identity"] == next(body["externalId"] for status, body in answers if status == 201)


# What a PATCH may look like beside the shapes above

NAMES = ["externalId", "userName", "emails", "active", "title", "name", f"{USER}:externalId", f"{USER}:userName", "id"]
PATHS = st.sampled_from(
    [
        *NAMES, "externalid", "EXTERNALID", "externalId.x", "userName.x", "emails.value", "emails.primary",
        'emails[type eq "work"]', 'emails[type eq "work"].value', 'emails[type eq "work"].primary',
        'emails[primary eq true].value', 'emails[value eq "nobody@contoso.com"]', "name.givenName",
        f"{ENTERPRISE}:employeeNumber", f"{ENTERPRISE}", "meta.version", "groups", "schemas",
    ]
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        object_id(100),
        object_id(2),
        "kim",
        "kim0@contoso.com",
        "KIM0@contoso.com",
        "\u212aim0@contoso.com",
        "",
        "77",
        "True",
    ]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(PATHS, inner, max_size=3)
    | st.just(work("kim0@contoso.com")) | st.fixed_dictionaries({"value": TEXTS, "type": st.just("work")}),
    max_leaves=4,
)  # fmt: skip
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Add", "replace", "Replace", "remove"])},
    optional={"path": PATHS, "value": VALUES},
)
LOOK_UPS = st.sampled_from(
    ['userName eq "kim0@contoso.com"', 'userName eq "\u212aim0@contoso.com"', 'emails.value eq "kim0@contoso.com"',
     f'externalId eq "{object_id(100)}"', 'emails[type eq "work"].value eq "kim0@contoso.com" and active eq true',
     f'{ENTERPRISE}:employeeNumber eq "77"']
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.tuples(st.lists(LOOK_UPS, max_size=2), st.lists(OPERATIONS, min_size=1, max_size=4)), max_size=3))
async def test_whatever_a_patch_looks_like_it_links_nobody(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[list[str], list[dict[str, Any]]]]
) -> None:
    tables = SqliteTables.open(tmp_path_factory.mktemp("patches") / "tables.db")
    directory = await make_directory(tables, buckets=1)
    await directory.policies.set(replace(await directory.policies.get(), adopt_on_create=True))
    victim = await put_account(directory)
    before = await directory.accounts.get(victim.id)
    for look_ups, operations in rounds:
        for text in look_ups:
            await service.query(directory, Request("http://x/scim/v2", "entra", params={"filter": text}))
        body = json.dumps({"schemas": [PATCH_OP], "Operations": operations}).encode()
        with pytest.raises((DirectoryError, ScimError)):
            await service.patch(directory, Request("http://x/scim/v2", "entra", id=victim.id, body=body))
    after = await directory.accounts.get(victim.id)
    assert (after, after.etag) == (before, before.etag)
    await tables.close()


@settings(max_examples=150)
@given(st.lists(OPERATIONS, min_size=1, max_size=4))
async def test_whatever_a_patch_looks_like_only_the_key_itself_confirms_a_link(
    tmp_path_factory: pytest.TempPathFactory, operations: list[dict[str, Any]]
) -> None:
    tables = SqliteTables.open(tmp_path_factory.mktemp("patches") / "tables.db")
    directory = await make_directory(tables, buckets=1)
    victim = await put_account(directory)
    before = await link(directory, victim.id, victim.identity, None)
    body = json.dumps({"schemas": [PATCH_OP], "Operations": operations}).encode()
    with suppress(DirectoryError, ScimError):
        await service.patch(directory, Request("http://x/scim/v2", "entra", id=victim.id, body=body))
    after = await directory.accounts.get(victim.id)
    assert after.link is not None
    assert after.link.identity == victim.identity
    if after.link.confirmed:
        assert victim.identity in body.decode()
    else:
        assert after.user_name.lower() == before.user_name.lower()
        assert {address.lower() for address in after.emails} == set(before.emails)
        assert "\u212a" not in after.user_name + "".join(after.emails)
        assert after.active is before.active
    await tables.close()


@pytest.mark.parametrize(
    "text",
    ['userName eq "kim0@contoso.com"', 'emails[type eq "work"].value eq "kim0@contoso.com"',
     f'externalId eq "{object_id(1)}"', f'{ENTERPRISE}:employeeNumber eq "77"'],
)  # fmt: skip
async def test_a_look_up_of_an_account_that_is_managed_here_costs_what_others_cost(tmp_path: Path, text: str) -> None:
    costs: list[tuple[Mapping[str, int], int]] = []
    for status in (Status.LOCAL, Status.PROVISIONED):
        inner = SqliteTables.open(tmp_path / f"{status}.db")
        counting = FaultyTables(inner)
        directory = await make_directory(counting)
        document = {"schemas": [USER], "userName": "kim0@contoso.com", "emails": work("kim0@contoso.com"), **NUMBERED}
        document |= {"externalId": object_id(1)}
        new = Account.new(directory.keys.new_id("kim0@contoso.com"), document, status, NOW)
        await directory.accounts.create(new, by="test")
        request = Request("http://x/scim/v2", "entra", params={"filter": text})
        await service.query(directory, request)
        counting.reset()
        answer = json.loads((await service.query(directory, request)).text)
        assert answer["totalResults"] == 1
        costs.append((dict(counting.counts), counting.sequential))
        await inner.close()
    assert costs[0] == costs[1]
    assert costs[0][0].get("commit", 0) == 0
