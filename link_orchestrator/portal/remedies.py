"""Remedies in the words of pages: what the API says in requests, a page says by the code that comes with it.

A refusal has its code in its Advice, a warning and a row of a plan have theirs in the document. What is said of rows of
a file has none: there the API's own constants are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from link_orchestrator.files.accounts import WHICH_NAME
from link_orchestrator.files.text import NAME_IT
from link_orchestrator.passes.import_accounts import WITH_PROTECTED
from link_orchestrator.passes.undo_verdicts import SWITCH_ON
from link_orchestrator.requests.known import NO_IDENTITY
from link_orchestrator.requests.reviews import ALONE, NAME_ACCOUNT
from link_orchestrator.words import ROWS as ROWS
from link_orchestrator.words import WARNED as WARNED
from shared.directory.errors import AlreadyExists, Busy
from shared.directory.matching.policy import NO_SHARE
from shared.directory.object_ids import NO_OBJECT_ID
from shared.directory.text import Advice as Advice
from shared.directory.text import Several
from shared.scim.endpoint import PreconditionFailed

REFUSED: Final[Mapping[str, str]] = {
    "columns": "Say which it is under More choices, with a line like: {example}",
    "export": "Export it with that column, too.",
    "exportOrColumns": "Export it with that column, too. If one of these has it, say which under More choices, with a "
    "line like: {example}",
    "table": "Download one from this page, fill in {columns}, and send it back.",
    "anotherPlan": "Tick that the file is of another plan, and choose it again. Or download the rows of this one.",
    "decidedSince": "Look below at what was decided, then say what you approve.",
    "oneDomain": "write one per line",
    "subdomains": "for a domain and its subdomains write *.{domain}",
    "webSite": "write {mail}. If people have addresses like name@{domain}, add the domain as an object under The "
    "policy as JSON, below",
    "schema": "choose the file that Entra gives under Show advanced options, Review your schema here, Download",
    "excludesNobody": "name a person by one of these, or begin the line with pattern, domain, group or type",
    "transforms": "they are written as the line below the rules says",
    "weakMail": "it is strong only where every address in the verified domains counts as verified. Choose that above, "
    "or make the rule weak",
    "strongMail": "switch that rule off, or choose above that those addresses count which the application verified",
}
"""What to do about a refusal, by the code of its Advice."""
POLICY_WARNED: Final[Mapping[str, str]] = {
    "noVerifiedDomains": "Name the domains that are yours, below.",
    "webSite": "Write them without www, below. If people have addresses like name@www.contoso.com, keep both.",
    "trustEmails": "Look at the rows by the rule mail before you approve. A link is a review where the names of the "
    "two differ, where the account is deactivated, or where another identity has the address, too; no run with such a "
    "link approves itself. If the application knows which addresses it verified, import that, and let those alone "
    "count.",
    "matchingEnded": "To turn it on again, take the tick of Matching has ended away, below, and save.",
}
"""What to do about a warning of the policy, on its page."""
DECIDED: Final[Mapping[str, str]] = {
    "conflict": "Find out whose the account is. If it is this person's, open the account and link it by hand. If it is "
    "somebody else's, exclude this person; tick that provisioning may create them if they need an account of their "
    "own.",
    "outsideVerifiedDomains": "Add the domain to the verified domains of the policy, if it is yours, and plan again. "
    "Or link this row in a review, by itself.",
    "excluded": "Take what the reason names out of the excluded people of the policy, and plan again.",
    "setAside": "Take what the reason names out of the accounts set aside of the policy, and plan again.",
}
NAMED_HERE: Final[Mapping[str, str]] = {
    "noAccount": "There is nothing to link if the person is new here. If they have an account, type its name above, or "
    "press Look at both beside a suggestion, where there is one: the next page shows the two side by side, and there "
    "you can decide to link them. A later plan links them by itself once the account has the person's user principal "
    "name as its sign-in name, or their mail as a verified e-mail address.",
    "noIdentity": "There is nothing to link if the account is nobody's in Entra. If it is somebody's, type the "
    "person's object id above, or press Look at both beside a suggestion, where there is one: the next page shows the "
    "two side by side, and there you can decide to link them. A later plan links them by itself once the account has "
    "the person's user principal name as its sign-in name, or their mail as a verified e-mail address.",
}
"""What is said in their place while the page of the row has a field for the counterpart."""
"""What would make a link of a row, by its decision; the others as the API has it."""
_SAID: Final[Mapping[str, str]] = {
    WHICH_NAME: "Say under What was read, where the columns are, which of the two the column is: displayName or "
    "userName. Then choose the file there again.",
    WITH_PROTECTED: "send the file again with a tick at Let rows change protected accounts, under More choices",
    ALONE: "press Link in its own row",
    SWITCH_ON: "To switch it on, edit it on its page.",
    NAME_ACCOUNT: "open the row, and choose it there",
    "; null takes it away": ", or empty the field",
    NO_IDENTITY: f"type a GUID like {NO_OBJECT_ID.partition('like ')[2]}, or the sign-in name in Entra of somebody who "
    "was read",
    NO_SHARE: "must be a number of per cent, from 0 to 100",
}
"""What a page says in the place of a remedy that comes without a code: of a row of a file, or of a plan."""
_CHANGED: Final = (
    "somebody changed this meanwhile, so your change was not stored. Look at it as it is now, then press the button "
    "again"
)
"""What is said where a form names a version that is not the stored one any more."""
_CODE_PAGE: Final = re.compile(re.escape(NAME_IT) + r"[\w-]+")
_JOB: Final = re.compile(r"[a-z]+")
_UNDER_WAY: Final[Mapping[str, str]] = {
    "run": "Another run waits for its approval, or is being carried out: approve it, or drop it, first.",
    "undo": "An undo is under way: let it end, or stop it, first.",
    "import": "An import of accounts is under way: let it end, or stop it, first.",
    "groupimport": "An import of groups is under way: let it end, or stop it, first.",
    "importundo": "An import is being taken back: let that end, or stop it, first.",
    "groupimportundo": "An import of groups is being taken back: let that end, or stop it, first.",
    "importundopreview": "The undo of an import is being looked at: let that end, or stop it, first.",
    "groupimportundopreview": "The undo of an import of groups is being looked at: let that end, or stop it, first.",
    "verification": "A verification is under way: let it end, or stop it, first.",
}
"""What is said of a job that is in the way, by its kind, with which its id begins."""


class Worded(NamedTuple):
    """A refusal in a page's words, and the path of the page where it is settled, "" for this one."""

    sentence: str
    path: str = ""


_T = TypeVar("_T")


def advice_of(error: BaseException | None) -> Advice | None:
    """Return the advice of an error, or of the one that it was raised from; None without any."""
    return _argument(error, Advice)


def _argument(error: BaseException | None, kind: type[_T]) -> _T | None:
    """Return what an error, or the one that it was raised from, has as its first argument, of a kind."""
    while error is not None:
        if error.args and isinstance(error.args[0], kind):
            return error.args[0]
        error = error.__cause__
    return None


def in_page_words(text: str) -> str:
    """Return a text of the API with the remedies in it as a page says them."""
    text = _CODE_PAGE.sub("choose its encoding, under More choices of Import or where the file is chosen again", text)
    for known, said in _SAID.items():
        text = text.replace(known, said)
    return text


def worded(error: Exception, detail: str) -> Worded:
    """Return the refusal that an error is, in a page's words; `detail` is what the API says."""
    if isinstance(error, PreconditionFailed):
        return Worded(_CHANGED)
    if isinstance(error, Busy) and error.holder:
        kind = _JOB.match(error.holder)
        said = _UNDER_WAY.get(kind[0] if kind else "", "Another job is under way: let it end, or stop it, first.")
        return Worded(said, f"jobs/{error.holder}")
    if isinstance(error, AlreadyExists) and error.holder:
        of = "group" if error.attribute == "displayName" else "account"
        return Worded(detail.replace(f"the {of} {error.holder}", f"another {of}"), f"{of}s/{error.holder}")
    return Worded("; ".join(worded_each(error, detail)))


def worded_each(error: Exception, detail: str) -> list[str]:
    """Return in a page's words what is wrong with each entry, where an error is about several; or the one sentence."""
    of = _argument(error, Several)
    if of is None or str(of) not in detail:
        return [_worded(advice_of(error), detail)]
    return [_worded(one if isinstance(one, Advice) else None, str(one)) for one in of.each]


def _worded(advice: Advice | None, detail: str) -> str:
    if advice is None or advice.code not in REFUSED or str(advice) not in detail:
        return in_page_words(detail)
    # What stands before or behind the advice in the API's sentence stays: the attribute, a remark.
    before, _, behind = detail.partition(str(advice))
    return f"{before}{advice.what} {REFUSED[advice.code].format(**advice.values)}{behind}"
