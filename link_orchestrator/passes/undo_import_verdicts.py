"""What becomes of an account that an import made or changed, once the import is taken back. Pure.

An account's history tells what changed since. For each attribute it is read as a pile: a change lies on those before
it, and what an undo took back is off the pile again. An import's change is given back where it lies on top. So imports
can be taken back in whatever order, and nothing that somebody changed later is written over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from link_orchestrator.passes.import_counts import shown_name
from link_orchestrator.passes.undo_verdicts import INACTIVE, PARTLY, REFUSED, SWITCH_ON, UNCHANGED, UNDONE, give_back
from link_orchestrator.run import by_import, by_run, by_undo
from shared.directory.keys import APPLICATION_ID
from shared.directory.records.audit import UNDO_IMPORT, Change
from shared.directory.records.kept import SCHEMAS, Kept, extension_of
from shared.directory.records.model import EVIDENCE, Account, SignInEvidence, Status

REMOVED: Final = "removed"
OUTCOMES: Final = (REMOVED, UNDONE, PARTLY, INACTIVE, REFUSED, UNCHANGED)
PROTECTED: Final = "protected"
BESIDE: Final = (PROTECTED, EVIDENCE, APPLICATION_ID)
"""What an import changes beside the document."""
_HERE: Final = ("create", "edit", "import")
"""Actions of the application or its administrator: the undo of a run leaves them on the pile."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an undo was asked for: which import it takes back, and whom it may switch on, by id, in which version.

    `planned` has the accounts that the plan `run` would link, which waits for its approval, and `planned_since` says
    whether there was a plan since the import. `removable` has the accounts that may be deleted as `switched_on` has the
    others, None where no number of them was named.
    """

    undo: str
    imported: str
    switched_on: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    planned: Collection[str] = ()
    planned_since: bool = False
    removable: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an account, and why. `after` is the account to store, None for none; `removes` deletes it.

    `activates` says that the account is inactive and was active before the import.
    """

    outcome: str
    reason: str
    after: Account | None = None
    removes: bool = False
    activates: bool = False


@dataclass(slots=True)
class _Found:
    """What an import changed, by attribute as in Kept: the values to give back, and the names of the others.

    `later` has who changed an attribute since, `lost` what is not kept any more, `before` what is given back already.
    """

    values: dict[str, Any] = field(default_factory=dict)
    later: dict[str, Change] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)


def judge(account: Account | None, history: Sequence[Change], kept: Sequence[Kept], asked: Asked) -> Verdict | None:
    """Decide what becomes of an account; None if the import neither made nor changed it.

    `kept` is what the import replaced of it. An account that would be switched on stays inactive unless it was counted
    in this version.
    """
    mine = [change for change in history if change.by == by_import(asked.imported)]
    if not mine:
        return None
    made = mine[0].action == "create"
    if account is None or history[-1].action == "delete":  # a twin may have been faster between the two reads
        return _gone(history[-1], asked, made=made)
    own = next((n for n, change in enumerate(history) if change.by == by_undo(asked.undo)), None)
    if own is not None:  # its slice runs again
        found = _found(history[:own], kept, asked)
        return _told(found, inactive=_was_switched_off(found) and "active" not in history[own].attributes)
    if made:
        return _made(account, history, asked)
    if later := _linked_since(account, history, mine[0]):
        return Verdict(REFUSED, f"The account was linked since, by {later}: it is as it was. Release it first.")
    found = _found(history, kept, asked)
    after = _given_back(account, found.values) if found.values else account
    activates = after.active and not account.active
    inactive = activates and asked.switched_on.get(account.id) != account.etag
    if inactive:
        after = after.with_document(after.document() | {"active": False})
    changed = replace(after, imported=account.imported) != account
    return replace(_told(found, inactive=inactive), after=after if changed else None, activates=activates)


def _made(account: Account, history: Sequence[Change], asked: Asked) -> Verdict:
    """Return the verdict on an account that the import made: it goes, unless somebody has done something with it."""
    if account.link or account.status is not Status.LOCAL or account.retired:
        by = account.link.by if account.link else "provisioning"
        return Verdict(REFUSED, f"The account was linked since, by {by}: it stays. {_release(by)}")
    if account.id in asked.planned:
        return Verdict(REFUSED, f"The plan of {asked.run} would link the account: it stays. Cancel that run first.")
    later: dict[str, Change] = {}
    for name, pile in piles(history).items():
        others = [change for change in pile if change.by != by_import(asked.imported)]
        # An undo leaves behind from whom it took the account apart, which is about a link and not about the account.
        if others and name != _PARTED:
            later[name] = others[-1]
    if later:
        return Verdict(REFUSED, f"{_by_whom(later)}: the account stays. Delete it by hand, if need be.")
    if asked.removable is not None and asked.removable.get(account.id) != account.etag:
        return Verdict(REFUSED, _UNCOUNTED)
    return Verdict(REMOVED, _removed(asked), removes=True)


def _release(by: str) -> str:
    """Return how an account that is linked since comes to be taken back with the others."""
    first = "Undo that run first" if by.startswith(by_run("")) else "Release the account on its page first"
    return f"{first}, and take the import back once more."


_PARTED: Final = "parted"
"""Name under which the history has from whom an account was taken apart."""
_UNCOUNTED = (
    "The account was not among those whose number was confirmed: it stays. Look again what taking the import back "
    "would do, and take it back once more."
)


def _removed(asked: Asked) -> str:
    """Return why an account is deleted, and what to know of the person whom a plan since may have paired with it."""
    gone = "The import had made the account, and nobody has changed it since."
    return f"{gone} {_UNTIL_PLANNED}" if asked.planned_since else gone


_UNTIL_PLANNED = (
    "Where the last plan left it to you to decide whose it is, provisioning makes that person no other account before "
    "the next plan."
)


def _gone(end: Change, asked: Asked, *, made: bool) -> Verdict:
    """Return the verdict on an account that is not there any more."""
    if end.by == by_undo(asked.undo):
        return Verdict(REMOVED, _removed(asked))
    if made:
        return Verdict(UNCHANGED, f"The account was deleted before, by {end.by.removeprefix(by_undo(''))}.")
    return Verdict(REFUSED, f"The account was deleted since, by {end.by}.")


def _linked_since(account: Account, history: Sequence[Change], first: Change) -> str:
    """Return who linked an account after the import changed it, "" for nobody."""
    if account.link is None and not account.retired:
        return ""
    since = history[history.index(first) :]
    pile = [change for change in since if {"link", "retired"} & {*change.attributes}]
    return pile[-1].by if pile else ""


def piles(history: Sequence[Change]) -> Mapping[str, list[Change]]:
    """Return by attribute the changes that stand, oldest first: what an undo took back is left out.

    The undo of an import takes its changes off; that of a run takes off what was written from its link on.
    """
    found: defaultdict[str, list[Change]] = defaultdict(list)
    for change in history:
        for name in _touched(change):
            pile, height = found[name], len(found[name])
            if change.action == UNDO_IMPORT and pile:
                by = pile[-1].by
                while pile and pile[-1].by == by:
                    pile.pop()
            elif change.action == "undo":
                while pile and pile[-1].action not in _HERE:
                    pile.pop()
            if len(pile) == height and name in change.attributes:
                pile.append(change)
    return found


def _touched(change: Change) -> Collection[str]:
    """Return the attributes that a change is about; the undo of a run is about the whole state of the link.

    After SCIM's DELETE, which ends a link, an undo has but a part of that state to change.
    """
    ends_link = change.action == "undo" and not _LINK_STATE.isdisjoint(change.attributes)
    return {*change.attributes, *_LINK_STATE, "externalId"} if ends_link else change.attributes


_LINK_STATE: Final = frozenset(("status", "link", "retired"))
"""Attributes of which an undo that takes a link back changes one at least, of an account as of a group."""


def _found(history: Sequence[Change], kept: Sequence[Kept], asked: Asked) -> _Found:
    """Return what of an import's changes stands, and can be given back."""
    found, by, standing = _Found(), by_import(asked.imported), piles(history)
    by_number = {one.number: one for one in kept}
    for change in (change for change in history if change.by == by):
        one = by_number.get(change.number)
        for name in change.attributes:
            if name == SCHEMAS:
                continue
            pile = standing[name]
            if change not in pile:
                found.before.add(name)
            elif pile[-1].by != by:
                found.later[name] = pile[-1]
            elif one is None:
                found.lost.add(name)
            elif change is _lowest(pile, by):
                found.values |= {n: value for n, value in one.values.items() if name in (n, extension_of(n))}
            else:  # it changed the attribute twice, with nothing in between: what the first replaced is given back
                later = {n: value for n, value in one.values.items() if name in (n, extension_of(n))}
                found.values = later | found.values
    return found


def _lowest(pile: Sequence[Change], by: str) -> Change:
    """Return the lowest of the changes by somebody that lie on top of a pile, one on the other."""
    lowest = len(pile) - 1
    while lowest and pile[lowest - 1].by == by:
        lowest -= 1
    return pile[lowest]


def _given_back(account: Account, values: Mapping[str, Any]) -> Account:
    """Return an account with old values."""
    document = account.document()
    give_back(document, {name: value for name, value in values.items() if name not in BESIDE})
    evidence = SignInEvidence.from_json(values[EVIDENCE]) if EVIDENCE in values else account.evidence
    protected = bool(values.get(PROTECTED, account.protected))
    own = values.get(APPLICATION_ID, account.application_id)
    return account.with_document(document, evidence=evidence, protected=protected, application_id=own, imported=None)


def _was_switched_off(found: _Found) -> bool:
    return found.values.get("active", False) is not False


def _told(found: _Found, *, inactive: bool) -> Verdict:
    """Return the verdict on what an account is given back, and what not."""
    left = [f"{_by_whom(found.later)}, and left as it is"] if found.later else []
    if found.lost:
        left.append(f"{_list(found.lost)}: left as the import wrote it, because the value before is not kept any more")
    if not found.values:
        if left:
            return Verdict(REFUSED, f"{'; '.join(left)}.")
        return Verdict(UNCHANGED, "The import was taken back before.")
    if inactive:
        return Verdict(INACTIVE, f"{'; '.join([_STAYS_INACTIVE, *left])}. {SWITCH_ON}")
    return Verdict(PARTLY, "; ".join(["The account is given back", *left]) + ".") if left else Verdict(UNDONE, _UNDONE)


_UNDONE = "The account is what it was before the import."
_STAYS_INACTIVE = "The account is given back; it was active before, and stays inactive, as the import left it"


def _by_whom(later: Mapping[str, Change]) -> str:
    """Return the attributes that were changed since, by those who did it."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for name, change in later.items():
        names[f"{change.action} by {change.by}"].add(name)
    return "; ".join(f"{_list(some)}: changed since ({who})" for who, some in sorted(names.items()))


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(shown_name(name) for name in names if name != SCHEMAS))
