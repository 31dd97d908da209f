"""Which identity is which account: the decision on each identity, given what connects it with accounts.

A decision is a link only if nothing speaks against it: what two people could read in two ways is left to the
administrator. Candidates are those of evidence.py. A SCIM create that adopts an account has rules of its own, in
adoption.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from shared.directory.matching.evidence import (
    AccountFacts,
    Candidate,
    MatchEvidence,
    has_object_id,
    is_numbered,
    is_sure,
    is_unverified,
    proves,
    trust_of,
)
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import numbers_contradict
from shared.directory.matching.names import names_differ
from shared.directory.matching.policy import Policy, Rule, Trust
from shared.directory.object_ids import compared_id, read_object_id
from shared.directory.records.model import Status
from shared.directory.text import counted

MOST_ENTRIES: Final = 3
"""Entries of a policy that a reason names."""


class DecisionKind(StrEnum):
    """What becomes of an identity, of an account that no identity matches, or of a value that many share."""

    LINK = "link"
    ALREADY_LINKED = "alreadyLinked"
    REVIEW = "review"
    AMBIGUOUS = "ambiguous"
    CONFLICT = "conflict"
    PROTECTED = "protected"
    OUTSIDE_VERIFIED_DOMAINS = "outsideVerifiedDomains"
    EXCLUDED = "excluded"
    SET_ASIDE = "setAside"
    NO_ACCOUNT = "noAccount"
    NO_IDENTITY = "noIdentity"
    SHARED_VALUE = "sharedValue"


class Decision(NamedTuple):
    """A decision with the sentence that explains it.

    `account` is the account concerned, if it is one. `others` are what else there is: ids of accounts where several
    match, object ids of other identities that match the account.
    """

    kind: DecisionKind
    reason: str
    account: AccountFacts | None = None
    evidence: tuple[MatchEvidence, ...] = ()
    others: tuple[str, ...] = ()


def decide(identity: Identity, candidates: Iterable[Candidate], policy: Policy) -> Decision:
    """Decide on one identity, given every account that carries one of its keys, and those that it was taken apart from.

    Their order does not matter.
    """
    met = sorted(candidates, key=lambda candidate: candidate.account.id)
    near = [candidate for candidate in met if candidate.evidence]
    linked = [candidate for candidate in near if _linked_to(candidate.account, identity)]
    if policy.exclusion_of(identity):
        return _excluded(identity, linked or near, policy)
    if policy.set_aside and not linked:
        aside = [one for one in near if policy.sets_aside(one.account.id, one.account.user_name)]
        near = [one for one in near if one not in aside]
        if aside and not near:
            return _set_aside(aside, policy)
    # What lies outside the verified domains counts where there is nothing else.
    found = [candidate for candidate in near if trust_of(candidate.evidence)] or near
    if linked:
        return _already_linked(linked, found)
    if not found:
        return _taken_apart(identity, [one for one in met if one not in near], policy) or _no_account(identity)
    if len(found) > 1:
        return Decision(
            DecisionKind.AMBIGUOUS,
            f"{len(found)} accounts match this identity (by {_names(found)}): find out which one is this person's, "
            "and take the shared value from the others.",
            evidence=tuple(item for candidate in found for item in candidate.evidence),
            others=_ids(found),
        )
    return _decide_on(identity, found[0], policy, outside=len(near) - 1)


def _taken_apart(identity: Identity, candidates: Sequence[Candidate], policy: Policy) -> Decision | None:
    """Decide on an identity that matches no account, and was taken apart from some; None if it was from none."""
    # One that has become somebody else's since is settled, and stands in nobody's way.
    free = [one for one in candidates if one.account.status is Status.LOCAL and not one.account.linked_identity]
    apart = [one for one in free if is_parted(one.account.parted, identity.object_id)]
    if policy.set_aside:
        apart = [one for one in apart if not policy.sets_aside(one.account.id, one.account.user_name)]
    if len(apart) > 1:
        return Decision(
            DecisionKind.AMBIGUOUS,
            f"{len(apart)} accounts were linked to this identity, but {PARTED}",
            others=_ids(apart),
        )
    for candidate in apart:
        account, was = candidate.account, "The account was linked to this identity"
        if account.protected:
            return Decision(DecisionKind.PROTECTED, f"{was}, but {_PROTECTED}", account)
        if against := objection_of(identity, candidate, policy):
            return Decision(DecisionKind.CONFLICT, against, account)
        asleep = _asleep(identity, account)
        return Decision(DecisionKind.REVIEW, f"{was}, but {PARTED}{asleep}", account)
    return None


_PROTECTED: Final = "it is protected: a run never links a protected account."


def stays_local(account: AccountFacts, *, excluded: bool = False, apart: bool = False, aside: str = "") -> Decision:
    """Decide on an account that no identity of the source matches, or an `excluded` one alone: nothing changes.

    `apart` says that it was taken apart from an identity which is in the source, and whose row may say so. `aside` says
    by what the policy sets the account aside, "" if it does not.
    """
    if apart:
        reason = (
            "No identity matches this account. A person may join it again with the one that it was taken apart from."
        )
    elif account.status is Status.LOCAL:
        who = "Only an excluded identity" if excluded else "No identity"
        reason = f"{who} matches this account: it stays as it is and is managed here."
    elif excluded:
        reason = "This account is linked, and only an excluded identity matches it: nothing about it changes."
    else:
        reason = "This account is linked, but its identity is not in this source: nothing about it changes."
    reason += f" The policy sets it aside, {aside}." if aside else ""
    return Decision(DecisionKind.NO_IDENTITY, reason, account)


def _decide_on(identity: Identity, candidate: Candidate, policy: Policy, *, outside: int) -> Decision:
    """Decide on an identity that matches exactly one account, which is not linked to it yet.

    `outside` is the number of other accounts that have an address of the identity outside the verified domains.
    """
    account, evidence, by = candidate.account, candidate.evidence, _names([candidate])
    everybody = tuple(rival.object_id for rival in candidate.rivals if rival.trust and not rival.excluded)
    if account.protected:
        reason = f"The account matches by {by}, but {_PROTECTED}"
        return Decision(DecisionKind.PROTECTED, reason, account, evidence)
    if against := objection_of(identity, candidate, policy):
        others = tuple(rival.object_id for rival in candidate.rivals if rival.sure and rival.excluded)
        return Decision(DecisionKind.CONFLICT, against, account, evidence, others)
    mine = trust_of(evidence)
    asleep = _asleep(identity, account)
    if mine is None:
        outside_ = _outside(by, evidence, policy) + asleep
        return Decision(DecisionKind.OUTSIDE_VERIFIED_DOMAINS, outside_, account, evidence)
    if mine is Trust.WEAK and everybody:
        stronger = everybody
    else:
        stronger = tuple(
            r.object_id for r in candidate.rivals if (r.trust is Trust.STRONG or r.sure) and not r.excluded
        )
    if stronger:
        return Decision(
            DecisionKind.CONFLICT,
            f"The account matches by {by}, but another identity matches it too: find out whose it is, and exclude the "
            "other identity or correct its attribute.",
            account,
            evidence,
            stronger,
        )
    if doubt := _doubt(identity, candidate, mine, policy):
        reason = f"The account matches by {by}, but {doubt}{asleep}"
        return Decision(DecisionKind.REVIEW, reason, account, evidence, everybody)
    if mine is Trust.WEAK:
        return Decision(DecisionKind.REVIEW, _weak(by, evidence) + asleep, account, evidence)
    reason = f"The account matches by {by}{_beside(candidate, outside)}{asleep}"
    return Decision(DecisionKind.LINK, reason, account, evidence, everybody)


def _asleep(identity: Identity, account: AccountFacts) -> str:
    """Return what becomes of an account that is deactivated here, as the end of a reason; "" for any other."""
    if account.active:
        return ""
    return SWITCHED_ON if identity.account_enabled else STAYS_OFF


SWITCHED_ON: Final = " The account is deactivated here: once it is linked, provisioning switches it on."
STAYS_OFF: Final = " The account is deactivated here, and stays so: provisioning leaves the person out."


PARTED: Final = "an undo or a release took the two apart: only a person joins them again."


def is_parted(parted: Collection[str], object_id: str) -> bool:
    """Tell whether an identity is among those from which an undo or a release took an account apart."""
    return bool(parted) and compared_id(object_id) in map(compared_id, parted)


def _doubt(identity: Identity, candidate: Candidate, mine: Trust, policy: Policy) -> str:
    """Return why a person has to look at a link, however well it is proved, or ""."""
    account = candidate.account
    if is_parted(account.parted, identity.object_id):
        return PARTED
    if mine is Trust.WEAK:
        return ""
    if not is_numbered(candidate.evidence) and numbers_contradict(identity.employee_id, account.employee_number):
        return (
            "their employee numbers contradict each other: a name or address may have been given to a new person. "
            "Confirm that they are the same person."
        )
    if contested := _contested(candidate):
        return f"{contested}: it may have been given to a new person. Find out whose account it is."
    if any(rival.among_many and rival.trust is Trust.STRONG for rival in candidate.rivals) and not is_sure(
        filter(proves, candidate.evidence)
    ):
        # Nobody looked at this pair when everybody who is disabled, say, was excluded.
        return (
            "another identity matches it as strongly, which the policy excludes among many: it may be that one's. "
            "Confirm that it is this person's, or exclude the other one by its object id, in the portal under Policy "
            "(excluded), and plan again."
        )
    if policy.compares_names and is_unverified(candidate.evidence, names=policy.trusts_unverified):
        # Whoever registered the account may have typed any address, and a leaver's may be somebody else's by now.
        if names_differ(account.names, identity):
            return (
                "nobody verified the name or address, and the names of the two people differ: it may be another's. "
                "Confirm that they are the same person."
            )
        if not account.active:
            return (
                "nobody verified the name or address, and the account is deactivated here: it may be a leaver's, whose "
                "address was given to a new person. Confirm that they are the same person."
            )
    if not identity.account_enabled:
        # Entra provisions no disabled user that was never in scope: a link would leave the account, which may be in
        # use, without anybody who can change it.
        return "the identity is disabled in Entra: confirm that it is to be linked."
    return ""


def _contested(candidate: Candidate) -> str:
    """Return what of another identity speaks for it as strongly as the name or address does for this one, or ""."""
    rivals = [rival for rival in candidate.rivals if rival.trust and not rival.excluded]
    if same := sum(rival.same_address for rival in rivals):
        return f"{'another identity has' if same == 1 else f'{same} other identities have'} that very address, too"
    if is_numbered(candidate.evidence) or has_object_id(filter(proves, candidate.evidence)):
        return ""
    if any(rival.numbered for rival in rivals):
        return "another identity has the account's employee number, where this one has its name or address"
    return ""


def _weak(by: str, evidence: Iterable[MatchEvidence]) -> str:
    counted = [item for item in evidence if not item.outside]
    if all(item.look_alike for item in counted):
        return (
            f"The account matches by {by} in look-alike letters only, such as full-width ones: confirm that they are "
            "the same person."
        )
    return f"Only weak evidence ({by}) connects the two: confirm that they are the same person."


def _outside(by: str, evidence: Iterable[MatchEvidence], policy: Policy) -> str:
    """Return the reason where there is nothing but addresses outside the verified domains."""
    if not policy.verified_domains:
        return (
            f"The account matches by {by}, but no verified domains are set, and without them no address proves "
            "anything: name the domains that are yours, in the portal under Policy (verifiedDomains), and plan again."
        )
    known = "If you know that they are the same person, link this row in a review, by itself."
    if not any("@" in item.value for item in evidence):
        return f"The account matches by {by}, but a name without a verified domain proves nothing. {known}"
    return f"The account matches by {by}, but the address lies outside the verified domains and proves nothing. {known}"


def _beside(candidate: Candidate, outside: int) -> str:
    """Return the rest of the sentence on a link: what else there is, and why that does not stop it."""
    weak = excluded = foreign = 0
    for rival in candidate.rivals:
        excluded += rival.excluded
        weak += bool(rival.trust) and not rival.excluded
        foreign += not rival.trust and not rival.excluded
    where = "outside the verified domains, which proves nothing"
    said = [
        f"{counted(count, who)} {text}"
        for count, who, text in (
            (weak, "other identity", "by weak evidence, which does not contest that"),
            (excluded, "excluded identity", "which stands in nobody's way"),
            (foreign, "other identity", f"by an address {where}"),
            (outside, "other account", f"by an address {where}"),
        )
        if count
    ]
    return f". Beside that there is a match with {'; with '.join(said)}." if said else ", and nothing else claims it."


def objection_of(identity: Identity, candidate: Candidate, policy: Policy) -> str | None:
    """Return why an account is not to be linked to an identity, whoever asks for it, or None."""
    if against := objection(identity, candidate.account, policy):
        return against
    if any(rival.sure and rival.excluded for rival in candidate.rivals):
        return (
            "The NameID, the past sign-in or the externalId of the account is an excluded identity's: it goes to "
            "nobody else."
        )
    return None


def objection(identity: Identity, account: AccountFacts, policy: Policy) -> str | None:
    """Return why the account itself says that it belongs to somebody else, or None: under whatever rules link."""
    if account.linked_identity:
        return "The account is linked to another identity: release that link first if it is wrong."
    if account.status is not Status.LOCAL:
        return (
            "The identity provider already manages this account under another externalId: check that the provisioning "
            "mapping sends objectId as externalId."
        )
    # A name can pass from a person who left to one who came; what a past sign-in proved cannot.
    own = compared_id(identity.object_id)
    if account.object_id and compared_id(account.object_id) != own and not _is_foreign(account, policy):
        return _SIGNED_IN_AS_ANOTHER
    if account.name_id and policy.name_id_source == "objectId" and compared_id(account.name_id) != own:
        return _SIGNED_IN_AS_ANOTHER
    if (
        account.name_id
        and policy.name_id_source == "onPremisesImmutableId"
        and account.name_id.strip() != (identity.on_premises_immutable_id or "").strip()
    ):
        return _SIGNED_IN_AS_ANOTHER
    carried = read_object_id(account.external_id) if account.external_id and not policy.foreign_object_ids else None
    if carried and carried != own:
        return (
            "The externalId of the account is the object id of another identity: correct it, or say that such ids here "
            "are not those of this tenant, in the portal under Policy (foreignObjectIds)."
        )
    return None


def _is_foreign(account: AccountFacts, policy: Policy) -> bool:
    """Tell whether an account's object id may be no identity's of this tenant. One that a link here left behind is."""
    known = account.retired or is_parted(account.parted, account.object_id or "")
    return policy.foreign_object_ids and not known


_SIGNED_IN_AS_ANOTHER = (
    "The account was last signed in to by another identity: its name or address may have been given away."
)


def _linked_to(account: AccountFacts, identity: Identity) -> bool:
    own = compared_id(identity.object_id)
    if account.linked_identity:
        return compared_id(account.linked_identity) == own
    return account.status is not Status.LOCAL and compared_id(account.external_id or "") == own


def _excluded(identity: Identity, found: Sequence[Candidate], policy: Policy) -> Decision:
    reason = f"The policy excludes this identity from linking, {policy.exclusion_in_words(identity)}."
    if not found:
        reason += f" No account matches it: {_CREATED if identity.account_enabled else _DISABLED}"
        return Decision(DecisionKind.EXCLUDED, reason)
    many = len(found) > 1
    reason += f" It matches {counted(len(found), 'account') if many else 'an account'} by {_names(found)}, "
    reason += "which stay as they are." if many else "which stays as it is."
    if policy.may_create(identity):
        reason += " Provisioning may create the person beside that."
    elif identity.account_enabled:
        reason += " Provisioning creates nobody beside that, unless the prediction says so."
    evidence = tuple(item for candidate in found for item in candidate.evidence)
    return Decision(
        DecisionKind.EXCLUDED, reason, None if many else found[0].account, evidence, _ids(found) if many else ()
    )


_CREATED: Final = (
    "provisioning creates one all the same, unless the prediction says otherwise. To keep the person out, take them "
    "out of the provisioning scope in Entra."
)
_DISABLED: Final = "the person is disabled in Entra, so provisioning will create none."


def _set_aside(found: Sequence[Candidate], policy: Policy) -> Decision:
    many = len(found) > 1
    what = f"The {len(found)} accounts that match" if many else "The account matches"
    entries = list(dict.fromkeys(policy.set_aside_in_words(one.account.id, one.account.user_name) for one in found))
    reason = (
        f"{what} by {_names(found)}, but the policy sets {'them' if many else 'it'} aside, "
        f"{' and '.join(entries[:MOST_ENTRIES])}: no run links them."
    )
    evidence = tuple(item for candidate in found for item in candidate.evidence)
    account = None if many else found[0].account
    return Decision(DecisionKind.SET_ASIDE, reason, account, evidence, _ids(found) if many else ())


def _already_linked(linked: Sequence[Candidate], found: Sequence[Candidate]) -> Decision:
    if len(linked) > 1:
        return Decision(
            DecisionKind.CONFLICT,
            f"{len(linked)} accounts are linked to this identity: release all but the right one.",
            evidence=tuple(item for candidate in linked for item in candidate.evidence),
            others=_ids(linked),
        )
    (first,) = linked
    others = tuple(candidate.account.id for candidate in found if candidate is not first)
    reason = "The account is linked to this identity."
    if others:
        reason += f" The identity also matches {counted(len(others), 'other account')}; nothing of that changes."
    return Decision(DecisionKind.ALREADY_LINKED, reason, first.account, first.evidence, others)


def _no_account(identity: Identity) -> Decision:
    if identity.account_enabled:
        reason = (
            "No account matches this identity: provisioning creates one, unless the prediction says that it is refused."
        )
    else:
        reason = "No account matches this identity. It is disabled in Entra, so provisioning will create none."
    return Decision(DecisionKind.NO_ACCOUNT, reason)


def _ids(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(candidate.account.id for candidate in candidates)


def _names(candidates: Iterable[Candidate]) -> str:
    """Name the rules that the evidence rests on, in the order of trust of default rules, and what transforms did."""
    evidence = [item for candidate in candidates for item in candidate.evidence]
    counted = [item for item in evidence if not item.outside] or evidence
    if len(counted) > 1:
        counted.sort(key=lambda item: _PLACES[item.rule])
    return ", ".join(dict.fromkeys(item.name for item in counted))


_PLACES: Final = {rule: place for place, rule in enumerate(Rule)}
