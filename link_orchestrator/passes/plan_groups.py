"""The passes that plan groups, once the accounts are planned: whose account each member is, and which group is which.

resolve_members  Entra's groups -> each once, in the bucket of its name; memberships and the run's links -> members with
                 their accounts, in the same bucket
decide_groups    groups here and in Entra -> the plan's rows and how the members differ, in the bucket of the name

One bucket of Entra's memberships is in memory at a time. The members of a group here are read in pages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.messages import Slice
from link_orchestrator.run import policy_of
from link_orchestrator.staged import GROUPED, LINKS, MEMBERS, NAMED, name_bucket
from link_orchestrator.warnings import add_met
from shared.directory.directory import Directory
from shared.directory.keys import Key, fold, is_group
from shared.directory.matching.groups import OPEN, GroupDecision, GroupDecisionKind, decide_group, stays_local
from shared.directory.object_ids import compared_id
from shared.directory.records.model import Authority, Group, Status
from shared.directory.work.differences import Differing, Totals
from shared.directory.work.findings import Finding
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts, together

NOBODY: Final = "~"
"""Prefix of a member without an account, before its object id: other members go by the id of their account."""
ENTRA_DECISIONS = tuple(kind.value for kind in GroupDecisionKind if kind is not GroupDecisionKind.LOCAL)
SHOWN = 100
"""Members of each side that a plan's row shows. All of them are in the run's differences."""
SHOWN_CHARS = 200
"""Characters of a name that a row shows, which may hold two hundred names."""
AT_ONCE = 500
"""Accounts or groups that are read at once."""
GROUPS_AT_ONCE = 50
"""Groups of Entra for which groups here are looked up at once."""

_Memberships = Mapping[str, list[tuple[str, str, int]]]
"""By digest of a member's object id: that object id, the group's, and the bucket of the group's name."""
_Members = dict[str, tuple[str, str]]
"""By folded object id of a member: the id of its account ("" if it has none), and the object id as Entra writes it."""


async def resolve_members(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Find the account of every member of Entra's groups: the one linked to it, or that this run plans to link."""
    memberships = directory.stage(job.options["groups"] + MEMBERS)
    writer, named = (directory.stage(job.id + name).writer(slice_.name) for name in GROUPED)
    for bucket in slice_.buckets:
        for group in (await _entra_groups(directory, job.options["groups"], bucket)).values():
            home = name_bucket(directory.groups.keys, group.display_name)
            await named.add(home, {"id": group.object_id, "displayName": group.display_name})
        found: defaultdict[str, list[tuple[str, str, int]]] = defaultdict(list)
        async for items in memberships.read(bucket):
            for member, group_id, home in items:
                found[directory.keys.digest(Key("externalId", member))].append((member, group_id, home))
        if found:
            accounts = await _accounts(directory, job, bucket, found)
            for digest, of_member in found.items():
                for member, group_id, home in of_member:
                    await writer.add(home, [fold(group_id), accounts.get(digest, ""), member])
    await writer.close()
    await named.close()
    return Counter()


async def _accounts(directory: Directory, job: Job, bucket: int, memberships: _Memberships) -> dict[str, str]:
    """Return the ids of the members' accounts, by digest of the member's object id."""
    found: dict[str, str] = {}
    async for items in directory.stage(job.id + LINKS).read(bucket):
        for account_id, object_id in items:
            found[directory.keys.digest(Key("externalId", object_id))] = account_id
    pointed = [
        (digest, account_id)
        async for digest, account_id in directory.listing.scan_pointers(bucket)
        if digest in memberships and digest not in found
    ]
    for batch in in_parts(pointed, AT_ONCE):
        accounts = await directory.accounts.find_many([account_id for _, account_id in batch])
        for (digest, account_id), account in zip(batch, accounts, strict=True):
            carried = fold(account.external_id or "") if account else ""
            if account and account.authority is Authority.IDP and carried == fold(memberships[digest][0][0]):
                found[digest] = account_id
    return found


async def decide_groups(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Write the plan's rows of the groups whose names are in a slice: Entra's, and those here that match none of them.

    Rows of Entra's groups are in the bucket of the group's name. So a slice that runs again, after groups here have
    changed, finds the rows of the attempt before, and removes those that no longer hold.
    """
    counts: Counter[str] = Counter()
    found: dict[str, Finding] = {}
    plan = directory.plan(job.id)
    for bucket in slice_.buckets:
        before = await plan.keys(bucket, ENTRA_DECISIONS)
        entra = await _entra_groups(directory, job.id + NAMED, bucket)
        here = await _groups_named(directory, bucket)
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for group in entra.values():
            alike[_by_name(directory, group.display_name)].append(group.object_id)
        written = await _decide(directory, job, bucket, entra, here, alike)
        await plan.remove(bucket, before - {plan.key(decision, subject) for decision, subject in written})
        # SCIM links none of these on create; the others no more, though a run before this one left them open.
        await plan.leave_open({subject: decision if decision in OPEN else "" for decision, subject in written})
        counts.update(decision for decision, _ in written)
        excluded = [compared_id(subject) for decision, subject in written if decision == GroupDecisionKind.EXCLUDED]
        add_met(found, directory.keys, excluded)
        for digest, unmatched in here.items():
            if digest not in alike and unmatched.status is Status.LOCAL:
                home = directory.groups.keys.bucket(unmatched.id)
                decision, _ = await _write(directory, job, home, stays_local(unmatched))
                counts[decision] += 1
    await directory.findings.write(job.id, f"groups_{slice_.name}", found)
    return counts


async def _decide(
    directory: Directory,
    job: Job,
    bucket: int,
    entra: Mapping[str, EntraGroup],
    here: Mapping[str, Group],
    alike: Mapping[str, Sequence[str]],
) -> list[tuple[str, str]]:
    """Write the rows of Entra's groups in a bucket; return the decision and subject of each.

    `here` has the groups here, and `alike` the object ids of Entra's groups, both by digest of the name.
    """
    policy, written = policy_of(job), list[tuple[str, str]]()
    members = await _members(directory, job, bucket) if entra else {}
    for batch in in_parts(list(entra.values()), GROUPS_AT_ONCE):
        keys = [Key("externalId", group.object_id) for group in batch]
        carrying = await together(*map(directory.groups.list_by, keys))
        for group, groups in zip(batch, carrying, strict=True):
            name = _by_name(directory, group.display_name)
            others = [object_id for object_id in alike[name][: SHOWN + 1] if object_id != group.object_id]
            named = here.get(name)
            decision = decide_group(group.object_id, others, named, groups, policy, group.display_name)
            theirs = _by_account(members.pop(fold(group.object_id), {}))
            written.append(await _write(directory, job, bucket, decision, group, theirs))
    return written


async def _write(
    directory: Directory,
    job: Job,
    bucket: int,
    decision: GroupDecision,
    entra: EntraGroup | None = None,
    theirs: dict[str, str] | None = None,
) -> tuple[str, str]:
    """Compare the members and write the row, alone because two hundred names make it large.

    `theirs` is what _by_account() returns of the group's members in Entra. Returns the row's decision and subject.
    """
    group = decision.group
    shown: dict[str, Any] = {"reason": decision.reason}
    if entra is not None:
        shown["entraGroup"] = {"id": entra.object_id, "displayName": entra.display_name}
    if group is not None:
        # Its version is read before its members, so a change of members in between makes the version in the row stale.
        (group,) = await directory.groups.with_heads([group])
        shown["group"] = {"id": group.id, "displayName": group.display_name}
    if decision.others:
        shown["others"] = list(decision.others)
    if group is not None and entra is not None:
        shown["members"] = await _compare(directory, job, group, entra, theirs or {})
    subject = entra.object_id if entra else group.id if group else ""
    row = PlanRow(decision.kind.value, subject, shown, group.version if group else "")
    await directory.plan(job.id).write(bucket, [row])
    return row.decision, row.subject


async def _compare(
    directory: Directory, job: Job, group: Group, entra: EntraGroup, theirs: dict[str, str]
) -> dict[str, Any]:
    """Write how the members of a group here differ from `theirs`, and return what the row shows of that.

    Those who are in both are taken out of `theirs`.
    """
    differences = directory.differences(job.id, entra.object_id)
    await differences.clear()
    both, only_here, first = 0, 0, list[Differing]()
    async for page in directory.members.scan(group.id):
        here = [Differing(member.id) for member in page if theirs.pop(member.id, None) is None]
        both += len(page) - len(here)
        only_here += len(here)
        first += here[: SHOWN - len(first)]
        await differences.write(here)
    there = [Differing("" if key.startswith(NOBODY) else key, member) for key, member in theirs.items()]
    await differences.write(there)
    totals = Totals(both, only_here, len(there), entra.display_name[:SHOWN_CHARS])
    await differences.close(totals)
    return totals.to_json() | {"differing": await describe(directory, [*first, *there[:SHOWN]])}


async def describe(directory: Directory, differing: Sequence[Differing]) -> list[dict[str, Any]]:
    """Return members that are in only one of two groups as the API shows them, with the names that they have now."""
    ids = dict.fromkeys(item.member for item in differing if item.member)
    accounts = await directory.accounts.find_many([i for i in ids if not is_group(i)])
    groups = await directory.groups.find_many([i for i in ids if is_group(i)])
    names = {a.id: a.shown() | {"userName": a.user_name[:SHOWN_CHARS]} for a in accounts if a}
    names |= {group.id: {"displayName": group.display_name[:SHOWN_CHARS]} for group in groups if group}
    shown = []
    for item in differing:
        row: dict[str, Any] = {"only": item.only}
        if item.identity:
            row["identity"] = {"objectId": item.identity}
        if item.member:
            row["group" if is_group(item.member) else "account"] = {"id": item.member, **names.get(item.member, {})}
        shown.append(row)
    return shown


async def _entra_groups(directory: Directory, name: str, bucket: int) -> dict[str, EntraGroup]:
    """Return the groups of Entra in a bucket of a stage, by folded object id and without their members."""
    found: dict[str, EntraGroup] = {}
    async for items in directory.stage(name).read(bucket):
        for item in items:
            found.setdefault(fold(item["id"]), EntraGroup(item["id"], item["displayName"]))
    return found


async def _members(directory: Directory, job: Job, bucket: int) -> defaultdict[str, _Members]:
    """Return the members of the groups of Entra whose names are in a bucket, by folded object id of the group."""
    found: defaultdict[str, _Members] = defaultdict(dict)
    async for items in directory.stage(job.id + MEMBERS).read(bucket):
        for group, account_id, member in items:
            key = fold(member)
            # A slice of resolve_members() may have run twice, and found the account only once.
            if account_id or key not in found[group]:
                found[group][key] = (account_id, member)
    return found


def _by_account(members: _Members) -> dict[str, str]:
    """Return members' object ids by the id of their account, or by NOBODY and the object id if they have none."""
    return {account_id or NOBODY + key: member for key, (account_id, member) in members.items()}


async def _groups_named(directory: Directory, bucket: int) -> dict[str, Group]:
    """Return the groups here whose names are in a bucket, by digest of the name."""
    claims = [pair async for pair in directory.group_listing.scan_names(bucket)]
    named: dict[str, Group] = {}
    for batch in in_parts(claims, AT_ONCE):
        groups = await directory.groups.find_many([group_id for _, group_id in batch])
        for (digest, _), group in zip(batch, groups, strict=True):
            if group and _by_name(directory, group.display_name) == digest:
                named[digest] = group
    return named


def _by_name(directory: Directory, display_name: str) -> str:
    return directory.groups.keys.digest(Key("displayName", display_name))
