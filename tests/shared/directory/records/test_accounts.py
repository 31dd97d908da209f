"""What an account goes through, on both backends where the backend has a part in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.local.faults import FaultyTables
from shared.directory.directory import Directories
from shared.directory.errors import AlreadyExists, NotFound, Stale, TooLarge
from shared.directory.keys import Key
from shared.directory.records.model import Account, Authority, SignInEvidence, Status
from shared.tables.port import Tables, Throttled, Unavailable, VersionConflict
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import (
    BY,
    Clock,
    change,
    commits_account,
    create,
    ids_of,
    linked,
    outcome,
    pause,
    person,
    reads,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
    writes,
)


async def test_an_account_is_found_by_every_key_it_carries(tables: Tables) -> None:
    directory = await small(tables)
    known = SignInEvidence("name-id-1", "object-1", ("Verified@example.com",))
    new = person(directory, "Ann@example.com", "ann@example.com", "other@example.com", externalId="X1")
    account = await directory.accounts.create(replace(new, evidence=known), by=BY)
    for kind, value in (
        ("userName", "ANN@EXAMPLE.COM"),
        ("email", "Ann@Example.com"),
        ("email", "OTHER@example.com"),
        ("email", "verified@example.com"),
        ("externalId", "x1"),
        ("nameId", "NAME-ID-1"),
        ("objectId", "object-1"),
    ):
        assert await ids_of(directory, kind, value) == [account.id], kind
    assert await directory.accounts.get(account.id) == account
    assert await ids_of(directory, "email", "nobody@example.com") == []
    await check_invariants(tables)


async def test_a_verified_email_that_is_the_user_name_leads_to_the_account(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    new = replace(person(directory, "ann@example.com"), evidence=SignInEvidence(verified_emails=("ann@example.com",)))
    account = await directory.accounts.create(new, by=BY)
    assert await ids_of(directory, "email", "Ann@example.com") == [account.id]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ann@example.com", "ANN@EXAMPLE.COM"),
        ("ann@example.com", " ann@example.com "),
        ("ångström", "Ångström"),
        ("straße", "STRASSE"),
        ("\uff41\uff4e\uff4e", "ann"),
        ("\ufb01ona", "FIONA"),
    ],
)
async def test_one_user_name_never_leads_to_two_accounts(sqlite_tables: SqliteTables, first: str, second: str) -> None:
    directory = await small(sqlite_tables)
    account = await create(directory, first)
    with pytest.raises(AlreadyExists) as refusal:
        await create(directory, second)
    assert (refusal.value.attribute, refusal.value.holder) == ("userName", account.id)
    other = await create(directory, "other")
    assert await outcome(change(directory, other, with_changes(other, userName=second))) is AlreadyExists
    assert await ids_of(directory, "userName", second) == [account.id]
    await check_invariants(sqlite_tables)


async def test_a_refused_create_leaves_nothing_that_is_found(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    account = await create(directory, "ann")
    assert await outcome(create(directory, "ANN", "new@example.com", externalId="x2")) is AlreadyExists
    assert await ids_of(directory, "email", "new@example.com") == []
    assert [a.id for a in await check_invariants(sqlite_tables)] == [account.id]


async def test_every_write_changes_the_version(tables: Tables) -> None:
    directory = await small(tables)
    first = await create(directory, "ann")
    second = await change(directory, first, with_changes(first, title="Dr"))
    third = await change(directory, second, with_changes(second, title=None))
    claimed = await change(directory, third, linked(third, "i1"))
    away = await change(directory, claimed, retired(claimed))
    versions = [first.version, second.version, third.version, claimed.version, away.version]
    assert len(set(versions)) == 5
    assert await directory.accounts.find(first.id) == away
    assert (await directory.accounts.get_any(first.id)).version == away.version


async def test_a_change_to_a_version_that_is_gone_is_stale_and_changes_nothing(tables: Tables) -> None:
    directory = await small(tables)
    first = await create(directory, "ann", "a@example.com")
    second = await change(directory, first, with_changes(first, title="Dr"))
    assert await outcome(change(directory, first, with_emails(first, "b@example.com"))) is Stale
    assert await outcome(change(directory, first, retired(first))) is Stale
    assert await outcome(directory.accounts.delete(first, by=BY)) is Stale
    assert await check_invariants(tables) == [second]


async def test_replacing_an_account_by_itself_writes_nothing(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting)
    account = await create(directory, "ann")
    counting.reset()
    assert await change(directory, account, account) is account
    assert counting.requests == 0


async def test_a_renamed_account_keeps_its_id_and_frees_its_name(tables: Tables) -> None:
    directory = await small(tables)
    account = await create(directory, "ann", "ann")
    renamed = await change(directory, account, with_changes(account, userName="bea"))
    assert await ids_of(directory, "userName", "ann") == []
    assert await ids_of(directory, "userName", "BEA") == await ids_of(directory, "email", "ann") == [account.id]
    another = await create(directory, "Ann")
    assert await ids_of(directory, "userName", "ann") == [another.id]
    assert await ids_of(directory, "formerUserName", "ANN") == [account.id]
    assert await outcome(change(directory, renamed, with_changes(renamed, userName="ann"))) is AlreadyExists
    await check_invariants(tables)
    assert await stale_rows(tables) == 1, "what the refused change announced, until it is swept"


async def test_a_deleted_account_is_not_found_and_leaves_a_tombstone(tables: Tables) -> None:
    directory = await small(tables, now=Clock())
    account = await create(directory, "ann", "a@example.com", externalId="x1")
    await directory.accounts.delete(account, by="someone")
    assert await outcome(directory.accounts.get(account.id)) is NotFound
    assert await outcome(directory.accounts.get_any(account.id)) is NotFound
    for kind, value in (("userName", "ann"), ("email", "a@example.com"), ("externalId", "x1")):
        assert await ids_of(directory, kind, value) == []
    tombstone = await directory.accounts.tombstone(account.id)
    assert tombstone is not None
    assert (tombstone["by"], tombstone["status"]) == ("someone", "local")
    assert [c.action for c in await directory.accounts.history(account.id)] == ["create", "delete"]
    assert await check_invariants(tables) == []
    assert await stale_rows(tables) == 0


async def test_a_name_of_a_deleted_account_is_free_for_a_new_id(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    account = await create(directory, "ann")
    await directory.accounts.delete(account, by=BY)
    again = await create(directory, "ann")
    assert again.id != account.id
    assert await directory.accounts.tombstone(again.id) is None
    assert await outcome(change(directory, account, with_changes(account, title="Dr"))) is Stale


async def test_an_id_is_never_used_twice(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    account = await create(directory, "ann")
    with pytest.raises(AlreadyExists) as refusal:
        await directory.accounts.create(account, by=BY)
    assert (refusal.value.attribute, refusal.value.holder) == ("id", account.id)
    assert await check_invariants(sqlite_tables) == [account]


async def test_a_retired_account_is_kept_with_its_name_and_can_come_back(tables: Tables) -> None:
    directory = await small(tables, now=Clock())
    account = await create(directory, "ann", "a@example.com")
    claimed = await change(directory, account, linked(account, "i1"))
    away = await change(directory, claimed, retired(claimed))
    assert await outcome(directory.accounts.get(account.id)) is NotFound
    assert await directory.accounts.find(account.id) == away
    assert await outcome(create(directory, "ANN")) is AlreadyExists
    assert await ids_of(directory, "externalId", "i1") == await ids_of(directory, "identity", "i1") == []
    assert await directory.listing.total() == 0
    assert (await directory.listing.page(1, 10))[1] == []
    back = await change(directory, away, linked(away, "i2"))
    assert await directory.accounts.get(account.id) == back
    assert await directory.listing.total() == 1
    assert await check_invariants(tables) == [back]
    await directory.accounts.delete(await change(directory, back, retired(back)), by=BY)
    assert await check_invariants(tables) == []


async def test_the_history_says_what_changed_and_what_the_link_was(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, now=Clock())
    account = await create(directory, "ann")
    claimed = await directory.accounts.replace(account, linked(account, "i1"), by="run:1", action="link")
    await change(directory, claimed, with_changes(claimed, title="Dr"))
    first, second, third = await directory.accounts.history(account.id)
    assert (first.action, first.attributes, first.before) == ("create", (), {})
    assert (second.action, second.by, second.attributes) == ("link", "run:1", ("externalId", "status", "link"))
    assert second.before == {"status": "local", "externalId": None, "userName": "ann", "link": None}
    assert (third.attributes, third.before) == (("title",), {})
    assert claimed.authority is Authority.IDP


async def test_an_identity_is_linked_to_one_account_only(tables: Tables) -> None:
    directory = await small(tables)
    ann, bea = await create(directory, "ann"), await create(directory, "bea")
    claimed = await change(directory, ann, linked(ann, "Identity-1"))
    with pytest.raises(AlreadyExists) as refusal:
        await change(directory, bea, linked(bea, "identity-1"))
    assert (refusal.value.attribute, refusal.value.holder) == ("externalId", ann.id)
    assert await outcome(create(directory, "cleo", externalId="IDENTITY-1")) is AlreadyExists
    relinked = await change(directory, claimed, linked(claimed, "identity-2"))
    await change(directory, bea, linked(bea, "identity-1"))
    assert await ids_of(directory, "identity", "identity-2") == [relinked.id]
    await check_invariants(tables)
    assert await outcome(change(directory, relinked, linked(relinked, "identity-1"))) is AlreadyExists


async def test_an_identity_that_a_provisioned_account_carries_is_linked_to_no_other(tables: Tables) -> None:
    directory = await small(tables)
    local = await create(directory, "ann")
    await create(directory, "ann@example.com", status=Status.PROVISIONED, externalId="i1")
    assert await outcome(change(directory, local, linked(local, "i1"))) is AlreadyExists
    await check_invariants(tables)


async def test_directories_of_one_store_cannot_reach_one_another(tables: Tables) -> None:
    both = Directories(tables)
    one, other = await both.open("d"), await both.open("d1")
    account = await create(one, "ann", "a@example.com", externalId="x1")
    assert await outcome(other.accounts.get(account.id)) is NotFound
    for kind, value in (("userName", "ann"), ("email", "a@example.com"), ("externalId", "x1"), ("identity", "x1")):
        assert await ids_of(other, kind, value) == []
    assert await other.listing.total() == 0
    assert await other.accounts.history(account.id) == []
    await create(other, "ann", "a@example.com", externalId="x1")
    assert one.keys.digest(Key("userName", "ann")) != other.keys.digest(Key("userName", "ann"))
    assert await ids_of(one, "email", "a@example.com") == [account.id]
    assert await both.open("d") is one
    assert (await Directories(tables).open("d")).keys.digest(Key("a", "b")) == one.keys.digest(Key("a", "b"))


@pytest.mark.parametrize("name", ["", "D", "a_b", "a/b", "x" * 33, "ä"])
async def test_a_name_that_could_reach_another_directory_is_refused(sqlite_tables: SqliteTables, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 32 letters"):
        await Directories(sqlite_tables).open(name)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 100, "zz", "éé", "\x00", "../../x", "-1", "\ud800", "\uff11\uff12"])
async def test_a_string_that_is_no_id_leads_to_no_account(tables: Tables, name: str) -> None:
    directory = await small(tables)
    assert await directory.accounts.find(name) is None


@pytest.mark.parametrize("text", ["x" * 32_768, "x" * 300_000, "ü" * 100_000, "𝄞" * 100_000])
async def test_a_large_document_comes_back_as_it_was(tables: Tables, text: str) -> None:
    directory = await small(tables)
    account = await create(directory, "ann", note=text)
    found = await directory.accounts.get(account.id)
    assert found.text == account.text
    assert json.loads(found.text)["note"] == text
    shorter = await change(directory, found, with_changes(found, note="short"))
    assert await directory.accounts.get(account.id) == shorter


@pytest.mark.parametrize("text", ["x" * 400_000, "ü" * 200_000])
async def test_a_document_that_is_too_large_is_refused_and_changes_nothing(
    sqlite_tables: SqliteTables, text: str
) -> None:
    directory = await small(sqlite_tables)
    assert await outcome(create(directory, "ann", "a@example.com", note=text)) is TooLarge
    assert await stale_rows(sqlite_tables) == 0
    account = await create(directory, "ann")
    assert await outcome(change(directory, account, with_changes(account, userName="bea", note=text))) is TooLarge
    assert await check_invariants(sqlite_tables) == [account]
    assert await stale_rows(sqlite_tables) == 0


@pytest.mark.parametrize("processes", [1, 4])
async def test_of_twenty_creates_of_one_name_at_once_one_wins(
    open_tables: Callable[[], Tables], processes: int
) -> None:
    stores = [open_tables() for _ in range(processes)]
    await small(stores[0])
    directories = [await reopened(store) for store in stores]
    names = ["ann@EXAMPLE.com", "Ann@Example.Com", "ANN@example.com", "ann@example.com", "aNN@eXAMPLE.cOM"]
    outcomes = await asyncio.gather(
        *(outcome(create(directories[n % processes], names[n % 5], f"{n}@example.com")) for n in range(20))
    )
    assert sorted(outcomes, key=str) == [AlreadyExists] * 19 + [None]
    assert len(await check_invariants(stores[0])) == 1
    for store in stores:
        await store.close()


async def test_twenty_creates_in_one_bucket_at_once_all_count(sqlite_tables: SqliteTables) -> None:
    await small(sqlite_tables, buckets=1)
    one, other = await reopened(sqlite_tables), await reopened(sqlite_tables)
    made = await asyncio.gather(*(create([one, other][n % 2], f"person{n}") for n in range(20)))
    assert len(await check_invariants(sqlite_tables)) == len(made)


async def test_a_total_asked_for_while_accounts_are_made_is_one_of_the_totals_there_were(
    sqlite_tables: SqliteTables,
) -> None:
    directory = await small(FaultyTables(sqlite_tables), buckets=1)
    answers = await asyncio.gather(
        *(create(directory, f"person{n}") for n in range(6)), *(directory.listing.total() for _ in range(6))
    )
    assert all(0 <= total <= 6 for total in answers[6:] if isinstance(total, int))
    assert await directory.listing.total() == 6
    await create(directory, "another")
    await check_invariants(sqlite_tables)


async def test_a_late_answer_does_not_count_an_account_twice(sqlite_tables: SqliteTables) -> None:
    """The count was read again, with this create in it, before its answer came."""
    slow = FaultyTables(sqlite_tables)
    directory = await small(slow, buckets=1)

    async def another_fails() -> None:
        directory.accounts.counts.forget(0)
        await directory.accounts.counts.get(0)

    reached = pause(slow, commits_account, another_fails, after=True)
    await create(directory, "ann")
    assert reached
    await create(directory, "bea")
    assert len(await check_invariants(sqlite_tables)) == 2


async def test_only_the_count_changed_so_a_delete_goes_through(sqlite_tables: SqliteTables) -> None:
    one = await small(sqlite_tables, buckets=1)
    ann, bea = await create(one, "ann"), await create(one, "bea")
    other = await reopened(sqlite_tables)
    await create(other, "cleo")  # its count is news to the first process
    await one.accounts.delete(ann, by=BY)
    await create(other, "dora")
    claimed = await change(one, bea, linked(bea, "i1"))
    await change(one, claimed, retired(claimed))
    assert {a.user_name for a in await check_invariants(sqlite_tables) if not a.retired} == {"cleo", "dora"}


@pytest.mark.parametrize("error", [Throttled(0.0), Unavailable("lost")])
async def test_a_commit_whose_answer_was_lost_is_recognised(sqlite_tables: SqliteTables, error: Exception) -> None:
    lossy = FaultyTables(sqlite_tables)
    directory = await small(lossy)

    async def lose() -> None:
        raise error

    pause(lossy, commits_account, lose, after=True)
    account = await create(directory, "ann", "a@example.com")
    pause(lossy, commits_account, lose, after=True)
    renamed = await change(directory, account, with_changes(account, userName="bea"))
    pause(lossy, commits_account, lose, after=True)
    claimed = await change(directory, renamed, linked(renamed, "i1"))
    pause(lossy, commits_account, lose, after=True)
    await directory.accounts.delete(claimed, by=BY)
    assert await check_invariants(sqlite_tables) == []
    actions = [c.action for c in await directory.accounts.history(account.id)]
    assert sorted(actions) == ["create", "delete", "replace", "replace"]
    assert await stale_rows(sqlite_tables) == 0


@pytest.mark.parametrize(("was", "becomes"), [("ann", "bea"), ("bea", "ann")])
async def test_an_email_is_found_while_the_user_name_becomes_or_ceases_to_be_it(
    sqlite_tables: SqliteTables, was: str, becomes: str
) -> None:
    """The name claim leads to an e-mail that is the userName, a pointer to any other; the account decides."""
    directory = await small(sqlite_tables)
    account = await create(directory, was, "ann")
    slow = FaultyTables(sqlite_tables)
    reader = await reopened(slow)

    async def rename() -> None:
        await change(directory, account, with_changes(account, userName=becomes))

    reached = pause(slow, reads("a_"), rename)
    assert await ids_of(reader, "email", "ann") == [account.id]
    assert reached


async def test_an_account_read_from_its_row_equals_the_one_that_was_written(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    document = {"userName": "Ann", "displayName": "A\u2028n\u0000n 𝄞", "active": False, "emails": [{"type": "work"}]}
    new = Account.new(directory.keys.new_id("Ann"), document, Status.LOCAL, directory.accounts.now())
    new = replace(new, protected=True, origin="job1", evidence=SignInEvidence(None, "o", ("a@b",)))
    assert await directory.accounts.create(new, by=BY) == await directory.accounts.get(new.id) == new
    assert (new.active, new.emails) == (False, ())


async def test_writes_of_pointers_come_before_the_commit_and_deletions_after(sqlite_tables: SqliteTables) -> None:
    watched = FaultyTables(sqlite_tables)
    directory = await small(watched)
    account = await create(directory, "ann", "a@example.com")
    steps: list[str] = []

    async def note(call: object) -> None:
        for name, step in (("pointer", writes("p_")), ("claim", writes("n_")), ("commit", commits_account)):
            if step(call):  # type: ignore[arg-type]
                steps.append(name)

    watched.before = note
    await change(directory, account, with_emails(with_changes(account, userName="bea"), "b@example.com"))
    assert steps[:2] == ["claim", "pointer"]
    assert steps[2] == "commit"
    assert sorted(steps[3:]) == ["claim", "pointer"]


async def test_a_refused_create_leaves_nothing_behind(tables: Tables) -> None:
    directory = await small(tables)
    await create(directory, "ann")
    with pytest.raises(AlreadyExists, match="userName"):
        await create(directory, "Ann", "a@example.com", externalId="k", status=Status.PROVISIONED)

    async def refuse() -> None:
        raise AlreadyExists("emails", "somebody")

    with pytest.raises(AlreadyExists, match="emails"):
        await directory.accounts.create(
            person(directory, "bea", "b@example.com", externalId="l"), by=BY, beside=lambda: [refuse()]
        )
    assert await stale_rows(tables) == 0


async def test_a_create_that_is_refused_takes_nothing_from_whoever_has_its_id(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    ann = await create(directory, "ann", "a@example.com")

    async def refuse() -> None:
        raise AlreadyExists("emails", "somebody")

    with pytest.raises(AlreadyExists, match="emails"):
        await directory.accounts.create(ann, by=BY, beside=lambda: [refuse()])
    assert await ids_of(directory, "email", "a@example.com") == [ann.id]
    assert await check_invariants(sqlite_tables) == [ann]


async def test_accounts_may_share_an_external_id_until_one_is_linked(tables: Tables) -> None:
    directory = await small(tables)
    first = await create(directory, "ann", externalId="k", status=Status.PROVISIONED)
    await create(directory, "bea", externalId="k", status=Status.PROVISIONED)
    assert len(await directory.accounts.list_by(Key("externalId", "k"))) == 2
    cleo = await create(directory, "cleo")
    with pytest.raises(AlreadyExists, match="externalId"):
        await change(directory, cleo, linked(cleo, "k"))
    await directory.accounts.delete(await directory.accounts.get(first.id), by=BY)
    with pytest.raises(AlreadyExists, match="externalId"):
        await change(directory, cleo, linked(cleo, "k"))
    await check_invariants(tables)


async def test_no_fence_holds_around_an_account_that_changed_since_it_was_read(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    read = await create(directory, "ann")
    await change(directory, read, with_changes(read, title="Engineer"))
    with pytest.raises(VersionConflict):
        await directory.accounts.claims.fence(read)


async def test_who_takes_what_an_account_gave_up_leaves_it_as_it_is(tables: Tables) -> None:
    """Its version stays, to which a plan may hold it; and nobody waits for it to commit."""
    directory = await small(tables)
    ann = await create(directory, "ann", externalId="i")
    ann = await change(directory, ann, with_changes(ann, userName="other", externalId=None))
    bea = await create(directory, "ann")
    cleo = await create(directory, "cleo")
    await change(directory, cleo, linked(cleo, "i"))
    assert await ids_of(directory, "userName", "ann") == [bea.id]
    assert await ids_of(directory, "externalId", "i") == [cleo.id]
    assert (await directory.accounts.get(ann.id)).etag == ann.etag
    await check_invariants(tables)
