"""The order that sortBy and sortOrder ask for (RFC 7644 section 3.4.2.3).

Values are compared as their schema types: text without regard to case unless caseExact, dates as instants. Of a
multi-valued attribute the primary value counts, or else the first. Resources without a value come last, and first
where the order is descending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.scim.errors import InvalidPath, InvalidValue
from shared.scim.path import parse_path
from shared.scim.schema import Attribute, ResourceType, Target
from shared.scim.values import instant

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Sort:
    """By which attribute, and in which direction."""

    target: Target
    descending: bool

    @classmethod
    def parse(cls, by: str, order: str, resource_type: ResourceType) -> Sort | None:
        """Read the two parameters. None is no order: nothing asked for, or an attribute nobody knows and has.

        Raises InvalidValue naming the parameter.
        """
        if order.strip().lower() not in _ORDERS:
            raise InvalidValue("sortOrder takes ascending or descending.")
        if not by.strip():
            return None
        try:
            path = parse_path(by)
        except InvalidPath:
            path = None
        if path is None or path.value_filter is not None:
            raise InvalidValue("sortBy takes the name of one attribute, such as name.familyName.")
        target = resource_type.find(path.urn, path.attribute, path.sub_attribute)
        if target is None:
            return None
        if target.simple is None:
            raise InvalidValue(f"sortBy: {target.attribute.name} has parts. Name one of them, such as name.familyName.")
        return cls(target.simple, _ORDERS[order.strip().lower()])

    def __str__(self) -> str:
        names = (self.target.extension, self.target.attribute.name, getattr(self.target.sub_attribute, "name", None))
        return f"{':'.join(filter(None, names))} {'descending' if self.descending else 'ascending'}"

    def order(self, keyed: Sequence[tuple[Any, Item]]) -> list[Item]:
        """Return items, each of which comes with its key, in this order; those of equal keys stay as they were."""
        valued = [pair for pair in keyed if pair[0] is not None]
        without = [item for key, item in keyed if key is None]
        ordered = [item for _, item in sorted(valued, key=lambda pair: pair[0], reverse=self.descending)]
        return without + ordered if self.descending else ordered + without

    def key(self, document: Mapping[str, Any]) -> Any:
        """Return what the document is compared by, or None."""
        target = self.target
        members = document if target.extension is None else document.get(target.extension) or {}
        value = members.get(target.attribute.name)
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict) and item.get("primary") is True), None) or (
                value[0] if value else None
            )
        if target.sub_attribute is not None:
            value = value.get(target.sub_attribute.name) if isinstance(value, dict) else None
        return None if value is None else _comparable(target.sub_attribute or target.attribute, value)


_ORDERS = {"": False, "ascending": False, "descending": True}


def _comparable(attribute: Attribute, value: Any) -> Any:
    if attribute.type == "dateTime":
        return instant(value)
    return value.casefold() if isinstance(value, str) and not attribute.case_exact else value
