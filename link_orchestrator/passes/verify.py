"""The passes that look what provisioning made of a run: links it confirmed or not, people it created instead.

look     plan and accounts -> a row for each link; what leads to whom the plan matched, by the key's bucket
compare  keys of the plan and of accounts made since -> pairs of the two, by the new account's bucket
settle   pairs, and accounts that share a key with a new one -> a row for each person who was created instead

A hash join as in passes/plan.py: nothing needs more memory than a bucket. Nothing of an account is changed. A pass
stops within a page once the verification is cancelled, and what it told until then is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from link_orchestrator.messages import Slice
from link_orchestrator.run import by_run, planned_links, policy_of
from link_orchestrator.staged import KEYS, PAIRS
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.matching.accounts import DecisionKind, evidence_for, facts_of, identity_keys
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts

CONFIRMED, UNCONFIRMED, UNLINKED, CREATED = "confirmed", "unconfirmed", "unlinked", "created"
MATCHED = tuple(kind for kind in DecisionKind if kind not in (DecisionKind.NO_ACCOUNT, DecisionKind.NO_IDENTITY))
"""Decisions on identities for which the plan knew accounts."""
PLANNED, MADE = "planned", "made"
NEW_AT_ONCE = 100
ACCOUNTS_AT_ONCE = 500
"""Accounts between two looks at whether the verification was cancelled."""

P = TypeVar("P", bound=Sequence[Any])


class Cancelled(Exception):
    """Somebody cancelled the verification."""


async def look(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Tell of each link of a slice whether it is confirmed, and stage whom the plan matched and who is new."""
    run = await _run_of(directory, job)
    keys = directory.stage(job.id + KEYS).writer(part.name)
    pairs = directory.stage(job.id + PAIRS).writer(part.name)
    plan, report = (directory.plan(one.id) for one in (run, job))
    counts = Counter({CONFIRMED: 0, UNCONFIRMED: 0, UNLINKED: 0, CREATED: 0})

    async def lead(kind: str, value: str | None, item: list[Any]) -> None:
        if value:
            digest = directory.keys.digest(Key(kind, value))
            await keys.add(directory.keys.bucket(digest), [digest, *item])

    with suppress(Cancelled):
        for bucket in range(part.low, part.high):
            async for rows in _watched(directory, job, planned_links(directory, run, bucket)):
                told = await _links(directory, run, rows)
                await report.write(bucket, told)
                counts.update(row.decision for row in told)
            for decision in MATCHED:
                async for rows in _watched(directory, job, plan.decided(bucket, decision.value)):
                    for item, identity in _matched(rows):
                        await lead("externalId", identity["objectId"], item)
                        await lead("userName", identity["userPrincipalName"], item)
            async for accounts in _watched(directory, job, _accounts(directory, bucket)):
                for account in accounts:
                    if _is_new(account, run):
                        await pairs.add(bucket, [account.id])
                        await lead("externalId", account.external_id, [MADE, account.id])
                        for name in {account.user_name, *account.emails}:
                            await lead("userName", name, [MADE, account.id])
        await keys.close()
        await pairs.close()
    return counts


async def _accounts(directory: Directory, bucket: int) -> AsyncIterator[list[Account]]:
    """Yield a bucket's accounts, some at a time."""
    some: list[Account] = []
    async for account in directory.listing.scan_facts(bucket):
        some.append(account)
        if len(some) == ACCOUNTS_AT_ONCE:
            yield some
            some = []
    yield some


async def _watched(directory: Directory, job: Job, pages: AsyncIterator[P]) -> AsyncIterator[P]:
    """Yield the pages that hold anything. Raises Cancelled before the first that comes after a cancel."""
    async for page in pages:
        if page:
            await _go_on(directory, job)
            yield page


async def _go_on(directory: Directory, job: Job) -> None:
    if (await directory.jobs.get(job.id)).cancelled_by:
        raise Cancelled


async def compare(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Pair each new account with whom the plan knew by the same key."""
    keys, writer = directory.stage(job.id + KEYS), directory.stage(job.id + PAIRS).writer(part.name)
    with suppress(Cancelled):
        for bucket in range(part.low, part.high):
            planned: defaultdict[str, list[Any]] = defaultdict(list)
            made: list[tuple[str, str]] = []
            async for items in _watched(directory, job, keys.read(bucket)):
                for digest, kind, *item in items:
                    if kind == PLANNED:
                        planned[digest].append(item)
                    else:
                        made.append((digest, item[0]))
            for digest, account_id in made:
                for item in planned.get(digest, ()):
                    await writer.add(directory.keys.bucket(account_id), [account_id, *item])
        await writer.close()
    return Counter()


async def settle(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Write a row for each person of a slice who was created beside an account that the plan, or a key, knows."""
    run = await _run_of(directory, job)
    counts: Counter[str] = Counter()
    with suppress(Cancelled):
        for bucket in range(part.low, part.high):
            known: defaultdict[str, dict[str, Any]] = defaultdict(dict)
            async for items in _watched(directory, job, directory.stage(job.id + PAIRS).read(bucket)):
                for account_id, *pair in items:
                    known[account_id] |= {pair[0]: pair} if pair else {}
            for some in in_parts(sorted(known), NEW_AT_ONCE):
                await _go_on(directory, job)
                told = []
                for account in await directory.accounts.find_many(some):
                    if account is not None:
                        told += await _created(directory, account, list(known[account.id].values()), policy_of(run))
                await directory.plan(job.id).write(bucket, told)
                counts[CREATED] += len(told)
    return counts


async def _run_of(directory: Directory, job: Job) -> Job:
    return await directory.jobs.get(job.options["run"])


async def _links(directory: Directory, run: Job, rows: Sequence[PlanRow]) -> list[PlanRow]:
    """Return what became of the links among a plan's rows."""
    accounts = await directory.accounts.find_many([row.shown["account"]["id"] for row in rows])
    told: list[PlanRow] = []
    for row, account in zip(rows, accounts, strict=True):
        link = account.link if account else None
        shown = {name: row.shown[name] for name in ("identity", "account")}
        if link is not None and link.by == by_run(run.id):
            found = CONFIRMED if link.confirmed else UNCONFIRMED
            times = {"linked": link.at} | ({"confirmed": link.confirmed} if link.confirmed else {})
            told.append(PlanRow(found, str(row.shown["account"]["id"]), shown | times))
        elif row.outcome == "linked":
            told.append(PlanRow(UNLINKED, str(row.shown["account"]["id"]), shown))
    return told


def _matched(rows: Sequence[PlanRow]) -> Iterator[tuple[list[Any], Mapping[str, Any]]]:
    """Yield what is staged of each row that knows accounts of an identity, and the identity."""
    for row in rows:
        account = row.shown.get("account")
        accounts = [account["id"]] if account else row.shown.get("others", [])
        if accounts and "identity" in row.shown:
            yield [PLANNED, row.shown["identity"]["objectId"], row.decision, accounts], row.shown["identity"]


def _is_new(account: Account, run: Job) -> bool:
    return account.status is Status.PROVISIONED and account.created > run.started


async def _created(directory: Directory, account: Account, pairs: Sequence[Any], policy: Policy) -> list[PlanRow]:
    """Return the row of a new account, if the plan or one of its keys knows another account of the same person."""
    accounts = {other for _, _, others in pairs for other in others} - {account.id}
    sharing = await _sharing(directory, account, policy)
    if not accounts | sharing.keys():
        return []
    reason = "Provisioning created this account, although "
    if accounts:
        decisions = ", ".join(sorted({decision for _, decision, _ in pairs}))
        reason += f"the plan knew an account of the same identity ({decisions})."
    else:
        rules = ", ".join(sorted({rule for found in sharing.values() for rule in found}))
        reason += f"an account that was here before shares a key with it ({rules})."
    shown: dict[str, Any] = {
        "reason": reason,
        "account": {"id": account.id, "userName": account.user_name},
        "created": account.created,
        "insteadOf": sorted(accounts | sharing.keys()),
    }
    if pairs:
        shown["identities"] = sorted({object_id for object_id, _, _ in pairs})
    return [PlanRow(CREATED, account.id, shown)]


async def _sharing(directory: Directory, account: Account, policy: Policy) -> dict[str, list[str]]:
    """Return accounts that were not made by provisioning and carry a key of this one, with the rules that say so."""
    identity = Identity(
        object_id=account.external_id or "",
        user_principal_name=account.user_name,
        mail=account.emails[0] if account.emails else None,
        other_mails=account.emails[1:],
        employee_id=account.employee_number,
    )
    keys = identity_keys(identity, policy)
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(Key(key.kind, key.value) for key in keys):
        for other in await directory.accounts.list_by(key):
            if other.id != account.id and other.status is not Status.PROVISIONED:
                found[other.id] = [item.rule.value for item in evidence_for(keys, facts_of(other))]
    return {other: rules for other, rules in found.items() if rules}
