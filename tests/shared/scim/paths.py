"""What a PATCH may name and say: every kind of path into a resource type, odd ones included, and kinds of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.scim.schema import Attribute, ResourceType

OPS = ("add", "replace", "remove")
VALUES: tuple[Any, ...] = (
    None, "", "x", "True", 0, 12.99, True, [], {}, [None], [""], [{}], [["x"]], ["x", "y"], {"value": "x"},
    {"value": {}}, [{"value": "x", "type": "work", "primary": "True"}], {"type": "work"}, {"nonsense": 1}, "x" * 40_000,
)  # fmt: skip
FILTERS = (
    "{} pr", "not ({} pr)", '{} eq "work"', "{} eq true", "{} eq 5", "{} eq null", '{} ne "x"', "{} gt true",
    '{} co ""', '{0} pr and {0} eq "x"', '{} eq "x" or value pr', "{}.x pr",
)  # fmt: skip
"""Filters over a sub-attribute, right ones and wrong ones."""


def paths(resource_type: ResourceType) -> Iterator[str]:
    """Yield paths to every attribute and sub-attribute, and to what is not there, with and without URN and filter."""
    places = [("", resource_type.schema.urn, resource_type.attributes)]
    places += [(f"{extension.urn}:", extension.urn, extension.attributes) for extension in resource_type.extensions]
    for prefix, urn, attributes in places:
        for attribute in dict.fromkeys(attributes.values()):
            yield from _paths_to(prefix + attribute.name, attribute)
            yield from (f"{urn}:{attribute.name}", f"{urn}:{attribute.name.upper()}", f"{urn}.{attribute.name}")
        yield from (urn, urn.upper(), f"{urn}:", f"{urn}:nonsense", f"{urn}[value pr]", f"{urn}:nonsense[value pr].x")
    yield from (
        "nonsense",
        "nonsense.x",
        "nonsense[x pr]",
        "",
        " ",
        ".",
        "[x pr]",
        "a b",
        "emails[",
        "urn:x:y:z",
        "$ref",
    )


def _paths_to(name: str, attribute: Attribute) -> Iterator[str]:
    subs = [sub.name for sub in dict.fromkeys(attribute.sub_attributes.values())]
    tails = ["", *(f".{sub}" for sub in (*subs, "nonsense"))]
    yield from (name + tail for tail in tails)
    for sub in (*subs, "value", "nonsense"):
        for filter_ in FILTERS:
            yield from (f"{name}[{filter_.format(sub)}]{tail}" for tail in (tails if "pr" in filter_ else tails[:2]))
