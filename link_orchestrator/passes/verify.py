"""The passes that verify a run: which links provisioning confirmed, and whom it created instead of using their account.

look    plan and accounts -> a row for each link; keys of the matched identities and of new accounts, in their buckets
pair    keys -> pairs of a new account and an identity that the plan matched, in the new account's bucket
settle  pairs, and other accounts with a key of a new one -> a row for each person who was created instead, or is alike

Who is alike was suggested by the run's plan, with the score from which on it warned: nobody is compared again. Those
whom an earlier plan suggested, the run's own names in the rows of accounts that provisioning had made by then.

In a verification's progress the second pass is called `compare`. This is a hash join as in passes/pairs.py, with one
bucket in memory at a time. It changes no account. Once the verification is cancelled a pass stops within a page, and
what it reported until then is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from link_orchestrator import words
from link_orchestrator.messages import Slice
from link_orchestrator.passes.created_alike import MADE_BEFORE, is_free, likely, likely_rows
from link_orchestrator.run import by_run, planned_links, policy_of
from link_orchestrator.staged import KEYS, PAIRS
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.evidence import evidence_for, facts_of
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import identity_keys
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts

CONFIRMED, UNCONFIRMED, UNLINKED, CREATED, ALIKE = "confirmed", "unconfirmed", "unlinked", "created", "alike"
MATCHED = tuple(kind for kind in DecisionKind if kind not in (DecisionKind.NO_ACCOUNT, DecisionKind.NO_IDENTITY))
"""Decisions on identities for which the plan knew an account."""
PLANNED, MADE = "planned", "made"
"""Whose a staged key is: an identity's that the plan matched, or an account's that provisioning made since."""
NEW_AT_ONCE = 100
"""New accounts that are read at once."""
ACCOUNTS_AT_ONCE = 500
"""Accounts between two looks at whether the verification was cancelled."""

P = TypeVar("P", bound=Sequence[Any])


class Cancelled(Exception):
    """Somebody cancelled the verification."""


async def look(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Report whether each link of a slice is confirmed, and stage the keys of matched identities and new accounts."""
    run = await _run_of(directory, job)
    keys = directory.stage(job.id + KEYS).writer(slice_.name)
    pairs = directory.stage(job.id + PAIRS).writer(slice_.name)
    plan, report = directory.plan(run.id), directory.plan(job.id)
    counts = Counter({CONFIRMED: 0, UNCONFIRMED: 0, UNLINKED: 0, CREATED: 0, ALIKE: 0})

    async def add_keys(items: Iterable[tuple[list[Any], Mapping[str, Any]]]) -> None:
        for item, identity in items:
            await add_key("externalId", identity["objectId"], item)
            await add_key("userName", identity["userPrincipalName"], item)

    async def add_key(kind: str, value: str | None, item: list[Any]) -> None:
        if value:
            digest = directory.keys.digest(Key(kind, value))
            await keys.add(directory.keys.bucket(digest), [digest, *item])

    with suppress(Cancelled):
        for bucket in slice_.buckets:
            async for rows in _watched(directory, job, planned_links(directory, run, bucket)):
                reported = await _links(directory, run, rows)
                await report.write(bucket, reported)
                counts.update(row.decision for row in reported)
                counts.update(_expected(rows, reported))
                # Of the rows that match no account a review may have named one.
                await add_keys(_matched([row for row in rows if row.decision not in MATCHED]))
            for decision in MATCHED:
                async for rows in _watched(directory, job, plan.decided(bucket, decision.value)):
                    await add_keys(_matched(rows))
            async for rows in _watched(directory, job, likely_rows(directory, run, bucket, DecisionKind.NO_ACCOUNT)):
                await add_keys((_alike(row), row.shown["identity"]) for row in rows)
            async for rows in _watched(directory, job, likely_rows(directory, run, bucket, MADE_BEFORE)):
                for row in rows:
                    await pairs.add(bucket, [row.shown["account"]["id"], *_alike(row)[1:]])
            async for accounts in _watched(directory, job, _accounts(directory, bucket)):
                for account in accounts:
                    if _is_new(account, run):
                        await pairs.add(bucket, [account.id])
                        await add_key("externalId", account.external_id, [MADE, account.id])
                        for name in {account.user_name, *account.emails}:
                            await add_key("userName", name, [MADE, account.id])
        await keys.close()
        await pairs.close()
    return counts


async def _accounts(directory: Directory, bucket: int) -> AsyncIterator[list[Account]]:
    """Yield a bucket's accounts, ACCOUNTS_AT_ONCE at a time."""
    batch: list[Account] = []
    async for account in directory.listing.scan_facts(bucket):
        batch.append(account)
        if len(batch) == ACCOUNTS_AT_ONCE:
            yield batch
            batch = []
    yield batch


async def _watched(directory: Directory, job: Job, pages: AsyncIterator[P]) -> AsyncIterator[P]:
    """Yield the pages that are not empty. Raises Cancelled instead of a page if the verification was cancelled."""
    async for page in pages:
        if page:
            await _go_on(directory, job)
            yield page


async def _go_on(directory: Directory, job: Job) -> None:
    if (await directory.jobs.get(job.id)).cancelled_by:
        raise Cancelled


async def pair(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Pair each new account with the identities that the plan matched and that have a key of it."""
    keys, writer = directory.stage(job.id + KEYS), directory.stage(job.id + PAIRS).writer(slice_.name)
    with suppress(Cancelled):
        for bucket in slice_.buckets:
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


async def settle(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Report each new account of a slice beside which the plan, or a shared key, knows another of the same person."""
    run = await _run_of(directory, job)
    counts: Counter[str] = Counter()
    with suppress(Cancelled):
        for bucket in slice_.buckets:
            known: defaultdict[str, dict[tuple[str, str], Any]] = defaultdict(dict)
            async for items in _watched(directory, job, directory.stage(job.id + PAIRS).read(bucket)):
                for account_id, *pair in items:
                    known[account_id] |= {(pair[0], pair[1]): pair} if pair else {}
            for batch in in_parts(sorted(known), NEW_AT_ONCE):
                await _go_on(directory, job)
                reported = []
                for account in await directory.accounts.find_many(batch):
                    if account is not None:
                        pairs = list(known[account.id].values())
                        reported += await _created(directory, account, pairs, run)
                await directory.plan(job.id).write(bucket, reported)
                counts.update(row.decision for row in reported)
    return counts


async def _run_of(directory: Directory, job: Job) -> Job:
    return await directory.jobs.get(job.options["run"])


async def _links(directory: Directory, run: Job, rows: Sequence[PlanRow]) -> list[PlanRow]:
    """Return the report's rows of the links that the run made by rows of its plan."""
    accounts = await directory.accounts.find_many([row.shown["account"]["id"] for row in rows])
    reported: list[PlanRow] = []
    for row, account in zip(rows, accounts, strict=True):
        link = account.link if account else None
        # The row of the plan, which says why the two were linked.
        shown = {name: row.shown[name] for name in ("identity", "account")} | {"row": row.id}
        if account:  # provisioning may have renamed it since the plan
            shown["account"] = account.shown()
        if link is not None and link.by == by_run(run.id):
            found = CONFIRMED if link.confirmed else UNCONFIRMED
            times = {"linked": link.at} | ({"confirmed": link.confirmed} if link.confirmed else {})
            reported.append(PlanRow(found, str(row.shown["account"]["id"]), shown | times))
        elif row.outcome == "linked":
            reported.append(PlanRow(UNLINKED, str(row.shown["account"]["id"]), shown))
    return reported


def _expected(rows: Sequence[PlanRow], reported: Sequence[PlanRow]) -> Iterator[str]:
    """Yield, for each link that is not confirmed, the count of what the plan expected provisioning to do."""
    waiting = {row.shown["row"] for row in reported if row.decision == UNCONFIRMED}
    for row in rows:
        if row.id in waiting and "predicted" in row.shown:
            yield f"predicted.{row.shown['predicted']['outcome']}"


def _matched(rows: Sequence[PlanRow]) -> Iterator[tuple[list[Any], Mapping[str, Any]]]:
    """Yield, for each row that names accounts of an identity, the item to stage and the identity."""
    for row in rows:
        account = row.shown.get("account")
        accounts = [account["id"]] if account else row.shown.get("others", [])
        if accounts and "identity" in row.shown:
            yield [PLANNED, row.shown["identity"]["objectId"], row.decision, accounts], row.shown["identity"]


def _alike(row: PlanRow) -> list[Any]:
    """Return the item to stage of a row whose suggestions name accounts that are much alike."""
    identity = row.shown["identity"]
    return [PLANNED, identity["objectId"], ALIKE, likely(row), row.id, identity]


def _is_new(account: Account, run: Job) -> bool:
    return account.status is Status.PROVISIONED and account.created > run.started


async def _created(directory: Directory, account: Account, pairs: Sequence[Any], run: Job) -> list[PlanRow]:
    """Return the report's row of a new account, or none if neither plan nor keys know another of the same person.

    An account from before the run, of which its plan says who is alike, was not created instead of anybody it links.
    """
    policy = policy_of(run)
    pairs, alike = [pair for pair in pairs if pair[1] != ALIKE], [pair for pair in pairs if pair[1] == ALIKE]
    if account.created <= run.started:
        return await _only_alike(directory, account, alike, policy)
    accounts = {other for _, _, others in pairs for other in others} - {account.id}
    sharing = await _sharing(directory, account, policy)
    if not accounts | sharing.keys():
        return await _only_alike(directory, account, alike, policy)
    reason = "Provisioning created this account, although "
    if accounts:
        decisions = ", ".join(sorted({words.DECISIONS[decision].label.lower() for _, decision, _ in pairs}))
        reason += f"the plan knew an account of the same identity ({decisions})."
    else:
        rules = ", ".join(sorted({rule for found in sharing.values() for rule in found}))
        reason += f"an account that was here before shares a key with it ({rules})."
    before = sorted(accounts | sharing.keys())
    shown: dict[str, Any] = {
        "reason": reason,
        "account": account.shown(),
        "created": account.created,
        "insteadOf": before,
        "before": [one.shown() for one in await directory.accounts.find_many(before) if one],
    }
    if pairs:
        shown["identities"] = sorted({object_id for object_id, _, _ in pairs})
    return [PlanRow(CREATED, account.id, shown)]


async def _only_alike(directory: Directory, account: Account, pairs: Sequence[Any], policy: Policy) -> list[PlanRow]:
    """Return the report's row of an account that provisioning made, where one that is managed here is much alike.

    None where there is none such any more: whoever is linked by now, or deleted, is nobody's second account.
    """
    others = sorted({other for _, _, others, *_ in pairs for other in others} - {account.id})
    free = [one for one in await directory.accounts.find_many(others) if one and is_free(one, policy)]
    if not free or account.status is not Status.PROVISIONED:
        return []
    _, _, _, row, identity = min(pairs)
    shown = {
        "reason": "Provisioning created this account, though one that is managed here is much alike by name or "
        "address, as the plan said: both may be one person's.",
        "account": account.shown(),
        "identity": identity,
        "created": account.created,
        "alike": [one.shown() for one in free],
        "row": row,
    }
    return [PlanRow(ALIKE, account.id, shown)]


async def _sharing(directory: Directory, account: Account, policy: Policy) -> dict[str, list[str]]:
    """Return the accounts, not made by provisioning, that carry a key of this one: by id, the rules that say so."""
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
