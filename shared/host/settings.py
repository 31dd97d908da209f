"""What the app is told from outside: app settings in Azure, arguments on a laptop.

infra/ declares the same names; nothing else reads the environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from shared.directory.keys import BUCKETS
from shared.directory.text import timestamp
from shared.host.graph_settings import GraphSettings, origin

Role = Literal["scim", "admin"]
ROLES: frozenset[Role] = frozenset({"scim", "admin"})
Buckets = Annotated[int, Field(ge=1, le=256)]
"""An id names its bucket by two hex digits."""


def app_roles(text: str) -> frozenset[Role]:
    """Return the roles that a text names, with commas between; both if it names none. Raises ValueError."""
    named = {role.strip().lower() for role in text.split(",")} - {""}
    if not named <= ROLES:
        raise ValueError("APP_ROLES must be scim, admin, or both: scim,admin")
    return frozenset(role for role in ROLES if role in named) or ROLES


EASY_AUTH = "easyauth"
"""What the setting says where App Service Authentication is on."""


DirectoryName = Annotated[str, Field(pattern="^[a-z0-9]{1,32}$")]


class Credential(BaseModel):
    """A bearer token by its hash: which directory it opens, for which role, and until when.

    `name` goes into the audit. Several may be valid at once, so that one can be rotated without a gap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    directory: DirectoryName = "main"
    roles: frozenset[Role] = frozenset({"scim"})
    expires: AwareDatetime | None = None

    def days_left(self, at: datetime) -> int | None:
        """Return the whole days until the token ends, less than 0 once it has; None for one that does not end."""
        return None if self.expires is None else (self.expires - at).days

    @property
    def ends(self) -> str:
        """When the token ends, as a timestamp in UTC; "" for one that does not."""
        return timestamp(self.expires.astimezone(UTC)) if self.expires else ""

    @classmethod
    def of(cls, token: str, name: str, *roles: Role, directory: str = "main") -> Credential:
        """Return the credential of a token; the token itself is not kept."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        return cls(name=name, sha256=digest, directory=directory, roles=frozenset(roles))


class Settings(BaseModel):
    """The app's settings. `tables` is a connection string, or `tables_endpoint` the address for a managed identity.

    `app_roles` says which doors this app has: SCIM, the administrator's, or both. Two may share package and tables.
    `backups_endpoint` is the address of the blobs that the tables are copied to every night, "" for no copies.
    `base_url` is the public address up to `/scim/v2`, where a proxy hides it; "" takes it from each request. `buckets`
    is the number of buckets of a directory that is opened for the first time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    app_roles: frozenset[Role] = ROLES
    credentials: tuple[Credential, ...] = ()
    tables: str = ""
    tables_endpoint: str = ""
    backups_endpoint: str = ""
    backup_days: int = 0
    """Days for which the deployment keeps the copies, 0 where it does not say: the app deletes none of them."""
    client_id: str = ""
    base_url: str = ""
    buckets: Buckets = BUCKETS
    graph: GraphSettings = GraphSettings()
    portal_auth: bool = False
    """Whether App Service Authentication stands before the app, so that its header says which person calls."""
    portal_audience: str = ""
    """Client id of the app registration that signs people in: then their app roles open the administrator's routes."""
    portal_tenants: Mapping[str, DirectoryName] = {}
    """By tenant whose people may come, the directory that they manage."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of APP_ROLES and SCIMLINK_… variables. Raises ValueError naming the one that is wrong."""
        credentials = environment.get("SCIMLINK_CREDENTIALS", "[]")
        try:
            known = TypeAdapter(tuple[Credential, ...]).validate_python(json.loads(credentials))
        except (ValueError, RecursionError) as error:
            # The variable holds hashes: the message says what is wrong, never the value.
            raise ValueError(
                "SCIMLINK_CREDENTIALS must be a JSON list of {name, sha256, directory, roles, expires}, "
                "expires with its time zone, like 2027-01-31T00:00:00Z"
            ) from error
        try:
            buckets = TypeAdapter(Buckets).validate_python(environment.get("SCIMLINK_BUCKETS") or BUCKETS)
        except ValueError:
            raise ValueError("SCIMLINK_BUCKETS must be a number from 1 to 256") from None
        try:
            backup_days = int(environment.get("SCIMLINK_BACKUP_DAYS") or 0)
        except ValueError:
            raise ValueError("SCIMLINK_BACKUP_DAYS must be a whole number of days") from None
        if (portal_auth := environment.get("SCIMLINK_PORTAL_AUTH", "")) not in ("", EASY_AUTH):
            raise ValueError(f"SCIMLINK_PORTAL_AUTH must be {EASY_AUTH}, or left out")
        try:
            tenants = TypeAdapter(Mapping[str, DirectoryName]).validate_json(
                environment.get("SCIMLINK_PORTAL_TENANTS") or "{}"
            )
        except ValueError:
            raise ValueError("SCIMLINK_PORTAL_TENANTS must be a JSON object from tenant id to directory") from None
        return cls(
            app_roles=app_roles(environment.get("APP_ROLES", "")),
            buckets=buckets,
            credentials=known,
            tables=environment.get("SCIMLINK_TABLES", ""),
            tables_endpoint=_address(environment, "SCIMLINK_TABLES_ENDPOINT", "https://ACCOUNT.table.core.windows.net"),
            backups_endpoint=_address(
                environment, "SCIMLINK_BACKUPS_ENDPOINT", "https://ACCOUNT.blob.core.windows.net"
            ),
            backup_days=backup_days,
            client_id=environment.get("SCIMLINK_CLIENT_ID", ""),
            base_url=_address(environment, "SCIMLINK_BASE_URL", "https://scim.example.com", loopback=True),
            graph=GraphSettings.from_environment(environment),
            portal_auth=portal_auth == EASY_AUTH,
            portal_audience=environment.get("SCIMLINK_PORTAL_AUDIENCE", ""),
            portal_tenants=tenants,
        )

    @classmethod
    def local(cls, token: str, graph: GraphSettings | None = None, app_roles: frozenset[Role] = ROLES) -> Settings:
        """Return a laptop's settings: one directory, and one token for both roles."""
        credentials = (Credential.of(token, "local", "scim", "admin"),)
        return cls(credentials=credentials, graph=graph or GraphSettings(), app_roles=app_roles)

    @property
    def signs_in(self) -> bool:
        """Whether App Service Authentication signs people in, whose app roles open the administrator's routes."""
        return self.portal_auth and bool(self.portal_audience)

    @property
    def directories(self) -> list[str]:
        """The directories that somebody can come to, by a credential or by signing in: timers look after these."""
        return sorted({one.directory for one in self.credentials} | set(self.portal_tenants.values()))

    def check_complete(self) -> None:
        """Raise ValueError naming the setting that is missing, without which the app can answer nobody."""
        if not (self.tables or self.tables_endpoint):
            raise ValueError("SCIMLINK_TABLES_ENDPOINT is missing: the address of the Table Storage")
        if self.signs_in and not self.portal_tenants:
            raise ValueError("SCIMLINK_PORTAL_TENANTS is missing: whose people may sign in, and to which directory")
        for role in sorted(self.app_roles - ({"admin"} if self.signs_in else set())):
            if not any(role in credential.roles for credential in self.credentials):
                raise ValueError(f"SCIMLINK_CREDENTIALS has no entry with the role {role}: nobody could sign in")


def _address(environment: Mapping[str, str], name: str, example: str, *, loopback: bool = False) -> str:
    """Return the address in a variable, "" if it is not set. Raises ValueError naming the variable."""
    try:
        return origin(environment.get(name, ""), loopback=loopback) if environment.get(name) else ""
    except ValueError:
        raise ValueError(f"{name} must be an address like {example}, without a path") from None


def now() -> datetime:
    """Return the current time, with its time zone."""
    return datetime.now(UTC)
