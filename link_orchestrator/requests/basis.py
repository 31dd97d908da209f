"""What a run goes by: its policy in sentences, the imports and uploads before it, and the undos that took it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from link_orchestrator.kinds import (
    GROUP_IMPORT,
    GROUP_IMPORT_UNDO,
    IMPORT,
    IMPORT_UNDO,
    RUN,
    UNDO,
)
from link_orchestrator.requests.jobs import all_with_persons, find_job, shown
from link_orchestrator.requests.pages.files import kind_of, remarks_about
from link_orchestrator.requests.pages.policy import say
from link_orchestrator.requests.reviewers import list_reviewers
from link_orchestrator.run import plans_groups
from shared.admin.parameters import read_choice, refuse_others
from shared.directory.directory import Directory
from shared.directory.work.jobs import Job, before
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

MOST_FILES: Final = 20
"""Files that an answer tells of, the latest ones."""

REVIEWERS: Final = "reviewers"
"""What is told of who reviewed rows, and the parameter that leaves it out."""


class File(NamedTuple):
    """A job that brought a file, as the API shows it, and the undo that took it back, None for none."""

    document: dict[str, Any]
    taken_back: dict[str, Any] | None


async def get_basis(directory: Directory, request: Request) -> Response:
    """Return what a run goes by, its policy in sentences and the files that were read, its undos, and who reviewed.

    Without `reviewers` it looks at no row.
    """
    refuse_others(request, REVIEWERS)
    asked = read_choice(request, REVIEWERS, ("true", "false"))
    job = await find_job(directory, request, RUN)
    undos, files = await undos_and_files(directory, job)
    policy = [{"sentence": one.sentence, "points": [*one.points]} for one in say(job.options.get("policy", {}))]
    people = await directory.activity.people(str(file.document["startedBy"]) for file in files)
    read = [_described(file, people) for file in files[-MOST_FILES:]]
    reviewers = {} if asked == "false" else {REVIEWERS: await list_reviewers(directory, job)}
    return Response(200, dump({"policy": policy, "files": read, "undos": undos, **reviewers}))


async def undos_and_files(directory: Directory, run: Job) -> tuple[list[dict[str, Any]], list[File]]:
    """Return the undos of a run, as the API shows them, and the files that it goes by, both oldest first."""
    undos = await directory.jobs.find_about(UNDO.name, "run", run.id)
    files = await _files(directory, run)
    ids = [one.id for one in files]
    undone = [await directory.jobs.find_about(kind.name, "import", *ids) for kind in (IMPORT_UNDO, GROUP_IMPORT_UNDO)]
    back = {undo.options["import"]: shown(undo) for some in undone for undo in some}
    named = await all_with_persons(directory, undos)
    return [*map(shown, named)], [File(shown(other), back.get(other.id)) for other in files]


async def _files(directory: Directory, run: Job) -> list[Job]:
    """Return the jobs that brought what a run goes by: the last imports before its plan, and the uploads it names."""
    kinds = (IMPORT.name, GROUP_IMPORT.name) if plans_groups(run) else (IMPORT.name,)
    imports, _ = await directory.jobs.page(kinds, before(run.planned or run.started), MOST_FILES)
    named = (*run.options.get("parts", ()), run.options.get("identities"), run.options.get("groups"))
    uploads = [one for one in named if isinstance(one, str)]
    found = (await directory.jobs.find_many([*(one.id for one in imports), *uploads])).values()
    return sorted(found, key=lambda job: job.started)


def _described(file: File, people: Mapping[str, str]) -> Mapping[str, Any]:
    reading, person = file.document.get("reading", {}), people.get(str(file.document["startedBy"]))
    told = {"job": file.document, "recognisedAs": kind_of(reading), "remarks": [*remarks_about(reading)]}
    known = {"takenBack": file.taken_back, "person": person}
    return told | {name: value for name, value in known.items() if value}
