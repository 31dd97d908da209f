"""What a run goes by: its policy in sentences, the imports and uploads before it, and the undos that took it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from link_orchestrator.kinds import (
    ENTRA_GROUPS,
    GROUP_IMPORT,
    GROUP_IMPORT_UNDO,
    IDENTITIES,
    IMPORT,
    IMPORT_UNDO,
    RUN,
    UNDO,
)
from link_orchestrator.requests.jobs import find_job, shown
from link_orchestrator.requests.pages.files import kind_of, remarks_about
from link_orchestrator.requests.pages.policy import say
from link_orchestrator.run import plans_groups
from shared.directory.directory import Directory
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

MOST_FILES: Final = 20
"""Files that an answer tells of, the latest ones."""


class File(NamedTuple):
    """A job that brought a file, as the API shows it, and the undo that took it back, None for none."""

    document: dict[str, Any]
    taken_back: dict[str, Any] | None


async def get_basis(directory: Directory, request: Request) -> Response:
    """Return what a run goes by: its policy in sentences, the files that were read, and its undos, oldest first."""
    job = await find_job(directory, request, RUN)
    undos, files = await undos_and_files(directory, job)
    policy = [{"sentence": one.sentence, "points": [*one.points]} for one in say(job.options.get("policy", {}))]
    read = [_described(file) for file in files[-MOST_FILES:]]
    return Response(200, dump({"policy": policy, "files": read, "undos": undos}))


async def undos_and_files(directory: Directory, run: Job) -> tuple[list[dict[str, Any]], list[File]]:
    """Return the undos of a run, as the API shows them, and the files that it goes by, both oldest first."""
    jobs = await directory.jobs.list_all()
    undos = [shown(undo) for undo in jobs if (undo.kind, undo.options.get("run")) == (UNDO.name, run.id)]
    of_imports = (IMPORT_UNDO.name, GROUP_IMPORT_UNDO.name)
    back = {undo.options["import"]: shown(undo) for undo in jobs if undo.kind in of_imports}
    return undos, [File(shown(other), back.get(other.id)) for other in jobs if _is_read(other, run)]


def _is_read(other: Job, run: Job) -> bool:
    """Tell whether a run goes by what another job brought: an import before its plan, or an upload that it names."""
    if other.kind in (IDENTITIES.name, ENTRA_GROUPS.name):
        return other.id in (*run.options.get("parts", ()), run.options.get("identities"), run.options.get("groups"))
    kinds = (IMPORT.name, GROUP_IMPORT.name) if plans_groups(run) else (IMPORT.name,)
    return other.kind in kinds and other.started < (run.planned or run.started)


def _described(file: File) -> Mapping[str, Any]:
    reading = file.document.get("reading", {})
    told = {"job": file.document, "recognisedAs": kind_of(reading), "remarks": [*remarks_about(reading)]}
    return told | ({"takenBack": file.taken_back} if file.taken_back else {})
