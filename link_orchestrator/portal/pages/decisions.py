"""The rows of a plan: by decision and filter, one row side by side, and the reviews of a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from link_orchestrator import words
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_run import Document, Run
from shared.host.problems import problem
from shared.scim.errors import InvalidValue

ROWS: Final = 50
"""Rows on a page."""
CONDITIONS: Final = (
    "decision", "reviewed", "rule", "evidence", "domain", "department", "warning", "changes", "score",
)  # fmt: skip
"""Query parameters by which the API chooses rows."""
MOST_ACCOUNTS: Final = 5
"""Accounts that are looked up beside a row's own."""
LINKABLE: Final = ("review", "outsideVerifiedDomains")
EXCLUDABLE: Final = ("link", "review", "ambiguous", "conflict", "outsideVerifiedDomains")
NAMEABLE: Final = ("review", "ambiguous", "outsideVerifiedDomains", "noAccount")
"""Decisions on rows that a review may link, exclude, or give another account. The API judges each once more."""
RULES: Final = (
    "externalId", "signInObjectId", "nameId", "userName", "verifiedEmail", "mail", "email", "employeeNumber",
    "mailNickname", "onPremisesSamAccountName", "transformedName", "transformedMail",
)  # fmt: skip
DONE: Final[Mapping[str, str]] = {
    "link": "It is linked with the run, once that is approved.",
    "exclude": "It stays out of this run. To take that back, leave it as planned.",
    "acknowledge": "That you have seen the warning is noted. The row stays a link.",
    "leave": "It stays as the plan has it.",
    "filed": "The file was taken, whole.",
    "none": "Nothing was ticked, so nothing was decided.",
}
FILES: Final = {
    ".csv": "text/csv",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""What a file of decisions is, by the end of its name: what a browser says of it depends on what is installed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a plan as the API shows it, and what may be done about it."""

    document: Document
    open: bool = True
    """Whether the run still takes reviews."""

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def decision(self) -> str:
        return str(self.document["decision"])

    @property
    def person(self) -> Document:
        """Who it is in Entra, or the group there; empty for nobody."""
        found: Document = self.document.get("identity") or self.document.get("entraGroup") or {}
        return found

    @property
    def account(self) -> Document:
        """The account here, or the group; of a reviewed row the one that the person named. Empty for none."""
        chosen = self.review.get("account")
        if "version" in self.review:
            return {"id": chosen, **self.review}
        candidates = (one for one in self.document.get("candidates", ()) if one["id"] == chosen)
        own: Document = self.document.get("account") or self.document.get("group") or {}
        return next(candidates, own)

    @property
    def name(self) -> str:
        """What the row is called where it is spoken of."""
        value = self.document.get("value", {}).get("value")
        person, account = self.person, self.account
        known = (person.get("userPrincipalName"), person.get("displayName"), account.get("userName"))
        return next((str(one) for one in (*known, account.get("displayName"), value) if one), self.id)

    @property
    def review(self) -> Document:
        """What a person decided about it; empty where nobody did, or took it back."""
        found: Document = self.document.get("review", {})
        return found if found.get("action", "leave") != "leave" else {}

    @property
    def rules(self) -> Sequence[str]:
        return list(dict.fromkeys(one["rule"] for one in self.document.get("evidence", ())))

    @property
    def changeable(self) -> bool:
        return self.open and "outcome" not in self.document

    @property
    def may_link(self) -> bool:
        return self.changeable and self.decision in LINKABLE and self.review.get("action") != "link"

    @property
    def may_exclude(self) -> bool:
        return self.changeable and self.decision in EXCLUDABLE and self.review.get("action") != "exclude"

    @property
    def may_acknowledge(self) -> bool:
        warned = self.decision == "link" and bool(self.document.get("warnings"))
        return self.changeable and warned and self.review.get("action") != "acknowledge"

    @property
    def may_leave(self) -> bool:
        return self.changeable and bool(self.review)

    @property
    def may_name(self) -> bool:
        return self.changeable and self.decision in NAMEABLE

    @property
    def may_choose(self) -> bool:
        """Whether it is linked only with an account that the person names."""
        return self.may_name and self.decision not in LINKABLE

    @property
    def may_decide(self) -> bool:
        """Whether its box is of use."""
        return self.changeable and (self.decision in EXCLUDABLE or self.may_leave)


class NotTaken(NamedTuple):
    """A row or a line of a file that was not reviewed, and why."""

    which: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """A page of a plan's rows."""

    run: Run
    rows: Sequence[Row]
    asked: Mapping[str, str]
    """The conditions that the rows meet, as the address has them."""
    cursor: str
    next: str
    after: str
    """The row that was decided last: the one behind it is at hand."""
    wrong: str = ""
    """What is wrong with a condition."""
    not_taken: Sequence[NotTaken] = ()
    left_out: int = 0
    """Rows or lines that were not taken, of which `not_taken` names the first."""
    taken: int = 0
    ticked: Sequence[str] = ()

    @property
    def at(self) -> str:
        """The id of the row that keys begin at."""
        ids = [row.id for row in self.rows]
        return ids[min(ids.index(self.after) + 1, len(ids) - 1)] if self.after in ids else ""

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """Decisions that this plan has, each with its number."""
        known, counts = {**words.DECISIONS, **words.SHARED, **words.GROUPS}, self.run.counts
        found = [(name, f"{bar.label} ({counts[name]:,})") for name, bar in known.items() if name in counts]
        return [("", "Everything"), *found]

    @property
    def count(self) -> int | None:
        """How many rows there are, where the plan says so: of a decision without further conditions."""
        if self.asked.keys() - {"decision"}:
            return None
        decision = self.asked.get("decision", "")
        known = (*words.DECISIONS, *words.SHARED, *words.GROUPS)
        return self.run.counts.get(decision, 0) if decision else sum(self.run.counts.get(name, 0) for name in known)

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return [("", "Any rule"), *((one, one) for one in RULES)]


async def show(asked: Asked) -> Outcome:
    """Show a page of rows."""
    return Shown("decisions.html", await _read(asked))


async def _read(asked: Asked, **more: Any) -> Decisions:
    run = await Run.read(asked)
    wanted = _conditions(asked)
    cursor = asked.query.get("cursor", "")
    page: Document = {"decisions": ()}
    wrong = ""
    try:
        page = await asked.api.get("linking/runs/{id}/decisions", id=run.id, cursor=cursor, count=str(ROWS), **wanted)
    except (InvalidValue, ValidationError) as error:
        wrong = problem(error)[2]
    rows = [Row(one, run.waits) for one in page["decisions"]]
    after = asked.query.get("after", "")
    ticked = asked.form.all("rows")
    return Decisions(run, rows, wanted, cursor, page.get("cursor", ""), after, wrong, ticked=ticked, **more)


def _conditions(asked: Asked) -> dict[str, str]:
    return {name: value for name in CONDITIONS if (value := asked.query.get(name, "").strip())}


async def decide(asked: Asked) -> Outcome:
    """Review the ticked rows, or the one whose button was pressed."""
    action, _, row = asked.form["one"].partition(" ")
    rows = [row] if row else [*asked.form.all("rows")]
    action = action or asked.form["action"]
    back = {**_conditions(asked), "cursor": asked.query.get("cursor", "")}
    path = f"runs/{asked.path['id']}/decisions"
    if not rows:
        return SeeOther(path, "none", back)
    more = {name: True for name in ("inPolicy", "create") if name in asked.form and action == "exclude" and not row}
    answer = await _review(asked, {"rows": rows, "action": action, **more})
    if not answer["refused"]:
        return SeeOther(path, action, {**back, "after": rows[-1]})
    if row:
        raise InvalidValue(answer["refused"][0]["reason"])
    view = await _read(asked)
    names = {one.id: one.name for one in view.rows}
    refused = [NotTaken(names.get(one["id"], one["id"]), one["reason"]) for one in answer["refused"]]
    told = {"not_taken": refused, "left_out": len(refused), "taken": answer["reviewed"]}
    return Shown("decisions.html", await _read(asked, **told))


async def decide_by_file(asked: Asked) -> Outcome:
    """Take a file of decisions; what was not taken is shown by its line."""
    file = asked.form.files.get("file")
    if file is None or not file.content:
        raise InvalidValue("file: choose the file that you filled in")
    kind = next((kind for end, kind in FILES.items() if file.name.lower().endswith(end)), file.content_type)
    answer = await asked.api.post("linking/runs/{id}/decisions", file.content, kind, id=asked.path["id"])
    if not answer["notTaken"]:
        return SeeOther(f"runs/{asked.path['id']}/decisions", "filed", _conditions(asked))
    refused = [NotTaken(f"Line {one['line']:,}", one["reason"]) for one in answer["refused"]]
    if (left := answer["notTaken"] - len(refused)) > 0:
        refused.append(NotTaken(f"{left:,} more lines", "Correct these first, and send the file again."))
    view = await _read(asked, not_taken=refused, left_out=answer["notTaken"], taken=answer["reviewed"])
    return Shown("decisions.html", view)


async def _review(asked: Asked, body: Mapping[str, Any]) -> Any:
    return await asked.api.post("linking/runs/{id}/review", body, id=asked.path["id"])


class Side(NamedTuple):
    """An attribute of an account and of a person, each as text, and whether the two differ.

    None says that the attribute is of the other side alone, "" that there is no value.
    """

    term: str
    here: str | None
    there: str | None
    differs: bool


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

    @property
    def sides(self) -> Sequence[Side]:
        return list(compare(self.account, self.identity)) if self.account and self.identity else ()

    @property
    def changes(self) -> Sequence[tuple[str, str, str]]:
        """What the first provisioning cycle changes, by attribute."""
        found = self.row.document.get("changes", {})
        return [(name, _text(one.get("from")), _text(one.get("to"))) for name, one in found.items()]

    @property
    def other_accounts(self) -> Sequence[Document]:
        """Accounts that match, too, and are no candidates."""
        return [one for one in self.others.values() if one["id"] not in self._candidates]

    @property
    def unknown(self) -> Sequence[str]:
        """Ids that the row names, of which nothing more is known here any more."""
        known = {*self.others, *self._candidates, *(one["id"] for one in self.rivals)}
        return [one for one in self.row.document.get("others", ()) if one not in known]

    @property
    def _candidates(self) -> Collection[str]:
        return {one["id"] for one in self.row.document.get("candidates", ())}

    @property
    def history(self) -> Sequence[Document]:
        return [*reversed(self.account.get("history", ()))][:20]


async def show_row(asked: Asked) -> Outcome:
    """Show one row, with whatever is known about the two sides."""
    run = await Run.read(asked)
    found = await asked.api.get("linking/runs/{id}/decisions/{row}", id=run.id, row=asked.path["row"])
    row, wanted = Row(found["row"], run.waits), _conditions(asked)
    by_id = {one["id"]: one for one in found["identities"]}
    identity = by_id.pop(row.document.get("identity", {}).get("objectId", ""), {})
    is_person = "identity" in row.document or "account" in row.document
    account = await _find_account(asked, row.account.get("id", "") if is_person else "")
    others = {}
    candidates = {one["id"] for one in row.document.get("candidates", ())}
    for one in [one for one in row.document.get("others", ()) if one not in {*by_id, *candidates}][:MOST_ACCOUNTS]:
        if other := await _find_account(asked, one):
            others[one] = other
    page = await asked.api.get(
        "linking/runs/{id}/decisions", id=run.id, cursor=row.id, count="1", **(wanted or {"decision": row.decision})
    )
    following = page["decisions"][0]["id"] if page["decisions"] else ""
    rivals = [one for one in by_id.values() if one["id"] in row.document.get("others", ())]
    return Shown("row.html", OneRow(run, row, identity, account or {}, others, rivals, wanted, following))


async def _find_account(asked: Asked, account: str) -> Document | None:
    found: Document | None = await asked.api.find("accounts/{id}", id=account) if account else None
    return found if found and "document" in found else None


async def decide_row(asked: Asked) -> Outcome:
    """Review the row of the page."""
    action = asked.form["one"]
    body: dict[str, Any] = {"rows": [asked.path["row"]], "action": action}
    body |= {name: True for name in ("inPolicy", "create") if name in asked.form and action == "exclude"}
    return await _decided(asked, body)


async def name_counterpart(asked: Asked) -> Outcome:
    """Link the row with an account, or an identity, that the person names."""
    body: dict[str, Any] = {"rows": [asked.path["row"]], "action": "link"}
    named = {name: value for name in ("account", "identity") if (value := asked.form[name].strip())}
    if not named:
        raise InvalidValue("account: name one, by its id, userName or applicationId" if "account" in asked.form
                           else "identity: name one by its object id")  # fmt: skip
    return await _decided(asked, body | named)


async def _decided(asked: Asked, body: Mapping[str, Any]) -> Outcome:
    answer = await _review(asked, body)
    if answer["refused"]:
        raise InvalidValue(answer["refused"][0]["reason"])
    return SeeOther(f"runs/{asked.path['id']}/rows/{asked.path['row']}", str(body["action"]), _conditions(asked))


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
        ("Given name", name.get("givenName"), identity.get("givenName")),
        ("Surname", name.get("familyName"), identity.get("surname")),
        ("Employee number", work.get("employeeNumber"), identity.get("employeeId")),
        ("Job title", document.get("title"), identity.get("jobTitle")),
        ("Department", work.get("department"), identity.get("department")),
        ("Active", "yes" if account["active"] else "no", "yes" if identity.get("accountEnabled", True) else "no"),
        ("Object id", here_id, identity["id"]),
    )
    for term, one, other in pairs:
        here, there = _text(one), _text(other)
        if here or there:
            yield Side(term, here, there, bool(here and there) and here.casefold() != there.casefold())
    for term, value in (
        ("NameID of past sign-ins", evidence.get("nameId")),
        ("Key in the application", account.get("applicationId")),
        ("Managed by", "the application" if account["sourceOfAuthority"] == "local" else "Entra"),
        ("Protected", "yes" if account["protected"] else ""),
    ):
        if value:
            yield Side(term, value, None, differs=False)
    if kind := identity.get("userType"):
        yield Side("Kind of user", None, kind, differs=False)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


PAGES: Final = (
    Page(
        "runs/{id}/decisions",
        show,
        {"review": decide, "file": decide_by_file, "nothing": show},
        under="runs",
        notices=DONE,
    ),
    Page(
        "runs/{id}/rows/{row}",
        show_row,
        {"review": decide_row, "name": name_counterpart, "nothing": show_row},
        under="runs",
        notices=DONE,
    ),
)
