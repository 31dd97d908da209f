"""What each count of a run, undo or verification is called on a page, and what it means for the people it counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import idna

from shared.directory.text import counted as counted
from shared.directory.work.plan import keeps_name as keeps_name


class Bar(NamedTuple):
    """What a count is called, in which colour it is drawn, and what it means for the people it counts."""

    label: str
    colour: str
    meaning: str = ""


Bars = Mapping[str, Bar]

DECISIONS: Final[Bars] = {
    "link": Bar("Linked on approval", "go", "One account matches by a strong rule, and nothing speaks against it."),
    "alreadyLinked": Bar(
        "Linked before", "went", "By a run, by hand, or because provisioning made the account. Nothing happens."
    ),
    "review": Bar(
        "For a person to review",
        "ask",
        "The evidence is weak or something contradicts. Stays as it is, unless a review links it.",
    ),
    "ambiguous": Bar("Several accounts match", "ask", "Stays as it is, unless a review names the right one."),
    "conflict": Bar(
        "Claimed by another identity",
        "stop",
        "Several identities match, or the account says that it is another's. Stays as it is.",
    ),
    "outsideVerifiedDomains": Bar(
        "Address outside the verified domains",
        "ask",
        "Such an address proves nothing. Stays as it is, unless a review links it.",
    ),
    "protected": Bar("Protected account", "apart", "No run and no provisioning touches it."),
    "excluded": Bar(
        "Excluded",
        "apart",
        "No run links whom the policy excludes; the row names the entry. Who matches no account is created.",
    ),
    "setAside": Bar(
        "Account set aside", "apart", "The policy sets the account aside; the row names the entry. Stays as it is."
    ),
    "noAccount": Bar("No account yet", "new", "In Entra only. Provisioning creates an account, if it may."),
    "noIdentity": Bar("No identity", "rest", "Nobody in Entra matches this account. It stays as it is, managed here."),
}
WHOLES: Final = (
    ("linked on approval", "go", ("link",)),
    ("linked before", "went", ("alreadyLinked",)),
    ("left to a person", "ask", ("review", "ambiguous", "conflict", "outsideVerifiedDomains")),
    ("protected, excluded or set aside", "apart", ("protected", "excluded", "setAside")),
    ("without an account, in Entra only", "new", ("noAccount",)),
    ("accounts without an identity: stay as they are", "rest", ("noIdentity",)),
)
"""What becomes of everybody, in the order of the bar: what it is called, its colour, and the decisions it adds up."""
SHARED: Final[Bars] = {"sharedValue": Bar("Carried by more than three", "rest", "No evidence for a weak rule.")}
"""Rows about values and not about people, which count for themselves."""
GROUPS: Final[Bars] = {
    "groupLink": Bar("Linked where the approval names them", "go", "Keeps its members."),
    "groupAlreadyLinked": Bar("Linked before", "went"),
    "groupConflict": Bar("Claimed by another group", "stop", "Stays as it is."),
    "groupExcluded": Bar("Excluded", "apart", "Stays as it is."),
    "noGroup": Bar("Only in Entra", "new", "Provisioning creates it."),
    "localGroup": Bar("Only here", "rest", "Stays as it is, managed here."),
}
PREDICTED: Final[Bars] = {
    "matched": Bar("Finds the account", "go"),
    "created": Bar("Creates an account", "new"),
    "refused": Bar("Is refused until settled", "stop", "No second account is made beside one that may be theirs."),
    "skipped": Bar("Is left out", "rest", "Disabled in Entra, or out of the mapping's scope."),
}
CHANGED: Final[Bars] = {
    "userName": Bar("Sign-in name", "stop", "These people sign in by another name from then on."),
    "active": Bar("Switched on or off", "ask", "Who is inactive here and enabled in Entra can sign in again."),
    "emails": Bar("E-mail address", "ask", "The work address, to which messages are sent."),
    "employeeNumber": Bar("Employee number", "new"),
}
"""Attributes that the first cycle changes, where more is to be said than their names."""
REFUSED: Final = "Not linked, and as they were. Each row says why."
APPLIED: Final[Bars] = {"linked": Bar("Linked", "go"), "refused": Bar("Refused", "stop", REFUSED)}
REFUSED_BY: Final[Bars] = {
    "changed": Bar("Changed since the plan", "stop", "A new plan decides again."),
    "deleted": Bar("Deleted since the plan", "stop"),
    "excluded": Bar("Person excluded in the policy since", "apart", "A new plan leaves them out."),
    "setAside": Bar("Account set aside in the policy since", "apart", "A new plan leaves it out."),
    "held": Bar("Held by another one by now", "stop", "Settle which of the two is the person's."),
    "named": Bar("Named in a review, and not to be linked by now", "stop", "Each row says what is in the way."),
}
"""What was in the way of rows that were refused when a plan was carried out."""
APPLIED_GROUPS: Final[Bars] = {
    "groupsLinked": Bar("Linked", "go"),
    "groupsRefused": Bar("Refused", "stop", "Not linked, and as they were. Each row says why."),
    "groupsLeft": Bar("Left out", "rest", "The approval did not name them."),
}
UNDONE: Final[Bars] = {
    "undone": Bar("As before their link", "go"),
    "undonePartly": Bar("Given back, not everything", "ask"),
    "undoneInactive": Bar("Given back, still inactive", "ask"),
    "activated": Bar("Switched on again", "go"),
    "released": Bar("Given back, attributes kept", "went"),
    "refused": Bar("Not given back", "stop"),
    "unchanged": Bar("Taken back before", "rest"),
}
UNDONE_GROUPS: Final[Bars] = {
    "groupsUndone": Bar("Groups as before their link", "go"),
    "groupsReleased": Bar("Groups given back, members kept", "went"),
    "groupsRefused": Bar("Groups not given back", "stop"),
    "groupsUnchanged": Bar("Groups taken back before", "rest"),
}
FOUND: Final[Bars] = {
    "unconfirmed": Bar("Not yet confirmed", "ask", "Provisioning has not come through these links."),
    "created": Bar("Created instead", "stop", "Provisioning made a second account of these people."),
    "alike": Bar(
        "Created, and much alike",
        "ask",
        "Provisioning made these accounts, as the plan foretold, and one that is managed here is much alike by name or "
        "address: one person may have both. Nothing proves it; a person has to look.",
    ),
    "unlinked": Bar("Not linked any more", "apart", "The link was taken back, or the account deleted, since."),
    "confirmed": Bar("Confirmed", "go", "Provisioning found these accounts, and manages them."),
}
"""What a verification finds, that first which somebody has to do something about."""
EXPECTED: Final = "skipped"
"""What the plan predicted of links that wait as it expected: provisioning leaves these people out."""
TAKEN_BACK: Final = ("undone", "undonePartly", "undoneInactive", "released")
"""Counts of an undo that took a link back."""
GROUPS_TAKEN_BACK: Final = ("groupsUndone", "groupsReleased", "groupsUnchanged")
"""Counts of an undo of groups whose link is taken back, by it or before."""
NOT_WHOLLY: Final = ("refused", "undonePartly", "undoneInactive")
"""Counts of an undo that did not give everybody back what they were."""


WARNED: Final[Mapping[str, str]] = {
    "policyChanged": "The plan goes by the policy as it was. Whom the policy excludes by now, and whose account it "
    "sets aside, is not linked: Approve counts them. For all else drop this plan, and make another one.",
    "importedSince": "Drop this plan, and make another one: whom it calls new may have an account by now.",
    "secondAccounts": "Correct the mapping in Entra (objectId to externalId with matching precedence 1), have it "
    "checked on Connect, and plan again.",
    "probableAccounts": "Open each, and link in a review whose account it is, or decide many by a file: the page of "
    "the rows says how. Provisioning creates the others.",
    "createdAlike": "Open each: its page shows who is alike. Of one person's two accounts: stop provisioning in Entra, "
    "release the new one on its page and delete it, link the one from before by hand, and restart provisioning. Two "
    "people keep theirs.",
    "noVerifiedDomains": "Name the domains that are yours in the policy, and plan again.",
    "outsideVerifiedDomains": "Add those of the domains that are yours to the verified domains of the policy, and plan "
    "again. An address in another domain proves nothing.",
    "trustEmails": "If nobody can register in the application with an address that is not theirs, let every address in "
    "the verified domains count, in the policy, and plan again. Otherwise review them.",
    "userNameChanges": "Tell these people, or let them keep their names: Connect says what to map to userName for "
    "that, under Choose what becomes of the sign-in names. Then have the mapping checked, and plan again.",
    "inactive": "Exclude in a review who is to stay out.",
    "disabled": "If they have left, deactivate their accounts in the application.",
    "unassigned": "Assign them before provisioning starts: Entra admin center, Enterprise applications, the "
    "application, Users and groups, Add user/group. Exclude in a review who is to stay local.",
    "unreadRows": "Correct the file, bring it again, and plan again. A row counts until an account has its name, or "
    "its import is taken back.",
    "shortenedNumbers": "A spreadsheet may have taken the zeros away: export that side again, open it in no "
    "spreadsheet, and bring it again. If it has none on purpose, let the rule employeeNumber strip zeros or fill them "
    "in, in the policy. Then plan again.",
    "sharedValues": "Correct a value that says nothing of the person.",
    "foreignObjectIds": "If these ids are the application's own or a former tenant's, say so in the policy, under What "
    "provisioning may do. If not, check that the source is the tenant that people signed in from.",
    "nameIdDiffers": "Look up in the application by what it finds people at sign-in. By userName: map to userName what "
    "the policy has under What Entra sent as NameID, or correct that in the policy if Entra sends something else. By "
    "another value, such as a stored NameID: leave it.",
    "adoptNeverReached": "Take every matching attribute but externalId away, or let no create link an account, in the "
    "policy, and link by a run.",
}
"""What to do about a warning of a plan or of a mapping, by its code; the other codes as the API has it."""
ROWS: Final[Mapping[str, tuple[str, str]]] = {
    "policyChanged": ("policy", "The policy"),
    "importedSince": ("import", "The imports"),
    "probableAccounts": ("runs/{run}/decisions?decision=noAccount&score=0.9", "The rows"),
    "createdAlike": ("runs/{run}/decisions?decision=alreadyLinked&score=0.9", "The rows"),
    "noVerifiedDomains": ("policy", "The policy"),
    "outsideVerifiedDomains": ("runs/{run}/decisions?decision=outsideVerifiedDomains", "The rows"),
    "trustEmails": ("runs/{run}/decisions?decision=review", "The rows"),
    "userNameChanges": ("runs/{run}/decisions?changes=userName", "The rows"),
    "secondAccounts": ("runs/{run}/decisions?predicted=second", "The rows"),
    "nameIdDiffers": ("connect", "The mapping"),
    "inactive": ("runs/{run}/decisions?warning=inactive", "The rows"),
    "disabled": ("runs/{run}/decisions?warning=disabled", "The rows"),
    "unassigned": ("runs/{run}/decisions?warning=unassigned", "The rows"),
    "unreadRows": ("runs/{run}/problems", "The rows"),
    "shortenedNumbers": ("policy", "The policy"),
    "sharedValues": ("runs/{run}/decisions?decision=sharedValue", "The values"),
    "exclusionsUnmatched": ("policy", "The policy"),
    "foreignObjectIds": ("policy", "The policy"),
    "provisioningStarted": ("provisioning", "What was refused"),
}
"""Where a warning of a plan leads to, by its code: the path of a page, and what the link is called."""


def limits_of(policy: Mapping[str, Any]) -> str:
    """Return up to what runs approve themselves under a policy, as the API shows it, in words; "" where none does."""
    limit = policy.get("autoApprove")
    if not limit or not limit.get("on", True):
        return ""
    return f"{counted(limit['number'], 'link')} and {limit['share'] * 100:g} % of the accounts"


SWITCHED_ON: Final = {"schedule": "the schedule", "autoApprove": "the policy's rule"}
"""What does something by itself, as the history calls it before whoever switched it on, in words."""


def who(by: str, person: str = "") -> str:
    """Return who did something, by what the history calls them; `person` is the name, where it is known."""
    kind, colon, rest = by.partition(":")
    if colon and kind in SWITCHED_ON:
        return f"{SWITCHED_ON[kind]}, switched on by {who(rest, person)}"
    return person or (f"somebody who signed in ({rest})" if kind == "entra" and rest else by)


class Told(NamedTuple):
    """What is to be known first: a title, and what it means and how to go on."""

    title: str
    text: str


def stays_stopped(latest: Mapping[str, Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the last undo took links back, and none of some runs linked anybody since.

    Until one does, provisioning is refused at these accounts. `latest` is the last job of each kind.
    """
    undo = latest.get("undo", {"counts": {}})
    taken = any(undo["counts"].get(name) for name in (*TAKEN_BACK, *GROUPS_TAKEN_BACK))
    return taken and not any(has_linked(run) and str(run.get("approved", "")) > str(undo["started"]) for run in runs)


def accounts_deleted(latest: Mapping[str, Mapping[str, Any]]) -> Told | None:
    """Return what it means that an import which the last run knew was taken back since; None if it deleted nobody.

    `latest` is the last job of each kind. Whoever imports since, or makes another plan, has gone on from there.
    """
    undo, run, brought = latest.get("importundo"), latest.get("run"), latest.get("import")
    if undo is None or run is None or "ended" not in undo or "ended" not in run or undo["started"] < run["started"]:
        return None
    count = undo["counts"].get("removed", 0)
    if brought is not None:
        came_since = str(undo["started"] if brought["id"] != undo["options"].get("import") else run["started"])
        count = 0 if str(brought["started"]) > came_since else count
    if not count:
        return None
    was, comes, one = ("was", "the account comes", True) if count == 1 else ("were", "the accounts come", False)
    return Told(
        f"{counted(count, 'account')} {was} deleted with an import that was taken back",
        f"Nobody signs in by {'it' if one else 'them'} any more. To go back, bring the file again: {comes} back with "
        f"{'another id' if one else 'other ids'}, and without links and groups. Then make another plan, and leave "
        f"provisioning stopped until then: it would be refused at some of these people, and make others a new account. "
        f"Where {'it is' if one else 'they are'} to stay deleted, make another plan at once.",
    )


def has_linked(run: Mapping[str, Any]) -> bool:
    """Tell whether a run linked anybody, or a group."""
    return any(run["counts"].get(name) for name in ("linked", "groupsLinked"))


def not_made(run: Mapping[str, Any]) -> int:
    """Return how many links of its plan a run did not make before it was cancelled, failed or expired."""
    stopped = "ended" in run and run["phase"] != "done"
    return max(0, int(run.get("links", 0)) - int(run["counts"].get("linked", 0))) if stopped else 0


def keep_off(run: Mapping[str, Any]) -> str:
    """Return why provisioning is not to start after an approved run that ended on its way, "" where it may."""
    missing = not_made(run) if "approved" in run else 0
    if not missing:
        return ""
    was, them, these = ("was", "it", "this account") if missing == 1 else ("were", "them", "each of these accounts")
    return (
        f"{counted(missing, 'link')} of the plan {was} not made. Do not start provisioning before another run has made "
        f"{them}: it is refused at {these}, and many refusals put Entra's job into quarantine."
    )


def first_cycle(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what people notice of the first cycle after a run, in words, and the query of the rows of each."""
    names, predicted = run.get("impact", {}).get("userName", 0), run.get("predicted", {})
    made, refused = predicted.get("created", 0), predicted.get("refused", 0)
    people = "1 person is" if refused == 1 else f"{refused:,} people are"
    told = (
        (names, f"{counted(names, 'sign-in name')} {'changes' if names == 1 else 'change'}", "changes=userName"),
        (made, f"{counted(made, 'account')} {'is' if made == 1 else 'are'} created", "predicted=created"),
        (refused, f"{people} refused until settled", "predicted=refused"),
    )
    return [(text, query) for count, text, query in told if count]


def expected_to_wait(verification: Mapping[str, Any]) -> int:
    """Return how many links that are not confirmed wait as their plan expected."""
    return int(verification.get("predicted", {}).get(EXPECTED, 0))


def _taken(run: Mapping[str, Any], undos: Sequence[Mapping[str, Any]]) -> int:
    """Return how many links were taken back: of a run that the API shows so, by all its undos."""
    counted_here = sum(undo.get("counts", {}).get(name, 0) for undo in undos for name in TAKEN_BACK)
    return int(run.get("takenBack", {}).get("links", counted_here))


def stays(run: Mapping[str, Any], undos: Sequence[Mapping[str, Any]]) -> str:
    """Return what the undos of a run, as the API shows them, left of its links, the last of them; "" for nothing.

    An undo may be stopped after its last link: what stays goes by the links, and not by how the undo ended.
    """
    undo = undos[-1]
    counts = undo.get("counts", {})
    if undo["phase"] == "done":
        left = counts.get("refused", 0) + counts.get("groupsRefused", 0)
        stay = "stays" if left == 1 else "stay"
        return f"{counted(left, 'link')} {stay}: the page of the undo says why." if left else ""
    made, taken = run.get("counts", {}).get("linked", 0), _taken(run, undos)
    groups = run.get("counts", {}).get("groupsLinked", 0)
    groups_taken = sum(counts.get(name, 0) for name in GROUPS_TAKEN_BACK)
    if taken >= made and groups_taken >= groups:
        return f"The undo is {undo['phase']}, but had taken every link back before: none stays."
    of_groups = f", and of {groups_taken:,} of {counted(groups, 'group')}" if groups else ""
    return (
        f"The undo is {undo['phase']}. {taken:,} of {counted(made, 'link')} of accounts{of_groups} are taken back. "
        "The others stay until another undo."
    )


def after_undo(undos: Sequence[Mapping[str, Any]], run: Mapping[str, Any] | None = None) -> Told | None:
    """Return what it means that undos, as the API shows them, took links of a run back; None if they took none.

    With the `run` as the API shows it, the links are those of all its undos, and it is said of how many they are.
    """
    taken = _taken(run or {}, undos)
    if not taken:
        return None
    made = (run or {}).get("counts", {}).get("linked", taken)
    of = f"{taken:,} of the {counted(made, 'link')}" if made > taken else counted(taken, "link")
    inactive = undos[-1].get("counts", {}).get("undoneInactive", 0)
    kept = sum(undo.get("counts", {}).get(name, 0) for undo in undos for name in ("undonePartly", "released"))
    names = (
        f"{counted(kept, 'account')} kept something of what provisioning wrote, which may be the sign-in name: the "
        "rows of the undo say whose. The others sign in as before their link. All of them "
        if kept
        else "these people sign in as before their link, and their accounts "
    )
    # A loss that an undo leaves comes first: who reads on may take the first sentence for all of it.
    loses = (
        f"{counted(inactive, 'account')} that provisioning had switched off stay so until an undo names their number. "
        "Nobody else loses access by that"
        if inactive
        else "Nobody loses access by that"
    )
    return Told(
        f"{of} of this run {'was' if taken == 1 else 'were'} taken back",
        f"{loses}: {names}are managed here. "
        "Entra's next provisioning cycle is refused at each of them: it changes nothing there, and makes none of these "
        "people a second account, unless the policy lets it create beside an account that matches. Many refusals "
        "put Entra's job into quarantine, so leave it stopped. To go on: correct what was wrong, make another plan, "
        "review in it the pairs that the undo took apart, which only a person joins again, approve it, and then start "
        "provisioning. A schedule of runs, if there is one, is suspended until you resume it.",
    )


def in_letters(text: str) -> str:
    """Return a text with its domains in the letters that people write: the DNS has `xn--mller-kva.example` for ü."""
    return _A_LABEL.sub(_in_letters, text) if "xn--" in text else text


def _in_letters(label: re.Match[str]) -> str:
    try:
        return idna.ulabel(label[0])
    except idna.IDNAError:
        return label[0]


_A_LABEL: Final = re.compile(r"xn--[a-z0-9-]+")
