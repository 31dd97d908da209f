"""The app over HTTP as an administrator uses it, and a run's passes without HTTP or executor, one after the other."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

import function_app
from infra.local.host import LocalHost
from link_orchestrator import activities, orchestrator, staged
from link_orchestrator.messages import FORM, Start
from link_orchestrator.passes import compare
from link_orchestrator.staged import identity_bucket
from link_orchestrator.warnings import CODES, HARMFUL
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key, Keys
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Resource
from shared.directory.records.resources import Resources
from shared.directory.text import timestamp
from shared.directory.work import seen
from shared.directory.work.jobs import Job
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.stages import STAGE
from shared.directory.work.staging import Stage
from shared.host.graph_settings import GraphSettings
from shared.host.settings import Settings
from shared.tables.access import delete
from shared.tables.port import Delete, Insert, Row, Tables, Value
from shared.tables.sqlite import SqliteTables
from tests.openapi import check_answer
from tests.waiting import until

R = TypeVar("R", bound=Resource)

TOKEN = "token-of-the-administrator"
SECRET = "5e" * 32
SEEN = [*CODES, *HARMFUL]
"""What an approval acknowledges that is not about warnings: all of them."""
POLICY = {"verifiedDomains": ["contoso.com", "fabrikam.com"]}


async def make_directory(tables: Tables, name: str = "main", buckets: int = 4) -> Directory:
    """Return a new directory with few buckets: there is less to go through, and several accounts share one."""
    columns: dict[str, Value | None] = {"secret": SECRET, "buckets": buckets, "created": timestamp()}
    await tables.commit(f"{name}_d", [Insert("directory", columns)])
    return await Directories(tables).open(name)


def object_id(number: int) -> str:
    """Return an identity's id."""
    return f"{number:08x}-0000-4000-8000-000000000000"


def graph(number: int, name: str, **attributes: Any) -> dict[str, Any]:
    """Return an identity as Microsoft Graph shows it, with the name as its address."""
    return {"id": object_id(number), "userPrincipalName": name, "mail": name, **attributes}


def csv_file(*rows: Mapping[str, str]) -> bytes:
    """Return rows as a CSV file with all columns that occur."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class Refusal(Exception):
    """An answer of 400 and above."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Api:
    """The app's HTTP doors."""

    session: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **params: str
    ) -> Any:
        """Send a request and return the answer's JSON. Raises Refusal."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(
            method, "/" + path, data=data and io.BytesIO(data), params=params, headers={"Content-Type": content_type}
        ) as answer:
            text = await answer.text()
            shown = json.loads(text) if text else None
            if not path.startswith("scim/"):
                check_answer(method, "/" + path, answer.status, shown)
            if answer.status >= 400:
                raise Refusal(answer.status, shown["detail"] if shown else "")
            return shown

    async def wait(self, path: str, *phases: str) -> Any:
        """Poll a job until it is in one of these phases, or has ended."""

        async def ended() -> Any:
            job = await self.call("GET", path)
            return job if job["phase"] in phases or "ended" in job else None

        return await until(ended)

    async def bring(self, file: bytes, /, content_type: str = "text/csv", **params: str) -> Any:
        """Import accounts and return the job once it has ended."""
        job = await self.call("POST", "accounts/import", file, content_type, **params)
        return await self.wait(f"accounts/imports/{job['id']}", "done")

    async def problems(self, job: Any) -> list[dict[str, Any]]:
        """Return the rows that an import refused, by line."""
        page = await self.call("GET", f"accounts/imports/{job['id']}/problems", count="1000")
        return sorted(page["problems"], key=lambda problem: (problem["line"], problem["reason"]))

    async def upload(self, *identities: Mapping[str, Any]) -> str:
        """Upload identities and return the id to name in a run."""
        upload = await self.call("POST", "linking/identities", {"value": list(identities)})
        return str(upload["id"])

    async def plan(self, *identities: Mapping[str, Any], **asked: Any) -> Any:
        """Return a run over these identities once it is planned."""
        run = await self.call("POST", "linking/runs", {"identities": await self.upload(*identities), **asked})
        return await self.wait(f"linking/runs/{run['id']}", "planned")

    async def approve(self, run: Any, **approval: Any) -> Any:
        """Approve a run, by its number of links if no other is said, and acknowledge whatever it warns of."""
        asked = {"links": run["links"], "acknowledged": SEEN} | approval
        return await self.call("POST", f"linking/runs/{run['id']}/approve", asked)

    async def apply(self, run: Any, **approval: Any) -> Any:
        """Approve a run and return it once it has ended."""
        await self.approve(run, **approval)
        return await self.wait(f"linking/runs/{run['id']}", "done")

    async def decisions(self, run: Any, decision: str = "", count: int = 1000) -> list[dict[str, Any]]:
        """Return all rows of a plan, page by page."""
        path, rows, cursor = f"linking/runs/{run['id']}/decisions", list[dict[str, Any]](), ""
        asked = {"decision": decision} if decision else {}
        while True:
            page = await self.call("GET", path, count=str(count), cursor=cursor, **asked)
            assert len(page["decisions"]) <= count
            rows += page["decisions"]
            if "cursor" not in page:
                return rows
            cursor = page["cursor"]

    async def pages(self, path: str, name: str, count: int, **asked: str) -> list[Any]:
        """Return all rows of a list, page by page."""
        rows, cursor = list[Any](), ""
        while True:
            page = await self.call("GET", path, count=str(count), cursor=cursor, **asked)
            assert len(page[name]) <= count
            rows += page[name]
            if "cursor" not in page:
                return rows
            cursor = page["cursor"]

    async def account(self, user_name: str) -> dict[str, Any]:
        """Return the account of that userName with its history."""
        found = (await self.call("GET", "accounts", userName=user_name))["accounts"]
        assert len(found) == 1, f"{len(found)} accounts"
        account: dict[str, Any] = await self.call("GET", f"accounts/{quote(found[0]['id'])}")
        return account


@dataclass(frozen=True, slots=True)
class App(Api):
    """An app that runs in this process, and the tables below it."""

    host: LocalHost
    tables: Tables


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the administrator's token."""
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session


@asynccontextmanager
async def serving(
    folder: Path, wrap: Callable[[Tables], Tables] = lambda tables: tables, graph: GraphSettings | None = None
) -> AsyncIterator[App]:
    """Serve the app over the SQLite file of a folder while the block runs; `wrap` goes around its tables."""
    inner = SqliteTables.open(folder / "scimlink.db", "accounts")
    tables, histories = wrap(inner), SqliteTables.open(folder / "scimlink.db", "histories")
    try:
        if await inner.get("main_d", "directory") is None:
            directory = await make_directory(inner)
            await directory.policies.set(Policy.from_json(POLICY))
        app = function_app.build(Settings.local(TOKEN, graph), tables)
        async with LocalHost(app, histories) as host, connected(host.url) as session:
            yield App(session, host, inner)
    finally:
        await inner.close()
        await histories.close()


async def staged_in(tables: Tables, name: str = "main") -> set[str]:
    """Return the names of a directory's stages that hold something."""
    keys = (await Directories(tables).open(name)).keys
    names = [str(row.columns["name"]) for row in await rows_of(tables, keys.jobs()) if row.key.startswith(STAGE)]
    rows = {one: [1 for n in range(keys.buckets) async for _ in Stage(tables, keys, one).lines(n)] for one in names}
    return {one for one, found in rows.items() if found}


async def leave_out_entries(tables: Tables, keys: Keys) -> None:
    """Leave the jobs as a version of the app stored them that knew no entries."""
    rows = [row for row in await rows_of(tables, keys.jobs()) if row.key.startswith("entr")]
    await delete(tables, keys.jobs(), [Delete(row.key, row.etag) for row in rows])


async def rows_of(tables: Tables, partition: str) -> list[Row]:
    """Return all rows of a partition."""
    rows: list[Row] = []
    continuation = None
    while True:
        page = await tables.query(partition, continuation=continuation)
        rows += page.rows
        continuation = page.continuation
        if continuation is None:
            return rows


def count_rows(file: Path, partition: str = "") -> int:
    """Return how many rows a server stores in a file, in partitions whose names hold this."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT count(*) FROM scimlink WHERE instr(partition, ?)", (partition,))
        return int(found.fetchone()[0])


async def holder(resources: Resources[R], name: Key) -> R | None:
    """Return the resource that holds a name."""
    return next(iter(await resources.list_by(name)), None)


async def left_open(tables: Tables, plan: Plan, object_id: str) -> str | None:
    """Return the decision by which a plan left an identity to the administrator, or None."""
    row = await tables.get(*plan.open_place(object_id))
    return str(row.columns["decision"]) or None if row else None


async def directory_rows(directory: Directory) -> list[Row]:
    """Return all rows of a directory's accounts and keys."""
    keys = directory.keys
    places = [place(bucket) for bucket in range(keys.buckets) for place in (keys.resources, keys.pointers)]
    return [row for place in places for row in await rows_of(directory.tables, place)]


async def all_accounts(directory: Directory) -> list[Account]:
    """Return a directory's live accounts."""
    return [a for bucket in range(directory.keys.buckets) async for a in directory.listing.scan(bucket)]


async def plan_rows(directory: Directory, job_id: str) -> list[PlanRow]:
    """Return all rows of a run's plan or an import's report."""
    rows, _ = await directory.plan(job_id).page("", "", 100_000)
    return rows


async def begin_run(directory: Directory, identities: Sequence[Identity], policy: Policy, *, full: bool = True) -> Job:
    """Record a run over these identities, as the service does."""
    jobs = directory.jobs
    upload = jobs.new_id("identities")
    writer = directory.stage(upload).writer()
    for identity in identities:
        await writer.add(identity_bucket(directory.keys, identity.object_id), identity.to_json())
    await writer.close()
    run = jobs.new_id("run")
    await directory.stages.announce(run, staged.names(run, (*staged.PLANNED, *staged.COMPARED)))
    await directory.stages.announce(run, seen.stages_of(run), days=seen.DAYS)
    options: dict[str, Any] = {"identities": upload, "policy": policy.to_json()}
    if not full and (former := await compare.find_former(directory, options)):
        options["since"] = former
    return await jobs.start("run", "test", run, options)


def start_of(directory: Directory, job: Job, slices: int = 1) -> Start:
    """Return what the job's orchestration begins with."""
    return Start(
        job=job.id,
        directory=directory.name,
        buckets=directory.keys.buckets,
        slices=slices,
        expires_hours=1,
        compares="since" in job.options,
        returns_names=job.kind == "undo",
        form=FORM,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What an orchestrator waits for: an activity call, an event, or a timer."""

    name: str
    message: Any = None
    cancelled: list[datetime] = field(default_factory=list)
    result: Any = None

    def cancel(self) -> None:
        """Note that a timer was cancelled."""
        self.cancelled.append(self.message)


@dataclass
class Engine:
    """Plays an orchestrator without a durable host: each activity is awaited as it comes. `verdict` ends the waiting.

    It is a DurableOrchestrationContext as far as orchestrator.py uses it; requests/test_runs.py has the real one.
    """

    call: Callable[[str, Any], Any]
    verdict: str = orchestrator.APPROVE
    order: Callable[[list[Task]], Sequence[Task]] = lambda tasks: tasks
    current_utc_datetime: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    statuses: list[Any] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    timers: list[datetime] = field(default_factory=list)
    fired: list[datetime] = field(default_factory=list)
    cancelled: list[datetime] = field(default_factory=list)
    start: Any = None

    def get_input(self) -> Any:
        return self.start

    @property
    def custom_status(self) -> Any:
        return self.statuses[-1] if self.statuses else None

    def set_custom_status(self, status: Any) -> None:
        self.statuses.append(status)

    def call_activity_with_retry(self, name: str, retry: Any, message: Any) -> Task:
        assert retry == "retry"
        return Task(name, json.loads(json.dumps(message)))

    def task_all(self, tasks: list[Task]) -> list[Task]:
        return tasks

    def task_any(self, tasks: list[Task]) -> tuple[Task, ...]:
        return tuple(tasks)

    def wait_for_external_event(self, name: str) -> Task:
        return Task(name)

    def create_timer(self, deadline: datetime) -> Task:
        self.timers.append(deadline)
        return Task("timer", deadline, self.cancelled)

    async def play(self, body: Callable[[Any, Any], Generator[Any, Any, Any]], start: Start) -> Any:
        """Run an orchestrator to its end and return what it returns."""
        self.start = start.to_json()
        steps = body(self, "retry")
        answer: Any = None
        try:
            wanted = next(steps)
            while True:
                try:
                    answer = await self._answer(wanted)
                except Exception as error:
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(answer)
        except StopIteration as end:
            return end.value

    async def _answer(self, wanted: Any) -> Any:
        if isinstance(wanted, tuple):
            return self._fire(next(task for task in wanted if task.name == self.verdict))
        if isinstance(wanted, Task):
            return await self._run(wanted)
        self.windows.append(len(wanted))
        done = {task: await self._run(task) for task in self.order(list(wanted))}
        return [done[task] for task in wanted]

    def _fire(self, task: Task) -> Task:
        if task.name == "timer":
            self.current_utc_datetime = max(self.current_utc_datetime, task.message)
            self.fired.append(task.message)
        return task

    async def _run(self, task: Task) -> Any:
        self.calls.append((task.name, task.message))
        if task.name == "timer":
            return self._fire(task)
        return json.loads(json.dumps(await self.call(task.name, task.message)))


def activity_calls(directories: Directories) -> Callable[[str, Any], Any]:
    """Return what calls the app's activities by name."""
    known = {
        name: getattr(activities, name) for name in ("run_slice", "choose_extent", "approve_itself", "reach_milestone")
    }
    return lambda name, message: known[name](directories, message)


async def play_run(directory: Directory, job: Job, slices: int = 1, **engine: Any) -> Engine:
    """Run a linking run through all its passes, approved."""
    played = Engine(activity_calls(Directories(directory.tables)), **engine)
    await played.play(orchestrator.link_accounts, start_of(directory, job, slices))
    return played
