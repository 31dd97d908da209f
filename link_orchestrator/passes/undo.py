"""The pass that takes a run back: every account that it linked becomes what it was before, unless it changed since.

The plan's rows say which accounts the run may have linked. Each account's history says whether it did, what the account
was before, and what happened since. So a run can be taken back wherever it was cut off, and a slice that runs again
counts what it did before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.run import account_of, by_run, by_undo, planned_links
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.records.audit import Change
from shared.directory.records.model import Account, Link, Status
from shared.directory.records.unlinking import fence_many, release_many
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import LINK
from shared.tables.access import in_parts, together

UNDONE, RELEASED, REFUSED, UNCHANGED = "undone", "released", "refused", "unchanged"
RELEASE = "release"
"""The undo's option for accounts that provisioning changed since: release them as they are. Without it, refuse them."""
HISTORIES_AT_ONCE = 64
"""Histories that are read at the same time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an account that the run linked, and why. `after` is the account to store, None for no change."""

    outcome: str
    reason: str
    after: Account | None = None


async def undo(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back the links of a slice of a run's plan; stop early if the undo is cancelled."""
    run = await directory.jobs.get(job.options["run"])
    report = directory.plan(job.id)
    counts: Counter[str] = Counter()
    if run.approved is None:
        return counts
    for bucket in slice_.buckets:
        async for rows in planned_links(directory, run, bucket):
            if rows and (await directory.jobs.get(job.id)).cancelled_by:
                return counts
            # Identities that a review linked are left open again before their links go, so that SCIM links none.
            await directory.plan(run.id).leave_open(
                {row.subject: row.decision for row in rows if row.review and row.review["action"] == LINK}
            )
            reported = await _take_back(directory, job, run, rows)
            await report.write(bucket, reported)
            counts.update(row.decision for row in reported)
    return counts


async def _take_back(
    directory: Directory, job: Job, run: Job, rows: Sequence[PlanRow], *, again: bool = True
) -> list[PlanRow]:
    """Take back what a run did by rows of its plan; return the report's row of each account that it had linked."""
    ids = [account_of(row) for row in rows]
    accounts = await directory.accounts.find_many(ids)
    verdicts: dict[str, Verdict] = {}
    untouched: list[Account] = []
    for row, account, history in zip(rows, accounts, await _histories(directory, ids), strict=True):
        verdict = judge(account, history, run.id, job.id, release=job.options.get("changed") == RELEASE)
        if verdict is not None:
            verdicts[account_of(row)] = verdict
        elif account is not None and not row.outcome and account.etag == row.version and run.state is not State.DONE:
            # An activity of a run that died may still be under way, and would link the account after this look.
            untouched.append(account)
    by_id = {account.id: account for account in accounts if account}
    changes = [(by_id[i], verdict.after) for i, verdict in verdicts.items() if verdict.after]
    outcomes = await release_many(directory.accounts, changes, by=by_undo(job.id), action="undo")
    lost = await fence_many(directory.accounts, untouched)
    for (before, _), outcome in zip(changes, outcomes, strict=True):
        if isinstance(outcome, DirectoryError):
            verdicts[before.id] = Verdict(REFUSED, f"not undone: {outcome}")
            lost.add(before.id)
    report = {i: _report(row, verdicts[i]) for i, row in zip(ids, rows, strict=True) if i in verdicts}
    if again and lost:
        # Others were faster: the run's own late activity, provisioning, or a twin of this activity. Look again.
        retried = [row for row in rows if account_of(row) in lost]
        report |= {row.subject: row for row in await _take_back(directory, job, run, retried, again=False)}
    return list(report.values())


def judge(
    account: Account | None, history: Sequence[Change], run: str, undo: str, *, release: bool = False
) -> Verdict | None:
    """Decide what becomes of an account; None if the run did not link it.

    A confirmation changes nothing but the link, and is no obstacle. `release` also takes back links of accounts that
    provisioning changed since, and leaves their attributes as they are.
    """
    linked = next((n for n, c in enumerate(history) if (c.action, c.by) == ("link", by_run(run))), None)
    if linked is None:
        return None
    before, since = history[linked].before, history[linked + 1 :]
    undone = next((n for n, change in enumerate(since) if change.by == by_undo(undo)), None)
    if undone is None and (account is None or account.link is None or account.link.by != by_run(run)):
        return _gone(account, since)
    after = restored(account, before) if undone is None and account else None
    names = {name for change in since[:undone] for name in change.attributes} - set(Account.audited) - {"schemas"}
    if not names:
        return Verdict(UNDONE, "The account is what it was before the run.", after)
    changed = f"{', '.join(sorted(names))}: provisioning changed it after the run"
    if release:
        return Verdict(RELEASED, f"{changed}; that stays, and the account is managed here again.", after)
    return Verdict(REFUSED, f"{changed}; release the account if it is to be managed here as it is now.")


def restored(account: Account, before: Any) -> Account:
    """Return an account with the link state of before it was linked, which the history keeps. The rest stays."""
    document = account.document()
    document["externalId"] = before["externalId"]
    if before["externalId"] is None:
        del document["externalId"]
    link = Link.from_json(before["link"]) if before["link"] else None
    return account.with_document(
        document, status=Status(before["status"]), link=link, retired=before.get("retired", False)
    )


def _gone(account: Account | None, since: Sequence[Change]) -> Verdict:
    """Return the verdict on an account that lost the run's link: what took it away."""
    changes = [change for change in since if "link" in change.attributes and change.action != "confirm"]
    end = changes[0] if changes else None
    if changes and account and account.link is None and not account.retired:
        end = changes[-1]  # it may have been linked elsewhere first, but was taken back in the end
    if end is not None and end.action in ("undo", "release"):
        return Verdict(UNCHANGED, f"The link was taken back before ({end.action} by {end.by}).")
    if end is not None and end.action == "link":
        return Verdict(REFUSED, f"The account was linked to another identity after the run, by {end.by}.")
    if account is None:
        return Verdict(REFUSED, "The account was deleted after the run.")
    return Verdict(REFUSED, "Provisioning deleted the account after the run: it is inactive, unlinked, and kept here.")


async def _histories(directory: Directory, ids: Sequence[str]) -> list[Sequence[Change]]:
    histories: list[Sequence[Change]] = []
    for batch in in_parts(ids, HISTORIES_AT_ONCE):
        histories += await together(*map(directory.accounts.history, batch))
    return histories


def _report(row: PlanRow, verdict: Verdict) -> PlanRow:
    shown = {name: row.shown[name] for name in ("identity", "account") if name in row.shown}
    return PlanRow(verdict.outcome, account_of(row), {"reason": verdict.reason, **shown})
