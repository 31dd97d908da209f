"""What the app is told about Microsoft Graph: which tenants it may read, and how it proves who it is.

settings.py holds the rest. link_orchestrator/graph/ makes tokens of it, and reads with them.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

TENANT = r"^[A-Za-z0-9][A-Za-z0-9.\-]{0,252}$"
"""A tenant's id or one of its domains: it becomes part of an address."""

VARIABLES: Mapping[str, str] = {
    "client_id": "SCIMLINK_GRAPH_CLIENT_ID",
    "endpoint": "SCIMLINK_GRAPH_ENDPOINT",
    "authority": "SCIMLINK_GRAPH_AUTHORITY",
    "federated_token_file": "SCIMLINK_GRAPH_FEDERATED_TOKEN_FILE",
    "certificate": "SCIMLINK_GRAPH_CERTIFICATE",
    "client_secret": "SCIMLINK_GRAPH_CLIENT_SECRET",
    "managed_identity_id": "SCIMLINK_CLIENT_ID",
}
TENANTS = "SCIMLINK_GRAPH_TENANTS"


_PLAIN = re.compile(r"(?:(?![?#@,\\])[\x21-\x7e])+")
"""An address without a query, a fragment or a user's name, and in ASCII: a name beyond it is written as xn--…"""


def origin(address: str, *, loopback: bool = True) -> str:
    """Return an address without its last slash. Raises ValueError.

    Tokens are sent there, so that only `loopback`, if that, may do without TLS.
    """
    parts = urlsplit(address)
    if not _PLAIN.fullmatch(address) or not parts.hostname or parts.path.strip("/"):
        raise ValueError("must be an address like https://graph.microsoft.com, without a path")
    if not _has_port_if_any(parts):
        raise ValueError("must have a port from 0 to 65535, or none")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError("must begin with https://")
    return address.rstrip("/")


def _has_port_if_any(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port >= 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Origin = Annotated[str, AfterValidator(origin)]


class GraphSettings(BaseModel):
    """How Microsoft Graph is read. Without `client_id` the app's managed identity reads, and its own tenant alone.

    `tenants` holds by directory the tenant that its identities come from. No directory reads another's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: Mapping[str, Annotated[str, Field(pattern=TENANT)]] = {}
    client_id: str = ""
    endpoint: Origin = "https://graph.microsoft.com"
    authority: Origin = "https://login.microsoftonline.com"
    federated_token_file: str = ""
    certificate: str = ""
    client_secret: SecretStr = SecretStr("")
    managed_identity: bool = False
    managed_identity_id: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GraphSettings:
        """Return the settings of SCIMLINK_GRAPH_… variables. Raises ValueError naming the one that is wrong."""
        found: dict[str, Any] = {field: environment[name] for field, name in VARIABLES.items() if environment.get(name)}
        try:
            found["tenants"] = json.loads(environment.get(TENANTS) or "{}")
        except (ValueError, RecursionError):
            raise ValueError(f"{TENANTS} must be a JSON object from directory to tenant id") from None
        # Azure tells an app of its managed identity by these two, which msal reads itself.
        found["managed_identity"] = "IDENTITY_ENDPOINT" in environment and "IDENTITY_HEADER" in environment
        try:
            return cls(**found)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = str(wrong["loc"][0])
            # The value may be a secret: the message says what is wrong, never the value.
            raise ValueError(f"{VARIABLES.get(field, TENANTS)}: {wrong['msg']}") from None
