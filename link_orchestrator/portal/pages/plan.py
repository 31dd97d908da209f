"""Plan: what a run compares with the accounts, what is to be seen to before it, and its start. It changes nobody."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from link_orchestrator.portal.forms import Form, read_json
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.words import counted, limits_of
from shared.scim.errors import InvalidValue

Document = Mapping[str, Any]

SCOPES: Final = (
    (
        "all",
        "Everybody in the tenant",
        "With the application's object id below, the plan also says who is not assigned.",
    ),
    (
        "assigned",
        "Who is assigned to the application",
        "Directly or through a group. Its object id goes below.",
    ),
    ("groups", "The members of some groups", "Their object ids go below."),
)


class Check(NamedTuple):
    """Something to see to before a plan: `tone` is go, ask or stop."""

    tone: str
    text: str
    path: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the page of a plan's start shows."""

    uploads: Sequence[Document]
    groups: Sequence[Document]
    graph: Document
    policy: Document
    checks: Sequence[Check]
    estimate: str
    source: str
    """Where the identities come from, as chosen: upload or graph."""
    identities: str
    entra_groups: str
    full: bool = False
    """Whether everybody is to be decided on, unless the box is cleared."""
    undone: str = ""
    """When an undo began since the last plan of everybody that was approved; "" for none."""
    scopes: Sequence[tuple[str, str, str]] = SCOPES

    @property
    def alike(self) -> set[str]:
        """The ids of uploads that one of the same name was made beside in the same minute."""
        found = {one["id"]: (one["options"].get("file"), one["started"][:16]) for one in (*self.uploads, *self.groups)}
        times = Counter(found.values())
        return {id_ for id_, made in found.items() if times[made] > 1}

    @property
    def policy_text(self) -> str:
        """The directory's policy, to make another one of for this plan alone."""
        return json.dumps(self.policy, indent=2, ensure_ascii=False)

    @property
    def limits(self) -> str:
        """Up to what plans approve themselves by the directory's policy, in words; "" where none does."""
        return limits_of(self.policy)

    @property
    def may_start(self) -> bool:
        """Whether nothing is in the way."""
        return not any(check.tone == "stop" for check in self.checks)


async def show(asked: Asked) -> Outcome:
    """Show what a plan can be made of, and what is to be seen to before."""
    api = asked.api
    directory, policy, people, groups, sources, mapping, runs, unread = await asyncio.gather(
        api.get("directory"),
        api.get("directory/policy"),
        api.get("linking/identities"),
        api.get("linking/groups"),
        api.get("linking/sources"),
        api.get("linking/mapping"),
        api.get("linking/runs"),
        api.get("linking/unread"),
    )
    uploads, entra_groups, graph = _fresh(people["uploads"]), _fresh(groups["uploads"]), sources["graph"]
    form, query = asked.form, asked.query
    undone = undone_since(directory["latest"], runs["runs"])
    return Shown(
        "plan.html",
        Plan(
            uploads=uploads,
            groups=entra_groups,
            graph=graph,
            policy=policy,
            checks=[*find_checks(directory, policy, uploads, graph, mapping), *unread_checks(unread)],
            estimate=estimate(runs["runs"]),
            source=form["from"] or ("graph" if graph["ready"] and not query.get("identities") else "upload"),
            identities=form["identities"] or query.get("identities", uploads[0]["id"] if uploads else ""),
            entra_groups=form["groups"] if "groups" in form else query.get("groups", ""),
            full=bool(query.get("full")) or bool(undone),
            undone=undone,
        ),
    )


def _fresh(uploads: Sequence[Document]) -> list[Document]:
    """Return the uploads over which a run can be started, the latest first."""
    now = datetime.now(UTC)
    return [one for one in uploads if datetime.fromisoformat(one["keptUntil"]) > now]


def find_checks(
    directory: Document, policy: Document, uploads: Sequence[Document], graph: Document, mapping: Document
) -> list[Check]:
    """Return what is to be seen to before a plan, and what is well."""
    latest = directory["latest"]
    accounts = int(directory["accounts"])
    found = [
        Check("go", f"{counted(accounts, 'account')} here.")
        if accounts
        else Check("stop", "There are no accounts to link yet.", "import", "Import them")
    ]
    for kind, what in (("run", "run"), ("undo", "undo")):
        job = latest.get(kind)
        if job and "ended" not in job:
            waits = job["phase"] == "planned"
            first = (
                "waits for its approval: approve it, or drop it" if waits else "is under way: let it end, or stop it"
            )
            found.append(Check("stop", f"Another {what} {first}, first.", f"jobs/{job['id']}", "Open it"))
    if policy["matchingEnded"]:
        found.append(Check("stop", "Matching has ended: the policy lets no run start.", "policy", "Open the policy"))
    found.append(
        Check("go", f"{counted(len(policy['verifiedDomains']), 'verified domain')} set.")
        if policy["verifiedDomains"]
        else Check("ask", "No verified domains are set: no address proves anything then.", "policy", "Set them")
    )
    if limits := limits_of(policy):
        text = f"Plans approve themselves up to {limits}: accounts are then linked before anybody looks."
        found.append(Check("ask", text, "policy", "Switch that off to look first"))
    if not uploads and not graph["ready"]:
        text = "Nobody is known of Entra yet: upload Entra's users, or set up Microsoft Graph."
        found.append(Check("stop", text, "import?what=identities", "Upload them"))
    if mapping["isDefault"]:
        text = "The attribute mapping in Entra was not checked yet: the plan foretells by the one that is asked for."
        found.append(Check("ask", text, "connect", "Check it"))
    elif mapping["warnings"]:
        text = f"The attribute mapping has {counted(len(mapping['warnings']), 'warning')}."
        found.append(Check("ask", text, "connect", "See them"))
    return found


def undone_since(latest: Mapping[str, Document], runs: Sequence[Document]) -> str:
    """Return when the latest undo began, "" where there is none or a plan of everybody was approved since."""
    began = str(latest.get("undo", {}).get("started", ""))
    of_everybody = (run for run in runs if "since" not in run["options"])
    return "" if any(run.get("approved", "") > began for run in of_everybody) else began


def unread_checks(unread: Document) -> list[Check]:
    """Return what is to be seen to of files whose rows no import took so far, the latest first."""
    found = [
        Check(
            "ask",
            f"{counted(one['rows'], 'row')} of {one.get('file') or 'a file without a name'} not taken so far: the plan "
            "knows nothing of these people.",
            f"imports/{one['import']}",
            "See which",
        )
        for one in unread["files"]
    ]
    more = unread["rows"] - sum(one["rows"] for one in unread["files"])
    return found + (
        [Check("ask", f"{counted(more, 'row')} of earlier files not taken.", "import", "See the files")] if more else []
    )


def estimate(runs: Sequence[Document]) -> str:
    """Return how long a plan takes, as far as it was measured: by the last one here, or on the machine of figures."""
    for run in runs:
        if "planned" in run and "since" not in run["options"]:
            took = datetime.fromisoformat(run["planned"]) - datetime.fromisoformat(run["started"])
            seconds = max(1, round(took.total_seconds()))
            told = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} minutes"
            return f"The last plan of everybody here took {told}."
    return (
        "No plan was made here yet. Where it was measured, on one machine, 100,000 accounts with 110,000 identities "
        "were planned and linked within 34 s."
    )


async def start(asked: Asked) -> Outcome:
    """Start a run."""
    run = await asked.api.post("linking/runs", read_request(asked))
    return SeeOther(f"runs/{run['id']}")


def read_request(asked: Asked) -> dict[str, Any]:
    """Return the request for a run, as the API takes it, that a form asks for. Raises InvalidValue."""
    form = asked.form
    _refuse_unused(form)
    body: dict[str, Any] = {
        "pauseProvisioning": bool(form["pauseProvisioning"]),
        "full": bool(form["full"]),
        "reportSetAside": bool(form["reportSetAside"]),
    }
    if form["expiresHours"].strip():
        body["expiresHours"] = _number(form["expiresHours"].strip())
    if form["from"] == "graph":
        body["source"] = {"graph": _scope(asked)}
    elif form["identities"]:
        body["identities"] = form["identities"]
    else:
        raise InvalidValue("identities: choose an upload of Entra's users, or upload one first")
    if form["groups"]:
        body["groups"] = True if form["groups"] == "source" else form["groups"]
    if form["assigned"]:
        body["assigned"] = form["assigned"]
    if form["whose"] == "own":
        body["policy"] = read_json("policy", form["policy"])
    return body


def _refuse_unused(form: Form) -> None:
    """Raise InvalidValue for what was typed about Microsoft Graph, and would be of no use for the plan as chosen."""
    graph, of_groups = form["from"] == "graph", form["source.graph"] == "groups"
    said = []
    if form["source.graph.groups"].strip() and not (graph and of_groups):
        said.append("groups: they are read from Microsoft Graph with the scope The members of some groups")
    if form["source.graph.servicePrincipal"].strip() and not (graph and not of_groups):
        said.append("servicePrincipal: it is of use from Microsoft Graph with another scope")
    if said:
        raise InvalidValue("; ".join(f"source.graph.{one}: choose both, or empty this field" for one in said))


def _scope(asked: Asked) -> dict[str, Any]:
    form = asked.form
    scope: dict[str, Any] = {"scope": form["source.graph"] or "all"}
    if scope["scope"] == "groups":
        scope["groups"] = form["source.graph.groups"].replace(",", " ").split()
    elif named := form["source.graph.servicePrincipal"].strip():
        scope["servicePrincipal"] = named
    return scope


def _number(text: str) -> float | str:
    """Return a number that was typed; what is none is for the API to refuse."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


PAGES: Final = (Page("plan", show, {"start": start}, label="Plan"),)
