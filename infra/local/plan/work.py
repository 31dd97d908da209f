"""The steps of a plan: the app reads both files, imports the accounts into its empty folder, and plans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from infra.local.plan import given
from infra.local.plan.door import Door, Refused
from infra.local.plan.given import Given, GivenFile, Trouble
from link_orchestrator.orchestrator import PLAN_PASSES

LONGEST_WAIT: Final = 30.0
"""Seconds for which a job may wait for its storage, which is a file here, before the plan is given up."""


class Progress(Protocol):
    """Is told how far a plan is. Several steps may go on at the same time."""

    def begin(self, what: str) -> None:
        """Say that a step begins."""

    def note(self, what: str, done: int, of: int) -> None:
        """Say how much of a step is done."""

    def end(self, what: str) -> None:
        """Say that a step has ended."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan: the run, the upload of identities and the import of accounts, as the app shows them."""

    run: Mapping[str, Any]
    identities: Mapping[str, Any]
    accounts: Mapping[str, Any]

    @property
    def path(self) -> str:
        return f"linking/runs/{self.run['id']}"


async def make_plan(door: Door, what: Given, progress: Progress) -> Made:
    """Return the plan of what was given. Raises Trouble."""
    try:
        await door.call("PUT", "directory/policy", what.policy)
    except Refused as refusal:
        raise Trouble(_about_policy(str(refusal))) from None
    sent = await _send(door, "accounts/import", what.accounts, what, progress)
    importing = _ended(door, f"accounts/imports/{sent['id']}", "done", "importing accounts", progress)
    reading = _send(door, "linking/identities", what.identities, what, progress)
    accounts, identities = await _both(importing, reading)
    # A run that brings its policy waits for a person, also where the policy would let it approve itself.
    run = await door.call("POST", "linking/runs", {"identities": identities["id"], "policy": what.policy})
    run = await _ended(door, f"linking/runs/{run['id']}", "planned", "planning", progress)
    return Made(run, identities, accounts)


async def _both(importing: Coroutine[Any, Any, Any], reading: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    """Import the accounts on some cores while another one reads the identities. Raises the first Trouble."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(importing), group.create_task(reading)
    except* Trouble as troubles:
        first = troubles.exceptions[0]
    else:
        return tasks[0].result(), tasks[1].result()
    raise first


async def _send(door: Door, path: str, file: GivenFile, what: Given, progress: Progress) -> Any:
    step = f"reading {file.path.name}"
    progress.begin(step)
    asked = {"file": file.path.name} | ({"columns": file.columns} if file.columns else {})
    try:
        sent = await door.call("POST", f"{path}?{urlencode(asked)}", file.content, file.content_type)
    except Refused as refusal:
        if str(refusal).startswith("columns:"):
            raise Trouble(f"{given.COLUMNS_OF[file.word]}: {str(refusal).removeprefix('columns: ')}") from None
        raise Trouble(given.swapped(what) or f"{file}: {given.in_words(str(refusal), file.word)}") from None
    progress.end(step)
    return sent


def _about_policy(refusal: str) -> str:
    words = {"verifiedDomains": given.DOMAINS, "trustEmails": given.TRUST}
    return f"{next((word for name, word in words.items() if refusal.startswith(name)), given.POLICY)}: {refusal}"


async def _ended(door: Door, path: str, state: str, step: str, progress: Progress) -> Any:
    progress.begin(step)
    job = await door.wait(path, state, _noted(step, progress))
    if job["phase"] != state:
        raise Trouble(f"{step}: it {job['phase']}: {job.get('reason') or 'no reason is known'}")
    progress.end(step)
    return job


def _noted(step: str, progress: Progress) -> Callable[[Any], None]:
    """Return what is told of a job at every look."""
    waits_since = 0.0

    def note(job: Any) -> None:
        nonlocal waits_since
        told = job.get("progress", {})
        if "waiting" not in told:
            waits_since = 0.0
        elif not waits_since:
            waits_since = time.monotonic()
        elif time.monotonic() - waits_since > LONGEST_WAIT:
            raise Trouble(f"{told['waiting']}: is the disk of the temporary folder full? TMPDIR=… names another one.")
        if "of" in told:
            passes = PLAN_PASSES if told["pass"] in PLAN_PASSES else (told["pass"],)
            progress.note(step, told["of"] * passes.index(told["pass"]) + told["done"], told["of"] * len(passes))

    return note
