"""What a plan warns of, with examples and the remedy, and that a person acknowledges it once while it is unchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from link_orchestrator import warnings
from shared.directory.directory import Directories
from shared.directory.work.refusals import Attempt
from shared.json_text import dump
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id
from tests.waiting import until

POLICY = {"verifiedDomains": ["contoso.com"]}


def warned(run: Any, code: str) -> dict[str, Any]:
    """Return what a run says under a code; {} for nothing."""
    return next((one for one in run.get("warnings", ()) if one["code"] == code), {})


async def approve(app: App, run: Any, *codes: Any) -> Any:
    """Approve a run and acknowledge these warnings alone."""
    return await app.approve(run, acknowledged=list(codes))


async def again(app: App, *people: Any, **asked: Any) -> Any:
    """Cancel the plan that waits, and return a new one of everybody."""
    waiting = [run for run in (await app.call("GET", "linking/runs"))["runs"] if "ended" not in run]
    for run in waiting:
        await app.call("POST", f"linking/runs/{run['id']}/cancel")
        await app.wait(f"linking/runs/{run['id']}", "cancelled")
    return await app.plan(*people, full=True, **asked)


class TestAcknowledging:
    async def test_an_approval_without_it_is_refused_and_lists_what_is_to_be_acknowledged(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada", "email": "ada@contoso.com", "emailVerified": "yes"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        with pytest.raises(Refusal) as refused:
            await approve(app, run)
        assert refused.value.status == 409
        assert '{"acknowledged": ["userNameChanges"]}' in refused.value.detail
        assert "1 sign-in name will change" in refused.value.detail
        assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "planned"
        await approve(app, run, "userNameChanges")
        done = await app.wait(f"linking/runs/{run['id']}", "done")
        assert (done["counts"]["linked"], warned(done, "userNameChanges")["acknowledgedBy"]) == (1, "local")

    async def test_a_sign_in_name_that_changes_in_case_alone_is_nothing_to_acknowledge(self, app: App) -> None:
        await app.bring(csv_file({"userName": "Ada@Contoso.COM"}, {"userName": "bob", "email": "bob@contoso.com"}))
        run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"))
        assert (run["impact"]["userName"], "userNameChanges" in {one["code"] for one in run["warnings"]}) == (1, False)
        [row] = await app.decisions(run, "link")
        assert row["changes"]["userName"] == {"from": "Ada@Contoso.COM", "to": "ada@contoso.com"}
        (left,) = await app.decisions(run, "review")
        both = await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [left["id"]], "action": "link"})
        told = warned(both["run"], "userNameChanges")
        assert (told["count"], told["values"], both["run"]["impact"]["userName"]) == (1, {"inCaseAlone": 1}, 2)
        assert told["warning"].endswith("cycle; 1 more in capital and small letters alone, by which no sign-in changes")
        gone = await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "exclude"})
        told = warned(gone["run"], "userNameChanges")
        assert (told["count"], "values" in told) == (1, False)
        await approve(app, gone["run"], "trustEmails", "userNameChanges")

    async def test_the_codes_of_other_warnings_are_not_enough(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada", "email": "ada@contoso.com", "emailVerified": "yes"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        with pytest.raises(Refusal, match="userNameChanges"):
            await approve(app, run, "inactive", "disabled")

    async def test_a_warning_that_says_something_else_than_what_was_seen_is_refused(self, app: App) -> None:
        off = {"active": "no"}
        await app.bring(csv_file({"userName": "ada@contoso.com", **off}, {"userName": "bob@contoso.com", **off}))
        run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"))
        seen = warned(run, "inactive")
        row = (await app.decisions(run, "link"))[0]
        answer = await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "exclude"})
        assert warned(answer["run"], "inactive")["count"] == 1
        with pytest.raises(Refusal, match="not the same any more"):
            await approve(app, answer["run"], {"code": "inactive", "digest": seen["digest"]})
        now = warned(answer["run"], "inactive")["digest"]
        assert (await approve(app, answer["run"], {"code": "inactive", "digest": now}))["phase"] == "approved"

    async def test_what_is_unchanged_is_not_asked_again_and_what_changed_is(self, app: App) -> None:
        eva, fay = {"userName": "eva@partner.example"}, {"userName": "fay@partner.example"}
        await app.bring(csv_file({"userName": "ada@contoso.com"}, eva))
        people = graph(1, "ada@contoso.com"), graph(2, "eva@partner.example"), graph(3, "fay@partner.example")
        run = await app.plan(*people)
        assert [one["code"] for one in run["warnings"]] == ["outsideVerifiedDomains"]
        await approve(app, run, "outsideVerifiedDomains")
        await app.wait(f"linking/runs/{run['id']}", "done")
        run = await app.plan(*people, full=True)
        told = warned(run, "outsideVerifiedDomains")
        assert (told["acknowledged"], told["acknowledgedBy"]) == (True, "local")
        assert (await approve(app, run))["phase"] == "approved"
        await app.wait(f"linking/runs/{run['id']}", "done")
        await app.bring(csv_file(fay))
        run = await app.plan(*people, full=True)
        told = warned(run, "outsideVerifiedDomains")
        assert (told["count"], told["acknowledged"]) == (2, False)
        with pytest.raises(Refusal, match="outsideVerifiedDomains"):
            await approve(app, run)

    async def test_what_was_acknowledged_in_a_plan_that_linked_nobody_is_asked_again(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "eva@partner.example"}))
        people = graph(1, "ada@contoso.com"), graph(2, "eva@partner.example")
        run = await app.plan(*people)
        (row,) = await app.decisions(run, "link")
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "exclude"})
        await approve(app, await app.call("GET", f"linking/runs/{run['id']}"), "outsideVerifiedDomains")
        await app.wait(f"linking/runs/{run['id']}", "done")
        run = await app.plan(*people, full=True)
        assert warned(run, "outsideVerifiedDomains")["acknowledged"] is False
        with pytest.raises(Refusal, match="outsideVerifiedDomains"):
            await approve(app, run)

    async def test_what_was_acknowledged_before_the_undo_of_a_run_is_asked_again(self, app: App) -> None:
        """Also by a run that came between, whose approver took the word of the one before."""
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "eva@partner.example"}))
        ada, eva, bob = graph(1, "ada@contoso.com"), graph(2, "eva@partner.example"), graph(3, "bob@contoso.com")
        run = await app.plan(ada, eva)
        await approve(app, run, "outsideVerifiedDomains")
        await app.wait(f"linking/runs/{run['id']}", "done")
        await app.bring(csv_file({"userName": "bob@contoso.com"}))
        run = await app.plan(ada, eva, bob, full=True)
        await approve(app, run)
        await app.wait(f"linking/runs/{run['id']}", "done")
        await app.bring(csv_file({"userName": "kim@contoso.com"}))
        waiting = await app.plan(ada, eva, bob, graph(4, "kim@contoso.com"), full=True)
        assert warned(waiting, "outsideVerifiedDomains")["acknowledged"] is True
        undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
        await app.wait(f"linking/undos/{undo['id']}", "done")
        with pytest.raises(Refusal, match="outsideVerifiedDomains"):
            await approve(app, waiting)
        run = await again(app, ada, eva, bob)
        assert warned(run, "outsideVerifiedDomains")["acknowledged"] is False
        await approve(app, run, *(one["code"] for one in run["warnings"]))

    async def test_the_same_number_of_other_people_is_another_warning(self, app: App) -> None:
        await app.bring(csv_file(*({"userName": f"{name}@partner.example"} for name in ("eva", "fay"))))
        await app.bring(csv_file({"userName": "ada@contoso.com"}))
        run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "eva@partner.example"))
        await approve(app, run, "outsideVerifiedDomains")
        await app.wait(f"linking/runs/{run['id']}", "done")
        run = await app.plan(graph(3, "fay@partner.example"), full=True)
        told = warned(run, "outsideVerifiedDomains")
        assert (told["count"], told["acknowledged"]) == (1, False)

    async def test_a_run_that_would_approve_itself_waits_where_a_warning_is_new(self, app: App) -> None:
        limits = {"autoApprove": {"share": 1, "number": 9}}
        await app.call("PUT", "directory/policy", POLICY | limits)
        await app.bring(csv_file({"userName": "ada", "email": "ada@contoso.com", "emailVerified": "yes"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        run = await app.wait(f"linking/runs/{run['id']}", "planned")
        while "reason" not in run and "ended" not in run:
            run = await app.call("GET", f"linking/runs/{run['id']}")
        assert run.get("reason") == "It waits for a person: warnings that nobody has acknowledged: userNameChanges."
        assert (await app.account("ada"))["link"] is None

    async def test_a_plan_of_an_earlier_version_is_approved_as_it_stands(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com", "active": "no"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        directory = await Directories(app.tables).open("main")
        await directory.jobs.change(run["id"], lambda job: replace(job, warned=None))
        old = await app.call("GET", f"linking/runs/{run['id']}")
        assert [(one["code"], one.get("digest")) for one in old["warnings"]] == [("inactive", None)]
        assert (await approve(app, old))["phase"] == "approved"

    async def test_what_names_people_goes_with_the_rows_of_the_plan(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com", "active": "no"}))
        run = await app.plan(graph(1, "ada@contoso.com"))
        directory = await Directories(app.tables).open("main")
        job = await directory.jobs.get(run["id"])
        assert "ada@contoso.com" in dump(job.warned)
        assert "ada@contoso.com" not in dump(warnings.without_people(job.warned))
        assert await directory.findings.total(run["id"])
        await app.call("POST", f"linking/runs/{run['id']}/cancel")
        await app.wait(f"linking/runs/{run['id']}", "cancelled")

        async def cleared() -> bool:
            return not await directory.findings.total(run["id"])

        await until(cleared)

    async def test_what_a_slice_finds_behind_the_end_of_its_run_goes_at_night(self, app: App) -> None:
        """A slice fails the run while another is under way, which then writes what it found."""
        directory = await Directories(app.tables).open("main")
        await app.bring(csv_file({"userName": "ada@contoso.com", "active": "no"}))
        ended = await app.plan(graph(1, "ada@contoso.com"))
        found = await directory.findings.total(ended["id"])
        await app.call("POST", f"linking/runs/{ended['id']}/cancel")
        await app.wait(f"linking/runs/{ended['id']}", "cancelled")
        waiting = await app.plan(graph(1, "ada@contoso.com"), full=True)
        await directory.findings.write(ended["id"], "late", found)
        assert await directory.findings.runs() >= {ended["id"], waiting["id"]}
        await app.host.run_timer("jobs_remove")
        assert await directory.findings.runs() == {waiting["id"]}


class TestWhatItSays:
    async def test_without_domains_it_says_which_would_free_how_many_rows(self, app: App) -> None:
        rows = [{"userName": f"p{n}@fabrikam.com"} for n in range(4)] + [{"userName": "q@contoso.com"}]
        await app.bring(csv_file(*rows))
        people = [graph(n, row["userName"]) for n, row in enumerate(rows)]
        run = await app.plan(*people, policy={"verifiedDomains": []})
        told = warned(run, "noVerifiedDomains")
        assert told["values"] == {"fabrikam.com": 4, "contoso.com": 1}
        assert "fabrikam.com (4 rows), contoso.com (1 row)" in told["warning"]
        assert len(told["examples"]) == 3
        run = await again(app, *people, policy=POLICY)
        told = warned(run, "outsideVerifiedDomains")
        assert (told["count"], told["values"]) == (4, {"fabrikam.com": 4})
        run = await again(app, *people, policy={"verifiedDomains": ["contoso.com", "fabrikam.com"]})
        assert (run["links"], run.get("warnings")) == (5, None)

    async def test_it_says_how_many_reviews_trusted_addresses_would_free(self, app: App) -> None:
        await app.bring(
            csv_file(
                {"userName": "ada", "email": "ada@contoso.com"},
                {"userName": "bob", "email": "bob@contoso.com"},
                {"userName": "cyd", "email": "alias@contoso.com"},
                {"userName": "dan", "email": "dan@contoso.com"},
                {"userName": "fay", "email": "fay@contoso.com", "displayName": "Gus Grey"},
            )
        )
        people = (
            graph(1, "ada@contoso.com"),
            graph(2, "bob@contoso.com", accountEnabled=False),
            graph(3, "cyd@contoso.com", proxyAddresses=["smtp:alias@contoso.com"]),
            graph(4, "dan@contoso.com"),
            graph(5, "eve@contoso.com", otherMails=["dan@contoso.com"]),
            graph(6, "fay@contoso.com", displayName="Fay Fisher"),
        )
        run = await app.plan(*people)
        told = warned(run, "trustEmails")
        assert (told["count"], told["examples"]) == (1, [{"identity": "ada@contoso.com", "account": "ada"}])
        run = await again(app, *people, policy=POLICY | {"trustEmails": "inVerifiedDomains"})
        assert (run["links"], warned(run, "trustEmails")) == (1, {})

    async def test_what_persons_decided_since_is_said_of_a_number_of_the_plan_and_they_are_no_examples(
        self, app: App
    ) -> None:
        names = ("ada", "bob", "cyd", "dan", "eve")
        outside = {"userName": "fay.local", "email": "fay@elsewhere.example", "emailVerified": "yes"}
        await app.bring(csv_file(*({"userName": one, "email": f"{one}@contoso.com"} for one in names), outside))
        people = [graph(n, f"{one}@contoso.com") for n, one in enumerate(names, 1)]
        run = await app.plan(*people, graph(9, "fay@contoso.com", mail="fay@elsewhere.example"))
        told = warned(run, "trustEmails")
        assert (told["count"], len(told["examples"]), "since" in told) == (5, 3, False)
        rows = {row["identity"]["userPrincipalName"]: row["id"] for row in await app.decisions(run, "review")}
        first, second, third = (one["identity"] for one in told["examples"])
        for name, action in ((first, "link"), (second, "exclude"), (third, "exclude"), (third, "leave")):
            await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [rows[name]], "action": action})
        run = await app.call("GET", f"linking/runs/{run['id']}")
        told = warned(run, "trustEmails")
        assert told["since"] == {"decided": 2, "rows": 5}
        assert [one["identity"] for one in told["examples"]] == [third], "whoever is settled is no example"
        assert "since" not in warned(run, "outsideVerifiedDomains")
        async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
            page = await answer.text()
        assert "since then a person has decided about 2 of the 5 rows" in page

    async def test_whoever_was_linked_is_no_example_of_those_who_are_alike(self, app: App) -> None:
        await app.bring(csv_file({"userName": "amueller", "displayName": "Anna Mueller"}, {"userName": "z"}))
        run = await app.plan(graph(1, "x4711@contoso.com", displayName="Anna Mueller"), graph(2, "new@contoso.com"))
        assert warned(run, "probableAccounts")["examples"] == [{"identity": "x4711@contoso.com", "account": "amueller"}]
        row = next(row for row in await app.decisions(run, "noAccount") if row.get("suggestions"))
        body = {"rows": [row["id"]], "action": "link", "account": "amueller"}
        await app.call("POST", f"linking/runs/{run['id']}/review", body)
        run = await app.call("GET", f"linking/runs/{run['id']}")
        assert (warned(run, "probableAccounts"), run["decided"]["noAccount"]) == ({}, 1)

    async def test_rows_that_were_not_read_are_told_with_their_lines(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "b", "active": "?"}))
        run = await app.plan(graph(1, "ada@contoso.com"), {"id": "1.2E+05", "userPrincipalName": "bad@contoso.com"})
        told = warned(run, "unreadRows")
        assert (told["count"], told["values"]) == (2, {"identities": 1, "accounts": 1})
        assert told["examples"][0]["file"] == "identities"
        assert all(one["reason"] for one in told["examples"])

    async def test_rows_of_every_import_are_told_until_somebody_takes_them_or_the_import_is_taken_back(
        self, app: App
    ) -> None:
        lost = [{"userName": name, "email": f"{name}@contoso.com", "active": "?"} for name in ("bob", "cyd")]
        first = await app.bring(csv_file({"userName": "ada@contoso.com"}, *lost), file="hr.csv")
        second = await app.bring(csv_file({"userName": "dan"}, {"userName": "eve", "active": "?"}), file="it.csv")
        await app.bring(csv_file({"userName": "fay"}))
        told = {"accounts in it.csv": 1, "accounts in hr.csv": 2}
        run = await app.plan(graph(1, "ada@contoso.com"))
        warning = warned(run, "unreadRows")
        assert (warning["count"], warning["values"]) == (3, told)
        assert "1 row of the accounts in it.csv and 2 rows of the accounts in hr.csv" in warning["warning"]
        assert [one["import"] for one in warning["files"]] == [second["id"], first["id"]]
        assert (await app.call("GET", "linking/unread"))["rows"] == 3
        await app.bring(csv_file({"userName": "bob"}), file="b.csv")
        run = await again(app, graph(1, "ada@contoso.com"))
        assert warned(run, "unreadRows")["values"] == {"accounts in it.csv": 1, "accounts in hr.csv": 1}
        undo = await app.call("POST", f"accounts/imports/{second['id']}/undo")
        await app.wait(f"accounts/undos/{undo['id']}", "done")
        run = await again(app, graph(1, "ada@contoso.com"))
        assert warned(run, "unreadRows")["values"] == {"accounts in hr.csv": 1}

    async def test_rows_that_lack_nobody_are_neither_counted_nor_given_as_examples(self, app: App) -> None:
        ada = {"userName": "ada@contoso.com", "title": "Old"}
        await app.bring(csv_file(ada | {"protected": "yes"}))
        rows = (ada | {"title": "New"}, {"userName": "bob"}, {"userName": "bob"}, {"userName": "", "title": "Boss"})
        job = await app.bring(csv_file(*rows), file="hr.csv")
        assert (job["counts"]["refused"], job["counts"]["repeated"], job["leftAlone"]) == (2, 1, {"protected": 1})
        upload = csv_file(*({"id": one, "userPrincipalName": "ada@contoso.com"} for one in (object_id(1),) * 2))
        upload += csv_file({"id": "no", "userPrincipalName": "no"}).partition(b"\n")[2]
        identities = await app.call("POST", "linking/identities", upload, "text/csv")
        assert identities["counts"] == {"read": 2, "problems": 1, "repeated": 1}
        run = await app.call("POST", "linking/runs", {"identities": identities["id"]})
        warning = warned(await app.wait(f"linking/runs/{run['id']}", "planned"), "unreadRows")
        assert warning["values"] == {"identities": 1, "accounts in hr.csv": 1}
        assert "1 row of the identities and 1 row of the accounts in hr.csv not taken so far" in warning["warning"]
        assert [(one["file"], one["line"]) for one in warning["examples"]] == [
            ("identities", 4),
            ("accounts in hr.csv", 5),
        ]

    async def test_a_row_without_a_name_is_told_until_a_file_of_the_same_name_comes(self, app: App) -> None:
        rows = {"userName": "ada@contoso.com"}, {"userName": "", "displayName": "Bob"}
        await app.bring(csv_file(*rows), file="hr.csv")
        await app.bring(csv_file({"userName": "cyd"}), file="it.csv")
        assert (await app.call("GET", "linking/unread"))["rows"] == 1
        await app.bring(csv_file({"userName": "ada@contoso.com"}), file="hr.csv")
        assert (await app.call("GET", "linking/unread")) == {"rows": 0, "files": []}

    async def test_a_row_whose_account_is_left_as_it_is_is_no_row_that_was_not_read(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada", "protected": "yes"}))
        job = await app.bring(csv_file({"userName": "ada", "displayName": "Ada"}))
        assert job["counts"]["refused"] == 1
        assert (await app.call("GET", "linking/unread"))["rows"] == 0

    async def test_rows_of_an_import_of_what_was_previewed_are_told_and_taken_the_same_way(self, app: App) -> None:
        file = csv_file({"userName": "ada"}, {"userName": "bob", "active": "?"})
        preview = await app.call("POST", "accounts/import", file, "text/csv", preview="true")
        await app.wait(f"accounts/previews/{preview['id']}", "done")
        job = await app.call("POST", f"accounts/previews/{preview['id']}/import")
        await app.wait(f"accounts/imports/{job['id']}", "done")
        assert [one["import"] for one in (await app.call("GET", "linking/unread"))["files"]] == [job["id"]]
        await app.bring(csv_file({"userName": "bob"}))
        assert (await app.call("GET", "linking/unread"))["rows"] == 0

    async def test_what_an_undo_of_an_import_refuses_is_no_row_that_was_not_read(self, app: App) -> None:
        job = await app.bring(csv_file({"userName": "ada@contoso.com"}))
        ada = await app.account("ada@contoso.com")
        await app.call("PATCH", f"accounts/{ada['id']}", {"protected": True})
        undo = await app.call("POST", f"accounts/imports/{job['id']}/undo")
        assert (await app.wait(f"accounts/undos/{undo['id']}", "done"))["counts"] == {"refused": 1}
        run = await app.plan(graph(1, "ada@contoso.com"))
        assert "unreadRows" not in [one["code"] for one in run.get("warnings", ())]

    async def test_fillers_and_shared_values_are_told(self, app: App) -> None:
        team = {"otherEmails": "team@contoso.com"}
        rows = [{"userName": f"p{n}@contoso.com", "employeeNumber": "n/a", **team} for n in range(5)]
        await app.bring(csv_file(*rows))
        run = await app.plan(*(graph(n, f"p{n}@contoso.com", employeeId="0") for n in range(4)))
        assert warned(run, "fillers")["values"] == {"n/a": 5, "0": 4}
        assert warned(run, "fillers")["warning"] == "9 placeholders in the place of employee numbers: n/a (5), 0 (4)"
        run = await again(app, graph(1, "p1@contoso.com", otherMails=["team@contoso.com"]))
        assert warned(run, "sharedValues")["examples"][0]["value"] == "team@contoso.com"

    @pytest.mark.parametrize(
        ("here", "there", "said", "transform"),
        [
            (
                ("123", "45", "11111"),
                ("00123", "00045", "11111"),
                "2 employee numbers of accounts",
                "stripLeadingZeros",
            ),
            (("000123", "000045"), ("123", "45"), "2 employee numbers of identities", '{"padZeros": 6}'),
        ],
    )
    async def test_numbers_without_the_zeros_of_the_other_side_are_told(
        self, app: App, here: Sequence[str], there: Sequence[str], said: str, transform: str
    ) -> None:
        await app.bring(csv_file(*({"userName": f"p{one}", "employeeNumber": one} for one in here)))
        people = [graph(n, f"q{n}@contoso.com", employeeId=one) for n, one in enumerate(there)]
        told = warned(await app.plan(*people), "shortenedNumbers")
        assert told["warning"].startswith(said)
        assert transform in told["remedy"]
        assert {one["value"] for one in told["examples"]} == {"123", "45"}

    @pytest.mark.parametrize(
        ("here", "there"),
        [
            (("123", "45"), ("124", "45678")),
            (("00123", "00045"), ("00123", "00678")),
            (("123", "45"), ("00123", "17", "18")),
            (("123",), ()),
        ],
        ids=["plain", "padded", "of both kinds", "none"],
    )
    async def test_plain_numbers_on_both_sides_are_no_warning(
        self, app: App, here: Sequence[str], there: Sequence[str]
    ) -> None:
        await app.bring(csv_file(*({"userName": f"p{one}", "employeeNumber": one} for one in here)))
        people = [graph(n, f"q{n}@contoso.com", employeeId=one) for n, one in enumerate(there)]
        run = await app.plan(*people, graph(9, "p123"))
        assert "shortenedNumbers" not in [one["code"] for one in run.get("warnings", ())]

    async def test_zeros_that_a_rule_strips_are_no_warning(self, app: App) -> None:
        rule = {"rule": "employeeNumber", "trust": "weak", "transforms": ["stripLeadingZeros"]}
        policy = await app.call("GET", "directory/policy")
        rules = [one for one in policy["rules"] if one["rule"] != "employeeNumber"]
        await app.call("PUT", "directory/policy", {"rules": [*rules, rule]})
        await app.bring(csv_file({"userName": "ada", "employeeNumber": "123"}))
        run = await app.plan(graph(1, "ada@contoso.com", employeeId="00123"))
        assert run["counts"]["review"] == 1
        assert "shortenedNumbers" not in [one["code"] for one in run.get("warnings", ())]

    async def test_disabled_identities_and_deactivated_accounts_are_told(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob@contoso.com", "active": "no"}))
        run = await app.plan(
            graph(1, "ada@contoso.com", accountEnabled=False),
            graph(2, "bob@contoso.com"),
            graph(3, "new@contoso.com", accountEnabled=False),
        )
        assert warned(run, "disabled")["warning"].startswith("1 identity with a match, but disabled in Entra: ")
        assert warned(run, "inactive")["warning"].startswith("1 link with a deactivated account: ")
        assert warned(run, "disabled")["examples"] == [{"identity": "ada@contoso.com", "account": "ada@contoso.com"}]
        assert warned(run, "inactive")["examples"] == [{"identity": "bob@contoso.com", "account": "bob@contoso.com"}]
        path = f"linking/runs/{run['id']}/decisions"
        page = await app.call("GET", path, decision="review", warning="disabled")
        assert [row["identity"]["objectId"] for row in page["decisions"]] == [object_id(1)]

    async def test_whoever_is_disabled_is_found_as_the_remedy_says_whatever_the_plan_decides(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob@partner.example"}))
        people = [
            graph(n, name, accountEnabled=False) for n, name in enumerate(("ada@contoso.com", "bob@partner.example"))
        ]
        run = await app.plan(*people)
        assert warned(run, "disabled")["count"] == 2
        assert "decisions?warning=disabled." in warned(run, "disabled")["remedy"]
        page = await app.call("GET", f"linking/runs/{run['id']}/decisions", warning="disabled")
        assert sorted(row["decision"] for row in page["decisions"]) == ["outsideVerifiedDomains", "review"]

    async def test_a_mapping_that_sends_the_mail_nickname_is_told(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}))
        mapping = {
            "attributes": {"externalId": "mailNickname", "userName": "userPrincipalName"},
            "matching": ["userName"],
        }
        run = await app.plan(graph(1, "ada@contoso.com", mailNickname="ada"), mapping=mapping)
        told = warned(run, "externalIdRefused")
        assert (told["count"], "mailNickname" in told["warning"]) == (1, True)
        with pytest.raises(Refusal, match="externalIdRefused"):
            await approve(app, run)

    @pytest.mark.parametrize(
        ("writes", "says"),
        [
            (99, ""),
            (100, "show them as failures"),
            (2_500, "From 5,000 failures on"),
            (5_000, "enough for Entra to put the job in quarantine"),
        ],
    )
    async def test_provisioning_that_has_started_is_told_by_how_near_a_quarantine_is(
        self, app: App, monkeypatch: pytest.MonkeyPatch, writes: int, says: str
    ) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}))
        directory = await Directories(app.tables).open("main")
        monkeypatch.setattr("shared.directory.work.refusals.Refusals.count", lambda *_: _counted(writes))
        assert await directory.refusals.count(1, 1) == (writes, 1)
        run = await app.plan(graph(1, "ada@contoso.com"))
        told = warned(run, "provisioningStarted")
        assert (says in told["warning"], "Restart provisioning" in told["remedy"]) == (True, True) if says else not told

    async def test_refused_writes_of_the_last_days_are_counted_by_account(self, app: App) -> None:
        directory = await Directories(app.tables).open("main")
        for account in ("a", "b"):
            await directory.refusals.record(Attempt(account * 32, "x", "entra", "PATCH"))
        assert await directory.refusals.count(warnings.RECENT_DAYS, 10) == (2, 2)

    def test_every_code_has_its_line_in_the_reference(self) -> None:
        page = Path("link_orchestrator/README.md").read_text("utf-8")
        assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) >= set(warnings.CODES)


async def _counted(writes: int) -> tuple[int, int]:
    return writes, 1


class TestUnassigned:
    async def test_people_who_are_not_assigned_are_told_and_predicted_to_be_left_out(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob@contoso.com"}))
        people = graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"), graph(3, "new@contoso.com")
        assigned = await app.upload(people[0])
        run = await app.plan(*people, assigned=assigned)
        told = warned(run, "unassigned")
        assert (told["count"], told["examples"][0]["identity"]) == (1, "bob@contoso.com")
        assert "Users and groups" in told["remedy"]
        page = await app.call("GET", f"linking/runs/{run['id']}/decisions", warning="unassigned")
        assert [row["identity"]["objectId"] for row in page["decisions"]] == [object_id(2)]
        rows = {row["identity"]["objectId"]: row for row in await app.decisions(run)}
        assert rows[object_id(1)]["predicted"]["outcome"] == "matched"
        assert {rows[object_id(n)]["predicted"]["outcome"] for n in (2, 3)} == {"skipped"}
        answer = await app.call(
            "POST", f"linking/runs/{run['id']}/review", {"rows": [rows[object_id(2)]["id"]], "action": "exclude"}
        )
        assert not warned(answer["run"], "unassigned")

    async def test_a_run_with_others_who_are_assigned_decides_on_everybody(self, app: App) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}))
        ada = graph(1, "ada@contoso.com")
        await app.apply(await app.plan(ada, assigned=await app.upload(ada)))
        run = await app.plan(ada, assigned=await app.upload(graph(9, "z@contoso.com")))
        assert run["counts"]["alreadyLinked"] == 1

    async def test_an_unknown_upload_of_assigned_people_is_refused(self, app: App) -> None:
        upload = await app.upload(graph(1, "ada@contoso.com"))
        for named in ("nope", 7):
            with pytest.raises(Refusal) as refused:
                await app.call("POST", "linking/runs", {"identities": upload, "assigned": named})
            assert (refused.value.status, refused.value.detail[:8]) == (400, "assigned")


async def test_who_would_be_created_beside_a_matching_account_is_counted_named_and_settled_by_a_review(
    app: App,
) -> None:
    await app.bring(csv_file({"userName": "weak.local", "displayName": "Weak", "employeeNumber": "77"}))
    mapping = {
        "attributes": {"externalId": "mailNickname", "userName": "userPrincipalName", "active": "?"},
        "matching": ["externalId", "userName"],
    }
    await app.call("POST", "linking/mapping", mapping)
    run = await app.plan(graph(77, "weak@contoso.com", employeeId="77", mailNickname="w"))
    assert run["predicted"] == {"created": 1}
    (second,) = [one for one in run["warnings"] if one["code"] == "secondAccounts"]
    assert (second["count"], second["examples"]) == (1, [{"identity": "weak@contoso.com", "account": "weak.local"}])
    rows = (await app.call("GET", f"linking/runs/{run['id']}/decisions", predicted="second"))["decisions"]
    assert [row["decision"] for row in rows] == ["review"]
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [rows[0]["id"]], "action": "link"})
    codes = [one["code"] for one in (await app.call("GET", f"linking/runs/{run['id']}"))["warnings"]]
    assert "secondAccounts" not in codes
