"""The stand-in for Entra's provisioning client: what it sends, how it judges answers, what it reports."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infra.local.entra import Cycle, CycleOutcome, CycleStopped
from infra.local.standins.provisioning import (
    CORE,
    ENTERPRISE,
    PATCH_OP,
    WORK_EMAIL,
    Dialect,
    create_body,
    differences,
    map_identity,
    matching,
    patch_body,
    provisioned_name,
)
from shared.directory.matching.identity import Identity
from tests.infra.test_serve import served
from tests.waiting import PATIENCE, process

ADA = Identity(
    "8b3f1c9e-0001-4000-8000-00000000000a", "Ada@contoso.com",
    mail="ada@contoso.com", given_name="Ada", surname="King", mail_nickname="ada",
    display_name="Ada King", job_title="Analyst", department="Engines", employee_id="7",
)  # fmt: skip
EVE = Identity("8b3f1c9e-0002-4000-8000-00000000000e", "eve@contoso.com")
OFF = Identity("8b3f1c9e-0003-4000-8000-00000000000f", "off@contoso.com", account_enabled=False)

Answer = Callable[[web.Request], web.Response]


@asynccontextmanager
async def provider(answer: Answer) -> AsyncIterator[tuple[str, list[str]]]:
    """A service provider that answers as told; yields its root and the requests it was sent."""
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.method} {request.rel_url.query.get('filter', request.path)}")
        return answer(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}", seen
    finally:
        await runner.cleanup()


def found(*resources: dict[str, Any]) -> web.Response:
    return web.json_response({"totalResults": len(resources), "Resources": list(resources)})


def test_a_guest_is_provisioned_under_its_own_address() -> None:
    assert provisioned_name("jane_doe_partner.example#EXT#@contoso.onmicrosoft.com") == "jane_doe@partner.example"
    assert provisioned_name("jane_doe@contoso.com") == "jane_doe@contoso.com"


def test_what_has_no_value_is_not_provisioned() -> None:
    assert map_identity(EVE, "mailNickname") == {"userName": "eve@contoso.com", "active": True}
    assert matching(map_identity(EVE, "objectId"), "objectId") == ["externalId", "userName"]
    assert matching(map_identity(ADA, "mailNickname"), "mailNickname") == ["userName"]
    assert matching(map_identity(ADA, "objectId"), "objectId", by_key_alone=True) == ["externalId"]


@pytest.mark.parametrize("dialect", ["default", "scim2"])
def test_a_created_user_has_nothing_to_change(dialect: Dialect) -> None:
    attributes = map_identity(ADA, "objectId")
    body = create_body(attributes, dialect)
    assert body["schemas"] == [CORE, ENTERPRISE]
    assert ("roles" in body) is (dialect == "default")
    assert differences(attributes, body) == {}


CHANGES = {"active": True, "title": "Analyst", WORK_EMAIL: "ada@contoso.com", f"{ENTERPRISE}:department": "Engines"}
RESOURCE = {"id": "1", "active": False, "title": "Dr", "emails": [{"type": "home", "value": "ada@home.example"}]}


def test_the_default_dialect_sends_one_capitalised_operation_an_attribute() -> None:
    assert patch_body(CHANGES, RESOURCE, "default") == {
        "schemas": [PATCH_OP],
        "Operations": [
            {"op": "Replace", "path": "active", "value": "True"},
            {"op": "Replace", "path": "title", "value": "Analyst"},
            {"op": "Add", "path": WORK_EMAIL, "value": "ada@contoso.com"},
            {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Engines"},
        ],
    }


def test_the_scim2_dialect_sends_single_valued_attributes_together() -> None:
    assert patch_body(CHANGES, RESOURCE, "scim2")["Operations"] == [
        {"op": "replace", "value": {"active": True, "title": "Analyst"}},
        {"op": "add", "path": WORK_EMAIL, "value": "ada@contoso.com"},
        {"op": "add", "value": {f"{ENTERPRISE}:department": "Engines"}},
    ]


async def test_matching_stops_at_the_first_hit_and_nothing_is_sent_without_a_difference() -> None:
    body = create_body(map_identity(EVE, "objectId"), "default") | {"id": "1"}
    answers = {f'externalId eq "{EVE.object_id}"': found(body)}
    async with provider(lambda request: answers.get(request.rel_url.query["filter"]) or found()) as (base, seen):
        report = await Cycle(base + "/scim/v2/?aadOptscim062020", "t").run([EVE, OFF])
    assert seen[1:] == [f'GET externalId eq "{EVE.object_id}"']
    assert report.list_by("matched") == [CycleOutcome("matched", EVE.object_id, "eve@contoso.com", "1", "externalId")]
    assert report.list_by("skipped")[0].detail == "disabled in Entra and never in scope"
    assert report.requests == {"GET": 2}


async def _judged(*answers: web.Response) -> CycleOutcome:
    """Return the outcome for EVE where test connection goes well and then these answers come."""
    coming = iter([found(), *answers])
    async with provider(lambda _: next(coming)) as (base, _):
        report = await Cycle(base, "t").run([EVE])
    return report.outcomes[0]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (found({"id": "1"}, {"id": "2"}), "DuplicateTargetEntries: externalId matches 2 accounts"),
        (found({"id": "1", "externalId": "ID-EVE"}), "the externalId of the account found is not the one asked for"),
        (found({"id": "1"}), "the externalId of the account found is not the one asked for"),
        (web.json_response({"totalResults": 3, "Resources": []}), "the answer is no complete list response"),
        (web.Response(text="oops"), "the answer is no JSON object"),
        (web.json_response({"detail": "not now"}, status=503), "not now"),
    ],
)
async def test_an_answer_that_entra_would_not_take_is_a_refusal(answer: web.Response, detail: str) -> None:
    outcome = await _judged(answer)
    assert (outcome.result, outcome.request, outcome.detail) == ("refused", "GET", detail)


async def test_a_name_matches_without_regard_to_case_and_a_refused_change_is_told() -> None:
    account = {"id": "1", "userName": "EVE@contoso.com", "active": True}
    outcome = await _judged(found(), found(account), web.json_response({"detail": "protected"}, status=403))
    assert outcome.to_json() == {
        "identity": EVE.object_id, "userName": "eve@contoso.com", "id": "1", "by": "userName",
        "request": "PATCH", "status": 403, "detail": "protected",
    }  # fmt: skip


async def test_where_externalid_alone_is_matched_whoever_has_none_is_created() -> None:
    def answer(request: web.Request) -> web.Response:
        return found() if request.method == "GET" else web.json_response({"id": "1"}, status=201)

    async with provider(answer) as (base, seen):
        report = await Cycle(base, "t", by_key_alone=True).run([EVE])
    assert seen[1:] == [f'GET externalId eq "{EVE.object_id}"', "POST /scim/v2/Users"]
    assert [outcome.id for outcome in report.list_by("created")] == ["1"]


@pytest.mark.parametrize("answer", [web.Response(status=404), web.Response(status=401), found({"id": "1"})])
async def test_a_failed_test_connection_stops_the_cycle(answer: web.Response) -> None:
    async with provider(lambda _: answer) as (base, seen):
        with pytest.raises(CycleStopped, match="test connection"):
            await Cycle(base, "t").run([EVE])
    assert len(seen) == 1


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    under_way = most = handled = 0
    all_came = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.Response:
        nonlocal under_way, most, handled
        under_way += 1
        handled += 1
        most = max(most, under_way)
        if most == 3:
            all_came.set()
        if handled > 1:  # the first is test connection
            await asyncio.wait_for(all_came.wait(), PATIENCE)
        await asyncio.sleep(0.01)  # a fourth would come meanwhile
        under_way -= 1
        return found() if request.method == "GET" else web.json_response({"id": "1"}, status=201)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told: list[CycleOutcome] = []
    base = "http://{}:{}".format(*runner.addresses[0][:2])
    report = await Cycle(base, "t", concurrency=3, progress=told.append).run(
        [Identity(f"id-{number}", f"user{number}@contoso.com") for number in range(12)]
    )
    await runner.cleanup()
    assert most == 3
    assert report.totals() == {"matched": 0, "created": 12, "refused": 0, "skipped": 0, "updated": 0}
    assert list(report.outcomes) == told


async def _run(*arguments: str) -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    async with process(sys.executable, "-m", "infra.local.entra", *arguments, stdout=pipe, stderr=pipe) as command:
        out, errors = await asyncio.wait_for(command.communicate(), PATIENCE)
    return command.returncode, out.decode(), errors.decode()


async def test_the_command_plays_cycles_against_the_real_app(tmp_path: Path) -> None:
    file = tmp_path / "identities.json"
    value = [ADA.to_json(), EVE.to_json(), OFF.to_json(), {"userPrincipalName": "nobody@contoso.com"}]
    file.write_text(json.dumps({"value": value}))
    async with served("--data", str(tmp_path / "data"), "--token", "t") as server:
        common = ("--base", server.url, "--identities", str(file))
        code, out, _ = await _run(*common, "--token", "t")
        assert (code, "totals: 0 matched, 2 created, 0 refused, 1 skipped, 0 updated" in out) == (0, True)
        assert "unreadable line" in out
        value[0]["jobTitle"] = "Countess"
        file.write_text(json.dumps({"value": value}))
        code, out, _ = await _run(*common, "--token", "t", "--dialect", "scim2", "--json")
        report = json.loads(out)
        assert (code, report["totals"]["matched"], report["requests"]) == (0, 2, {"GET": 3, "PATCH": 1})
        assert [(row["userName"], row["by"], row["changed"]) for row in report["updated"]] == [
            ("Ada@contoso.com", "externalId", ["title"])
        ]
        code, out, _ = await _run(*common, "--token", "t", "--mapping", "externalId=mailNickname")
        assert (code, "updated externalId" in out) == (0, True)
        code, out, _ = await _run(*common, "--token", "t", "--matching", "externalId")
        assert (code, "totals: 1 matched, 0 created, 1 refused" in out) == (0, True)
        code, _, errors = await _run(*common, "--token", "wrong")
        assert (code, errors.startswith("no cycle: test connection: 401")) == (1, True)
