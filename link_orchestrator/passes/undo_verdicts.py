"""What becomes of an account whose link an undo takes back, by its history and what was kept of it. Pure.

undo.py reads what is asked for here, and stores what is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from link_orchestrator.run import by_undo
from shared.directory.keys import fold
from shared.directory.records.audit import UNDO_IMPORT, Change
from shared.directory.records.kept import SCHEMAS, Kept, extension_of
from shared.directory.records.model import EVIDENCE, Account, Link, SignInEvidence, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow

UNDONE, PARTLY, INACTIVE, ACTIVATED = "undone", "undonePartly", "undoneInactive", "activated"
RELEASED, REFUSED, UNCHANGED = "released", "refused", "unchanged"
OUTCOMES: Final = (UNDONE, PARTLY, INACTIVE, ACTIVATED, RELEASED, REFUSED, UNCHANGED)
GIVEN_BACK: Final = (UNDONE, PARTLY, INACTIVE, RELEASED)
"""Outcomes of accounts whose link is taken back."""
COUNTED: Final[Mapping[str, str]] = {
    UNDONE: "groupsUndone",
    RELEASED: "groupsReleased",
    REFUSED: "groupsRefused",
    UNCHANGED: "groupsUnchanged",
}
"""The outcomes of accounts, and what they are called for groups in the same counts and rows."""
USER_NAME: Final = "userName"
ATTRIBUTES: Final = "attributes"
"""The undo's option `keep` for accounts that provisioning changed: their attributes stay as they are."""
_HERE: Final = ("edit", "import", UNDO_IMPORT)
"""Actions that change attributes on behalf of the application or its administrator."""
_BY_SCIM: Final = ("confirm", "retire", "return")
"""Actions of SCIM that change a link, and leave it the link that the run made."""
NOT_KEPT: Final = {*Account.audited, SCHEMAS, "externalId"} - {EVIDENCE}
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


class OwedName(NamedTuple):
    """The former name of an account, which another has, and the one that the undo leaves it with."""

    name: str
    left: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an account that the run linked, and why. `after` is the account to store, None for no change.

    `activates` says that the account is inactive and was active before provisioning switched it off. `owed` is a
    userName that another account has by now, and `then` the outcome and the reason once it is given back.
    """

    outcome: str
    reason: str
    after: Account | None = None
    activates: bool = False
    owed: OwedName | None = None
    then: tuple[str, str] = ("", "")
    account: Account | None = None
    """The account as it is from now on, None for one that is gone."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What can be given back of what provisioning changed: `values` by attribute, as in Kept.

    `here` was edited here after provisioning changed it, `lost` is kept no longer, or never was.
    """

    values: Mapping[str, Any]
    here: Collection[str]
    lost: Collection[str]


def keeps_attributes(job: Job) -> bool:
    """Tell whether an undo leaves attributes as they are. Earlier versions of the app called that `changed`."""
    return job.options.get("keep") == ATTRIBUTES or job.options.get("changed") == "release"


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
    linked = made_at(item, history)
    if linked is None:
        return None
    before, writes, since = dict(history[linked].before), history[linked:], history[linked + 1 :]
    # Not the one by which its last pass gave a name back, which an earlier undo may have owed.
    by_it = [n for n, change in enumerate(writes) if change.by == by_undo(asked.undo)]
    own = next((n for n in by_it if {*writes[n].attributes} != {USER_NAME}), None)
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
    owed = OwedName(values.pop("userName"), account.user_name) if name_taken and "userName" in values else None
    after = restored(account, before, values, item.identity)
    activates = after.active and not account.active
    inactive = activates and asked.switched_on.get(account.id) != account.etag
    if inactive:
        after = after.with_document(after.document() | {"active": False})
    verdict = _verdict(restoration, owed, edited=edited, inactive=inactive)
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
            lost |= {*change.attributes} - NOT_KEPT
    values = {n: value for n, value in values.items() if n != "externalId" and not {n, extension_of(n)} & lost}
    here = {extension_of(name) or name for name in here - values.keys() - {"externalId"}}
    return Restoration(values, here, lost)


def restored(account: Account, before: Any, values: Mapping[str, Any], identity: str) -> Account:
    """Return an account with the link state of before it was linked, which the history keeps, and with old values.

    The rest stays. The account is parted from the identity: only a person joins the two again.
    """
    document = account.document()
    give_back(document, values)
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


def give_back(document: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put old values into a document, and take out what had none; `schemas` then names the extensions that it has."""
    for name, value in values.items():
        urn = extension_of(name)
        holder = document.setdefault(urn, {}) if urn else document
        attribute = name[len(urn) + 1 :] if urn else name
        if name == EVIDENCE:
            continue
        if value is None and name != "active":
            holder.pop(attribute, None)
        else:
            # An account that did not say whether it was active was: an earlier version of the app kept such ones.
            holder[attribute] = True if value is None else value
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


def made_at(item: Taken, history: Sequence[Change]) -> int | None:
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
        give_back(document, {"active": values["active"]})
        reason = "The account is active again, as it was before it was linked."
        return Verdict(ACTIVATED, reason, account.with_document(document), True)
    return Verdict(UNCHANGED, f"The link was taken back before; {_STAYS_INACTIVE}. {SWITCH_ON}", activates=True)


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
    edited = _edited_key(own.before["link"], writes[1:])
    given_back = former == left or "userName" in own.attributes
    owed = None if former is None or left is None or given_back else OwedName(former, left)
    return _verdict(restoration, owed, edited=edited, inactive=inactive)


def _released(writes: Sequence[Change]) -> Verdict:
    """Return the verdict on an account whose link is taken back while its attributes stay."""
    names = {name for change in writes if change.action not in _HERE for name in change.attributes} - NOT_KEPT
    return Verdict(RELEASED, f"{_list(names)}: {_STAYS}") if names else Verdict(UNDONE, _UNDONE)


def _verdict(restoration: Restoration, owed: OwedName | None, *, edited: bool, inactive: bool) -> Verdict:
    """Return the verdict on an account whose link is taken back, by what could not be given back with it."""
    then = _told(restoration, [], edited=edited, inactive=inactive)
    if owed is None:
        return then
    taken = f"userName: another account has the former one, {owed.name}, by now"
    now = _told(restoration, [taken], edited=edited, inactive=inactive)
    return replace(now, owed=owed, then=(then.outcome, then.reason))


def _told(restoration: Restoration, left: list[str], *, edited: bool, inactive: bool) -> Verdict:
    if here := {*restoration.here, *(["externalId"] if edited else [])}:
        left.append(f"{_list(here)}: edited here since, and left as it is")
    if restoration.lost:
        left.append(f"{_list(restoration.lost)}: left as provisioning wrote it, because the value before is not kept")
    if inactive:
        told = "; ".join([f"The link is taken back; {_STAYS_INACTIVE}", *left])
        return Verdict(INACTIVE, f"{told}. {SWITCH_ON}")
    return Verdict(PARTLY, "; ".join(["The link is taken back", *left]) + ".") if left else Verdict(UNDONE, _UNDONE)


def _gone(account: Account | None, since: Sequence[Change]) -> Verdict:
    """Return the verdict on an account that lost the link: what took it away."""
    # SCIM's DELETE took the link of its account already, so an undo of that writes `retired` alone.
    told = {"link", "retired"}
    changes = [change for change in since if told & {*change.attributes} and change.action != "confirm"]
    end = changes[0] if changes else None
    if changes and account and account.link is None and not account.retired:
        end = changes[-1]  # it may have been linked elsewhere first, but was taken back in the end
    if end is not None and end.action in ("undo", "release"):
        anew = f" {_LINKED_ANEW}" if account and account.link else ""
        return Verdict(UNCHANGED, f"{taken_before(end)}{anew}")
    if account is None:
        return Verdict(REFUSED, "The account was deleted since.")
    by = next((change.by for change in changes if change.action not in _BY_SCIM), "others")
    return Verdict(REFUSED, f"The account was linked anew since, by {by}: release it, if need be.")


def taken_before(end: Change) -> str:
    """Return the sentence about a link that an undo, or somebody by hand, had taken back."""
    if end.action == "undo":
        return f"The link was taken back before, by {end.by.removeprefix(by_undo(''))}."
    return "The link was taken back before: it was released by hand."


_LINKED_ANEW = "Since then it was linked anew, not by this run, and stays so: release it, if need be."
_UNDONE = "The account is what it was before it was linked."
_STAYS = "provisioning changed it since; that stays, and the account is managed here again."
_STAYS_INACTIVE = "it was active before, and stays inactive, as provisioning left it"
SWITCH_ON: Final = (
    "To switch on all such accounts, undo once more with their number as activate. To switch on this one, edit its "
    "attribute active."
)
"""How an account that an undo left inactive is switched on."""


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
