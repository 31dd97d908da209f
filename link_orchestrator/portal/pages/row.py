"""One row of a plan, side by side with whatever is known about it, and its review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import KNOWN, find_known, worded
from link_orchestrator.portal.pages.of_plan import DONE, Row, conditions, looked_for, refuse_unseen, review
from link_orchestrator.portal.pages.of_run import Document, Run
from shared.scim.errors import InvalidValue

ROW: Final = "linking/runs/{id}/decisions/{row}"
MOST_ACCOUNTS: Final = 5
"""Accounts that are looked up beside a row's own."""

CHANGES: Final = "20"
"""Changes of an account that are shown."""
MOST_ABREAST: Final = 4
"""Accounts that match one person, and are shown side by side."""

NO_ACCOUNT: Final = "account: type its sign-in name, its key in the application, or its id"


class Side(NamedTuple):
    """An attribute of an account and of a person, each as text.

    None says that the attribute is of the other side alone, "" that there is no value.
    """

    term: str
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class OneRow:
    """What the page of one row shows."""

    run: Run
    row: Row
    identity: Document
    """The person as the source had them; empty where that is not kept."""
    account: Document
    """The account as it is now, with its history; empty for none."""
    others: Mapping[str, Document]
    """Further accounts that the row names, by id."""
    rivals: Sequence[Document]
    """Further people whom the row names."""
    asked: Mapping[str, str]
    next: str
    unread: str = ""
    """The object id that the account has, if it is another's than the row's, of whom nothing is known here."""
    matching: Sequence[Document] = ()
    """The first of the accounts that match, of which a person names one, as they are now."""

    @property
    def sides(self) -> Sequence[Side]:
        return list(compare(self.account, self.identity)) if self.account and self.identity else ()

    @property
    def abreast(self) -> Sequence[tuple[str, str | None, Sequence[str]]]:
        """By attribute, what the person has, and what each account has that matches."""
        if not self.identity:
            return ()
        compared = [{one.term: one for one in compare(account, self.identity)} for account in self.matching]
        terms = dict.fromkeys(term for one in compared for term in one)
        found = [(term, [one[term] for one in compared if term in one]) for term in terms]
        return [
            (term, sides[0].there, [one[term].here or "" if term in one else "" for one in compared])
            for term, sides in found
        ]

    @property
    def changes(self) -> Sequence[tuple[str, str, str]]:
        """What the first provisioning cycle changes, by attribute."""
        found = self.row.changes
        return [(name, _text(one.get("from")), _text(one.get("to"))) for name, one in found.items()]

    @property
    def other_accounts(self) -> Sequence[Document]:
        """Accounts that match, too, and are no candidates."""
        return [one for one in self.others.values() if one["id"] not in self.row.candidates]

    @property
    def unknown(self) -> Sequence[str]:
        """Ids that the row names, of which nothing more is known here any more."""
        known = {*self.others, *self.row.candidates, *(one["id"] for one in self.rivals)}
        others = [*self.row.document.get("others", ()), *([self.unread] if self.unread else [])]
        return [one for one in dict.fromkeys(others) if one not in known]

    @property
    def history(self) -> Sequence[Document]:
        return [worded(change) for change in reversed(self.account.get("history", ()))]


async def show_row(asked: Asked) -> Outcome:
    """Show one row, with whatever is known about the two sides."""
    run = await Run.read(asked)
    found = await asked.api.get(ROW, id=run.id, row=asked.path["row"])
    row, wanted = Row(found["row"], run.waits), looked_for(asked)
    by_id = {one["id"]: one for one in found["identities"]}
    identity = by_id.pop(row.document.get("identity", {}).get("objectId", ""), {})
    is_person = "identity" in row.document or "account" in row.document
    account = await find_account(asked, row.account.get("id", "") if is_person else "")
    others = {}
    for one in [one for one in row.document.get("others", ()) if one not in {*by_id, *row.candidates}][:MOST_ACCOUNTS]:
        if other := await find_account(asked, one):
            others[one] = other
    among = conditions(asked) or {"decision": row.decision}
    page = await asked.api.get("linking/runs/{id}/decisions", id=run.id, behind=row.id, count="1", **among)
    following = page["decisions"][0]["id"] if page["decisions"] else ""
    rivals = [one for one in by_id.values() if one["id"] in row.document.get("others", ())]
    matching = [one for one in [await find_account(asked, one) for one in row.candidates[:MOST_ABREAST]] if one]
    claimed, known = await _claimed(asked, row, account or {})
    if known and known["id"] not in {one["id"] for one in rivals}:
        rivals.append(known)
    unread = "" if known else claimed
    view = OneRow(run, row, identity, account or {}, others, rivals, wanted, following, unread, matching)
    return Shown("row.html", view)


async def _claimed(asked: Asked, row: Row, account: Document) -> tuple[str, Document | None]:
    """Return whose a conflict's account says that it is, if that is another person: the object id, and who it is."""
    claimed = ""
    if account and row.decision == "conflict":
        claimed = str(account["document"].get("externalId") or account["evidence"].get("objectId", ""))
    if not claimed or claimed == row.person.get("objectId"):
        return "", None
    known = await find_known(asked, claimed)
    return claimed, known and known["identity"]


async def find_account(asked: Asked, account: str) -> Document | None:
    """Return an account as it is now, None for one that is not there any more."""
    found: Document | None = await asked.api.find("accounts/{id}", id=account, count=CHANGES) if account else None
    return found if found and "document" in found else None


async def review_row(asked: Asked) -> Outcome:
    """Review the row of the page."""
    action = asked.form["one"]
    more = {name: True for name in ("inPolicy", "create") if name in asked.form and action == "exclude"}
    return await decide(asked, {"action": action, **more})


async def look(asked: Asked) -> Outcome:
    """Lead to the page that shows the row beside the counterpart that the person names, before anything is decided."""
    value = asked.form["identity"].strip()
    if "account" in asked.form:
        query = {"account": await _account_named(asked, asked.form["account"].strip())}
    elif not value:
        raise InvalidValue("identity: type the person's object id or sign-in name in Entra")
    elif (known := await asked.api.find(KNOWN, id=value)) is None:  # it refuses what is neither
        raise InvalidValue("identity: nobody of this id or name is in what was read and is kept; nothing was decided")
    else:
        query = {"identity": str(known["identity"]["id"])}
    path = f"runs/{asked.path['id']}/rows/{asked.path['row']}/counterpart"
    return SeeOther(path, query=query | looked_for(asked))


async def _account_named(asked: Asked, name: str) -> str:
    """Return the id of the account that has a name: its id, its userName or its applicationId."""
    if not name:
        raise InvalidValue(NO_ACCOUNT)
    if await find_account(asked, name):
        return name
    pages = [await asked.api.get("accounts", **{kind: name}) for kind in ("userName", "applicationId")]
    ids = [*dict.fromkeys(one["id"] for page in pages for one in page["accounts"])]
    if not ids:
        raise InvalidValue("account: no account has that sign-in name, key in the application, or id")
    if len(ids) > 1:
        raise InvalidValue(
            "account: that is the sign-in name of one account and the key of another: type the id of the one"
        )
    return str(ids[0])


async def choose(asked: Asked) -> Outcome:
    """Link the row with one of its candidates, which the page shows; lead to the question where it is none of them."""
    account = asked.form["account"]
    row = Row((await asked.api.get(ROW, id=asked.path["id"], row=asked.path["row"]))["row"])
    if account not in row.candidates:
        return await look(asked)
    return await decide(asked, {"action": "link", "account": account})


async def decide(asked: Asked, wish: Mapping[str, Any]) -> Outcome:
    """Review the row of the page, unless somebody decided otherwise since it was shown."""
    row = Row((await asked.api.get(ROW, id=asked.path["id"], row=asked.path["row"]))["row"])
    body = {"rows": [row.id], **wish}
    refuse_unseen(asked, {row.id: row}, body)
    answer = await review(asked, body)
    if answer["refused"]:
        raise InvalidValue(answer["refused"][0]["reason"])
    return SeeOther(f"runs/{asked.path['id']}/rows/{asked.path['row']}", str(body["action"]), looked_for(asked))


def compare(account: Document, identity: Document) -> Iterator[Side]:
    """Yield what an account and a person of Entra have under the same meaning; without what neither has."""
    document, evidence = account["document"], account.get("evidence", {})
    name = document.get("name", {})
    work: Document = next((value for key, value in document.items() if key.endswith("enterprise:2.0:User")), {})
    first, *more = [str(one.get("value", "")) for one in document.get("emails", ())] or [""]
    addresses = [one.partition(":")[2] for one in identity.get("proxyAddresses", ()) if one.startswith("smtp:")]
    here_id = document.get("externalId") or evidence.get("objectId")
    pairs: Sequence[tuple[str, object, object]] = (
        ("Sign-in name", account["userName"], identity["userPrincipalName"]),
        ("E-mail address", first, identity.get("mail")),
        ("Further addresses", more, [*addresses, *identity.get("otherMails", ())]),
        ("Display name", document.get("displayName") or name.get("formatted"), identity.get("displayName")),
        ("First name", name.get("givenName"), identity.get("givenName")),
        ("Last name", name.get("familyName"), identity.get("surname")),
        ("Employee number", work.get("employeeNumber"), identity.get("employeeId")),
        ("Job title", document.get("title"), identity.get("jobTitle")),
        ("Department", work.get("department"), identity.get("department")),
        ("Active", "yes" if account["active"] else "no", "yes" if identity.get("accountEnabled", True) else "no"),
        ("Object ID", here_id, identity["id"]),
    )
    for term, one, other in pairs:
        here, there = _text(one), _text(other)
        if here or there:
            yield Side(term, here, there)
    for term, value in (
        ("NameID of past sign-ins", evidence.get("nameId")),
        ("Key in the application", account.get("applicationId")),
        ("Managed by", "the application" if account["sourceOfAuthority"] == "local" else "Entra"),
        ("Protected", "yes" if account["protected"] else ""),
    ):
        if value:
            yield Side(term, value, None)
    if kind := identity.get("userType"):
        yield Side("Kind of user", None, kind)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


PAGES: Final = (
    Page(
        "runs/{id}/rows/{row}",
        show_row,
        {"review": review_row, "look": look, "name": choose, "nothing": show_row},
        under="runs",
        notices=DONE,
    ),
)
