"""Accounts that provisioning made, though one that is managed here is much alike: one person may have both.

Nobody is compared for it. A plan suggests whom nothing matches to each other (suggest.py), and warns from LIKELY_SCORE
on; these pairs are looked up once more, one by one. A later plan writes those that stand into the rows of the accounts
that provisioning made, so that the plan after it knows of them, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import chain
from typing import Any, Final

from link_orchestrator.run import WARNINGS, policy_of, reviews_of
from link_orchestrator.warnings import CREATED_ALIKE
from shared.directory.directory import Directory
from shared.directory.keys import Key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.findings import Finding
from shared.directory.work.jobs import RUN, Job
from shared.directory.work.plan import LIKELY_SCORE, PlanRow
from shared.directory.work.reviews import LINK
from shared.tables.access import in_parts, in_waves

SUGGESTED: Final = "suggestions."
"""Prefix of counts of rows with suggestions, by their decision."""
MADE_BEFORE: Final = DecisionKind.ALREADY_LINKED
"""The decision on people whose account provisioning had made when a plan was made."""
MOST_RUNS: Final = 8
"""Runs before a plan whose suggestions it reads: the latest ones, as far as the last that decided on everybody."""
MOST_LISTED: Final = 100
"""Runs among which these are looked for: of those that a schedule starts every day most find nothing to plan."""
AT_ONCE: Final = 100
"""Rows and accounts that are looked up at once."""


def is_free(account: Account, policy: Policy) -> bool:
    """Tell whether an account could be linked: a plan that reports whom the policy sets aside links them no more."""
    if account.status is not Status.LOCAL or account.protected or account.link:
        return False
    return not policy.sets_aside(account.id, account.user_name)


def likely(row: PlanRow) -> list[str]:
    """Return the ids of the accounts that a row's suggestions name, with a score from which on a plan warns."""
    return [one["account"]["id"] for one in row.suggestions if one["score"] * 100 >= LIKELY_SCORE]


async def likely_rows(
    directory: Directory, run: Job, bucket: int, decision: DecisionKind
) -> AsyncIterator[list[PlanRow]]:
    """Yield a bucket's rows of a decision with such suggestions, but for those that a review links."""
    if not run.counts.get(SUGGESTED + decision.value):
        return
    scores = await directory.plan(run.id).scores(bucket, decision.value)
    for some in in_parts([row_id for row_id, score in scores if score * 100 >= LIKELY_SCORE], AT_ONCE):
        rows = await reviews_of(directory, run.id).find_rows(some)
        yield [row for row in rows if row and (row.review or {}).get("action") != LINK]


async def tell_created(directory: Directory, job: Job) -> Counter[str]:
    """Write into a plan's rows of accounts that provisioning made who here is much alike, and warn of them.

    To write it again changes nothing.
    """
    policy, counts, found = policy_of(job), Counter[str](), Finding()
    pairs = await _suggested_before(directory, job)
    for some in in_parts(sorted(pairs), AT_ONCE):
        made = await in_waves(_made_for(directory, identity) for identity in some)
        rows: defaultdict[int, dict[str, list[Mapping[str, Any]]]] = defaultdict(dict)
        for identity, account in zip(some, made, strict=True):
            alike = await _still_free(directory, pairs[identity].values(), policy) if account else []
            if account is None or not alike:
                continue
            bucket = directory.keys.bucket(account.id)
            row = await directory.plan(job.id).find_about(identity, [MADE_BEFORE], [bucket])
            if row is None:  # a later run, which decides on changes alone
                continue
            rows[bucket][row.subject] = alike
            told = directory.keys.fingerprint(f"{CREATED_ALIKE} {account.id} {alike[0]['account']['id']}")
            found.add(told, {"identity": account.user_name, "account": alike[0]["account"]["userName"]})
        for bucket, suggestions in rows.items():
            await directory.plan(job.id).record_suggestions(bucket, MADE_BEFORE.value, suggestions)
    if found.count:
        await directory.findings.write(job.id, "created", {CREATED_ALIKE: found})
        counts.update({SUGGESTED + MADE_BEFORE.value: found.count, WARNINGS + CREATED_ALIKE: found.count})
    return counts


Suggestions = Mapping[str, Mapping[str, Any]]
"""Suggestions by the id of the account that they name."""


async def _suggested_before(directory: Directory, job: Job) -> Mapping[str, Suggestions]:
    """Return the likely suggestions of the plans before, by object id; of a pair the latest one."""
    found: defaultdict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    entries, _ = await directory.jobs.page((RUN,), "", MOST_LISTED)
    ids = [one.id for one in entries if one.planned and one.id != job.id][:MOST_RUNS]
    # What a list shows of a run has not these counts.
    runs = await directory.jobs.find_many(ids)
    for run in (runs[one] for one in ids if one in runs):
        for decision in (DecisionKind.NO_ACCOUNT, MADE_BEFORE):
            buckets = range(directory.keys.buckets)
            read = await in_waves(_read(likely_rows(directory, run, bucket, decision)) for bucket in buckets)
            for row in chain(*read):
                _add(found[row.subject], row)
        if "since" not in run.options:
            break
    return found


async def _read(pages: AsyncIterator[list[PlanRow]]) -> list[PlanRow]:
    return [row async for rows in pages for row in rows]


def _add(found: dict[str, Mapping[str, Any]], row: PlanRow) -> None:
    wanted = set(likely(row))
    for one in row.suggestions:
        if one["account"]["id"] in wanted:
            found.setdefault(one["account"]["id"], one)


async def _made_for(directory: Directory, object_id: str) -> Account | None:
    """Return the account that provisioning made for an identity, None for none."""
    found = await directory.accounts.list_by(Key("externalId", fold(object_id)))
    return next((one for one in found if one.status is Status.PROVISIONED), None)


async def _still_free(
    directory: Directory, suggestions: Iterable[Mapping[str, Any]], policy: Policy
) -> list[Mapping[str, Any]]:
    """Return those of some suggestions whose account could be linked, the likeliest first."""
    some = sorted(suggestions, key=lambda one: -one["score"])
    accounts = await directory.accounts.find_many([one["account"]["id"] for one in some])
    return [one for one, account in zip(some, accounts, strict=True) if account and is_free(account, policy)]
