"""Paths of PATCH operations and projections (RFC 7644 section 3.5.2, figure 7), and what they name in a resource type.

The grammar is the filter's (filter.py), and `Path` is defined there.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shared.scim.errors import InvalidFilter, InvalidPath
from shared.scim.evaluate import Test, compile_value_filter
from shared.scim.filter import Filter, Parser, Path, count_terms
from shared.scim.limits import MAX_PATH_CHARS
from shared.scim.schema import ResourceType, Schema, Target

__all__ = ["DocumentPlace", "Path", "parse_path", "resolve"]


@dataclass(frozen=True, slots=True)
class DocumentPlace:
    """What a path names: an attribute or sub-attribute, or those of the values that pass a filter.

    `passes` is the value filter as a function of one value, which takes up to `terms` comparisons.
    """

    target: Target
    value_filter: Filter | None = None
    passes: Test | None = None
    terms: int = 1

    def selects(self, element: Any) -> bool:
        """Tell whether the path means this value of the attribute."""
        return self.passes is None or self.passes(element)


@lru_cache(maxsize=512)
def parse_path(text: str) -> Path:
    """Return the parts of a path. Raises InvalidPath."""
    if len(text) > MAX_PATH_CHARS:
        raise InvalidPath(f"A path has at most {MAX_PATH_CHARS} characters.")
    try:
        parser = Parser(text)
        path = parser.path()
        parser.end()
    except InvalidFilter as error:
        raise InvalidPath(error.detail.replace("the filter", "the path")) from None
    return path


@lru_cache(maxsize=512)
def resolve(text: str, resource_type: ResourceType) -> DocumentPlace | Schema | None:
    """Return what the path names: a place, a whole extension, or None if the resource type has no such attribute.

    Raises InvalidPath if the text is not a path, or its filter cannot be applied.
    """
    extension = resource_type.find_extension(text)
    if extension is not None:
        return extension
    path = parse_path(text)
    whole = resource_type.find(path.urn, path.attribute)
    if whole is not None and path.value_filter is not None and whole.attribute.type != "complex":
        raise InvalidPath(f"{whole.attribute.name} has no parts: a filter in brackets does not go with it.")
    target = resource_type.find(path.urn, path.attribute, path.sub_attribute)
    if target is None:
        return None
    if path.value_filter is None:
        return DocumentPlace(target)
    try:
        passes = compile_value_filter(path.value_filter, target.attribute)
    except InvalidFilter as error:
        raise InvalidPath(error.detail) from None
    return DocumentPlace(target, path.value_filter, passes, count_terms(path.value_filter))
