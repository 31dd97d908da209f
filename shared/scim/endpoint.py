"""A SCIM request and response as plain values: what the rooms' services take and give.

shared/host translates from and to HTTP. Location and ETag are RFC 7644 sections 3.1 and 3.14.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from shared.scim.errors import ScimError
from shared.scim.limits import MAX_URL_BYTES


class PreconditionFailed(ScimError):
    """The client's If-Match or If-None-Match does not allow the version that the resource has (RFC 7644 3.14)."""

    status = 412

    def __init__(self) -> None:
        super().__init__("the resource has another version: read it again, then send the change")


class MethodNotAllowed(ScimError):
    """The endpoint is there, and does not take this method. `allowed` are those that it takes (RFC 9110 15.5.6)."""

    status = 405

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__(f"this address does not take the method: it takes {', '.join(sorted(allowed))}")
        self.allowed = allowed


class LengthRequired(ScimError):
    """A body came without its length, and was lost on the way (RFC 9110 section 15.5.12)."""

    status = 411

    def __init__(self) -> None:
        super().__init__("the body came in chunks and did not arrive: send it with a Content-Length")


class UriTooLong(ScimError):
    """The URL is longer than the host is sure to take (RFC 9110 section 15.5.15)."""

    status = 414

    def __init__(self) -> None:
        super().__init__(
            f"a URL has at most {MAX_URL_BYTES} bytes: send the query in a body instead, as POST to the endpoint's "
            "/.search (RFC 7644 section 3.4.3)"
        )


class NotImplementedHere(ScimError):
    """The RFC describes the endpoint, and this service provider does not have it."""

    status = 501


@dataclass(frozen=True, slots=True)
class Request:
    """What a service needs of a request. `base` is the SCIM root's address, `by` names the caller for the audit.

    `params` has the parameters of the query by their names in lower case, and those of the path. `person` is the
    name of the person who calls, "" where the caller is none, or is not known as one.
    """

    base: str
    by: str
    id: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    if_match: str | None = None
    if_none_match: str | None = None
    content_type: str = ""
    person: str = ""

    def check_version(self, version: str) -> None:
        """Raise PreconditionFailed where If-Match or If-None-Match rules this version out (RFC 9110 section 13.1).

        The part of a version behind a full stop stands for what is shown beside the resource. No write changes that, so
        it does not count.
        """
        self._check_match(version)
        if self.if_none_match and version_matches(self.if_none_match, version, stored=True):
            raise PreconditionFailed

    def has_version(self, version: str) -> bool:
        """Tell whether a reader has this version already, so that 304 answers. Raises PreconditionFailed."""
        self._check_match(version)
        return bool(self.if_none_match) and version_matches(self.if_none_match or "", version)

    def _check_match(self, version: str) -> None:
        if self.if_match and not version_matches(self.if_match, version, stored=True):
            raise PreconditionFailed


@dataclass(frozen=True, slots=True)
class Response:
    """What a service answers. `version` becomes the ETag; `text` is JSON, or "" for none, or what `mimetype` says.

    `file` is there instead of it where the answer is no text. `noted` is for the activity, and is not sent.
    """

    status: int
    text: str = ""
    version: str | None = None
    location: str | None = None
    mimetype: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    file: bytes = b""
    noted: Mapping[str, str | int] = field(default_factory=dict)


_ELEMENT = re.compile(r'(?:[^",]++|"[^"]*+"|")++')
"""An element of a header's list; a comma within quotation marks ends none (RFC 9110 section 5.6.1)."""
_TAG = re.compile(r'(?:[Ww]/)?+(?:"([^"]*+)"|([^\s"]++))')
"""An entity tag; some clients leave the quotation marks out."""


def version_matches(header: str, version: str, *, stored: bool = False) -> bool:
    """Tell whether an If-Match or If-None-Match header names a version; weak and strong tags compare alike here.

    With `stored`, only the part before a full stop is compared.
    """
    if header.strip() == "*":
        return True
    tags = (_TAG.fullmatch(element.strip()) for element in _ELEMENT.findall(header))
    named = [tag[1] or tag[2] or "" for tag in tags if tag]
    opaque = version.removeprefix("W/").strip('"')
    if stored:
        return opaque.partition(".")[0] in [tag.partition(".")[0] for tag in named]
    return opaque in named
