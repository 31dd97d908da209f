"""What provisioning may do to accounts that existed before it: the rules themselves, and their effect over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scim_users import authority
from scim_users.adoption import Presented
from scim_users.authority import Write, refuse_protected, retire
from shared.directory.directory import Directory
from shared.directory.errors import Refused
from shared.directory.keys import Key
from shared.directory.matching.accounts import Candidate, DecisionKind, decide, evidence_for, facts_of, identity_keys
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import DEFAULT_RULES, MatchRule, Policy, Rule, Trust
from shared.directory.records.model import NO_EVIDENCE, Account, Link, SignInEvidence, Status
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
    """A write of these attributes by the identity, as a PATCH presents it."""
    document = {name: value for name, value in (before.document() | values).items() if value is not None}
    after = before.with_document(document)
    return Write(after, Presented(after.external_id, after.user_name, after.emails), keyed, "entra", NOW)


def authorise(before: Account, change: Write, policy: Policy) -> Account:
    """What becomes of a write by an identity that shows what the write does."""
    shown = change.shown
    emails = shown.emails or (None,)
    identity = Identity(shown.external_id or "", shown.user_name or "", emails[0])
    evidence = evidence_for(identity_keys(identity, policy), facts_of(before))
    candidates = [Candidate(facts_of(before), evidence)] if evidence else []
    return authority.authorise(before, change, decide(identity, candidates, policy))


def work(address: str) -> list[dict[str, Any]]:
    return [{"type": "work", "value": address}]


STRONG = {
    Rule.EXTERNAL_ID: local(externalId=IDENTITY.upper()),
    Rule.SIGN_IN_OBJECT_ID: local(SignInEvidence(object_id=IDENTITY)),
    Rule.NAME_ID: local(SignInEvidence(name_id="ADA@contoso.com")),
    Rule.USER_NAME: local(),
    Rule.VERIFIED_EMAIL: local(
        SignInEvidence(verified_emails=("Ada@contoso.com",)), userName="ada", emails=work("ada@contoso.com")
    ),
}


@pytest.mark.parametrize("rule", STRONG)
def test_a_strong_rule_links_a_local_account(rule: Rule) -> None:
    before = STRONG[rule]
    after = authorise(before, write(before, externalId=IDENTITY, title="Analyst"), VERIFIED)
    confirmed = None if rule is Rule.VERIFIED_EMAIL else NOW
    assert after.status is Status.CLAIMED
    assert after.link == Link(IDENTITY, rule.value, NOW, "entra", confirmed)
    assert after.document()["title"] == "Analyst"


@pytest.mark.parametrize("rule", STRONG)
def test_a_rule_that_the_administrator_made_weak_links_nothing(rule: Rule) -> None:
    before = STRONG[rule]
    # The other rules might hold too.
    rules = tuple(MatchRule(item.rule, Trust.WEAK) for item in DEFAULT_RULES)
    with pytest.raises(Refused, match="no strong match rule"):
        authorise(before, write(before, externalId=IDENTITY), replace(VERIFIED, rules=rules))


@pytest.mark.parametrize(
    ("before", "policy"),
    [
        pytest.param(local(), Policy(), id="in no verified domain"),
        pytest.param(local(SignInEvidence(object_id=OTHER)), VERIFIED, id="another identity signed in to it"),
        pytest.param(local(userName="ada", emails=work("ada@contoso.com")), VERIFIED, id="by an unverified e-mail"),
        pytest.param(
            local(userName="ada@elsewhere.example", emails=work("ada@contoso.com")),
            VERIFIED,
            id="by a userName in another domain",
        ),
        pytest.param(local(), replace(VERIFIED, excluded=frozenset({IDENTITY.upper()})), id="excluded by object id"),
        pytest.param(local(), replace(VERIFIED, excluded=frozenset({"Ada@contoso.com"})), id="excluded by name"),
    ],
)
def test_without_a_strong_rule_a_local_account_is_not_linked(before: Account, policy: Policy) -> None:
    with pytest.raises(Refused, match="no strong match rule"):
        authorise(before, write(before, externalId=IDENTITY), policy)


GUARDED = [{"userName": "eve@contoso.com"}, {"emails": work("eve@contoso.com")}, {"active": False}]


@pytest.mark.parametrize("change", GUARDED, ids=lambda change: next(iter(change)))
def test_a_first_link_by_name_leaves_how_a_person_signs_in_alone(change: dict[str, Any]) -> None:
    before = local(SignInEvidence(name_id=IDENTITY), emails=work("ada@contoso.com"))
    policy = replace(VERIFIED, name_id_source="objectId")
    with pytest.raises(Refused, match=f"^{next(iter(change))}: a first link never changes it"):
        authorise(before, write(before, externalId=IDENTITY, **change), policy)


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
@pytest.mark.parametrize("linking", [True, False])
def test_whatever_becomes_of_the_addresses_is_a_change(emails: Any, linking: bool) -> None:
    had = {"emails": work("ada@contoso.com") + work("home@contoso.com")}
    before = local(SignInEvidence(name_id=IDENTITY), **had) if linking else linked(**had)
    policy = replace(VERIFIED, name_id_source="objectId")
    with pytest.raises(Refused, match=r"^emails: "):
        authorise(before, write(before, keyed=linking, externalId=IDENTITY, emails=emails), policy)


def test_a_decision_on_another_account_is_none_on_this_one() -> None:
    ada = replace(local(SignInEvidence(object_id=IDENTITY)), id="2b")
    keys = identity_keys(Identity(IDENTITY, ""), VERIFIED)
    made = decide(Identity(IDENTITY, ""), [Candidate(facts_of(ada), evidence_for(keys, facts_of(ada)))], VERIFIED)
    assert made.kind is DecisionKind.LINK
    bob = local(userName="bob@contoso.com")
    with pytest.raises(Refused, match="no strong match rule"):
        authority.authorise(bob, write(bob, externalId=IDENTITY), made)


@pytest.mark.parametrize(
    "change",
    [
        {"userName": "\uff41da@contoso.com"},
        {"emails": work("\uff41da@contoso.com")},
        {"emails": work("ada@contoso.com\u00a0")},
    ],
    ids=["a look-alike name", "a look-alike address", "an address with a blank"],
)
@pytest.mark.parametrize("linking", [True, False])
def test_what_only_folds_alike_is_another_name_or_address(change: dict[str, Any], linking: bool) -> None:
    evidence = SignInEvidence(name_id=IDENTITY)
    before = local(evidence, emails=work("ada@contoso.com")) if linking else linked(emails=work("ada@contoso.com"))
    policy = replace(VERIFIED, name_id_source="objectId")
    with pytest.raises(Refused, match=f"^{next(iter(change))}: "):
        authorise(before, write(before, keyed=linking, externalId=IDENTITY, **change), policy)


@pytest.mark.parametrize("change", GUARDED, ids=lambda change: next(iter(change)))
def test_a_first_link_by_object_id_may_change_everything(change: dict[str, Any]) -> None:
    before = local(SignInEvidence(object_id=IDENTITY), emails=work("ada@contoso.com"))
    after = authorise(before, write(before, externalId=IDENTITY, **change), VERIFIED)
    assert after.document().items() >= change.items()


def test_the_case_of_a_name_is_no_change_of_it() -> None:
    after = authorise(local(), write(local(), externalId=IDENTITY, userName="ADA@contoso.com"), VERIFIED)
    assert after.user_name == "ADA@contoso.com"


@pytest.mark.parametrize("change", GUARDED, ids=lambda change: next(iter(change)))
def test_an_unconfirmed_link_guards_how_a_person_signs_in(change: dict[str, Any]) -> None:
    name = next(iter(change))
    with pytest.raises(Refused, match=f"^{name}: .*has not come through its externalId yet"):
        authorise(linked(), write(linked(), keyed=False, **change), VERIFIED)
    assert authorise(linked(), write(linked(), keyed=True, **change), VERIFIED).link.confirmed == NOW  # type: ignore[union-attr]
    confirmed = linked(confirmed=NOW)
    assert authorise(confirmed, write(confirmed, keyed=False, **change), VERIFIED).status is Status.CLAIMED


def test_an_unconfirmed_link_lets_other_attributes_through_and_stays_unconfirmed() -> None:
    after = authorise(linked(), write(linked(), keyed=False, title="Analyst"), VERIFIED)
    assert after.document()["title"] == "Analyst"
    assert after.link is not None
    assert after.link.confirmed is None


@pytest.mark.parametrize("identity", [OTHER, None])
def test_a_linked_account_takes_no_other_identity(identity: str | None) -> None:
    with pytest.raises(Refused, match=r"^externalId: .*another identity"):
        authorise(linked(), write(linked(), externalId=identity), VERIFIED)


def test_a_provisioned_account_takes_every_write() -> None:
    before = replace(local(externalId=IDENTITY), status=Status.PROVISIONED)
    change = write(before, externalId=OTHER, active=False, userName="eve@contoso.com")
    assert authorise(before, change, Policy()) == change.after


@pytest.mark.parametrize("status", Status)
def test_a_protected_account_takes_no_write(status: Status) -> None:
    before = replace(linked(), status=status, protected=True)
    with pytest.raises(Refused, match="protected"):
        authorise(before, write(before, title="Analyst"), VERIFIED)
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


async def test_a_patch_with_the_identity_adopts_and_is_kept_in_the_history(server: Server) -> None:
    directory, account_id = await stored(server, local())
    assert await look_up(server, BY_NAME) == 1
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(externalId=IDENTITY, title="Analyst"))
    assert (answer.status, answer.body["externalId"]) == (200, IDENTITY)
    account = await directory.accounts.get(account_id)
    assert account.status is Status.CLAIMED
    changes = await directory.accounts.history(account_id)
    assert [(change.action, change.by) for change in changes] == [("create", "import"), ("link", "entra")]


async def test_a_patch_proves_nothing_by_what_it_leaves_alone(server: Server) -> None:
    directory, account_id = await stored(server, local())
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(externalId=OTHER, title="Analyst"))
    assert answer.status == 403
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL


async def test_finding_an_account_by_a_weak_key_does_not_link_it(server: Server) -> None:
    account = local(**{ENTERPRISE: {"employeeNumber": "1815"}})
    directory, account_id = await stored(server, account)
    assert await look_up(server, f'{ENTERPRISE}:employeeNumber eq "1815"') == 1
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(externalId=OTHER))
    assert (answer.status, "Only weak evidence" in answer.body["detail"]) == (403, True)
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL


async def test_an_identity_that_matches_two_accounts_adopts_neither(server: Server) -> None:
    directory, account_id = await stored(server, local())
    twin = Account.new(
        directory.keys.new_id("ada"), {"userName": "ada", "emails": work("ada@contoso.com")}, Status.LOCAL, NOW
    )
    await directory.accounts.create(twin, by="import")
    body = {"schemas": [CORE], "userName": "ada@contoso.com", "externalId": IDENTITY, "emails": work("ada@contoso.com")}
    answer = await server.send("PUT", f"/Users/{account_id}", body)
    assert (answer.status, "2 accounts match" in answer.body["detail"]) == (403, True)


async def test_what_the_last_plan_left_open_is_not_settled_by_provisioning(server: Server) -> None:
    directory, account_id = await stored(server, local())
    jobs = directory.jobs
    run = await jobs.start("run", "admin", jobs.new_id("run"), {})
    await jobs.note_planned([run.id])
    await directory.plan(run.id).leave_open({IDENTITY: "conflict"})
    assert await look_up(server, BY_NAME) == 1
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(externalId=IDENTITY))
    assert (answer.status, run.id in answer.body["detail"]) == (403, True)
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL
    answer = await server.send("POST", "/Users", CREATE | {"userName": "ada.two@contoso.com"})
    assert (answer.status, run.id in answer.body["detail"]) == (409, True)


async def test_a_name_id_that_is_an_object_id_speaks_against_another_identity(server: Server) -> None:
    policy = replace(VERIFIED, name_id_source="objectId")
    _, account_id = await stored(server, local(SignInEvidence(name_id=OTHER)), policy)
    assert await look_up(server, BY_NAME) == 1
    answer = await server.send("PATCH", f"/Users/{account_id}", patch(externalId=IDENTITY))
    assert (answer.status, "signed in to by another" in answer.body["detail"]) == (403, True)


async def test_a_look_alike_name_adopts_nothing(server: Server) -> None:
    directory, account_id = await stored(server, local(userName="sam@contoso.com"), ADOPTING)
    answer = await server.send("POST", "/Users", CREATE | {"userName": "\u017fam@contoso.com"})
    assert answer.status == 409
    (kept,) = await directory.accounts.list_by(Key("userName", "sam@contoso.com"))
    assert (kept.id, kept.status, kept.user_name) == (account_id, Status.LOCAL, "sam@contoso.com")


@pytest.mark.parametrize("asked", ['title sw "Sec"', 'name.familyName eq "Hidden"', f'{BY_NAME} and title sw "S"'])
async def test_a_filter_tells_nothing_of_a_protected_account_but_its_name(server: Server, asked: str) -> None:
    hidden = local(title="Secret", name={"familyName": "Hidden"}, emails=work("glass@contoso.com"))
    await stored(server, replace(hidden, protected=True))
    assert await look_up(server, asked) == 0
    assert await look_up(server, BY_NAME) == 1
    assert await look_up(server, 'emails[type eq "work"].value eq "glass@contoso.com"') == 1


@pytest.mark.parametrize(
    "refused",
    [patch(title="Analyst"), patch(externalId=IDENTITY, title="Analyst"), patch(externalId=OTHER, active="False")],
    ids=["without identity", "in no verified domain", "disabling"],
)
async def test_a_refused_adoption_says_why_and_changes_nothing(server: Server, refused: dict[str, Any]) -> None:
    directory, account_id = await stored(server, local(), Policy())
    before = await directory.accounts.get(account_id)
    answer = await server.send("PATCH", f"/Users/{account_id}", refused)
    assert answer.status == 403
    assert "managed here" in answer.body["detail"]
    after = await directory.accounts.get(account_id)
    assert (after, after.etag) == (before, before.etag)


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


async def test_a_create_adopts_where_the_policy_allows_it(server: Server) -> None:
    before = local(title="Analyst", **{ENTERPRISE: {"department": "Engines", "division": "North"}})
    directory, account_id = await stored(server, before, ADOPTING)
    answer = await server.send("POST", "/Users", CREATE | {ENTERPRISE: {"department": "Mills"}})
    assert (answer.status, answer.body["id"]) == (201, account_id)
    assert answer.body["title"] == "Analyst"
    assert answer.body["schemas"] == [CORE, ENTERPRISE]
    assert answer.body[ENTERPRISE] == {"department": "Mills", "division": "North"}
    assert "meta" not in (await directory.accounts.get(account_id)).document()
    assert (await directory.accounts.get(account_id)).status is Status.CLAIMED
    assert (await server.send("POST", "/Users", CREATE)).status == 409


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


async def test_a_create_beside_a_local_account_that_is_named_by_the_same_address_is_refused(server: Server) -> None:
    await stored(server, local(userName="ada@home.example", emails=work("ada@home.example")))
    answer = await server.send("POST", "/Users", CREATE | {"emails": work("ADA@home.example")})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "emails")


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


@pytest.mark.parametrize(
    "account",
    [replace(local(), protected=True), local(SignInEvidence(object_id=OTHER)), local(emails=work("other@contoso.com"))],
    ids=["protected", "another signed in", "with another e-mail"],
)
async def test_a_create_adopts_no_account_that_a_patch_would_not(server: Server, account: Account) -> None:
    directory, account_id = await stored(server, account, ADOPTING)
    answer = await server.send("POST", "/Users", CREATE | {"emails": work("ada@contoso.com")})
    assert answer.status == 409
    assert (await directory.accounts.get(account_id)).status is Status.LOCAL


async def test_a_retired_account_comes_back_to_the_same_identity_only(server: Server) -> None:
    _, account_id = await stored(server, linked(confirmed=NOW), ADOPTING)
    assert (await server.send("DELETE", f"/Users/{account_id}")).status == 204
    assert (await server.send("POST", "/Users", CREATE | {"externalId": OTHER})).status == 409
    answer = await server.send("POST", "/Users", CREATE)
    assert (answer.status, answer.body["id"], answer.body["active"]) == (201, account_id, True)
    assert (await server.send("GET", f"/Users/{account_id}")).status == 200
