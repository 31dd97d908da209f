"""What the host asks of a resource type's room, so that requests to the root (/.search, /Bulk) reach every room.

function_app.py hands the rooms in by their endpoint; shared/host imports none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from shared.directory.directory import Directory
from shared.scim.endpoint import Request, Response

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
