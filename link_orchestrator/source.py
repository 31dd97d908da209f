"""Where identities come from, page by page: what a source is, how a request names one, and how a source fails.

The only source is Microsoft Graph (graph/identities.py). passes/read.py reads any source to its end, and notes in the
tables how far it has come. A file is no source: it is staged within its request (requests/uploads.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.problems import Problem
from shared.admin.body import Body
from shared.directory.errors import Busy
from shared.directory.matching.identity import Gone, Identity

Place = Mapping[str, Any]
"""Where to go on reading, as JSON. It is kept in the tables alone, since it may hold tokens of the source."""

GROUPS, IN_GROUPS = "groups.read", "groups.members"
"""Names of a source's counts: groups that were read whole, and people who are members of them."""

START: Place = {}
"""The beginning of every source."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some identities, with a Problem in the place of each that cannot be used; and groups behind the identities.

    A group comes with those of its members that were on the page. `then` is where to go on, None after the last page.
    """

    rows: Sequence[Identity | Gone | EntraGroup | Problem]
    then: Place | None
    bookmark: str | None = None
    """From where the next run can read only what has changed since."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What there was beside identities, as counts of the run."""
    assigned: bool = False
    """Whether the identities tell who is assigned to the application, and were read before."""


class IdentitySource(Protocol):
    """Gives identities page by page. If an identity comes twice, the later one is newer."""

    def changes(self, bookmark: str) -> Place | None:
        """Return where to read only what changed since a bookmark, or None where the source cannot tell."""

    async def page(self, place: Place) -> Page:
        """Return the page at a place. Raises SourceBusy and SourceFailed."""


class SourceBusy(Exception):
    """The source cannot answer now: ask again in `retry_after` seconds, or after longer each time if that is None."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class SourceFailed(Exception):
    """The source will not answer until an administrator does what the message says; `code` says it to the log."""

    def __init__(self, reason: str, code: str = "source") -> None:
        super().__init__(reason)
        self.code = code


class PlaceExpired(SourceFailed):
    """The source no longer knows the place: begin again at START."""


GUID = Annotated[
    str,
    Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", json_schema_extra={"format": "uuid"}),
]


class _Asked(Body, populate_by_name=True):
    """What a request's body says about a source."""


class GraphScope(_Asked):
    """Whose identities a run reads from Microsoft Graph."""

    scope: Literal["all", "assigned", "groups"] = "all"
    """Everybody, those who are assigned to the application, or the members of groups."""
    groups: tuple[GUID, ...] = Field(default=(), max_length=1000)
    """Object ids of the groups, with the scope groups."""
    service_principal: GUID | None = None
    """The enterprise application's object id, with the scope assigned; with all, the plan knows who is assigned."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        named = self.service_principal is not None
        if (self.scope == "assigned" and not named) or (self.scope == "groups" and named):
            raise ValueError("servicePrincipal, the enterprise application's object id, goes with the scope assigned")
        if (self.scope == "groups") != bool(self.groups):
            raise ValueError("groups, a list of object ids, goes with the scope groups")
        return self

    @property
    def tells_assigned(self) -> bool:
        """Whether everybody is read, and beside them who is assigned to the application."""
        return self.scope == "all" and self.service_principal is not None

    def to_json(self) -> dict[str, Any]:
        """Return the scope as it is asked for."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"scope": self.scope}


class RunSource(_Asked):
    """The source of a run's identities, by its kind."""

    graph: GraphScope


class ProvisioningJob(_Asked):
    """The provisioning job of an enterprise application."""

    service_principal: GUID
    """The enterprise application's object id."""
    # It becomes part of a URL's path, so it must not be able to change that path.
    job: str = Field(default="", pattern=r"^([0-9A-Za-z][0-9A-Za-z._-]{0,199})?$")
    """Its provisioning job, where it has several."""


class MappingSource(_Asked):
    """The source of a provisioning schema, by its kind."""

    graph: ProvisioningJob


class Sources(Protocol):
    """The sources that the app is set up for."""

    def check(self, directory: str) -> None:
        """Raise SourceFailed if a setting is missing to read the identities of a directory; the message names it."""

    def tenant(self, directory: str) -> str:
        """Return whose identities those of a directory are, as its setting names the tenant; "" where none does."""

    def open(
        self, directory: str, source: RunSource, *, groups: bool = False
    ) -> AbstractAsyncContextManager[IdentitySource]:
        """Return a source to read from within the block. With `groups`, it also gives the groups in its scope."""

    async def read_schema(self, directory: str, source: MappingSource) -> Mapping[str, Any]:
        """Return the schema of a provisioning job, as Entra exports it. Raises SourceBusy and SourceFailed."""


def refuse_unready(sources: Sources, directory: str) -> None:
    """Raise Busy if a setting is missing to read from the sources of a directory."""
    try:
        sources.check(directory)
    except SourceFailed as missing:
        raise Busy(f"source: this app is not set up to read it: {missing}") from None
