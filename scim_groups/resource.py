"""The Group resource: how a group and its members are shown over SCIM.

The stored document is served as it is, with `meta` and `members` appended; members are rendered a page at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring as quote

from shared.directory.keys import is_group
from shared.directory.records.members import Member
from shared.directory.records.model import Group
from shared.json_text import dump
from shared.scim.messages import resource_text
from shared.scim.projection import Projection
from shared.scim.schema import GROUP


def location(group: Group, base: str) -> str:
    """Return the resource's address."""
    return f"{base}/Groups/{group.id}"


def member_texts(members: Sequence[Member], base: str, projection: Projection) -> str:
    """Return some members as JSON texts with commas between; "" for none."""
    if projection.shows_whole("members"):
        return ",".join([_member_text(member, base) for member in members])
    shown = projection.apply({"members": [member_value(member, base) for member in members]}).get("members", [])
    return dump(shown)[1:-1]


def render(group: Group, base: str, projection: Projection, members: Sequence[str] = ()) -> str:
    """Return the resource as JSON text with the texts of its members; without any, the attribute is absent."""
    text = resource_text(
        group.text,
        resource_type=GROUP.name,
        created=group.created,
        last_modified=group.modified,
        location=location(group, base),
        version=group.version,
    )
    if not projection.is_default:
        text = projection.apply_to_text(text)
    shown = ",".join(filter(None, members))
    return f'{text[:-1]},"members":[{shown}]}}' if shown else text


def member_value(member: Member, base: str) -> dict[str, str]:
    """Return a member as a value of `members`. What it is, its id tells."""
    kind = "Group" if is_group(member.id) else "User"
    value = {"value": member.id, "$ref": f"{base}/{kind}s/{member.id}", "type": kind}
    return value | {"display": member.display} if member.display else value


def _member_text(member: Member, base: str) -> str:
    """Return the same as JSON text; an id needs no escaping."""
    kind = "Group" if is_group(member.id) else "User"
    display = f',"display":{quote(member.display)}' if member.display else ""
    return f'{{"value":"{member.id}","$ref":"{base}/{kind}s/{member.id}","type":"{kind}"{display}}}'
