"""Who calls: a bearer token is compared by its hash with the credentials in the settings (RFC 6750).

The credential chooses the directory; nothing in a request can name another. principal.py knows who signed in instead.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from shared.host.settings import Credential, Role, now


class Caller(NamedTuple):
    """Who calls: the name that goes into the audit, the directory that it opens, and a person's name, "" for none.

    The person's name is kept for a term; the other one is no name of a person. Whoever may not change anything reads.
    `role` is the app role by which a person may do the most, "" for a credential.
    """

    name: str
    directory: str
    person: str = ""
    may_change: bool = True
    role: str = ""


class Unauthorized(Exception):
    """No valid token. Answered 401 with WWW-Authenticate."""


class Forbidden(Exception):
    """A valid token without the role that the route asks for."""


def authenticate(
    header: str | None, credentials: Sequence[Credential], role: Role, clock: Callable[[], datetime] = now
) -> Credential:
    """Return the credential of an Authorization header. Raises Unauthorized or Forbidden."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("send the header Authorization: Bearer with a token of this application")
    digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for credential in credentials:
        # Each is compared, and in constant time: how long the answer takes tells nothing.
        if hmac.compare_digest(credential.sha256, digest):
            found = credential
    if found is None:
        raise Unauthorized("the token is not known here: copy it again, or ask for a new one")
    if found.expires is not None and found.expires <= clock():
        raise Unauthorized("the token has expired: put a new one into the provisioning settings")
    if role not in found.roles:
        raise Forbidden(f"this token does not open {role} routes")
    return found
