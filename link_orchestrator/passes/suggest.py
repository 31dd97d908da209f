"""The pass that suggests counterparts to a person, for identities and accounts that nothing matches.

Of the two sides, the smaller one is in memory, as an index of what people may have in common, and the larger one is
read past it. Who is alike is told in the rows of both, at most three a row. A suggestion links nobody: a review has to
name it, and is judged then. The pass runs in one slice, and only where both sides have somebody. It writes the same
again if it is run again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from link_orchestrator.messages import Slice
from link_orchestrator.passes.created_alike import SUGGESTED, is_free, tell_created
from link_orchestrator.run import WARNINGS, policy_of
from link_orchestrator.staged import LEFT
from link_orchestrator.warnings import PROBABLE, ROW
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.identity import Identity
from shared.directory.matching.likeness import (
    MOST_SUGGESTIONS,
    Index,
    Likeness,
    Person,
    among,
    likeness,
)
from shared.directory.records.model import Account
from shared.directory.work.findings import Finding
from shared.directory.work.jobs import Job
from shared.directory.work.plan import LIKELY_SCORE, row_id
from shared.tables.access import in_parts
from shared.turns import Turns

MOST_LEFT: Final = 50_000
"""People of the smaller side up to which anybody is suggested, and of the larger one to whom somebody is: so many are
no work for a person, and are two kilobytes each in memory."""
LIKELIEST: Final = "likeliest"
"""Name under which the rows with the highest scores are noted, of each side."""
MOST_LIKELIEST: Final = 20
"""Rows of a side that are noted so, for a report to show."""
ACCOUNTS_AT_ONCE: Final = 500
"""Accounts that are read at once."""
ROWS_AT_ONCE: Final = 1_000
"""Rows whose suggestions are written at once."""


class _Known(NamedTuple):
    """What stays in memory of somebody who is alike: the bucket of the row, the names, how they are shown."""

    bucket: int
    id: str
    names: tuple[tuple[str, ...], ...]
    shown: Mapping[str, Any]


class _Left(NamedTuple):
    """Somebody without a match: the bucket of the row, what is compared, and how the other side's rows show it."""

    bucket: int
    person: Person
    shown: Mapping[str, Any]

    def known(self) -> _Known:
        """Return what stays in memory."""
        return _Known(self.bucket, self.person.id, self.person.names, self.shown)


Read = Callable[[Directory, Job], AsyncIterator[_Left]]


async def suggest(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Write suggestions into the rows of accounts and identities without a match; count the rows that have any.

    So it does for accounts that provisioning made though an earlier plan suggested another one (created_alike.py).
    """
    created = await tell_created(directory, job)
    counts = await directory.jobs.total(job.id)
    accounts, identities = (
        _Side(DecisionKind.NO_IDENTITY, "account", _accounts),
        _Side(DecisionKind.NO_ACCOUNT, "identity", _identities),
    )
    if not (counts.get(accounts.decision.value) and counts.get(identities.decision.value)):
        return created
    less_accounts = counts.get(accounts.decision.value, 0) <= counts.get(identities.decision.value, 0)
    few, many = (accounts, identities) if less_accounts else (identities, accounts)
    if counts.get(few.decision.value, 0) > MOST_LEFT:
        return created
    return created + await _Search(directory, job, few, many).run()


class _Side(NamedTuple):
    """Accounts or identities: the decision of their rows, what suggestions call one, and what reads them."""

    decision: DecisionKind
    name: str
    read: Read


class _Search:
    """The people of one side, held in memory, and a way past them for those of the other side."""

    def __init__(self, directory: Directory, job: Job, few: _Side, many: _Side) -> None:
        self._directory = directory
        self._job = job
        self._few = few
        self._many = many
        self._counts: Counter[str] = Counter()
        self._found = Finding()

    async def run(self) -> Counter[str]:
        held, turns = [left async for left in self._few.read(self._directory, self._job)], Turns()
        if not held:
            return self._counts
        index = Index([left.person for left in held])
        bearers: Counter[tuple[str, ...]] = Counter()
        mine: defaultdict[int, list[_Found]] = defaultdict(list)
        theirs: list[tuple[_Known, list[_Found]]] = []
        async for left in self._many.read(self._directory, self._job):
            bearers.update(name for name in left.person.names if name in index.bearers)
            some: list[_Found] = []
            known = left.known()
            for place in index.near(left.person):
                if found := likeness(left.person, held[place].person):
                    some.append(_Found(found, held[place].known()))
                    if len(best := mine[place]) < MOST_SUGGESTIONS or found.score >= best[-1].likeness.score:
                        mine[place] = _best([*best, _Found(found, known)])
            if some and len(theirs) < MOST_LEFT:
                theirs.append((known, _best(some)))
            await turns.step()
        bearers |= index.bearers
        await self._tell(self._many, self._few, theirs, bearers)
        # In the order in which they were read: rows of one bucket are written together.
        told = ((held[place].known(), mine[place]) for place in sorted(mine))
        await self._tell(self._few, self._many, told, bearers)
        await self._directory.findings.write(self._job.id, "suggest", {PROBABLE: self._found})
        self._counts[WARNINGS + PROBABLE] = self._found.count
        return self._counts

    async def _tell(
        self,
        side: _Side,
        other: _Side,
        found: Iterable[tuple[_Known, list[_Found]]],
        bearers: Mapping[tuple[str, ...], int],
    ) -> None:
        """Write into rows of one side who of the other may be whose; how many have a name is in `bearers`."""
        rows: defaultdict[int, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
        likeliest, turns = list[tuple[float, _Known]](), Turns()
        for number, (left, some) in enumerate(found, 1):
            shown = rows[left.bucket][left.id] = _shown(other, left, some, bearers)
            if side.decision is DecisionKind.NO_ACCOUNT and shown[0]["score"] * 100 >= LIKELY_SCORE:
                self._warn(left, shown[0])
            likeliest.append((shown[0]["score"], left))
            if number % ROWS_AT_ONCE == 0:
                await self._write(side, rows)
                rows.clear()
                likeliest = _likeliest(likeliest)
            await turns.step()
        await self._write(side, rows)
        keys, decision = self._directory.keys, side.decision.value
        noted = [row_id(keys, left.bucket, decision, left.id) for _, left in _likeliest(likeliest)]
        await self._directory.plan(self._job.id).mark(LIKELIEST, noted)

    def _warn(self, left: _Known, likeliest: Mapping[str, Any]) -> None:
        """Keep that an account is probably that of somebody whom provisioning would create."""
        told = self._directory.keys.fingerprint(f"{PROBABLE} {fold(left.id)} {likeliest['account']['id']}")
        example = {"identity": left.shown["userPrincipalName"], "account": likeliest["account"]["userName"]}
        example[ROW] = row_id(self._directory.keys, left.bucket, DecisionKind.NO_ACCOUNT.value, left.id)
        self._found.add(told, example)

    async def _write(self, side: _Side, rows: Mapping[int, Mapping[str, list[dict[str, Any]]]]) -> None:
        plan = self._directory.plan(self._job.id)
        for bucket, some in rows.items():
            await plan.record_suggestions(bucket, side.decision.value, some)
            self._counts[SUGGESTED + side.decision.value] += len(some)


class _Found(NamedTuple):
    """That somebody is alike."""

    likeness: Likeness
    left: _Known


def _best(some: Iterable[_Found]) -> list[_Found]:
    """Return the best of those who are alike, the best one first; of equals in the order of their ids."""
    return sorted(some, key=lambda one: (-one.likeness.score, one.left.id))[:MOST_SUGGESTIONS]


def _likeliest(some: Iterable[tuple[float, _Known]]) -> list[tuple[float, _Known]]:
    """Return those of a side who have the highest scores; of equals in the order of their ids."""
    return nsmallest(MOST_LIKELIEST, some, key=lambda one: (-one[0], one[1].id))


def _shown(
    other: _Side, left: _Known, some: Iterable[_Found], bearers: Mapping[tuple[str, ...], int]
) -> list[dict[str, Any]]:
    """Return suggestions as a row shows them: the score is a share, so that 1 would be certain."""
    shown: list[dict[str, Any]] = []
    for one in some:
        found, namesakes = among(one.likeness, {*left.names, *one.left.names}, bearers)
        document = {other.name: one.left.shown, "score": found.score / 100, "alike": [*found.alike]}
        shown.append(document | ({"namesakes": namesakes} if namesakes else {}))
    return sorted(shown, key=lambda one: -one["score"])


async def _identities(directory: Directory, job: Job) -> AsyncIterator[_Left]:
    """Yield the identities that no account matches."""
    stage, plan, decision = directory.stage(job.id + LEFT), directory.plan(job.id), DecisionKind.NO_ACCOUNT.value
    for bucket in range(directory.keys.buckets):
        rows = await plan.keys(bucket, [decision])
        if not rows:
            continue
        async for items in stage.read(bucket):
            for item in items:
                # A slice that ran twice staged it twice, and may have decided otherwise once.
                if (key := plan.key(decision, item["id"])) in rows:
                    rows.remove(key)
                    yield _left_identity(bucket, Identity.from_json(item))


def _left_identity(bucket: int, identity: Identity) -> _Left:
    whole = f"{identity.given_name or ''} {identity.surname or ''}"
    proxies = (address.partition(":")[2] for address in identity.proxy_addresses if address[:5].lower() == "smtp:")
    addresses = (identity.user_principal_name, identity.mail or "", *proxies, *identity.other_mails)
    names = (identity.display_name or "", whole)
    shown = {"objectId": identity.object_id, "userPrincipalName": identity.user_principal_name}
    if identity.display_name:
        shown["displayName"] = identity.display_name
    return _Left(bucket, Person.of(identity.object_id, names, addresses, identity.employee_id), shown)


async def _accounts(directory: Directory, job: Job) -> AsyncIterator[_Left]:
    """Yield the accounts that no identity matches, and that could be linked."""
    plan, policy = directory.plan(job.id), policy_of(job)
    for bucket in range(directory.keys.buckets):
        async for rows in plan.decided(bucket, DecisionKind.NO_IDENTITY.value):
            for batch in in_parts([row.subject for row in rows], ACCOUNTS_AT_ONCE):
                for account in await directory.accounts.find_many(batch):
                    if account and is_free(account, policy):
                        yield _left_account(bucket, account)


def _left_account(bucket: int, account: Account) -> _Left:
    document = account.document()
    name = document.get("name") or {}
    whole = f"{name.get('givenName') or ''} {name.get('familyName') or ''}"
    names = (document.get("displayName") or "", name.get("formatted") or "", whole)
    addresses = (account.user_name, *account.emails, *account.evidence.verified_emails)
    shown = account.shown()
    if shown_name := next((one for one in names if one.strip()), ""):
        shown["displayName"] = shown_name
    return _Left(bucket, Person.of(account.id, names, addresses, account.employee_number), shown)
