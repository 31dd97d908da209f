"""App Service Authentication as a laptop has it: whoever sits at this machine is signed in on the portal.

Like Azure's it takes away the headers by which anybody could say who they are. It hands a principal to requests for the
portal alone, which come from this machine and name it as they do: a page of another site that has its own name resolved
to 127.0.0.1 (DNS rebinding) sends that name. Every user of this machine can be such a person; `--no-portal` is for
machines that have others.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

import azure.functions as func
from multidict import CIMultiDict

from shared.host.principal import PRINCIPAL
from shared.host.routes import matcher
from shared.host.settings import Settings

AUDIENCE, TENANT, PERSON = "local", "local", "10ca1000-0000-4000-8000-000000000001"
"""Client id, tenant and object id of the principal. No sign-in of Entra's has these."""
NAME: Final = "you@this machine"
CLAIMED: Final = "x-ms-client-principal"
"""What the headers begin with by which App Service says who signed in."""
PortalRole = Literal["operator", "reader"]
_portal = matcher("portal/{*path}")
_sign_in = matcher(".auth/login/aad")
_sign_out = matcher(".auth/logout")


def with_portal(settings: Settings) -> Settings:
    """Return settings by which the principal of this machine opens the portal."""
    return settings.model_copy(
        update={"portal_auth": True, "portal_audience": AUDIENCE, "portal_tenants": {TENANT: "main"}}
    )


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who sits at this machine, with a role on the portal."""

    role: PortalRole = "operator"

    def hand_on(self, headers: Mapping[str, str], path: str, peer: str | None, url: str) -> Mapping[str, str]:
        """Return the headers that the app is handed of a request from a peer's address to a host at `url`."""
        kept = CIMultiDict((name, value) for name, value in headers.items() if not name.lower().startswith(CLAIMED))
        if len(kept) == len(headers) and _portal(path) and is_here(headers, peer, url):
            kept[PRINCIPAL] = self._principal()
        return kept

    def answer(
        self, headers: Mapping[str, str], path: str, query: Mapping[str, str], peer: str | None, url: str
    ) -> func.HttpResponse | None:
        """Return what an address of App Service Authentication answers, None for any other address."""
        if _sign_out(path):
            page = (
                f'<title>Scimlink</title><p>On this machine nobody signs out. <a href="{url}/portal">The portal</a></p>'
            )
            return func.HttpResponse(f"<!doctype html>{page}\n", mimetype="text/html")
        if not _sign_in(path):
            return None
        if not is_here(headers, peer, url):
            return func.HttpResponse(f"The portal is open to this machine, as {url}/portal\n", status_code=403)
        asked = query.get("post_login_redirect_uri", "")
        to = asked if asked.startswith("/portal") and asked.isprintable() and asked.isascii() else "/portal"
        return func.HttpResponse(status_code=302, headers={"Location": to})

    def _principal(self) -> str:
        claims = {"aud": AUDIENCE, "tid": TENANT, "oid": PERSON, "preferred_username": NAME, "roles": self.role.title()}
        document = {"auth_typ": "aad", "claims": [{"typ": typ, "val": val} for typ, val in claims.items()]}
        return base64.b64encode(json.dumps(document).encode()).decode()


def is_here(headers: Mapping[str, str], peer: str | None, url: str) -> bool:
    """Tell whether a request comes from this machine, and names it by a name or address of its own, with its port."""
    try:
        near = ipaddress.ip_address(peer or "").is_loopback
    except ValueError:
        return False
    named, port = headers.get("Host", "").lower(), urlsplit(url).port
    return near and named in {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
