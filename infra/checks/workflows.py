"""What the workflows of GitHub may do: nothing that strangers decide, and with no more rights than a job needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.checks.finding import Finding

TRIGGERS = {"push", "pull_request"}
"""Events that start a workflow. Others, such as pull_request_target, run with rights on what a stranger sent."""
READS: Mapping[str, str] = {"contents": "read"}
"""What a workflow may do, and a job that is not named in WRITES."""
WRITES: Mapping[str, Mapping[str, str]] = {"publish": {"contents": "write"}, "what-if": {"id-token": "write"}}
"""By the name of a job, what it may do besides."""
PUSHES = {"publish"}
"""Jobs whose checkout keeps the token of the job, to push with."""
MINUTES = 60
"""The longest that a job may take."""
_USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", re.MULTILINE)
_PINNED = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40}")
_VERSION = re.compile(r" # v\d+\.\d+\.\d+")
_COMPILER = re.compile(r"\baz bicep (?:install|upgrade)\b(.*)")
_TAG = re.compile(r" --version (v\d+\.\d+\.\d+)")


def check(folder: Path) -> Iterator[Finding]:
    """Find what a workflow of a folder must not do."""
    yield from _check_compiler(folder)
    for file in sorted(folder.glob("*.y*ml")):
        text = file.read_text("utf-8")
        for action, version in _USES.findall(text):
            if not (_PINNED.fullmatch(action) and _VERSION.fullmatch(version)):
                told = f"{action} is to be named by its commit, with the version behind it: a tag can be moved"
                yield Finding("workflow", file.name, told)
        if "secrets." in text:
            yield Finding("workflow", file.name, "reads a secret: a job signs in with its own identity")
        yield from _check_workflow(file.name, yaml.safe_load(text))


def _check_compiler(folder: Path) -> Iterator[Finding]:
    """Find what compiles templates with another compiler than the one that all of them were looked at with.

    Without a version, `az` takes on GitHub's machines the one that lies there
    (https://github.com/Azure/azure-cli/pull/25541).
    """
    tags: dict[str, str] = {}
    for file in sorted(folder.glob("*.y*ml")):
        for options in _COMPILER.findall(file.read_text("utf-8")):
            found = _TAG.match(options)
            if found is None:
                yield Finding("workflow", file.name, "takes whichever compiler of Bicep is there: say --version")
            else:
                tags[file.name] = found[1]
    if len(set(tags.values())) > 1:
        told = ", ".join(f"{name} {tag}" for name, tag in tags.items())
        yield Finding("workflow", "az bicep", f"what is tested is compiled otherwise than what is published: {told}")


def _check_workflow(name: str, read: Mapping[Any, Any]) -> Iterator[Finding]:
    # YAML 1.1 reads the key `on` as true.
    for trigger in sorted({*_names(read.get("on", read.get(True)))} - TRIGGERS):
        yield Finding("workflow", name, f"starts at {trigger}, with rights on what a stranger sent")
    if read.get("permissions") != READS:
        yield Finding("workflow", name, f"may do {read.get('permissions')}, where {dict(READS)} is enough")
    for job, body in read["jobs"].items():
        yield from _check_job(f"{name} {job}", job, body)


def _names(triggers: Any) -> Iterator[str]:
    yield from [triggers] if isinstance(triggers, str) else triggers or ()


def _check_job(place: str, job: str, body: Mapping[str, Any]) -> Iterator[Finding]:
    if body.get("permissions", READS) not in (READS, WRITES.get(job)):
        yield Finding("workflow", place, f"may do {body['permissions']}, which it does not need")
    if not 0 < body.get("timeout-minutes", 0) <= MINUTES:
        yield Finding("workflow", place, f"may take longer than {MINUTES} minutes")
    for step in body.get("steps", ()):
        if "${{" in f"{step.get('run', '')}{step.get('with', {}).get('script', '')}":
            told = "puts an expression into a command: a branch may be named like one, so it comes in the environment"
            yield Finding("workflow", place, told)
        checkout = str(step.get("uses", "")).startswith("actions/checkout@")
        if checkout and job not in PUSHES and step.get("with", {}).get("persist-credentials") is not False:
            yield Finding("workflow", place, "leaves its token to every later step: persist-credentials is to be false")
