"""What the host asks of a resource type's room, so that requests to the root (/.search, /Bulk) reach every room.

function_app.py hands the rooms in by their endpoint; shared/host imports none of them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

from shared.directory.directory import Directory
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.scim.messages import document_text, list_response
from shared.scim.query import Query
from shared.scim.schema import USER

Service = Callable[[Directory, Request], Awaitable[Response]]


class Room(Protocol):
    """The service of one resource type; a module is one."""

    async def create(self, directory: Directory, request: Request) -> Response: ...
    async def search(self, directory: Directory, request: Request) -> Response: ...
    async def replace(self, directory: Directory, request: Request) -> Response: ...
    async def patch(self, directory: Directory, request: Request) -> Response: ...
    async def delete(self, directory: Directory, request: Request) -> Response: ...


Rooms = Mapping[str, Room]
"""Rooms by endpoint, such as `Users`."""


async def search_rooms(directory: Directory, request: Request, rooms: Rooms) -> Response:
    """Answer a SearchRequest to the root (RFC 7644 section 3.4.3): what each room finds, one after the other."""
    body = read_json(request.body)
    asked = Query.from_message(body, USER)
    if asked.cursor is not None or asked.sort is not None or not isinstance(body, dict):
        raise InvalidValue("cursor and sortBy are for one resource type: search /Users or /Groups.")
    rest = {name: value for name, value in body.items() if name.lower() not in ("startindex", "count")}
    found: list[str] = []
    total = 0
    for room in rooms.values():
        place = {"startIndex": max(1, asked.start_index - total), "count": asked.count - len(found)}
        response = await room.search(directory, replace(request, body=document_text(rest | place).encode()))
        part = json.loads(response.text)
        total += part["totalResults"]
        found += map(document_text, part["Resources"])
    return Response(200, list_response(found, total, asked.start_index))
