"""Jobs over HTTP: what is asked of every kind alike, made from the table of kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from link_orchestrator.kinds import KINDS, RUN, Kind
from link_orchestrator.lifecycle import Orchestrations, cancel, started
from link_orchestrator.problems import PROBLEM
from shared.admin.parameters import read_count
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.text import dump
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

Service = Callable[..., Awaitable[Response]]


def get(kind: Kind) -> Service:
    """Return what answers GET of a job."""

    async def get_job(directory: Directory, request: Request, client: Orchestrations) -> Response:
        job = await started(directory, await find_job(directory, request, kind), client)
        status = await client.get_status(job.id)
        return answer(job, request, 200, getattr(status, "custom_status", None))

    return _described(get_job, f"Return {kind.title}: its phase, its counts, its progress.")


def cancel_one(kind: Kind) -> Service:
    """Return what answers POST to a job's cancel."""

    async def cancel_job(directory: Directory, request: Request, client: Orchestrations) -> Response:
        job = await find_job(directory, request, kind)
        return answer(await cancel(directory, job, request.by, client), request, 202)

    return _described(cancel_job, f"Cancel {kind.title}: 202. {kind.cancelled}")


def list_rows(kind: Kind) -> Service:
    """Return what answers GET of a job's rows."""

    async def list_rows_of_job(directory: Directory, request: Request) -> Response:
        await find_job(directory, request, kind)
        rows = kind.rows
        word = PROBLEM if rows.are_problems else request.params.get(rows.told_apart_by, "")
        if word and not rows.are_problems and word not in rows.words:
            raise InvalidValue(f"{rows.told_apart_by}: one of {', '.join(rows.words)}")
        return await page_of_rows(directory, request, kind, request.id, word)

    return _described(list_rows_of_job, f"List {kind.rows.about}")


def list_all(kind: Kind) -> Service:
    """Return what answers GET of all jobs of a kind."""

    async def list_jobs(directory: Directory, request: Request) -> Response:
        jobs = [shown(job) for job in await directory.jobs.list_all() if job.kind == kind.name]
        return Response(200, dump({kind.path.rpartition("/")[2]: jobs}))

    return _described(list_jobs, f"List the directory's {kind.path.rpartition('/')[2]}, oldest first.")


def find_last(kind: Kind) -> Service:
    """Return what answers GET of the last job of a kind that is about a run."""

    async def find_last_job(directory: Directory, request: Request) -> Response:
        run = await find_job(directory, request, RUN)
        all_jobs = await directory.jobs.list_all()
        jobs = [job for job in all_jobs if job.kind == kind.name and job.options.get("run") == run.id]
        if not jobs:
            raise NotFound(f"no {kind.name} of this run")
        return answer(jobs[-1], request, 200)

    return _described(find_last_job, f"Return the last {kind.name} of a run.")


def _described(service: Service, sentence: str) -> Service:
    """Return a service with the sentence by which the API's document describes it."""
    service.__doc__ = sentence
    return service


async def find_job(directory: Directory, request: Request, kind: Kind) -> Job:
    """Return the job that a request names. Raises NotFound for none, and for one of another kind."""
    job = await directory.jobs.get(request.id)
    if job.kind != kind.name:
        raise NotFound(f"no {kind.name} {request.id}")
    return job


async def page_of_rows(directory: Directory, request: Request, kind: Kind, name: str, word: str) -> Response:
    """Return a page of the rows of a plan or report of this name, those of one word ("" for all), as a kind's are."""
    rows, cursor = await directory.plan(name).page(word, request.params.get("cursor", ""), read_count(request))
    page: dict[str, Any] = {kind.rows.name: [_row(row, kind) for row in rows]}
    return Response(200, dump(page | ({"cursor": cursor} if cursor else {})))


def _row(row: PlanRow, kind: Kind) -> dict[str, Any]:
    document = row.to_json()
    told = {kind.rows.told_apart_by: document.pop("decision"), **document}
    # A review names rows by their ids; nothing asks for another kind's.
    return {"id": row.id, **told} if kind is RUN else told


def shown(job: Job) -> dict[str, Any]:
    """Return a job as the API shows it: counts of decisions, of predicted outcomes, of reviews; links to approve."""
    counts, groups = _grouped(job.counts)
    links = counts.get("link", 0) + groups.get("review", {}).pop("links", 0)
    groups.pop("carried", None)
    approvable = {"links": links} if job.kind == RUN.name and job.planned else {}
    return job.to_json() | {"counts": counts} | groups | approvable


def _grouped(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Return counts with plain names, and those like `predicted.matched` by their first word."""
    plain, groups = dict[str, int](), dict[str, dict[str, int]]()
    for name, count in counts.items():
        group, dot, rest = name.partition(".")
        (groups.setdefault(group, {}) if dot else plain)[rest if dot else name] = count
    return plain, groups


def answer(job: Job, request: Request, status: int, progress: object = None) -> Response:
    """Return a job as JSON, with its address; `progress` is shown while it lasts."""
    document = shown(job)
    if isinstance(progress, dict) and not job.phase.ended:
        counts = {"counts": _grouped(progress["counts"])[0]} if "counts" in progress else {}
        document["progress"] = progress | counts
    location = f"{request.base.removesuffix('/scim/v2')}/{KINDS[job.kind].path}/{job.id}"
    return Response(status, dump(document), location=location)
