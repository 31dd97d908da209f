"""Which group in Entra is which group here.

A group of the same name is a candidate and no more: it is linked once an administrator has seen how the members differ
and approved. Accounts are matched in matching/accounts.py; link_orchestrator/passes/plan_groups.py asks for groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.directory.keys import fold, same_letters
from shared.directory.matching.policy import Policy
from shared.directory.object_ids import read_object_id
from shared.directory.records.model import Group, Status


class GroupDecisionKind(StrEnum):
    """What becomes of a group of the identity provider, or of a group here that has no counterpart there."""

    LINK = "groupLink"
    ALREADY_LINKED = "groupAlreadyLinked"
    CONFLICT = "groupConflict"
    EXCLUDED = "groupExcluded"
    NO_GROUP = "noGroup"
    LOCAL = "localGroup"


@dataclass(frozen=True, slots=True)
class GroupDecision:
    """A decision with the sentence that explains it. `group` is the one group here that it concerns.

    `others` names what stands in the way: object ids of groups of the same name, or ids of groups here.
    """

    kind: GroupDecisionKind
    reason: str
    group: Group | None = None
    others: tuple[str, ...] = ()


def decide_group(
    object_id: str,
    alike: Sequence[str],
    named: Group | None,
    carrying: Sequence[Group],
    policy: Policy,
    name: str | None = None,
) -> GroupDecision:
    """Decide on one group of the identity provider.

    `alike` are the object ids of other groups of its `name` there. `named` is the group of that name here, and
    `carrying` are the groups here that have its object id as externalId. Without a name its letters are not compared.
    """
    kind = GroupDecisionKind
    if policy.excludes(object_id, ""):
        return GroupDecision(kind.EXCLUDED, "The policy excludes this group from linking, by its object id.")
    linked = [group for group in carrying if group.status is not Status.LOCAL]
    if len(linked) > 1:
        ids = tuple(sorted(group.id for group in linked))
        return GroupDecision(
            kind.CONFLICT, f"{len(ids)} groups here carry its object id: delete all but one.", None, ids
        )
    if linked:
        return GroupDecision(kind.ALREADY_LINKED, "The group here carries its object id: nothing to do.", linked[0])
    if alike:
        reason = "Another group in Entra has the same name: exclude one of them by its object id, or rename it."
        return GroupDecision(kind.CONFLICT, reason, named, tuple(sorted(alike)))
    if named is None:
        return GroupDecision(kind.NO_GROUP, "No group here has this name: provisioning will create one.")
    if named.status is not Status.LOCAL:
        under = "under another externalId" if named.external_id else "without an externalId"
        reason = (
            f"The identity provider manages the group of this name already, {under}: check that the provisioning "
            "mapping sends objectId as externalId."
        )
        return GroupDecision(kind.CONFLICT, reason, named)
    if name is not None and not same_letters(name, named.display_name):
        reason = "The name of a group that is managed here only looks the same: rename one of them."
        return GroupDecision(kind.CONFLICT, reason, named)
    which = "that SCIM deleted and that is kept here" if named.retired else "that is managed here"
    reason = (
        f"A group {which} has this name. Linked once approved, it keeps its members: those who are only here stay in, "
        "for provisioning takes out nobody whom it did not add; those who are only there come with provisioning."
    )
    return GroupDecision(kind.LINK, reason, named)


def stays_local(group: Group) -> GroupDecision:
    """Decide on a group managed here whose name no group of the source has: nothing about it changes."""
    reason = "No group of this source has this name: it stays as it is and is managed here."
    return GroupDecision(GroupDecisionKind.LOCAL, reason, group)


OPEN = (GroupDecisionKind.CONFLICT, GroupDecisionKind.EXCLUDED)
"""Decisions that leave a group to the administrator: no create over SCIM links it."""


@dataclass(frozen=True, slots=True)
class Created:
    """What the create of a group over SCIM says, and what is known here of its externalId.

    `carrying` are the groups that have it. `left_open` is the run that left it to the administrator, and its decision.
    """

    display_name: str
    external_id: str | None
    carrying: Sequence[Group] = ()
    left_open: tuple[str, str] | None = None


def refused_on_create(group: Group, created: Created, policy: Policy) -> str:
    """Return why a create over SCIM does not link the group of its name that is managed here, or ""."""
    if not policy.links_groups:
        return (
            "a group that is managed here has this name: approve its link in a linking run, or set linkGroupsOnCreate "
            "in the directory's policy"
        )
    if not created.external_id:
        return (
            "a group that is managed here has this name, and the create says no externalId: map objectId to "
            "externalId in the provisioning attribute mapping, or approve its link in a linking run"
        )
    if not same_letters(group.display_name, created.display_name):
        return _look("a group that is managed here has a name that only looks the same")
    if policy.excludes(created.external_id, ""):
        return "the administrator excluded this group from linking: take it out of the policy's excluded"
    if created.left_open and created.left_open[1] in OPEN:
        run, decision = created.left_open
        return f"the linking run {run} left this group to an administrator ({decision}): settle it first"
    if any(other.id != group.id and (other.status is not Status.LOCAL or other.retired) for other in created.carrying):
        return _look("a group that is managed here has this name, and another one has this externalId")
    if is_anothers(group, created.external_id):
        return _look("the group that is managed here under this name says that it is another one, by its externalId")
    return ""


def refused_return(group: Group, external_id: str | None, policy: Policy) -> str:
    """Return why a group that SCIM deleted, and that is kept here, is not handed back to a create over SCIM, or ""."""
    if not group.left or not same_letters(external_id or "", group.left):
        return _look(
            f"the group {group.id} has this name: SCIM deleted it, and it is kept here for the application, "
            "under another externalId or changed since"
        )
    if policy.excludes(group.left, ""):
        return "the administrator excluded this group from linking: take it out of the policy's excluded"
    return ""


def _look(reason: str) -> str:
    return f"{reason}: rename one of them, or approve the link in a linking run over groups"


def is_anothers(group: Group, object_id: str) -> bool:
    """Tell whether a group's own externalId has the form of an object id and is another one."""
    own = read_object_id(group.external_id or "")
    return own is not None and own != read_object_id(object_id)


def is_linked_to(group: Group, object_id: str) -> bool:
    """Tell whether the identity provider manages a group under this object id."""
    return group.status is not Status.LOCAL and fold(group.external_id or "") == fold(object_id)


def is_bound_to(group: Group, external_id: str) -> bool:
    """Tell whether a group that existed before is linked under an externalId, or was when SCIM deleted it."""
    bound = group.left if group.retired else group.external_id if group.status is Status.CLAIMED else None
    return bound is not None and fold(bound) == fold(external_id)
