"""Who is excluded and what is set aside stays as it is, and matching ends where the administrator says so."""

from __future__ import annotations

from typing import Any

import pytest

from link_orchestrator.passes import excluded_groups
from link_orchestrator.passes.refusals import WHY
from link_orchestrator.requests import left_out
from tests.link_orchestrator.running import POLICY, SEEN, App, Refusal, csv_file, graph, object_id
from tests.link_orchestrator.test_groups import RESEARCH, entra, upload

NAMES = ("ann@contoso.com", "svc-bob@contoso.com", "cleo@contoso.com")
PEOPLE = tuple(graph(n, name) for n, name in enumerate(NAMES))
ROWS = csv_file(*({"userName": name} for name in NAMES), {"userName": "local"})


async def planned(app: App, policy: Any, **asked: Any) -> tuple[Any, dict[str, str]]:
    """Return a run over the three with accounts, and its decisions by name."""
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE, policy=POLICY | policy, **asked)
    rows = await app.decisions(run)
    people = {row["identity"]["userPrincipalName"]: row["decision"] for row in rows if "identity" in row}
    here = {row["account"]["userName"]: row["decision"] for row in rows if "account" in row}
    return run, here | people


async def test_a_pattern_excludes_and_the_run_counts_by_which_entry(app: App) -> None:
    entries = [{"pattern": "svc-*"}, {"domain": "nobody.example"}, {"type": "guest"}, NAMES[0]]
    run, decisions = await planned(app, {"excluded": entries})
    assert [decisions[name] for name in NAMES] == ["excluded", "excluded", "link"]
    assert run["excludedBy"] == {"identity": 1, "pattern:svc-*": 1}
    (warning,) = [one for one in run["warnings"] if one["code"] == "exclusionsUnmatched"]
    assert warning["count"] == 2
    assert "domain nobody.example and type guest" in warning["warning"]
    done = await app.apply(run)
    assert done["counts"]["linked"] == 1
    assert (await app.account(NAMES[1]))["link"] is None


async def test_exclusions_that_match_nobody_are_named_and_those_that_match_are_not(app: App) -> None:
    mistyped = ["anne@contoso.com", object_id(99), *(f"x{n}@contoso.com" for n in range(4))]
    both = [NAMES[0], PEOPLE[0]["id"], PEOPLE[2]["id"]]
    run, _ = await planned(
        app, {"excluded": [*both, *mistyped, RESEARCH]}, groups=await upload(app, entra(RESEARCH, "R"))
    )
    (warning,) = [one for one in run["warnings"] if one["code"] == "exclusionsUnmatched"]
    assert (warning["count"], warning["values"]) == (6, {"ids or names": 6})
    assert warning["examples"] == [{"excluded": one} for one in sorted(mistyped)[:3]]
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    again, _ = await planned(app, {"excluded": [*both, *mistyped[:-1], "y@contoso.com", RESEARCH]}, full=True)
    (other,) = [one for one in again["warnings"] if one["code"] == "exclusionsUnmatched"]
    assert other["digest"] != warning["digest"], "another entry is another warning"


async def test_a_run_that_decides_on_changes_alone_says_of_no_exclusion_that_it_matches_nobody(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others whom the policy names did not change."""
    monkeypatch.setattr("link_orchestrator.passes.compare.MOST_SHARE", 10.0)
    excluded = {"excluded": [NAMES[0], NAMES[2]]}
    run, _ = await planned(app, excluded)
    await app.apply(run)
    later = await app.plan(
        graph(0, NAMES[0], department="Law"), *PEOPLE[1:], graph(7, "new@contoso.com"), policy=POLICY | excluded
    )
    assert (later["options"]["since"], later["counts"]["excluded"]) == ([run["id"]], 1)
    assert "exclusionsUnmatched" not in [one["code"] for one in later.get("warnings", ())]


async def test_two_entries_that_name_one_person_both_match(app: App) -> None:
    run, _ = await planned(app, {"excluded": [NAMES[0], PEOPLE[0]["id"]]})
    assert "exclusionsUnmatched" not in [one["code"] for one in run.get("warnings", ())]


LEAVER = graph(11, "jane@contoso.com", mail=None, accountEnabled=False)
NEWCOMER = graph(12, "jane.new@contoso.com", mail="jane@contoso.com")


@pytest.mark.parametrize(
    ("excluded", "decision"),
    [
        ([], "conflict"),
        ([{"type": "disabled"}], "review"),
        ([{"pattern": "jane@*"}], "excluded"),
        ([LEAVER["id"]], "link"),
        ([{"type": "disabled"}, LEAVER["id"]], "link"),
    ],
)
async def test_the_account_of_somebody_who_is_excluded_among_many_goes_to_no_other_unseen(
    app: App, excluded: list[Any], decision: str
) -> None:
    """A leaver's address was given to a newcomer; nobody thought of the two when everybody disabled was excluded."""
    name = "jane@contoso.com"
    await app.bring(csv_file({"userName": name, "email": name, "emailVerified": "yes"}))
    run = await app.plan(LEAVER, NEWCOMER, policy=POLICY | {"excluded": excluded})
    (row,) = [one for one in await app.decisions(run) if one.get("identity", {}).get("objectId") == NEWCOMER["id"]]
    assert row["decision"] == decision
    assert ("which the policy excludes among many" in row["reason"]) == (decision == "review")


async def test_the_members_of_a_group_are_excluded_as_the_run_reads_it(app: App) -> None:
    group = {"excluded": [{"group": RESEARCH}]}
    _, decisions = await planned(app, group, groups=await upload(app, entra(RESEARCH, "Research", 0, 2)))
    assert [decisions[name] for name in NAMES] == ["excluded", "link", "excluded"]


async def test_memberships_are_read_once_for_a_run_however_many_slices_it_has(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = excluded_groups._read, list[str]()

    async def watched(directory: Any, name: str, groups: frozenset[str]) -> Any:
        reads.append(name)
        return await read(directory, name, groups)

    monkeypatch.setattr(excluded_groups, "_read", watched)
    monkeypatch.setattr("link_orchestrator.requests.runs.slices_for", lambda _: 16)
    for number in (0, 2):  # another upload is read again
        groups = await upload(app, entra(RESEARCH, "Research", number))
        run, decisions = await planned(app, {"excluded": [{"group": RESEARCH}]}, groups=groups)
        assert [name for name, decision in decisions.items() if decision == "excluded"] == [NAMES[number]]
        await app.call("POST", f"linking/runs/{run['id']}/cancel")
        await app.wait(f"linking/runs/{run['id']}", "cancelled")
    assert len(reads) == len(set(reads)) == 2


async def test_a_run_that_would_not_know_the_group_is_refused(app: App) -> None:
    with pytest.raises(Refusal, match=r"^400 groups: the policy excludes the members of groups"):
        await planned(app, {"excluded": [{"group": RESEARCH}]})


async def test_provisioning_creates_nobody_whom_a_pattern_excludes_beside_an_account(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [{"pattern": "svc-*"}], "adoptOnCreate": True})
    await app.bring(csv_file({"userName": "other", "email": NAMES[1]}))
    await app.plan(*PEOPLE)
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": NAMES[1], "externalId": object_id(1)}
    with pytest.raises(Refusal, match=r"^409"):
        await app.call("POST", "scim/v2/Users", user)


@pytest.mark.parametrize("entry", [{"type": "disabled"}, {"type": "serviceAccount"}, {"group": RESEARCH}])
async def test_whom_the_last_plan_knew_to_be_excluded_is_neither_adopted_nor_linked_by_hand(
    app: App, entry: dict[str, str]
) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [entry], "adoptOnCreate": True})
    await app.bring(csv_file({"userName": NAMES[1]}, {"userName": "local"}))
    asked = {"groups": await upload(app, entra(RESEARCH, "Research", 1))} if "group" in entry else {}
    await app.plan(graph(1, NAMES[1], accountEnabled=False), **asked)
    for name in (NAMES[1], "local"):
        link = f"accounts/{(await app.account(name))['id']}/link"
        with pytest.raises(Refusal, match=r"^403 identity: it is excluded"):
            await app.call("POST", link, {"identity": object_id(1), "reason": "a test"})
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": NAMES[1], "externalId": object_id(1)}
    with pytest.raises(Refusal, match=r"^409 .*left this person to an administrator \(excluded\)"):
        await app.call("POST", "scim/v2/Users", user)


async def test_an_account_that_is_set_aside_is_not_linked_and_not_reported(app: App) -> None:
    run, decisions = await planned(app, {"setAside": [NAMES[0], "loc*"]})
    assert decisions == {NAMES[0]: "setAside", NAMES[1]: "link", NAMES[2]: "link"}
    assert (run["counts"]["setAside"], run["counts"]["accountsSetAside"]) == (1, 1)
    await app.apply(run)
    assert (await app.account(NAMES[0]))["link"] is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"excluded": [NAMES[0]]}, WHY["excluded"]),
        ({"excluded": [PEOPLE[0]["id"]]}, WHY["excluded"]),
        ({"excluded": [{"pattern": "ann*"}]}, WHY["excluded"]),
        ({"setAside": [NAMES[0]]}, WHY["setAside"]),
    ],
    ids=["name", "id", "pattern", "account"],
)
async def test_whom_the_policy_leaves_out_since_the_plan_is_told_and_not_linked(
    app: App, change: Any, why: str
) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE)
    await app.call("PUT", "directory/policy", POLICY | change)
    run = await app.call("GET", f"linking/runs/{run['id']}")
    (told,) = [one for one in run["warnings"] if one["code"] == "policyChanged"]
    assert list(told["values"].values()) == [1]
    foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
    assert (foretold["lookedAt"], foretold["refused"]) == (3, dict.fromkeys(change, 1))
    (named,) = foretold["rows"]
    assert named["row"]["identity"]["userPrincipalName"] == NAMES[0]
    assert named["reason"].startswith(why)
    with pytest.raises(Refusal, match="policyChanged"):
        await app.approve(run, acknowledged=[code for code in SEEN if code != "policyChanged"])
    done = await app.apply(run)
    assert (done["counts"]["linked"], done["counts"]["refused"]) == (2, 1)
    assert (await app.account(NAMES[0]))["link"] is None
    (row,) = [one for one in await app.decisions(run, "link") if one["outcome"].startswith("refused")]
    assert row["outcome"] == f"refused: {why}"


async def test_whom_the_directory_leaves_out_is_told_of_a_run_with_a_policy_of_its_own_and_not_linked(
    app: App,
) -> None:
    """The run's own policy decides what is planned, and the directory's whom to leave out at the moment of the link."""
    await app.call("PUT", "directory/policy", {"excluded": NAMES[:1], "setAside": NAMES[1:2]})
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE, policy=POLICY | {"setAside": NAMES[2:]})
    (told,) = [one for one in run["warnings"] if one["code"] == "policyChanged"]
    assert told["values"] == {"who is excluded": 1, "which accounts are set aside": 1}
    assert told["warning"].startswith("the directory's policy is another than the one that this plan goes by")
    done = await app.apply(run)
    assert (done["counts"].get("linked", 0), done["counts"]["refused"]) == (0, 2)
    outcomes = {row["outcome"] for row in await app.decisions(run, "link")}
    assert outcomes == {f"refused: {WHY['excluded']}", f"refused: {WHY['setAside']}"}


async def test_a_policy_of_the_runs_own_that_leaves_out_more_is_no_warning(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"excluded": NAMES[:1]})
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE, policy={"excluded": NAMES[:2]})
    assert "policyChanged" not in [one["code"] for one in run.get("warnings", ())]


async def test_so_is_whom_a_review_links(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(csv_file({"userName": "ann", "email": NAMES[0]}))
    run = await app.plan(*PEOPLE)
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [NAMES[0]]})
    assert (await app.call("GET", f"linking/runs/{run['id']}/left-out"))["refused"] == {"excluded": 1}
    done = await app.apply(await app.call("GET", f"linking/runs/{run['id']}"))
    assert (done["counts"].get("linked", 0), done["counts"]["refused"]) == (0, 1)


async def test_who_would_not_be_linked_anyway_is_not_counted_as_left_out(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE)
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [*NAMES, "new@contoso.com"]})
    rows = {row["identity"]["userPrincipalName"]: row["id"] for row in await app.decisions(run, "link")}
    review = {"rows": [rows[NAMES[0]]], "action": "exclude"}
    await app.call("POST", f"linking/runs/{run['id']}/review", review)
    foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
    assert (foretold["entries"], foretold["lookedAt"]) == ({"excluded": 4, "setAside": 0}, 2)
    assert foretold["refused"] == {"excluded": 2}
    run = await app.call("GET", f"linking/runs/{run['id']}")
    await app.approve(run, rows=[rows[NAMES[1]]])
    await app.wait(f"linking/runs/{run['id']}", "planned")
    assert (await app.call("GET", f"linking/runs/{run['id']}/left-out"))["refused"] == {"excluded": 1}


async def test_whom_a_runs_own_policy_lets_in_and_the_directorys_does_not_is_counted(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [NAMES[0]], "setAside": [NAMES[1]]})
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE, policy=POLICY)
    foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
    assert (foretold["refused"], foretold["more"]) == ({"excluded": 1, "setAside": 1}, False)
    assert (await app.apply(run))["counts"]["refused"] == 2


async def test_no_link_is_looked_at_where_nobody_was_left_out_since(app: App) -> None:
    run, _ = await planned(app, {"excluded": [NAMES[0]]})
    foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
    assert (foretold["entries"], foretold["lookedAt"]) == ({"excluded": 0, "setAside": 0}, 0)
    assert (foretold["refused"], foretold["groups"], foretold["rows"]) == ({}, 0, [])


async def test_a_plan_of_very_many_links_says_that_not_all_were_looked_at(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "MOST_LOOKED_AT", 1)
    monkeypatch.setattr(left_out, "AT_ONCE", 1)
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(csv_file(*({"userName": f"p{place}@contoso.com"} for place in range(40))))
    run = await app.plan(*(graph(place, f"p{place}@contoso.com") for place in range(40)))
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [{"pattern": "p*"}]})
    foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
    assert foretold["more"]
    assert 0 < foretold["lookedAt"] == foretold["refused"]["excluded"] < 40


async def test_of_a_run_that_has_ended_nothing_is_foretold(app: App) -> None:
    run, _ = await planned(app, {})
    await app.apply(run)
    with pytest.raises(Refusal, match=r"^409 phase: .* is done: this counts what a plan would link that waits"):
        await app.call("GET", f"linking/runs/{run['id']}/left-out")


async def test_a_policy_that_was_changed_back_is_no_warning(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE)
    await app.call("PUT", "directory/policy", POLICY | {"verifiedDomains": ["contoso.com"]})
    await app.call("PUT", "directory/policy", POLICY | {"undoDays": 30})
    run = await app.call("GET", f"linking/runs/{run['id']}")
    assert "policyChanged" not in [one["code"] for one in run.get("warnings", ())]
    assert (await app.apply(run))["counts"]["linked"] == 3


async def test_a_plan_that_read_no_groups_is_not_approved_once_members_of_one_are_excluded(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(ROWS)
    run = await app.plan(*PEOPLE)
    await app.call("PUT", "directory/policy", POLICY | {"excluded": [{"group": RESEARCH}]})
    with pytest.raises(Refusal, match="this plan read no groups"):
        await app.approve(run)


async def test_a_row_names_the_entry_by_which_somebody_stays_out(app: App) -> None:
    excluded = [{"group": RESEARCH}, object_id(1)]
    groups = await upload(app, entra(RESEARCH, "Research", 0))
    run, _ = await planned(app, {"excluded": excluded, "setAside": [f"{NAMES[2][:3]}*"]}, groups=groups)
    reasons = {row["identity"]["objectId"]: row["reason"] for row in await app.decisions(run) if "identity" in row}
    assert f'by the entry "group {RESEARCH}". It matches an account' in reasons[object_id(0)]
    assert "by its object id. It matches an account" in reasons[object_id(1)]
    assert f'aside, by the entry "{NAMES[2][:3]}*": no run links them' in reasons[object_id(2)]
    report = {"format": "csv", "decision": "excluded"}
    async with app.session.get(f"/linking/runs/{run['id']}/report", params=report) as answer:
        assert "by its object id" in await answer.text()


async def test_nor_is_it_linked_by_its_name_in_a_review(app: App) -> None:
    await app.bring(ROWS)
    run = await app.plan(graph(7, "new@contoso.com"), policy=POLICY | {"setAside": ["loc*"]})
    (row,) = await app.decisions(run, "noAccount")
    asked = {"rows": [row["id"]], "action": "link", "account": "local"}
    answer = await app.call("POST", f"linking/runs/{run['id']}/review", asked)
    assert "sets the account aside" in answer["refused"][0]["reason"]
    assert answer["run"]["links"] == 0


async def test_nor_if_it_is_set_aside_after_the_review(app: App) -> None:
    await app.bring(ROWS)
    run = await app.plan(graph(7, "new@contoso.com"))
    (row,) = await app.decisions(run, "noAccount")
    asked = {"rows": [row["id"]], "action": "link", "account": "local"}
    assert (await app.call("POST", f"linking/runs/{run['id']}/review", asked))["reviewed"] == 1
    await app.call("PUT", "directory/policy", POLICY | {"setAside": ["loc*"]})
    await app.apply(run, links=1)
    assert (await app.account("local"))["link"] is None


async def test_who_asks_has_it_reported(app: App) -> None:
    run, decisions = await planned(app, {"setAside": ["loc*"]}, reportSetAside=True)
    assert decisions["local"] == "noIdentity"
    (row,) = await app.decisions(run, "noIdentity")
    assert row["reason"].endswith('The policy sets it aside, by the entry "loc*".')


async def test_no_create_adopts_an_account_that_is_set_aside(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"setAside": [NAMES[0]], "adoptOnCreate": True})
    await app.bring(ROWS)
    await app.plan(*PEOPLE)
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": NAMES[0], "externalId": object_id(0)}
    with pytest.raises(Refusal, match="the policy sets the account aside"):
        await app.call("POST", "scim/v2/Users", user)


class TestMatchingEnded:
    ENDED = POLICY | {"matchingEnded": True, "adoptOnCreate": True}

    async def test_no_run_starts_and_the_refusal_says_who_ended_it_and_how_to_go_on(self, app: App) -> None:
        answer = await app.call("PUT", "directory/policy", self.ENDED)
        assert [one["code"] for one in answer["warnings"]] == ["matchingEnded"]
        with pytest.raises(Refusal, match=r"^409 matchingEnded: .*by local at .*PUT /directory/policy") as refused:
            await app.plan(*PEOPLE)
        assert refused.value.status == 409
        await app.call("PUT", "directory/policy", POLICY)
        await planned(app, {})

    async def test_no_plan_that_waits_is_approved(self, app: App) -> None:
        run, _ = await planned(app, {})
        await app.call("PUT", "directory/policy", self.ENDED)
        with pytest.raises(Refusal, match=r"^409 matchingEnded"):
            await app.approve(run)
        await app.call("PUT", "directory/policy", POLICY)
        assert (await app.apply(run))["counts"]["linked"] == 3

    async def test_no_create_adopts(self, app: App) -> None:
        await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
        await app.bring(ROWS)
        await app.apply(await app.plan(*PEOPLE[:2]))
        await app.plan(*PEOPLE)
        user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": NAMES[2]}
        await app.call("PUT", "directory/policy", self.ENDED)
        with pytest.raises(Refusal, match=r"^409"):
            await app.call("POST", "scim/v2/Users", user | {"externalId": object_id(2)})
        await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
        await app.call("POST", "scim/v2/Users", user | {"externalId": object_id(2)})

    async def test_a_run_of_a_policy_of_its_own_is_refused_that_ends_it(self, app: App) -> None:
        with pytest.raises(Refusal, match=r"^400 policy: matchingEnded"):
            await app.plan(*PEOPLE, policy=self.ENDED)
