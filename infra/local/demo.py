"""`make demo`: the main job from start to end, on made-up people, against the real app on this machine.

Accounts are imported, a plan is made, approved and applied, and the stand-in for Entra plays a provisioning cycle. Then
the demo compares what became of everybody with what the plan predicted. All of it goes over HTTP, as an administrator's
and Entra's requests do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra.local.demo_data import generate, write
from infra.local.entra import Cycle, CycleReport
from infra.local.graph import GraphStandIn, every
from infra.local.process import running
from infra.local.standins.tenant import Tenant, read_groups, read_users
from link_orchestrator.files.identities import read_identities
from link_orchestrator.orchestrator import GROUP_PLAN_PASSES, PLAN_PASSES
from shared.directory.matching.identity import Identity

ACCOUNTS, IDENTITIES = 1_000, 1_100
ROWS_SHOWN = 2
"""Rows of each decision that are printed as examples."""
IN_A_ROW = PLAN_PASSES + GROUP_PLAN_PASSES
"""Passes that share one progress bar."""
RESULTS = ("matched", "created", "refused", "skipped")
LINES_SHOWN = 20
"""Lines of each result that are printed, but for refused and skipped: all of those are."""
CYCLE_FILE = Path(".data/demo-cycle.txt")
"""The file that has the line of every account."""

# In a pipe there is no width to read, and 80 columns are too few for the tables.
console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)


class Api:
    """The app's HTTP doors, as an administrator uses them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, body: bytes | object = None, content_type: str = "") -> Any:
        """Send a request and return the JSON of its answer. Raises RuntimeError for a refusal."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type or "application/json"}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {answer.get('detail')}")
            return answer

    async def refusal(self, method: str, path: str, body: object) -> str:
        """Send a request that must be refused; return the reason."""
        try:
            await self.call(method, path, body)
        except RuntimeError as error:
            return str(error).partition(": ")[2]
        raise RuntimeError(f"{method} {path} was expected to be refused")

    async def wait(self, path: str, state: str, bar: Progress) -> Any:
        """Wait until a job is in a state, and show how far it is."""
        task = bar.add_task(path.split("/")[1], total=None)
        while True:
            job = await self.call("GET", path)
            progress = job.get("progress", {})
            if "of" in progress:
                done, of = progress["done"], progress["of"]
                passes = IN_A_ROW if progress["pass"] in IN_A_ROW else (progress["pass"],)
                bar.update(task, description=progress["pass"], total=of * len(passes))
                bar.update(task, completed=of * passes.index(progress["pass"]) + done)
            elif "read" in progress:
                bar.update(task, description="read", completed=progress["read"])
            if job["phase"] == state:
                total = bar.tasks[task].total or 1
                bar.update(task, description=state, total=total, completed=total)
                return job
            if "ended" in job:
                raise RuntimeError(f"{path} is {job['phase']}")
            await asyncio.sleep(0.05)


async def main(*, show_all: bool = False, graph: bool = False) -> int:
    """Play the demo; return the exit code.

    `show_all` prints a line for every account of the provisioning cycle. With `graph` the run reads from a stand-in for
    Microsoft Graph, which throttles and breaks off.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(generate(ACCOUNTS, IDENTITIES), folder)
        token = secrets.token_urlsafe(24)
        async with (
            _graph(folder, stand_in=graph) as variables,
            serving(folder / "data", token, variables) as url,
            _session(url, token) as session,
        ):
            api = Api(session)
            people = await import_accounts(api, folder)
            run = await plan(api, folder, graph=graph)
            await show_plan(api, run)
            before = await accounts_here(api, people)
            await apply(api, run)
            await run_again(api, run)
            file = (folder / "identities.json").read_bytes()
            identities = [identity for identity in read_identities(file) if isinstance(identity, Identity)]
            report = await provision(url, token, identities)
            show_cycle(report, show_all=show_all)
            await compare(api, run, report)
            await show_rule(api, run)
            await verify_and_undo(api, run)
            await show_given_back(api, run, before, report)
    return 0


async def import_accounts(api: Api, folder: Path) -> int:
    """Import the existing accounts, beside a few that provisioning made before; return how many there are then."""
    console.rule("1. Existing accounts")
    policy = json.loads((folder / "policy.json").read_text())
    await api.call("PUT", "directory/policy", policy)
    provisioned = (folder / "provisioned.jsonl").read_text().splitlines()
    for line in provisioned:
        await api.call("POST", "scim/v2/Users", json.loads(line))
    job = await api.call("POST", "accounts/import", (folder / "accounts.csv").read_bytes(), "text/csv")
    with _bar() as bar:
        job = await api.wait(f"accounts/imports/{job['id']}", "done", bar)
    console.print("Accounts:", ", ".join(f"{count} {name}" for name, count in sorted(job["counts"].items())))
    people: int = job["counts"]["created"] + len(provisioned)
    job = await api.call("POST", "groups/import", (folder / "groups.csv").read_bytes(), "text/csv")
    with _bar() as bar:
        job = await api.wait(f"groups/imports/{job['id']}", "done", bar)
    console.print("Groups:", ", ".join(f"{count} {name}" for name, count in sorted(job["counts"].items())))
    return people


async def plan(api: Api, folder: Path, *, graph: bool) -> Any:
    """Start a linking run and wait for its plan."""
    console.rule("2. The plan: nothing is changed by it")
    if graph:
        console.print("Identities and groups: read from the stand-in for Microsoft Graph, page by page")
        asked: dict[str, Any] = {"source": {"graph": {"scope": "all"}}, "groups": True}
    else:
        upload = await api.call("POST", "linking/identities", (folder / "identities.json").read_bytes())
        groups = await api.call("POST", "linking/groups", (folder / "entra_groups.json").read_bytes())
        asked = {"identities": upload["id"], "groups": groups["id"]}
    run = await api.call("POST", "linking/runs", asked)
    with _bar() as bar:
        run = await api.wait(f"linking/runs/{run['id']}", "planned", bar)
    if graph:
        console.print("Groups:", ", ".join(f"{count} {name}" for name, count in run["groups"].items()))
    return run


async def show_plan(api: Api, run: Any) -> None:
    """Print the plan: how many by decision, and a few of each with the reason."""
    table = Table("Decision", "Count", "For example", "Why", show_lines=True)
    for decision, count in sorted(run["counts"].items(), key=lambda item: -int(item[1])):
        page = await api.call("GET", f"linking/runs/{run['id']}/decisions?count={ROWS_SHOWN}&decision={decision}")
        rows = page["decisions"]
        who = "\n".join(_name(row) for row in rows)
        why = "\n".join(dict.fromkeys(row["reason"] for row in rows))
        table.add_row(decision, str(count), who, why)
    console.print(table)


async def apply(api: Api, run: Any) -> None:
    """Approve the plan and wait until it is applied."""
    links, groups = run["counts"]["link"], run["counts"]["groupLink"]
    console.rule(f"3. Approved: {links} accounts are linked")
    for warned in run.get("warnings", ()):
        console.print(f"Seen: {warned['warning']}.", markup=False)
    seen = [warned["code"] for warned in run.get("warnings", ())]
    approval = {"links": links, "groups": groups, "acknowledged": seen}
    await api.call("POST", f"linking/runs/{run['id']}/approve", approval)
    with _bar() as bar:
        done = await api.wait(f"linking/runs/{run['id']}", "done", bar)
    console.print(f"Linked {done['counts']['linked']}, refused {done['counts'].get('refused', 0)}.")
    page = await api.call("GET", f"linking/runs/{run['id']}/decisions?decision=groupLink")
    for row in page["decisions"]:
        both, here, there = (row["members"][name] for name in ("both", "onlyHere", "onlyThere"))
        console.print(f"Group {row['group']['displayName']} {row['outcome']}: {both} members are in both, ", end="")
        console.print(f"{here} only here stay in, {there} only in Entra come with provisioning.")


async def run_again(api: Api, run: Any) -> None:
    """Start another run at once: it has nothing to do, and says so."""
    options, began = run["options"], time.monotonic()
    asked = {name: options[name] for name in ("source" if "source" in options else "identities",)}
    later = await api.call("POST", "linking/runs", asked)
    with _bar() as bar:
        later = await api.wait(f"linking/runs/{later['id']}", "done", bar)
    compared = " and ".join(f"{count:,} {name}" for name, count in later["compared"].items())
    console.print(f"Another run compares {compared} in {time.monotonic() - began:.1f} s.", later["reason"])


async def provision(url: str, token: str, identities: list[Identity]) -> CycleReport:
    """Have the stand-in for Entra play a provisioning cycle."""
    console.rule("4. A provisioning cycle of Entra")
    with _bar() as bar:
        task = bar.add_task("provision", total=len(identities))
        return await Cycle(url, token, progress=lambda _: bar.advance(task)).run(identities)


def show_cycle(report: CycleReport, *, show_all: bool) -> None:
    """Print what the cycle did about each account, by result, and write the whole list to a file."""
    outcomes = sorted(report.outcomes, key=lambda o: (RESULTS.index(o.result), o.user_name))
    CYCLE_FILE.parent.mkdir(parents=True, exist_ok=True)
    CYCLE_FILE.write_text("".join(f"{outcome}\n" for outcome in outcomes), "utf-8")
    for result in RESULTS:
        lines = [str(outcome) for outcome in outcomes if outcome.result == result]
        shown = lines if show_all or result not in ("matched", "created") else lines[:LINES_SHOWN]
        for line in shown:
            console.print(line, markup=False, soft_wrap=True)
        if more := len(lines) - len(shown):
            console.print(f"… and {more} more {result}")
    console.print("Totals:", ", ".join(f"{count} {name}" for name, count in report.totals().items()))
    console.print(f"Every account's line is in {CYCLE_FILE}; --all prints them all.", soft_wrap=True)


async def compare(api: Api, run: Any, report: CycleReport) -> None:
    """Print what the cycle did about the identities of each decision, and how much of it the plan predicted."""
    decided: dict[str, str] = {}
    predicted: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = await api.call("GET", f"linking/runs/{run['id']}/decisions?count=1000&cursor={cursor}")
        rows = {row["identity"]["objectId"]: row for row in page["decisions"] if "identity" in row}
        decided |= {object_id: row["decision"] for object_id, row in rows.items()}
        predicted |= {object_id: row["predicted"]["outcome"] for object_id, row in rows.items()}
        cursor = page.get("cursor")
    counts: Counter[tuple[str, str]] = Counter((decided[o.identity], o.result) for o in report.outcomes)
    table = Table("Decision in the plan", *RESULTS, title="Accounts by decision and by what the cycle did")
    for decision in sorted(set(decided.values())):
        table.add_row(decision, *(str(counts[decision, result] or "") for result in RESULTS))
    console.print(table)
    console.print(
        "Nobody got a second account: provisioning neither links nor creates people whom the plan left to an "
        "administrator, until that is settled."
    )
    right = sum(predicted[outcome.identity] == outcome.result for outcome in report.outcomes)
    console.print(f"The plan had predicted this for {right} of {len(report.outcomes)} identities.")


async def show_rule(api: Api, run: Any) -> None:
    """Print for some accounts who manages them now, and how an attempt from the other side is refused."""
    console.rule("5. The rule: linked accounts are the identity provider's, the others stay as they are")
    table = Table(
        "Account",
        "Status",
        "Managed by",
        "Linked by rule",
        "History",
        "An attempt from the other side",
        show_lines=True,
    )
    for decision in ("link", "noIdentity", "protected"):
        page = await api.call("GET", f"linking/runs/{run['id']}/decisions?count={ROWS_SHOWN}&decision={decision}")
        for row in page["decisions"]:
            account = await api.call("GET", f"accounts/{row['account']['id']}")
            history = "\n".join(
                f"{change['action']} by {change['by'].partition(':')[0]}" for change in account["history"]
            )
            attempt = await (_edit_here if account["link"] else _edit_over_scim)(api, account)
            link = account["link"] or {}
            table.add_row(
                account["userName"], account["status"], account["sourceOfAuthority"], link.get("rule"), history, attempt
            )
    console.print(table)


async def verify_and_undo(api: Api, run: Any) -> None:
    """Ask which links provisioning confirmed, then undo the run, which gives back what provisioning wrote over."""
    console.rule("6. Afterwards: the proof, and the way back")
    path = f"linking/runs/{run['id']}"
    job = await api.call("POST", f"{path}/verification")
    with _bar() as bar:
        found = (await api.wait(f"linking/verifications/{job['id']}", "done", bar))["counts"]
    console.print(
        f"Links: {found['confirmed']} confirmed by provisioning, {found['unconfirmed']} not yet; "
        f"{found['created']} people created instead of matched."
    )
    job = await api.call("POST", f"{path}/undo")
    with _bar() as bar:
        undone = (await api.wait(f"linking/undos/{job['id']}", "done", bar))["counts"]
    console.print("Undo:", ", ".join(f"{count} {outcome}" for outcome, count in undone.items()))
    for outcome in undone:
        page = await api.call("GET", f"linking/undos/{job['id']}/rows?outcome={outcome}&count=1")
        for row in page["rows"]:
            name = row["account"]["userName"] if "account" in row else row["group"]["displayName"]
            console.print(f"{outcome}, such as {name}: {row['reason']}")


async def accounts_here(api: Api, number: int) -> dict[str, Any]:
    """Return all accounts as SCIM shows them, by id, without when and in which version they were written.

    `number` is how many there are: a server may go by counts of two seconds ago, and pages by them.
    """
    found: dict[str, Any] = {}
    while len(found) < number:
        page = await api.call("GET", f"scim/v2/Users?count=500&startIndex={len(found) + 1}")
        if page["totalResults"] < number:
            await asyncio.sleep(0.1)
            continue
        found |= {one["id"]: {**one, "meta": None} for one in page["Resources"]}
    return found


async def show_given_back(api: Api, run: Any, before: Mapping[str, Any], report: CycleReport) -> None:
    """Print how many accounts are again what they were before the run, and what stays of provisioning."""
    page = await api.call("GET", f"linking/runs/{run['id']}/decisions?count=1000&decision=alreadyLinked")
    provisioned = {row["account"]["id"] for row in page["decisions"]}
    here = {i: one for i, one in before.items() if i not in provisioned}
    created = len(report.list_by("created"))
    after = await accounts_here(api, len(before) + created)
    same = sum(after.get(i) == one for i, one in here.items())
    console.print(
        f"{same} of the {len(here)} imported accounts are what they were before the run, with their groups. "
        f"The {created} people whom provisioning created stay.",
        soft_wrap=True,
    )


async def _edit_here(api: Api, account: Any) -> str:
    """Import another title for a linked account; return the problem that the import reports."""
    file = f"userName,title\n{account['userName']},Changed here\n".encode()
    job = await api.call("POST", "accounts/import", file, "text/csv")
    while "ended" not in job:
        job = await api.call("GET", f"accounts/imports/{job['id']}")
    problems = await api.call("GET", f"accounts/imports/{job['id']}/problems")
    return "edit here: " + str(problems["problems"][0]["reason"])


async def _edit_over_scim(api: Api, account: Any) -> str:
    """Send a PATCH for an account that is not linked; return the refusal."""
    operation = {"op": "Replace", "path": "title", "value": "Changed over SCIM"}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
    return "SCIM PATCH: " + await api.refusal("PATCH", f"scim/v2/Users/{account['id']}", body)


@asynccontextmanager
async def serving(data: Path, token: str, variables: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """Serve the app in a process of its own while the block runs, with further variables; yields its address."""
    arguments = ("--port", "0", "--data", str(data), f"--token={token}")
    async with running("infra.local.serve", *arguments, variables=variables) as process:
        yield process.url


@asynccontextmanager
async def _graph(folder: Path, *, stand_in: bool) -> AsyncIterator[Mapping[str, str]]:
    """Serve identities and groups of a folder as Microsoft Graph does; yields the variables that lead an app there."""
    if not stand_in:
        yield {}
        return
    tenant = Tenant.of(read_users(folder / "identities.json"), read_groups(folder / "entra_groups.json"))
    async with GraphStandIn(tenant, folder) as graph:
        graph.top, graph.faults = 200, every(8, 5, 3, 0.0)
        yield graph.environment()


@asynccontextmanager
async def _session(url: str, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url + "/", headers=headers) as session:
        yield session


def _bar() -> Progress:
    columns = (TextColumn("{task.description:<10}"), BarColumn(50), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _name(row: Any) -> str:
    """Return who a plan's row is about."""
    if group := row.get("entraGroup") or row.get("group"):
        return str(group["displayName"])
    identity = row.get("identity")
    return str(identity["userPrincipalName"] if identity else row["account"]["userName"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.local.demo", description=__doc__)
    parser.add_argument("--all", action="store_true", help="print a line for every account of the provisioning cycle")
    parser.add_argument("--graph", action="store_true", help="read from a stand-in for Microsoft Graph")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(show_all=options.all, graph=options.graph)))
