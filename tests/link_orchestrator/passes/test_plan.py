"""The plan that the four passes make is the one that looking at every pair makes, row by row, for any population."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.demo_data import generate, write
from link_orchestrator.files.identities import read_identities
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import fold
from shared.directory.matching.accounts import Decision, DecisionKind, stays_local
from shared.directory.matching.evidence import facts_of
from shared.directory.matching.exclusions import Criterion
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import identity_keys
from shared.directory.matching.policy import DEFAULT_RULES, MatchRule, Policy, Rule, Trust
from shared.directory.matching.transforms import read_transforms
from shared.directory.records.model import NO_EVIDENCE, Account, Link, Status
from shared.directory.records.model import SignInEvidence as SignIns
from shared.directory.work.plan import PlanRow
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator import join
from tests.link_orchestrator.running import (
    App,
    all_accounts,
    begin_run,
    csv_file,
    graph,
    make_directory,
    object_id,
    plan_rows,
    play_run,
)

Rows = dict[str, tuple[Any, ...]]
"""By what a row is about: its decision, account, reason, evidence and the others in its way."""


def oracle(identities: Sequence[Identity], accounts: Sequence[Account], policy: Policy) -> Rows:
    """Return the rows of the plan by looking at every identity with every account."""
    once: dict[str, Identity] = {}
    for one in identities:
        once.setdefault(fold(one.object_id), one)
    keys = {one.object_id: identity_keys(one, policy) for one in once.values()}
    facts = [facts_of(account) for account in accounts]
    shared = join.shared_values(keys, facts, policy)
    found = join.evidence(keys, facts, shared)
    rows: Rows = {oid: _shown(made) for oid, made in join.decided([*once.values()], found, facts, policy).items()}
    excluded = {one.object_id for one in once.values() if policy.exclusion_of(one)}
    for one in facts:
        matching = {object_id for object_id, account_id in found if account_id == one.id}
        if matching <= excluded and not one.retired and not policy.sets_aside(one.id, one.user_name):
            rows[one.id] = _shown(stays_local(one, excluded=bool(matching)))
    for (kind, value), numbers in shared.items():
        rows[f"{kind}:{value}"] = ("sharedValue", None, numbers, [], [])
    return rows


def _shown(decision: Decision) -> tuple[Any, ...]:
    evidence = sorted(json.dumps(item.to_json()) for item in decision.evidence)
    account = decision.account.id if decision.account else None
    return decision.kind.value, account, decision.reason, evidence, sorted(decision.others)


def planned(rows: Sequence[PlanRow]) -> Rows:
    """Return the rows of a plan in the form of the oracle's."""
    assert len({row.subject for row in rows}) == len(rows), "nobody has two rows"
    shown = {}
    for row in rows:
        evidence = sorted(json.dumps(item) for item in row.shown.get("evidence", ()))
        account = row.shown.get("account", {}).get("id")
        if row.decision == "sharedValue":
            value = row.shown["value"]
            shown[row.subject] = (row.decision, None, [value["accounts"], value["identities"]], [], [])
            continue
        shown[row.subject] = (row.decision, account, row.shown["reason"], evidence, sorted(row.shown.get("others", ())))
    return shown


async def test_every_decision_on_the_demo_data_is_the_oracles(app: App, tmp_path: Path) -> None:
    write(generate(1_000, 1_100), tmp_path)
    policy = json.loads((tmp_path / "policy.json").read_text())
    await app.call("PUT", "directory/policy", policy)
    for user in (tmp_path / "provisioned.jsonl").read_text().splitlines():
        await app.call("POST", "scim/v2/Users", json.loads(user))
    imported = await app.bring((tmp_path / "accounts.csv").read_bytes())
    assert imported["counts"] == {"created": 1_000, "refused": 0}
    file = (tmp_path / "identities.json").read_bytes()
    identities = [one for one in read_identities(file) if isinstance(one, Identity)]
    directory = await Directories(app.tables).open("main")
    expected = oracle(identities, await every_account(directory), Policy.from_json(policy))
    assert {kind for kind, *_ in expected.values()} | {"sharedValue", "setAside"} == {
        kind.value for kind in DecisionKind
    }
    upload = await app.call("POST", "linking/identities", file)
    run = await app.call("POST", "linking/runs", {"identities": upload["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert planned(await plan_rows(directory, run["id"])) == expected
    assert run["counts"] == Counter(kind for kind, *_ in expected.values())
    links = run["counts"]["link"]
    assert (await app.apply(run, links=links))["counts"]["linked"] == links
    await assert_linked_as_planned(directory, expected)


async def every_account(directory: Directory) -> list[Account]:
    """Return the accounts, live and retired, as linking sees them: without their documents."""
    return [a for bucket in range(directory.keys.buckets) async for a in directory.listing.scan_facts(bucket)]


async def assert_linked_as_planned(directory: Directory, rows: Rows) -> None:
    """Assert that exactly the planned links are there, and nobody has two."""
    accounts = await all_accounts(directory)
    links = {account.id: account.link.identity for account in accounts if account.link}
    assert len({fold(identity) for identity in links.values()}) == len(links), "an identity has two accounts"
    new = {account: oid for oid, (kind, account, *_) in rows.items() if kind == "link"}
    for account in accounts:
        if account.id in new:
            assert links[account.id] == new[account.id]
            assert account.external_id == new[account.id]
            assert account.status is Status.CLAIMED
            assert not account.protected
    assert set(new) <= set(links)
    anew = await Directories(directory.tables).open(directory.name)
    assert await anew.listing.total() == len(accounts)


HOME = "contoso.com"
names = st.sampled_from(["ada", "Ada", "bob", "\uff41da", "ada_x.org#EXT#", f"{7:032x}ada"])
addresses = st.builds("{}@{}".format, names, st.sampled_from(["contoso.com", "Contoso.com", "x.org"]))
object_ids = st.integers(1, 5).map(object_id) | st.integers(1, 5).map(lambda n: f"ABCDEF0{n}")
numbers = st.sampled_from(["7", "7", "7", "007", "8", "n/a"])


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    return Identity(
        draw(object_ids.map(lambda oid: random.Random(oid).choice([oid, oid.lower()]))),
        draw(addresses),
        mail=draw(st.none() | addresses),
        proxy_addresses=tuple(draw(st.lists(addresses.map("smtp:{}".format), max_size=2))),
        employee_id=draw(st.none() | numbers),
        mail_nickname=draw(st.none() | names),
        account_enabled=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, Any]:
    """What an account is made of; its place in the list makes its name its own where it has to be."""
    oid = draw(st.none() | object_ids)
    status = draw(st.sampled_from([Status.LOCAL] * 4 + [Status.CLAIMED, Status.PROVISIONED]))
    return {
        "userName": draw(addresses),
        "emails": draw(st.lists(addresses, max_size=2)),
        "externalId": oid,
        "employeeNumber": draw(st.none() | numbers),
        "status": Status.LOCAL if oid is None else status,
        "evidence": SignIns(
            draw(st.none() | addresses), draw(st.none() | object_ids), tuple(draw(st.lists(addresses, max_size=1)))
        ),
        "protected": draw(st.sampled_from([False] * 5 + [True])),
        "retired": draw(st.sampled_from([False] * 9 + [True])),
        "active": draw(st.sampled_from([True] * 5 + [False])),
        "parted": tuple(draw(st.lists(object_ids, max_size=1))) if draw(st.integers(0, 5)) == 5 else (),
    }


async def settle(directory: Directory, made: Sequence[dict[str, Any]]) -> None:
    """Store what can be stored of these accounts: the directory itself refuses those that are somebody's twice."""
    now = directory.accounts.now()
    for one in made:
        document = {
            "userName": one["userName"],
            "emails": [{"value": email} for email in one["emails"]],
            "active": one["active"],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"employeeNumber": one["employeeNumber"]},
        }
        document |= {"externalId": one["externalId"]} if one["externalId"] else {}
        status, link = one["status"], None
        if status is Status.CLAIMED:
            link = Link(one["externalId"], "userName", now, "run:before")
        plain = Account.new(directory.keys.new_id(one["userName"]), document, Status.LOCAL, now)
        try:
            stored = await directory.accounts.create(replace(plain, evidence=one["evidence"]), by="test")
            after = replace(stored, status=status, link=link, protected=one["protected"], parted=one["parted"])
            if one["retired"] and link is None:
                after = replace(stored, retired=True)
            await directory.accounts.replace(stored, after, by="test")
        except DirectoryError:
            continue


LOGIN = tuple(
    MatchRule(rule, trust, transforms)
    for rule, trust, transforms in (
        (Rule.TRANSFORMED_NAME, Trust.STRONG, read_transforms("", [{"replaceDomain": {"from": "x.org", "to": HOME}}])),
        (Rule.TRANSFORMED_MAIL, Trust.WEAK, read_transforms("", ["beforeAt", {"addDomain": HOME}])),
        (Rule.MAIL_NICKNAME, Trust.STRONG, read_transforms("", [{"addDomain": HOME}])),
    )
)
numbers_without_zeros = MatchRule(Rule.EMPLOYEE_NUMBER, Trust.WEAK, read_transforms("", ["stripLeadingZeros"]))
others = st.builds(
    Policy,
    rules=st.sampled_from([(*DEFAULT_RULES, *LOGIN), (*DEFAULT_RULES[:-1], LOGIN[0], numbers_without_zeros)]),
    verified_domains=st.just(frozenset({HOME, "x.org"})),
    trust_emails=st.sampled_from(["verified", "inVerifiedDomains"]),
    criteria=st.sampled_from([(), (Criterion("pattern", "b*"),), (Criterion("type", "disabled"),)]),
    set_aside=st.sampled_from([frozenset(), frozenset({f"bob@{HOME}"}), frozenset({"*@x.org"})]),
)
"""Policies with what is off by default."""
policies = others | st.builds(
    Policy,
    rules=st.sampled_from(
        [
            DEFAULT_RULES,
            DEFAULT_RULES[::-1],
            (MatchRule(Rule.EMAIL, Trust.STRONG), MatchRule(Rule.EXTERNAL_ID, Trust.WEAK)),
            tuple(MatchRule(rule, Trust.WEAK) for rule in (Rule.EXTERNAL_ID, Rule.USER_NAME, Rule.EMAIL)),
        ]
    ),
    verified_domains=st.sampled_from([frozenset({"contoso.com"})] * 5 + [frozenset[str]()]),
    name_id_source=st.sampled_from(["userPrincipalName", "objectId"]),
    excluded=st.sampled_from([frozenset(), frozenset({"bob@contoso.com"}), frozenset({object_id(1)})]),
    foreign_object_ids=st.booleans(),
)


MORE = [{"userName": f"p{n}.local"} for n in range(20)]
"""Accounts of nobody, beside which a change is a small one."""

numbered = itertools.count()
"""Every example has a directory of its own."""


@given(
    made=st.lists(accounts(), max_size=7),
    theirs=st.lists(identities(), max_size=7),
    policy=policies,
    buckets=st.sampled_from([1, 2, 5]),
    slices=st.sampled_from([1, 2, 64]),
    seed=st.integers(0, 99),
)
@settings(max_examples=120)
async def test_any_population_is_planned_as_the_oracle_does_however_it_is_cut(
    sqlite_tables: SqliteTables,
    made: list[dict[str, Any]],
    theirs: list[Identity],
    policy: Policy,
    buckets: int,
    slices: int,
    seed: int,
) -> None:
    directory = await make_directory(sqlite_tables, f"d{next(numbered)}", buckets)
    await settle(directory, made)
    before = await every_account(directory)
    expected = oracle(theirs, before, policy)
    job = await begin_run(directory, theirs, policy)
    shuffled = random.Random(seed)
    await play_run(directory, job, slices, order=lambda tasks: shuffled.sample(tasks, len(tasks)))
    rows = await plan_rows(directory, job.id)
    assert planned(rows) == expected
    assert {row.outcome for row in rows if row.decision == "link"} <= {"linked"}
    assert {row.outcome for row in rows if row.decision != "link"} <= {""}
    await assert_linked_as_planned(directory, expected)
    kept = {account.id: account for account in before}
    for account in await every_account(directory):
        if expected.get(account.link.identity if account.link else "", ("",))[0] != "link":
            assert account == kept[account.id], "only links change an account"


@given(theirs=st.lists(identities(), max_size=6, unique_by=lambda one: fold(one.object_id)), seed=st.integers(0, 99))
@settings(max_examples=25)
async def test_the_order_of_the_file_does_not_matter(
    sqlite_tables: SqliteTables, theirs: list[Identity], seed: int
) -> None:
    directory = await make_directory(sqlite_tables, f"d{next(numbered)}", 2)
    people = [{"userName": "ada@contoso.com", "emails": ["bob@contoso.com"]}, {"userName": "bob@x.org", "emails": []}]
    rest: dict[str, Any] = {"externalId": None, "employeeNumber": "7", "status": Status.LOCAL, "evidence": NO_EVIDENCE}
    rest |= {"protected": False, "retired": False, "active": True, "parted": ()}
    await settle(directory, [rest | one for one in people])
    before = {account.id for account in await all_accounts(directory)}
    plans = []
    for order in (theirs, random.Random(seed).sample(theirs, len(theirs))):
        job = await begin_run(directory, order, Policy(verified_domains=frozenset({"contoso.com"})))
        await play_run(directory, job, verdict="cancel")
        plans.append([(row.decision, row.subject, row.shown) for row in await plan_rows(directory, job.id)])
    assert plans[0] == plans[1]
    assert {account.id for account in await all_accounts(directory)} == before


async def test_a_value_that_many_carry_is_listed_with_its_numbers_and_is_no_evidence(app: App) -> None:
    """Three accounts have the team's address, and a fourth is named so, whose identity another one's alias contests."""
    team = "team@contoso.com"
    await app.bring(
        csv_file({"userName": team, "email": ""}, *({"userName": f"p{n}.local", "email": team} for n in range(3)))
    )
    people = [graph(1, team, mail=None), graph(2, "ada@contoso.com", otherMails=[team])]
    run = await app.plan(*people)
    assert run["counts"] == {"link": 1, "noAccount": 1, "noIdentity": 3, "sharedValue": 1}
    (row,) = await app.decisions(run, "sharedValue")
    assert row["value"] == {"kind": "email", "value": team, "accounts": 4, "identities": 1}
    assert "accounts: 4, identities: 1" in row["reason"]
    (link,) = await app.decisions(run, "link")
    assert link["account"]["userName"] == team


async def test_whom_an_address_that_many_share_keeps_from_being_created_is_not_said_to_be_created(app: App) -> None:
    team = "team@contoso.com"
    await app.bring(csv_file(*({"userName": f"p{n}.local", "email": team} for n in range(4))))
    run = await app.plan(graph(1, "ada@contoso.com", mail=team), graph(2, "bob@contoso.com"))
    ada, bob = sorted(await app.decisions(run, "noAccount"), key=lambda row: row["identity"]["objectId"])
    assert (ada["predicted"]["outcome"], bob["predicted"]["outcome"]) == ("refused", "created")
    for row in (ada, bob):
        assert row["reason"].endswith("provisioning creates one, unless the prediction says that it is refused.")


@pytest.mark.parametrize("later", [False, True])
async def test_an_alias_that_was_a_name_id_holds_up_whoever_has_the_name_now(app: App, later: bool) -> None:
    """The former holder of a name signed in by it; the application calls the account something else."""
    await app.bring(csv_file({"userName": "jdoe", "nameId": "jane@contoso.com"}, *MORE))
    successor, former = graph(1, "jane@contoso.com"), graph(2, "jane.doe@contoso.com")
    if later:
        await app.apply(await app.plan(former), links=0)
    run = await app.plan(successor, former | {"proxyAddresses": ["smtp:jane@contoso.com"]})
    rows = {row["identity"]["objectId"]: row["decision"] for row in await app.decisions(run) if "identity" in row}
    assert rows == {object_id(1): "review", object_id(2): "conflict"}


async def test_who_signs_in_by_an_address_that_many_have_is_counted_among_them(app: App) -> None:
    """Nothing but a NameID leads from the address to an account."""
    await app.bring(csv_file({"userName": "x", "nameId": "ada@contoso.com"}))
    ada = graph(1, "ada@contoso.com", otherMails=["ada@contoso.com"])
    run = await app.plan(ada, *(graph(n, f"eve{n}@contoso.com", otherMails=["ada@contoso.com"]) for n in (2, 3, 4)))
    assert run["counts"] == {"link": 1, "noAccount": 3, "noIdentity": 0, "sharedValue": 1}


@pytest.mark.parametrize(("emails", "names", "name_ids"), [(2, 1, 1), (1, 0, 3), (0, 1, 3), (3, 1, 0)])
async def test_an_address_is_shared_however_its_accounts_are_found(
    app: App, emails: int, names: int, name_ids: int
) -> None:
    shared, none = "shared@contoso.com", {"email": "", "nameId": ""}
    people = [{"userName": f"mail{n}", **none, "email": shared} for n in range(emails)]
    people += [{"userName": f"sign{n}", **none, "nameId": shared} for n in range(name_ids)]
    await app.bring(csv_file(*people, *[{"userName": shared, **none}] * names))
    run = await app.plan(graph(1, "eve@contoso.com", otherMails=[shared]))
    assert (run["counts"].get("sharedValue"), run["counts"].get("noAccount")) == (1, 1)
