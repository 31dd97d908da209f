"""Who signed in: the principal that App Service Authentication hands over, and what it may do.

Only for an app before which App Service Authentication is on: it takes the header of others away, where anybody else
could send it (https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities). It is never read
on SCIM routes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.host.auth import Caller, Forbidden, Unauthorized

PRINCIPAL: Final = "x-ms-client-principal"
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods by which nothing changes: all that a Reader may send."""
AZURE_PORTALS: Final = frozenset({"https://portal.azure.com", "https://portal.azure.us", "https://portal.azure.cn"})
"""Origins of the Azure portal, by cloud."""
_READER, _OPERATORS = "Reader", ("Owner", "Operator")
"""App roles, as the app registration has them (infra/entra.bicep)."""
_NAMES: Final = ("preferred_username", "upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn")
_TENANT: Final = ("tid", "http://schemas.microsoft.com/identity/claims/tenantid")
_OBJECT: Final = ("oid", "http://schemas.microsoft.com/identity/claims/objectidentifier")
_ROLES: Final = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")
"""Types of the claims that hold app roles. The header itself may name any type as that of roles."""
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MOST_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom or what Entra signed in: a person, or an application that has no `name`. "" is what no claim tells."""

    name: str = ""
    object_id: str = ""
    tenant: str = ""
    audience: str = ""
    roles: frozenset[str] = field(default_factory=frozenset)


NOBODY: Final = Principal()


def read_principal(header: str | None) -> Principal:
    """Return the principal of a header, base64 of JSON; NOBODY where it names none that Entra signed in."""
    try:
        document = json.loads(base64.b64decode(header or "", validate=True))
        claims = [(claim["typ"], claim["val"]) for claim in document["claims"]]
        if document.get("auth_typ") != "aad" or not all(isinstance(one, str) for claim in claims for one in claim):
            return NOBODY
        of: dict[Any, str] = dict(reversed(claims))
        name = next((of[name] for name in (*_NAMES, document.get("name_typ")) if of.get(name)), "")[:_MOST_CHARS]
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return NOBODY
    told = [{value for typ, value in claims if typ in typs} for typs in (_OBJECT, _TENANT, ("aud",))]
    if any(len(values) > 1 for values in told):
        return NOBODY  # two people, tenants or applications in one sign-in: none of them counts
    object_id, tenant, audience = ("".join(values) for values in told)
    roles = frozenset(value for typ, value in claims if typ in _ROLES)
    known = object_id.lower() if _GUID.fullmatch(object_id) else ""
    return Principal(name if name.isprintable() else "", known, tenant.lower(), audience, roles)


def admit(principal: Principal, method: str, audience: str, tenants: Mapping[str, str]) -> Caller:
    """Return who calls, where a principal may send a request of this method.

    `audience` is the client id of the app registration that signs in, `tenants` has the directory of each tenant whose
    people may come. Raises Unauthorized for nobody, and Forbidden for another audience or tenant, or without a role.
    """
    if not principal.object_id:
        raise Unauthorized("sign in, or send the header Authorization: Bearer with a token of this application")
    if not _is_for(principal, audience):
        raise Forbidden("this sign-in is for another application: ask for a token of this one")
    directory = _directory_of(principal, tenants)
    if directory is None:
        raise Forbidden("no directory here is for the tenant that signed you in: SCIMLINK_PORTAL_TENANTS names them")
    role = next((one for one in (*_OPERATORS, _READER) if one in principal.roles), "")
    may_change = role in _OPERATORS
    if not role:
        raise Forbidden(
            "you have none of the roles Reader, Operator and Owner: whoever manages the enterprise application assigns "
            "them under Users and groups"
        )
    if not may_change and method not in READS:
        raise Forbidden("the role Reader changes nothing: this takes the role Operator or Owner")
    return Caller(f"entra:{principal.object_id}", directory, principal.name, may_change, role)


def person_beside(principal: Principal, directory: str, audience: str, tenants: Mapping[str, str]) -> str:
    """Return the name of who signed in beside a credential that opens a directory, "" where nothing vouches for it.

    `audience` and `tenants` are those of admit(): a sign-in to another application, or of a tenant whose people do not
    manage the directory, would name anybody who has such a sign-in for what the credential does.
    """
    vouched = principal.object_id and _is_for(principal, audience)
    return principal.name if vouched and _directory_of(principal, tenants) == directory else ""


def _is_for(principal: Principal, audience: str) -> bool:
    return bool(audience) and principal.audience in (audience, f"api://{audience}")


def _directory_of(principal: Principal, tenants: Mapping[str, str]) -> str | None:
    """Return the directory that the people of a principal's tenant manage, None for none."""
    return {tenant.lower(): name for tenant, name in tenants.items() if tenant}.get(principal.tenant)


def refuse_other_origin(headers: Mapping[str, str], method: str, own: str) -> None:
    """Raise Forbidden for a change that another site makes a signed-in browser send.

    A browser says where a request comes from (Fetch Metadata, and RFC 6454 section 7); a script says neither, and has a
    token in place of a cookie. `own` is the app's origin. A page that sends no referrer has the origin "null" in its
    forms (https://fetch.spec.whatwg.org/#append-a-request-origin-header): there Fetch Metadata alone says it.

    Code + Test in the Azure portal sends a token from a page of the portal's. No other site can have a browser send one
    with it: the browser first asks whether this site takes it from there (CORS), which the settings of the app answer.
    """
    if method in READS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if (site is None and origin is None) or origin in AZURE_PORTALS:
        allowed = bool(headers.get("authorization"))
    else:
        allowed = (origin in (None, own, "null") if site else origin == own) and site in (None, "same-origin")
    if not allowed:
        raise Forbidden("this request comes from another site: send it from this one, or with a token")
