"""Login names with transforms, through the real door: what a plan says of them, and that a person approves."""

from __future__ import annotations

from typing import Any

from tests.link_orchestrator.running import App, csv_file, graph
from tests.waiting import until

BASE = [{"rule": "externalId", "trust": "strong"}, {"rule": "userName", "trust": "strong"}]
MERGED = {"replaceDomain": {"from": "contoso.com", "to": "fabrikam.com"}}
ANN = graph(1, "ann@contoso.com", mailNickname="ann.stone", onPremisesSamAccountName="astone", displayName="Ann Stone")


def policy(rule: str, *transforms: Any, trust: str = "weak") -> dict[str, Any]:
    entry = {"rule": rule, "trust": trust, "transforms": [*transforms]}
    return {"verifiedDomains": ["contoso.com", "fabrikam.com"], "rules": [*BASE, entry]}


async def planned(app: App, known: Any, *names: str, people: tuple[Any, ...] = (ANN,)) -> list[dict[str, Any]]:
    await app.bring(csv_file(*({"userName": name} for name in names)))
    run = await app.plan(*people, policy=known)
    return [row for row in await app.decisions(run) if "identity" in row]


async def told(app: App, run: Any) -> Any:
    """Return a run once it says why it waits, or has ended; None before that."""
    job = await app.call("GET", f"linking/runs/{run['id']}")
    return job if "reason" in job or "ended" in job else None


async def test_a_domain_replaced_by_another_finds_the_account_of_the_other_company(app: App) -> None:
    (row,) = await planned(app, policy("transformedName", MERGED), "ann@fabrikam.com")
    said = "userPrincipalName (@contoso.com replaced by @fabrikam.com)"
    assert (row["decision"], row["account"]["userName"], said in row["reason"]) == ("review", "ann@fabrikam.com", True)
    (evidence,) = row["evidence"]
    assert (evidence["rule"], evidence["trust"], evidence["attribute"]) == ("transformedName", "weak", said)
    assert evidence["accountAttribute"] == "userName"


async def test_the_names_of_the_domain_on_premises_are_read_from_files(app: App) -> None:
    known = policy("onPremisesSamAccountName", {"addPrefix": "CORP\\"}, trust="strong")
    (row,) = await planned(app, known, "CORP\\AStone")
    assert row["decision"] == "link"


async def test_a_number_that_transforms_make_the_accounts_contradicts_nothing(app: App) -> None:
    await app.bring(csv_file({"userName": "ann", "employeeNumber": "C123"}))
    known = policy("employeeNumber", {"addPrefix": "C"}, trust="strong")
    run = await app.plan(ANN | {"employeeId": "123"}, policy=known)
    assert [row["decision"] for row in await app.decisions(run)] == ["link"]


async def test_a_full_width_at_leads_to_no_account_without_a_name(app: App) -> None:
    (row,) = await planned(
        app,
        policy("transformedName", MERGED, trust="strong"),
        "@fabrikam.com",
        people=(graph(1, "ann\uff20contoso.com"),),
    )
    assert row["decision"] == "noAccount"


async def test_two_accounts_are_ambiguous_and_two_people_are_a_conflict(app: App) -> None:
    known = policy("transformedName", MERGED, trust="strong")
    twin = graph(2, "ann@fabrikam.com", displayName="Ann Stone")
    rows = await planned(app, known, "ann@fabrikam.com", people=(ANN, twin))
    assert {row["decision"] for row in rows} == {"conflict"}


async def test_a_value_that_many_come_to_is_told_of_and_proves_nothing(app: App) -> None:
    people = tuple(graph(n, f"p{n}@contoso.com", mailNickname="info") for n in range(1, 6))
    rows = await planned(app, policy("mailNickname", trust="strong"), "info", people=people)
    assert {row["decision"] for row in rows} == {"noAccount"}


async def test_a_run_with_a_link_by_a_login_name_waits_for_a_person(app: App) -> None:
    known = policy("mailNickname", trust="strong") | {"autoApprove": {"share": 1, "number": 10}}
    answer = await app.call("PUT", "directory/policy", known)
    assert [one["code"] for one in answer["warnings"]] == ["loginNames"]
    await app.bring(csv_file({"userName": "ann.stone"}))
    run = await app.call("POST", "linking/runs", {"identities": await app.upload(ANN)})

    waiting = await until(lambda: told(app, run))
    assert (waiting["phase"], "nobody verified" in waiting["reason"]) == ("planned", True)
    assert (await app.apply(waiting))["counts"]["linked"] == 1
    assert (await app.account("ann.stone"))["link"]["rule"] == "mailNickname"


async def test_a_run_with_a_link_by_what_transforms_made_of_a_number_waits_for_a_person(app: App) -> None:
    """Number 0712 of one company need not be number 712 of the other."""
    known = policy("employeeNumber", "stripLeadingZeros", trust="strong")
    await app.call("PUT", "directory/policy", known | {"autoApprove": {"share": 1, "number": 10}})
    await app.bring(csv_file({"userName": "ann", "employeeNumber": "712"}, {"userName": "bob", "employeeNumber": "8"}))
    people = ANN | {"employeeId": "00712"}, graph(2, "bob@contoso.com", employeeId="8")
    run = await app.call("POST", "linking/runs", {"identities": await app.upload(*people)})
    waiting = await until(lambda: told(app, run))
    why = "1 link by what nobody verified or transforms made, which a person approves"
    assert (waiting["phase"], waiting["reason"]) == ("planned", f"It waits for a person: {why}.")


async def test_a_run_with_these_rules_decides_on_what_changed_as_a_full_one_does(app: App) -> None:
    await app.call("PUT", "directory/policy", policy("transformedName", MERGED))
    await app.bring(csv_file({"userName": "ann@fabrikam.com"}, {"userName": "bob"}, {"userName": "eve"}))
    bob = graph(2, "bob@contoso.com")
    await app.apply(await app.plan(ANN, bob))
    await app.bring(csv_file({"userName": "bob@fabrikam.com"}))
    later = await app.plan(ANN, bob)
    assert "since" in later["options"]
    found = {row["identity"]["objectId"]: row["decision"] for row in await app.decisions(later) if "identity" in row}
    assert found[bob["id"]] == "review"
