"""The rows of a plan: by decision and filter, and reviews of one of them, or of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from link_orchestrator import names, words
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.all_rows import ACTIONS
from link_orchestrator.portal.pages.of_plan import DONE, RULES, NotTaken, Row, looked_for, refuse_unseen, review
from link_orchestrator.portal.pages.of_run import Document, Run
from shared.host.problems import problem
from shared.scim.errors import InvalidValue

ROWS: Final = 50
"""Rows on a page."""
LOOKED_AT_ONCE: Final = 5_000
"""Rows that the API looks through in one request by a condition."""
PATIENCE_SECONDS: Final = 0.05
"""Seconds after which a page does not go on looking by itself for a row that meets its conditions."""
FILED: Final = ("taken", "same")
"""What the address says of a file that was taken whole: rows decided by it, and rows that were so already."""
CALLED: Final = {"find": "name", "reviewed": "decided", "parted": "taken apart", "score": "suggested account from"}
"""What conditions are called that the API calls otherwise."""
YES_NO: Final = {"true": "yes", "false": "no"}
TYPED: Final = ("find", "domain", "department", "score")
"""Conditions that somebody types, or numbers."""
FILES: Final = {
    ".csv": "text/csv",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""What a file of decisions is, by the end of its name: what a browser says of it depends on what is installed."""


class Linked(NamedTuple):
    """Somebody whom a file excludes and this plan links all the same."""

    line: int
    name: str
    row: str


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
    then: str = ""
    """The row that stood behind it, or before it where it was the last, when it was decided."""
    last: Row | None = None
    """That row, None for none."""
    wrong: str = ""
    """What is wrong with a condition."""
    not_taken: Sequence[NotTaken] = ()
    left_out: int = 0
    """Rows or lines that were not taken, of which `not_taken` names the first."""
    by_reason: Sequence[Document] = ()
    """How many of them there are by which reason."""
    taken: int = 0
    same: int = 0
    """Rows of a file that had been decided so before."""
    looked: int = 0
    """Rows that were looked through for those of the page, where there are none, about."""
    linked: Sequence[Linked] = ()
    """Whom a file excludes and the plan links all the same; `many` is how many they are."""
    many: int = 0
    ticked: Sequence[str] = ()
    together: int = 0
    """Rows that were decided together just now."""

    @property
    def conditions(self) -> str:
        """The conditions in words, for paper, which has no filter; "" for none."""
        return "; ".join(f"{CALLED.get(name, name)}: {_in_words(name, value)}" for name, value in self.asked.items())

    @property
    def loaded(self) -> str:
        """When the page was loaded: what is on paper is of then."""
        return datetime.now(UTC).isoformat()

    @property
    def decides(self) -> bool:
        """Whether any row of the page can be ticked: what is done with ticked rows is of use."""
        return any(row.may_decide for row in self.rows)

    @property
    def chooses(self) -> bool:
        """Whether any row of the page has something to press."""
        return self.decides or any(row.may_choose for row in self.rows)

    @property
    def undecided(self) -> int:
        """Rows of the page that nobody has decided about."""
        return sum(not row.review for row in self.rows)

    @property
    def link_together(self) -> bool:
        """Whether ticked rows may be linked: those outside the verified domains are linked one by one."""
        return any(row.may_link and row.decision != "outsideVerifiedDomains" for row in self.rows)

    @property
    def suggests(self) -> bool:
        """Whether people without an account are chosen, and of some, undecided, an account is suggested."""
        return self.asked.get("decision") == "noAccount" and any(one.likeliest and not one.review for one in self.rows)

    @property
    def at(self) -> str:
        """The id of the row that keys begin at."""
        ids = [row.id for row in self.rows]
        if self.after in ids:
            return ids[min(ids.index(self.after) + 1, len(ids) - 1)]
        # What was decided may not be chosen any more: then the one that stood behind it is at hand.
        return self.then if self.then in ids else ""

    @property
    def reported(self) -> Mapping[str, str]:
        """The conditions that a report of the rows has: none looks for a name."""
        return {name: value for name, value in self.asked.items() if name != "find"}

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """Decisions that this plan has, each with its number."""
        known, counts = {**words.DECISIONS, **words.SHARED, **words.GROUPS}, self.run.counts
        found = [(name, f"{bar.label} ({counts[name]:,})") for name, bar in known.items() if name in counts]
        return [("", "Everything"), *found]

    @property
    def count(self) -> int | None:
        """How many rows there are, where the plan says so: of a decision without further conditions."""
        if [*self.asked] == ["predicted"]:
            return self._predicted
        if [*self.asked] == ["changes"]:
            impact: Mapping[str, int] = self.run.document.get("impact", {})
            return impact.get("accounts" if self.asked["changes"] == "any" else self.asked["changes"])
        if self.asked == {"linked": "true"}:
            return self.run.linked
        if self.asked.keys() - {"decision"}:
            return None
        decision = self.asked.get("decision", "")
        known = (*words.DECISIONS, *words.SHARED, *words.GROUPS)
        return self.run.counts.get(decision, 0) if decision else sum(self.run.counts.get(name, 0) for name in known)

    @property
    def _predicted(self) -> int | None:
        known: Mapping[str, int] = self.run.document.get("predicted", {})
        warned = {one["code"]: int(one["count"]) for one in self.run.document.get("warnings", ())}
        wanted = self.asked["predicted"]
        return warned.get("secondAccounts", 0) if wanted == "second" else known.get(wanted)

    @property
    def actions(self) -> Sequence[str]:
        """What may be said of all rows that the conditions choose; nothing where a name is looked for."""
        if "find" in self.asked:
            return []
        return [action for action, decisions in ACTIONS.items() if self.asked.get("decision") in decisions]

    @property
    def scores(self) -> Sequence[tuple[str, str]]:
        """Least scores of suggestions that may be chosen, with one that the address has."""
        known = [("", "All"), ("0.9", "Much alike"), ("0.7", "Somewhat alike")]
        score = self.asked.get("score", "")
        return known if score in dict(known) else [*known, (score, score)]

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return [("", "Any rule"), *((one, names.rule_in_words(one)) for one in RULES)]


def _in_words(name: str, value: str) -> str:
    """Return the value of a condition in words; what somebody typed stays as it is."""
    if name in TYPED:
        return value
    known = {**words.DECISIONS, **words.SHARED, **words.GROUPS, **words.PREDICTED}
    if value in known:
        return known[value].label
    return names.rule_in_words(value) if name == "rule" else YES_NO.get(value, names.in_words(value).lower())


async def show(asked: Asked) -> Outcome:
    """Show a page of rows."""
    return Shown("decisions.html", await _read(asked))


async def _read(asked: Asked, **more: Any) -> Decisions:
    run = await Run.read(asked)
    wanted = looked_for(asked)
    cursor = asked.query.get("cursor", "")
    page: Document = {"decisions": ()}
    wrong, at, looks, began = "", cursor, 0, monotonic()
    try:
        while True:
            page = await asked.api.get("linking/runs/{id}/decisions", id=run.id, cursor=at, count=str(ROWS), **wanted)
            at, looks = page.get("cursor", ""), looks + 1
            # Of a large plan few rows may meet a condition: nobody is to press Next through pages without any.
            if page["decisions"] or not at or monotonic() - began > PATIENCE_SECONDS:
                break
    except (InvalidValue, ValidationError) as error:
        wrong = problem(error)[2]
    rows = [Row(one, run.waits) for one in page["decisions"]]
    after, then = asked.query.get("after", ""), asked.query.get("then", "")
    ticked = asked.form.all("rows")
    together = digits(asked.query.get("together", "")) or 0
    told: dict[str, Any] = {"ticked": ticked, "together": min(together, ROWS), "then": then}
    told |= {"looked": looks * LOOKED_AT_ONCE}
    told |= {"last": await _last(asked, rows, after)}
    told |= {name: digits(asked.query.get(name, "")) or 0 for name in FILED}
    return Decisions(run, rows, wanted, cursor, page.get("cursor", ""), after, wrong=wrong, **{**told, **more})


async def _last(asked: Asked, rows: Sequence[Row], row_id: str) -> Row | None:
    """Return the row that was decided last, which may be none of the page any more; None for none."""
    if not row_id:
        return None
    if here := next((row for row in rows if row.id == row_id), None):
        return here
    try:
        path, run = "linking/runs/{id}/decisions/{row}", asked.path["id"]
        found = await asked.api.find(path, id=run, row=row_id, identities="false")
    except InvalidValue:  # the address was written by hand
        return None
    return Row(found["row"]) if found else None


async def decide(asked: Asked) -> Outcome:
    """Review the ticked rows, or the one whose button was pressed."""
    action, _, row = asked.form["one"].partition(" ")
    rows = [row] if row else [*asked.form.all("rows")]
    action = action or asked.form["action"]
    back = {**looked_for(asked), "cursor": asked.query.get("cursor", "")}
    path = f"runs/{asked.path['id']}/decisions"
    if not rows:
        return SeeOther(path, "none", back)
    more = {name: True for name in ("inPolicy", "create") if name in asked.form and action == "exclude" and not row}
    body = {"rows": rows, "action": action, **more}
    shown = (await _read(asked)).rows
    refuse_unseen(asked, {one.id: one for one in shown}, body)
    answer = await review(asked, body)
    if not answer["refused"]:
        # Of several the number is said, at the top; behind a single one the next row is at hand.
        there = {"after": row, "then": _behind(shown, row)} if row else {"together": str(len(rows))}
        return SeeOther(path, action, {**back, **there})
    if row:
        raise InvalidValue(answer["refused"][0]["reason"])
    view = await _read(asked)
    names = {one.id: one.name for one in view.rows}
    refused = [NotTaken(names.get(one["id"], one["id"]), one["reason"]) for one in answer["refused"]]
    told = {"not_taken": refused, "left_out": len(refused), "taken": answer["reviewed"]}
    return Shown("decisions.html", await _read(asked, by_reason=answer["byReason"], **told))


def _behind(rows: Sequence[Row], row_id: str) -> str:
    """Return the id of the row behind one, of the one before it where it is the last, "" where it is alone."""
    ids = [row.id for row in rows]
    if row_id not in ids:
        return ""
    at = ids.index(row_id)
    return next(iter([*ids[at + 1 : at + 2], *ids[max(at - 1, 0) : at]]), "")


async def decide_by_file(asked: Asked) -> Outcome:
    """Take a file of decisions; what was not taken is shown by its line."""
    file = asked.form.files.get("file")
    if file is None or not file.content:
        raise InvalidValue("file: choose the file that you filled in")
    kind = next((kind for end, kind in FILES.items() if file.name.lower().endswith(end)), file.content_type)
    by = "names" if "by" in asked.form else None
    answer = await asked.api.post("linking/runs/{id}/decisions", file.content, kind, id=asked.path["id"], by=by)
    counts = {"taken": answer["reviewed"], "same": answer["unchanged"]}
    if not answer["notTaken"]:
        taken = {name: str(count) for name, count in counts.items() if count}
        return SeeOther(f"runs/{asked.path['id']}/decisions", "filed", {**looked_for(asked), **taken})
    refused = [NotTaken(f"Line {one['line']:,}{_who(one, ': ')}", one["reason"]) for one in answer["refused"]]
    if (left := answer["notTaken"] - len(refused)) > 0:
        refused.append(NotTaken(f"{left:,} more lines", "Correct these first, and send the file again."))
    told: dict[str, Any] = {"left_out": answer["notTaken"], "by_reason": answer["byReason"]}
    linked = answer["linkedAllTheSame"]
    told |= {"linked": [Linked(one["line"], _who(one), one["row"]) for one in linked["lines"]], "many": linked["count"]}
    return Shown("decisions.html", await _read(asked, not_taken=refused, **told, **counts))


def _who(line: Document, before: str = "") -> str:
    """Return whom a line of a file is about, by every name that is known, behind a text; "" for nobody."""
    known = [str(line[name]) for name in ("displayName", "userName", "objectId") if line.get(name)]
    return f"{before}{', '.join(dict.fromkeys(known))}" if known else ""


PAGES: Final = (
    Page(
        "runs/{id}/decisions",
        show,
        {"review": decide, "file": decide_by_file, "nothing": show},
        under="runs",
        notices=DONE,
    ),
)
