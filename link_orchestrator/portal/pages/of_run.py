"""What the pages about one run have in common: the run as the API shows it, how far a job is, and the way around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from link_orchestrator import words
from link_orchestrator.portal.page import Asked
from link_orchestrator.portal.remedies import ROWS, WARNED
from link_orchestrator.words import Bar, Bars, counted

Document = Mapping[str, Any]

STEPS: Final[Mapping[str, str]] = {
    "read": "Reading the identities",
    "changes": "Looking for what changed",
    "spread": "Looking for what changed",
    "lead": "Looking for whom the changes touch",
    "touch": "Looking for whom the changes touch",
    "gather": "Looking for whom the changes touch",
    "collect": "Collecting what people and accounts have in common",
    "join": "Comparing people with accounts",
    "weigh": "Weighing the evidence",
    "decide": "Deciding",
    "suggest": "Looking for who may be whose",
    "merge_names": "Putting names in order",
    "resolve_members": "Comparing members of groups",
    "decide_groups": "Deciding on groups",
    "keep_reviews": "Keeping the reviews of the run before",
    "reserve": "Reserving the accounts",
    "apply": "Linking accounts",
    "apply_groups": "Linking groups",
    "prepare": "Looking at what was linked",
    "count": "Counting whom the undo would switch on",
    "undo": "Taking links back",
    "undo_groups": "Taking links of groups back",
    "names": "Giving names back",
    "look": "Looking at every link",
    "compare": "Comparing new accounts with the plan",
    "settle": "Naming who was created instead",
}
"""What is said of each pass of an orchestration."""
DECIDABLE: Final = {
    "review": "to review",
    "ambiguous": "with several accounts",
    "outsideVerifiedDomains": "outside the verified domains",
}
"""Decisions on rows that a person settles in a review, in words."""
STAYS_STOPPED: Final = (
    "An undo took links back, and nobody was linked since. Provisioning is refused at these accounts, so leave it "
    "stopped until they are linked again."
)
"""What is said of provisioning once links were taken back."""
MOST_APART: Final = 1_000
"""Pairs that an undo took apart, and nobody has decided about, which are counted."""
OF_PEOPLE: Final = ("decide", "apply", "undo")
"""Passes whose counts are people, so that a rate of them says something."""
OF_RUN: Final[Bars] = {**words.APPLIED, **words.DECISIONS}
"""What the counts of a run are called while it goes on. Those of an undo have names of their own, words.UNDONE."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, in words and numbers."""

    label: str
    done: int
    of: int
    counts: Sequence[tuple[str, int]]
    rate: int
    """People a second; 0 where that is not known yet."""
    left: int | None
    """Seconds until the pass that is under way ends, by how long it took so far; None where nothing tells."""
    waiting: str

    @classmethod
    def of_job(cls, job: Document, now: datetime) -> Self:
        """Return how far a job is, as the API shows it."""
        progress = job.get("progress", {})
        name = progress.get("pass", "").removesuffix("_again")
        done, of, counts = progress.get("done", 0), progress.get("of", 0), progress.get("counts", {})
        bars = words.UNDONE if job["id"].startswith("undo") else OF_RUN
        known = [(bar.label, counts[one]) for one, bar in bars.items() if counts.get(one)]
        seconds = (now - datetime.fromisoformat(progress["since"])).total_seconds() if "since" in progress else 0
        people = sum(count for _, count in known) if name in OF_PEOPLE else 0
        if name == "read":
            known = [("Read so far", progress.get("read", 0))]
        return cls(
            label=STEPS.get(name, "Getting ready"),
            done=done,
            of=of,
            counts=known,
            rate=round(people / seconds) if seconds >= 1 else 0,
            left=round(seconds / done * (of - done)) if done and seconds >= 1 else None,
            waiting=str(progress.get("waiting") or ""),
        )


async def count_apart(asked: Asked, latest: Mapping[str, Document], runs: Sequence[Document]) -> int:
    """Return how many links the last undo took back that none of some runs made again: these accounts refuse Entra.

    Those of its pairs that the latest plan left for a person, and nobody decided about, are known one by one; who was
    linked since may be others.
    """
    undo, run = latest.get("undo"), latest.get("run")
    taken = sum(int(undo["counts"].get(one, 0)) for one in words.TAKEN_BACK) if undo else 0
    if undo is None or run is None or not taken:
        return 0
    since = [one for one in runs if str(one.get("approved", "")) > str(undo["started"])]
    missing = taken - sum(int(one["counts"].get("linked", 0)) for one in since)
    if "planned" not in run or "reduced" in run:
        return max(missing, 0)
    undecided = {"decision": "review", "parted": "true", "reviewed": "false", "count": str(MOST_APART)}
    page = await asked.api.get("linking/runs/{id}/decisions", id=run["id"], **undecided)
    return max(missing, len(page["decisions"]))


def why_stopped(latest: Mapping[str, Document], runs: Sequence[Document], apart: int) -> str:
    """Return why provisioning stays stopped after an undo, "" where it may go on; `apart` as count_apart() says."""
    if deleted := words.accounts_deleted(latest):
        return f"{deleted.title}. {deleted.text}"
    if words.stays_stopped(latest, runs):
        return STAYS_STOPPED
    if not apart:
        return ""
    are = "is" if apart == 1 else "are"
    return (
        f"{counted(apart, 'link')} that an undo took back {are} not made again. Provisioning is refused at each of "
        "these accounts, and many refusals put Entra's job into quarantine: leave it stopped until somebody has "
        "decided about them. Whom nobody is to link, take out of the provisioning scope in Entra."
    )


class Tab(NamedTuple):
    """A page about the run, under which path of it."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the API shows it."""

    document: Document

    @classmethod
    async def read(cls, asked: Asked) -> Self:
        """Ask the API for the run of the page's path. Raises NotFound."""
        return cls(await asked.api.get("linking/runs/{id}", id=asked.path["id"]))

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def path(self) -> str:
        return f"runs/{self.id}"

    @property
    def phase(self) -> str:
        """The phase, and that it is being cancelled while the API still says another."""
        return "being cancelled" if self.cancelling else str(self.document["phase"])

    @property
    def counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.document["counts"]
        return counts

    @property
    def links(self) -> int:
        """Links that an approval would make."""
        return int(self.document.get("links", 0))

    @property
    def linked(self) -> int:
        return self.counts.get("linked", 0)

    @property
    def cancelling(self) -> bool:
        return "cancelledBy" in self.document and not self.ended

    @property
    def ended(self) -> bool:
        return "ended" in self.document

    @property
    def waits(self) -> bool:
        """Whether the plan waits for a person: to review it, to approve it, or to drop it."""
        return self.document["phase"] == "planned" and not self.cancelling

    @property
    def busy(self) -> bool:
        """Whether the app works on it at this moment."""
        return not (self.ended or self.waits)

    @property
    def is_planned(self) -> bool:
        return "planned" in self.document

    @property
    def is_approved(self) -> bool:
        return "approved" in self.document

    @property
    def has_linked(self) -> bool:
        return bool(self.linked or self.counts.get("groupsLinked"))

    @property
    def not_made(self) -> int:
        """Links of the plan that the run did not make before it was cancelled, failed or expired."""
        return words.not_made(self.document)

    @property
    def keep_off(self) -> str:
        """Why provisioning is not to start after it, "" where it may."""
        return words.keep_off(self.document)

    @property
    def first_cycle(self) -> Sequence[tuple[str, str]]:
        """What people notice of the first cycle after it, and the query of the rows of each."""
        return words.first_cycle(self.document)

    @property
    def policy(self) -> Document:
        found: Document = self.document["options"].get("policy", {})
        return found

    @property
    def limits(self) -> str:
        """Up to what the run approves itself, or did, in words; "" where a person alone approves it."""
        return "" if self.document["options"].get("ownPolicy") else words.limits_of(self.policy)

    @property
    def approved_itself(self) -> bool:
        return bool(self.document["options"].get("selfApproved"))

    @property
    def approvals(self) -> Sequence[Document]:
        """Who approved what of the plan, and when, in order."""
        found: Sequence[Document] = self.document["options"].get("approvals", ())
        return found

    @property
    def piloted(self) -> bool:
        """Whether nothing but pilots was approved."""
        return bool(self.approvals) and bool(self.approvals[-1]["pilot"])

    @property
    def undo_days(self) -> int:
        return int(self.policy.get("undoDays", 90))

    @property
    def groups(self) -> int:
        """Groups that an approval may link."""
        return self.counts.get("groupLink", 0)

    @property
    def warnings(self) -> Sequence[Warned]:
        """What to look at first; what nobody acknowledged comes first."""
        found = [
            Warned(one, self.id, self.who(one.get("acknowledgedBy", "")) | _acknowledger(one))
            for one in self.document.get("warnings", ())
        ]
        return sorted(found, key=lambda one: one.known)

    @property
    def names_warned(self) -> Document:
        """The warning of sign-in names that change, as the API shows it; empty for none."""
        return next((one.document for one in self.warnings if one.document["code"] == "userNameChanges"), {})

    @property
    def names_before(self) -> int:
        """Sign-in names that change though this run does not link their accounts: they were linked before."""
        return int(self.names_warned.get("values", {}).get("linkedBefore", 0))

    @property
    def names_in_case(self) -> int:
        """Sign-in names that change in case alone, beside those of which the plan warns."""
        return int(self.names_warned.get("values", {}).get("inCaseAlone", 0))

    @property
    def to_acknowledge(self) -> Sequence[Warned]:
        return [one for one in self.warnings if not one.known and "digest" in one.document]

    def who(self, by: str) -> dict[str, str]:
        """Return who did something to the run, by name where it is known."""
        document, persons = self.document, self.document.get("persons", {})
        known = {document.get(f"{deed}By"): name for deed, name in persons.items()}
        known |= {one["by"]: one["person"] for one in document["options"].get("approvals", ()) if "person" in one}
        return {"by": by, "person": known.get(by, "")}

    @property
    def taken_back(self) -> Document:
        """How many of its links undos took back, and which was the last; empty for none."""
        found: Document = self.document.get("takenBack", {})
        return found

    @property
    def decidable(self) -> int:
        """Rows that a review could settle: those of the plan."""
        return sum(self.counts.get(name, 0) for name in DECIDABLE)

    @property
    def decided(self) -> int:
        """How many of them a review settled."""
        return sum(self.document.get("decided", {}).get(name, 0) for name in DECIDABLE)

    @property
    def decided_else(self) -> Sequence[tuple[Bar, int]]:
        """Rows of other decisions that persons decided about, such as a link that they excluded, by decision."""
        found: Mapping[str, int] = self.document.get("decided", {})
        others = {name: bar for name, bar in words.DECISIONS.items() if name not in DECIDABLE}
        return [(bar, found[name]) for name, bar in others.items() if found.get(name)]

    @property
    def undecided(self) -> Sequence[tuple[str, str, int]]:
        """Of those that nobody decided yet: each decision of the plan, in words, and how many rows have it."""
        decided = self.document.get("decided", {})
        found = ((name, word, self.counts.get(name, 0) - decided.get(name, 0)) for name, word in DECIDABLE.items())
        return [one for one in found if one[2] > 0]

    @property
    def new_people(self) -> int:
        """People without an account, without those to whom a person gave one in a review."""
        return self.counts.get("noAccount", 0) - self.new_people_linked

    @property
    def new_people_linked(self) -> int:
        return int(self.document.get("decided", {}).get("noAccount", 0))

    @property
    def links_as_planned(self) -> int:
        """Links of the plan itself, without those that a person excluded."""
        return self.counts.get("link", 0) - int(self.document.get("decided", {}).get("link", 0))

    @property
    def links_of_reviews(self) -> int:
        """Links that a person decided on; who was excluded is none."""
        return int(self.document.get("review", {}).get("link", 0))

    @property
    def conflicts(self) -> int:
        """Rows that nobody can link before what is in their way is settled, without those that were excluded."""
        return self.counts.get("conflict", 0) - int(self.document.get("decided", {}).get("conflict", 0))

    @property
    def left_to_a_person(self) -> int:
        return sum(self.counts.get(name, 0) for name in ("review", "ambiguous", "conflict", "outsideVerifiedDomains"))

    @property
    def to_decide(self) -> str:
        """The decision whose rows a review can settle, "" for none."""
        known = [name for name, _, _ in self.undecided] or [name for name in DECIDABLE if self.counts.get(name)]
        return known[0] if known else ""

    @property
    def groups_left(self) -> int:
        """Groups that the plan would have linked, and the approval did not name."""
        return self.counts.get("groupsLeft", 0)

    @property
    def reviewed(self) -> Sequence[tuple[str, int]]:
        """What persons decided since the plan, by action."""
        return [(action, count) for action, count in self.document.get("review", {}).items() if count]

    @property
    def reviews(self) -> int:
        """How often rows were reviewed: what a form sends to say which reviews its page counted."""
        return int(self.document.get("reviews", 0))

    def bars(self, known: Bars, where: str = "", counts: str = "counts") -> Sequence[tuple[Bar, int, str]]:
        """Return what is known of each count that is there, and the path of its rows where `where` filters them."""
        found = self.document.get(counts, {})
        return [
            (bar, found[name], f"{where}={name}" if where else "") for name, bar in known.items() if found.get(name)
        ]

    @property
    def tabs(self) -> Iterator[Tab]:
        """The pages of this run that have something to say."""
        yield Tab("Overview", self.path)
        if self.is_planned:
            yield Tab("Decisions", f"{self.path}/decisions")
        if any(self.counts.get(name) for name in words.GROUPS):
            yield Tab("Groups", f"{self.path}/groups")
        if self.waits:
            yield Tab("Approve", f"{self.path}/approve")
        if self.is_approved:
            yield Tab("Verify", f"{self.path}/verify")
        if self.has_linked:
            yield Tab("Undo", f"{self.path}/undo")


class Warned(NamedTuple):
    """A warning of a run as the API shows it."""

    document: Document
    run: str
    who: Document
    """Who acknowledged it."""

    @property
    def known(self) -> bool:
        return bool(self.document.get("acknowledged"))

    @property
    def seen(self) -> str:
        """What a form sends to say that this very warning was seen."""
        return f"{self.document['code']} {self.document.get('digest', '')}"

    @property
    def examples(self) -> Sequence[str]:
        return [_example(one) for one in self.document.get("examples", ())]

    @property
    def files(self) -> Sequence[tuple[str, str]]:
        """The files of accounts that it is about: the path of the page of each, and what the link is called."""
        return [
            (f"imports/{one['import']}", f"{counted(one['rows'], 'row')} of {one.get('file') or 'a file of accounts'}")
            for one in self.document.get("files", ())
        ]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return WARNED.get(self.document["code"], str(self.document.get("remedy", "")))

    @property
    def leads(self) -> tuple[str, str]:
        """The path and query of the page about it, and what the link is called; ("", "") for none."""
        if self.document["code"] == "unreadRows" and "identities" not in self.document.get("values", ()):
            return "", ""  # the rows are of files of accounts, each with a page of its own
        path, text = ROWS.get(self.document["code"], ("", ""))
        return path.format(run=self.run), text


def _acknowledger(warning: Document) -> dict[str, str]:
    """Return by name who acknowledged a warning, where that is known."""
    person = warning.get("persons", {}).get("acknowledged")
    return {"person": person} if person else {}


def _example(example: Document) -> str:
    if "from" in example or "to" in example:
        return f"{example.get('from') or 'none'} becomes {example.get('to')}"
    if "identity" in example:
        names = (str(example[name]) for name in ("account", "identity") if example.get(name))
        return " and ".join(dict.fromkeys(names))
    if example.keys() >= {"kind", "value", "accounts", "identities"}:
        accounts, people = counted(example["accounts"], "account"), counted(example["identities"], "identity")
        return f"{example['value']} of {accounts} and {people}"
    if example.keys() >= {"file", "line", "reason"}:
        return f"line {example['line']:,} of the {example['file']}: {example['reason'].removesuffix('.')}"
    if "excluded" in example:
        return str(example["excluded"])
    return ", ".join(f"{name} {value}" for name, value in example.items())
