"""What a person should know of a plan before it is approved: each with a stable code, and how many it is about.

The passes find who it is about (passes/said.py), beside their counts. Once the plan is there, gather() puts that
together with what is known of the files, the mapping and provisioning, and the job keeps it. A person acknowledges a
warning with an approval. In a later run the same warning counts as acknowledged while it is unchanged, which is while
it has the same digest, and until a run is undone. What goes into a digest is what the person was told: of warnings
about rows the people and their number, of the others the values, or the level.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, NamedTuple

from link_orchestrator.files.numbers import MOST_SHORTER, padded_width, shorter
from link_orchestrator.prediction.check import People, check, sign_in_after
from link_orchestrator.problems import lacks_nobody
from link_orchestrator.run import (
    CARRIED,
    IDS_CARRIED,
    IDS_KNOWN,
    INACTIVE,
    NAMED,
    OWN_POLICY,
    WARNINGS,
    exclusions_unmatched,
    mapping_of,
    policy_of,
    reviews_of,
)
from link_orchestrator.unread import find_unread
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import Keys
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.policy import Policy, Rule
from shared.directory.text import counted
from shared.directory.work.findings import EXAMPLES, Finding
from shared.directory.work.jobs import UNDO, Job, State
from shared.directory.work.plan import LIKELY_SCORE, PlanRow
from shared.directory.work.reviews import EXCLUDE, LINK
from shared.json_text import dump

DISABLED, UNASSIGNED = "disabled", "unassigned"
"""Codes of people who are disabled in Entra, or not assigned to the application there."""
ROW_WARNINGS: Final = (INACTIVE, DISABLED, UNASSIGNED)
"""Codes of warnings that rows have."""
NAMES: Final = "userNameChanges"
NO_DOMAINS, OUTSIDE = "noVerifiedDomains", "outsideVerifiedDomains"
TRUST: Final = "trustEmails"
UNREAD, FILLERS, SHARED = "unreadRows", "fillers", "sharedValues"
SHORTENED: Final = "shortenedNumbers"
PADDED, PLAIN = "padded.", "plain."
"""Beginnings of the codes of findings that are no warnings: employee numbers with zeros before them, and others. Behind
it stands whose they are, an account's or an identity's, and how many digits they have."""
EXCLUSIONS: Final = "exclusionsUnmatched"
MET: Final = "exclusionsMet"
"""Code of a finding that is no warning: which entries of `excluded` name somebody who is there."""
STARTED: Final = "provisioningStarted"
SECOND: Final = "secondAccounts"
FOREIGN: Final = "foreignObjectIds"
PROBABLE: Final = "probableAccounts"
CREATED_ALIKE: Final = "createdAlike"
POLICY_CHANGED: Final = "policyChanged"
IMPORTED_SINCE: Final = "importedSince"

ROW: Final = "row"
"""What an example has, beside what is shown of it: the id of its row, which a review may settle."""
OF_OPEN_ROWS: Final = {
    TRUST: DecisionKind.REVIEW,
    OUTSIDE: DecisionKind.OUTSIDE_VERIFIED_DOMAINS,
    NO_DOMAINS: DecisionKind.OUTSIDE_VERIFIED_DOMAINS,
}
"""Warnings whose number is that of the plan, with the decision on the rows among which it was counted."""

CODES: Final = (
    POLICY_CHANGED, IMPORTED_SINCE, SECOND, PROBABLE, CREATED_ALIKE, NO_DOMAINS, OUTSIDE, TRUST, NAMES, INACTIVE,
    DISABLED, UNASSIGNED, UNREAD, FILLERS, SHORTENED, SHARED, EXCLUSIONS, FOREIGN, STARTED,
)  # fmt: skip
"""Codes of warnings in the order in which they are shown, before those of the mapping (prediction/check.py)."""
HARMFUL: Final = (
    "usersAreOff", "createsAreOff", "noMatching", "externalIdNotKey", "externalIdRefused", "externalIdNotFirst",
    "findsUnlinked", "adoptNeverReached", "userNameMissing", "activeMissing", "activeTurnedRound", "activeIgnoresScope",
    "nameIdDiffers",
)  # fmt: skip
"""Codes of what is wrong with a mapping that a plan warns of, too: people are lost by it, or changed."""
IMPACT: Final = "impact."
"""Prefix of counts of linked accounts of which the first cycle changes an attribute."""
NAME_KEPT: Final = WARNINGS + "nameKept"
"""Count of those of them whose sign-in name changes in case alone, of which nothing warns."""
NAMES_BEFORE: Final = WARNINGS + "namesBefore"
"""Count of the sign-in names that change of accounts that were linked before the run, by another one or by hand."""
LINKED_BEFORE, CASE_ALONE = "linkedBefore", "inCaseAlone"
"""What the values of that warning call them, and those that change in case alone, which it does not count."""
COUNTED: Final = {
    **{code: WARNINGS + code for code in (INACTIVE, UNASSIGNED, SECOND, PROBABLE)},
    NAMES: IMPACT + "userName",
}
"""Warnings whose number follows the reviews, with the count that has it."""

FIELDS: Final = {
    "excluded": "who is excluded",
    "setAside": "which accounts are set aside",
    "verifiedDomains": "the verified domains",
    "trustEmails": "which addresses count as verified",
    "rules": "the rules of matching",
    "nameIdSource": "what Entra sent as NameID",
    "foreignObjectIds": "whose the object ids of accounts are",
    "createBesideMatches": "what provisioning may create",
    "adoptOnCreate": "which accounts a create may link",
    "linkGroupsOnCreate": "which groups a create may link",
}
"""Attributes of a policy by which a plan decides or foretells, each in words. The others count as they are stored."""
LISTS: Final = ("excluded", "setAside", "verifiedDomains", "rules")
"""Those of them that are lists."""
_BROUGHT: Final = {"created": "accounts created", "updated": "accounts changed"}
"""What an import brings that a plan made before does not know, by its count, in words."""
LEFT_OUT: Final = ("excluded", "setAside")
"""Those by which the directory's policy leaves out whom a run links by a policy of its own (passes/left_out.py)."""

REFUSALS: Final = 100
"""Refused writes in the last days from which on provisioning counts as started."""
QUARANTINE: Final = 5_000
"""Failures from which on Entra weighs a quarantine.

https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-quarantine-status
"""
RECENT_DAYS: Final = 7
"""Days of refused writes that are looked at: a provisioning that was stopped before is none that runs."""
MOST_REFUSALS: Final = 10_000
"""Rows of refusals that are read."""
LOOKED_AT: Final = 200
"""Rows of a file's report among which examples of those are looked for that lack somebody."""
VALUES_SHOWN: Final = 10
"""Values of a warning that are shown, such as domains, each with its number of rows."""


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """A warning of a plan. `meaning` says what comes of it, where the text does not.

    `files` are the imports that it is about. `digest` is that of what it says; `known` is the one that was acknowledged
    last. Where the number is the plan's, persons have `decided` since about so many of the `rows` among which it was
    counted.
    """

    code: str
    text: str
    count: int
    remedy: str
    meaning: str = ""
    examples: Sequence[Mapping[str, Any]] = ()
    values: Mapping[str, int] | None = None
    files: Sequence[Mapping[str, Any]] = ()
    digest: str = ""
    known: Mapping[str, str] | None = None
    decided: int = 0
    rows: int = 0

    @property
    def acknowledged(self) -> bool:
        """Whether a person acknowledged what it says."""
        return bool(self.known) and (self.known or {})["digest"] == self.digest

    def to_json(self) -> dict[str, Any]:
        """Return the warning as the API shows it."""
        document: dict[str, Any] = {
            "code": self.code,
            "warning": self.text,
            "count": self.count,
            "examples": [{name: one[name] for name in one if name != ROW} for one in self.examples],
            "remedy": self.remedy,
        }
        if self.meaning:
            document["meaning"] = self.meaning
        if self.values:
            document["values"] = dict(self.values)
        if self.files:
            document["files"] = [*self.files]
        if self.decided:
            document["since"] = {"decided": self.decided, "rows": self.rows}
        if not self.digest:  # a plan of before there was such a thing is approved as it stands
            return document
        document |= {"digest": self.digest, "acknowledged": self.acknowledged}
        if self.acknowledged and self.known:
            document |= {"acknowledgedBy": self.known["by"], "acknowledgedAt": self.known["at"]}
            if person := self.known.get("person"):
                document["persons"] = {"acknowledged": person}
        return document


def warnings_of(job: Job) -> list[PlanWarning]:
    """Return what a planned run warns of."""
    if job.warned is None:
        return list(_of_earlier_version(job))
    order = {code: place for place, code in enumerate(CODES)}
    codes = sorted(job.warned, key=lambda code: order.get(code, len(order)))
    return [warned for code in codes if (warned := _warning(job, code, job.warned[code]))]


async def with_open_examples(directory: Directory, job: Job) -> Job:
    """Return a reviewed run whose warnings have those examples alone about which nobody has decided."""
    named = [one[ROW] for kept in (job.warned or {}).values() for one in kept.get("examples", ()) if ROW in one]
    if not job.reviewed or not named:
        return job
    found = zip(named, await reviews_of(directory, job.id).find_rows(named), strict=True)
    settled = {row_id for row_id, row in found if row and (row.review or {}).get("action") in (LINK, EXCLUDE)}

    def left(kept: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**kept, "examples": [one for one in kept.get("examples", ()) if one.get(ROW) not in settled]}

    return replace(job, warned={code: left(kept) for code, kept in (job.warned or {}).items()})


def open_warnings(job: Job) -> list[PlanWarning]:
    """Return those that nobody has acknowledged."""
    return [warned for warned in warnings_of(job) if warned.digest and not warned.acknowledged]


def acknowledgements(job: Job, codes: Iterable[str], by: str, at: str, person: str) -> dict[str, dict[str, str]]:
    """Return what is to be remembered of who acknowledges warnings of these codes; `person` is "" for a program."""
    told = set(codes)
    named = {"person": person} if person else {}
    return {
        warned.code: {"digest": warned.digest, "by": by, "at": at, "run": job.id, **named}
        for warned in open_warnings(job)
        if warned.code in told
    }


def with_acknowledged(job: Job, codes: Mapping[str, Mapping[str, str]]) -> Mapping[str, Any] | None:
    """Return a job's `warned` once these are acknowledged."""
    if job.warned is None or not codes:
        return job.warned
    return {code: {**kept, "known": codes[code]} if code in codes else kept for code, kept in job.warned.items()}


def without_people(warned: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a job's `warned` without its examples and who acknowledged, for when the plan's rows are not kept."""
    return warned and {code: {**_nameless(kept), "examples": []} for code, kept in warned.items()}


def _nameless(kept: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {name: value for name, value in kept.get("known", {}).items() if name != "person"}
    return {**kept, "known": known} if known else kept


def _warning(job: Job, code: str, kept: Mapping[str, Any]) -> PlanWarning | None:
    counts_rows = code in COUNTED
    count = job.counts.get(COUNTED[code], 0) if counts_rows else kept["count"]
    in_case = job.counts.get(NAME_KEPT, 0) if code == NAMES else 0
    count -= in_case
    if count < 1 and "text" not in kept:
        return None
    values = dict(list(kept.get("values", {}).items())[:VALUES_SHOWN])
    if code == NAMES:
        beside = {LINKED_BEFORE: job.counts.get(NAMES_BEFORE, 0), CASE_ALONE: in_case}
        values = {name: n for name, n in beside.items() if n}
    text, remedy = (kept["text"], kept["remedy"]) if "text" in kept else _said(job, code, count, values)
    told = f"{code} {kept['base']} {count if counts_rows else ''}"
    digest = _digest(told)
    meaning = _sign_in(job) if code == NAMES else ""
    files, known, of = kept.get("files", ()), kept.get("known"), OF_OPEN_ROWS.get(code, "")
    decided, rows = job.counts.get(f"decided.{of}", 0), job.counts.get(of, 0)
    return PlanWarning(
        code, text, count, remedy, meaning, kept["examples"], values, files, digest, known, decided, rows
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _of_earlier_version(job: Job) -> Iterable[PlanWarning]:
    inactive, carried = job.counts.get(WARNINGS + INACTIVE, 0), _foreign(job, job.counts)
    for code, count in ((INACTIVE, inactive), (FOREIGN, carried)):
        if count:
            yield PlanWarning(code, *_said_of(job, code, count, {}))


def _said_of(job: Job, code: str, count: int, values: Mapping[str, int]) -> tuple[str, int, str]:
    text, remedy = _said(job, code, count, values)
    return text, count, remedy


def _foreign(job: Job, counts: Mapping[str, int]) -> int:
    """Return how many accounts carry an object id, where nobody in the source has one of these."""
    known = counts.get(IDS_KNOWN, 0) or policy_of(job).foreign_object_ids
    return 0 if known else counts.get(IDS_CARRIED, 0)


def with_policy_changed(job: Job, stored: Policy) -> Job:
    """Return a plan that waits with the warning that the policy, as it is stored, is another than the plan goes by.

    It is not kept before the plan is approved: whoever changes the policy back has changed nothing.
    """
    if job.state is not State.PLANNED or job.warned is None:
        return job
    others = {code: kept for code, kept in job.warned.items() if code != POLICY_CHANGED}
    changed = _changed(policy_of(job), stored, own=bool(job.options.get(OWN_POLICY)))
    if not changed:
        return replace(job, warned=others)
    # A digest, since exclusions name people.
    base = _digest(dump([stored.to_json()[name] for name in changed]))
    kept = _kept(len(changed), base, values={FIELDS[name]: count for name, count in changed.items()})
    return replace(job, warned={**others, POLICY_CHANGED: kept})


def with_imported_since(job: Job, imports: Iterable[Job]) -> Job:
    """Return a plan that waits with the warning of what imports brought that ended since it was started.

    Like that of the policy it is not kept before the plan is approved: an undo takes an import back.
    """
    if job.state is not State.PLANNED or job.warned is None:
        return job
    others = {code: kept for code, kept in job.warned.items() if code != IMPORTED_SINCE}
    came = [one for one in imports if one.ended is not None and one.ended > job.started]
    values = {what: count for name, what in _BROUGHT.items() if (count := sum(one.counts.get(name, 0) for one in came))}
    if not values:
        return replace(job, warned=others)
    kept = _kept(sum(values.values()), dump(sorted(one.id for one in came)), values=values)
    return replace(job, warned={**others, IMPORTED_SINCE: kept})


def _changed(planned: Policy, stored: Policy, *, own: bool) -> dict[str, int]:
    """Return the attributes by which plans decide that differ, each with how many entries came, 1 for what has none.

    Of a policy of the run's `own` they are those alone by which the stored one leaves out somebody else.
    """
    before, after = planned.to_json(), stored.to_json()
    changed = {name for name in FIELDS if before[name] != after[name]}
    come = {name: len({*map(dump, after[name])}.difference(map(dump, before[name]))) for name in changed & {*LISTS}}
    if own:
        return {name: come[name] for name in LEFT_OUT if come.get(name)}
    return {name: come.get(name) or 1 for name in FIELDS if name in changed}


async def gather(directory: Directory, job: Job, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what a run warns of whose plan has just been made, as its job keeps it, by code.

    Each has `count`, `base` (what its digest is made of), `examples`, and `values` or `text` and `remedy` where it has
    some; `known` is the acknowledgement of its code before.
    """
    findings = await directory.findings.total(job.id)
    met = findings.pop(MET, None)
    numbers = {code: findings.pop(code) for code in [*findings] if code.startswith((PADDED, PLAIN))}
    found = {code: _of_finding(finding) for code, finding in findings.items()}
    found |= await _unread(directory, job, counts)
    found |= await _shared(directory, job, counts)
    found |= _shortened(policy_of(job), numbers)
    found |= await _started(directory)
    found |= _exclusions(directory.keys, job, counts, met)
    found |= _mapping(job, counts)
    if foreign := _foreign(job, counts):
        found[FOREIGN] = _kept(foreign, "")
    if OUTSIDE in found and not policy_of(job).verified_domains:
        found[NO_DOMAINS] = found.pop(OUTSIDE)
    if FILLERS in found:
        # Who comes with a filler that is known says nothing new.
        found[FILLERS]["base"] = dump(sorted(found[FILLERS]["values"]))
    for code in COUNTED:  # reviews may bring the first one
        found.setdefault(code, _kept(0, ""))
    known = await _acknowledged(directory)
    return {code: kept | ({"known": known[code]} if code in known else {}) for code, kept in found.items()}


async def _acknowledged(directory: Directory) -> dict[str, Mapping[str, str]]:
    """Return, by code, what was acknowledged with a plan that then linked somebody, since the last undo of a run."""
    known, undone = await directory.findings.acknowledged(), await _undone(directory)
    held = {run: await _has_linked(directory, run) for run in {one["run"] for one in known.values()}}
    return {code: one for code, one in known.items() if held[one["run"]] and one["at"] > undone}


async def _undone(directory: Directory) -> str:
    """Return when the last undo of a run began, "" where none was undone."""
    undos = await directory.jobs.entries(UNDO)
    return next((undo.started for undo in undos if "run" in undo.options), "")


async def without_undone(directory: Directory, job: Job) -> Job:
    """Return a plan that waits without what was acknowledged before an undo of a run that began since it was made."""
    if not any("known" in kept for kept in (job.warned or {}).values()):
        return job
    undone = await _undone(directory)

    def stands(kept: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: kept[name] for name in kept if name != "known" or kept[name]["at"] > undone}

    return replace(job, warned={code: stands(kept) for code, kept in (job.warned or {}).items()})


async def _has_linked(directory: Directory, run: str) -> bool:
    try:
        counts = (await directory.jobs.get(run)).counts
    except NotFound:
        return False
    return bool(counts.get("linked") or counts.get("groupsLinked"))


def _kept(count: int, base: str, examples: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    return {"count": count, "base": base, "examples": list(examples), **more}


def _of_finding(finding: Finding) -> dict[str, Any]:
    values = dict(finding.values.most_common())
    return _kept(finding.count, f"{finding.sum:016x}", finding.examples, **({"values": values} if values else {}))


async def _unread(directory: Directory, job: Job, counts: Mapping[str, int]) -> dict[str, Any]:
    """Warn of rows that were not taken so far: of the identities, and of all imports of accounts that stand."""
    unread = dict[str, int]()
    examples: list[Mapping[str, Any]] = []
    if "source" in job.options:
        unread["identities"] = counts.get("unusable", 0)
        places = [("identities", str(job.options["identities"]), unread["identities"])]
    else:
        places = []
        try:
            upload = await directory.jobs.get(str(job.options["identities"]))
        except NotFound:
            pass
        else:
            unread["identities"] = upload.counts.get("problems", 0)
            places.append(("identities", upload.id, unread["identities"]))
    for what, name, count in places:
        if count:
            rows, _ = await directory.plan(name).page("", "", LOOKED_AT)
            lacking = [row for row in rows if not lacks_nobody(row.shown["reason"])]
            examples += [_example(what, row) for row in lacking[:EXAMPLES]]
    open_ = await find_unread(directory)
    for one in open_:
        what = f"accounts in {one.file}" if one.file else "accounts"
        unread[what] = unread.get(what, 0) + one.count
        examples += [_example(what, row) for row in one.examples[:EXAMPLES]]
    values = {what: count for what, count in unread.items() if count}
    if not values:
        return {}
    files = {"files": [one.to_json() for one in open_[:VALUES_SHOWN]]} if open_ else {}
    return {UNREAD: _kept(sum(values.values()), dump(values), examples[:EXAMPLES], values=values, **files)}


def _example(what: str, row: PlanRow) -> dict[str, Any]:
    return {"file": what, "line": row.shown.get("line"), "reason": row.shown.get("reason")}


def _shortened(policy: Policy, numbers: Mapping[str, Finding]) -> dict[str, Any]:
    """Warn of employee numbers without the zeros that fill those of the other side up to one width."""
    rule = policy.compared.get(Rule.EMPLOYEE_NUMBER)
    if rule is None or rule.transforms:
        return {}
    for side, other in (("account", "identity"), ("identity", "account")):
        padded, theirs, ours = (_by_width(numbers, code) for code in (PADDED + other, PLAIN + other, PLAIN + side))
        width = padded_width(padded, theirs)
        count = shorter(ours, width)
        if count and MOST_SHORTER * shorter(theirs, width) <= padded.total():
            lost = (numbers[f"{PLAIN}{side}.{length}"].examples for length in sorted(ours) if length < width)
            made = {"account": '"stripLeadingZeros"', "identity": f'{{"padZeros": {width}}}'}[side]
            text = (
                f"{counted(count, 'employee number')} of {_SIDES[side]} without the zeros before it that those of "
                f"{_SIDES[other]} have, up to {width} digits: by such a number nobody is matched"
            )
            remedy = (
                "A spreadsheet may have taken the zeros away: export that side again, open it in no spreadsheet, and "
                "bring it again. If it has none on purpose, give the rule employeeNumber of the policy the transform "
                f"{made}. Then plan again."
            )
            examples = [*chain(*lost)][:EXAMPLES]
            return {SHORTENED: _kept(count, dump([side, count]), examples, text=text, remedy=remedy)}
    return {}


def _by_width(numbers: Mapping[str, Finding], code: str) -> Counter[int]:
    found = {kind.rpartition("."): finding.count for kind, finding in numbers.items()}
    return Counter({int(width): count for (of, _, width), count in found.items() if of == code})


_SIDES: Final = {"account": "accounts", "identity": "identities"}


async def _shared(directory: Directory, job: Job, counts: Mapping[str, int]) -> dict[str, Any]:
    count = counts.get(DecisionKind.SHARED_VALUE.value, 0)
    if not count:
        return {}
    rows, _ = await directory.plan(job.id).page(DecisionKind.SHARED_VALUE.value, "", EXAMPLES)
    examples = [row.shown["value"] for row in rows]
    return {SHARED: _kept(count, dump([count, [(one["kind"], one["value"]) for one in examples]]), examples)}


def _exclusions(keys: Keys, job: Job, counts: Mapping[str, int], met: Finding | None) -> dict[str, Any]:
    """Warn of exclusions that match nobody, with the first of those that name one person or group each."""
    if "since" in job.options:  # it decides on changes alone
        return {}
    values = exclusions_unmatched(job, counts)
    known = met.values.keys() if met else set[str]()
    names = [one for one in sorted(policy_of(job).excluded) if _met(keys, one) not in known]
    if met or values.get(NAMED, 0) == len(names):
        values = {label: n for label, n in values.items() if label != NAMED} | ({NAMED: len(names)} if names else {})
    else:  # an earlier version of the app decided, and noted no entries
        names = []
    if not values:
        return {}
    base = dump([sorted(values.items()), keys.fingerprint(dump(names))])
    examples = [{"excluded": one} for one in names[:EXAMPLES]]
    return {EXCLUSIONS: _kept(sum(values.values()), base, examples, values=values)}


def add_met(found: dict[str, Finding], keys: Keys, entries: Iterable[str]) -> None:
    """Note in what a slice found that entries of `excluded` name somebody who is there."""
    for one in entries:
        found.setdefault(MET, Finding(whole=True)).values[_met(keys, one)] += 1


def _met(keys: Keys, entry: str) -> str:
    """Return how an entry is noted: short, as a policy may have 7,500."""
    return keys.fingerprint(f"{MET} {entry}")


async def _started(directory: Directory) -> dict[str, Any]:
    """Warn where provisioning has written to accounts that are managed here, and was refused."""
    writes, accounts = await directory.refusals.count(RECENT_DAYS, MOST_REFUSALS)
    if writes < REFUSALS:
        return {}
    # The number grows with every cycle. What a person was told is how near the quarantine is.
    level = "quarantine" if writes >= QUARANTINE else "near" if writes >= QUARANTINE // 2 else "started"
    return {STARTED: _kept(writes, level, values={"accounts": accounts, "writes": writes})}


def _mapping(job: Job, counts: Mapping[str, int]) -> dict[str, Any]:
    mapping, policy, people = mapping_of(job), policy_of(job), _people(counts)
    found = check(mapping, people, adopts=policy.adopt_on_create, name_id=policy.name_id_source)
    base = dump(mapping.to_json())
    return {
        warned.code: _kept(warned.people or 0, base, text=warned.text, remedy=warned.remedy)
        for warned in found
        if warned.people != 0 and warned.code in HARMFUL
    }


def _people(counts: Mapping[str, int]) -> People:
    return People({name[len(CARRIED) :]: n for name, n in counts.items() if name.startswith(CARRIED)})


class _Sentence(NamedTuple):
    """What the number of a warning counts, what is said, and the remedy, with names of _said() in braces."""

    noun: str
    text: str
    remedy: str


_SENTENCES: Final[Mapping[str, _Sentence]] = {
    SECOND: _Sentence(
        "identity",
        "{counted} with an account that matches, which the mapping does not find: provisioning would create a second "
        "account of each",
        "Correct the mapping in Entra (objectId to externalId with matching precedence 1), have it checked, and plan "
        "again. Who they are: {rows}predicted=second.",
    ),
    POLICY_CHANGED: _Sentence(
        "part",
        "the directory's policy is another than the one that this plan goes by: {listed}",
        "The plan goes by the policy that it was made with. Whom the directory's excludes by now, and whose account it "
        "sets aside, is not linked: their rows are refused. GET /linking/runs/{run}/left-out counts them. For all else "
        "drop this plan, and make another one.",
    ),
    IMPORTED_SINCE: _Sentence(
        "account",
        "the plan does not know {counted} that imports brought or changed since it was started: {listed}",
        "Whom the plan calls new may have an account by now, and another plan may link them. Drop this plan, and make "
        "another one.",
    ),
    PROBABLE: _Sentence(
        "identity",
        "{counted} without a match, though an account here is much alike by name or address: provisioning would create "
        "a second account of each whose account it is",
        "Look at them: {rows}decision=noAccount&score={likely:g}. Link in a review each whose account it is.",
    ),
    CREATED_ALIKE: _Sentence(
        "account",
        "{counted} that provisioning made, though an account that is managed here is much alike by name or address: "
        "one person may have both",
        "Look at them: {rows}decision=alreadyLinked&score={likely:g}. Of one person's two: stop provisioning in Entra, "
        "release the new account and delete it, link the one from before by hand, and restart provisioning. Two people "
        "keep theirs.",
    ),
    NO_DOMAINS: _Sentence(
        "row",
        "no verified domains are set, so that no address proves anything: {freed}",
        "Set verifiedDomains in the policy (PUT /directory/policy) to the domains that are yours, and plan again.",
    ),
    OUTSIDE: _Sentence(
        "row",
        "{counted} with nothing but an address outside the verified domains: {freed}",
        "Add those of the domains that are yours to verifiedDomains in the policy, and plan again. An address in "
        "another domain proves nothing.",
    ),
    TRUST: _Sentence(
        "review",
        "{counted} would link if every address in the verified domains counted as verified",
        'Set "trustEmails": "inVerifiedDomains" in the policy and plan again, if nobody can register in the '
        "application with an address that is not theirs. Otherwise review them: {rows}decision=review",
    ),
    NAMES: _Sentence(
        "sign-in name",
        "{counted} will change with the first provisioning cycle{before}{in_case}",
        "Look at them: {rows}changes=userName. Tell these people, or map to userName what they sign in by.",
    ),
    INACTIVE: _Sentence(
        "link",
        "{counted} with a deactivated account: provisioning switches it on",
        "Look at them: {rows}warning=inactive. Exclude in a review who is to stay out.",
    ),
    DISABLED: _Sentence(
        "identity",
        "{counted} with a match, but disabled in Entra: provisioning leaves such people out, and whoever is linked "
        "all the same is managed by nobody",
        "Look at them: {rows}warning=disabled. If they have left, deactivate their accounts in the application.",
    ),
    UNASSIGNED: _Sentence(
        "link",
        "{counted} without an assignment to the application in Entra: provisioning leaves such people out, and "
        "nobody would manage their accounts",
        "Assign them before provisioning starts: Entra admin center, Enterprise applications, the application, Users "
        "and groups, Add user/group. Who they are: {rows}warning=unassigned. Exclude in a review who is to stay local.",
    ),
    UNREAD: _Sentence(
        "row",
        "{files} not taken so far: the plan knows nothing of the people in them",
        "See why: GET /linking/runs/{run}/problems for the identities, and /problems of each import for the accounts. "
        "Correct the file, bring it again, and plan again. A row counts until an account has its name, or its import "
        "is taken back.",
    ),
    FILLERS: _Sentence(
        "placeholder",
        "{counted} in the place of employee numbers: {listed}",
        "There is nothing to do if these people have no number. Otherwise correct the file: it matches nobody by that.",
    ),
    SHARED: _Sentence(
        "value",
        "{counted} carried by many, and so no evidence for a weak rule",
        "Look at them: {rows}decision=sharedValue. Correct a value that says nothing of the person.",
    ),
    EXCLUSIONS: _Sentence(
        "exclusion",
        "{counted} in the policy without anybody in the source or the directory: {entries}",
        "Correct or remove each in the policy: a mistyped one excludes nobody. The id of a group is met by plans that "
        "read groups alone.",
    ),
    FOREIGN: _Sentence(
        "account",
        "{counted} with an object id, and nobody in the source has one of these: each is a conflict wherever somebody "
        "matches it",
        "If these ids are the application's own or a former tenant's, set foreignObjectIds in the policy. If not, "
        "check that the source is the tenant that people signed in from.",
    ),
    STARTED: _Sentence(
        "write",
        "provisioning has started before this run: {counted} to accounts that are managed here, refused within "
        "{days} days. {quarantine}",
        "Stop provisioning in the Entra admin center (Enterprise applications, the application, Provisioning, Stop). "
        "Apply the run, then choose Restart provisioning there: that ends a quarantine and matches everybody anew.",
    ),
}


def _said(job: Job, code: str, count: int, values: Mapping[str, int]) -> tuple[str, str]:
    """Return what is said of a warning, and its remedy."""
    said = _SENTENCES[code]
    told = {
        "counted": counted(count, said.noun),
        "freed": ", ".join(f"{domain} ({counted(n, 'row')})" for domain, n in values.items()),
        "listed": ", ".join(f"{value} ({n:,})" if n > 1 else value for value, n in values.items()),
        "entries": " and ".join(_entries(values)),
        "files": " and ".join(_files(count, values)),
        "before": _before(values.get(LINKED_BEFORE, 0)),
        "in_case": _in_case(values.get(CASE_ALONE, 0)),
        "rows": f"GET /linking/runs/{job.id}/decisions?",
        "run": job.id,
        "likely": LIKELY_SCORE / 100,
        "days": RECENT_DAYS,
        "quarantine": _quarantine(count),
    }
    return said.text.format(**told), said.remedy.format(**told)


def _before(count: int) -> str:
    """Return how many of some sign-in names are none of the links that are to be approved, "" for none."""
    if not count:
        return ""
    who = "an account that was" if count == 1 else "accounts that were"
    return f"; {count:,} of them of {who} linked before this run, or by hand, whatever is approved"


def _in_case(count: int) -> str:
    """Return how many sign-in names change beside those that are counted, in case alone, "" for none."""
    return f"; {count:,} more in capital and small letters alone, by which no sign-in changes" if count else ""


def _entries(values: Mapping[str, int]) -> Iterator[str]:
    """Yield entries of `excluded` as the policy page has them, `type guest`; those that name somebody, together."""
    for value, count in values.items():
        named = "1 name or id" if count == 1 else f"{count:,} names or ids"
        yield named if value == NAMED else value.replace(":", " ", 1)


def _files(count: int, values: Mapping[str, int]) -> Iterator[str]:
    """Yield how many rows each of some files has, and how many those have that are not named, of `count` rows."""
    yield from (f"{counted(n, 'row')} of the {name}" for name, n in values.items())
    if (more := count - sum(values.values())) > 0:
        yield f"{counted(more, 'row')} of earlier files"


def _sign_in(job: Job) -> str:
    return sign_in_after(mapping_of(job), _people(job.counts), policy_of(job).name_id_source)


def _quarantine(failures: int) -> str:
    """Return what the administrator sees in Entra after so many failures."""
    if failures >= QUARANTINE:
        return (
            "That is enough for Entra to put the job in quarantine: then its overview says so, and it runs once a day."
        )
    if failures >= QUARANTINE // 2:
        return f"From {QUARANTINE:,} failures on, Entra puts the job in quarantine."
    return "The provisioning logs of the application in Entra show them as failures (403)."
