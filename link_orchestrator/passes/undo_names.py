"""The last pass of an undo: names that are free by now, or that several hold of one another, go back, too.

The passes before it take one after the other back. Whoever got a name from provisioning may still have it then: such a
name is owed. Once everybody was taken back, whoever has an owed name is owed another one, or keeps it for good. So a
chain of them is gone through from its end, and in a ring one bears a name in between that nobody else has. What an undo
that was cut off owed, the next undo of the same links gives back, unless it is to keep attributes as they are. What the
undos of other links owe goes along where that is in the way: names may have passed between accounts of two runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar

from link_orchestrator.messages import Slice
from link_orchestrator.passes.undo_verdicts import COUNTED, GIVEN_BACK, INACTIVE, UNCHANGED, USER_NAME, keeps_attributes
from link_orchestrator.run import by_undo
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound
from shared.directory.keys import fold
from shared.directory.records.model import Account, Resource, Status
from shared.directory.records.resources import Resources, retry_stale
from shared.directory.work.jobs import Job
from shared.directory.work.plan import Plan, PlanRow
from shared.tables.access import in_waves

R = TypeVar("R", bound=Resource)

DISPLAY_NAME: Final = "displayName"
OWED: Final = "owed"
_OWED_OF: Final = "owed"
"""What the name of the list of what is owed ends in, behind the run's id."""
_ADOPTIONS: Final = "adoptions"
"""What that name begins with where the links were made by creates over SCIM."""


@dataclass(frozen=True, slots=True)
class Owed:
    """That an account or a group is owed its former name; in the bucket of its row in the report.

    `attribute` is USER_NAME or DISPLAY_NAME, `left` the name that the undo left it with. The report of the undo says
    what is `told`, and `then` once the name is back: an outcome and why, beside what is `shown`. `planned` is the row
    of the run's plan, by decision and subject, that says what became of the link, if any. `is_told` says that the name
    is back, and told so: what people make of it from then on is theirs.
    """

    subject: str
    attribute: str
    name: str
    left: str
    undo: str
    told: tuple[str, str]
    then: tuple[str, str]
    shown: Mapping[str, Any]
    planned: tuple[str, str] | None = None
    is_told: bool = False

    @property
    def between(self) -> str:
        """The name that it bears while others of its ring get theirs."""
        return f"{self.subject}.{self.undo}"

    def to_row(self) -> PlanRow:
        """Return the row that keeps it."""
        return PlanRow(OWED, self.subject, asdict(self))

    @classmethod
    def from_row(cls, row: PlanRow) -> Owed:
        """Return what `to_row` kept."""
        shown: dict[str, Any] = dict(row.shown)
        pairs = {name: tuple(shown[name]) for name in ("told", "then", "planned") if shown[name]}
        return cls(**shown | pairs)

    def is_due(self, one: Resource | None) -> bool:
        """Tell whether it has no other name yet, and is managed here: what people did since stays."""
        name = self._name_here(one)
        # An undo that was cut off may have left it with the name in between.
        return name == self.left or name.startswith(f"{self.subject}.")

    def is_back(self, one: Resource | None) -> bool:
        """Tell whether it has its former name, and is managed here."""
        return self._name_here(one) == self.name

    def _name_here(self, one: Resource | None) -> str:
        return str(one.document()[self.attribute]) if one and one.status is Status.LOCAL else ""


@dataclass(frozen=True, slots=True)
class Debt:
    """What is owed, and in which list and bucket it is noted."""

    run: str
    bucket: int
    owed: Owed


def debts_of(directory: Directory, job: Job) -> Plan:
    """Return the list of what undos of the same links owe."""
    return debts_about(directory, _links_of(job))


def debts_about(directory: Directory, run_id: str) -> Plan:
    """Return the list of what undos of a run owe."""
    return directory.plan(run_id + _OWED_OF)


def _links_of(job: Job) -> str:
    return str(job.options.get("run", _ADOPTIONS))


async def give_names_back(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Give back the names that are owed, as far as nobody else has them; tell so in the report and the run's plan."""
    if keeps_attributes(job):
        return Counter()
    debts = await _debts(directory, job, slice_)
    found = await _find_all(directory, [debt.owed for debt in debts.values()])
    due = {subject: debt.owed for subject, debt in debts.items() if debt.owed.is_due(found[subject])}
    wants = {subject: _key(one.attribute, one.name) for subject, one in due.items()}
    has = {subject: _key(one.attribute, _name_of(found[subject], one)) for subject, one in due.items()}
    own = {subject for subject, debt in debts.items() if debt.run == _links_of(job)}
    for chain, first in chains(wants, has):
        if own.isdisjoint(chain):
            continue  # nobody asked for that
        if (await directory.jobs.get(job.id)).cancelled_by:
            break
        if first:
            await _rename(directory, job, due[first], due[first].between)
        for subject in chain:
            await _rename(directory, job, due[subject], due[subject].name)
        if first:  # where it cannot have its own name after all
            await _rename(directory, job, due[first], due[first].left)
    counts: Counter[str] = Counter()
    now = await _find_all(directory, [debt.owed for debt in debts.values()])
    back = [debt for subject, debt in debts.items() if debt.owed.is_told or debt.owed.is_back(now[subject])]
    for told in await in_waves(_tell(directory, job, debt) for debt in back):
        counts.update(told)
    return counts


async def _debts(directory: Directory, job: Job, slice_: Slice) -> Mapping[str, Debt]:
    """Return by subject what the undo owes, and behind that what the undos of other links do."""
    links = _links_of(job)
    others = sorted({_links_of(one) for one in await directory.jobs.of_kind(job.kind)} - {links})
    listed = [await in_waves(_owed_in(directory, job, bucket) for bucket in slice_.buckets)]
    listed += [await in_waves(_owed_elsewhere(directory, run, bucket) for bucket in slice_.buckets) for run in others]
    debts: dict[str, Debt] = {}
    for run, of_buckets in zip([links, *others], listed, strict=True):
        for bucket, some in zip(slice_.buckets, of_buckets, strict=True):
            for owed in some:
                debts.setdefault(owed.subject, Debt(run, bucket, owed))
    return debts


def chains(wants: Mapping[str, Any], has: Mapping[str, Any]) -> Iterator[tuple[Sequence[str], str | None]]:
    """Yield who wants what another has, in the order in which they can have it, and in a ring who gives up first.

    Each wants one thing and has one; what nobody here has may be free.
    """
    holders = {thing: owner for owner, thing in has.items()}
    seen: set[str] = set()
    for start in wants:
        path: list[str] = []
        owner = start
        while owner in wants and owner not in seen:
            seen.add(owner)
            path.append(owner)
            owner = holders.get(wants[owner], "")
        if path:
            yield path[::-1], owner if owner in path else None


async def _owed_in(directory: Directory, job: Job, bucket: int) -> list[Owed]:
    """Return what is owed in a bucket. What an earlier undo owed is this one's from now on, if it is still due.

    So is what it gave back when it was cut off, before it told so.
    """
    debts = debts_of(directory, job)
    listed = [Owed.from_row(row) async for rows in debts.decided(bucket, OWED) for row in rows]
    owed = [one for one in listed if one.undo == job.id]
    if former := [one for one in listed if one.undo != job.id and not one.is_told]:
        found = await _find_all(directory, former)
        unchanged = await directory.plan(job.id).keys(bucket, [UNCHANGED, COUNTED[UNCHANGED]])
        still = [(one, found[one.subject]) for one in former]
        inherited = [
            _inherit(directory, job, one, resource, unchanged)
            for one, resource in still
            if one.is_due(resource) or one.is_back(resource)
        ]
        await debts.write(bucket, [one.to_row() for one in inherited])
        owed += inherited
    return owed


async def _owed_elsewhere(directory: Directory, run: str, bucket: int) -> list[Owed]:
    """Return what undos of other links owe in a bucket."""
    debts = debts_about(directory, run)
    owed = [Owed.from_row(row) async for rows in debts.decided(bucket, OWED) for row in rows]
    found = await _find_all(directory, owed)
    return [one for one in owed if not one.is_told and one.is_due(found[one.subject])]


def _inherit(directory: Directory, job: Job, one: Owed, resource: Resource | None, unchanged: Collection[str]) -> Owed:
    """Return what another undo owed as this one's, whose report says that nothing was changed, or something else.

    Of an account that was left inactive, and that somebody switched on since, there is nothing new to tell.
    """
    told = UNCHANGED if one.attribute == USER_NAME else COUNTED[UNCHANGED]
    is_switched_on = one.then[0] == INACTIVE and isinstance(resource, Account) and resource.active
    if is_switched_on or directory.plan(job.id).key(told, one.subject) not in unchanged:
        told = ""
    return replace(one, undo=job.id, told=(told, ""))


async def told_in(directory: Directory, job: Job, bucket: int) -> set[str]:
    """Return the accounts and groups of a bucket that got their names back: the report of the undo says so."""
    return {
        row.subject
        async for rows in debts_of(directory, job).decided(bucket, OWED)
        for row in rows
        if _is_told_by(job, row)
    }


def _is_told_by(job: Job, row: PlanRow) -> bool:
    one = Owed.from_row(row)
    return one.undo == job.id and one.is_told


async def _tell(directory: Directory, job: Job, debt: Debt) -> Mapping[str, int]:
    """Say in the report, and in the run's plan, that a name is back; return what that changes about the counts.

    The report of another undo stays: it says what that one came to.
    """
    one, bucket = debt.owed, debt.bucket
    (told, _), (outcome, reason) = one.told, one.then
    # First: a twin of the passes before, which may come late, leaves the report to this one from now on.
    await debts_about(directory, debt.run).write(bucket, [replace(one, is_told=True).to_row()])
    if not told:
        return {}
    if one.planned and outcome in GIVEN_BACK:
        decision, subject = one.planned
        rows = [PlanRow(decision, subject, {})]
        await directory.plan(debt.run).record_undone(bucket, {subject: f"{outcome} by {job.id}"}, rows)
    if debt.run != _links_of(job):
        return {}
    report = directory.plan(job.id)
    await report.write(bucket, [PlanRow(outcome, one.subject, {"reason": reason, **one.shown})])
    if told == outcome:
        return {}
    await report.remove(bucket, [report.key(told, one.subject)])
    return {told: -1, outcome: 1}


async def _rename(directory: Directory, job: Job, one: Owed, name: str) -> None:
    """Give an account or a group a name, unless another has it, or somebody changed it meanwhile."""
    if one.attribute == USER_NAME:
        await _rename_in(directory.accounts, job, one, name)
    else:
        await _rename_in(directory.groups, job, one, name)


async def _rename_in(store: Resources[R], job: Job, one: Owed, name: str) -> None:
    async def act(resource: R) -> None:
        if one.is_due(resource):
            after = resource.with_document(resource.document() | {one.attribute: name})
            await store.replace(resource, after, by=by_undo(job.id), action="undo")

    with suppress(NotFound, AlreadyExists):
        await retry_stale("resource", lambda: store.get_any(one.subject), act)


async def _find_all(directory: Directory, owed: Collection[Owed]) -> Mapping[str, Resource | None]:
    found: list[Resource | None] = await in_waves(_find(directory, one) for one in owed)
    return {one.subject: resource for one, resource in zip(owed, found, strict=True)}


async def _find(directory: Directory, one: Owed) -> Resource | None:
    if one.attribute == USER_NAME:
        return await directory.accounts.find(one.subject)
    return await directory.groups.find(one.subject)


def _name_of(resource: Resource | None, one: Owed) -> str:
    return str(resource.document()[one.attribute]) if resource else ""


def _key(attribute: str, name: str) -> tuple[str, str]:
    return attribute, fold(name)
