"""POST /Bulk (RFC 7644 section 3.7): each operation is one request to its room, one after the other.

An operation that fails fails alone: it is answered with the error it would have got as a request of its own.
Creates that follow each other are under way together, where that cannot be told from one after the other: they share
round trips, and on SQLite syncs of the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.host.problems import problem
from shared.scim.bulk_messages import Bulk, BulkOperation, bulk_response, in_order, parse_bulk, result
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import error_body
from shared.scim.limits import MAX_BULK_BYTES
from shared.scim.messages import document_text
from shared.scim_root.rooms import Room, Rooms, Service
from shared.tables.access import together


async def run_bulk(directory: Directory, request: Request, rooms: Rooms) -> Response:
    """Run the operations: 200 with their results in the order of the request.

    Where failOnErrors is reached the rest is not run, and not answered.
    """
    bulk = parse_bulk(read_json(request.body, MAX_BULK_BYTES))
    job = _Job(directory, request, rooms, bulk)
    for wave in _waves(bulk):
        await together(*map(job.run, wave))
        if bulk.errors_allowed is not None and job.errors >= bulk.errors_allowed:
            break
    return Response(200, bulk_response([job.results[place] for place in sorted(job.results)]))


AT_ONCE = 32
"""Creates that are under way together."""


def _waves(bulk: Bulk) -> Iterator[list[int]]:
    """Yield the places of the operations in order, together those that may be under way together.

    That are creates of different names that wait for none of the others; where failOnErrors counts, it is one by one.
    """
    wave: list[int] = []
    names: set[tuple[str, str] | None] = set()
    creates: set[str | None] = set()
    for place in in_order(bulk.operations):
        operation = bulk.operations[place]
        name = _name(operation)
        alone = name is None or bulk.errors_allowed is not None
        if wave and (alone or len(wave) == AT_ONCE or name in names or not operation.references.isdisjoint(creates)):
            yield wave
            wave, names, creates = [], set(), set()
        if alone:
            yield [place]
            continue
        wave.append(place)
        names.add(name)
        creates.add(operation.bulk_id)
    if wave:
        yield wave


def _name(operation: BulkOperation) -> tuple[str, str] | None:
    """Return what no two resources may have, of a create, or None where the order may count for another reason."""
    data = operation.data if operation.method == "POST" and isinstance(operation.data, dict) else {}
    endpoint = operation.path.strip("/").lower()
    name = data.get(_NAMES.get(endpoint, ""))
    return (endpoint, fold(name)) if isinstance(name, str) else None


_NAMES = {"users": "userName", "groups": "displayName"}


class _Job:
    """A bulk request under way: what it created by bulkId, and the results by place."""

    def __init__(self, directory: Directory, request: Request, rooms: Rooms, bulk: Bulk) -> None:
        self._directory = directory
        self._request = request
        self._rooms = rooms
        self._bulk = bulk
        self._known = bulk.bulk_ids
        self._ids: dict[str, str] = {}
        self.results: dict[int, dict[str, object]] = {}
        self.errors = 0

    async def run(self, place: int) -> None:
        """Run one operation and keep its result."""
        operation = self._bulk.operations[place]
        location = None if operation.method == "POST" else f"{self._request.base}/{operation.path.lstrip('/')}"
        try:
            operation = operation.resolved(self._ids, self._known)
            if location is not None:
                location = f"{self._request.base}/{operation.path.lstrip('/')}"
            response = await self._answer(operation)
        except Exception as error:
            self.errors += 1
            status, scim_type, detail, _ = problem(error)
            body = error_body(status, scim_type, detail)
            self.results[place] = result(operation, status, location=location, error=body)
            return
        if operation.method == "POST" and operation.bulk_id and response.location:
            self._ids[operation.bulk_id] = response.location.rpartition("/")[2]
        self.results[place] = result(
            operation, response.status, location=response.location or location, version=response.version
        )

    async def _answer(self, operation: BulkOperation) -> Response:
        endpoint, resource_id = operation.target()
        room = next((room for name, room in self._rooms.items() if name.lower() == endpoint.lower()), None)
        if room is None:
            raise NotFound("no such endpoint")
        body = b"" if operation.data is None else document_text(operation.data).encode()
        one = Request(self._request.base, self._request.by, resource_id, body=body, if_match=operation.version)
        return await _service(room, operation.method)(self._directory, one)


def _service(room: Room, method: str) -> Service:
    return {"POST": room.create, "PUT": room.replace, "PATCH": room.patch, "DELETE": room.delete}[method]
