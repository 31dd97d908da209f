"""The parameters of a query (RFC 7644 sections 3.4.2 and 3.9), read from a URL. `sortBy` is ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.scim.errors import InvalidValue
from shared.scim.filter import Filter, parse_filter
from shared.scim.limits import DEFAULT_COUNT, MAX_COUNT
from shared.scim.projection import Projection
from shared.scim.schema import ResourceType


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. `start_index` counts from 1 and is echoed as it is; `count` is 0 to MAX_COUNT."""

    filter: Filter | None
    start_index: int
    count: int
    projection: Projection

    @classmethod
    def parse(cls, params: Mapping[str, str], resource_type: ResourceType) -> Query:
        """Read the parameters, their names in any case. Raises InvalidFilter, or InvalidValue naming the parameter."""
        given = {name.lower(): value for name, value in params.items()}
        text = given.get("filter", "").strip()
        return cls(
            filter=parse_filter(text) if text else None,
            start_index=max(1, _integer(given, "startIndex", 1)),
            count=min(max(0, _integer(given, "count", DEFAULT_COUNT)), MAX_COUNT),
            projection=Projection.parse(given.get("attributes"), given.get("excludedattributes"), resource_type),
        )


_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)


def _integer(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name.lower(), "")
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise InvalidValue(f"{name} takes an integer.")
    return int(text)
