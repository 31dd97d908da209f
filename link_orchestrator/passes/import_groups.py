"""The pass that imports staged rows as groups, one bucket of names at a time.

All rows of one name, however it is spelled, are in one bucket. Members are added a page at a time, and none is removed:
whoever is not in the file stays. A group that the identity provider manages is left as it is, and reported; so are the
rows that are left of a group that is linked while its rows come in.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from link_orchestrator.files.groups import GroupRow
from link_orchestrator.messages import Slice
from link_orchestrator.passes.import_accounts import is_over
from link_orchestrator.passes.import_counts import CHANGES, CREATED, LINKED_GROUP, REFUSED, UNCHANGED, UPDATED
from link_orchestrator.problem_report import KEPT_IN_BUCKET, ProblemReport
from link_orchestrator.problems import Problem
from link_orchestrator.run import by_import
from link_orchestrator.staged import IMPORTED, rows_of
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Stale
from shared.directory.keys import Key, fold, folded
from shared.directory.records.members import Member
from shared.directory.records.model import NO_HEAD, Group, Status
from shared.directory.work.jobs import Job
from shared.tables.access import in_parts

MEMBERS = "members"
NAMES_AT_ONCE = 500
"""Rows that are imported at once, and userNames that are looked up at once."""
SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ATTEMPTS = 5
"""Times that a group is looked at again because others changed it."""


async def import_groups(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Import the rows of a slice; stop early if the import is cancelled."""
    return await go_through(slice_, lambda bucket: Bucket(directory, job, bucket))


async def go_through(slice_: Slice, open_bucket: Callable[[int], Bucket]) -> Counter[str]:
    """Import or preview the buckets of a slice, and return its counts; stop early if cancelled."""
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets:
        importing = open_bucket(bucket)
        stopped = not await importing.run()
        counts += await importing.close()
        if stopped:
            break
    return counts


@dataclass(slots=True)
class _Open:
    """A group of the file: its first row, the stored group (None if an import may not change it), and its outcome.

    `changes` has the attributes that change. `lost` says that it was linked or deleted after the import began with it.
    """

    first: GroupRow
    group: Group | None
    outcome: str = UNCHANGED
    changes: set[str] = field(default_factory=set)
    lost: bool = False

    def counts(self) -> Counter[str]:
        """Return what the group adds to the counts of its import."""
        changes = [CHANGES + name for name in self.changes if self.outcome == UPDATED]
        return Counter([self.outcome, *changes] if self.group else [] if self.lost else [LINKED_GROUP])


class Bucket:
    """The import of one bucket's groups. A group's history says what an earlier attempt did that was cut off."""

    def __init__(self, directory: Directory, job: Job, bucket: int) -> None:
        self._directory = directory
        self._job = job
        self._by = by_import(job.id)
        self._bucket = bucket
        self._open: dict[str, _Open] = {}
        self._noted: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._report = ProblemReport(directory, job.id, f"{bucket:02x}", KEPT_IN_BUCKET)

    async def run(self) -> bool:
        """Import the bucket's rows, a staged page at a time. Returns False if the import was cancelled on the way."""
        async for items in rows_of(self._directory, self._job).read(self._bucket):
            for batch in in_parts([GroupRow.from_json(item) for item in items], NAMES_AT_ONCE):
                if await is_over(self._directory, self._job):
                    return False
                await self._take(batch)
        return True

    async def close(self) -> Counter[str]:
        """Report how many problems there are, and return the counts, each group's outcome among them."""
        await self._report.close()
        return sum((known.counts() for known in self._open.values()), self._counts)

    async def _take(self, rows: Sequence[GroupRow]) -> None:
        """Import some rows: open their groups, add their members, and report what cannot be done."""
        problems: list[Problem] = []
        wanted: defaultdict[str, list[GroupRow]] = defaultdict(list)
        for row in rows:
            name = fold(row.display_name)
            known = self._open.get(name)
            if known is None:
                known = self._open[name] = await self._opened(replace(row, members=()))
                if known.group is None:
                    problems.append(_managed(row))
            elif known.lost:
                problems.append(_linked(row))
            elif known.group and _says_another(row, known.first):
                problems.append(_differs(row, known.first))
            if known.group:
                wanted[name].append(row)
        names = [member for of_group in wanted.values() for row in of_group for member in row.members]
        accounts = await self._accounts(names)
        for name, of_group in wanted.items():
            problems += _unknown(of_group, accounts)
            found = (accounts.get(fold(member)) for row in of_group for member in row.members)
            if not await self._join(self._open[name], [account_id for account_id in found if account_id]):
                problems += map(_linked, of_group)
        await self._report.add(problems)
        self._counts[REFUSED] += len(problems)

    async def _opened(self, row: GroupRow) -> _Open:
        """Find or create the group of a row, and bring its externalId up to date."""
        groups = self._directory.groups
        document = {"schemas": [SCHEMA], "displayName": row.display_name}
        stamp = {"externalId": row.external_id} if row.external_id else {}
        for _ in range(ATTEMPTS):
            found = next(iter(await groups.list_by(Key("displayName", row.display_name))), None)
            try:
                if found is None:
                    new = Group.new(groups.keys.new_id(row.display_name), document | stamp, Status.LOCAL, groups.now())
                    return _Open(row, await self.create(new), CREATED)
                if found.status is not Status.LOCAL:
                    return _Open(row, None)
                mine = [change for change in await groups.history(found.id) if change.by == self._by]
                before = [change.action for change in mine]
                outcome = CREATED if "create" in before else UPDATED if before else UNCHANGED
                changes = {*(name for change in mine for name in change.attributes), *({MEMBERS} & {*before})}
                after = found.with_document(found.document() | stamp)
                if after != found:
                    # Edited here, a group that SCIM deleted does not come back by itself any more.
                    stored = await self.replace(found, replace(after, left=None))
                    return _Open(row, stored, CREATED if outcome is CREATED else UPDATED, {*changes, "externalId"})
                return _Open(row, found, outcome, changes)
            except (AlreadyExists, Stale):
                continue  # another writer was faster, perhaps this activity's twin: they may run twice at once
        raise Stale("the group is being changed by others")

    async def create(self, group: Group) -> Group:
        """Store a new group."""
        await self._note(group.id)
        return await self._directory.groups.create(group, by=self._by)

    async def replace(self, before: Group, after: Group) -> Group:
        """Store what a row makes of a group."""
        await self._note(before.id)
        return await self._directory.groups.replace(before, after, by=self._by, action="import")

    async def _note(self, group_id: str) -> None:
        """Note for an undo which group is about to be made or changed."""
        if group_id not in self._noted:
            writer = self._directory.stage(self._job.id + IMPORTED).writer(f"{self._bucket:02x}")
            await writer.add(self._bucket, group_id)
            await writer.close()
            self._noted.add(group_id)

    async def _join(self, known: _Open, accounts: Sequence[str]) -> bool:
        """Add the accounts that are no members yet. To import a file again writes nothing.

        Returns False where the group was linked or deleted meanwhile: it and the rest of its rows are left as they are.
        """
        if known.group is None:
            return False
        ids, members = list(dict.fromkeys(accounts)), self._directory.members
        there = set(await members.look_up(known.group.id, ids))
        missing = [Member(account_id, imported=self._job.id) for account_id in ids if account_id not in there]
        if missing and not await self.add(known.group.id, missing):
            known.group, known.lost = None, True
            return False
        self._counts[MEMBERS] += len(ids)
        if missing:
            known.outcome = CREATED if known.outcome is CREATED else UPDATED
            known.changes.add(MEMBERS)
        return True

    async def add(self, group_id: str, missing: Sequence[Member]) -> bool:
        """Add members, if the group is managed here, so that a link of it that is under way is not made.

        Each transaction is conditional on the one before: between two of them the group is linked by nobody unseen.
        """
        groups, members = self._directory.groups, self._directory.members
        await self._note(group_id)
        await members.announce(group_id, missing)
        left = list(in_parts(missing, members.room))
        for _ in range(ATTEMPTS + len(left)):
            now = await groups.find(group_id)
            if now is None or now.status is not Status.LOCAL:
                return False
            head = await members.open(group_id) if now.head in (None, NO_HEAD) else now.head
            with contextlib.suppress(Stale):
                await groups.hold(now, by=self._by)
                while left:
                    head = await members.change(group_id, left[0], by=self._by, etag=head.etag) or head
                    del left[0]
                return True
        raise Stale("the group is being changed by others")

    async def _accounts(self, names: Sequence[str]) -> dict[str, str]:
        """Return the ids of the accounts that have these userNames and that SCIM did not delete, by folded name."""
        accounts, found = self._directory.accounts, dict[str, str]()
        for batch in in_parts(list(dict.fromkeys(map(fold, names))), NAMES_AT_ONCE):
            keys = [Key("userName", name) for name in batch]
            claimed = await accounts.claims.claimed_many(keys)
            held = await accounts.find_many(list(dict.fromkeys(filter(None, claimed))))
            by_id = {account.id: account for account in held if account and not account.retired}
            for key, account_id in zip(keys, claimed, strict=True):
                account = by_id.get(account_id or "")
                if account and folded(key) in account.claims():
                    found[key.value] = account.id
        return found


def _says_another(row: GroupRow, first: GroupRow) -> bool:
    return row.external_id is not None and fold(row.external_id) != fold(first.external_id or "")


def _differs(row: GroupRow, first: GroupRow) -> Problem:
    reason = f"groupExternalId: line {first.line} says another of this group, or none; line {first.line} was taken"
    return Problem(row.line, reason, "write one externalId in all rows of the group, and import the file again")


def _managed(row: GroupRow) -> Problem:
    reason = "group: the identity provider manages the group of this name; it and its members were left as they are"
    return Problem(row.line, reason, "change it in Entra")


def _linked(row: GroupRow) -> Problem:
    reason = "group: it was linked or deleted while this file came in; this row's members may be missing"
    return Problem(row.line, reason, "see who is in it, and change it in Entra")


def _unknown(rows: Sequence[GroupRow], accounts: dict[str, str]) -> Iterator[Problem]:
    for row in rows:
        for place, member in enumerate(row.members, row.first or 0):
            if fold(member) not in accounts:
                column = "userName" if row.first is None else f"members[{place}]"
                remedy = "import the account, then this file again"
                yield Problem(row.line, f"{column}: no account has this userName", remedy)
