"""`python -m infra.restore DAY --tables URL --blobs URL`: the tables again as they were copied on a day.

It goes by a token of whoever restores, with the roles Storage Table Data Contributor and Storage Blob Data Reader: the
one in RESTORE_TOKEN, and without one, or once that is about to end, by what this answers: `az account get-access-token
--resource https://storage.azure.com/ --query accessToken -o tsv`. The apps must be stopped, and the tables empty. If it
breaks off, it may be run again with --over.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from azure.core.credentials import AccessToken
from rich.console import Console

from link_orchestrator.lifecycle import tidy_up
from shared.admin.copies import CONTAINER
from shared.directory.directory import Directories, Directory
from shared.directory.keys import DIRECTORY_NAME
from shared.directory.mending import mend
from shared.directory.sweep import sweep
from shared.directory.work.jobs import Job, State
from shared.tables.azure import AzureTables
from shared.tables.blobs import Blobs
from shared.tables.copying import NoCopy, Store, find, restore
from shared.tables.port import Denied, TablesError

TOKEN = "RESTORE_TOKEN"  # noqa: S105 - the name of a variable
LOST = "the tables were restored from a copy that was made while this was under way: start it again"
"""Why a job has failed that had not ended when the copy was made."""


ASK: Final = "az account get-access-token --resource https://storage.azure.com/ --query accessToken -o tsv"
"""What answers with a token of whoever is signed in to Azure on this machine."""
SPARE_SECONDS: Final = 600
"""Seconds before its end in which a token is replaced: more than azure-core keeps one that it was given (300)."""


class Tokens:
    """The token that was given, "" for none, and behind it those that `az` gives; in the form that azure-core asks for.

    A restore of a large copy takes longer than a token lasts.
    """

    def __init__(self, token: str = "") -> None:
        self._token, self._ends = token, end_of(token) if token else 0
        self._asking = asyncio.Lock()

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return the token, and when it ends. Raises Denied."""
        token = await self.bearer()
        return AccessToken(token, self._ends)

    async def bearer(self) -> str:
        """Return a token that does not end soon. Raises Denied."""
        async with self._asking:  # requests side by side ask once
            if self._ends - time.time() < SPARE_SECONDS:
                self._token = await _ask()
                self._ends = end_of(self._token)
        return self._token

    async def close(self) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> Tokens:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def end_of(token: str) -> int:
    """Return when a token ends, in seconds since 1970, as it says itself (RFC 7519); if it does not, in an hour."""
    try:
        payload = token.split(".")[1]
        return int(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return int(time.time()) + 3600


async def _ask() -> str:
    try:
        process = await asyncio.create_subprocess_exec(*ASK.split(), stdout=PIPE, stderr=DEVNULL)
        answer, _ = await process.communicate()
    except FileNotFoundError:
        answer = b""
    token = answer.decode("ascii", "replace").strip()
    if not token or end_of(token) - time.time() < SPARE_SECONDS:
        raise Denied(f"there is no token that lasts: sign in by `az login`, or set {TOKEN}; then go on with --over")
    return token


def main() -> int:
    """Restore, and return 1 with a sentence where that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m infra.restore", description=__doc__)
    parser.add_argument("day", help="the copy, such as 2026-11-30")
    parser.add_argument("--tables", required=True, metavar="URL", help="https://ACCOUNT.table.core.windows.net")
    parser.add_argument("--blobs", required=True, metavar="URL", help="https://ACCOUNT.blob.core.windows.net")
    parser.add_argument(
        "--over",
        action="store_true",
        help="go on with a restore of this day that broke off: what came since the copy stays",
    )
    arguments = parser.parse_args()
    tokens, console = Tokens(os.environ.get(TOKEN, "")), Console(highlight=False)
    tables = AzureTables.with_credential(arguments.tables, tokens)
    return asyncio.run(_run(tables, f"{arguments.blobs.rstrip('/')}/{CONTAINER}", tokens, arguments, console))


async def _run(tables: AzureTables, container: str, tokens: Tokens, arguments: Any, console: Console) -> int:
    try:
        async with Blobs(container, tokens.bearer) as blobs:
            return await run(tables, blobs, arguments.day, console, over=arguments.over)
    finally:
        await tables.close()


async def run(tables: AzureTables, store: Store, day: str, console: Console, *, over: bool = False) -> int:
    """Restore the copy of a day into empty tables, or `over` what one wrote that broke off; return the exit code."""
    try:
        manifest = await find(store, day)
        if not over and (full := await _first_row(tables)):
            console.print(f"{full} has rows: empty the tables first; --over only goes on with a restore that broke off")
            return 1
        written = 0
        async for part in restore(store, tables, manifest):
            written += part.rows
            console.print(f"{part.name}: {part.rows} rows")
        console.print(f"{written} rows, as of {manifest.began} to {manifest.ended}")
        found = [await _settle(tables, name, console) for name in await _directories(tables)]
    except (NoCopy, TablesError) as problem:
        console.print(str(problem))
        return 1
    return 1 if any(found) else 0


async def _first_row(tables: AzureTables) -> str:
    """Return the name of a table that has rows, "" if none has."""
    for name in await tables.names():
        if (await tables.page(name, None, None)).rows:
            return name
    return ""


async def _directories(tables: AzureTables) -> Sequence[str]:
    found: set[str] = set()
    for table in await tables.names():
        continuation: str | None = None
        while table.endswith("d"):
            page = await tables.page(table, continuation, None)
            found |= {row.partition.removesuffix("_d") for row in page.rows if row.key == "directory"}
            continuation = page.continuation
            if continuation is None:
                break
    return sorted(name for name in found if DIRECTORY_NAME.fullmatch(name))


async def _settle(tables: AzureTables, name: str, console: Console) -> int:
    """Mend a directory and end its jobs; return what is left for a person to decide."""
    directory = await Directories(tables).open(name)
    ended = await _end_jobs(directory)
    contradictions = await mend(directory)
    await sweep(directory)
    for one in contradictions:
        console.print(f"{name}: {one.id} and {one.holder} both have one {one.attribute}: change one of them by hand")
    accounts = await directory.listing.total()
    console.print(f"{name}: {accounts} accounts, {ended} jobs ended that were under way")
    return len(contradictions)


async def _end_jobs(directory: Directory) -> int:
    """End the jobs that were under way: their orchestrations are not in the copy."""

    def fail(job: Job) -> Job:
        return job if job.state.ended else replace(job, state=State.FAILED, reason=LOST)

    open_jobs = [job for job in await directory.jobs.list_all() if not job.state.ended]
    for job in open_jobs:
        await directory.jobs.change(job.id, fail)
        await tidy_up(directory, job.id)
    return len(open_jobs)


if __name__ == "__main__":
    sys.exit(main())
