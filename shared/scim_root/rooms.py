"""What a resource type's room offers, so that requests to the root (/.search, /Bulk) reach every room.

function_app.py hands the rooms in by their endpoints: nothing in shared imports a room.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from shared.directory.directory import Directory
from shared.json_text import dump
from shared.scim.cursor import Cursor, Sign, open_cursor, seal
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.scim.messages import list_response
from shared.scim.query import Query
from shared.scim.schema import USER


class Room(Protocol):
    """The services of one resource type. A module such as scim_users.service is one."""

    async def create(self, directory: Directory, request: Request) -> Response: ...
    async def get(self, directory: Directory, request: Request) -> Response: ...
    async def query(self, directory: Directory, request: Request) -> Response: ...
    async def search(self, directory: Directory, request: Request) -> Response: ...
    async def replace(self, directory: Directory, request: Request) -> Response: ...
    async def patch(self, directory: Directory, request: Request) -> Response: ...
    async def delete(self, directory: Directory, request: Request) -> Response: ...


Rooms = Mapping[str, Room]
"""Rooms by endpoint, such as `Users`."""
Search = Callable[..., Awaitable[Any]]
"""Asks a room for one page and returns its list response as a JSON object."""


async def query_rooms(directory: Directory, request: Request, rooms: Rooms) -> Response:
    """Answer a GET of the root as the search that its parameters make (RFC 7644 section 3.4.2.1)."""
    asked = {name: value for name, value in request.params.items() if name != "schemas"}
    return await search_rooms(directory, replace(request, body=dump(asked).encode()), rooms)


async def search_rooms(directory: Directory, request: Request, rooms: Rooms) -> Response:
    """Answer a SearchRequest to the root (RFC 7644 section 3.4.3) with what each room finds, one after the other."""
    body = read_json(request.body)
    asked = replace(Query.from_message(body, USER), resource_type="")
    if asked.sort is not None or not isinstance(body, dict):
        raise InvalidValue("sortBy is for one resource type: search /Users or /Groups.")
    rest = {name: value for name, value in body.items() if name.lower() not in ("startindex", "count", "cursor")}

    async def search(room: Room, **place: object) -> Any:
        response = await room.search(directory, replace(request, body=dump(rest | place).encode()))
        return json.loads(response.text)

    if asked.cursor is not None and asked.count:
        return Response(200, await _by_cursor(asked, rooms, search, directory.keys.sign))
    found: list[str] = []
    total, count = 0, asked.count
    for room in rooms.values():
        start = max(1, asked.start_index - total)
        part = await search(room, startIndex=start, count=count)
        total += part["totalResults"]
        found += map(dump, part["Resources"])
        # A page of large resources ends early: the next one begins with this room's, before those of another.
        is_cut = len(part["Resources"]) < min(count, part["totalResults"] - start + 1)
        count = 0 if is_cut else count - len(part["Resources"])
    return Response(200, list_response(found, total, None if asked.cursor is not None else asked.start_index))


async def _by_cursor(asked: Query, rooms: Rooms, search: Search, sign: Sign) -> str:
    """Return a page of one room, and a cursor that holds the room and its own cursor (RFC 9865).

    Behind the last page of a room comes the next room. There is no way back and no total.
    """
    cursor = open_cursor(asked, sign)
    name, inner = map(str, cursor.position or (next(iter(rooms)), ""))
    after = [*rooms][[*rooms].index(name) + 1 :]
    while True:
        part = await search(rooms[name], cursor=inner, count=asked.count)
        inner = part.get("nextCursor", "")
        if not inner and not after:
            following = None
            break
        following = Cursor((name, inner) if inner else (after[0], ""))
        if part["Resources"] or inner:
            break
        name = after.pop(0)
    texts = [dump(resource) for resource in part["Resources"]]
    return list_response(texts, None, next_cursor=seal(following, asked, sign) if following else None)
