"""What a plan's row says to whoever reads it, beyond what is stored: where the values are, and what would make a link.

It follows from the stored row, so that a million of them do not hold the same sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.directory.matching.accounts import PARTED, DecisionKind
from shared.directory.matching.evidence import account_attribute, place_of
from shared.directory.matching.policy import Rule, Trust

MOST_PLACES: Final = 4
"""Places that a reason names."""

REMEDIES: Final[Mapping[str, str]] = {
    DecisionKind.AMBIGUOUS: "Name the account that is this person's, in a review. Or take the shared value from the "
    "others, and plan again.",
    DecisionKind.CONFLICT: "Settle what the reason names, and plan again. Or link the account by hand, on its page in "
    "the portal (POST /accounts/{id}/link).",
    DecisionKind.PROTECTED: "Lift the protection of the account, if it is to be managed by the identity provider, and "
    "plan again.",
    DecisionKind.OUTSIDE_VERIFIED_DOMAINS: "Add the domain to the verified domains, if it is yours, in the portal "
    "under Policy (verifiedDomains), and plan again. Or link this row in a review, by itself.",
    DecisionKind.EXCLUDED: "Take what the reason names out of the excluded people, in the portal under Policy "
    "(excluded), and plan again.",
    DecisionKind.SET_ASIDE: "Take what the reason names out of the accounts set aside, in the portal under Policy "
    "(setAside), and plan again.",
    DecisionKind.NO_ACCOUNT: "There is nothing to link if the person is new here. If they have an account, name "
    "it in a review. Or give it the person's userPrincipalName as userName, or their mail as a verified e-mail, and "
    "plan again.",
    DecisionKind.NO_IDENTITY: "There is nothing to link if the account is nobody's in Entra. If it is somebody's, name "
    "them in a review. Or give it the person's userPrincipalName as userName, or their mail as a verified e-mail, and "
    "plan again.",
}
"""By decision, what would have to change for a row to become a link."""

CONFIRM: Final = "If they are the same person, link the row in a review. "
UNVERIFIED: Final = (
    f"{CONFIRM}It becomes a link by itself once the application's export says that it verified the address (a column "
    "emailVerified, brought again by Import), or once every address in the verified domains counts as verified: in the "
    "portal under Policy (trustEmails). Choose that only if nobody can register with an address that is not theirs."
)
ALIAS: Final = (
    f"{CONFIRM}It becomes a link by itself once the account's userName or a verified e-mail of it is the person's "
    "userPrincipalName or mail, and not an alias."
)
NUMBER: Final = (
    f"{CONFIRM}It becomes a link by itself once the account has the person's userPrincipalName as userName, or their "
    "mail as a verified e-mail; a number alone can be given anew."
)
JOIN: Final = (
    f"{CONFIRM}No later plan does it by itself. Many are reviewed at once by a filter, or in a file of decisions."
)
DOUBT: Final = f"{CONFIRM}It becomes a link by itself once what the reason names is settled, in a new plan."


def explained(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is shown: the reason with the places of the values, and the remedy."""
    shown = dict(document)
    evidence: Sequence[Mapping[str, Any]] = document.get("evidence", ())
    if evidence:
        shown["evidence"] = [{**account_attribute(item), **item} for item in evidence]
        decides = [item for item in evidence if not item.get("outsideVerifiedDomains")] or evidence
        places = [place for item in decides if (place := place_of(item))]
        if places and document.get("decision") != DecisionKind.AMBIGUOUS:
            named = "; ".join(list(dict.fromkeys(places))[:MOST_PLACES])
            shown["reason"] = f"{document['reason']} {named[:1].upper()}{named[1:]}."
    if remedy := _remedy(document, evidence):
        shown["remedy"] = remedy
    return shown


def _remedy(document: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> str:
    decision = str(document.get("decision", ""))
    if decision != DecisionKind.REVIEW:
        return REMEDIES.get(decision, "")
    counted = [item for item in evidence if not item.get("outsideVerifiedDomains")]
    if PARTED in str(document.get("reason", "")):
        return JOIN
    if any(item["trust"] == Trust.STRONG for item in counted):
        return DOUBT
    if any(item["attribute"] == "mail" and "position" in item for item in counted):
        return UNVERIFIED
    return NUMBER if all(item["rule"] == Rule.EMPLOYEE_NUMBER for item in counted) else ALIAS
