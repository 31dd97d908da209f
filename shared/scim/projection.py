"""Projections: which attributes of a document a client asked to see (RFC 7644 section 3.9).

Attributes that are always returned stay whatever is asked for; unknown names are ignored. Microsoft's collection asks
for `attributes=emails[type eq "work"]`, so a value path is a name too: it shows, or hides, the values that pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.json_text import dump, load
from shared.scim.document import Document
from shared.scim.errors import InvalidPath, InvalidValue
from shared.scim.limits import MAX_FILTER_CHARS
from shared.scim.path import DocumentPlace, resolve
from shared.scim.schema import ResourceType, Schema, Target

_Parts = Mapping[str, tuple[DocumentPlace, ...]]
"""Attributes by name, each with the parts of it that are meant; () is the whole."""
_Choices = dict[str | None, dict[str, tuple[DocumentPlace, ...]]]
_Choice = Mapping[str | None, _Parts]
"""Attributes by the extension that holds them; None holds the core ones, and whole extensions by their URN."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What to show. Where `included` is None, that is everything but what is `excluded`."""

    included: _Choice | None
    excluded: _Choice
    always: tuple[str, ...]

    @classmethod
    def parse(cls, attributes: str | None, excluded: str | None, resource_type: ResourceType) -> Projection:
        """Read the two parameters, each names with commas between. Raises InvalidValue for what is no name."""
        included = _choice("attributes", attributes, resource_type) if attributes and attributes.strip() else None
        left_out = _choice("excludedAttributes", excluded, resource_type) if excluded else {}
        for target in resource_type.returned_on_request:
            if not _is_named(target, included or {}):
                _choose(left_out.setdefault(target.extension, {}), DocumentPlace(target))
        return cls(included, left_out, resource_type.always_returned)

    @classmethod
    def read(cls, params: Mapping[str, str], resource_type: ResourceType) -> Projection:
        """Read the two among a request's parameters, their names in any case."""
        given = {name.lower(): value for name, value in params.items()}
        return cls.parse(given.get("attributes"), given.get("excludedattributes"), resource_type)

    @property
    def is_default(self) -> bool:
        """Whether there is nothing to take out, so that a stored text can be sent as it is."""
        return self.included is None and not self.excluded

    def shows(self, name: str) -> bool:
        """Tell whether anything of a core attribute is to be shown."""
        if self.included is not None and name not in self.included.get(None, {}):
            return False
        return self.excluded.get(None, {}).get(name) != ()

    def shows_whole(self, name: str) -> bool:
        """Tell whether a core attribute is to be shown as it is."""
        included = () if self.included is None else self.included.get(None, {}).get(name)
        return included == () and name not in self.excluded.get(None, {})

    def apply(self, document: Mapping[str, Any]) -> Document:
        """Return what is to be shown of the document, which stays as it is."""
        shown = document if self.included is None else _keep(document, self.included)
        shown = _drop(shown, self.excluded)
        return {name: document[name] for name in self.always if name in document} | shown

    def apply_to_text(self, text: str) -> str:
        """Return what is to be shown of a resource, both as JSON text."""
        return dump(self.apply(load(text)))


# A comma inside the brackets of a value path does not end a name.
_NAME = re.compile(r"(?:[^,\[\]]++|\[[^\[\]]*+\]|[\[\]])++")


def _choice(parameter: str, text: str, resource_type: ResourceType) -> _Choices:
    if len(text) > MAX_FILTER_CHARS:
        raise InvalidValue(f"{parameter} has at most {MAX_FILTER_CHARS} characters.")
    choice: _Choices = {}
    for name in filter(None, map(str.strip, _NAME.findall(text))):
        try:
            found = resolve(name, resource_type)
        except InvalidPath:
            raise InvalidValue(f"{parameter} takes names of attributes with commas between.") from None
        if isinstance(found, Schema):
            choice.setdefault(None, {})[found.urn] = ()
        elif found is not None:
            _choose(choice.setdefault(found.target.extension, {}), found)
    return choice


def _is_named(target: Target, choice: _Choice) -> bool:
    """Tell whether an attribute was asked for by its name, which for a sub-attribute is also its attribute's."""
    places = choice.get(target.extension, {}).get(target.attribute.name)
    return places is not None and (
        not places or target.sub_attribute is None or any(place.target == target for place in places)
    )


def _choose(parts: dict[str, tuple[DocumentPlace, ...]], place: DocumentPlace) -> None:
    name = place.target.attribute.name
    if place.passes is None and place.target.sub_attribute is None:
        parts[name] = ()
    elif parts.get(name) != ():
        parts[name] = (*parts.get(name, ()), place)


def _keep(document: Mapping[str, Any], choice: _Choice) -> Document:
    shown: Document = {}
    for holder, members, parts in _holders(document, choice):
        if holder in shown:
            continue
        kept = {name: _keep_parts(members[name], places) for name, places in parts.items() if name in members}
        kept = {name: value for name, value in kept.items() if value not in ({}, [])}
        if holder is None:
            shown |= kept
        elif kept:
            shown[holder] = kept
    return shown


def _drop(document: Mapping[str, Any], choice: _Choice) -> Document:
    shown: Document = dict(document)
    for holder, members, parts in _holders(document, choice):
        left = {name: _drop_parts(value, parts[name]) if name in parts else value for name, value in members.items()}
        left = {name: value for name, value in left.items() if value not in ({}, [], None)}
        if holder is None:
            shown = left
        elif left:
            shown[holder] = left
        else:
            shown.pop(holder, None)
    return shown


def _holders(document: Mapping[str, Any], choice: _Choice) -> Iterator[tuple[str | None, Mapping[str, Any], _Parts]]:
    """Yield what holds chosen attributes: the document first, then its extensions."""
    if None in choice:
        yield None, document, choice[None]
    for urn, parts in choice.items():
        if urn is not None and urn in document:
            yield urn, document[urn], parts


def _keep_parts(value: Any, places: tuple[DocumentPlace, ...]) -> Any:
    if not places:
        return value
    if isinstance(value, list):
        return [kept for kept in (_keep_parts(item, places) for item in value) if kept]
    meant, names = _meant(value, places)
    return value if meant else {name: item for name, item in value.items() if name in names}


def _drop_parts(value: Any, places: tuple[DocumentPlace, ...]) -> Any:
    if not places:
        return None
    if isinstance(value, list):
        return [left for left in (_drop_parts(item, places) for item in value) if left]
    meant, names = _meant(value, places)
    return None if meant else {name: item for name, item in value.items() if name not in names}


def _meant(element: Any, places: tuple[DocumentPlace, ...]) -> tuple[bool, set[str]]:
    """Return whether the places mean the whole element, and the names of the sub-attributes that they mean."""
    passing = [place.target.sub_attribute for place in places if place.selects(element)]
    return None in passing, {sub_attribute.name for sub_attribute in passing if sub_attribute is not None}
