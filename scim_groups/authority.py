"""What the identity provider may do to a group that existed before it. Pure.

A refusal changes nothing and says what the administrator can do. When a create links a group is in
shared/directory/matching/groups.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.directory.errors import Refused
from shared.directory.keys import same_letters
from shared.directory.records.model import Group, Status


def authorise(before: Group, document: Mapping[str, Any]) -> Group:
    """Return the group with another document. Raises Refused where a linked group would get another externalId."""
    after = before.with_document(document)
    # A group that an earlier version linked may have none, and gets one once.
    linked_to = before.external_id if before.status is Status.CLAIMED else None
    if linked_to and not same_letters(after.external_id or "", linked_to):
        raise Refused(
            "externalId: this group is linked to another group of the identity provider; map objectId to externalId "
            "in the provisioning attribute mapping, or release the group here (POST /groups/{id}/release)"
        )
    return after


def keeping_link(before: Group, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document of a PUT with a link's externalId, which it may leave out: it is ours as much as theirs."""
    if before.status is Status.CLAIMED and before.external_id and "externalId" not in document:
        return {**document, "externalId": before.external_id}
    return document


def linked(before: Group, document: Mapping[str, Any]) -> Group:
    """Return a group that is managed here as a create over SCIM takes it over."""
    merged = {**before.document(), **document}
    return replace(before.with_document(merged), status=Status.CLAIMED, retired=False, left=None)


def retire(group: Group) -> Group:
    """Return a linked group as SCIM's DELETE leaves it: managed here, gone for SCIM, kept for the application."""
    document = group.document()
    document.pop("externalId", None)
    kept = group.with_document(document)
    return replace(kept, status=Status.LOCAL, retired=True, left=group.external_id)
