"""Who calls: a bearer token is compared by its hash with the credentials in the settings (RFC 6750).

The credential chooses the directory; nothing in a request can name another. A person is known beside that where App
Service Authentication stands before the app: their name is kept with what they decide, and opens no door.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from shared.host.settings import Credential, Role, now


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


PRINCIPAL: Final = "x-ms-client-principal"
"""The header in which App Service Authentication says who signed in. It takes the same header of others away.

https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
"""
_NAMES: Final = ("preferred_username", "upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn")
_MOST_CHARS: Final = 200


def person_of(header: str | None) -> str:
    """Return the name by which a person signed in to Entra, "" where the header of a principal names none.

    Only for an app before which App Service Authentication is on: anybody else can send such a header.
    """
    try:
        principal = json.loads(base64.b64decode(header or "", validate=True))
        claims = {claim["typ"]: claim["val"] for claim in reversed(principal["claims"])}
        names: list[Any] = [claims.get(name) for name in (*_NAMES, principal.get("name_typ"))]
        known = principal.get("auth_typ") == "aad"
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    # An app that signs in as itself has no such name.
    name = next((one for one in names if isinstance(one, str) and one), "") if known else ""
    return name[:_MOST_CHARS] if name.isprintable() else ""
