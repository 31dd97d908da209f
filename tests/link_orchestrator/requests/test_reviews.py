"""Reviewing rows of a plan: what an administrator may decide, what nobody may, and that an approval has counted it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from infra.local.entra import Cycle
from link_orchestrator.files.identities import read_identities
from link_orchestrator.run import refuse_unreviewable, reviews_of
from shared.directory.directory import Directories
from shared.directory.errors import Busy
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import Plan
from shared.directory.work.reviews import Review, Reviews
from shared.tables.port import Unavailable, VersionConflict
from tests.link_orchestrator.running import TOKEN, App, Refusal, csv_file, graph, left_open, object_id

# Strong: ada. Weak, by employee number: bob, bill. Two accounts match: sue. Nobody's: eve.
ACCOUNTS = csv_file(
    {"userName": "ada@contoso.com", "email": "ada@contoso.com"},
    {"userName": "bob.local", "employeeNumber": "2"},
    {"userName": "bill.local", "employeeNumber": "3"},
    {"userName": "sue@contoso.com"},
    {"userName": "sue.old", "email": "sue@contoso.com"},
    {"userName": "eve.local"},
)
IDENTITIES = (
    graph(1, "ada@contoso.com"),
    graph(2, "bob@contoso.com", employeeId="2"),
    graph(3, "bill@fabrikam.com", employeeId="3"),
    graph(4, "sue@contoso.com"),
)


@pytest.fixture
async def run(app: App) -> Any:
    """A planned run: 1 link, 2 reviews, 1 ambiguous."""
    await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES)
    assert run["counts"] == {"link": 1, "review": 2, "ambiguous": 1, "noIdentity": 1}
    assert run["links"] == 1
    return run


async def review(app: App, run: Any, action: str, **asked: Any) -> Any:
    return await app.call("POST", f"linking/runs/{run['id']}/review", {"action": action, **asked})


async def row_of(app: App, run: Any, number: int) -> dict[str, Any]:
    """Return the plan's row about an identity."""
    (row,) = [one for one in await app.decisions(run) if one.get("identity", {}).get("objectId") == object_id(number)]
    return row


async def provision(app: App, *identities: dict[str, Any]) -> dict[str, str]:
    """Return what a provisioning cycle does about identities, by object id."""
    text = json.dumps({"value": list(identities)}).encode()
    people = [one for one in read_identities(text) if isinstance(one, Identity)]
    report = await Cycle(app.host.url, TOKEN).run(people)
    return {outcome.identity: outcome.result for outcome in report.outcomes}


async def test_what_is_reviewed_is_recorded_counted_and_linked_with_the_run(app: App, run: Any) -> None:
    row = await row_of(app, run, 2)
    answer = await review(app, run, "link", rows=[row["id"]])
    assert (answer["reviewed"], answer["refused"]) == (1, [])
    assert (answer["run"]["review"], answer["run"]["links"]) == ({"link": 1}, 2)
    row = await row_of(app, run, 2)
    assert (row["decision"], row["review"]["action"], row["review"]["by"]) == ("review", "link", "local")
    assert row["review"]["at"] > run["planned"]
    assert row["predicted"]["outcome"] == "matched"
    with pytest.raises(Refusal, match="would link 2 accounts"):
        await app.approve(run, links=1)
    done = await app.apply(run, links=2)
    assert (done["counts"]["linked"], done["predicted"]) == (2, {"matched": 2, "refused": 2})
    assert (await row_of(app, run, 2))["outcome"] == "linked"
    bob = await app.account("bob.local")
    assert (bob["status"], bob["link"]["identity"], bob["link"]["rule"]) == ("claimed", object_id(2), "review")
    assert bob["link"]["by"] == f"run:{run['id']}"
    assert (await app.account("bill.local"))["link"] is None, "what nobody reviewed stays as it is"


async def test_provisioning_goes_through_for_whom_a_review_linked_and_for_nobody_else(app: App, run: Any) -> None:
    await review(app, run, "link", rows=[(await row_of(app, run, 2))["id"]])
    await app.apply(run, links=2)
    assert await provision(app, *IDENTITIES) == {
        object_id(1): "matched",
        object_id(2): "matched",
        object_id(3): "refused",
        object_id(4): "refused",
    }


async def test_an_ambiguous_row_is_linked_to_the_candidate_that_is_named(app: App, run: Any) -> None:
    row = await row_of(app, run, 4)
    old = (await app.account("sue.old"))["id"]
    assert {one["userName"] for one in row["candidates"]} == {"sue@contoso.com", "sue.old"}
    for account, why in ((None, "name the one"), ("eve", "no account has that id")):
        asked = {"account": account} if account else {}
        assert why in (await review(app, run, "link", rows=[row["id"]], **asked))["refused"][0]["reason"]
    answer = await review(app, run, "link", rows=[row["id"]], account=old)
    assert answer["reviewed"] == 1
    await app.apply(run, links=2)
    assert (await app.account("sue.old"))["link"]["identity"] == object_id(4)
    assert (await app.account("sue@contoso.com"))["link"] is None


@pytest.mark.parametrize("asked", [{"domain": "rikam.com"}, {"domain": "brikam.com"}, {"rule": "email"}])
async def test_a_filter_selects_nobody_by_part_of_a_domain_or_by_another_rule(
    app: App, run: Any, asked: dict[str, str]
) -> None:
    answer = await review(app, run, "link", filter={"decision": "review", **asked})
    assert (answer["reviewed"], answer["run"]["links"]) == (0, 1)


async def test_a_filter_reviews_many_and_only_those_it_selects(app: App, run: Any) -> None:
    asked = {"decision": "review", "rule": "employeeNumber", "domain": "Fabrikam.com"}
    assert (await review(app, run, "link", filter=asked))["reviewed"] == 1
    assert "review" in await row_of(app, run, 3)
    assert "review" not in await row_of(app, run, 2)
    answer = await review(app, run, "link", filter={"decision": "review"})
    assert (answer["reviewed"], answer["run"]["review"]) == (2, {"link": 2}), "a row counts once, however often"
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3


async def test_many_rows_are_reviewed_a_page_at_a_time(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("link_orchestrator.requests.reviews.ROWS_AT_ONCE", 60)
    numbers = range(1, 131)
    await app.bring(csv_file(*({"userName": f"p{n}.local", "employeeNumber": f"{n}"} for n in numbers)))
    run = await app.plan(*(graph(n, f"p{n}@contoso.com", employeeId=f"{n}") for n in numbers))
    pages, cursor = [], ""
    while cursor is not None:
        answer = await review(app, run, "link", filter={"decision": "review"}, cursor=cursor)
        pages.append(answer["reviewed"])
        cursor = answer.get("cursor")
    assert (sum(pages), max(pages)) == (130, 60)
    assert (await app.apply(run, links=130))["counts"]["linked"] == 130


async def test_a_later_review_takes_the_place_of_the_earlier_one(app: App, run: Any) -> None:
    ids = [(await row_of(app, run, 2))["id"]]
    before = (await row_of(app, run, 2))["predicted"]
    await review(app, run, "link", rows=ids)
    await review(app, run, "exclude", rows=ids)
    answer = await review(app, run, "leave", rows=ids)
    assert (answer["run"]["links"], answer["run"]["review"]) == (1, {"leave": 1})
    assert (await row_of(app, run, 2))["predicted"] == before
    assert answer["run"]["predicted"] == run["predicted"]
    done = await app.apply(run, links=1)
    assert (done["phase"], done["counts"]["linked"]) == ("done", 1)
    assert (await app.account("bob.local"))["link"] is None
    assert (await provision(app, IDENTITIES[1]))[object_id(2)] == "refused", "it is open, as it was"


async def test_who_is_excluded_is_not_linked_and_if_asked_for_never_again(app: App, run: Any) -> None:
    answer = await review(app, run, "exclude", rows=[(await row_of(app, run, 1))["id"]], inPolicy=True)
    assert (answer["run"]["links"], answer["run"]["predicted"]["refused"]) == (0, 4)
    done = await app.apply(run, links=0)
    assert "linked" not in done["counts"]
    assert (await app.account("ada@contoso.com"))["link"] is None
    assert (await provision(app, IDENTITIES[0]))[object_id(1)] == "refused"
    assert object_id(1) in (await app.call("GET", "directory/policy"))["excluded"]
    assert (await row_of(app, await app.plan(*IDENTITIES), 1))["decision"] == "excluded"


async def test_who_is_excluded_from_one_run_alone_is_not_linked_by_it(app: App, run: Any) -> None:
    await review(app, run, "exclude", rows=[(await row_of(app, run, 1))["id"]])
    assert "linked" not in (await app.apply(run, links=0))["counts"]
    assert (await app.account("ada@contoso.com"))["link"] is None
    assert (await app.call("GET", "directory/policy"))["excluded"] == []


async def test_a_planned_link_that_was_excluded_and_left_again_is_linked_by_its_rule(app: App, run: Any) -> None:
    ids = [(await row_of(app, run, 1))["id"]]
    await review(app, run, "exclude", rows=ids)
    answer = await review(app, run, "leave", rows=ids)
    assert answer["run"]["links"] == 1
    assert (await app.apply(run, links=1))["counts"]["linked"] == 1
    assert (await app.account("ada@contoso.com"))["link"]["rule"] == "userName"
    assert (await provision(app, IDENTITIES[0]))[object_id(1)] == "matched"


async def test_a_row_whose_account_changed_is_refused_when_reviewed_and_when_applied(app: App, run: Any) -> None:
    bob, bill = await row_of(app, run, 2), await row_of(app, run, 3)
    await review(app, run, "link", rows=[bob["id"]])
    await app.bring(csv_file({"userName": "bob.local", "title": "a"}, {"userName": "bill.local", "title": "b"}))
    answer = await review(app, run, "link", rows=[bill["id"]])
    assert answer["refused"] == [
        {"id": bill["id"], "reason": "the account changed since the plan; a new run decides again"}
    ]
    done = await app.apply(run, links=2)
    assert (done["counts"]["linked"], done["counts"]["refused"]) == (1, 1)
    assert (await row_of(app, run, 2))["outcome"].startswith("refused: the account changed")
    assert (await app.account("bob.local"))["link"] is None
    assert (await provision(app, IDENTITIES[1]))[object_id(2)] == "refused", "it stays open"
    assert await open_as(app, run, 2) == "review"


async def test_nobody_links_what_is_protected_linked_elsewhere_or_not_weak(app: App) -> None:
    await app.bring(
        csv_file(
            {"userName": "root@contoso.com", "email": "a@contoso.com", "protected": "yes"},
            {"userName": "a.local", "email": "a@contoso.com"},
            {"userName": "b.local", "email": "a@contoso.com", "objectId": object_id(77)},
            {"userName": "mail.local", "email": "shared@contoso.com"},
            {"userName": "out@x.org"},
        )
    )
    run = await app.plan(
        graph(1, "root@contoso.com", otherMails=["a@contoso.com"]),
        graph(2, "u@contoso.com", mail="shared@contoso.com"),
        graph(3, "v@contoso.com", mail="shared@contoso.com"),
        graph(4, "out@x.org"),
        graph(5, "new@contoso.com"),
    )
    ambiguous = await row_of(app, run, 1)
    for name, why in (("root@contoso.com", "protected"), ("b.local", "last signed in to by another identity")):
        account = (await app.account(name))["id"]
        answer = await review(app, run, "link", rows=[ambiguous["id"]], account=account)
        assert why in answer["refused"][0]["reason"]
    for number, decision, why in (
        (2, "conflict", "can not be reviewed"),
        (5, "noAccount", "name the one that is"),
    ):
        row = await row_of(app, run, number)
        assert row["decision"] == decision
        reason = (await review(app, run, "link", rows=[row["id"]]))["refused"][0]["reason"]
        assert f"a row that is {decision}" in reason
        assert why in reason
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["links"] == 0


async def test_a_row_outside_the_verified_domains_is_linked_alone_and_by_its_id(app: App) -> None:
    await app.bring(csv_file({"userName": "out@x.org"}, {"userName": "far@x.org"}))
    run = await app.plan(graph(1, "out@x.org"), graph(2, "far@x.org"))
    assert run["counts"] == {"outsideVerifiedDomains": 2, "noIdentity": 0}
    ids = [(await row_of(app, run, number))["id"] for number in (1, 2)]
    for asked in ({"rows": ids}, {"filter": {"decision": "outsideVerifiedDomains"}}):
        answer = await review(app, run, "link", **asked)
        assert (answer["reviewed"], len(answer["refused"])) == (0, 2)
        assert "is linked alone" in answer["refused"][0]["reason"]
    assert (await review(app, run, "link", rows=ids[:1]))["run"]["links"] == 1
    await app.apply(run, links=1)
    assert (await app.account("out@x.org"))["link"]["rule"] == "review"
    assert (await app.account("far@x.org"))["link"] is None


async def test_of_two_who_have_one_account_outside_the_verified_domains_one_gets_it(app: App) -> None:
    """So does nobody whose account the plan links to somebody else."""
    await app.bring(
        csv_file(
            {"userName": "one.local", "email": "home@x.org", "employeeNumber": ""},
            {"userName": "two@contoso.com", "email": "two@x.org", "employeeNumber": ""},
            {"userName": "three.local", "email": "three@x.org", "employeeNumber": "7"},
        )
    )
    run = await app.plan(
        graph(1, "a@contoso.com", otherMails=["home@x.org"]),
        graph(2, "b@contoso.com", otherMails=["home@x.org"]),
        graph(3, "two@contoso.com"),
        graph(4, "c@contoso.com", otherMails=["two@x.org"]),
        graph(5, "d@contoso.com", employeeId="7"),
        graph(6, "e@contoso.com", otherMails=["three@x.org"]),
    )
    assert run["counts"] == {"outsideVerifiedDomains": 4, "link": 1, "review": 1, "noIdentity": 0}
    rows = {number: (await row_of(app, run, number))["id"] for number in range(1, 7)}
    got = []
    for number in (1, 2, 4, 5, 6):
        answer = await review(app, run, "link", rows=[rows[number]])
        got.append((number, answer["reviewed"]))
    assert got == [(1, 1), (2, 0), (4, 0), (5, 1), (6, 0)]
    await review(app, run, "exclude", rows=[rows[5]])
    assert (await review(app, run, "link", rows=[rows[6]]))["reviewed"] == 1
    refused = (await review(app, run, "link", rows=[rows[5]]))["refused"]
    assert "settle that one first" in refused[0]["reason"]
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3


@pytest.mark.parametrize(("create", "in_policy"), [(False, True), (True, True), (True, False)])
async def test_who_is_excluded_is_created_beside_their_account_only_where_the_review_says_so(
    app: App, run: Any, create: bool, in_policy: bool
) -> None:
    row = await row_of(app, run, 2)
    answer = await review(app, run, "exclude", rows=[row["id"]], create=create, inPolicy=in_policy)
    predicted = (await row_of(app, run, 2))["predicted"]["outcome"]
    await app.apply(run, links=1)
    got = (await provision(app, IDENTITIES[1]))[object_id(2)]
    assert (predicted, got) == (("created",) * 2 if create else ("refused",) * 2)
    if not in_policy:
        return
    entry: Any = {"identity": object_id(2), "create": True} if create else object_id(2)
    assert (await app.call("GET", "directory/policy"))["excluded"] == [entry]
    assert answer["reviewed"] == 1
    again = await row_of(app, await app.plan(*IDENTITIES), 2)
    assert (again["decision"], again["predicted"]["outcome"]) == ("excluded", "matched" if create else "refused")


async def test_links_of_deactivated_accounts_are_warned_of_listed_and_excluded_by_a_filter(app: App) -> None:
    await app.bring(
        csv_file({"userName": "on@contoso.com", "active": "yes"}, {"userName": "off@contoso.com", "active": "no"})
    )
    run = await app.plan(graph(1, "on@contoso.com"), graph(2, "off@contoso.com"))
    (warning,) = run["warnings"]
    assert (warning["code"], warning["count"]) == ("inactive", 1)
    page = await app.call("GET", f"linking/runs/{run['id']}/decisions", warning="inactive")
    (row,) = page["decisions"]
    assert (row["account"]["userName"], row["warnings"]) == ("off@contoso.com", ["inactive"])
    assert "provisioning switches it on" in row["reason"]
    with pytest.raises(Refusal, match=r"warning: Input should be .inactive"):
        await app.call("GET", f"linking/runs/{run['id']}/decisions", warning="cold")
    answer = await review(app, run, "exclude", filter={"decision": "link", "warning": "inactive"})
    assert (answer["reviewed"], answer["run"]["links"]) == (1, 1)
    assert "warnings" not in answer["run"], "nobody who is deactivated is linked any more"
    answer = await review(app, run, "leave", rows=[row["id"]])
    assert answer["run"]["warnings"] == run["warnings"]


def codes(run: Any) -> dict[str, int]:
    """Return what a run warns of, by code with its number."""
    return {warned["code"]: warned["count"] for warned in run.get("warnings", ())}


async def test_whom_provisioning_leaves_out_it_is_not_said_to_switch_on(app: App) -> None:
    await app.bring(csv_file({"userName": "left@contoso.com", "active": "no"}))
    run = await app.plan(graph(1, "left@contoso.com", accountEnabled=False))
    row = await row_of(app, run, 1)
    assert (row["decision"], row["predicted"]["outcome"], row["warnings"]) == ("review", "skipped", ["disabled"])
    assert "switches it on" not in row["reason"]
    assert "deactivated here, and stays so: provisioning leaves the person out." in row["reason"]
    answer = await review(app, run, "link", rows=[row["id"]])
    assert "inactive" not in codes(answer["run"])


async def test_what_a_review_may_link_tells_of_deactivated_accounts_and_counts_once_it_is_linked(app: App) -> None:
    off = {"active": "no"}
    await app.bring(
        csv_file(
            {"userName": "weak", "employeeNumber": "17", **off},
            {"userName": "eva@partner.example", **off},
            {"userName": "two-a", "employeeNumber": "18", **off},
            {"userName": "two-b", "employeeNumber": "18", "active": "yes"},
        )
    )
    people = graph(1, "ada@contoso.com", employeeId="17"), graph(2, "eva@partner.example")
    run = await app.plan(*people, graph(3, "two@contoso.com", employeeId="18"))
    rows = {row["identity"]["objectId"]: row for row in await app.decisions(run) if "identity" in row}
    weak, outside, several = (rows[object_id(number)] for number in (1, 2, 3))
    for row in (weak, outside):
        assert row["warnings"] == ["inactive"]
        assert "once it is linked, provisioning switches it on." in row["reason"]
    assert {one["userName"]: one.get("warnings") for one in several["candidates"]} == {
        "two-a": ["inactive"],
        "two-b": None,
    }
    assert "inactive" not in codes(run), "nothing is to be linked yet"
    inactive = next(one["id"] for one in several["candidates"] if one["userName"] == "two-a")
    await review(app, run, "link", rows=[weak["id"]])
    answer = await review(app, run, "link", rows=[outside["id"]])
    assert codes(answer["run"])["inactive"] == 2
    answer = await review(app, run, "link", rows=[several["id"]], account=inactive)
    assert codes(answer["run"])["inactive"] == 3
    answer = await review(app, run, "exclude", filter={"decision": "review", "warning": "inactive"})
    assert codes(answer["run"])["inactive"] == 2


async def test_a_plan_warns_where_none_of_the_object_ids_that_accounts_carry_is_in_the_source(app: App) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com", "externalId": object_id(77)}))
    people = graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com")
    run = await app.plan(*people)
    assert run["counts"]["conflict"] == 1
    (warning,) = run["warnings"]
    assert (warning["code"], warning["count"], "foreignObjectIds" in warning["remedy"]) == ("foreignObjectIds", 1, True)
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    run = await app.plan(*people, policy={"verifiedDomains": ["contoso.com"], "foreignObjectIds": True})
    assert ("warnings" in run, run["counts"]["link"]) == (False, 1)


async def test_an_approval_is_of_the_reviews_that_were_looked_at(app: App, run: Any) -> None:
    """A colleague gives one reviewed row another account: the run counts as many links and reviews as before."""
    ambiguous = await row_of(app, run, 4)
    one, other = [(await app.account(name))["id"] for name in ("sue@contoso.com", "sue.old")]
    assert (await review(app, run, "link", rows=[ambiguous["id"]], account=one))["run"]["reviews"] == 1
    looked_at = await app.call("GET", f"linking/runs/{run['id']}")
    meanwhile = (await review(app, run, "link", rows=[ambiguous["id"]], account=other))["run"]
    assert (meanwhile["links"], meanwhile["review"]) == (looked_at["links"], looked_at["review"])
    for part in ({}, {"number": 1}, {"rows": [ambiguous["id"]]}):
        with pytest.raises(Refusal, match=r'since you looked.*\{"reviews": 2\}') as refusal:
            await app.approve(looked_at, reviews=looked_at["reviews"], **part)
        assert refusal.value.status == 409
    await app.apply(meanwhile, reviews=meanwhile["reviews"])
    assert (await app.account("sue.old"))["link"]["identity"] == object_id(4)
    assert (await app.account("sue@contoso.com"))["link"] is None


async def test_a_review_that_died_before_it_was_counted_is_shown_once_an_approval_found_it(app: App, run: Any) -> None:
    row = await row_of(app, run, 1)
    directory = await Directories(app.tables).open("main")
    await directory.jobs.change(run["id"], lambda job: replace(job, reviewed=directory.jobs.now()))
    reviews = reviews_of(directory, run["id"])
    (stored,) = await reviews.find_rows([row["id"]])
    assert stored is not None
    await reviews.record([(stored, Review("exclude", "ada", directory.jobs.now()))])
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["reviews"] == 0
    with pytest.raises(Refusal, match="since you looked"):
        await app.approve(run, reviews=0)
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["reviews"] == 1


async def test_an_account_never_gets_two_links(app: App) -> None:
    """Two ambiguous people share a candidate, which is a third person's by name."""
    await app.bring(
        csv_file(
            {"userName": "one.local", "email": "one@contoso.com"},
            {"userName": "two.local", "email": "two@contoso.com"},
            {"userName": "third@contoso.com", "otherEmails": "t@contoso.com"},
            {"userName": "free.local", "otherEmails": "x@contoso.com"},
        )
    )
    run = await app.plan(
        graph(1, "a@contoso.com", mail="one@contoso.com", otherMails=["x@contoso.com", "t@contoso.com"]),
        graph(2, "b@contoso.com", mail="two@contoso.com", otherMails=["x@contoso.com", "t@contoso.com"]),
        graph(3, "third@contoso.com"),
    )
    assert (run["counts"]["ambiguous"], run["counts"]["link"]) == (2, 1)
    rows = [(await row_of(app, run, number))["id"] for number in (1, 2)]
    third, free = [(await app.account(name))["id"] for name in ("third@contoso.com", "free.local")]
    for row in rows:
        assert (
            "links the account by the row"
            in (await review(app, run, "link", rows=[row], account=third))["refused"][0]["reason"]
        )
    assert (await review(app, run, "link", rows=rows[:1], account=free))["reviewed"] == 1
    assert (await review(app, run, "link", rows=rows[:1], account=free))["reviewed"] == 1, "the same again is no error"
    assert "links the account" in (await review(app, run, "link", rows=rows[1:], account=free))["refused"][0]["reason"]
    # Whatever two requests at once have stored: applying links an account once.
    directory = await Directories(app.tables).open("main")

    async def planned() -> None: ...

    reviews = Reviews(app.tables, directory.keys, run["id"], planned)
    (second,) = await reviews.find_rows(rows[1:])
    assert second is not None
    await reviews.record([(second, Review("link", "race", "now", free))])
    done = await app.apply(run, links=3)
    assert (done["counts"]["linked"], done["counts"]["refused"]) == (2, 1)


async def test_after_approval_no_row_is_reviewed(app: App, run: Any) -> None:
    row = (await row_of(app, run, 2))["id"]
    await app.apply(run)
    with pytest.raises(Refusal, match="only the rows of a planned run") as refusal:
        await review(app, run, "link", rows=[row])
    assert refusal.value.status == 409


def test_a_run_that_is_being_cancelled_is_not_called_planned() -> None:
    job = Job("run1", "run", State.PLANNED, "now", "test", cancelled_by="test")
    with pytest.raises(Busy, match="the run is being cancelled, only the rows of a planned run"):
        refuse_unreviewable(job)
    with pytest.raises(Busy, match="the run is cancelled, only"):
        refuse_unreviewable(replace(job, state=State.CANCELLED))


async def test_a_review_that_races_the_approval_is_counted_or_refused(app: App, run: Any) -> None:
    """The review has looked at the job and not written yet when the approval comes: it must not slip behind it."""
    directory = await Directories(app.tables).open("main")
    row = await row_of(app, run, 2)
    jobs = directory.jobs

    async def still_planned() -> None:
        job = await jobs.get(run["id"])
        if job.state is not State.PLANNED:
            raise Busy("too late")
        await jobs.replace(job, job)

    reviews = Reviews(app.tables, directory.keys, run["id"], still_planned)
    (stored,) = await reviews.find_rows([row["id"]])
    assert stored is not None
    await jobs.change(run["id"], lambda job: job if job.reviewed else _reviewed(job))
    assert (await app.approve(run, links=1))["phase"] == "approved"
    with pytest.raises(Busy):
        await reviews.record([(stored, Review("link", "late", "now", stored.shown["account"]["id"]))])
    done = await app.wait(f"linking/runs/{run['id']}", "done")
    assert done["counts"]["linked"] == 1


async def test_a_review_behind_an_approvals_count_makes_the_approval_fail(app: App, run: Any) -> None:
    directory = await Directories(app.tables).open("main")
    await directory.jobs.change(run["id"], lambda job: replace(job, reviewed="now"))
    reviews = reviews_of(directory, run["id"])
    job = await directory.jobs.get(run["id"])
    assert (await reviews.close())["review.links"] == 0
    (row,) = await reviews.find_rows([(await row_of(app, run, 2))["id"]])
    assert row is not None
    await reviews.record([(row, Review("link", "somebody", "now", row.shown["account"]["id"]))])
    with pytest.raises(VersionConflict):
        await directory.jobs.replace(job, replace(job, state=State.APPROVED))


async def test_a_cancelled_run_is_neither_reviewed_nor_approved(app: App, run: Any) -> None:
    """Its orchestration has not heard of it yet: the job is still planned."""
    directory = await Directories(app.tables).open("main")
    await directory.jobs.change(run["id"], lambda job: replace(job, cancelled_by="somebody"))
    row = await row_of(app, run, 2)
    for call in (review(app, run, "link", rows=[row["id"]]), app.approve(run, links=1)):
        with pytest.raises(Refusal, match="only") as refusal:
            await call
        assert refusal.value.status == 409
    assert (await directory.jobs.get(run["id"])).state is State.PLANNED


def _reviewed(job: Any) -> Any:
    return replace(job, reviewed="now")


async def test_an_approval_that_a_review_overtakes_looks_again(app: App, run: Any) -> None:
    """Closed tallies of an approval that was refused, or died, hold up no review, and the next approval counts it."""
    await review(app, run, "leave", rows=[(await row_of(app, run, 3))["id"]])
    with pytest.raises(Refusal, match="would link 1 account;"):
        await app.approve(run, links=9)
    assert (await review(app, run, "link", rows=[(await row_of(app, run, 2))["id"]]))["run"]["links"] == 2
    answers = await asyncio.gather(
        app.approve(run, links=2),
        review(app, run, "link", rows=[(await row_of(app, run, 3))["id"]]),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Refusal) for answer in answers) == 1, "one of the two comes too late"
    job = await app.call("GET", f"linking/runs/{run['id']}")
    if job["phase"] == "planned":
        await app.approve(job)
    done = await app.wait(f"linking/runs/{run['id']}", "done")
    assert done["counts"]["linked"] == done["links"]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, "name rows"),
        ({"rows": []}, "rows"),
        ({"rows": ["00"]}, "rows.0"),
        ({"rows": ["~"], "filter": {"decision": "review"}}, "name rows"),
        ({"filter": {"decision": "weak"}}, "filter.decision"),
        ({"filter": {"decision": "review", "colour": "red"}}, "filter.colour"),
        ({"filter": {"decision": "review"}, "account": "a"}, "account"),
        ({"filter": {"decision": "review"}, "cursor": "zz"}, "cursor"),
        ({"filter": {"decision": "review"}, "inPolicy": True}, "inPolicy"),
        ({"rows": ["00review_" + "0" * 32]}, "rows.0"),
    ],
)
async def test_a_wrong_request_is_refused_by_name(app: App, run: Any, asked: dict[str, Any], names: str) -> None:
    with pytest.raises(Refusal, match=names) as refusal:
        await review(app, run, "link", **asked)
    assert refusal.value.status == 400


async def test_a_link_by_review_frees_the_identity_for_provisioning_only_once_it_is_made(app: App, run: Any) -> None:
    directory = await Directories(app.tables).open("main")
    plan = Plan(app.tables, directory.keys, run["id"])
    await review(app, run, "link", rows=[(await row_of(app, run, 2))["id"]])
    assert await left_open(app.tables, plan, object_id(2)) == "review"
    assert (await provision(app, IDENTITIES[1]))[object_id(2)] == "refused"
    await app.apply(run, links=2)
    assert await left_open(app.tables, plan, object_id(2)) is None
    assert await directory.accounts.list_by(Key("externalId", object_id(2)))


@pytest.mark.parametrize("first", [1, 2])
async def test_of_two_reviews_that_want_one_account_the_second_is_refused(app: App, first: int) -> None:
    """The one is strong but disabled, so that it waits for a person; the other's alias leads there, too."""
    await app.bring(
        csv_file(
            {"userName": "jo@contoso.com", "email": "jo@contoso.com"},
            {"userName": "other.local", "email": "other@contoso.com"},
        )
    )
    run = await app.plan(
        graph(1, "jo@contoso.com", accountEnabled=False),
        graph(2, "new@contoso.com", otherMails=["jo@contoso.com", "other@contoso.com"]),
    )
    assert (run["counts"]["review"], run["counts"]["ambiguous"]) == (1, 1)
    account = (await app.account("jo@contoso.com"))["id"]
    ids = {number: (await row_of(app, run, number))["id"] for number in (1, 2)}
    assert (await review(app, run, "link", rows=[ids[first]], account=account))["reviewed"] == 1
    answer = await review(app, run, "link", rows=[ids[3 - first]], account=account)
    assert (answer["reviewed"], answer["run"]["links"]) == (0, 1)
    assert ids[first] in answer["refused"][0]["reason"]
    assert (await app.apply(run, links=1))["counts"]["linked"] == 1
    assert (await app.account("jo@contoso.com"))["link"]["identity"] == object_id(first)


async def open_as(app: App, run: Any, number: int) -> str | None:
    directory = await Directories(app.tables).open("main")
    return await left_open(app.tables, Plan(app.tables, directory.keys, run["id"]), object_id(number))


@pytest.mark.parametrize(
    ("actions", "mark"),
    [
        (("exclude",), "excluded"),
        (("exclude", "link"), "review"),
        (("link", "exclude"), "excluded"),
        (("exclude", "leave"), "review"),
    ],
)
async def test_provisioning_goes_by_the_last_review(app: App, run: Any, actions: tuple[str, ...], mark: str) -> None:
    row = await row_of(app, run, 2)
    for action in actions:
        assert (await review(app, run, action, rows=[row["id"]]))["reviewed"] == 1
    assert await open_as(app, run, 2) == mark


async def test_a_planned_link_that_is_excluded_and_left_again_is_free(app: App, run: Any) -> None:
    row = await row_of(app, run, 1)
    await review(app, run, "exclude", rows=[row["id"]])
    assert await open_as(app, run, 1) == "excluded"
    await review(app, run, "leave", rows=[row["id"]])
    assert await open_as(app, run, 1) is None


async def test_who_is_excluded_is_never_linked_where_the_review_was_cut_off(
    app: App, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await row_of(app, run, 1)
    mark = Plan.leave_open

    async def lost(self: Plan, decisions: Any) -> None:
        if "excluded" in decisions.values():
            raise Unavailable("refused on purpose")
        await mark(self, decisions)

    monkeypatch.setattr(Plan, "leave_open", lost)
    with pytest.raises(Refusal, match="again"):
        await review(app, run, "exclude", rows=[row["id"]])
    monkeypatch.undo()
    assert (await row_of(app, run, 1))["review"]["action"] == "exclude"
    assert await open_as(app, run, 1) == "review", "until SCIM is told, it neither links nor creates them"
    assert (await provision(app, IDENTITIES[0]))[object_id(1)] == "refused"


async def test_a_row_that_is_left_again_does_not_take_an_account_from_another(app: App) -> None:
    await app.bring(
        csv_file(
            {"userName": "sue@contoso.com", "email": "sue@contoso.com", "otherEmails": "s@contoso.com"},
            {"userName": "sue.old", "email": "su@contoso.com", "otherEmails": ""},
        )
    )
    # Sue is one account's by name; Su matches both, one by an alias.
    su = graph(2, "su@contoso.com", mail="su@contoso.com", otherMails=["s@contoso.com"])
    run = await app.plan(graph(1, "sue@contoso.com"), su)
    one, two = await row_of(app, run, 1), await row_of(app, run, 2)
    assert (one["decision"], two["decision"]) == ("link", "ambiguous")
    await review(app, run, "exclude", rows=[one["id"]])
    await review(app, run, "link", rows=[two["id"]], account=one["account"]["id"])
    answer = await review(app, run, "leave", rows=[one["id"]])
    assert (answer["reviewed"], answer["run"]["links"]) == (0, 1)
    assert "leave that one first" in answer["refused"][0]["reason"]


async def test_a_policy_that_is_full_of_exclusions_says_so(app: App, run: Any) -> None:
    many = [f"9{number:07}-0000-4000-8000-000000000000" for number in range(7_691)]
    policy = {"verifiedDomains": ["contoso.com"], "excluded": many}
    full = {**policy, "excluded": [*many, "ann@contoso.com", "bea@contoso.com", "cleo@contoso.com"]}
    with pytest.raises(Refusal, match=r"excluded, setAside: the two lists together have at most 300,000") as refusal:
        await app.call("PUT", "directory/policy", full)
    assert refusal.value.status == 400
    await app.call("PUT", "directory/policy", policy)
    await review(app, run, "exclude", rows=[(await row_of(app, run, 2))["id"]], inPolicy=True)
    other = (await row_of(app, run, 3))["id"]
    with pytest.raises(Refusal, match="inPolicy: excluded"):
        await review(app, run, "exclude", rows=[other], inPolicy=True)
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}")
    assert (await app.plan(*IDENTITIES, policy=policy))["phase"] == "planned"


async def test_no_prediction_asks_to_link_whom_an_administrator_excluded(app: App) -> None:
    policy = {"verifiedDomains": ["contoso.com"], "excluded": [object_id(1)]}
    await app.call("PUT", "directory/policy", policy)
    await app.bring(csv_file(*({"userName": f"{name}@contoso.com"} for name in ("ada", "bob"))))
    run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"))
    bob = await row_of(app, run, 2)
    await review(app, run, "exclude", rows=[bob["id"]], create=True)
    for number in (1, 2):
        predicted = (await row_of(app, run, number))["predicted"]
        assert predicted["outcome"] == "refused"
        assert predicted["why"].endswith("the person is excluded from linking.")
