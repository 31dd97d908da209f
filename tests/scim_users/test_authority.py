"""What provisioning may do to accounts that existed before it: the rules themselves, and their effect over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scim_users.authority import Write, authorise, refuse_protected, retire
from shared.directory.directory import Directory
from shared.directory.errors import Refused
from shared.directory.keys import Key
from shared.directory.matching.authority import CREATABLE
from shared.directory.matching.policy import Policy
from shared.directory.records.model import NO_EVIDENCE, Account, Link, SignInEvidence, Status
from shared.directory.records.resources import SURE
from tests.scim_users.conftest import Server

NOW = "2026-11-23T12:00:00.000Z"
IDENTITY = "8b3f1c9e-0001-4000-8000-000000000001"
OTHER = "8b3f1c9e-0002-4000-8000-000000000002"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
VERIFIED = Policy(verified_domains=frozenset({"contoso.com"}))
ADOPTING = replace(VERIFIED, adopt_on_create=True)


def local(evidence: SignInEvidence = NO_EVIDENCE, /, **more: Any) -> Account:
    document = {"schemas": [CORE], "userName": "ada@contoso.com", "active": True, **more}
    return replace(Account.new("1a", document, Status.LOCAL, NOW), evidence=evidence)


def linked(confirmed: str | None = None, **more: Any) -> Account:
    link = Link(IDENTITY, "userName", NOW, "run", confirmed)
    return replace(local(externalId=IDENTITY, **more), status=Status.CLAIMED, link=link)


def write(before: Account, *, keyed: bool = True, **values: Any) -> Write:
    """A write of these attributes; one that is `keyed` carries its externalId itself."""
    document = {name: value for name, value in (before.document() | values).items() if value is not None}
    after = before.with_document(document)
    return Write(after, (after.external_id or "") if keyed else "", NOW)


def work(address: str) -> list[dict[str, Any]]:
    return [{"type": "work", "value": address}]


GUARDED = [{"userName": "eve@contoso.com"}, {"emails": work("eve@contoso.com")}, {"active": False}]


@pytest.mark.parametrize(
    "emails",
    [
        None,
        work("eve@contoso.com"),
        work("ada@contoso.com") + work("home@contoso.com") + work("eve@contoso.com"),
        work("home@contoso.com"),
    ],
    ids=["none", "another", "one more", "one less"],
)
def test_whatever_becomes_of_the_addresses_is_a_change(emails: Any) -> None:
    before = linked(emails=work("ada@contoso.com") + work("home@contoso.com"))
    with pytest.raises(Refused, match=r"^emails: "):
        authorise(before, write(before, keyed=False, emails=emails))


@pytest.mark.parametrize(
    "change",
    [
        {"userName": "\uff41da@contoso.com"},
        {"emails": work("\uff41da@contoso.com")},
        {"emails": work("ada@contoso.com\u00a0")},
        {"userName": "ada\u212a@contoso.com"},
        {"emails": work("ada\u212a@contoso.com")},
    ],
    ids=["a look-alike name", "a look-alike address", "an address with a blank", "a Kelvin name", "a Kelvin address"],
)
def test_what_only_folds_alike_is_another_name_or_address(change: dict[str, Any]) -> None:
    name = "adak@contoso.com" if "\u212a" in str(change) else "ada@contoso.com"
    before = linked(userName=name, emails=work(name))
    with pytest.raises(Refused, match=f"^{next(iter(change))}: "):
        authorise(before, write(before, keyed=False, **change))


def test_the_case_of_a_name_is_no_change_of_it() -> None:
    after = authorise(linked(), write(linked(), keyed=False, userName="ADA@contoso.com"))
    assert after.user_name == "ADA@contoso.com"


@pytest.mark.parametrize(
    "evidence",
    [NO_EVIDENCE, SignInEvidence(object_id=IDENTITY), SignInEvidence(verified_emails=("ada@contoso.com",))],
    ids=["none", "past sign-in", "verified e-mail"],
)
@pytest.mark.parametrize("external_id", [None, IDENTITY])
def test_no_write_to_an_account_that_is_managed_here_is_done(evidence: SignInEvidence, external_id: str | None) -> None:
    before = local(evidence, emails=work("ada@contoso.com"), **({"externalId": external_id} if external_id else {}))
    for change in (write(before, externalId=IDENTITY), write(before, keyed=False, title="Analyst")):
        with pytest.raises(Refused, match=r"managed here.*POST /accounts/\{id\}/link"):
            authorise(before, change)


@pytest.mark.parametrize("change", GUARDED, ids=lambda change: next(iter(change)))
def test_an_unconfirmed_link_guards_how_a_person_signs_in(change: dict[str, Any]) -> None:
    name = next(iter(change))
    with pytest.raises(Refused, match=f"^{name}: .*has not come through its externalId yet"):
        authorise(linked(), write(linked(), keyed=False, **change))
    assert authorise(linked(), write(linked(), keyed=True, **change)).link.confirmed == NOW  # type: ignore[union-attr]
    confirmed = linked(confirmed=NOW)
    assert authorise(confirmed, write(confirmed, keyed=False, **change)).status is Status.CLAIMED


def test_an_unconfirmed_link_lets_other_attributes_through_and_stays_unconfirmed() -> None:
    after = authorise(linked(), write(linked(), keyed=False, title="Analyst"))
    assert after.document()["title"] == "Analyst"
    assert after.link is not None
    assert after.link.confirmed is None


@pytest.mark.parametrize("identity", [OTHER, None])
def test_a_linked_account_takes_no_other_identity(identity: str | None) -> None:
    with pytest.raises(Refused, match=r"^externalId: .*another identity"):
        authorise(linked(), write(linked(), externalId=identity))


def test_an_identity_that_only_folds_alike_is_another() -> None:
    before = replace(linked(), link=Link("kim", "userName", NOW, "run")).with_document({"userName": "ada"})
    assert authorise(before, write(before, externalId="KIM")).external_id == "KIM"
    with pytest.raises(Refused, match="another identity"):
        authorise(before, write(before, externalId="\u212aim"))


def test_a_provisioned_account_takes_every_write() -> None:
    before = replace(local(externalId=IDENTITY), status=Status.PROVISIONED)
    change = write(before, externalId=OTHER, active=False, userName="eve@contoso.com")
    assert authorise(before, change) == change.after


@pytest.mark.parametrize("status", Status)
def test_a_protected_account_takes_no_write(status: Status) -> None:
    before = replace(linked(), status=status, protected=True)
    with pytest.raises(Refused, match="protected"):
        authorise(before, write(before, title="Analyst"))
    with pytest.raises(Refused, match="protected"):
        refuse_protected(before)


def test_a_retired_account_is_unlinked_and_inactive_and_remembers_its_identity() -> None:
    after = retire(linked(confirmed=NOW))
    assert after.status is Status.LOCAL
    assert after.retired
    assert after.link is None
    assert not after.active
    assert after.external_id is None
    assert after.evidence.object_id == IDENTITY
    with pytest.raises(Refused, match=r"^delete: "):
        retire(linked())


# Over HTTP


async def stored(server: Server, account: Account, policy: Policy = VERIFIED) -> tuple[Directory, str]:
    """Put an account into the directory that the server serves; return both its directory and its new id."""
    directory = await server.main()
    await directory.policies.set(policy)
    account = replace(account, id=directory.keys.new_id(account.user_name)).with_document(account.document())
    before = await directory.accounts.create(replace(account, link=None, status=Status.LOCAL), by="import")
    if account.link is not None:
        await directory.accounts.replace(before, replace(account, etag=before.etag), by="run", action="link")
    return directory, account.id


def patch(**values: Any) -> dict[str, Any]:
    operations = [{"op": "Add", "path": path.replace("_", "."), "value": value} for path, value in values.items()]
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}


async def look_up(server: Server, filter_text: str) -> int:
    """Find accounts as Entra does before it writes; return how many."""
    found: int = (await server.send("GET", f"/Users?filter={filter_text}")).body["totalResults"]
    return found


BY_NAME = 'userName eq "ada@contoso.com"'


async def leave_open(directory: Directory, decision: str) -> str:
    """Have the last plan leave the identity to the administrator; return the run."""
    jobs = directory.jobs
    run = await jobs.start("run", "admin", jobs.new_id("run"), {})
    await jobs.note_planned([run.id])
    await directory.plan(run.id).leave_open({IDENTITY: decision})
    return run.id


@pytest.mark.parametrize(("protected", "remedy"), [(False, "POST /accounts/{id}/link"), (True, "lift the protection")])
async def test_a_create_under_the_name_of_an_account_that_is_managed_here_is_told_what_to_do(
    server: Server, protected: bool, remedy: str
) -> None:
    _, account_id = await stored(server, replace(local(), protected=protected))
    answer = await server.send("POST", "/Users", CREATE)
    assert (answer.status, answer.body["scimType"]) == (409, "uniqueness")
    assert answer.body["detail"].startswith(f"userName: the account {account_id} is ")
    assert remedy in answer.body["detail"]


@pytest.mark.parametrize("decision", ["conflict", "excluded"])
async def test_what_the_last_plan_left_open_is_not_settled_by_a_create(server: Server, decision: str) -> None:
    directory, _ = await stored(server, local())
    run = await leave_open(directory, decision)
    answer = await server.send("POST", "/Users", CREATE | {"userName": "ada.two@contoso.com"})
    assert (answer.status, run in answer.body["detail"]) == (409, True)


async def test_it_is_not_settled_by_a_create_after_many_either(server: Server) -> None:
    directory, _ = await stored(server, local())
    run = await leave_open(directory, "conflict")
    for number in range(SURE):
        assert (await server.send("POST", "/Users", {"userName": f"other{number}"})).status == 201
    for _ in range(2):
        answer = await server.send("POST", "/Users", CREATE | {"userName": "ada.two@contoso.com"})
        assert (answer.status, run in answer.body["detail"]) == (409, True)


async def test_whom_an_exclusion_lets_be_created_is_created_beside_what_they_match(server: Server) -> None:
    directory, _ = await stored(server, local(emails=work("ada@home.example")))
    await leave_open(directory, CREATABLE)
    create = CREATE | {"userName": "ada.two@contoso.com", "emails": work("ada@home.example")}
    assert (await server.send("POST", "/Users", create)).status == 201


@pytest.mark.parametrize(
    "policy",
    [
        replace(VERIFIED, create_beside_matches=True),
        replace(VERIFIED, excluded=frozenset({IDENTITY}), creatable=frozenset({IDENTITY})),
    ],
    ids=["createBesideMatches", "an exclusion with create"],
)
async def test_the_administrator_may_have_it_created(server: Server, policy: Policy) -> None:
    directory, _ = await stored(server, local(emails=work("ada@home.example")), policy)
    await leave_open(directory, "excluded")
    create = CREATE | {"userName": "ada.two@contoso.com", "emails": work("ada@home.example")}
    assert (await server.send("POST", "/Users", create)).status == 201


GLASS = "glass@contoso.com"
ASKING_MORE = (
    'title sw "Sec"',
    'name.familyName eq "Hidden"',
    f'{BY_NAME} and title sw "S"',
    f'{BY_NAME} and (title sw "S" or title sw "T")',
    f'(userName eq "nobody" or emails.value eq "{GLASS}") and title pr',
    f'emails[value eq "{GLASS}"].type sw "w"',
    f'emails[type sw "w"].value eq "{GLASS}"',
    f'emails[value eq "{GLASS}" and type sw "w"]',
)


@pytest.mark.parametrize("asked", ASKING_MORE)
async def test_a_filter_tells_nothing_of_a_protected_account_but_its_name(server: Server, asked: str) -> None:
    hidden = local(title="Secret", name={"familyName": "Hidden"}, emails=work(GLASS))
    await stored(server, replace(hidden, protected=True))
    assert await look_up(server, asked) == 0
    assert await look_up(server, BY_NAME) == 1
    assert await look_up(server, f'emails[type eq "work"].value eq "{GLASS}"') == 1


async def test_a_local_account_is_found_but_not_deleted(server: Server) -> None:
    _, account_id = await stored(server, local())
    found = await server.send("GET", '/Users?filter=userName eq "ada@contoso.com"')
    assert found.body["totalResults"] == 1
    assert (await server.send("DELETE", f"/Users/{account_id}")).status == 403
    assert (await server.send("GET", f"/Users/{account_id}")).status == 200


async def test_a_protected_account_shows_its_name_only_and_takes_no_write(server: Server) -> None:
    _, account_id = await stored(server, replace(local(externalId=IDENTITY, displayName="Break glass"), protected=True))
    shown = (await server.send("GET", f"/Users/{account_id}")).body
    assert shown.keys() == {"schemas", "id", "userName", "meta"}
    listed = await server.send("GET", "/Users")
    assert listed.body["Resources"] == [shown]
    report = {"schemas": [CORE], "userName": "eve@contoso.com", ENTERPRISE: {"manager": account_id}}
    assert "displayName" not in (await server.send("POST", "/Users", report)).body[ENTERPRISE]["manager"]
    body = {"schemas": [CORE], "userName": "ada@contoso.com", "externalId": IDENTITY}
    for method, sent in (("PATCH", patch(externalId=IDENTITY)), ("PUT", body), ("DELETE", None)):
        answer = await server.send(method, f"/Users/{account_id}", sent)
        assert answer.status == 403
        assert "protected" in answer.body["detail"]


async def test_finding_an_account_by_its_stamped_key_confirms_the_link(server: Server) -> None:
    directory, account_id = await stored(server, linked())
    await server.send("GET", '/Users?filter=userName eq "ada@contoso.com"')
    assert (await server.send("PATCH", f"/Users/{account_id}", patch(active="False"))).status == 403
    found = await server.send("GET", f'/Users?filter=externalId eq "{IDENTITY}"')
    assert found.body["totalResults"] == 1
    link = (await directory.accounts.get(account_id)).link
    assert link is not None
    assert link.confirmed is not None
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(active="False"))
    assert (answer.status, answer.body["active"]) == (200, False)


async def test_a_put_without_external_id_keeps_the_link(server: Server) -> None:
    directory, account_id = await stored(server, linked(confirmed=NOW))
    answer = await server.send(
        "PUT", f"/Users/{account_id}", {"schemas": [CORE], "userName": "ada@contoso.com", "title": "Dr"}
    )
    assert (answer.status, answer.body["externalId"]) == (200, IDENTITY)
    assert (await directory.accounts.get(account_id)).link is not None
    other = {"schemas": [CORE], "userName": "ada@contoso.com", "externalId": OTHER}
    assert (await server.send("PUT", f"/Users/{account_id}", other)).status == 403


async def test_a_put_without_external_id_confirms_no_link(server: Server) -> None:
    directory, account_id = await stored(server, linked(emails=work("ada@contoso.com")))
    body = {"schemas": [CORE], "userName": "ada@contoso.com", "emails": work("ada@contoso.com"), "title": "Dr"}
    assert (await server.send("PUT", f"/Users/{account_id}", body)).status == 200
    link = (await directory.accounts.get(account_id)).link
    assert link is not None
    assert link.confirmed is None
    answer = await server.send("PUT", f"/Users/{account_id}", body | {"emails": work("eve@contoso.com")})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (403, "emails")


async def test_a_deleted_linked_account_is_gone_for_provisioning_and_kept_here(server: Server) -> None:
    directory, account_id = await stored(server, linked(confirmed=NOW, title="Analyst"))
    assert (await server.send("DELETE", f"/Users/{account_id}")).status == 204
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", patch(title="Dr"))):
        assert (await server.send(method, f"/Users/{account_id}", body)).status == 404
    for value in (f'externalId eq "{IDENTITY}"', 'userName eq "ada@contoso.com"', 'title eq "Analyst"'):
        assert (await server.send("GET", f"/Users?filter={value}")).body["totalResults"] == 0
    assert (await server.send("GET", "/Users")).body["totalResults"] == 0
    kept = await directory.accounts.find(account_id)
    assert kept is not None
    assert (kept.retired, kept.active, kept.document()["title"]) == (True, False, "Analyst")


async def test_an_unconfirmed_link_is_not_deleted(server: Server) -> None:
    _, account_id = await stored(server, linked())
    assert (await server.send("DELETE", f"/Users/{account_id}")).status == 403
    assert (await server.send("GET", f"/Users/{account_id}")).status == 200


CREATE = {"schemas": [CORE], "userName": "ADA@contoso.com", "externalId": IDENTITY, "active": True}


async def test_a_create_that_collides_is_refused_by_default(server: Server) -> None:
    directory, account_id = await stored(server, local())
    answer = await server.send("POST", "/Users", CREATE)
    assert (answer.status, answer.body["scimType"]) == (409, "uniqueness")
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL


SHARED: dict[str, dict[str, Any]] = {
    "emails": {"emails": work("ADA@home.example")},
    "externalId": {"externalId": IDENTITY},
    "employeeNumber": {ENTERPRISE: {"employeeNumber": "1815"}},
}


@pytest.mark.parametrize("attribute", SHARED)
async def test_a_create_beside_a_local_account_with_the_same_key_is_refused(server: Server, attribute: str) -> None:
    shared = SHARED[attribute]
    directory, account_id = await stored(
        server, local(userName="ada", **{**shared, "emails": work("ada@home.example")})
    )
    create = CREATE | {"externalId": OTHER} | shared
    answer = await server.send("POST", "/Users", create)
    assert (answer.status, answer.body["scimType"]) == (409, "uniqueness")
    assert answer.body["detail"].startswith(f"{attribute}: ")
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL


@pytest.mark.parametrize("attribute", [*SHARED, "a sign-in"])
async def test_a_create_that_shares_a_value_is_refused_without_a_write(
    server: Server, writes: list[str], attribute: str
) -> None:
    """Entra sends it again in every cycle."""
    shared = SHARED.get(attribute, {})
    evidence = SignInEvidence() if shared else SignInEvidence(object_id=IDENTITY)
    await stored(server, local(evidence, userName="ada", **{"emails": work("ada@home.example"), **shared}))
    writes.clear()
    for _ in range(2):
        create = CREATE | ({"externalId": OTHER} if shared else {}) | shared
        assert (await server.send("POST", "/Users", create)).status == 409
    assert writes == []


async def test_after_many_creates_one_that_shares_a_value_is_announced_and_taken_back(
    server: Server, writes: list[str]
) -> None:
    await stored(server, local(userName="ada", emails=work("ada@home.example")))
    for number in range(SURE):
        assert (await server.send("POST", "/Users", {"userName": f"other{number}"})).status == 201
    for last in (False, True):
        writes.clear()
        create = CREATE | {"externalId": OTHER} | SHARED["emails"]
        assert (await server.send("POST", "/Users", create)).status == 409
        assert (writes == []) == last


async def test_a_create_beside_a_local_account_that_is_named_by_the_same_address_is_refused(server: Server) -> None:
    await stored(server, local(userName="ada@home.example", emails=work("ada@home.example")))
    answer = await server.send("POST", "/Users", CREATE | {"emails": work("ADA@home.example")})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "emails")


@pytest.mark.parametrize("evidence", [SignInEvidence(), SignInEvidence(verified_emails=("ada@contoso.com",))])
@pytest.mark.parametrize("name", ["ada@contoso.com", "\uff21da@contoso.com", "ada\uff20contoso.com"])
async def test_a_create_whose_name_is_the_address_of_a_local_account_is_refused(
    server: Server, evidence: SignInEvidence, name: str
) -> None:
    """Entra sends no address of somebody without a mailbox."""
    address = "ada@home.example" if evidence.verified_emails else "ada@contoso.com"
    await stored(server, local(evidence, userName="ada", emails=work(address)))
    answer = await server.send("POST", "/Users", CREATE | {"externalId": OTHER, "userName": name})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "userName")


async def test_what_a_local_account_has_no_more_is_free_for_a_create(server: Server) -> None:
    """Its pointer is there, as a change that died before it removed it leaves it."""
    directory, account_id = await stored(server, local(userName="ada", emails=work("new@home.example")))
    await directory.accounts.claims.point(Key("email", "ada@home.example"), account_id)
    answer = await server.send("POST", "/Users", CREATE | {"emails": work("ada@home.example")})
    assert answer.status == 201


async def test_a_create_beside_an_account_of_provisioning_may_share_an_address(server: Server) -> None:
    for name in ("ada@contoso.com", "eve@contoso.com"):
        body = {"schemas": [CORE], "userName": name, "emails": work("team@contoso.com")}
        assert (await server.send("POST", "/Users", body)).status == 201


async def test_the_administrator_may_allow_creates_beside_matches(server: Server) -> None:
    await stored(
        server, local(userName="ada", emails=work("ada@home.example")), replace(VERIFIED, create_beside_matches=True)
    )
    answer = await server.send("POST", "/Users", CREATE | SHARED["emails"])
    assert answer.status == 201


async def test_a_create_beside_the_account_that_the_identity_signed_in_to_is_refused(server: Server) -> None:
    await stored(server, local(SignInEvidence(object_id=IDENTITY.upper()), userName="ada.local"))
    answer = await server.send("POST", "/Users", CREATE)
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "externalId")


@pytest.mark.parametrize("number", ["N/A", "0000", "7"])
async def test_a_number_that_stands_for_none_keeps_nobody_from_being_created(server: Server, number: str) -> None:
    directory = await server.main()
    for place in range(4 if number == "7" else 1):
        document = {"userName": f"ada{place}", ENTERPRISE: {"employeeNumber": number}}
        await directory.accounts.create(
            Account.new(directory.keys.new_id("a"), document, Status.LOCAL, NOW), by="import"
        )
    answer = await server.send("POST", "/Users", CREATE | {ENTERPRISE: {"employeeNumber": number}})
    assert answer.status == 201
