"""What the first provisioning cycle after a run will do about each identity, and why. Pure.

It plays Entra (one look-up per matching attribute, in order, then an update or a create) against the accounts as the
plan leaves them, and SCIM, whose rules are in shared/directory/matching/authority.py. A test compares predictions with
what happens, on whole populations (tests/link_orchestrator/prediction/test_cycle.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from link_orchestrator.prediction.mapping import (
    DEFAULT,
    EMAIL,
    EMPLOYEE_NUMBER,
    EXTERNAL_ID,
    KINDS,
    OBJECT_ID,
    SOURCES,
    USER_NAME,
    AttributeMapping,
)
from shared.directory.keys import Key, fold
from shared.directory.matching.accounts import Decision, DecisionKind
from shared.directory.matching.adoption import Sent, Surroundings, obstacle_to_adoption
from shared.directory.matching.authority import (
    CREATABLE,
    LEFT_OPEN,
    NOT_CREATED,
    guarded_change,
    mark_of,
)
from shared.directory.matching.evidence import AccountFacts, Candidate, linked, trust_of
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import MOST_SHARED, is_filler
from shared.directory.matching.policy import DEFAULT_RULES, Policy, Rule, Trust
from shared.directory.object_ids import compared_id
from shared.directory.records.model import Status


class PredictedOutcome(StrEnum):
    """What provisioning does about an identity, in the words of Entra's stand-in (infra/local/entra.py)."""

    MATCHED = "matched"
    CREATED = "created"
    REFUSED = "refused"
    SKIPPED = "skipped"


class Prediction(NamedTuple):
    """An outcome with the sentence that explains it. `second` says of a create that an account matches the person."""

    outcome: PredictedOutcome
    why: str
    second: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as a plan's row shows it."""
        return {"outcome": self.outcome.value, "why": self.why} | ({"second": True} if self.second else {})


def _matched(why: str) -> Prediction:
    return Prediction(PredictedOutcome.MATCHED, why)


def _refused(why: str) -> Prediction:
    return Prediction(PredictedOutcome.REFUSED, why)


DISABLED = Prediction(PredictedOutcome.SKIPPED, "The identity is disabled in Entra: provisioning leaves it out.")
UNASSIGNED = Prediction(
    PredictedOutcome.SKIPPED,
    "The person is not assigned to the application in Entra: provisioning leaves them out until they are.",
)
BY_KEY = _matched("The look-up by externalId finds the linked account.")
EXCLUDED = _refused(
    "The person is excluded from linking and matches an account: provisioning neither links nor creates them, unless "
    'the exclusion says "create": true.'
)
MANAGED_HERE = "The look-up by {} finds an account that is managed here, and every write to it is refused: link it."
EXCLUDED_HERE = (
    "The look-up by {} finds an account that is managed here, and every write to it is refused: the person is excluded "
    "from linking."
)
LEFT_TO_A_PERSON = _refused("The plan leaves this person to an administrator.")
NO_SECOND = (DecisionKind.NO_ACCOUNT, DecisionKind.EXCLUDED, DecisionKind.SET_ASIDE)
"""Decisions on people who have no account, or may get one beside those that they match."""
ANSWERED = Prediction(PredictedOutcome.CREATED, "The create is answered with the account it collides with, linked.")
BESIDE = Prediction(PredictedOutcome.CREATED, "The person is excluded, and nothing that is sent leads to the account.")


def probes(identity: Identity, mapping: AttributeMapping, policy: Policy) -> Iterator[Key]:
    """Yield the keys of all accounts that provisioning an identity may meet, beside its match keys."""
    sent = mapping.values(identity)
    for attribute, value in sent.items():
        # A number that says that there is none keeps no create away.
        nobodys = attribute == EMPLOYEE_NUMBER and attribute not in mapping.matching and is_filler(value)
        if (kind := KINDS.get(attribute)) and not nobodys:
            yield Key(kind, fold(value))
    if external_id := sent.get(EXTERNAL_ID):
        yield Key("objectId", fold(external_id))
    if user_name := sent.get(USER_NAME):
        yield Key("email", fold(user_name))
    if email := sent.get(EMAIL):
        # An e-mail that equals its account's userName has no pointer of its own.
        yield Key("userName", fold(email))
    if name_id := sent.get(_NAME_IDS[policy.name_id_source]):
        yield Key("nameId", fold(name_id))


def adds_nothing(mapping: AttributeMapping, policy: Policy) -> bool:
    """Tell whether an identity's match keys hold all its probes, which they do under the default mapping and rules.

    Not a guest's, whose name is provisioned in another form than in Entra.
    """
    rules = {rule.rule for rule in policy.rules}
    return mapping.attributes == DEFAULT.attributes and rules >= {rule.rule for rule in DEFAULT_RULES}


_NAME_IDS = {"userPrincipalName": USER_NAME, "mail": EMAIL, "objectId": EXTERNAL_ID, "onPremisesImmutableId": ""}
"""The attribute by which SCIM shows each source of a NameID; none shows the last one."""


def carried(identity: Identity, account: AccountFacts) -> str:
    """Return by what provisioning could find a linked account beside externalId, like `userName=mail+emails=mail`."""
    sources = {name: value.lower() for name in _WORTH_A_LOOK if (value := SOURCES[name](identity))}
    held = ((USER_NAME, account.user_name), (EMAIL, _work_email(account)), (EMPLOYEE_NUMBER, account.employee_number))
    return "+".join(
        f"{attribute}={source}"
        for attribute, value in held
        if value
        for source, theirs in sources.items()
        if theirs == value.lower()
    )


_WORTH_A_LOOK = ("userPrincipalName", "mail", "mailNickname", "employeeId")


def predict(
    identity: Identity,
    decision: Decision,
    near: Sequence[Candidate],
    mapping: AttributeMapping,
    policy: Policy,
    *,
    assigned: bool = True,
) -> Prediction:
    """Return what the first cycle does about an identity. `near` has every account that carries one of its probes.

    `assigned` says whether the person is assigned to the application in Entra.
    """
    if not identity.account_enabled:
        return DISABLED
    if not assigned:
        return UNASSIGNED
    if decision.kind is DecisionKind.LINK and len(near) == 1 and mapping.keyed:
        return BY_KEY
    found = _Cycle(identity, decision, mapping.values(identity), near, policy).run(mapping.matching)
    beside = found.outcome is PredictedOutcome.CREATED and found is not ANSWERED and decision.kind not in NO_SECOND
    return found._replace(second=True) if beside and not policy.create_beside_matches else found


def after_review(
    shown: Mapping[str, Any], mapping: AttributeMapping, policy: Policy, *, links: bool, create: bool = False
) -> Prediction:
    """Return what provisioning does about the identity of a plan's row that a review links or excludes.

    `create` says that an excluded one may be created beside the accounts that they match.
    """
    if shown.get("predicted", {}).get("outcome") == PredictedOutcome.SKIPPED:
        return Prediction(PredictedOutcome.SKIPPED, str(shown["predicted"]["why"]))
    if links:
        return BY_KEY if mapping.keyed else _refused(_OTHER_KEY)
    if not create and not policy.create_beside_matches and mapping.attributes.get(EXTERNAL_ID) == OBJECT_ID:
        return EXCLUDED
    # Aliases and past sign-ins are nothing that provisioning sends.
    met = _FOUND_BY if create or policy.create_beside_matches else (*_FOUND_BY, *_SHARED)
    evidence = {(item["rule"], item["attribute"]) for item in shown.get("evidence", ())}
    return BESIDE if evidence.isdisjoint(met) else _refused(EXCLUDED_HERE.format("a name or an id"))


_FOUND_BY = ((Rule.EXTERNAL_ID, "id"), (Rule.USER_NAME, "userPrincipalName"))
_SHARED = (
    *((Rule.VERIFIED_EMAIL, "mail"), (Rule.MAIL, "mail"), (Rule.EMAIL, "mail"), (Rule.EMAIL, "userPrincipalName")),
    (Rule.EMPLOYEE_NUMBER, "employeeId"),
)

_OTHER_KEY = (
    "The account is linked, but the mapping does not find it first by objectId -> externalId: "
    "the write is refused until it does."
)


class _Cycle:
    """One identity in the first cycle, with the accounts around it as the plan leaves them."""

    def __init__(
        self, identity: Identity, decision: Decision, sent: Mapping[str, str], near: Sequence[Candidate], policy: Policy
    ) -> None:
        self._decision = decision
        self._sent = sent
        self._policy = policy
        self._near = near
        self._accounts = [_as_left(candidate, identity, decision) for candidate in near]
        # SCIM learns what the plan decided by the object id alone.
        known = fold(sent.get(EXTERNAL_ID, "")) == fold(identity.object_id)
        self._kept = mark_of(decision, identity, policy) if known else ""

    def run(self, matching: Sequence[str]) -> Prediction:
        for attribute in matching:
            value = self._sent.get(attribute)
            found = [a for a in self._accounts if value and not a.retired and _found_by(a, attribute, value)]
            if len(found) > 1:
                return _refused(f"The look-up by {attribute} finds {len(found)} accounts.")
            if found:
                return self._write(found[0], attribute)
        return self._create()

    def _write(self, account: AccountFacts, by: str) -> Prediction:
        if account.protected:
            return _refused("The account is protected: provisioning never changes it.")
        if self._renames_onto_another(account):
            return _refused("userName: another account holds the name that the identity has by now.")
        match account.status:
            case Status.PROVISIONED:
                return self._write_provisioned(account, by)
            case Status.CLAIMED:
                return self._write_linked(account, by)
            case Status.LOCAL:
                return self._leave(account, by)

    def _write_provisioned(self, account: AccountFacts, by: str) -> Prediction:
        """Return what becomes of a write to what provisioning made: it adds nothing that keeps creates away."""
        own = self._decision.kind is DecisionKind.CONFLICT and self._decision.account is account
        gained = not _carries(account, EXTERNAL_ID, self._sent.get(EXTERNAL_ID, "")) and not own
        if gained and self._kept in NOT_CREATED and not self._beside():
            return LEFT_TO_A_PERSON if self._kept in LEFT_OPEN else EXCLUDED
        for other in self._accounts if self._kept != CREATABLE and not self._beside() else ():
            if other.status is Status.LOCAL and (name := self._shared(other, account)):
                return _refused(f"{name}: an account that is managed here has it too, and may be this person's.")
        return _matched(f"The look-up by {by} finds the account, which provisioning made.")

    def _write_linked(self, account: AccountFacts, by: str) -> Prediction:
        external_id = self._sent.get(EXTERNAL_ID)
        if external_id and fold(external_id) != fold(account.linked_identity or ""):
            return _refused("externalId: the account is linked to another identity than the mapping sends.")
        name = guarded_change(account, self._patched(account))
        if name and by != EXTERNAL_ID and self._decision.kind is DecisionKind.LINK:
            return _refused(f"{name}: the link is not confirmed, as the look-up was by {by} and not by externalId.")
        return BY_KEY if by == EXTERNAL_ID else _matched(f"The look-up by {by} finds the linked account.")

    def _leave(self, account: AccountFacts, by: str) -> Prediction:
        """Return what becomes of a look-up that finds an account which is managed here: SCIM never changes it."""
        same = all(_held(account, name) == value for name, value in self._sent.items() if name in KINDS)
        if same and self._patched(account) == account:
            return _matched(f"The look-up by {by} finds the account, and nothing that is sent differs from it.")
        if self._kept in LEFT_OPEN:
            return LEFT_TO_A_PERSON
        excluded = self._decision.kind is DecisionKind.EXCLUDED
        return _refused((EXCLUDED_HERE if excluded else MANAGED_HERE).format(by))

    def _create(self) -> Prediction:
        taken, holder = self._collision()
        if not taken:
            return Prediction(PredictedOutcome.CREATED, "No look-up finds an account: provisioning creates one.")
        if holder is not None and self._policy.adopts and not self._obstacle(holder):
            return ANSWERED
        return _refused(taken)

    def _collision(self) -> tuple[str, AccountFacts | None]:
        """Return why a create is refused, or "", and the account that is in its way."""
        sent = self._sent
        if USER_NAME not in sent:
            return "userName: the mapping sends none, and a user needs one.", None
        beside = self._beside()
        if self._kept in NOT_CREATED and not beside:
            return (LEFT_TO_A_PERSON if self._kept in LEFT_OPEN else EXCLUDED).why, None
        for account in self._accounts if self._kept != CREATABLE and not beside else ():
            if account.status is Status.LOCAL and (name := self._shared(account)):
                return f"{name}: an account that is managed here has it too, and may be this person's.", account
        for account in self._accounts:
            if fold(account.user_name) == fold(sent[USER_NAME]):
                return "userName: another account holds it, and no look-up finds it.", account
            if account.linked_identity and fold(account.linked_identity) == fold(sent.get(EXTERNAL_ID, "")):
                return "externalId: the linked account holds it, but the mapping does not look it up.", account
        return "", None

    def _beside(self) -> bool:
        """Tell whether the policy lets the person be created beside an account that may be theirs."""
        policy, get = self._policy, self._sent.get
        return policy.create_beside_matches or policy.lets_create(get(EXTERNAL_ID, ""), get(USER_NAME, ""))

    def _shared(self, account: AccountFacts, written: AccountFacts | None = None) -> str:
        """Return the attribute in which an account has what is sent, "" if in none that keeps a create away.

        Of a write to an account that is there, `written`, what that one has already keeps nothing away.
        """
        for attribute in (EXTERNAL_ID, EMAIL, EMPLOYEE_NUMBER):
            value = self._sent.get(attribute)
            if not value or not _carries(account, attribute, value):
                continue
            if written and _carries(written, attribute, value):
                continue
            many = sum(_carries(one, attribute, value) for one in self._accounts) > MOST_SHARED
            if attribute != EMPLOYEE_NUMBER or not (many or is_filler(value)):
                return attribute
        name, key = self._sent.get(USER_NAME, ""), self._sent.get(EXTERNAL_ID, "")
        if written and fold(written.user_name) == fold(name):
            name = ""
        if written and _carries(written, EXTERNAL_ID, key):
            key = ""
        sent = {"userPrincipalName": name, "objectId": key}.get(self._policy.name_id_source)
        if sent and account.name_id and compared_id(account.name_id) == compared_id(sent):
            return USER_NAME if sent == name else EXTERNAL_ID
        return USER_NAME if name and _carries(account, EMAIL, name) else ""

    def _obstacle(self, holder: AccountFacts) -> str:
        """Return why a create does not adopt the account that it collides with, as SCIM does."""
        get, email = self._sent.get, self._sent.get(EMAIL)
        emails = (email,) if email else ()
        sent = Sent(get(EXTERNAL_ID, ""), get(USER_NAME, ""), emails, email, get(EMPLOYEE_NUMBER))
        near = {
            rival.object_id: "met"
            for candidate in self._near
            for rival in candidate.rivals
            if candidate.account.id == holder.id
        }
        others = [account.id for account in self._accounts if account.id != holder.id]
        left_open = {get(EXTERNAL_ID, ""): self._kept} if self._kept else {}
        return obstacle_to_adoption(sent, holder, Surroundings(True, near, left_open, others), self._policy)

    def _patched(self, account: AccountFacts) -> AccountFacts:
        """Return the account after an update: of the e-mails it writes the work address alone."""
        name, email = self._sent.get(USER_NAME), self._sent.get(EMAIL)
        emails = (email, *account.emails[1:]) if email else account.emails
        return account._replace(user_name=name or account.user_name, emails=emails, active=True)

    def _renames_onto_another(self, account: AccountFacts) -> bool:
        name = fold(self._sent.get(USER_NAME, ""))
        return any(other.id != account.id and fold(other.user_name) == name for other in self._accounts)


def _carries(account: AccountFacts, attribute: str, value: str) -> bool:
    held = {
        EXTERNAL_ID: (account.external_id, account.object_id),
        EMAIL: (*account.emails, *account.verified_emails),
        EMPLOYEE_NUMBER: (account.employee_number,),
    }[attribute]
    form = compared_id if attribute == EXTERNAL_ID else fold
    return any(one and form(one) == form(value) for one in held)


def _as_left(candidate: Candidate, identity: Identity, decision: Decision) -> AccountFacts:
    """Return an account as the applied plan leaves it, as far as the candidates of one identity show it."""
    account = candidate.account
    if decision.kind is DecisionKind.LINK and decision.account is account:
        return linked(account, identity.object_id)
    strong = [rival for rival in candidate.rivals if rival.trust is Trust.STRONG and not rival.excluded]
    # Where two identities have a strong claim, or one has the address that the other's rests on, neither is linked.
    own = decision.kind is not DecisionKind.EXCLUDED and trust_of(candidate.evidence) is Trust.STRONG
    alone = len(strong) == 1 and not strong[0].doubted and not own
    if alone and account.status is Status.LOCAL and not account.protected:
        return linked(account, strong[0].object_id)
    return account


def _found_by(account: AccountFacts, attribute: str, value: str) -> bool:
    """Tell whether a filter on an attribute finds an account. In externalId case counts."""
    held = _held(account, attribute)
    return held == value if attribute == EXTERNAL_ID else (held or "").lower() == value.lower()


def _held(account: AccountFacts, attribute: str) -> str | None:
    match attribute:
        case "userName":
            return account.user_name
        case "externalId":
            return account.external_id
        case "emails":
            return _work_email(account)
        case "employeeNumber":
            return account.employee_number
    return None


def _work_email(account: AccountFacts) -> str | None:
    """Return the first e-mail, which an import makes the work address: the types are not at hand here."""
    return account.emails[0] if account.emails else None
