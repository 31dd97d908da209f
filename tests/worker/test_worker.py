"""The app in Azure's own language worker, which refuses at loading what imports and unit tests let through."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.durable_functions.models.history import HistoryEventType as EventType

import function_app
from infra.local.durable import wire
from infra.local.durable.instance import first_events
from infra.local.durable.management import binding
from infra.local.functions import HttpFunction
from infra.local.host import Routes
from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.files.groups import GroupRow
from link_orchestrator.messages import FORM, Milestone, Read, ReadDone, Slice, SliceDone, Start
from link_orchestrator.orchestrator import GROUP_APPLY_PASSES, GROUP_PLAN_PASSES, PLAN_PASSES
from link_orchestrator.portal.assets import addresses
from link_orchestrator.staged import EntraGroupWriter
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Group, Status
from shared.directory.work.jobs import Jobs, State
from shared.host.routes import matcher
from shared.host.settings import Credential, Role, Settings
from shared.tables.azure import AzureTables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.portal.door import CLIENT, OPERATOR, SAME_SITE, TENANT
from tests.link_orchestrator.running import begin_run, make_directory, plan_rows
from tests.shared.host.test_routes import path_of
from tests.worker.conftest import PYTHON, ROOT, Drive

SMALL_APP = Path(__file__).parent / "small_app"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


SETTINGS = {
    "SCIMLINK_TABLES_ENDPOINT": "https://127.0.0.1:1",
    "SCIMLINK_CREDENTIALS": Credential.of("right", "test", "scim", "admin").model_dump_json().join("[]"),
}


def _replay(name: str, value: Any, *more: wire.Event) -> dict[str, str]:
    texts = [json.dumps(e) for e in (*first_events(name, json.dumps(value), NOW), *more)]
    return {"json": wire.request(texts, "one", json.dumps(value))}


def test_the_worker_runs_on_the_python_that_the_template_names(worker_python: Path) -> None:
    """A machine may lack that one; what CI runs on must not."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = subprocess.run([worker_python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()
    if found != PYTHON and not os.environ.get("CI"):
        pytest.skip(f"Python {PYTHON} is not installed")
    assert found == PYTHON


def test_every_kind_of_function_loads_and_runs(drive: Drive) -> None:
    request = {"method": "PUT", "params": {"id": "7"}, "query": {"q": "x"}, "headers": {"x-a": "y"}, "body": "[1]"}
    done = wire.event(EventType.TASK_COMPLETED, NOW, TaskScheduledId=0, Result='{"n": 6}')
    answer = drive(
        SMALL_APP,
        [
            {"function": "put_thing", "inputs": {"req": {"http": request}}},
            {
                "function": "start",
                "inputs": {
                    "req": {"http": {"method": "GET", "url": "http://app/starts"}},
                    "client": {"string": json.dumps(binding("http://127.0.0.1:1/key"))},
                },
            },
            {"function": "double", "inputs": {"page": {"json": '{"n": 3}'}}},
            {"function": "run", "inputs": {"context": _replay("run", {"n": 3})}},
            {"function": "run", "inputs": {"context": _replay("run", {"n": 3}, done)}},
            {"function": "broken", "inputs": {"req": {"http": {"method": "GET"}}}},
        ],
    )
    assert answer["error"] is None
    assert {b["type"] for b in answer["functions"]["start"]} == {"httpTrigger", "durableClient", "http"}
    put, started, doubled, first, second, broken = answer["results"]
    assert put["value"] == {
        "status": 201,
        "headers": {"content-type": "application/json"},
        "body": '["PUT", "7", "x", "y", [1], "put_thing"]',
    }
    assert started["value"]["body"] == "http://127.0.0.1:1/key/instances/one"
    assert doubled["value"] == '{"n": 6}'
    assert json.loads(first["value"])["actions"] == [[{"actionType": 0, "functionName": "double", "input": '{"n": 3}'}]]
    assert json.loads(second["value"])["output"] == {"n": 6}
    assert broken == {"error": "RuntimeError: broken", "value": None}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("@app.activity_trigger(input_name='rows')\nasync def f(rows: list[dict]) -> int: ...", "non-type annotation"),
        ("@app.activity_trigger(input_name='row')\nasync def f(row: dict | None) -> int: ...", "non-type annotation"),
        ("@app.route(route='f')\nasync def f(req: func.HttpRequest) -> func.HttpResponse | None: ...", "return"),
        ("@app.route(route='f')\nasync def f(request: func.HttpRequest) -> func.HttpResponse: ...", "not in"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
    ],
)
def test_the_worker_refuses_what_python_accepts(drive: Drive, tmp_path: Path, function: str, reason: str) -> None:
    head = "import azure.durable_functions as df, azure.functions as func\napp = df.DFApp()\n"
    (tmp_path / "function_app.py").write_text(head + function)
    assert reason in drive(tmp_path)["error"]


def _trigger(bindings: list[dict[str, Any]]) -> dict[str, Any]:
    return next(b for b in bindings if b["type"].endswith("Trigger"))


def _named_by(functions: dict[str, Any], trigger: str) -> set[str]:
    return {name for name, bindings in functions.items() if _trigger(bindings)["type"] == trigger}


def test_every_function_of_the_app_loads(drive: Drive) -> None:
    answer = drive(ROOT, settings=SETTINGS)
    assert answer["error"] is None
    triggers = [_trigger(bindings) for bindings in answer["functions"].values()]
    routes = {(t["route"], *t.get("methods", ())) for t in triggers if t["type"] == "httpTrigger"}
    assert {("scim/v2/Users/{id}", "PATCH"), ("scim/v2/Schemas", "GET", "HEAD"), ("{*path}",)} <= routes
    assert {("linking/runs/{id}/review", "POST"), ("linking/runs/{id}/report", "GET", "HEAD")} <= routes
    assert {("linking/mapping", "GET", "HEAD"), ("linking/mapping", "POST")} <= routes
    assert not any(route.startswith(("admin", "runtime")) for route, *_ in routes), "the host keeps these to itself"


@pytest.mark.parametrize(
    ("roles", "there", "absent"),
    [("scim", "scim_users_create", "link_accounts"), ("admin", "link_accounts", "scim_users_create")],
)
def test_each_role_loads_what_it_serves_and_nothing_more(drive: Drive, roles: str, there: str, absent: str) -> None:
    live = {"function": "health_live", "inputs": {"req": {"http": {"method": "GET", "url": "http://app/health/live"}}}}
    answer = drive(ROOT, [live], settings=SETTINGS | {"APP_ROLES": roles})
    assert answer["error"] is None
    assert there in answer["functions"]
    assert absent not in answer["functions"]
    assert answer["results"][0]["value"]["status"] == 200


def test_a_wrong_setting_leaves_an_app_that_says_so(drive: Drive) -> None:
    call = {"function": "unanswered", "inputs": {"req": {"http": {"method": "GET", "url": "http://app/health/ready"}}}}
    answer = drive(ROOT, [call], settings=SETTINGS | {"APP_ROLES": "skim"})
    assert answer["error"] is None
    assert answer["results"][0]["value"]["status"] == 503
    assert "APP_ROLES" in answer["results"][0]["value"]["body"]


def test_azure_sends_every_function_the_requests_of_its_own_route(drive: Drive) -> None:
    """By the names and routes that the worker tells Azure's host, which the host goes through in the order of names."""

    async def never(**_: Any) -> Any: ...

    told = {name: _trigger(bindings) for name, bindings in drive(ROOT, settings=SETTINGS)["functions"].items()}
    functions = [
        HttpFunction(name, trigger["route"], frozenset(trigger.get("methods", ())), never, "req", (), False)
        for name, trigger in told.items()
        if trigger["type"] == "httpTrigger"
    ]
    routes = Routes(tuple(functions))
    for function in functions:
        for method in function.methods or ("TRACE",):
            found = routes.find(method, path_of(function.route))
            assert found is not None
            assert found[0].name == function.name


START = Start(job="run1", directory="main", buckets=64, slices=2, expires_hours=1)


def _done(task_id: int, result: Any) -> wire.Event:
    return wire.event(EventType.TASK_COMPLETED, NOW, TaskScheduledId=task_id, Result=json.dumps(result))


def _asked(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return function and stage or phase, or the name of the event, of everything an orchestrator asked for."""
    assert result["error"] is None
    found = []
    for action in wire.flatten(json.loads(result["value"])["actions"]):
        message = json.loads(action.get("input") or "{}")
        name = action.get("functionName") or action.get("externalEventName") or "timer"
        found.append((name, message.get("stage") or message.get("phase") or ""))
    return found


def test_the_orchestrators_of_the_app_ask_for_their_passes(drive: Drive) -> None:
    counted = SliceDone(counts={"link": 1}).to_json()
    so_far = [_done(number, counted) for number in range(8)]
    planned = [*so_far, _done(8, {})]
    approved = [*planned, wire.event(EventType.EVENT_RAISED, NOW, Name="approve", Input=json.dumps("{}"))]
    histories: list[list[wire.Event]] = [[], so_far[:1], so_far[:2], so_far, planned, approved]
    calls = [
        {"function": "link_accounts", "inputs": {"context": _replay("link_accounts", START.to_json(), *history)}}
        for history in histories
    ]
    others = {
        "import_accounts": "import",
        "undo_links": "undo",
        "verify_links": "look",
        "import_groups": "import_groups",
        "preview_accounts": "preview",
        "preview_groups": "preview_groups",
        "undo_import": "undo_import",
        "undo_group_import": "undo_group_import",
        "preview_import_undo": "foresee_import",
        "preview_group_import_undo": "foresee_group_import",
    }
    calls += [{"function": name, "inputs": {"context": _replay(name, START.to_json())}} for name in others]
    with_groups = START.model_copy(update={"groups": True}).to_json()
    calls.append({"function": "link_accounts", "inputs": {"context": _replay("link_accounts", with_groups, *so_far)}})
    reads, read = START.model_copy(update={"reads": True}).to_json(), _done(0, ReadDone(read=1, slices=1).to_json())
    calls += [
        {"function": "link_accounts", "inputs": {"context": _replay("link_accounts", reads, *history)}}
        for history in ([], [read])
    ]
    answer = drive(ROOT, calls, SETTINGS)
    *results, grouped, reading, planning = answer["results"]
    assert _named_by(answer["functions"], "orchestrationTrigger") == {"link_accounts", *others}
    asked, begun = results[: len(histories)], results[len(histories) :]
    passes = [("run_slice", stage) for stage in PLAN_PASSES for _ in range(2)]
    waiting = [*passes, ("reach_milestone", "planned"), ("approve", ""), ("cancel", ""), ("timer", "")]
    assert [_asked(result) for result in asked] == [
        passes[:2],
        passes[:2],
        passes[:4],
        waiting[:9],
        waiting,
        [*waiting, ("run_slice", "reserve"), ("run_slice", "reserve")],
    ]
    assert [_asked(result) for result in begun] == [[("run_slice", stage)] * 2 for stage in others.values()]
    assert _asked(reading) == [("read_identities", "")]
    assert _asked(planning) == [("read_identities", ""), ("run_slice", PLAN_PASSES[0])]
    assert _asked(grouped) == [*passes, *[("run_slice", GROUP_PLAN_PASSES[0])] * 2]


async def test_the_activities_of_groups_work_on_table_storage(drive: Drive, azurite: str) -> None:
    tables = AzureTables.from_connection_string(azurite)
    directory = await make_directory(tables, "workergroups", 2)
    name, jobs = directory.name, directory.jobs
    group = Group.new(directory.groups.keys.new_id("Staff"), {"displayName": "Staff"}, Status.LOCAL, jobs.now())
    await directory.groups.create(group, by="test")
    writer = EntraGroupWriter(directory, "upload1")
    await writer.add(EntraGroup("9", "STAFF", ("1",)))
    await writer.close()
    run = await begin_run(directory, [Identity("1", "ada@contoso.com")], Policy())
    options = {**run.options, "groups": "upload1", "groupsApproved": 1}
    await jobs.change(run.id, lambda job: replace(job, options=options))
    importing = await jobs.start("groupimport", "test", "import1", {})
    rows = directory.stage(importing.id).writer()
    await rows.add(0, GroupRow(1, "Sales").to_json())
    await rows.close()
    passes = (*GROUP_PLAN_PASSES, *GROUP_APPLY_PASSES)
    parts = [Slice(job=run.id, directory=name, pass_name=part, low=0, high=2, form=FORM) for part in passes]
    parts.append(Slice(job=importing.id, directory=name, pass_name="import_groups", low=0, high=2))
    calls = [{"function": "run_slice", "inputs": {"message": {"json": json.dumps(p.to_json())}}} for p in parts]
    ran = drive(ROOT, calls, {**SETTINGS, "SCIMLINK_TABLES": azurite})["results"]
    assert [one["error"] for one in ran] == [None] * 4
    counts = [json.loads(one["value"])["counts"] for one in ran]
    assert counts == [{}, {"groupLink": 1}, {"groupsLinked": 1}, {"created": 1}]
    linked = await directory.groups.get(group.id)
    assert (linked.status, linked.external_id) == (Status.CLAIMED, "9")
    await tables.close()


async def test_the_activities_of_the_app_work_on_table_storage(drive: Drive, azurite: str) -> None:
    settings = {**SETTINGS, "SCIMLINK_TABLES": azurite}
    tables = AzureTables.from_connection_string(azurite)
    directory = await make_directory(tables, "worker", 2)
    job = await begin_run(directory, [Identity("1", "ada@contoso.com")], Policy())
    # A run over Graph in an app that is not set up to read it.
    await directory.jobs.change(job.id, lambda job: replace(job, options={**job.options, "source": {"graph": {}}}))
    read = Read(job=job.id, directory="worker")
    parts = [Slice(job=job.id, directory="worker", pass_name=stage, low=0, high=2, form=FORM) for stage in PLAN_PASSES]
    unknown = parts[0].model_copy(update={"job": "nobody"})
    planned = Milestone(job=job.id, directory="worker", state="planned", expires="2026-01-02T00:00:00Z")
    calls = [
        {"function": name, "inputs": {"message": {"json": json.dumps(message.to_json())}}}
        for name, message in [*(("run_slice", part) for part in (*parts, unknown)), ("reach_milestone", planned)]
    ]
    calls.insert(0, {"function": "read_identities", "inputs": {"message": {"json": json.dumps(read.to_json())}}})
    about = {"message": {"json": json.dumps({"job": job.id, "directory": "worker"})}}
    calls += [{"function": name, "inputs": about} for name in ("approve_itself", "choose_extent")]
    counts = {"noAccount": 1, "predicted.created": 1}
    answer = drive(ROOT, calls, settings)
    unread, *ran, refused, reached, approved, extent = answer["results"]
    assert _named_by(answer["functions"], "activityTrigger") == {call["function"] for call in calls}
    assert json.loads(approved["value"])["approved"] is False
    assert json.loads(extent["value"])["everything"] is True
    assert "SCIMLINK_GRAPH_TENANTS" in json.loads(unread["value"])["failed"]
    assert [json.loads(one["value"])["counts"] for one in ran] == [{}, {}, {"noIdentity": 0}, counts]
    assert refused == {"error": "NotFound: no job nobody", "value": None}
    assert (reached["error"], json.loads(reached["value"])["state"]) == (None, "planned")
    found = await Jobs(tables, directory.keys).get(job.id)
    assert (found.state, found.counts) == (State.PLANNED, {"noIdentity": 0, **counts})
    (row,) = await plan_rows(directory, job.id)
    assert (row.decision, row.subject) == ("noAccount", "1")
    await tables.close()


@pytest.mark.parametrize("role", ["scim", "admin"])
def test_every_http_function_of_a_role_is_called_and_asks_for_a_token(drive: Drive, tmp_path: Path, role: Role) -> None:
    app = function_app.build(Settings(app_roles=frozenset({role})), SqliteTables.open(tmp_path / "none.db"))
    functions = drive(ROOT, settings={**SETTINGS, "APP_ROLES": role})["functions"]
    assert sorted(functions) == sorted(one.get_function_name() for one in app.get_functions())
    http = [name for name, bindings in functions.items() if _trigger(bindings)["type"] == "httpTrigger"]
    calls = []
    for name in http:
        trigger = _trigger(functions[name])
        request = {
            "method": trigger.get("methods", ["TRACE"])[0],
            "url": f"http://127.0.0.1/{trigger['route']}",
            "body": "{}",
        }
        inputs: dict[str, Any] = {trigger["name"]: {"http": {**request, "params": {"id": "x"}}}}
        for client in (b["name"] for b in functions[name] if b["type"] == "durableClient"):
            inputs[client] = {"string": json.dumps(binding("http://127.0.0.1:1/key"))}
        calls.append({"function": name, "inputs": inputs})
    nowhere = "AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:1/a;"
    results = drive(ROOT, calls, {**SETTINGS, "APP_ROLES": role, "SCIMLINK_TABLES": nowhere})["results"]
    statuses = {name: result["value"] and result["value"]["status"] for name, result in zip(http, results, strict=True)}
    assert (statuses.pop("health"), statuses.pop("health_live")) == (200, 200)
    assert statuses.pop("health_ready") == 503, "there is no storage"
    portal = {statuses.pop(name) for name in ("portal_page", "portal_form") if role == "admin"}
    assert portal <= {404}, "nobody signs in here"
    assert set(statuses.values()) == {401}, statuses


def test_our_lines_reach_azure_and_those_of_its_sdk_about_every_request_do_not(drive: Drive, azurite: str) -> None:
    request = {
        "http": {"method": "GET", "url": "http://app/scim/v2/Users", "headers": {"authorization": "Bearer right"}}
    }
    calls = [{"function": "scim_users_query", "inputs": {"req": request}}] * 2
    answer = drive(ROOT, calls, {**SETTINGS, "SCIMLINK_TABLES": azurite})
    assert [result["value"]["status"] for result in answer["results"]] == [200, 200]
    assert [line[:2] for line in answer["logs"]].count(["INFO", "scimlink"]) == 2
    assert [line for line in answer["logs"] if line[1].startswith("azure.")] == []


TIMERS: dict[Role, set[str]] = {
    "scim": {"credentials_expire"},
    "admin": {"credentials_expire", "jobs_remove", "scheduled_runs", "sweep", "tables_copy"},
}
IN_FIVE_DAYS = (datetime.now(UTC) + timedelta(days=5, hours=12)).isoformat()


@pytest.mark.parametrize("role", ["scim", "admin"])
async def test_every_timer_of_a_role_runs_in_the_worker(drive: Drive, azurite: str, role: Role) -> None:
    tables = AzureTables.from_connection_string(azurite)
    await make_directory(tables, f"timers{role}", 2)
    await tables.close()
    credential = json.loads(Credential.of("right", "entra", role, directory=f"timers{role}").model_dump_json())
    credentials = json.dumps([{**credential, "expires": IN_FIVE_DAYS}])
    settings = {"SCIMLINK_TABLES": azurite, "SCIMLINK_CREDENTIALS": credentials, "APP_ROLES": role}
    functions = drive(ROOT, settings=settings)["functions"]
    timers = _named_by(functions, "timerTrigger")
    assert timers == TIMERS[role]
    due = json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": True})
    calls = []
    for name in sorted(timers):
        given = {_trigger(functions[name])["name"]: {"json": due}}
        clients = [one["name"] for one in functions[name] if one["type"] == "durableClient"]
        given |= {client: {"string": json.dumps(binding("http://127.0.0.1:1/key"))} for client in clients}
        calls.append({"function": name, "inputs": given})
    answer = drive(ROOT, calls, settings)
    assert [result["error"] for result in answer["results"]] == [None] * len(calls)
    told = [text for level, logger, text in answer["logs"] if logger == "scimlink"]
    ending = f"credential ends: directory=timers{role} name=entra days=5"
    assert told.count(ending) == 2, "at the start, and by the timer"
    swept = f"links counted: directory=timers{role} linked=0 unconfirmed=0 overdue=0" in told
    assert swept == (role == "admin")
    assert [line for line in answer["logs"] if line[0] in ("ERROR", "CRITICAL")] == []


def test_requests_as_azures_host_hands_them_on_are_answered(drive: Drive, azurite: str) -> None:
    """A body in chunks is empty there, an address without a function is the catch-all's, and names keep their case."""
    headers = {"authorization": "Bearer right"}
    sent = [
        ("scim_users_create", {"method": "POST", "headers": {**headers, "transfer-encoding": "chunked"}}),
        ("unanswered", {"method": "OPTIONS", "headers": headers, "params": {"path": "scim/v2/Users"}}),
        ("unanswered", {"method": "DELETE", "headers": headers, "params": {"path": "scim/v2/Bulk"}}),
        ("unanswered", {"method": "GET", "headers": headers}),
        ("scim_users_query", {"method": "HEAD", "headers": headers, "query": {"COUNT": "x"}}),
        ("scim_query", {"method": "GET", "headers": headers, "query": {"Count": "0"}}),
    ]
    calls = [{"function": name, "inputs": {"req": {"http": request}}} for name, request in sent]
    results = drive(ROOT, calls, {**SETTINGS, "SCIMLINK_TABLES": azurite})["results"]
    answers = [result["value"] for result in results]
    assert [answer["status"] for answer in answers] == [411, 204, 405, 404, 400, 200]
    assert [answer["headers"].get("Allow") for answer in answers[1:3]] == ["GET, HEAD, OPTIONS, POST", "OPTIONS, POST"]


def test_every_address_says_in_the_worker_which_methods_it_takes(drive: Drive, azurite: str) -> None:
    told = [_trigger(bindings) for bindings in drive(ROOT, settings=SETTINGS)["functions"].values()]
    routes = [(one["route"], one["methods"]) for one in told if one["type"] == "httpTrigger" and "methods" in one]
    addresses = sorted({path_of(route) for route, _ in routes})
    headers = {"authorization": "Bearer right"}
    calls = [
        {
            "function": "unanswered",
            "inputs": {"req": {"http": {"method": method, "headers": headers, "params": params}}},
        }
        for params in ({"path": address[1:]} for address in addresses)
        for method in ("OPTIONS", "PROPFIND")
    ]
    results = drive(ROOT, calls, {**SETTINGS, "SCIMLINK_TABLES": azurite})["results"]
    answers = [(result["value"]["status"], result["value"]["headers"]["Allow"]) for result in results]
    assert len(answers) == 2 * len(addresses) > 100
    for at, address in enumerate(addresses):
        methods = {method for route, taken in routes if matcher(route)(address) for method in taken}
        allow = ", ".join(sorted({*methods, "OPTIONS"}))
        assert answers[2 * at : 2 * at + 2] == [(204, allow), (405, allow)], address
        assert ("GET" in methods) == ("HEAD" in methods)


def test_the_portal_answers_in_the_worker(drive: Drive, azurite: str) -> None:
    """A page with its templates, an asset, and a form, which is read and refused for its token."""
    settings = {
        **SETTINGS,
        "SCIMLINK_TABLES": azurite,
        "SCIMLINK_PORTAL_AUTH": "easyauth",
        "SCIMLINK_PORTAL_AUDIENCE": CLIENT,
        "SCIMLINK_PORTAL_TENANTS": json.dumps({TENANT: "workerportal"}),
    }
    client = {"string": json.dumps(binding("http://127.0.0.1:1/key"))}
    who = {name.lower(): value for name, value in {**OPERATOR, **SAME_SITE}.items()}

    def call(path: str, **more: Any) -> dict[str, Any]:
        asked = {
            "method": "GET",
            "url": f"http://admin/portal/{path}",
            "headers": who,
            "params": {"path": path},
            **more,
        }
        name = "portal_page" if asked["method"] == "GET" else "portal_form"
        return {"function": name, "inputs": {"req": {"http": asked}, "client": client}}

    page, asset = drive(ROOT, [call(""), call(addresses()["portal.css"])], settings)["results"]
    assert (page["value"]["status"], asset["value"]["status"]) == (200, 200)
    assert "Import your accounts" in page["value"]["body"]
    form = '--b\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n--b--\r\n'
    headers = {**who, "content-type": "multipart/form-data; boundary=b"}
    (sent,) = drive(ROOT, [call("", method="POST", headers=headers, body=form)], settings)["results"]
    assert sent["value"]["status"] == 403
    assert "made for another sign-in" in sent["value"]["body"]


def test_no_line_of_ours_is_sampled_away() -> None:
    """https://learn.microsoft.com/azure/azure-functions/functions-host-json#applicationinsightssamplingsettings"""
    logging = json.loads((ROOT / "host.json").read_text())["logging"]
    assert {"Exception", "Trace"} <= {*logging["applicationInsights"]["samplingSettings"]["excludedTypes"].split(";")}
    assert logging["logLevel"]["default"] == "Information"
