"""`python -m infra.local.entra`: a stand-in for Entra's provisioning client, which plays one initial cycle over HTTP.

It tests the connection. For each identity in scope it then sends one filtered GET for each matching attribute, until
one finds an account, and a POST, a PATCH or nothing. standins/provisioning.py knows the mapping and the bodies; the
identities come from the same files that a linking run reads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import aiohttp

from infra.local.standins.provisioning import (
    Attributes,
    Dialect,
    ExternalId,
    create_body,
    differences,
    map_identity,
    matching,
    patch_body,
    read,
)
from link_orchestrator.files.identities import read_identities
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import Identity

Result = Literal["matched", "created", "refused", "skipped"]

SCIM_ROOT: Final = "/scim/v2"
_JSON: Final = "application/scim+json"


class CycleStopped(Exception):
    """The cycle cannot run: the test connection failed, which in Entra puts the job in quarantine."""


@dataclass(frozen=True, slots=True)
class CycleOutcome:
    """What the cycle did about one identity.

    `by` is the matching attribute that found the account, `changed` the attributes that a PATCH changed. `request`,
    `status` and `detail` are those of the refused request; `status` is None where no answer came.
    """

    result: Result
    identity: str
    user_name: str
    id: str | None = None
    by: str | None = None
    changed: tuple[str, ...] = ()
    request: str | None = None
    status: int | None = None
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known of the outcome, under the names that --help describes."""
        known = {
            "identity": self.identity,
            "userName": self.user_name,
            "id": self.id,
            "by": self.by,
            "changed": list(self.changed),
            "request": self.request,
            "status": self.status,
            "detail": self.detail,
        }
        return {name: value for name, value in known.items() if value not in (None, [])}

    def __str__(self) -> str:
        match self.result:
            case "matched":
                what = f"updated {', '.join(self.changed)}" if self.changed else "nothing to change"
                rest = f"{self.id} by {self.by}: {what}"
            case "created":
                rest = str(self.id)
            case "refused":
                rest = f"{self.request} {self.status or '-'}: {self.detail}"
            case "skipped":
                rest = str(self.detail)
        return f"{self.result:<8} {self.user_name}  {rest}"


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What a cycle did: an outcome for each identity, requests by method, and seconds."""

    outcomes: tuple[CycleOutcome, ...]
    requests: Mapping[str, int]
    seconds: float

    def list_by(self, result: Result) -> list[CycleOutcome]:
        """Return the outcomes with this result."""
        return [outcome for outcome in self.outcomes if outcome.result == result]

    def list_updated(self) -> list[CycleOutcome]:
        """Return the outcomes of matched accounts that a PATCH changed."""
        return [outcome for outcome in self.list_by("matched") if outcome.changed]

    def totals(self) -> dict[str, int]:
        """Return the counts by result; the updated are among the matched."""
        counts = {result: len(self.list_by(result)) for result in get_args(Result)}
        return counts | {"updated": len(self.list_updated())}

    def to_json(self) -> dict[str, Any]:
        """Return the report as --json prints it."""
        lists = {result: self.list_by(result) for result in get_args(Result)} | {"updated": self.list_updated()}
        return {
            "totals": self.totals(),
            "requests": dict(self.requests),
            "seconds": round(self.seconds, 3),
            **{name: [outcome.to_json() for outcome in outcomes] for name, outcomes in lists.items()},
        }


class _Failed(Exception):
    """A request that did not do what it was sent for. It ends the work on its identity."""

    def __init__(self, request: str, status: int | None, detail: str) -> None:
        super().__init__(detail)
        self.request = request
        self.status = status
        self.detail = detail


class Cycle:
    """One initial provisioning cycle against `base`, the server's root or its Tenant URL.

    `by_key_alone` says that externalId is the only matching attribute: whoever is not found by it is created, which
    the policy's adoptOnCreate may answer with the account that is there. `progress` is called with each outcome. Like
    Entra, a cycle does not send a failed request again: the next cycle does.
    """

    def __init__(
        self,
        base: str,
        token: str,
        *,
        external_id: ExternalId = "objectId",
        by_key_alone: bool = False,
        dialect: Dialect = "default",
        concurrency: int = 4,
        progress: Callable[[CycleOutcome], None] | None = None,
    ) -> None:
        root = base.partition("?")[0].rstrip("/")
        self._users = (root if root.endswith(SCIM_ROOT) else root + SCIM_ROOT) + "/Users"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": _JSON}
        self._external_id = external_id
        self._by_key_alone = by_key_alone
        self._dialect = dialect
        self._concurrency = concurrency
        self._progress = progress
        self._requests: Counter[str] = Counter()
        self._session: aiohttp.ClientSession

    async def run(self, identities: Iterable[Identity]) -> CycleReport:
        """Provision the identities, `concurrency` at a time. Raises CycleStopped if the test connection fails."""
        began = time.perf_counter()
        self._requests.clear()
        outcomes: list[CycleOutcome] = []
        waiting = iter(identities)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as self._session:
            await self._test_connection()
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(waiting, outcomes))
        return CycleReport(tuple(outcomes), dict(self._requests), time.perf_counter() - began)

    async def _test_connection(self) -> None:
        """Filter by a value that nobody has. Entra puts the job in quarantine unless the answer is 200 and empty."""
        path = "externalId" if self._by_key_alone or self._external_id == "objectId" else "userName"
        try:
            found = await self._query(path, str(uuid.uuid4()))
        except _Failed as failed:
            raise CycleStopped(f"test connection: {failed.status or 'no answer'}: {failed.detail}") from failed
        if found:
            raise CycleStopped("test connection: a filter for a random value must answer an empty list")

    async def _work(self, waiting: Iterator[Identity], outcomes: list[CycleOutcome]) -> None:
        for identity in waiting:
            outcome = await self._provision(identity)
            outcomes.append(outcome)
            if self._progress is not None:
                self._progress(outcome)

    async def _provision(self, identity: Identity) -> CycleOutcome:
        attributes = map_identity(identity, self._external_id)
        who = identity.object_id, attributes["userName"]
        if not identity.account_enabled:
            return CycleOutcome("skipped", *who, detail="disabled in Entra and never in scope")
        account_id = by = None
        try:
            for by in matching(attributes, self._external_id, by_key_alone=self._by_key_alone):
                if resource := await self._match(by, attributes[by]):
                    account_id = resource["id"]
                    changed = await self._update(attributes, resource)
                    return CycleOutcome("matched", *who, account_id, by, changed)
            by = None
            body = create_body(attributes, self._dialect)
            created = await self._send("POST", self._users, 201, json=body)
            return CycleOutcome("created", *who, created.get("id"))
        except _Failed as failed:
            return CycleOutcome(
                "refused", *who, account_id, by, request=failed.request, status=failed.status, detail=failed.detail
            )

    async def _match(self, path: str, value: str) -> Mapping[str, Any] | None:
        """Return the one resource found by a matching attribute, or None."""
        found = await self._query(path, value)
        if len(found) > 1:
            raise _Failed("GET", 200, f"DuplicateTargetEntries: {path} matches {len(found)} accounts")
        if not found:
            return None
        held = read(found[0], path)
        # userName is compared regardless of case (RFC 7643 section 4.1.1), externalId is not.
        if not isinstance(held, str) or (held != value if path == "externalId" else held.lower() != value.lower()):
            raise _Failed("GET", 200, f"the {path} of the account found is not the one asked for")
        return found[0]

    async def _query(self, path: str, value: str) -> list[Mapping[str, Any]]:
        params = {"filter": f"{path} eq {json.dumps(value, ensure_ascii=False)}"}
        answer = await self._send("GET", self._users, 200, params=params)
        resources = answer.get("Resources", [])
        if not isinstance(resources, list) or answer.get("totalResults") != len(resources):
            raise _Failed("GET", 200, "the answer is no complete list response")
        return resources

    async def _update(self, attributes: Attributes, resource: Mapping[str, Any]) -> tuple[str, ...]:
        """PATCH what differs and return its paths; without a difference no request is sent."""
        changes = differences(attributes, resource)
        if changes:
            body = patch_body(changes, resource, self._dialect)
            await self._send("PATCH", f"{self._users}/{resource['id']}", 200, json=body)
        return tuple(changes)

    async def _send(self, method: str, url: str, expected: int, **options: Any) -> Mapping[str, Any]:
        self._requests[method] += 1
        headers = {"Content-Type": _JSON} if "json" in options else {}
        try:
            async with self._session.request(method, url, headers=headers, **options) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _Failed(method, None, type(error).__name__) from error
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _Failed(method, response.status, "the answer is no JSON object")
        if response.status != expected:
            raise _Failed(method, response.status, str(answer.get("detail", "")))
        return answer


_JSON_HELP: Final = """\
--json prints one object. matched, created, refused and skipped hold one object for each identity: identity (object id),
userName (as provisioned), id (the account's), by (the matching attribute that hit), changed (attributes that a PATCH
changed), request and status (of what was refused), detail (why it was refused or skipped). updated repeats the matched
ones with changes. unreadable: line, reason and remedy of each row that is no identity. totals, requests (by method) and
seconds are figures.
Exit codes: 0 the cycle ran; 1 it did not, because the test connection failed or the file could not be read."""


def main() -> int:
    """Play one provisioning cycle of Microsoft Entra ID and print what became of each identity."""
    arguments = _parser().parse_args()
    problems: list[Problem] = []
    cycle = Cycle(
        arguments.base,
        arguments.token,
        external_id=arguments.mapping,
        by_key_alone=arguments.matching == "externalId",
        dialect=arguments.dialect,
        concurrency=arguments.concurrency,
        progress=None if arguments.json else print,
    )
    try:
        identities = list(_usable(arguments.identities.read_bytes(), problems))
        report = asyncio.run(cycle.run(identities))
    except (CycleStopped, UnreadableFile, OSError) as stopped:
        print(f"no cycle: {stopped}", file=sys.stderr)
        return 1
    if arguments.json:
        unreadable = [{"line": item.line, "reason": item.reason, "remedy": item.remedy} for item in problems]
        print(json.dumps(report.to_json() | {"unreadable": unreadable}, ensure_ascii=False))
    else:
        _print_totals(report, problems)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.entra",
        description=main.__doc__,
        epilog=_JSON_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", required=True, metavar="URL", help="the server's root, or its Tenant URL")
    parser.add_argument("--token", required=True, help="the bearer token")
    parser.add_argument("--identities", required=True, type=Path, metavar="FILE", help="CSV or Graph JSON of users")
    parser.add_argument(
        "--mapping",
        type=_mapping,
        default="externalId=objectId",
        metavar="externalId=objectId|externalId=mailNickname",
        help="objectId is matched first, then userName; with mailNickname only userName is matched",
    )
    parser.add_argument(
        "--matching",
        choices=("default", "externalId"),
        default="default",
        help="externalId: no other matching attribute; whoever is not found by it is created (for adoptOnCreate)",
    )
    parser.add_argument("--dialect", choices=get_args(Dialect), default="default", help="scim2: aadOptscim062020")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="requests under way at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object, described below")
    return parser


def _mapping(text: str) -> str:
    target, _, source = text.partition("=")
    if target != "externalId" or source not in get_args(ExternalId):
        raise argparse.ArgumentTypeError("must be externalId=objectId or externalId=mailNickname")
    return source


def _usable(file: bytes, problems: list[Problem]) -> Iterator[Identity]:
    """Yield the identities of a file, and add its problems to a list."""
    for item in read_identities(file):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            yield item


def _print_totals(report: CycleReport, problems: list[Problem]) -> None:
    for problem in problems:
        print(f"unreadable line {problem.line}: {problem.reason} {problem.remedy}")
    print("totals: " + ", ".join(f"{count} {name}" for name, count in report.totals().items()))
    sent = ", ".join(f"{count} {method}" for method, count in report.requests.items())
    print(f"requests: {sent} in {report.seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
