"""What a query asks for (RFC 7644 sections 3.4.2, 3.4.3 and 3.9; RFC 9865), read from a URL or a SearchRequest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.scim.errors import InvalidCount, InvalidSyntax, InvalidValue, ScimError
from shared.scim.filter import Filter, parse_filter
from shared.scim.limits import DEFAULT_COUNT, MAX_COUNT
from shared.scim.messages import names_message
from shared.scim.projection import Projection
from shared.scim.schema import ResourceType
from shared.scim.sort import Sort

SEARCH_REQUEST_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. `start_index` counts from 1 and is echoed as it is; `count` is 0 to MAX_COUNT.

    `cursor` is "" for the first page of many (RFC 9865), and None where pages go by index; with both, it counts.
    """

    filter: Filter | None
    start_index: int
    count: int
    projection: Projection
    cursor: str | None = None
    sort: Sort | None = None
    resource_type: str = ""
    """The name of the one that is asked for, "" for all."""

    @classmethod
    def parse(cls, params: Mapping[str, str], resource_type: ResourceType) -> Query:
        """Read the parameters, their names in any case. Raises InvalidFilter, or InvalidValue naming the parameter."""
        given = {name.lower(): value for name, value in params.items()}
        text = given.get("filter", "").strip()
        cursor = given.get("cursor")
        wrong_count = InvalidValue if cursor is None else InvalidCount
        return cls(
            filter=parse_filter(text) if text else None,
            start_index=max(1, _integer(given, "startIndex", 1)),
            count=min(max(0, _integer(given, "count", DEFAULT_COUNT, wrong_count)), MAX_COUNT),
            projection=Projection.parse(given.get("attributes"), given.get("excludedattributes"), resource_type),
            cursor=cursor,
            sort=Sort.parse(given.get("sortby", ""), given.get("sortorder", ""), resource_type),
            resource_type=resource_type.name,
        )

    @property
    def selection(self) -> str:
        """What is selected, as text: equal for the pages of one query."""
        return f"{self.resource_type}\n{self.filter or ''}\n{self.sort or ''}"

    @classmethod
    def from_message(cls, body: object, resource_type: ResourceType) -> Query:
        """Read a SearchRequest, whose members mean what the parameters of the same names mean; others are ignored.

        Raises InvalidSyntax for what is no SearchRequest, or else what `parse` raises.
        """
        if not isinstance(body, dict):
            raise InvalidSyntax("The body must be a SearchRequest, a JSON object.")
        given = {name.lower(): value for name, value in body.items() if value is not None}
        if not names_message(given.get("schemas"), SEARCH_REQUEST_URN):
            raise InvalidSyntax(f"schemas takes a list with {SEARCH_REQUEST_URN}.")
        return cls.parse(
            {name: _text(name, given[name.lower()]) for name in _MEMBERS if name.lower() in given}, resource_type
        )


_LISTS = ("attributes", "excludedAttributes")
_NUMBERS = ("startIndex", "count")
_MEMBERS = (*_LISTS, *_NUMBERS, "filter", "cursor", "sortBy", "sortOrder")


def _text(name: str, value: object) -> str:
    """Return a member of a SearchRequest as a URL would have it."""
    if isinstance(value, str):
        return value
    if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    kind = "a list of names" if name in _LISTS else "an integer" if name in _NUMBERS else "a string"
    raise InvalidValue(f"{name} takes {kind}.")


_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)


def _integer(given: Mapping[str, str], name: str, default: int, wrong: type[ScimError] = InvalidValue) -> int:
    text = given.get(name.lower(), "")
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise wrong(f"{name} takes an integer.")
    return int(text)
