"""POST /Bulk (RFC 7644 section 3.7): each operation is one request to its room, one after the other.

An operation that fails fails alone, with the error that it would get as a request of its own. Creates that follow each
other run together where nobody can tell the difference: they share round trips and, on SQLite, syncs of the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.host.problems import problem
from shared.json_text import dump
from shared.scim.bulk_messages import Bulk, BulkOperation, bulk_response, in_order, parse_bulk, result
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import error_body
from shared.scim.limits import MAX_BULK_BYTES
from shared.scim_root.rooms import Rooms
from shared.tables.access import together


async def run_bulk(directory: Directory, request: Request, rooms: Rooms) -> Response:
    """Run the operations: 200 with their results in the order of the request.

    Once failOnErrors is reached, the rest is neither run nor answered.
    """
    bulk = parse_bulk(read_json(request.body, MAX_BULK_BYTES))
    run = _Run(directory, request, rooms, bulk)
    for wave in _waves(bulk):
        await together(*map(run.perform, wave))
        if bulk.errors_allowed is not None and run.errors >= bulk.errors_allowed:
            break
    return Response(200, bulk_response([run.results[place] for place in sorted(run.results)]))


AT_ONCE = 32
"""Creates that run together at most."""


def _waves(bulk: Bulk) -> Iterator[list[int]]:
    """Yield the places of the operations in order, those together that may run together.

    These are creates of different names that refer to none of each other. With failOnErrors each runs alone.
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
    """Return the name that a create claims for its resource, or None for what must run alone."""
    data = operation.data if operation.method == "POST" and isinstance(operation.data, dict) else {}
    endpoint = operation.path.strip("/").lower()
    name = data.get(_NAMES.get(endpoint, ""))
    return (endpoint, fold(name)) if isinstance(name, str) else None


_NAMES = {"users": "userName", "groups": "displayName"}


class _Run:
    """A bulk request under way: the ids that it created, by bulkId, and its results by place."""

    def __init__(self, directory: Directory, request: Request, rooms: Rooms, bulk: Bulk) -> None:
        self._directory = directory
        self._request = request
        self._rooms = rooms
        self._bulk = bulk
        self._known = bulk.bulk_ids
        self._ids: dict[str, str] = {}
        self.results: dict[int, dict[str, object]] = {}
        self.errors = 0

    async def perform(self, place: int) -> None:
        """Perform one operation and keep its result."""
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
            known = " or /".join(self._rooms)
            raise NotFound("no such endpoint", "endpoint", f"a path of /Bulk begins with /{known}", where="here")
        body = b"" if operation.data is None else dump(operation.data).encode()
        one = Request(self._request.base, self._request.by, resource_id, body=body, if_match=operation.version)
        services = {"POST": room.create, "PUT": room.replace, "PATCH": room.patch, "DELETE": room.delete}
        return await services[operation.method](self._directory, one)
