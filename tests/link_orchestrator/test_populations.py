"""What holds for any population with reviews: shared and swapped addresses, names used again, look-alikes, aliases."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from link_orchestrator import activities
from link_orchestrator.messages import FORM, Milestone, Slice
from link_orchestrator.orchestrator import APPLY_PASSES, PLAN_PASSES
from link_orchestrator.requests import reviews
from shared.directory.directory import Directories, Directory
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.evidence import MatchEvidence, proving_rule
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Status
from shared.directory.work.jobs import Job
from shared.scim.endpoint import Request
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.passes.test_plan import accounts, every_account, identities, policies, settle
from tests.link_orchestrator.requests.test_reviews_crashes import Client, approve
from tests.link_orchestrator.running import begin_run, make_directory, plan_rows, start_of

numbered = itertools.count()


async def run_passes(directory: Directory, job: Job, passes: tuple[str, ...], order: random.Random) -> None:
    """Run passes, the slices of each in any order."""
    start = start_of(directory, job, 2)
    for stage in passes:
        edges = [start.buckets * n // 2 for n in range(3)]
        slices = [(low, high) for low, high in itertools.pairwise(edges) if low < high]
        for low, high in order.sample(slices, len(slices)):
            part = Slice(job=job.id, directory=directory.name, pass_name=stage, low=low, high=high, form=FORM).to_json()
            await activities.run_slice(Directories(directory.tables), part)


async def review(directory: Directory, job: Job, **asked: Any) -> Any:
    body = json.dumps(asked).encode()
    client: Any = Client()
    answer = await reviews.review(directory, Request("http://x/scim/v2", "me", job.id, body=body), client)
    return json.loads(answer.text)


@given(
    made=st.lists(accounts(), max_size=6),
    theirs=st.lists(identities(), max_size=6),
    policy=policies,
    buckets=st.sampled_from([1, 3]),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100)
async def test_a_link_needs_a_strong_key_that_nobody_contests_or_a_person_who_looked(
    sqlite_tables: SqliteTables,
    made: list[dict[str, Any]],
    theirs: list[Identity],
    policy: Policy,
    buckets: int,
    order: random.Random,
) -> None:
    directory = await make_directory(sqlite_tables, f"p{next(numbered)}", buckets)
    await settle(directory, made)
    before = {account.id: account for account in await every_account(directory)}
    job = await begin_run(directory, theirs, policy)
    await run_passes(directory, job, PLAN_PASSES, order)
    planned = Milestone(job=job.id, directory=directory.name, state="planned", expires="2999-01-01T00:00:00Z")
    await activities.reach_milestone(Directories(directory.tables), planned.to_json())
    rows = await plan_rows(directory, job.id)
    accepted: dict[str, str] = {}
    for row in order.sample(rows, len(rows)):
        candidates = list(row.versions) or [None]
        account = order.choice([*candidates, *before])
        answer = await review(directory, job, rows=[row.id], action="link", **({"account": account} if account else {}))
        if answer["reviewed"]:
            assert row.decision in (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS, DecisionKind.OUTSIDE_VERIFIED_DOMAINS)
            accepted[fold(row.subject)] = account or row.shown["account"]["id"]
    excluded = {fold(row.subject) for row in rows if row.decision == "link" and order.random() < 0.3}
    for row in rows:
        if fold(row.subject) in excluded:
            assert (await review(directory, job, rows=[row.id], action="exclude"))["reviewed"] == 1
    await approve(directory, job.id)
    await run_passes(directory, job, APPLY_PASSES, order)
    proven = {fold(row.subject): row for row in rows if row.decision == "link" and fold(row.subject) not in excluded}
    after = await every_account(directory)
    links = [(fold(account.link.identity), account) for account in after if account.link]
    assert len({identity for identity, _ in links}) == len(links), "an identity has two accounts"
    for identity, account in links:
        if account.link == before[account.id].link:
            continue
        assert before[account.id].status is Status.LOCAL
        assert not account.protected
        if identity in proven:
            row = proven[identity]
            assert row.shown["account"]["id"] == account.id
            assert proving_rule(map(MatchEvidence.from_json, row.shown["evidence"]))
        else:
            assert accepted[identity] == account.id, "weak or ambiguous, and nobody looked"
    made_links = {fold(a.link.identity) for a in after if a.link and a.link != before[a.id].link}
    held = "refused: another account holds this identity's externalId by now"
    outcomes = {fold(row.subject): row.outcome for row in await plan_rows(directory, job.id)}
    for identity in {*proven, *accepted} - made_links:
        assert outcomes[identity] == held, "whatever was accepted is linked, or it says why not"
        assert any(fold(a.external_id or "") == identity and a.id != accepted[identity] for a in before.values())
    assert all(outcomes[identity] == "linked" for identity in made_links)
