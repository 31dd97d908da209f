"""A later run decides only on what changed, and what it decides, with what stands, is the plan of everything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from link_orchestrator.kinds import RUN
from link_orchestrator.messages import Slice
from link_orchestrator.orchestrator import APPROVE, CANCEL, PLAN_PASSES, link_accounts
from link_orchestrator.passes import compare
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key, fold
from shared.directory.matching.authority import LEFT_OPEN, UNMATCHED
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import ENTERPRISE, Account, Link, SignInEvidence, Status
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.seen import Seen
from shared.directory.work.stages import Stages
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.passes.test_plan import accounts, addresses, every_account, identities, policies, settle
from tests.link_orchestrator.prediction.test_mapping import attribute, exported
from tests.link_orchestrator.running import (
    App,
    Engine,
    Refusal,
    activity_calls,
    begin_run,
    csv_file,
    graph,
    make_directory,
    object_id,
    plan_rows,
    play_run,
    start_of,
)
from tests.waiting import until

SHARED = "shared@contoso.com"
Rows = dict[str, PlanRow]
numbered = itertools.count()


async def everything(directory: Directory, theirs: Sequence[Identity], policy: Policy) -> Rows:
    """Return the rows of a plan of everything, made beside whatever is under way and remembered by nobody."""
    job = await begin_run_beside(directory, theirs, policy)
    for stage in PLAN_PASSES:
        whole = Slice(job=job.id, directory=directory.name, pass_name=stage, low=0, high=directory.keys.buckets)
        await RUN.passes[stage](directory, job, whole)
    return {row.subject: row for row in await plan_rows(directory, job.id)}


async def begin_run_beside(directory: Directory, theirs: Sequence[Identity], policy: Policy) -> Job:
    job = await begin_run(directory, theirs, policy)
    return await directory.jobs.change(job.id, lambda job: replace(job, state=State.CANCELLED))


async def emails(directory: Directory, account: Account, value: Any) -> None:
    document = account.document() | {"emails": [{"value": value}]}
    await directory.accounts.replace(account, account.with_document(document), by="test")


async def rename(directory: Directory, account: Account, value: Any) -> None:
    document = account.document() | {"userName": value}
    await directory.accounts.replace(account, account.with_document(document), by="test")


async def title(directory: Directory, account: Account, value: Any) -> None:
    document = account.document() | {"title": value}
    await directory.accounts.replace(account, account.with_document(document), by="test")


async def protect(directory: Directory, account: Account, value: Any) -> None:
    await directory.accounts.replace(account, replace(account, protected=not account.protected), by="test")


async def link(directory: Directory, account: Account, value: Any) -> None:
    if account.link is None:
        link = Link(object_id(len(value) % 5 + 1), "review", directory.accounts.now(), "test")
        linked = account.with_external_id(link.identity, status=Status.CLAIMED, link=link)
        await directory.accounts.replace(account, linked, by="test")


async def unlink(directory: Directory, account: Account, value: Any) -> None:
    await directory.accounts.replace(account, replace(account, link=None, status=Status.LOCAL), by="test")


async def delete(directory: Directory, account: Account, value: Any) -> None:
    await directory.accounts.delete(account, by="test")


async def retire(directory: Directory, account: Account, value: Any) -> None:
    await directory.accounts.replace(account, replace(account, retired=not account.retired), by="test")


EDITS = [emails, rename, title, protect, link, unlink, delete, retire]
edits = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(EDITS), addresses), max_size=2)
rounds = st.tuples(
    edits,
    st.lists(accounts(), max_size=1),
    st.lists(identities(), max_size=2),
    st.sets(st.integers(0, 9), max_size=1),
    st.sampled_from([APPROVE, APPROVE, CANCEL]),
)


async def edit(directory: Directory, changes: Sequence[tuple[int, Any, str]]) -> None:
    for place, change, value in changes:
        there = sorted(await every_account(directory), key=lambda account: account.user_name)
        if there:
            account = await directory.accounts.find(there[place % len(there)].id)
            assert account is not None
            note(f"{change.__name__} {account.user_name} {value}")
            with suppress(DirectoryError):
                await change(directory, account, value)


@given(
    made=st.lists(accounts(), max_size=6),
    theirs=st.lists(identities(), max_size=6),
    then=st.lists(rounds, min_size=1, max_size=3),
    policy=policies,
    buckets=st.sampled_from([1, 3]),
    slices=st.sampled_from([1, 2]),
)
@settings(max_examples=120)
async def test_what_a_later_run_decides_and_what_stands_is_the_plan_of_everything(
    sqlite_tables: SqliteTables,
    monkeypatch: pytest.MonkeyPatch,
    made: list[dict[str, Any]],
    theirs: list[Identity],
    then: list[tuple[Any, ...]],
    policy: Policy,
    buckets: int,
    slices: int,
) -> None:
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables, f"d{next(numbered)}", buckets)
    await settle(directory, made)
    first = await begin_run(directory, theirs, policy)
    await play_run(directory, first, slices)
    standing = {row.subject: row for row in await plan_rows(directory, first.id)}
    last = theirs, standing
    for changes, more, others, gone, verdict in then:
        await edit(directory, changes)
        await settle(directory, more)
        theirs = [one for place, one in enumerate(theirs) if place not in gone and one not in others]
        theirs = others + theirs
        expected = await everything(directory, theirs, policy)
        job = await begin_run(directory, theirs, policy, full=False)
        assert job.options["since"]
        note(f"{job.id} since {job.options['since']}")
        await play_run(directory, job, slices, verdict=verdict)
        rows = {row.subject: row for row in await plan_rows(directory, job.id)}
        assert_alike(rows, standing, expected)
        job = await directory.jobs.get(job.id)
        if job.state is State.DONE:
            last = theirs, expected
            standing = {subject: rows.get(subject, standing.get(subject, row)) for subject, row in expected.items()}
        # A plan that nobody carried out is not the last one.
        await assert_left_open(directory, *last)


async def test_a_former_key_is_followed_though_another_identitys_begins_alike(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    monkeypatch.setattr("shared.directory.work.seen.SHORT", 5)
    directory = await make_directory(sqlite_tables)
    document = {"userName": "ann", "emails": [{"value": SHARED}]}
    account = Account.new(directory.keys.new_id("ann"), document, Status.LOCAL, directory.accounts.now())
    await directory.accounts.create(replace(account, evidence=SignInEvidence(verified_emails=(SHARED,))), by="test")
    policy = Policy(verified_domains=("contoso.com",))
    ann, bob = Identity(object_id(1), "ann@contoso.com", SHARED), Identity(object_id(2), "bob@contoso.com", SHARED)
    await play_run(directory, await begin_run(directory, [ann, bob], policy))
    former = directory.keys.lead(Key("email", SHARED))
    names = (f"bob{number}@contoso.com" for number in itertools.count())
    alike = next(name for name in names if directory.keys.lead(Key("email", name))[:5] == former[:5])
    theirs = [ann, bob._replace(mail=None), Identity(object_id(3), "cleo@contoso.com", alike)]
    expected = await everything(directory, theirs, policy)
    again = await begin_run(directory, theirs, policy, full=False)
    assert again.options["since"]
    await play_run(directory, again)
    rows = {row.subject: row for row in await plan_rows(directory, again.id)}
    assert (expected[ann.object_id].decision, rows[ann.object_id].decision) == ("link", "link")


async def add_account(directory: Directory, name: str, *emails: str, verified: Sequence[str] = ()) -> Account:
    document = {"userName": name, "emails": [{"value": email} for email in emails]}
    account = Account.new(directory.keys.new_id(name), document, Status.LOCAL, directory.accounts.now())
    return await directory.accounts.create(replace(account, evidence=SignInEvidence(verified_emails=verified)), by="t")


async def decide_again(directory: Directory, theirs: Sequence[Identity], policy: Policy, standing: Rows) -> Rows:
    """Return the rows of a later run, after comparing them with those of a plan of everything."""
    expected = await everything(directory, theirs, policy)
    again = await begin_run(directory, theirs, policy, full=False)
    assert again.options["since"]
    await play_run(directory, again)
    rows = {row.subject: row for row in await plan_rows(directory, again.id)}
    assert_alike(rows, standing, expected)
    return rows


NAME = "ada@contoso.com"
FORMER = f"{7:032x}{NAME}"
"""What Entra calls a deleted user who was named so: weak evidence."""
NOBODY = Identity(object_id(9), "nobody@contoso.com")
DOMAIN = Policy(verified_domains=frozenset({"contoso.com"}))


async def test_who_has_a_name_and_who_has_it_as_an_address_are_not_counted_together(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is carried by two identities, which is not many; all four come at once."""
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables)
    await add_account(directory, NAME)
    first = await begin_run(directory, [NOBODY], DOMAIN)
    await play_run(directory, first)
    standing = {row.subject: row for row in await plan_rows(directory, first.id)}
    theirs = [
        Identity(object_id(1), NAME),
        Identity(object_id(2), FORMER),
        *(Identity(object_id(n), f"eve{n}@contoso.com", proxy_addresses=(f"smtp:{NAME}",)) for n in (3, 4)),
    ]
    rows = await decide_again(directory, [NOBODY, *theirs], DOMAIN, standing)
    assert [rows[one.object_id].decision for one in theirs] == ["review", "conflict", "conflict", "conflict"]


async def test_an_address_that_many_accounts_have_takes_no_evidence_from_the_name_that_is_written_alike(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is untouched, so what is shared is on record; whom it matches is decided again for another one."""
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables)
    await add_account(directory, NAME)
    for number in range(3):
        await add_account(directory, f"shares{number}", NAME)
    second = await add_account(directory, "second", verified=["second@contoso.com"])
    ada = Identity(object_id(1), FORMER, mail="second@contoso.com")
    theirs = [ada, Identity(object_id(2), "eve@contoso.com", proxy_addresses=(f"smtp:{NAME}",))]
    first = await begin_run(directory, theirs, DOMAIN)
    await play_run(directory, first)
    standing = {row.subject: row for row in await plan_rows(directory, first.id)}
    assert (standing[ada.object_id].decision, f"email:{NAME}" in standing) == ("ambiguous", True)
    await emails(directory, second, "more@contoso.com")
    rows = await decide_again(directory, theirs, DOMAIN, standing)
    assert rows[ada.object_id].decision == "ambiguous"


async def test_a_value_that_was_shared_for_one_run_is_evidence_for_those_after_the_next(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last run does not touch the account: what it knows of its values is on record."""
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables)
    await add_account(directory, "shares", NAME)
    second = await add_account(directory, "second", "second@contoso.com")
    address = (f"smtp:{NAME}",)
    ada = Identity(object_id(1), "ada.x@contoso.com", mail="second@contoso.com", proxy_addresses=address)
    eves = [Identity(object_id(n), f"eve{n}@contoso.com", proxy_addresses=address) for n in (2, 3, 4)]
    first = await begin_run(directory, [ada, *eves[:2]], DOMAIN)
    await play_run(directory, first)
    standing = {row.subject: row for row in await plan_rows(directory, first.id)}
    for theirs, decision in (([ada, *eves], "review"), ([ada, *eves[:2]], "ambiguous")):
        standing |= await decide_again(directory, theirs, DOMAIN, standing)
        assert standing[ada.object_id].decision == decision
    found = await directory.accounts.find(second.id)
    assert found is not None
    await protect(directory, found, None)
    rows = await decide_again(directory, theirs, DOMAIN, standing)
    assert rows[ada.object_id].decision == "ambiguous"


def assert_alike(rows: Rows, standing: Rows, expected: Rows) -> None:
    """Assert that rows decided again are the expected ones, and that the others stand as they were."""
    assert rows.keys() <= expected.keys()
    for subject, row in expected.items():
        if subject in rows:
            again = rows[subject]
            assert (again.decision, again.version, again.versions) == (row.decision, row.version, row.versions)
            for name, value in row.shown.items():
                assert again.shown[name] == value
        elif standing[subject].outcome == "linked":
            assert row.decision == "alreadyLinked"
            assert row.shown["account"] == standing[subject].shown["account"]
        else:
            assert (standing[subject].decision, standing[subject].shown) == (row.decision, row.shown)


async def assert_left_open(directory: Directory, theirs: Sequence[Identity], expected: Rows) -> None:
    rows = {fold(subject): row for subject, row in expected.items()}
    for one in theirs:
        row = rows[fold(one.object_id)]
        mark = row.decision if row.decision in LEFT_OPEN else None
        if row.decision == "excluded":
            mark = "excluded" if {"account", "others"} & row.shown.keys() else UNMATCHED
        found = await directory.left_open.find(one.object_id)
        assert (found[1] if found else None) == mark


@pytest.mark.parametrize("stage", ["join", "weigh", "reserve"])
async def test_an_account_that_changes_while_a_run_looks_is_found_by_the_next(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Its old values led the run to it, or to nobody; what it has now is looked at again whenever it came."""
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables)
    now = directory.accounts.now()
    account = Account.new(directory.keys.new_id("ada"), {"userName": "ada"}, Status.LOCAL, now)
    await directory.accounts.create(account, by="test")
    theirs = [Identity(object_id(1), "ada@contoso.com"), Identity(object_id(2), "other@contoso.com")]
    policy = Policy(verified_domains=frozenset({"contoso.com"}))
    standing: Rows = {}
    for number in range(2):
        calls, name = activity_calls(Directories(sqlite_tables)), ("other", "ada")[number] + "@contoso.com"

        async def call(activity: str, message: Any, calls: Any = calls, name: str = name) -> Any:
            if message.get("stage", "").removesuffix("_again") == stage:
                found = await directory.accounts.find(account.id)
                assert found is not None
                await rename(directory, found, name)
            return await calls(activity, message)

        job = await begin_run(directory, [theirs[0]._replace(department=str(number)), theirs[1]], policy, full=False)
        await Engine(call).play(link_accounts, start_of(directory, job))
        standing |= {row.subject: row for row in await plan_rows(directory, job.id)}
    theirs = [theirs[0]._replace(department="1"), theirs[1]]
    expected = await everything(directory, theirs, policy)
    job = await begin_run(directory, theirs, policy, full=False)
    await play_run(directory, job)
    assert_alike({row.subject: row for row in await plan_rows(directory, job.id)}, standing, expected)


async def test_an_account_that_changes_before_it_is_weighed_is_not_linked_but_looked_at_again(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else meets it by what it got meanwhile, whom the run did not see."""
    monkeypatch.setattr(compare, "MOST_SHARE", 10.0)
    directory = await make_directory(sqlite_tables)
    name, now = "ada@contoso.com", directory.accounts.now()
    account = Account.new(directory.keys.new_id(name), {"userName": name}, Status.LOCAL, now)
    await directory.accounts.create(account, by="test")
    theirs = [Identity(object_id(1), name), Identity(object_id(2), "other@contoso.com", employee_id="7")]
    policy = Policy(verified_domains=frozenset({"contoso.com"}))
    calls = activity_calls(Directories(sqlite_tables))

    async def call(activity: str, message: Any) -> Any:
        if message.get("stage") == "weigh":
            found = await directory.accounts.find(account.id)
            assert found is not None
            document = found.document() | {ENTERPRISE: {"employeeNumber": "7"}}
            await directory.accounts.replace(found, found.with_document(document), by="test")
        return await calls(activity, message)

    first = await begin_run(directory, theirs, policy)
    await Engine(call).play(link_accounts, start_of(directory, first))
    outcomes = {row.subject: row.outcome for row in await plan_rows(directory, first.id)}
    assert outcomes[object_id(1)] == "refused: the account changed since the plan; a new run decides again"
    expected = await everything(directory, theirs, policy)
    job = await begin_run(directory, theirs, policy, full=False)
    await play_run(directory, job)
    rows = {row.subject: row for row in await plan_rows(directory, job.id)}
    assert rows[object_id(2)].decision == "conflict"
    assert_alike(rows, {}, expected)


async def test_a_rival_that_is_not_decided_again_stays_in_the_way(app: App) -> None:
    """Two accounts match Ada; once one does not, nothing but a rival on the other keeps her from being linked."""
    await app.bring(
        csv_file(
            {"userName": "ada@contoso.com", "nameId": "rival@contoso.com", "employeeNumber": ""},
            {"userName": "second", "nameId": "", "employeeNumber": "7"},
            *({"userName": f"more{n}", "nameId": "", "employeeNumber": ""} for n in range(10)),
        )
    )
    ada, rival = graph(1, "ada@contoso.com", employeeId="7"), graph(2, "rival@contoso.com")
    run = await app.apply(await app.plan(ada, rival), links=0)
    assert run["counts"] == {"ambiguous": 1, "conflict": 1, "noIdentity": 10}
    await app.bring(csv_file({"userName": "second", "employeeNumber": "8"}))
    later = await app.plan(ada, rival)
    assert later["options"]["since"] == [run["id"]]
    assert later["counts"] == {"conflict": 1, "noIdentity": 1}
    (row,) = await app.decisions(later, "conflict")
    assert (row["identity"]["objectId"], row["others"]) == (object_id(1), [object_id(2)])


async def test_whoever_meets_an_account_that_a_run_linked_is_decided_again(app: App) -> None:
    ada = {"userName": "ada@contoso.com", "email": "adas@contoso.com"}
    await app.bring(csv_file(ada, *({"userName": f"more{n}", "email": ""} for n in range(10))))
    people = graph(1, "ada@contoso.com"), {**graph(2, "rival@contoso.com"), "proxyAddresses": ["smtp:adas@contoso.com"]}
    run = await app.plan(*people)
    assert run["counts"] == {"link": 1, "conflict": 1, "noIdentity": 10}
    before = (await app.decisions(run, "conflict"))[0]["reason"]
    await app.apply(run, links=1)
    later = await app.plan(*people)
    assert later["counts"] == {"alreadyLinked": 1, "conflict": 1}
    after = (await app.decisions(later, "conflict"))[0]["reason"]
    assert before != after
    assert after.startswith("The account is linked to another identity: release that link first if it is wrong.")


async def test_a_value_that_comes_to_be_shared_and_is_no_longer_is_counted_again(app: App) -> None:
    """Bob's number contests an account that Ann has by its address, for as long as few have the number."""
    many = [{"userName": f"more{n}", "email": "", "employeeNumber": ""} for n in range(30)]
    seven = [{"userName": f"seven{n}", "email": "", "employeeNumber": "7"} for n in range(2)]
    await app.bring(csv_file({"userName": "x", "email": "alias@contoso.com", "employeeNumber": "7"}, *seven, *many))
    ann = graph(1, "ann@contoso.com", otherMails=["alias@contoso.com"])
    people = [ann, graph(2, "bob@contoso.com", employeeId="7"), *(graph(n, f"f{n}@contoso.com") for n in range(10, 40))]
    run = await app.apply(await app.plan(*people), links=0)
    assert (run["counts"]["conflict"], run["counts"]["ambiguous"]) == (1, 1)
    for number, decisions in (("7", {"review", "noAccount"}), ("8", {"conflict", "ambiguous"})):
        await app.bring(csv_file({"userName": "fourth", "employeeNumber": number}))
        run = await app.plan(*people)
        assert run["options"]["since"]
        assert {row["decision"] for row in await app.decisions(run) if "identity" in row} == decisions
        await app.apply(run, links=0)


PEOPLE = [graph(n, f"person{n}@contoso.com", employeeId=str(n)) for n in range(20)]
ACCOUNTS = csv_file(
    *({"userName": f"person{n}@contoso.com", "employeeNumber": ""} for n in range(15)),
    {"userName": "weak", "employeeNumber": "18"},
    {"userName": "nobody", "employeeNumber": ""},
)


async def first(app: App) -> Any:
    """Import and link; two people have no account, one only a weak key."""
    await app.bring(ACCOUNTS)
    return await app.apply(await app.plan(*PEOPLE), links=15)


async def test_a_run_with_nothing_to_do_says_so(app: App) -> None:
    run = await first(app)
    later = await app.plan(*PEOPLE)
    assert later["phase"] == "done"
    assert later["reason"].startswith(f"Nothing changed since {run['id']}: what that run decided stands.")
    assert later["changed"] == {"identities": 0, "accounts": 0}
    assert later["compared"] == {"identities": 20, "accounts": 17}
    assert later["counts"] == {}
    assert await app.decisions(later) == []
    again = await app.plan(*PEOPLE)
    assert again["options"]["since"] == [run["id"]], "a run without a plan is no link in the chain"
    assert "Nothing changed" in again["reason"]


async def test_only_what_changed_is_decided_again_and_linked(app: App) -> None:
    run = await first(app)
    await app.bring(csv_file({"userName": "person16@contoso.com"}))
    people = [{**one, "department": "Elsewhere"} if n == 3 else one for n, one in enumerate(PEOPLE)]
    later = await app.plan(*people)
    assert (later["changed"], later["counts"]) == ({"identities": 1, "accounts": 1}, {"alreadyLinked": 1, "link": 1})
    assert {row["identity"]["objectId"] for row in await app.decisions(later)} == {object_id(3), object_id(16)}
    assert (await app.apply(later, links=1))["counts"]["linked"] == 1
    assert (await app.account("person16@contoso.com"))["link"]["by"] == f"run:{later['id']}"
    last = await app.plan(*people)
    assert last["options"]["since"] == [run["id"], later["id"]]
    assert last["reason"].startswith(f"Nothing changed since {later['id']}")


async def test_what_an_earlier_run_left_open_stays_so_until_a_later_one_decides_again(app: App) -> None:
    await first(app)
    user = {"userName": "person18@contoso.com", "externalId": object_id(18), "active": True}
    with pytest.raises(Refusal) as refused:
        await app.call("POST", "scim/v2/Users", user)
    people = [{**one, "department": "Elsewhere"} if n == 3 else one for n, one in enumerate(PEOPLE)]
    later = await app.apply(await app.plan(*people), links=0)
    with pytest.raises(Refusal) as again:
        await app.call("POST", "scim/v2/Users", user)
    assert str(again.value) == str(refused.value)
    assert later["id"] not in str(again.value)
    people[18] = {**people[18], "employeeId": "99"}
    await app.plan(*people)
    assert (await app.call("POST", "scim/v2/Users", user))["userName"] == "person18@contoso.com"


async def test_what_a_cancelled_run_found_changed_is_found_again(app: App) -> None:
    await first(app)
    people = [{**one, "department": "Elsewhere"} if n == 3 else one for n, one in enumerate(PEOPLE)]
    for _ in range(2):
        later = await app.plan(*people)
        assert later["changed"] == {"identities": 1, "accounts": 0}
        await app.call("POST", f"linking/runs/{later['id']}/cancel")
        await app.wait(f"linking/runs/{later['id']}")


async def test_an_account_whose_link_was_undone_is_decided_again(app: App) -> None:
    run = await first(app)
    await app.bring(csv_file(*({"userName": f"more{n}"} for n in range(200))))
    await app.apply(await app.plan(*PEOPLE, full=True), links=0)
    account = await app.account("person4@contoso.com")
    await app.call("POST", f"accounts/{account['id']}/release")
    later = await app.plan(*PEOPLE)
    assert (later["changed"], later["counts"]) == ({"identities": 0, "accounts": 1}, {"review": 1})
    assert later["options"]["since"] != [run["id"]]


async def test_a_link_that_was_refused_is_decided_again(app: App) -> None:
    await app.bring(ACCOUNTS)
    run = await app.plan(*PEOPLE)
    account = await app.account("person4@contoso.com")
    await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Countess"}})
    assert (await app.apply(run, links=15))["counts"]["refused"] == 1
    later = await app.plan(*PEOPLE)
    assert later["counts"] == {"link": 1}
    assert (await app.apply(later, links=1))["counts"]["linked"] == 1


@pytest.mark.parametrize("why", ["asked", "policy", "mapping", "much changed", "long ago", "many runs"])
async def test_everything_is_planned_where(app: App, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    await first(app)
    asked: dict[str, Any] = {}
    people = PEOPLE
    match why:
        case "asked":
            asked = {"full": True}
        case "policy":
            asked = {"policy": {"verifiedDomains": ["contoso.com"]}}
        case "mapping":
            asked = {"mapping": exported(attribute("userName", "[userPrincipalName]", 1))}
        case "much changed":
            people = [{**one, "department": "Elsewhere"} for one in PEOPLE]
        case "long ago":
            monkeypatch.setattr(compare, "DAYS", -1)
        case "many runs":
            monkeypatch.setattr(compare, "MOST_RUNS", 1)
    run = await app.plan(*people, **asked)
    assert "since" not in run["options"]
    assert run["counts"] == {"alreadyLinked": 15, "review": 1, "noAccount": 4, "noIdentity": 1}
    assert ("changed" in run) == (why == "much changed")


async def keeps(app: App, run: Any) -> bool:
    """Tell whether what a run saw is still there."""
    directory = await Directories(app.tables).open("main")
    seen = Seen(app.tables, directory.keys, [run["id"]])
    return any([await seen.identities(bucket) or await seen.accounts(bucket) for bucket in range(4)])


async def test_what_a_run_saw_is_kept_for_thirty_days(app: App) -> None:
    run = await first(app)
    directory = await Directories(app.tables).open("main")
    for days in (30, 32):
        then = timestamp(datetime.now(UTC) + timedelta(days=days))
        await Stages(app.tables, directory.keys, partial(str, then)).sweep()
        assert await keeps(app, run) == (days == 30)


async def test_what_a_run_saw_goes_with_the_run_if_it_is_cancelled_and_with_the_next_that_plans_everything(
    app: App,
) -> None:
    run = await first(app)
    people = [{**one, "department": "Elsewhere"} if n == 3 else one for n, one in enumerate(PEOPLE)]
    cancelled = await app.plan(*people)
    assert await keeps(app, cancelled)
    await app.call("POST", f"linking/runs/{cancelled['id']}/cancel")
    await until_gone(app, cancelled)
    later = await app.apply(await app.plan(*people), links=0)
    assert await keeps(app, run)
    assert await keeps(app, later)
    whole = await app.apply(await app.plan(*people, full=True), links=0)
    await until_gone(app, run)
    await until_gone(app, later)
    assert await keeps(app, whole)


async def until_gone(app: App, run: Any) -> None:
    async def gone() -> bool:
        return not await keeps(app, run)

    await until(gone)  # a job is shown as ended, then its stages go
