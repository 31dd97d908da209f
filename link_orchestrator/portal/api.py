"""The administrator's API, called in this process by the same services that answer it over HTTP.

So every number on a page is the API's, a page can do nothing that the API could not, and the history names the person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from link_orchestrator.lifecycle import Orchestrations
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.host.auth import Caller, Forbidden
from shared.host.http import JSON, Route, noted
from shared.host.principal import READS
from shared.scim.endpoint import Request, Response

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class Door(NamedTuple):
    """A route of the administrator's API, and what its service is handed beside the directory and the request."""

    route: Route
    durable: bool = False
    """Whether the service is handed the client of the orchestrations, first."""
    more: tuple[object, ...] = ()


Doors = Mapping[tuple[str, str], Door]
"""The doors by method and path, as in `("GET", "linking/runs/{id}")`."""


def by_path(doors: Iterable[Door]) -> Doors:
    """Return the doors by method and path."""
    return {(door.route.method, door.route.path): door for door in doors}


class Api:
    """The API as one caller may use it. Every call raises what its service raises: the table of errors has them all."""

    def __init__(self, doors: Doors, directory: Directory, caller: Caller, client: Orchestrations, base: str) -> None:
        self._doors, self._directory, self._caller, self._client = doors, directory, caller, client
        self._base = base

    async def get(self, path: str, **params: str | None) -> Any:
        """Return the document at a path of the API's description, like `get("linking/runs/{id}", id=run)`.

        Parameters that the path does not name go into the query; None and "" are left out.
        """
        return _document(await self.call("GET", path, params))

    async def find(self, path: str, **params: str | None) -> Any:
        """Return the document at a path, None where there is none."""
        try:
            return await self.get(path, **params)
        except NotFound:
            return None

    async def post(self, path: str, body: object = None, content_type: str = JSON, **params: str | None) -> Any:
        """Send a body, which is JSON unless it is bytes, and return the answer's document, None where there is none."""
        return _document(await self.call("POST", path, params, body, content_type))

    async def put(self, path: str, body: object, **params: str | None) -> Any:
        """Replace what is at a path, and return the answer's document."""
        return _document(await self.call("PUT", path, params, body))

    async def delete(self, path: str, **params: str | None) -> None:
        """Remove what is at a path."""
        await self.call("DELETE", path, params)

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | None] | None = None,
        body: object = None,
        content_type: str = JSON,
        if_match: str | None = None,
    ) -> Response:
        """Return the whole answer of any operation: a file, or the version of what is shown.

        Raises Forbidden for a change by someone who may change nothing, and KeyError for what is no operation.
        """
        door, params = self._doors[method, path], params or {}
        if method not in READS and not self._caller.may_change:
            raise Forbidden("the role Reader changes nothing: this takes the role Operator or Owner")
        in_path = {name: params[name] or "" for name in _PARAMETER.findall(path)}
        in_query = {name.lower(): value for name, value in params.items() if value and name not in in_path}
        request = Request(
            base=self._base,
            by=self._caller.name,
            person=self._caller.person,
            id=in_path.pop("id", ""),
            params=in_query | in_path,
            body=body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            if_match=if_match,
            content_type=content_type,
        )
        more = (self._client, *door.more) if door.durable else door.more
        return await noted(door.route)(self._directory, request, *more)


def _document(response: Response) -> Any:
    return json.loads(response.text) if response.text else None
