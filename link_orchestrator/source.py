"""Where identities come from, page by page: what a source is, how a run names one, and how a source fails.

graph.py reads Microsoft Graph; files/identities.py reads a file, which is staged within its request. passes/read.py
takes any source through, and keeps in the tables how far it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import Gone, Identity

Place = Mapping[str, Any]
"""Where a source goes on, as JSON: kept in the tables alone, for it may hold tokens of the source."""

GROUPS, IN_GROUPS = "groups.read", "groups.members"
"""What a source counts of groups: the whole ones, and the people in them."""

START: Place = {}
"""Where every source begins."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some identities, a Problem in the place of each that cannot be used, and where to go on; None after the last.

    Groups come behind the identities: as many of a group's members as were on the page.
    """

    rows: Sequence[Identity | Gone | EntraGroup | Problem]
    then: Place | None
    bookmark: str | None = None
    """From where the source tells what has changed since; for the next run."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What there was beside identities, for the run's counts."""


class IdentitySource(Protocol):
    """Gives identities page by page. An identity may come twice; then the later one is the newer."""

    def changes(self, bookmark: str) -> Place | None:
        """Return where to read only what changed since a bookmark, or None where the source cannot tell."""

    async def page(self, place: Place) -> Page:
        """Return the page at a place. Raises SourceBusy and SourceFailed."""


class SourceBusy(Exception):
    """The source cannot answer now; ask again in `retry_after` seconds, or later each time where it says nothing."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class SourceFailed(Exception):
    """The source will not answer until somebody does something about it: the message says what, to an administrator."""


class PlaceExpired(SourceFailed):
    """The source no longer knows the place: begin again from the start."""


GUID = Annotated[
    str,
    Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", json_schema_extra={"format": "uuid"}),
]


class _Asked(BaseModel):
    """The part of a request's body that names a source."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class GraphScope(_Asked):
    """Whose identities a run reads from Microsoft Graph."""

    scope: Literal["all", "assigned", "groups"] = "all"
    """Everybody, those who are assigned to the application, or the members of groups."""
    groups: tuple[GUID, ...] = Field(default=(), max_length=1000)
    """Object ids of the groups, with the scope groups."""
    service_principal: GUID | None = None
    """The enterprise application's object id, with the scope assigned."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.scope == "assigned") != (self.service_principal is not None):
            raise ValueError("servicePrincipal, the enterprise application's object id, goes with the scope assigned")
        if (self.scope == "groups") != bool(self.groups):
            raise ValueError("groups, a list of object ids, goes with the scope groups")
        return self

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
    # It becomes part of a path, so it must not lead to another one.
    job: str = Field(default="", pattern=r"^([0-9A-Za-z][0-9A-Za-z._-]{0,199})?$")
    """Its provisioning job, where it has several."""


class MappingSource(_Asked):
    """The source of a provisioning schema, by its kind."""

    graph: ProvisioningJob


class Sources(Protocol):
    """The sources that the app is set up for."""

    def check(self, directory: str) -> None:
        """Raise SourceFailed naming the setting that is missing to read the identities of a directory."""

    def open(
        self, directory: str, source: RunSource, *, groups: bool = False
    ) -> AbstractAsyncContextManager[IdentitySource]:
        """Return a source to read from while the block runs; with `groups`, it gives those in its scope, too."""

    async def read_schema(self, directory: str, source: MappingSource) -> Mapping[str, Any]:
        """Return the schema of a provisioning job, as it is exported. Raises SourceBusy and SourceFailed."""
