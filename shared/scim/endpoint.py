"""A SCIM request and response as plain values: what the rooms' services take and give.

shared/host translates from and to HTTP. Location and ETag are RFC 7644 sections 3.1 and 3.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.scim.errors import ScimError


class PreconditionFailed(ScimError):
    """The client's If-Match names another version than the resource has (RFC 7644 section 3.14)."""

    status = 412

    def __init__(self) -> None:
        super().__init__("the resource has another version: read it again, then send the change")


class MethodNotAllowed(ScimError):
    """The endpoint is there, and does not take this method."""

    status = 405


class NotImplementedHere(ScimError):
    """The RFC describes the endpoint, and this service provider does not have it."""

    status = 501


@dataclass(frozen=True, slots=True)
class Request:
    """What a service needs of a request. `base` is the SCIM root's address, `by` names the caller for the audit."""

    base: str
    by: str
    id: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    if_match: str | None = None
    if_none_match: str | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What a service answers. `version` becomes the ETag; `text` is JSON, or "" for none."""

    status: int
    text: str = ""
    version: str | None = None
    location: str | None = None


def version_matches(header: str, version: str) -> bool:
    """Tell whether an If-Match or If-None-Match header names a version; weak and strong tags compare alike here."""
    if header.strip() == "*":
        return True
    return _opaque(version) in map(_opaque, header.split(","))


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')
