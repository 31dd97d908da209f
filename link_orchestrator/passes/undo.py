"""The passes that take back the links of a run, or those that creates over SCIM made: every account is what it was.

prepare   closes the gate before SCIM, and suspends the directory's schedule
count     counts the accounts that would be switched on, where the request names their number
undo      plan's rows, accounts, their histories and what was kept of them -> accounts as they were, and a report

Each account's history says whether the link was made, what its link was before, and what happened since. What
provisioning replaced is kept beside it (shared/directory/records/kept.py). So a run can be taken back wherever it was
cut off, and a slice that runs again counts what it did before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from link_orchestrator.messages import ACTIVATING, Slice
from link_orchestrator.run import account_of, by_run, by_undo, planned_links
from link_orchestrator.schedule import suspend_schedule
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.records.audit import Change
from shared.directory.records.kept import SCHEMAS, Kept, extension_of, list_kept
from shared.directory.records.model import EVIDENCE, Account, Link, SignInEvidence, Status
from shared.directory.records.unlinking import fence_many, release_many
from shared.directory.work.adoptions import Adoption
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts, together

UNDONE, PARTLY, INACTIVE, ACTIVATED = "undone", "undonePartly", "undoneInactive", "activated"
RELEASED, REFUSED, UNCHANGED = "released", "refused", "unchanged"
OUTCOMES: Final = (UNDONE, PARTLY, INACTIVE, ACTIVATED, RELEASED, REFUSED, UNCHANGED)
GIVEN_BACK: Final = (UNDONE, PARTLY, INACTIVE, RELEASED)
"""Outcomes of accounts whose link is taken back."""
ATTRIBUTES: Final = "attributes"
"""The undo's option `keep` for accounts that provisioning changed: their attributes stay as they are."""
SWITCHED_ON: Final = "switchedon"
"""What the name of the list of these accounts ends in, behind the undo's id."""
ADOPTIONS_AT_ONCE = 500
"""Adoptions that are taken back between two looks at whether the undo was cancelled."""
HISTORIES_AT_ONCE = 64
"""Histories that are read at the same time."""

_HERE: Final = ("edit", "import")
"""Actions that change attributes on behalf of the application or its administrator."""
_BY_SCIM: Final = ("confirm", "retire", "return")
"""Actions of SCIM that change a link, and leave it the link that the run made."""
_NOT_KEPT: Final = {*Account.audited, SCHEMAS, "externalId"} - {EVIDENCE}
"""Names in the history of what an undo takes from the link's state before it, or from the other attributes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A link that is to be taken back: `made` tells the change of the account's history that made it.

    `shown` names account and identity in the report, and `row` is the plan's row of the link, if a run made it. `late`
    is the version in which an activity under way may still link the account, "" for none.
    """

    account: str
    identity: str
    made: Callable[[Change], bool]
    shown: Mapping[str, Any]
    late: str = ""
    row: PlanRow | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What an undo was asked for. `switched_on` has the accounts that it may switch on, by id, with their versions."""

    undo: str
    keeps_attributes: bool = False
    switched_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an account that the run linked, and why. `after` is the account to store, None for no change.

    `activates` says that the account is inactive and was active before provisioning switched it off.
    """

    outcome: str
    reason: str
    after: Account | None = None
    activates: bool = False


@dataclass(frozen=True, slots=True)
class Restoration:
    """What can be given back of what provisioning changed: `values` by attribute, as in Kept.

    `here` was edited here after provisioning changed it, `lost` is kept no longer, or never was.
    """

    values: Mapping[str, Any]
    here: Collection[str]
    lost: Collection[str]


async def prepare(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Close the gate before SCIM, for a bounded time, and suspend the schedule: no run may join what is taken apart."""
    linked = f"{job.options['run']} linked" if "run" in job.options else "creates over SCIM linked"
    await suspend_schedule(directory, job.by, f"{job.id} takes back what {linked}")
    if not await directory.gate.was_closed_by(job.id):
        await directory.gate.close(job.id)
    if (await directory.jobs.get(job.id)).state.ended:  # a twin of this activity has come late
        await directory.gate.open(job.id)
    return Counter()


async def count(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Count the accounts of a slice that the undo would switch on, and list them with their versions."""
    counts = Counter({ACTIVATING: 0})
    asked = _asked(job)
    async for bucket, some in _pages(directory, job, slice_):
        found: list[PlanRow] = []
        for item, account, history, kept in await _read(directory, some):
            verdict = judge(item, account, history, kept, asked)
            if verdict and verdict.activates and account:
                found.append(PlanRow(ACTIVATING, account.id, {}, account.etag))
        await directory.plan(job.id + SWITCHED_ON).write(bucket, found)
        counts[ACTIVATING] += len(found)
    return counts


async def undo(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back the links of a slice of a run's plan, or its adoptions; stop early if the undo is cancelled."""
    counts: Counter[str] = Counter()
    run = job.options.get("run")
    marked = list(dict.fromkeys((*await directory.jobs.find_chain(), *([run] if run else ()))))
    async for bucket, some in _pages(directory, job, slice_):
        switched_on = {row.subject: row.version async for row in _switched_on(directory, job, bucket)}
        reported = await take_back(directory, _asked(job, switched_on), some, marked)
        await directory.plan(job.id).write(bucket, reported)
        if run:
            await _tell(directory, job, bucket, some, reported)
        counts.update(row.decision for row in reported)
    return counts


async def _tell(
    directory: Directory, job: Job, bucket: int, some: Sequence[Taken], reported: Sequence[PlanRow]
) -> None:
    """Write into the rows of the run's plan that this undo took their links back."""
    outcomes = {row.subject: row.decision for row in reported if row.decision in GIVEN_BACK}
    rows = [item.row for item in some if item.row and item.account in outcomes]
    told = {row.subject: f"{outcomes[account_of(row)]} by {job.id}" for row in rows}
    await directory.plan(job.options["run"]).record_undone(bucket, told, rows)


def keeps_attributes(job: Job) -> bool:
    """Tell whether an undo leaves attributes as they are. Earlier versions of the app called that `changed`."""
    return job.options.get("keep") == ATTRIBUTES or job.options.get("changed") == "release"


async def take_back(
    directory: Directory,
    asked: Asked,
    some: Sequence[Taken],
    plans: Sequence[str],
    *,
    again: bool = True,
    taken: Collection[str] = (),
) -> list[PlanRow]:
    """Take links back; return the report's row of each account that had its link.

    `plans` are the runs in whose plans the identities are noted as left open. `taken` are the ids of accounts whose
    userName another account has by now.
    """
    verdicts: dict[str, Verdict] = {}
    untouched: list[Account] = []
    found = await _read(directory, some)
    by_id = {account.id: account for _, account, _, _ in found if account}
    for item, account, history, kept in found:
        verdict = judge(item, account, history, kept, asked, name_taken=item.account in taken)
        if verdict is not None:
            verdicts[item.account] = verdict
        elif account is not None and item.late and account.etag == item.late:
            # An activity of a run that died may still be under way, and would link the account after this look.
            untouched.append(account)
    # Before the links go, so that SCIM neither links nor creates anybody meanwhile: only a person joins them again.
    open_ = {item.identity: DecisionKind.REVIEW.value for item in some if _gives_back(verdicts.get(item.account))}
    for run in plans if open_ else ():
        await directory.plan(run).leave_open(open_)
    changes = [(by_id[i], verdict.after) for i, verdict in verdicts.items() if verdict.after]
    outcomes = await release_many(directory.accounts, changes, by=by_undo(asked.undo), action="undo")
    lost = await fence_many(directory.accounts, untouched)
    names = {before.id for (before, _), outcome in zip(changes, outcomes, strict=True) if _is_name_taken(outcome)}
    for (before, _), outcome in zip(changes, outcomes, strict=True):
        if isinstance(outcome, DirectoryError):
            verdicts[before.id] = Verdict(REFUSED, f"not undone: {outcome}")
            lost.add(before.id)
    report = {item.account: _report(item, verdicts[item.account]) for item in some if item.account in verdicts}
    if again and lost:
        # Others were faster: the run's own late activity, provisioning, or a twin of this activity. Look again.
        retried = [item for item in some if item.account in lost]
        looked_at = await take_back(directory, asked, retried, plans, again=False, taken=names)
        report |= {row.subject: row for row in looked_at}
    return list(report.values())


def judge(
    item: Taken,
    account: Account | None,
    history: Sequence[Change],
    kept: Sequence[Kept],
    asked: Asked,
    *,
    name_taken: bool = False,
) -> Verdict | None:
    """Decide what becomes of an account; None if nothing made the link that is to be taken back.

    What people edited here since stays, and so does what is kept no longer. An account that would be switched on stays
    inactive unless it was counted in this version.
    """
    linked = _made_at(item, history)
    if linked is None:
        return None
    before, writes, since = dict(history[linked].before), history[linked:], history[linked + 1 :]
    own = next((n for n, change in enumerate(writes) if change.by == by_undo(asked.undo)), None)
    if own is not None:
        return _did(writes[:own], writes[own], kept, asked)
    if account is None or not _has(account, since, item.identity):
        return _again(account, writes, kept, asked) or _gone(account, since)
    if edited := _edited_key(account.link, since):
        before["externalId"] = account.external_id
    if asked.keeps_attributes:
        return replace(_released(writes), after=restored(account, before, {}, item.identity))
    restoration = restorable(writes, kept)
    values = dict(restoration.values)
    named = [_without_name(values)] if name_taken and "userName" in values else []
    after = restored(account, before, values, item.identity)
    activates = after.active and not account.active
    inactive = activates and asked.switched_on.get(account.id) != account.etag
    if inactive:
        after = after.with_document(after.document() | {"active": False})
    verdict = _verdict(restoration, named, edited=edited, inactive=inactive)
    return replace(verdict, after=after, activates=activates)


def restorable(writes: Sequence[Change], kept: Sequence[Kept]) -> Restoration:
    """Return what can be given back of what provisioning changed: the values before its first change.

    `writes` are an account's changes from its link on, which may have written attributes, too. Where somebody edited an
    attribute here in between, that is the value before provisioning's next change, if any.
    """
    by_number = {one.number: one for one in kept}
    values: dict[str, Any] = {}
    here, lost = set[str](), set[str]()
    for change in writes:
        if change.number in by_number:
            values = {**by_number[change.number].values, **values}
        elif change.action in _HERE:
            touched = {name for name in values if {name, extension_of(name)} & {*change.attributes}}
            here |= touched | (lost & {*change.attributes})
            lost -= {*change.attributes}
            values = {name: value for name, value in values.items() if name not in touched}
        else:
            lost |= {*change.attributes} - _NOT_KEPT
    values = {n: value for n, value in values.items() if n != "externalId" and not {n, extension_of(n)} & lost}
    here = {extension_of(name) or name for name in here - values.keys() - {"externalId"}}
    return Restoration(values, here, lost)


def restored(account: Account, before: Any, values: Mapping[str, Any], identity: str) -> Account:
    """Return an account with the link state of before it was linked, which the history keeps, and with old values.

    The rest stays. The account is parted from the identity: only a person joins the two again.
    """
    document = account.document()
    _give_back(document, values)
    document.pop("externalId", None)
    if before["externalId"] is not None:
        document["externalId"] = before["externalId"]
    evidence = SignInEvidence.from_json(values[EVIDENCE]) if EVIDENCE in values else account.evidence
    return account.with_document(
        document,
        status=Status(before["status"]),
        link=Link.from_json(before["link"]) if before["link"] else None,
        retired=before.get("retired", False),
        retired_as=account.retired_as if before.get("retired") else None,
        evidence=evidence,
        parted=account.parted_from(identity),
    )


def _give_back(document: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put old values into a document, and take out what had none; `schemas` then names the extensions that it has."""
    for name, value in values.items():
        urn = extension_of(name)
        holder = document.setdefault(urn, {}) if urn else document
        attribute = name[len(urn) + 1 :] if urn else name
        if name == EVIDENCE:
            continue
        if value is None:
            holder.pop(attribute, None)
        else:
            holder[attribute] = value
    for urn in sorted({extension_of(name) for name in values} - {""}):
        others = [schema for schema in document[SCHEMAS] if schema != urn]
        if not document[urn]:
            del document[urn]
            document[SCHEMAS] = others
        elif urn not in document[SCHEMAS]:
            document[SCHEMAS] = [*others, urn]


def _edited_key(link: object, since: Sequence[Change]) -> bool:
    """Tell whether the externalId of an account without the link, which SCIM deleted, is what people wrote here."""
    return not link and any(change.action in _HERE and "externalId" in change.attributes for change in since)


def _was_active(values: Mapping[str, Any]) -> bool:
    """Tell whether an account was active before provisioning changed that: one that does not say so is, too."""
    return values.get("active", False) is not False


def _made_at(item: Taken, history: Sequence[Change]) -> int | None:
    """Return the place in a history of the last change that made the link, None for none."""
    return next((n for n in reversed(range(len(history))) if item.made(history[n])), None)


def _has(account: Account, since: Sequence[Change], identity: str) -> bool:
    """Tell whether an account still has the link, or lost it to SCIM's DELETE alone."""
    changes = [change for change in since if "link" in change.attributes]
    if any(change.action not in _BY_SCIM for change in changes):
        return False
    if account.link is None:
        return account.retired and bool(changes) and changes[-1].action == "retire"
    return fold(account.link.identity) == fold(identity)


def _again(account: Account | None, writes: Sequence[Change], kept: Sequence[Kept], asked: Asked) -> Verdict | None:
    """Return the verdict on an account that an earlier undo left inactive, where nobody touched it since, or None."""
    end = next((n for n, change in enumerate(writes) if change.action == "undo"), None)
    if account is None or account.link or account.retired or account.active or end is None:
        return None
    if any({"active", "link"} & {*change.attributes} for change in writes[end + 1 :]):
        return None
    values = restorable(writes[:end], kept).values
    if not _was_active(values):
        return None
    if asked.switched_on.get(account.id) == account.etag:
        document = account.document()
        _give_back(document, {"active": values["active"]})
        reason = "The account is active again, as it was before it was linked."
        return Verdict(ACTIVATED, reason, account.with_document(document), True)
    return Verdict(UNCHANGED, f"The link was taken back before; {_STAYS_INACTIVE}", activates=True)


def _did(writes: Sequence[Change], own: Change, kept: Sequence[Kept], asked: Asked) -> Verdict:
    """Return the verdict that this undo came to before, by the change that it made: its slice runs again."""
    if not own.before:  # it left the link's state alone
        return Verdict(ACTIVATED, "The account is active again, as it was before it was linked.")
    if asked.keeps_attributes:
        return _released(writes)
    before_own = [one for one in kept if one.number < own.number]
    restoration = restorable(writes, before_own)
    # Each change of `active` turns it round, so what provisioning left is the opposite of what it replaced last.
    actives = [one.values["active"] for one in before_own if "active" in one.values]
    was_off = bool(actives) and actives[-1] is not False
    inactive = was_off and _was_active(restoration.values) and "active" not in own.attributes
    former, left = restoration.values.get("userName"), own.before.get("userName")
    taken = former is not None and former != left and "userName" not in own.attributes
    edited = _edited_key(own.before["link"], writes[1:])
    return _verdict(restoration, [_NAME_TAKEN] if taken else [], edited=edited, inactive=inactive)


def _released(writes: Sequence[Change]) -> Verdict:
    """Return the verdict on an account whose link is taken back while its attributes stay."""
    names = {name for change in writes if change.action not in _HERE for name in change.attributes} - _NOT_KEPT
    return Verdict(RELEASED, f"{_list(names)}: {_STAYS}") if names else Verdict(UNDONE, _UNDONE)


def _verdict(restoration: Restoration, named: Sequence[str], *, edited: bool, inactive: bool) -> Verdict:
    """Return the verdict on an account whose link is taken back, by what could not be given back with it."""
    left = list(named)
    if here := {*restoration.here, *(["externalId"] if edited else [])}:
        left.append(f"{_list(here)}: edited here since, and left as it is")
    if restoration.lost:
        left.append(f"{_list(restoration.lost)}: left as provisioning wrote it, because the value before is not kept")
    if inactive:
        return Verdict(INACTIVE, "; ".join([f"The link is taken back; {_STAYS_INACTIVE}", *left]))
    return Verdict(PARTLY, "; ".join(["The link is taken back", *left]) + ".") if left else Verdict(UNDONE, _UNDONE)


def _gone(account: Account | None, since: Sequence[Change]) -> Verdict:
    """Return the verdict on an account that lost the link: what took it away."""
    changes = [change for change in since if "link" in change.attributes and change.action != "confirm"]
    end = changes[0] if changes else None
    if changes and account and account.link is None and not account.retired:
        end = changes[-1]  # it may have been linked elsewhere first, but was taken back in the end
    if end is not None and end.action in ("undo", "release"):
        return Verdict(UNCHANGED, f"The link was taken back before ({end.action} by {end.by}).")
    if account is None:
        return Verdict(REFUSED, "The account was deleted since.")
    by = next((change.by for change in changes if change.action not in _BY_SCIM), "others")
    return Verdict(REFUSED, f"The account was linked anew since, by {by}: release it, if need be.")


_UNDONE = "The account is what it was before it was linked."
_STAYS = "provisioning changed it since; that stays, and the account is managed here again."
_NAME_TAKEN = "userName: another account has the former one by now"
_STAYS_INACTIVE = (
    'it stays inactive, as provisioning left it: {"activate": …} with the number of such accounts switches them on, '
    "an edit of `active` this one"
)


def _without_name(values: dict[str, Any]) -> str:
    del values["userName"]
    return _NAME_TAKEN


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _gives_back(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.after is not None and verdict.after.link is None


def _is_name_taken(outcome: object) -> bool:
    return isinstance(outcome, AlreadyExists) and outcome.attribute == "userName"


def _asked(job: Job, switched_on: Mapping[str, str] | None = None) -> Asked:
    return Asked(job.id, keeps_attributes(job), switched_on or {})


async def _pages(directory: Directory, job: Job, slice_: Slice) -> AsyncIterator[tuple[int, list[Taken]]]:
    """Yield the links that a slice of the run's plan made or may have made, with their bucket, some at a time.

    Nothing more comes once the undo is cancelled.
    """
    run = await directory.jobs.get(job.options["run"]) if "run" in job.options else None
    for bucket in slice_.buckets if run is None or run.approved else ():
        async for some in _planned(directory, run, bucket) if run else _adopted(directory, bucket):
            if some and (await directory.jobs.get(job.id)).cancelled_by:
                return
            yield bucket, some


async def _planned(directory: Directory, run: Job, bucket: int) -> AsyncIterator[list[Taken]]:
    async for rows in planned_links(directory, run, bucket):
        yield [_taken(run, row) for row in rows]


async def _adopted(directory: Directory, bucket: int) -> AsyncIterator[list[Taken]]:
    """Yield the links that creates over SCIM made of a bucket's accounts, one an account: its last one."""
    last: dict[str, Adoption] = {}
    async for adoptions in directory.adoptions.scan(bucket):
        accounts = await directory.accounts.find_many([one.account for one in adoptions])
        for one, account in zip(adoptions, accounts, strict=True):
            known = last.get(one.account)
            if known is None or one.made(account) or (one.at > known.at and not known.made(account)):
                last[one.account] = one
    for some in in_parts(list(last.values()), ADOPTIONS_AT_ONCE):
        accounts = await directory.accounts.find_many([one.account for one in some])
        yield [_taken_of(one, account) for one, account in zip(some, accounts, strict=True)]


def _taken(run: Job, row: PlanRow) -> Taken:
    def made(change: Change) -> bool:
        return (change.action, change.by) == ("link", by_run(run.id))

    shown = {name: row.shown[name] for name in ("identity", "account") if name in row.shown}
    late = row.version if not row.outcome and run.state is not State.DONE else ""
    return Taken(account_of(row), row.subject, made, shown, late, row)


def _taken_of(adoption: Adoption, account: Account | None) -> Taken:
    def made(change: Change) -> bool:
        return (change.action, change.by) == ("adopt", adoption.by)

    shown = {"account": {"id": adoption.account, "userName": account.user_name if account else ""}}
    return Taken(adoption.account, adoption.identity, made, {"identity": {"objectId": adoption.identity}, **shown})


async def _switched_on(directory: Directory, job: Job, bucket: int) -> AsyncIterator[PlanRow]:
    """Yield the accounts of a bucket that the undo may switch on: those that were counted, if a number was named."""
    if "activate" in job.options:
        async for rows in directory.plan(job.id + SWITCHED_ON).decided(bucket, ACTIVATING):
            for row in rows:
                yield row


async def _read(
    directory: Directory, some: Sequence[Taken]
) -> list[tuple[Taken, Account | None, Sequence[Change], Sequence[Kept]]]:
    """Return for each link its account, the account's history, and what was kept of it since the link."""
    accounts = await directory.accounts.find_many([item.account for item in some])
    since = await directory.term_begin()
    found: list[tuple[Taken, Account | None, Sequence[Change], Sequence[Kept]]] = []
    for batch in in_parts(list(zip(some, accounts, strict=True)), HISTORIES_AT_ONCE):
        histories = await together(*(directory.accounts.history(item.account) for item, _ in batch))
        kept = await together(
            *(_kept(directory, item, history, since) for (item, _), history in zip(batch, histories, strict=True))
        )
        found += [(*one, history, some_) for one, history, some_ in zip(batch, histories, kept, strict=True)]
    return found


async def _kept(directory: Directory, item: Taken, history: Sequence[Change], since: str) -> Sequence[Kept]:
    """Return what was kept of an account from its link on; nothing is read where nothing but the link changed."""
    linked = _made_at(item, history)
    if linked is None or not {name for change in history[linked:] for name in change.attributes} - _NOT_KEPT:
        return ()
    return await list_kept(directory.tables, directory.keys, item.account, history[linked].number, since)


def _report(item: Taken, verdict: Verdict) -> PlanRow:
    return PlanRow(verdict.outcome, item.account, {"reason": verdict.reason, **item.shown})
