"""Overview: where the directory stands, and the one thing to do next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from link_orchestrator import words
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.accounts import STATES
from link_orchestrator.portal.pages.made_up import bring, find_brought, is_untouched
from link_orchestrator.portal.pages.of_run import DECIDABLE, STAYS_STOPPED, count_apart, why_stopped
from link_orchestrator.words import counted
from shared.scim.errors import InvalidValue

REFUSALS: Final = 20
"""Refusals that are asked for: whether there are more is all that the overview says of the rest."""
WARNED_AHEAD: Final = timedelta(days=60)
"""How long before its end a credential is named."""
TONES: Final = {
    "local": "rest", "linked": "go", "unconfirmed": "ask", "provisioned": "new", "protected": "apart",
    "inactive": "stop", "deletedOverScim": "stop",
}  # fmt: skip
"""The colour of each state of accounts."""
STEPS: Final = ("Connect", "Import", "Policy", "Plan", "Review", "Approve", "Provision", "Verify")

BRINGS_NOBODY: Final = ("preview", "grouppreview", "identities", "entragroups")
"""Kinds of jobs after which no account is here."""

Document = Mapping[str, Any]


class Next(NamedTuple):
    """What to do next: its step of the journey, what to say of it, and the button's text and path."""

    step: str
    title: str
    text: str
    button: str
    path: str


class Ending(NamedTuple):
    """A credential that ends soon, or has ended."""

    name: str
    expires: str
    days: int
    """Whole days until then, below 0 once it has ended."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What the overview shows."""

    directory: Document
    connection: Document
    refusals: Sequence[Document]
    more_refusals: bool
    ending: Sequence[Ending]
    next: Next
    done: Sequence[str]
    may_try: bool
    made_up: bool = False
    """Whether something is here that made-up people brought."""

    @classmethod
    def of(
        cls,
        directory: Document,
        policy: Document,
        connection: Document,
        refused: Document,
        now: datetime,
        *,
        samples: bool = False,
        made_up: bool = False,
        apart: int = 0,
    ) -> Self:
        """Return the view of the API's documents; `apart` is what count_apart() says."""
        connected = connection["lastRequest"] is not None
        step = find_next(directory, policy, apart, connected=connected)
        done = STEPS[1 : STEPS.index(step.step)] if step.step else STEPS[1:]
        return cls(
            directory=directory,
            connection=connection,
            refusals=refused["refusals"],
            more_refusals="cursor" in refused,
            ending=sorted(_ending(connection["credentials"], now), key=lambda one: one.days),
            next=step,
            done=(*STEPS[:1], *done) if connected else done,
            may_try=samples and is_empty(directory),
            made_up=made_up,
        )

    @property
    def states(self) -> Sequence[tuple[str, str, int, str]]:
        """The states that some accounts are in, each with its words, its number and its colour; () for too many."""
        counts = self.directory.get("states", {})
        return [(state, STATES[state], counts[state], tone) for state, tone in TONES.items() if counts.get(state)]

    @property
    def refused(self) -> str:
        """How many accounts provisioning was refused at."""
        more = "more than " if self.more_refusals else ""
        return f"{more}{len(self.refusals)} account{'s' if len(self.refusals) != 1 else ''}"

    @property
    def last_request(self) -> str | None:
        """When provisioning came last: what is noted of that once a minute, or a later refusal."""
        refused = (str(one["last"]) for one in self.refusals)
        return max((one for one in (self.connection["lastRequest"], *refused) if one), default=None)

    @property
    def busy(self) -> bool:
        """Whether a job goes on, so that what there is to do next may be another thing in a moment."""
        return any("ended" not in job and job["phase"] != "planned" for job in self.directory["latest"].values())

    @property
    def run(self) -> Document | None:
        """The latest run."""
        found: Document | None = self.directory["latest"].get("run")
        return found

    @property
    def expected(self) -> int:
        """How many links wait as the plan expected."""
        return words.expected_to_wait(self.verification or {})

    @property
    def verification(self) -> Document | None:
        """The latest verification, if it is of the latest run, and nothing of that was taken back since."""
        found: Document | None = self.directory["latest"].get("verification")
        if found is None or self.run is None or not _is_about(found, self.run):
            return None
        return found if found["started"] > self.run.get("takenBack", {}).get("started", "") else None


def is_empty(directory: Document) -> bool:
    """Tell whether there is no account, and none is on its way: files that were looked at brought none."""
    latest = directory["latest"].items()
    return not directory["accounts"] and all(kind in BRINGS_NOBODY or "ended" in job for kind, job in latest)


def _is_about(job: Document, run: Document) -> bool:
    return bool(job["options"].get("run") == run["id"])


def find_next(directory: Document, policy: Document, apart: int = 0, *, connected: bool = True) -> Next:
    """Return the one thing to do next; `apart` is how many links of an undo nobody made again.

    It is `connected` once Entra has sent something.
    """
    latest = directory["latest"]
    run, brought, back = latest.get("run"), latest.get("import"), latest.get("importundo")
    if back is not None and "ended" not in back:
        text = "Its page says of every account what became of it. You can close this page: it goes on by itself."
        title, button = "An import is being taken back", "See how far it is"
        return Next("Import", title, text, button, f"import-undos/{back['id']}")
    is_undone = "ended" in latest.get("undo", {"ended": ""})
    if is_undone and (deleted := words.accounts_deleted(latest)):
        return Next("Import", deleted.title, deleted.text, "Bring the file again", "import")
    is_empty_again = run is not None and "ended" in run and not directory["accounts"]
    if run is not None and not is_empty_again:
        return _next_of_run(run, latest, directory.get("runs", [run]), apart, connected=connected)
    if brought is not None and "ended" not in brought:
        text = "You can close this page: it goes on by itself, and can be taken back."
        return Next("Import", "Your accounts are being imported", text, "See how far it is", f"imports/{brought['id']}")
    if not directory["accounts"]:
        text = "An export of the accounts that the application has today. You see what is in it before it is imported."
        return Next("Import", "Bring your accounts", text, "Import your accounts", "import")
    if not policy.get("verifiedDomains"):
        text = "An address in a domain that is not yours proves nothing, and links nobody."
        return Next("Policy", "Say which domains are yours", text, "Open the policy", "policy")
    text = "It decides about every identity of Entra, and changes nobody. You look at it, and approve it or not."
    return Next("Plan", "Make a plan", text, "Make a plan", "plan")


def _next_of_run(
    run: Document, latest: Mapping[str, Document], runs: Sequence[Document], apart: int, *, connected: bool
) -> Next:
    here = f"runs/{run['id']}"
    undo = latest.get("undo")
    if undo is not None and _is_about(undo, run):
        if "ended" not in undo:
            return Next(
                "Plan",
                "The links are being taken back",
                "Its page says who is what they were before.",
                "Watch",
                f"{here}/undo",
            )
        return _after_undo(run, undo, here)
    match run["phase"]:
        case "started":
            return Next("Plan", "A plan is being made", "Nobody is changed by it.", "See how far it is", here)
        case "planned":
            waiting = sum(run["counts"].get(one, 0) - run.get("decided", {}).get(one, 0) for one in DECIDABLE)
            wait = "waits" if waiting == 1 else "wait"
            rows = f" {counted(waiting, 'row')} {wait} for a person to decide." if waiting else ""
            if any(one["code"] == "importedSince" for one in run.get("warnings", ())):
                rows += " It does not know the accounts that were imported since: drop it, and make another one."
            links = counted(run.get("links", 0), "account")
            text = f"It would link {links}.{rows} Nothing happens before somebody approves it."
            return Next("Review", "Look at the plan", text, "Look at the plan", here)
        case "approved":
            text = "Provisioning waits meanwhile, for 15 minutes at most. Linking changes no sign-in name."
            return Next("Approve", "Accounts are being linked", text, "See how far it is", here)
        case "done" if "approved" not in run:
            text = "Nothing changed since the runs before. When people come or leave, make another plan."
            return Next("", "There was nothing to do", text, "Make another plan", "plan")
        case "done":
            stopped = words.stays_stopped(latest, runs)
            if stopped or not words.has_linked(run):
                text = (
                    f"{STAYS_STOPPED if stopped else 'The last plan linked nobody, so there is nothing to verify.'} "
                    "To decide what was left to a person, make a plan of everybody."
                )
                title = "Nobody was linked since an undo" if stopped else "Nobody was linked"
                return Next("Plan", title, text, "Make a plan", "plan")
            verification = latest.get("verification")
            is_verified = verification is not None and _is_about(verification, run)
            if not is_verified and (why := why_stopped(latest, runs, apart)):
                title = f"{counted(run['counts'].get('linked', 0), 'account')} linked, and not everybody again"
                return Next("Plan", title, f"{why} A plan of everybody has their rows.", "Make a plan", "plan")
            return _after_linking(run, verification, here, connected=connected)
        case _:
            stays = "What it linked stays linked, and can be taken back on its page."
            text = f"The last run is {run['phase']}. {stays if words.has_linked(run) else 'It linked nobody.'}"
            return Next("Plan", "Make another plan", f"{text} {words.keep_off(run)}".strip(), "Make a plan", "plan")


def _after_undo(run: Document, undo: Document, here: str) -> Next:
    title, text = words.after_undo([undo], run) or (
        f"An undo of the last run is {undo['phase']}",
        "It took no link back.",
    )
    stays = words.stays(run, [undo])
    partly = "Not everybody is what they were: its page says who." if _is_partly(undo) else ""
    text = " ".join(filter(None, (stays, partly, text)))
    if stays or partly:
        return Next("Plan", title, text, "See the undo", f"{here}/undo")
    return Next("Plan", title, text, "Make a plan", "plan")


def _is_partly(undo: Document) -> bool:
    return any(undo["counts"].get(name) for name in words.NOT_WHOLLY)


def _after_linking(run: Document, verification: Document | None, here: str, *, connected: bool) -> Next:
    here = f"{here}/verify"
    if verification is None or not _is_about(verification, run):
        told = ", ".join(text for text, _ in words.first_cycle(run))
        text = (
            f"Switch provisioning on in Entra. {f'With its first cycle {told}. ' if told else ''}Once the first cycle "
            "is through, verify that it found everybody. To go back, stop provisioning there, then undo the run on its "
            "page."
        )
        if not connected:
            text = f"Nothing has come from Entra yet. Connect it, and test the connection. Then: {text}"
            return Next("Provision", "Connect Entra first, then provision", text, "Connect Entra", "connect")
        return Next("Provision", "Provision, then verify", text, "Verify", here)
    counts = verification["counts"]
    if "ended" not in verification:
        return Next("Verify", "The links are being verified", "It changes nobody.", "See how far it is", here)
    if verification["phase"] != "done":
        text = f"The verification is {verification['phase']}, so that nobody knows of every link. It can be made again."
        return Next("Verify", "The links are not verified", text, "Verify again", here)
    expected = words.expected_to_wait(verification)
    if counts.get("unconfirmed", 0) > expected or counts.get("created"):
        return Next("Verify", "Not every link is confirmed", _not_confirmed(verification), "See whose, and why", here)
    title = "Every link is confirmed, or waits as expected" if expected else "Every link is confirmed"
    if alike := counts.get("alike", 0):
        are = "is" if alike == 1 else "are"
        text = f"{counted(alike, 'account')} that provisioning created {are} much alike one that is managed here."
        text += " One person may have both: look at them."
        return Next("", title, text, "See who is alike", here)
    if expected:
        text = f"{_waits_as_expected(expected)} When people come or leave, make another plan."
        return Next("", title, text, "Make another plan", "plan")
    text = "Provisioning found everybody whom the last run linked. When people come or leave, make another plan."
    return Next("", title, text, "Make another plan", "plan")


def _not_confirmed(verification: Document) -> str:
    counts = verification["counts"]
    expected, made = words.expected_to_wait(verification), counts.get("created", 0)
    waiting = counts.get("unconfirmed", 0) - expected
    told = [f"Provisioning has not come through {counted(waiting, 'link')} yet." if waiting else ""]
    if expected:
        told.append(_waits_as_expected(expected))
    if made:
        whom = "it" if made == 1 else "them"
        told.append(f"It created {counted(made, 'account')} instead of finding {whom}.")
    return " ".join(filter(None, told))


def _waits_as_expected(expected: int) -> str:
    wait, are = ("waits", "person is") if expected == 1 else ("wait", "people are")
    return (
        f"{counted(expected, 'link')} {wait} as the plan expected: the {are} disabled in Entra, or left out there. "
        "Nothing is to be done about that."
    )


def _ending(credentials: Sequence[Document], now: datetime) -> list[Ending]:
    dated = [(one, datetime.fromisoformat(one["expires"])) for one in credentials if one["expires"]]
    return [Ending(one["name"], one["expires"], (end - now).days) for one, end in dated if end - now < WARNED_AHEAD]


async def show(asked: Asked) -> Outcome:
    """Show the overview."""
    directory, policy, connection, refused = await asyncio.gather(
        # Not for the part that is read again every second: that would look at every account.
        asked.api.get("directory", states="" if "fragment" in asked.query else "true"),
        asked.api.get("directory/policy"),
        asked.api.get("linking/connection"),
        asked.api.get("linking/refusals", count=str(REFUSALS)),
    )
    run = directory["latest"].get("run")
    if run and run["phase"] in ("planned", "done"):
        # The list of jobs does not follow each review, and has not what the first cycle does.
        run = await asked.api.get("linking/runs/{id}", id=run["id"])
        directory = {**directory, "latest": {**directory["latest"], "run": run}}
    apart = 0
    if run and run["phase"] == "done" and "undo" in directory["latest"]:
        # Other runs may have linked people since the undo, before the last one.
        directory = {**directory, "runs": (await asked.api.get("linking/runs"))["runs"]}
        apart = await count_apart(asked, directory["latest"], directory["runs"])
    found = directory["latest"].get("verification")
    if found and "ended" in found and found["counts"].get("unconfirmed"):
        # The list of jobs has not what the plan expected.
        found = await asked.api.get("linking/verifications/{id}", id=found["id"])
        directory = {**directory, "latest": {**directory["latest"], "verification": found}}
    brought = bool(await find_brought(asked)) if asked.samples else False
    samples = asked.samples is not None and await is_untouched(asked)
    now = datetime.now(UTC)
    view = Overview.of(directory, policy, connection, refused, now, samples=samples, made_up=brought, apart=apart)
    return Shown("overview.html", view)


async def try_it(asked: Asked) -> Outcome:
    """Bring made-up people: their policy, their accounts, and their identities."""
    if asked.samples is None:
        raise InvalidValue("there are no made-up people here: only the server on your own machine has them")
    if not is_empty(await asked.api.get("directory")):
        raise InvalidValue("this directory has people already, and made-up ones would change its policy")
    if not await is_untouched(asked):
        raise InvalidValue("somebody has set this directory's policy, and made-up people would put theirs in its place")
    await bring(asked, asked.samples)
    return SeeOther("", said="tried")


PAGES: Final = (
    Page(
        "",
        show,
        {"try": try_it},
        label="Overview",
        notices={
            "tried": "Made-up accounts are being imported. Their policy and their company's identities are here. To go "
            "back, take all of it back from here."
        },
    ),
)
