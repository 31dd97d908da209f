"""What the log tells whoever watches over a deployment: numbers and codes, and nobody's data."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.graph import Fault
from shared.directory import figures
from tests.link_orchestrator.graph.test_graph import ALL, standing
from tests.link_orchestrator.life import USER
from tests.link_orchestrator.running import App, csv_file, graph

ADA, BOB = "ada@contoso.com", "bob@contoso.com"


class Later(datetime):
    """The clock, four days on."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(days=4)


@contextmanager
def told(caplog: pytest.LogCaptureFixture, title: str) -> Iterator[list[str]]:
    """Collect the figures of a title that are logged in the block."""
    lines: list[str] = []
    caplog.clear()
    with caplog.at_level(logging.INFO):
        yield lines
    lines += [text for text in caplog.messages if text.startswith(f"{title}: ")]
    assert "contoso" not in "".join(lines)


async def test_the_nightly_upkeep_counts_links_that_wait_and_those_that_wait_for_too_long(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.bring(csv_file({"userName": ADA}, {"userName": BOB}, {"userName": "cy@contoso.com"}))
    await app.apply(await app.plan(graph(1, ADA), graph(2, BOB)))
    with told(caplog, "links counted") as lines:
        await app.host.run_timer("sweep")
        monkeypatch.setattr(figures, "datetime", Later)
        await app.host.run_timer("sweep")
    assert lines == [
        "links counted: directory=main linked=2 unconfirmed=2 overdue=0",
        "links counted: directory=main linked=2 unconfirmed=2 overdue=2",
    ]


async def test_a_job_that_lost_its_orchestration_is_told_of_once(app: App, caplog: pytest.LogCaptureFixture) -> None:
    run = await app.plan(graph(1, ADA))
    await app.host.executor.terminate(run["id"], "by hand")
    with told(caplog, "job failed") as lines:
        for _ in range(2):
            assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "failed"
    assert lines == [f"job failed: directory=main kind=run code=lost job={run['id']}"]


@pytest.mark.parametrize(("status", "code"), [(403, "graphPermission"), (400, "source")])
async def test_a_run_that_graph_refuses_is_told_of_by_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, code: str
) -> None:
    async with standing(tmp_path, monkeypatch) as (stand_in, app):
        stand_in.faults = lambda number, path: Fault(status, code="Nothing") if path == "/v1.0/users" else None
        with told(caplog, "job failed") as lines:
            run = await app.call("POST", "linking/runs", {"source": ALL})
            assert (await app.wait(f"linking/runs/{run['id']}", "failed"))["reason"]
    assert lines == [f"job failed: directory=main kind=run code={code} job={run['id']}"]


async def test_an_answer_is_told_of_with_the_kind_of_its_refusal(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with told(caplog, "answered") as lines:
        for user in (ADA, ADA):
            async with app.session.post("/scim/v2/Users", json={"schemas": [USER], "userName": user}):
                pass
    assert [re.sub(r"service=[\w.]+", "service", line) for line in lines] == [
        "answered: role=scim service id=- status=201 kind=-",
        "answered: role=scim service id=- status=409 kind=uniqueness",
    ]


async def test_an_undo_by_a_wrong_number_is_no_failure_of_the_app(app: App, caplog: pytest.LogCaptureFixture) -> None:
    await app.bring(csv_file({"userName": ADA}))
    run = await app.apply(await app.plan(graph(1, ADA)))
    with told(caplog, "job failed") as lines:
        undo = await app.call("POST", f"linking/runs/{run['id']}/undo", {"activate": 7})
        ended = await app.wait(f"linking/undos/{undo['id']}", "failed")
    assert ended["reason"].startswith("activate: the undo would switch on 0 accounts, not 7; nothing was changed")
    assert lines == []
    assert f"job {undo['id']} ended by what it was asked for, activate" in caplog.messages
    assert not _errors(caplog)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "linking/runs", b"{", 400),
        ("POST", "linking/runs", b'{"identities": "none"}', 400),
        ("GET", "linking/runs/none", None, 404),
        ("PUT", "directory/policy", b'{"rules": 7}', 400),
        ("POST", "accounts/import", b"%PDF-1.7", 400),
        ("POST", "linking/runs/none/approve", b'{"links": -1}', 404),
        ("GET", "directory/activity?cursor=x", None, 400),
        ("POST", "scim/v2/Users", b'{"userName": ""}', 400),
        ("DELETE", "scim/v2/Users/none", None, 404),
        ("POST", "scim/v2/Bulk", b"[" * 2_000, 400),
    ],
)
async def test_what_a_client_gets_wrong_is_no_error_of_the_app(
    app: App, caplog: pytest.LogCaptureFixture, method: str, path: str, body: bytes | None, status: int
) -> None:
    with told(caplog, "answered") as lines:
        async with app.session.request(method, f"/{path}", data=body) as answer:
            assert answer.status == status, await answer.text()
    assert lines
    assert not _errors(caplog)


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
