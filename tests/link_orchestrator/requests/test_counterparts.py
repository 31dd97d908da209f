"""A review names an account that the plan did not weigh: it is linked if nothing speaks against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from link_orchestrator.passes import counterparts
from link_orchestrator.run import PILOTS, reviews_of
from link_orchestrator.staged import identity_bucket
from shared.directory.directory import Directories
from shared.directory.work.jobs import Job
from shared.directory.work.reviews import Review
from tests.link_orchestrator.passes.test_undo import undo
from tests.link_orchestrator.requests.test_reviews import open_as, provision, review, row_of
from tests.link_orchestrator.running import POLICY, App, csv_file, graph, object_id

ACCOUNTS = csv_file(
    {"userName": "ada@contoso.com"},
    {"userName": "bob.local", "employeeNumber": "2"},
    {"userName": "anna.old", "displayName": "Anna Berg", "applicationId": "U-17"},
    {"userName": "root.old", "protected": "yes"},
    {"userName": "cleo.old", "objectId": object_id(77)},
    {"userName": "carl@contoso.com", "nameId": "carl@contoso.com"},
    {"userName": "sue@contoso.com"},
    {"userName": "sue.old", "email": "sue@contoso.com"},
    {"userName": "out@x.org"},
    {"userName": "off.old", "active": "no"},
)
ADA, BOB, ANNA, SUE, OUT, CARL = IDENTITIES = (
    graph(1, "ada@contoso.com"),
    graph(2, "bob@contoso.com", employeeId="2"),
    graph(3, "anna.berg@contoso.com", displayName="Anna Berg"),
    graph(4, "sue@contoso.com"),
    graph(5, "out@x.org"),
    graph(6, "carl@contoso.com"),
)


@pytest.fixture
async def run(app: App) -> Any:
    """A planned run in which Carl is excluded."""
    await app.bring(ACCOUNTS)
    return await app.plan(*IDENTITIES, policy=POLICY | {"excluded": [object_id(6)]})


async def id_of(app: App, name: str) -> str:
    return str((await app.account(name))["id"])


async def link(app: App, run: Any, number: int, **named: str) -> str:
    """Link the row of an identity; return why not, "" if it was done."""
    answer = await review(app, run, "link", rows=[(await row_of(app, run, number))["id"]], **named)
    return answer["refused"][0]["reason"] if answer["refused"] else ""


async def of_account(app: App, run: Any, name: str) -> Any:
    (row,) = [one for one in await app.decisions(run, "noIdentity") if one["account"]["userName"] == name]
    return row


async def test_an_account_is_named_for_somebody_without_any_and_linked(app: App, run: Any) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    row = await row_of(app, run, 3)
    assert (row["decision"], row["review"]["userName"], row["predicted"]["outcome"]) == (
        "noAccount",
        "anna.old",
        "matched",
    )
    assert await open_as(app, run, 3) == "review", "provisioning creates nobody meanwhile"
    done = await app.apply(run, links=2)
    assert (done["counts"]["linked"], done["review"]) == (2, {"link": 1})
    anna = await app.account("anna.old")
    assert (anna["link"]["identity"], anna["link"]["rule"]) == (object_id(3), "review")
    assert (await provision(app, ANNA))[object_id(3)] == "matched"


async def test_what_provisioning_changes_of_a_named_account_is_foretold_and_counted(app: App, run: Any) -> None:
    def planned_links(impact: Any) -> tuple[int, int]:
        return impact.get("accounts", 0), impact.get("userName", 0)

    before = planned_links(run["impact"])
    assert await link(app, run, 3, account="anna.old") == ""
    row = await row_of(app, run, 3)
    assert row["review"]["changes"]["userName"] == {"from": "anna.old", "to": "anna.berg@contoso.com"}
    now = await app.call("GET", f"linking/runs/{run['id']}")
    assert planned_links(now["impact"]) == (before[0] + 1, before[1] + 1)
    listed = await app.call("GET", f"linking/runs/{run['id']}/decisions", changes="userName")
    assert row["id"] in [one["id"] for one in listed["decisions"]]
    await review(app, run, "leave", rows=[row["id"]])
    now = await app.call("GET", f"linking/runs/{run['id']}")
    assert planned_links(now["impact"]) == before
    await app.apply(run, links=1)


async def test_what_provisioning_cannot_find_it_changes_nothing_of(app: App) -> None:
    await app.bring(ACCOUNTS)
    run = await app.plan(ANNA | {"accountEnabled": False})
    assert await link(app, run, 3, account="anna.old") == ""
    assert "changes" not in (await row_of(app, run, 3))["review"]


async def test_an_identity_is_named_for_an_account_that_nobody_matches(app: App, run: Any) -> None:
    row = await of_account(app, run, "anna.old")
    answer = await review(app, run, "link", rows=[row["id"]], identity=object_id(3))
    assert (answer["reviewed"], answer["run"]["links"]) == (1, 2)
    assert (await row_of(app, run, 3))["review"]["account"] == row["account"]["id"]
    await app.apply(run, links=2)
    assert (await app.account("anna.old"))["link"]["identity"] == object_id(3)


async def test_an_account_is_named_by_the_applications_own_key(app: App, run: Any) -> None:
    assert await link(app, run, 3, account="U-17") == ""
    await app.apply(run, links=2)
    row = await row_of(app, run, 3)
    assert (row["review"]["userName"], row["review"]["applicationId"]) == ("anna.old", "U-17")
    assert (await app.account("anna.old"))["link"]["identity"] == object_id(3)


async def test_a_pair_that_nothing_but_a_person_joined_is_left_to_a_person_once_it_is_undone(
    app: App, run: Any
) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    await app.apply(run, links=2)
    await undo(app, run)
    assert (await provision(app, ANNA))[object_id(3)] == "refused", "before anybody has planned again"
    again = await app.plan(*IDENTITIES, policy=POLICY | {"excluded": [object_id(6)]})
    row = await row_of(app, again, 3)
    assert (row["decision"], row["account"]["userName"]) == ("review", "anna.old")
    assert "took the two apart" in row["reason"]
    assert (await provision(app, ANNA))[object_id(3)] == "refused"
    assert await link(app, again, 3) == ""
    await app.apply(again, links=1)
    assert (await app.account("anna.old"))["link"]["identity"] == object_id(3)


async def test_an_account_that_is_somebody_elses_by_now_keeps_nobody_from_being_created(app: App, run: Any) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    await app.apply(run, links=2)
    await undo(app, run)
    await app.call("POST", f"accounts/{await id_of(app, 'anna.old')}/link", {"identity": object_id(9)})
    again = await app.plan(*IDENTITIES, policy=POLICY | {"excluded": [object_id(6)]})
    assert (await row_of(app, again, 3))["decision"] == "noAccount"


@pytest.mark.parametrize("number", [2, 4, 5])
async def test_another_account_than_the_plans_is_named_for_what_it_leaves_open(app: App, run: Any, number: int) -> None:
    assert await link(app, run, number, account=await id_of(app, "anna.old")) == ""
    done = await app.apply(run, links=2)
    assert done["counts"]["linked"] == 2
    assert (await app.account("anna.old"))["link"]["identity"] == object_id(number)
    assert (await app.account("bob.local"))["link"] is None


async def test_a_name_that_is_the_key_of_another_account_names_neither(app: App) -> None:
    """Whoever may choose a userName in the application chose the key of a colleague's account."""
    await app.bring(
        csv_file({"userName": "u-17"}, {"userName": "anna.old", "applicationId": "U-17"}, {"userName": "u-18"})
    )
    run = await app.plan(ANNA)
    assert "the userName of one account and the applicationId of another" in await link(app, run, 3, account="U-17")
    assert "review" not in await row_of(app, run, 3)
    assert await link(app, run, 3, account=await id_of(app, "anna.old")) == ""


async def test_an_applications_key_may_look_like_the_id_of_an_account(app: App) -> None:
    key = "0b6c7d1e-5f3a-4c2b-9d8e-7f6a5b4c3d2e"
    await app.bring(csv_file({"userName": "anna.old", "applicationId": key}))
    run = await app.plan(ANNA)
    assert await link(app, run, 3, account=key) == ""
    assert (await row_of(app, run, 3))["review"]["userName"] == "anna.old"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("root.old", "protected"),
        ("cleo.old", "last signed in to by another identity"),
        ("carl@contoso.com", "an excluded identity's"),
        ("ada@contoso.com", "links the account by the row|matches the account, too"),
        ("bob.local", "matches the account, too"),
        ("sue.old", "matches the account, too"),
        ("nobody", "no account has that id, userName or applicationId"),
        ("00000000-0000-4000-8000-000000000000", "no account has that id"),
    ],
)
async def test_what_no_run_links_is_not_linked_by_its_name_either(app: App, run: Any, name: str, why: str) -> None:
    reason = await link(app, run, 3, account=name)
    assert any(one in reason for one in why.split("|")), reason
    assert "review" not in await row_of(app, run, 3)
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["links"] == 1


async def test_an_account_that_is_linked_is_nobody_elses(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    await app.apply(await app.plan(ADA))
    run = await app.plan(ADA, ANNA, full=True)
    assert "is linked already" in await link(app, run, 3, account="ada@contoso.com")


async def test_an_account_is_named_once(app: App, run: Any) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    assert await link(app, run, 3, account="anna.old") == "", "the same again is no error"
    assert "settle that one first" in await link(app, run, 2, account="anna.old")
    await review(app, run, "leave", rows=[(await row_of(app, run, 3))["id"]])
    assert await link(app, run, 2, account="anna.old") == ""


async def test_an_account_is_free_once_the_other_who_matches_it_is_settled(app: App, run: Any) -> None:
    bob = (await row_of(app, run, 2))["id"]
    await review(app, run, "exclude", rows=[bob])
    assert await link(app, run, 3, account="bob.local") == ""
    assert "settle that one first" in (await review(app, run, "link", rows=[bob]))["refused"][0]["reason"]
    await app.apply(run, links=2)
    assert (await app.account("bob.local"))["link"]["identity"] == object_id(3)


async def test_a_planned_link_that_is_left_again_gets_its_account_before_whoever_is_named_for_it(
    app: App, run: Any
) -> None:
    ada = (await row_of(app, run, 1))["id"]
    await review(app, run, "exclude", rows=[ada])
    assert await link(app, run, 3, account="ada@contoso.com") == ""
    answer = await review(app, run, "leave", rows=[ada])
    assert "leave that one first" in answer["refused"][0]["reason"]


async def test_who_is_named_is_judged_again_when_the_run_is_applied(app: App) -> None:
    """Two requests at once have stored what each of them alone allows: nobody takes over another's account."""
    names = [f"p{n}@contoso.com" for n in range(8)]
    await app.bring(csv_file(*({"userName": name} for name in names)))
    strangers = [graph(n, f"new{n}@contoso.com") for n in range(20, 28)]
    run = await app.plan(*(graph(n, name) for n, name in enumerate(names)), *strangers)
    directory = await Directories(app.tables).open("main")
    ids = [(await app.account(name))["id"] for name in names]
    # The row of the stranger is applied before that of the person whose account it is.
    account_id, number = next(
        (one, n)
        for one in ids
        for n in range(20, 28)
        if identity_bucket(directory.keys, object_id(n)) < directory.keys.bucket(one)
    )
    (account,) = await directory.accounts.find_many([account_id])
    assert account is not None
    reviews = reviews_of(directory, run["id"])
    await directory.jobs.change(run["id"], lambda job: replace(job, reviewed="now"))
    (row,) = await reviews.find_rows([(await row_of(app, run, number))["id"]])
    assert row is not None
    named = Review("link", "race", "now", account.id, version=account.etag, user_name=account.user_name)
    await reviews.record([(row, named)])
    done = await app.apply(run, links=9)
    assert (done["counts"]["linked"], done["counts"]["refused"]) == (8, 1)
    assert "matches the account, too" in (await row_of(app, run, number))["outcome"]


@pytest.mark.parametrize("change", [{"protected": "yes"}, {"title": "x"}])
async def test_an_account_that_changed_since_it_was_named_is_not_linked(
    app: App, run: Any, change: dict[str, str]
) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    await app.bring(csv_file({"userName": "anna.old", **change}))
    done = await app.apply(run, links=2)
    assert done["counts"]["refused"] == 1
    assert (await row_of(app, run, 3))["outcome"].startswith("refused: the account changed since the review")
    assert (await app.account("anna.old"))["link"] is None


async def test_who_is_excluded_after_the_review_is_not_linked(app: App, run: Any) -> None:
    assert await link(app, run, 3, account="anna.old") == ""
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [object_id(3)]})
    done = await app.apply(run, links=2)
    assert done["counts"]["refused"] == 1
    assert (await app.account("anna.old"))["link"] is None


async def test_a_plan_of_an_earlier_version_has_nobody_named(app: App, run: Any) -> None:
    """It kept in another form who else matches an account, so that Bob's could go to anybody."""
    directory = await Directories(app.tables).open("main")

    def made_earlier(job: Job) -> Job:
        return replace(job, options={name: value for name, value in job.options.items() if name != PILOTS})

    await directory.jobs.change(run["id"], made_earlier)
    assert "an earlier version of the app made this plan" in await link(app, run, 3, account="anna.old")
    assert await link(app, run, 2) == "", "what the plan itself shows is linked"


@pytest.mark.parametrize("left_out", [{"setAside": ["anna.*"]}, {"excluded": [{"type": "guest"}]}])
async def test_whom_the_policy_leaves_out_is_linked_by_no_name(app: App, left_out: dict[str, Any]) -> None:
    await app.bring(ACCOUNTS)
    people = ADA, ANNA | {"userType": "Guest"}
    run = await app.plan(*people)
    assert await link(app, run, 3, account="anna.old") == ""
    await app.call("PUT", "directory/policy", POLICY | left_out)
    assert (await app.apply(run, links=2))["counts"]["refused"] == 1
    run = await app.plan(*people, policy=POLICY | left_out, full=True)
    assert await link(app, run, 3, account="anna.old") != ""
    assert (await app.account("anna.old"))["link"] is None


@pytest.mark.parametrize("entry", [object_id(3), {"type": "guest"}])
async def test_whom_the_policy_excludes_since_the_plan_gets_no_account_by_a_review(app: App, entry: Any) -> None:
    await app.bring(ACCOUNTS)
    run = await app.plan(ADA, ANNA | {"userType": "Guest"})
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [entry]})
    assert "the policy excludes the identity" in await link(app, run, 3, account="anna.old")


async def test_a_named_account_that_is_deactivated_is_warned_of(app: App, run: Any) -> None:
    await link(app, run, 3, account="off.old")
    warnings = (await app.call("GET", f"linking/runs/{run['id']}"))["warnings"]
    assert [warning["count"] for warning in warnings if warning["code"] == "inactive"] == [1]


async def test_an_undo_takes_back_whom_a_review_named(app: App, run: Any) -> None:
    await link(app, run, 3, account="anna.old")
    done = await app.apply(run, links=2)
    undo = await app.call("POST", f"linking/runs/{done['id']}/undo")
    assert (await app.wait(f"linking/undos/{undo['id']}", "done"))["counts"]["undone"] == 2
    assert (await app.account("anna.old"))["link"] is None
    assert (await row_of(app, run, 3))["undone"].startswith("undone by undo")


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({}, "name the one whose it is by its object id"),
        ({"identity": "anna"}, "an object id of Entra is a GUID"),
        ({"identity": object_id(99)}, "no row about it"),
        ({"identity": object_id(1)}, "a row that is link can not be reviewed to link"),
        ({"identity": object_id(3), "account": "bob.local"}, "the row is about another account"),
    ],
)
async def test_an_account_goes_to_no_identity_that_the_plan_does_not_leave_open(
    app: App, run: Any, named: dict[str, str], why: str
) -> None:
    row = await of_account(app, run, "anna.old")
    answer = await review(app, run, "link", rows=[row["id"]], **named)
    assert why in answer["refused"][0]["reason"]


async def test_a_run_takes_a_review_over_only_if_what_it_names_is_judged_well_again(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES)
    await link(app, run, 3, account="anna.old")
    job = await directory.jobs.get(run["id"])
    (row,) = await reviews_of(directory, run["id"]).find_rows([(await row_of(app, run, 3))["id"]])
    assert row is not None
    assert await counterparts.objections(directory, job, [row]) == {}
    await app.bring(csv_file({"userName": "anna.old", "title": "x"}))
    against = await counterparts.objections(directory, job, [row])
    assert "changed since the review" in against[row.id]
