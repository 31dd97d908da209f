"""What the Azure host gets when it loads the app: by its roles, and with wrong settings."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.durable_functions.models.utils.df_serialization import df_loads

from infra.local.host import LocalHost
from infra.package import list_files
from shared.host.settings import Credential, Settings
from shared.tables.sqlite import SqliteTables

APP = Path(__file__).parent.parent / "function_app.py"


TOKEN = Credential.of("token", "test", "scim", "admin").model_dump_json()
COMPLETE = {
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "SCIMLINK_TABLES_ENDPOINT": "https://127.0.0.1:1",
    "SCIMLINK_CREDENTIALS": f"[{TOKEN}]",
}
LINKING = ("azure.durable_functions", "link_orchestrator", "shared.admin", "msal")
"""What an app that answers SCIM alone has no use for."""
FIRST_PAGE = ("jinja2", "multipart")
"""What is imported once a page of the portal is asked for, and by no start."""
SCIM_ROOMS = ("scim_users.service", "scim_groups.service", "shared.scim_root")


def _load(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> Any:
    """Run function_app.py as the worker does, with these settings alone. Returns the app, None if there is none."""
    for name in [name for name in os.environ if name.startswith(("SCIMLINK_", "FUNCTIONS_", "WEBSITE_", "APP_ROLES"))]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(APP)).get("app")


def test_without_settings_nothing_is_made(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert _load(monkeypatch, {}) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"SCIMLINK_TABLES_ENDPOINT": ""}, "SCIMLINK_TABLES_ENDPOINT is missing"),
        ({"SCIMLINK_TABLES_ENDPOINT": "account"}, "SCIMLINK_TABLES_ENDPOINT must be an address like https://ACCOUNT."),
        ({"SCIMLINK_TABLES_ENDPOINT": "http://127.0.0.1:1"}, "SCIMLINK_TABLES_ENDPOINT must be an address like"),
        ({"SCIMLINK_TABLES_ENDPOINT": "https://a:port"}, "SCIMLINK_TABLES_ENDPOINT must be an address like"),
        ({"SCIMLINK_TABLES_ENDPOINT": "https://a#b"}, "SCIMLINK_TABLES_ENDPOINT must be an address like"),
        ({"SCIMLINK_BASE_URL": "scim.example.com"}, "SCIMLINK_BASE_URL must be an address like https://scim."),
        ({"SCIMLINK_BASE_URL": "http://scim.example.com"}, "SCIMLINK_BASE_URL must be an address like"),
        ({"SCIMLINK_BASE_URL": "https://scim.example.com/scim/v2"}, "SCIMLINK_BASE_URL must be an address like"),
        ({"SCIMLINK_BASE_URL": "https://scim.example.com?"}, "SCIMLINK_BASE_URL must be an address like"),
        ({"SCIMLINK_BASE_URL": "https://user@scim.example.com"}, "SCIMLINK_BASE_URL must be an address like"),
        ({"SCIMLINK_BASE_URL": "https://scim.example.com\r\nX: y"}, "SCIMLINK_BASE_URL must be an address like"),
        ({"SCIMLINK_BACKUPS_ENDPOINT": "https://a/backups"}, "SCIMLINK_BACKUPS_ENDPOINT must be an address like"),
        ({"SCIMLINK_GRAPH_AUTHORITY": "https://a:port"}, "SCIMLINK_GRAPH_AUTHORITY: "),
        ({"SCIMLINK_CREDENTIALS": "[" * 100_000}, "SCIMLINK_CREDENTIALS must be a JSON list"),
        ({"SCIMLINK_GRAPH_TENANTS": "[" * 100_000}, "SCIMLINK_GRAPH_TENANTS must be a JSON object"),
        ({"SCIMLINK_CREDENTIALS": ""}, "SCIMLINK_CREDENTIALS must be a JSON list"),
        ({"SCIMLINK_CREDENTIALS": "[]"}, "SCIMLINK_CREDENTIALS has no entry with the role admin"),
        ({"APP_ROLES": "scim", "SCIMLINK_CREDENTIALS": "[]"}, "no entry with the role scim"),
        ({"APP_ROLES": "skim"}, "APP_ROLES must be scim, admin, or both"),
        ({"SCIMLINK_BUCKETS": "many"}, "SCIMLINK_BUCKETS must be a number"),
        ({"SCIMLINK_GRAPH_ENDPOINT": "http://graph.microsoft.com"}, "SCIMLINK_GRAPH_ENDPOINT: "),
    ],
)
async def test_a_wrong_setting_is_named_by_every_answer(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    wrong: Mapping[str, str],
    named: str,
) -> None:
    app = _load(monkeypatch, {**COMPLETE, **wrong})
    assert named in caplog.text
    histories = SqliteTables.open(tmp_path / "histories.db")
    async with LocalHost(app, histories) as host, aiohttp.ClientSession(host.url) as session:
        for path in ("/health", "/health/ready", "/scim/v2/Users", "/linking/runs"):
            async with session.get(path) as answer:
                assert answer.status == 503, path
                assert named in (await answer.json())["settings"]
        async with session.get("/health/live") as answer:
            assert answer.status == 200
    await histories.close()


async def test_a_connection_string_that_is_none_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Tables are opened late: by then the app is no faulty one any more."""
    app = _load(monkeypatch, {**COMPLETE, "SCIMLINK_TABLES": "AccountKey hunter2"})
    histories = SqliteTables.open(tmp_path / "histories.db")
    token = {"Authorization": "Bearer token"}
    async with LocalHost(app, histories) as host, aiohttp.ClientSession(host.url, headers=token) as session:
        for path, status in (("/health", 200), ("/health/ready", 503), ("/scim/v2/Users", 500)):
            async with session.get(path) as answer:
                assert answer.status == status, path
                assert "SCIMLINK_TABLES is no connection string" in await answer.text()
                assert "hunter2" not in await answer.text()
    assert "hunter2" not in caplog.text
    await histories.close()


async def test_a_faulty_app_answers_every_method_with_its_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _load(monkeypatch, {**COMPLETE, "APP_ROLES": "skim"})
    histories = SqliteTables.open(tmp_path / "histories.db")
    token = {"Authorization": "Bearer token"}
    async with LocalHost(app, histories) as host, aiohttp.ClientSession(host.url, headers=token) as session:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
            for path in (
                "/",
                "/health/ready",
                "/health/live/x",
                "/scim/v2/Users/1",
                "/linking/runs",
                "/%2e%2e/x",
                "//",
            ):
                async with session.request(method, path) as answer:
                    assert answer.status == 503, (method, path)
        async with session.post("/health/live") as answer:
            assert answer.status == 503
    await histories.close()


@pytest.mark.parametrize(
    ("roles", "absent", "there"),
    [("scim", LINKING, SCIM_ROOMS), ("admin", SCIM_ROOMS, LINKING), ("admin, SCIM", (), (*LINKING, *SCIM_ROOMS))],
)
def test_an_app_registers_and_imports_what_its_roles_need(
    roles: str, absent: Sequence[str], there: Sequence[str]
) -> None:
    """In a process of its own: another test has imported everything."""
    script = "import function_app, sys; print([f.get_function_name() for f in function_app.app.get_functions()])"
    script += "; print(list(sys.modules))"
    environment = {"PATH": os.environ["PATH"], **COMPLETE, "APP_ROLES": roles}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=APP.parent, env=environment, check=True, capture_output=True, text=True
    )
    names, modules = done.stdout.splitlines()
    assert not [module for module in (*absent, *FIRST_PAGE) if f"'{module}'" in modules]
    assert [module for module in there if module != "msal" and f"'{module}'" not in modules] == []
    assert ("'scim_users_create'" in names, "'sweep'" in names, "'health_ready'" in names) == (
        "scim" in roles.lower(),
        "admin" in roles,
        True,
    )


def test_the_public_address_is_plain_http_on_this_machine_alone() -> None:
    for given, taken in (
        ("https://scim.example.com/", "https://scim.example.com"),
        ("http://127.0.0.1:7071", "http://127.0.0.1:7071"),
        ("", ""),
    ):
        assert Settings.from_environment({"SCIMLINK_BASE_URL": given}).base_url == taken


def test_a_token_that_ends_soon_is_told_of_at_the_start_and_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ending(name: str, days: int) -> str:
        end = (datetime.now(UTC) + timedelta(days=days, minutes=1)).isoformat()
        return json.dumps(json.loads(TOKEN) | {"name": name, "expires": end})

    credentials = ",".join([TOKEN, ending("over", -2), ending("entra", 6), ending("script", 61)])
    assert _load(monkeypatch, {**COMPLETE, "SCIMLINK_CREDENTIALS": f"[{credentials}]"})
    assert caplog.messages == [
        "credential ends: directory=main name=over days=-2",
        "credential ends: directory=main name=entra days=6",
    ]


def test_the_number_of_buckets_is_a_setting() -> None:
    assert Settings.from_environment({}).buckets == 64
    assert Settings.from_environment({"SCIMLINK_BUCKETS": "256"}).buckets == 256
    for wrong in ("0", "257", "many"):
        with pytest.raises(ValueError, match="SCIMLINK_BUCKETS"):
            Settings.from_environment({"SCIMLINK_BUCKETS": wrong})


def test_the_durable_sdk_never_builds_objects_of_names_that_it_finds_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_FUNCTIONS_DURABLE_STRICT_TYPING", "0")
    runpy.run_path(str(APP))
    found = {"row": {"__class__": "Path", "__module__": "pathlib", "__data__": "x"}}
    assert df_loads(json.dumps(found)) == found


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
@pytest.mark.parametrize(("role", "most_seconds", "most_megabytes"), [("scim", 0.8, 45), ("admin", 2.0, 75)])
def test_an_app_starts_quickly_and_small(role: str, most_seconds: float, most_megabytes: int, tmp_path: Path) -> None:
    """The package alone, without bytecode of its own: Azure mounts it read-only, so that each start compiles it."""
    for name in list_files(APP.parent):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(APP.parent / name, tmp_path / name)
    script = """import time
began = time.process_time()
import function_app
status = open("/proc/self/status").read()
print(time.process_time() - began, int(status.partition("VmRSS:")[2].split()[0]) / 1024)"""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **COMPLETE, "APP_ROLES": role}
    command = [sys.executable, "-c", script]
    starts = [
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(3)
    ]
    seconds, megabytes = (min(values) for values in zip(*(map(float, start.split()) for start in starts), strict=True))
    assert seconds <= most_seconds
    assert megabytes <= most_megabytes
