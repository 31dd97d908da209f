"""The errors the engine ends with, one class for each scimType it uses (RFC 7644 section 3.12, table 9).

shared/host/problems.py turns them, and everything else that can go wrong, into HTTP responses.
A detail names attributes and remedies, never a value: it may end up in a log.
"""

from typing import ClassVar

ERROR_URN = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimError(Exception):
    """What a request may be refused with. `detail` is for the person who reads the response."""

    status: ClassVar[int] = 400
    scim_type: ClassVar[str | None] = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidFilter(ScimError):
    """A filter does not follow the grammar, or compares what cannot be compared."""

    scim_type = "invalidFilter"


class InvalidPath(ScimError):
    """The path of a PATCH operation does not follow the grammar."""

    scim_type = "invalidPath"


class InvalidSyntax(ScimError):
    """A body is not JSON, or not of the message's shape."""

    scim_type = "invalidSyntax"


class InvalidValue(ScimError):
    """A required value is missing, or a value does not fit its attribute's type."""

    scim_type = "invalidValue"


class Mutability(ScimError):
    """A change is not compatible with the attribute's mutability."""

    scim_type = "mutability"


class NoTarget(ScimError):
    """A PATCH operation has nothing to work on."""

    scim_type = "noTarget"


class TooMany(ScimError):
    """A filter would yield, or cost, more than the service provider is willing to work through."""

    scim_type = "tooMany"


class InvalidCursor(ScimError):
    """A cursor was not made here, or for another query (RFC 9865 section 2.1)."""

    scim_type = "invalidCursor"


class ExpiredCursor(ScimError):
    """A cursor came back too late (RFC 9865 section 2.1)."""

    scim_type = "expiredCursor"


class InvalidCount(ScimError):
    """With a cursor, `count` is no integer, or another one than on the first page (RFC 9865 section 2.1)."""

    scim_type = "invalidCount"


class BodyTooLarge(ScimError):
    """A body has too many bytes or too many operations (RFC 7644 section 3.7.4)."""

    status = 413


def error_body(status: int, scim_type: str | None, detail: str) -> dict[str, object]:
    """Return the JSON body of an error response. `status` in it is a string, as RFC 7644 section 3.12 asks."""
    body: dict[str, object] = {"schemas": [ERROR_URN], "status": str(status)}
    if scim_type is not None:
        body["scimType"] = scim_type
    body["detail"] = detail
    return body
