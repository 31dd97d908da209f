"""What provisioning made of a run's links, over HTTP: confirmed, waiting, taken back, and people created instead."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from link_orchestrator.passes.verify import _expected
from shared.directory.directory import Directories
from shared.directory.work.plan import PlanRow
from tests.link_orchestrator.passes.test_undo import identities, linked, person, scim_patch, undo
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, directory_rows, graph, object_id

NOTHING = {"confirmed": 0, "unconfirmed": 0, "unlinked": 0, "created": 0, "alike": 0}
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


async def verify(app: App, run: Any) -> Any:
    """Verify a run and return the verification once it has ended."""
    job = await app.call("POST", f"linking/runs/{run['id']}/verification")
    return await app.wait(f"linking/verifications/{job['id']}")


async def rows(app: App, job: Any, found: str, count: int = 1000) -> list[dict[str, Any]]:
    """Return what a verification found of one kind, page by page."""
    path, read, cursor = f"linking/verifications/{job['id']}/rows", list[dict[str, Any]](), ""
    while True:
        page = await app.call("GET", path, found=found, count=str(count), cursor=cursor)
        read += page["rows"]
        if "cursor" not in page:
            return read
        cursor = page["cursor"]


async def create(app: App, user_name: str, **attributes: Any) -> Any:
    """Let provisioning make an account, whatever it collides with."""
    policy = await app.call("GET", "directory/policy")
    await app.call("PUT", "directory/policy", policy | {"createBesideMatches": True})
    return await app.call("POST", "scim/v2/Users", {"schemas": [USER], "userName": user_name, **attributes})


async def test_links_are_told_by_whether_provisioning_came_through_them(app: App) -> None:
    run = await linked(app, "ada", "bob", "cleo", "dora")
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    await scim_patch(app, "bob", externalId=object_id(1), title="Director")
    cleo = (await app.account("cleo@contoso.com"))["id"]
    await app.call("POST", f"accounts/{cleo}/release")
    directory = await Directories(app.tables).open("main")
    before = await directory_rows(directory)
    job = await verify(app, run)
    assert await directory_rows(directory) == before, "looking changes nothing"
    assert (job["phase"], job["counts"]) == (
        "done",
        NOTHING | {"confirmed": 2, "unconfirmed": 1, "unlinked": 1},
    )
    (waiting,) = await rows(app, job, "unconfirmed")
    assert (waiting["account"]["userName"], waiting["identity"]["objectId"]) == ("dora@contoso.com", object_id(3))
    assert waiting["linked"] == (await app.account("dora@contoso.com"))["link"]["at"]
    confirmed = await rows(app, job, "confirmed", 1)
    assert {row["account"]["userName"] for row in confirmed} == {"ada@contoso.com", "bob@contoso.com"}
    assert all(row["confirmed"] for row in confirmed)
    assert {row["found"] for row in confirmed} == {"confirmed"}
    assert [row["account"]["id"] for row in await rows(app, job, "unlinked")] == [cleo]
    assert (await app.call("GET", f"linking/runs/{run['id']}/verification"))["id"] == job["id"]


async def test_a_link_is_told_by_the_name_that_provisioning_gave_its_account(app: App) -> None:
    run = await linked(app, "ada")
    account = await app.account("ada@contoso.com")
    change = {"Operations": [{"op": "replace", "path": "userName", "value": "ada.king@contoso.com"}]}
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(0)}"')
    await app.call("PATCH", f"scim/v2/Users/{account['id']}", {"schemas": [PATCH], **change})
    (row,) = await rows(app, await verify(app, run), "confirmed")
    assert row["account"]["userName"] == "ada.king@contoso.com"


async def test_each_link_is_told_with_why_the_plan_made_it_and_what_to_do_next(app: App) -> None:
    await app.bring(
        csv_file(
            person("ada"), {"userName": "lovelace", "employeeNumber": "7"}, {"userName": "countess"}, person("dora")
        )
    )
    run = await app.plan(
        *identities("ada"),
        graph(7, "number@contoso.com", employeeId="7"),
        graph(8, "named@contoso.com"),
        graph(9, "dora@contoso.com", accountEnabled=False),
    )
    reviewed = {row["identity"]["objectId"]: row["id"] for row in await app.decisions(run, "review")}
    (nobody,) = await app.decisions(run, "noAccount")
    countess = (await app.account("countess"))["id"]
    rows_of = [*reviewed.values()]
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": rows_of, "action": "link"})
    named = {"rows": [nobody["id"]], "action": "link", "account": countess}
    await app.call("POST", f"linking/runs/{run['id']}/review", named)
    run = await app.call("GET", f"linking/runs/{run['id']}")
    run = await app.apply(run, links=4, acknowledged=[one["code"] for one in run["warnings"]])
    job = await verify(app, run)
    told = {row["identity"]["objectId"]: row for row in await rows(app, job, "unconfirmed")}
    expected = Counter(row["predicted"]["outcome"] for row in told.values())
    assert job["predicted"] == expected
    assert expected["skipped"] == 1
    planned = {row["id"]: row for row in await app.decisions(run)}
    for row in told.values():
        assert (row["reason"], row.get("evidence")) == (
            planned[row["row"]]["reason"],
            planned[row["row"]].get("evidence"),
        )
    ada, number, by_hand, dora = (told[object_id(n)] for n in (0, 7, 8, 9))
    assert "by userName" in ada["reason"]
    assert "The account's userName is the identity's userPrincipalName" in ada["reason"]
    assert "provision this person on demand" in ada["remedy"]
    assert "review" not in ada
    assert number["review"]["action"] == "link"
    assert by_hand["review"]["account"] == countess
    assert "No account matches" in by_hand["reason"]
    assert "disabled in Entra" in dora["remedy"]
    assert "deactivate the account here, or release it" in dora["remedy"]
    await undo(app, run)
    taken = await rows(app, await verify(app, run), "unlinked")
    assert {row["undone"].partition(" ")[0] for row in taken} == {"undone"}
    assert all(row["reason"] and "make another plan" in row["remedy"] for row in taken)


async def test_a_link_that_somebody_pointed_elsewhere_is_the_runs_no_more(app: App) -> None:
    run = await linked(app, "ada", "bob")
    ada = (await app.account("ada@contoso.com"))["id"]
    await app.call("POST", f"accounts/{ada}/link", {"identity": object_id(9)})
    assert (await verify(app, run))["counts"] == NOTHING | {"unconfirmed": 1, "unlinked": 1}


class TestCreatedInstead:
    async def test_a_mapping_from_mail_nickname_made_a_second_account(self, app: App) -> None:
        """Linked by the object id of past sign-ins; nothing but the plan says that the two are one person."""
        await app.bring(csv_file({"userName": "lovelace", "objectId": object_id(1)}))
        run = await app.apply(await app.plan(graph(1, "ada@contoso.com", mailNickname="ada")), links=1)
        made = await create(app, "ada@contoso.com", externalId="ada")
        job = await verify(app, run)
        assert job["counts"] == NOTHING | {"unconfirmed": 1, "created": 1}
        (row,) = await rows(app, job, "created")
        assert row["account"] == {"id": made["id"], "userName": "ada@contoso.com"}
        lovelace = await app.account("lovelace")
        assert row["insteadOf"] == [lovelace["id"]]
        assert row["before"] == [{"id": lovelace["id"], "userName": "lovelace"}]
        assert row["identities"] == [object_id(1)]
        assert "the plan knew an account of the same identity (linked on approval)" in row["reason"]

    async def test_whom_the_plan_left_open_was_created(self, app: App) -> None:
        await app.bring(
            csv_file({"userName": "a1", "email": "x@contoso.com"}, {"userName": "a2", "email": "X@contoso.com"})
        )
        run = await app.apply(await app.plan(graph(1, "ada@contoso.com", proxyAddresses=["smtp:x@contoso.com"])))
        assert run["counts"]["ambiguous"] == 1
        await create(app, "ada@contoso.com")
        (row,) = await rows(app, await verify(app, run), "created")
        assert "(several accounts match)" in row["reason"]
        assert len(row["insteadOf"]) == 2

    async def test_one_that_shares_an_address_with_an_account_from_before(self, app: App) -> None:
        run = await linked(app, "ada", email="countess@contoso.com")
        made = await create(app, "ada.two@x.org", externalId="7", emails=[{"value": "Countess@contoso.com"}])
        (row,) = await rows(app, await verify(app, run), "created")
        assert (row["account"]["id"], "shares a key with it (email)" in row["reason"]) == (made["id"], True)
        assert "identities" not in row

    async def test_each_is_told_once_however_many_keys_say_so(self, app: App) -> None:
        run = await linked(app, "ada", "bob")
        emails = [{"value": f"{name}@contoso.com"} for name in ("ada", "bob")]
        await create(app, "second@x.org", externalId="ada", emails=emails)
        job = await verify(app, run)
        assert job["counts"]["created"] == len(await rows(app, job, "created")) == 1

    async def test_whom_the_plan_had_no_account_for_is_not(self, app: App) -> None:
        await app.bring(csv_file(person("ada")))
        await create(app, "before@contoso.com", emails=[{"value": "ada@contoso.com"}], externalId=object_id(9))
        run = await app.apply(await app.plan(*identities("ada", "new")))
        await create(app, "new@contoso.com", externalId=object_id(1))
        job = await verify(app, run)
        assert job["counts"]["created"] == 0, "nor one that was there before the run"


class TestCreatedAndMuchAlike:
    async def test_whom_the_plan_warned_of_is_told_with_both_sides_and_what_to_do(self, app: App) -> None:
        run, made = await created_alike(app)
        job = await verify(app, run)
        assert job["counts"] == NOTHING | {"unconfirmed": 1, "alike": 1}
        (row,) = await rows(app, job, "alike")
        amueller = await app.account("amueller")
        assert row["account"] == {"id": made["id"], "userName": "x4711@contoso.com"}
        assert row["alike"] == [{"id": amueller["id"], "userName": "amueller"}]
        assert row["identity"]["displayName"] == "Anna Müller"
        assert "one that is managed here is much alike" in row["reason"]
        order = ("stop provisioning", "release the new account", "delete it", "link the one from before", "restart")
        places = [row["remedy"].index(one) for one in order]
        assert places == sorted(places)

    async def test_what_the_remedy_says_can_be_done_in_its_order_and_ends_it(self, app: App) -> None:
        run, made = await created_alike(app)
        before = (await app.account("amueller"))["id"]
        person = {"identity": object_id(2)}
        assert (await status_of(app.call("POST", f"accounts/{before}/link", person)))[0] == 409
        await app.call("POST", f"accounts/{made['id']}/release")
        await app.call("DELETE", f"accounts/{made['id']}")
        await app.call("POST", f"accounts/{before}/link", person)
        assert (await verify(app, run))["counts"]["alike"] == 0

    async def test_who_is_less_alike_than_a_plan_warns_of_is_not(self, app: App) -> None:
        """Namesakes: of two people with one name none is likelier than the other."""
        await app.bring(csv_file(person("ada"), {"userName": "berg1", "displayName": "Bo Berg"}))
        bergs = [graph(number, f"bo{number}@contoso.com", displayName="Bo Berg") for number in (3, 4)]
        run = await app.apply(await app.plan(*identities("ada"), *bergs))
        await create(app, "bo3@contoso.com", externalId=object_id(3), displayName="Bo Berg")
        assert (await verify(app, run))["counts"] == NOTHING | {"unconfirmed": 1}

    async def test_the_next_plan_warns_of_them_and_so_do_the_ones_after_it(self, app: App) -> None:
        _, made = await created_alike(app)
        for _ in range(2):
            run = await app.plan(*ALIKE, full=True)
            (told,) = [one for one in run["warnings"] if one["code"] == "createdAlike"]
            assert told["count"] == 1
            assert told["examples"] == [{"identity": "x4711@contoso.com", "account": "amueller"}]
            assert "release the new account and delete it" in told["remedy"]
            asked = {"decision": "alreadyLinked", "score": "0.9"}
            (row,) = (await app.call("GET", f"linking/runs/{run['id']}/decisions", **asked))["decisions"]
            assert row["account"]["id"] == made["id"]
            assert [one["account"]["userName"] for one in row["suggestions"]] == ["amueller"]
            run = await app.apply(run)
        job = await verify(app, run)
        (row,) = await rows(app, job, "alike")
        assert row["account"]["id"] == made["id"], "though it was made before this run"

    async def test_who_was_made_before_the_run_is_not_created_instead_whatever_they_share(self, app: App) -> None:
        await created_alike(app)
        run = await app.apply(await app.plan(*ALIKE, full=True))
        shares = {"email": "x4711@contoso.com", "emailVerified": "yes"}
        await app.bring(csv_file({"userName": "amueller", "displayName": "Mueller, Anna", **shares}))
        assert (await verify(app, run))["counts"] == NOTHING | {"alike": 1}

    async def test_once_the_account_is_somebodys_no_plan_warns(self, app: App) -> None:
        await created_alike(app)
        before = (await app.account("amueller"))["id"]
        await app.call("POST", f"accounts/{before}/link", {"identity": object_id(77)})
        run = await app.plan(*ALIKE, graph(8, "new@contoso.com"))
        assert "createdAlike" not in [one["code"] for one in run.get("warnings", ())]

    async def test_whom_a_review_links_and_provisioning_makes_all_the_same_is_created_instead(self, app: App) -> None:
        await app.bring(csv_file(person("ada"), {"userName": "amueller", "displayName": "Mueller, Anna"}))
        run = await app.plan(*ALIKE)
        (nobody,) = await app.decisions(run, "noAccount")
        named = {"rows": [nobody["id"]], "action": "link", "account": "amueller"}
        await app.call("POST", f"linking/runs/{run['id']}/review", named)
        run = await app.apply(await app.call("GET", f"linking/runs/{run['id']}"), links=2)
        await create(app, "x4711@contoso.com", externalId="nick")
        job = await verify(app, run)
        assert (job["counts"]["created"], job["counts"]["alike"]) == (1, 0)


ALIKE = (
    graph(0, "ada@contoso.com"),
    graph(2, "x4711@contoso.com", displayName="Anna Müller"),
)
"""One who is linked, and one without a match, to whom an account is much alike."""


async def created_alike(app: App) -> tuple[Any, Any]:
    """Return a run that was approved, and the account that provisioning then made though another one is much alike."""
    await app.bring(csv_file(person("ada"), {"userName": "amueller", "displayName": "Mueller, Anna"}))
    run = await app.apply(await app.plan(*ALIKE))
    return run, await create(app, "x4711@contoso.com", externalId=object_id(2), displayName="Anna Müller")


class TestWhoMayAskWhen:
    async def test_a_run_that_was_not_approved_has_nothing_to_verify(self, app: App) -> None:
        await app.bring(csv_file(person("ada")))
        run = await app.plan(*identities("ada"))
        status, detail = await status_of(app.call("POST", f"linking/runs/{run['id']}/verification"))
        assert (status, "was not approved" in detail) == (409, True)
        assert (await status_of(app.call("GET", f"linking/runs/{run['id']}/verification")))[0] == 404
        assert (await status_of(app.call("POST", "linking/runs/none/verification")))[0] == 404

    async def test_it_stands_in_the_way_of_neither_run_nor_undo(self, app: App) -> None:
        run = await linked(app, "ada")
        await app.plan(*identities("ada"))
        assert (await verify(app, run))["phase"] == "done"

    @pytest.mark.parametrize("asked", [{"found": "luck"}, {"count": "0"}, {"cursor": "x"}])
    async def test_a_wrong_page_is_refused(self, app: App, asked: dict[str, str]) -> None:
        job = await verify(app, await linked(app, "ada"))
        status, detail = await status_of(app.call("GET", f"linking/verifications/{job['id']}/rows", **asked))
        assert (status, detail.startswith(next(iter(asked)))) == (400, True)

    async def test_after_an_undo_all_is_unlinked(self, app: App) -> None:
        run = await linked(app, "ada", "bob")
        await undo(app, run)
        assert (await verify(app, run))["counts"] == NOTHING | {"unlinked": 2}


def test_what_the_plan_expected_is_told_of_links_that_wait_alone() -> None:
    shown = {"account": {"id": "1a"}, "predicted": {"outcome": "skipped"}}
    rows = [PlanRow("link", subject, shown, id=subject) for subject in ("waits", "is confirmed")]
    reported = [PlanRow("unconfirmed", "1a", {"row": rows[0].id}), PlanRow("confirmed", "1b", {"row": rows[1].id})]
    assert [*_expected(rows, reported)] == ["predicted.skipped"]
