"""The attribute mapping: what provisioning is set up to do, what is wrong with that, and for how many people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from link_orchestrator.prediction.check import People, check
from link_orchestrator.prediction.mapping import DEFAULT, AttributeMapping, read_mapping
from link_orchestrator.run import CARRIED
from link_orchestrator.source import MappingSource, SourceBusy, SourceFailed, Sources, refuse_unready
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

PATIENCE: Final = 15.0
"""Seconds after which to ask again, if the source does not say."""


class MappingRequest(Body):
    """Where to read the provisioning schema, instead of the schema itself."""

    source: MappingSource


async def set_mapping(directory: Directory, request: Request, sources: Sources) -> Response:
    """Keep the mapping of a provisioning schema for the runs to come: 200 with what is wrong with it.

    The body is the schema as it is exported, or says from which source to read it.
    """
    document = read_json(request.body, written=True)
    if isinstance(document, Mapping) and "source" in document:
        document = await _read_from(sources, directory.name, MappingRequest.model_validate(document).source)
    mapping = _read(document)
    await directory.mappings.set(mapping.to_json())
    return await _answer(directory, mapping, is_default=False)


async def get_mapping(directory: Directory, request: Request) -> Response:
    """Return the mapping that the next run predicts by, and what is wrong with it."""
    stored = await directory.mappings.get()
    mapping = AttributeMapping.from_json(stored) if stored else DEFAULT
    return await _answer(directory, mapping, is_default=stored is None)


async def choose_mapping(directory: Directory, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the mapping of a run: the one that is asked for, the stored one, or the default."""
    if asked is not None:
        return _read(asked).to_json()
    return await directory.mappings.get() or DEFAULT.to_json()


def people_of(job: Job) -> People:
    """Return the counts of the people who have an account by a run's plan."""
    return People({name[len(CARRIED) :]: n for name, n in job.counts.items() if name.startswith(CARRIED)})


async def _answer(directory: Directory, mapping: AttributeMapping, *, is_default: bool) -> Response:
    last = await directory.jobs.find_planned()
    run = await directory.jobs.get(last) if last else None
    counted = run if run and run.planned else None  # for a moment the last plan is there before its counts
    policy, people = await directory.policies.get(), people_of(counted) if counted else None
    found = check(mapping, people, adopts=policy.adopts, name_id=policy.name_id_source)
    document = {
        "mapping": mapping.to_json(),
        "isDefault": is_default,
        "warnings": [warned.to_json() for warned in found],
    }
    return Response(200, dump(document | ({"countedBy": counted.id} if counted else {})))


async def _read_from(sources: Sources, directory: str, source: MappingSource) -> Mapping[str, Any]:
    refuse_unready(sources, directory)
    try:
        return await sources.read_schema(directory, source)
    except SourceBusy as busy:
        raise Busy(f"source: {busy.reason}", PATIENCE if busy.retry_after is None else busy.retry_after) from None
    except SourceFailed as failed:
        raise Busy(f"source: {failed}") from None


def _read(document: object) -> AttributeMapping:
    try:
        return read_mapping(document)
    except ValueError as error:
        raise InvalidValue(str(error)) from error
