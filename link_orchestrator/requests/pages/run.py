"""The page about a linking run: what it decides, what to look at first, how to approve it, and how to go back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from link_orchestrator import words
from link_orchestrator.requests.pages.files import describe
from link_orchestrator.requests.pages.parts import (
    actor,
    at,
    bars,
    box,
    code,
    document,
    facts,
    heading,
    items,
    listed,
    moment,
    paragraph,
    section,
    tiles,
    whole,
)
from link_orchestrator.requests.pages.persons import decided, may_be
from link_orchestrator.requests.pages.policy import domains_of, sentences
from link_orchestrator.requests.pages.undo import outcome
from link_orchestrator.requests.pages.warned import boxes, to_acknowledge
from link_orchestrator.words import Bar
from shared.directory.text import counted
from shared.json_text import dump

Shown = Mapping[str, Any]
"""A job as the API shows it."""

PORTAL: Final = code("/portal")
"""Where the portal is, behind the app's address."""
MOST_DOMAINS: Final = 3
"""Domains that a title names at most."""


def summary(
    run: Shown,
    warned: Sequence[Shown] = (),
    undos: Sequence[Shown] = (),
    read: Sequence[Shown] = (),
    *,
    reviewers: Sequence[Shown] = (),
    suggested: Sequence[Shown] = (),
    trial: bool = False,
) -> str:
    """Return the page about a run, given with its own warnings.

    `warned` are those of its mapping, `undos` its undos, and `read` the imports and uploads that it goes by, oldest
    first. `reviewers` are who reviewed its rows, and `suggested` the likeliest of its rows with suggestions. A `trial`
    is a plan that is not kept, so that nobody can approve it.
    """
    counts = run.get("counts", {})
    head = "A plan that was tried" if trial else "Linking run"
    first = "Look at this first" if run["phase"] in ("started", "planned") else "What the plan warned of"
    taken_back = words.after_undo(undos, run)
    body = [
        heading(f"Scimlink · {head}", _title(run), run["phase"], _lead(run, undos)),
        box(*taken_back) if taken_back else "",
        *_overview(counts),
        _reviewed(run),
        section(first, boxes(run.get("warnings", ()), run["id"], trial=trial)),
        section("Who decided", decided(run, undos, reviewers)),
        section("What applying the plan came to", _applied(run)),
        *(section(f"What {undo['id']} came to", outcome(undo)) for undo in undos),
        section("What the plan decides", bars("Decision", words.DECISIONS, counts)),
        section("Who may be whom", _suggested(run.get("suggestions", {}), suggested)),
        section("Values that many share", bars("Value", words.SHARED, counts)),
        section("What the plan decides on groups", bars("Decision", words.GROUPS, counts)),
        section("What the first provisioning cycle does", bars("Identity", words.PREDICTED, run.get("predicted", {}))),
        section("What it changes of the linked accounts", _impact(run.get("impact", {}))),
        section("What is wrong with the attribute mapping", boxes(warned, run["id"], trial=trial)),
        section("What was read", _source(run) + describe(read)),
        section("The policy of this run", sentences(run.get("options", {}).get("policy", {}))),
        section("How to approve it", _approval(run, trial=trial)),
        section("How to go back", _undo(run, trial=trial)),
        section("This run", "" if trial else _facts(run, undos)),
    ]
    return document(f"{head} {run['id']}", body)


def _title(run: Shown) -> str:
    domains = [words.in_letters(domain) for domain, _ in domains_of(run.get("options", {}).get("policy", {}))]
    if not domains:
        return "Existing accounts and their Entra identities"
    more = len(domains) - MOST_DOMAINS
    return f"Linking {listed([*domains[:MOST_DOMAINS], *([f'{more:,} more domains'] if more > 0 else [])])}"


def _lead(run: Shown, undos: Sequence[Shown] = ()) -> str:
    links, done = run.get("links", 0), run.get("counts", {}).get("linked", 0)
    match run["phase"]:
        case "started":
            return "Identities and accounts are being compared. Nothing has changed."
        case "planned":
            whose, else_of = ("its Entra identity", "it") if links == 1 else ("their Entra identities", "them")
            many = f"{counted(links, 'more existing account' if done else 'existing account')} would be linked"
            sofar = _piloted(done) if done else "Nothing has changed yet."
            return f"{sofar} On approval, {many} with {whose}, and nothing else of {else_of} changes."
        case "approved":
            are = "is" if links == 1 else "are"
            return f"Approved: {counted(links, 'existing account')} {are} being linked."
        case "expired":
            rest, sofar = ("the rest of the plan", _piloted(done)) if done else ("the plan", "Nothing has changed.")
            return f"Nobody approved {rest} in time. {sofar}"
        case "done" if "approved" not in run:
            return "Nothing changed since the runs before, so there was nothing to do."
        case _ if undos and run["phase"] != "done":
            left = words.stays(run, undos) if "ended" in undos[-1] else "An undo is under way."
            return f"{counted(done, 'account')} linked by the time the run was {run['phase']}. {left}"
        case _ if undos:
            return f"{counted(done, 'account')} linked with their Entra identities, and an undo since."
        case _:
            return f"{counted(done, 'account')} linked with their Entra identities. What is linked can be taken back."


def _piloted(done: int) -> str:
    return f"A pilot has linked {counted(done, 'account')} with their Entra identities."


def _overview(counts: Mapping[str, int]) -> Iterator[str]:
    shares = [(sum(counts.get(name, 0) for name in names), colour, label) for label, colour, names in words.WHOLES]
    known = [share for share in shares if share[0]]
    yield tiles((count, label, colour) for count, colour, label in known)
    yield whole([(count, colour) for count, colour, _ in known])


def _reviewed(run: Shown) -> str:
    """Return what persons decided since the plan, whose own decisions the numbers above are; "" for nothing."""
    review = ", ".join(f"{count:,} to {action}" for action, count in run.get("review", {}).items() if count)
    return paragraph(f"So says the plan. Since then, reviews chose rows: {review}." if review else "")


def _suggested(counts: Mapping[str, int], likeliest: Sequence[Shown]) -> str:
    """Return of how many who are left a counterpart is suggested, and the likeliest; "" where it is of none."""
    whose = (("noAccount", "identity"), ("noIdentity", "account"))
    told = [counted(count, noun) for name, noun in whose if (count := counts.get(name, 0))]
    if not told:
        return ""
    said = (
        f"By likeness of names and addresses, a counterpart is suggested for {listed(told)} without a match. The rows "
        "show whom; nobody is linked by it unless a person names them."
    )
    decision = likeliest[0]["decision"] if likeliest else ""
    return paragraph(said) + may_be(likeliest, counts.get(decision, 0))


def _impact(counts: Mapping[str, int]) -> str:
    """Return by attribute of how many linked accounts the first cycle changes it; what people notice comes first."""
    changed = {name: count for name, count in counts.items() if name != "accounts"}
    others = sorted(changed.keys() - words.CHANGED.keys(), key=changed.__getitem__, reverse=True)
    named = {**words.CHANGED, **{name: Bar(name, "new") for name in others}}
    accounts = counted(counts.get("accounts", 0), "account")
    told = f"Something changes of {accounts}, under the mapping. An account counts for each attribute that changes."
    return bars("Attribute", named, changed, told, total=False)


def _source(run: Shown) -> str:
    """Return from where a run read the identities itself; "" where they came as a file."""
    options = run.get("options", {})
    if "source" not in options:
        return ""
    scopes = {"all": "everybody", "assigned": "who is assigned to the application", "groups": "members of groups"}
    scope = options["source"].get("graph", {}).get("scope", "")
    known = (
        ("Read", at(run, "started", "startedBy")),
        ("Tenant", options.get("tenant", "")),
        ("Who", scopes.get(scope, scope)),
        ("Could not be used", f"{run.get('counts', {}).get('unusable', 0):,}"),
    )
    return f"<h3>Identities: Microsoft Graph</h3>{facts(known)}"


def _applied(run: Shown) -> str:
    counts = run.get("counts", {})
    return "".join(
        (
            bars("Accounts", words.APPLIED, counts),
            bars("Refused, by what was in the way", words.REFUSED_BY, run.get("refusedBy", {})),
            bars("Groups", words.APPLIED_GROUPS, counts),
            bars("Groups refused, by what was in the way", words.REFUSED_BY, run.get("groupsRefusedBy", {})),
        )
    )


def _approval(run: Shown, *, trial: bool) -> str:
    if trial:
        return items(_trial_steps(), numbered=True)
    return items(_steps(run), numbered=True) if run["phase"] == "planned" else ""


def _trial_steps() -> Iterator[str]:
    policy, accounts = code("PUT /directory/policy"), code("POST /accounts/import")
    identities, runs = code("POST /linking/identities"), code("POST /linking/runs")
    yield "This plan is not kept, so nothing can be approved from it. Nothing has changed anywhere."
    yield (
        f"In the portal of the app ({PORTAL}): open <strong>Policy</strong> and set what this plan went by, "
        "<strong>Import</strong> the same two files, and make a <strong>Plan</strong> of them."
    )
    yield (
        "That plan is this one, as long as the files are the same. On its page decide about the rows that wait for a "
        "person, then <strong>Go on to approve</strong>: tick the warnings, and type the number of links."
    )
    yield f"Or over the API: {policy}, then {accounts} and {identities} with the same files, and {runs}."


def _steps(run: Shown) -> Iterator[str]:
    path = f"/linking/runs/{run['id']}"
    rows, review, approve = f"GET {path}/decisions?decision=review", f"POST {path}/review", f"POST {path}/approve"
    codes = to_acknowledge(run.get("warnings", ()))
    body = dump({"links": run.get("links", 0)} | ({"acknowledged": codes} if codes else {}))
    seen = ", and tick the warnings that you have seen" if codes else ""
    here = code(f"/portal/runs/{run['id']}")
    yield (
        f"In the portal ({here}), decide about the rows that wait for a person. Then "
        f"<strong>Go on to approve</strong>: type the number of links, {run.get('links', 0):,}{seen}."
    )
    yield f"Or over the API: review rows, {code(rows)} and {code(review)}; then {code(approve)} with {code(body)}."
    yield (
        "Each of these accounts gets its identity's object id as externalId, and nothing else of it changes. A row "
        "whose account changed since the plan is refused. Provisioning waits meanwhile, for 15 minutes at most."
    )
    if "expires" in run:
        stays = "" if run.get("counts", {}).get("linked") else ", and nothing has changed"
        yield f"Without an approval the plan expires at {escape(moment(run['expires']))}{stays}."


def _undo(run: Shown, *, trial: bool) -> str:
    planned = run["phase"] == "planned"
    if not planned and "approved" not in run:
        return ""
    path = "/linking/runs/{id}" if trial else f"/linking/runs/{run['id']}"
    undo, cancel = code(f"POST {path}/undo"), code(f"POST {path}/cancel")
    days = run.get("options", {}).get("policy", {}).get("undoDays")
    piloted = planned and run.get("counts", {}).get("linked", 0)
    first = f"{cancel}, and once that has ended " if piloted else ""
    rest = ", once you have dropped the rest of its plan there" if piloted else ""
    there = f"take the run back in the portal, on its page Undo{rest}. Or over the API: "
    told = [
        f"Stop provisioning in Entra, then {there}send {first}{undo}.",
        "Everybody whom the run linked returns to what they were before: same sign-in, same attributes, managed here.",
        "What somebody edited here since is named, row by row, and nobody is switched on unseen.",
        f"What provisioning replaces is kept for {counted(days, 'day')}." if days else "",
        f"Until the plan is approved there is nothing to take back: {cancel} drops it."
        if planned and not piloted and not trial
        else "",
    ]
    return f"<p>{' '.join(filter(None, told))}</p>"


def _facts(run: Shown, undos: Sequence[Shown]) -> str:
    review = run.get("review", {})
    taken_back = "; ".join(f"{undo['id']}, {undo['phase']}, {at(undo, 'started', 'startedBy')}" for undo in undos)
    return facts(
        (
            ("Run", run["id"]),
            ("Started", at(run, "started", "startedBy")),
            ("Planned", at(run, "planned")),
            ("Reviewed", ", ".join(f"{count:,} to {action}" for action, count in review.items() if count)),
            ("Goes on from", ", ".join(run.get("options", {}).get("since", ())[-1:])),
            ("Changed since", _changed(run)),
            ("Links to make", f"{run['links']:,}" if "links" in run else ""),
            ("Approved", _approved(run)),
            ("Approval expires", at(run, "expires") if run["phase"] == "planned" or "approved" not in run else ""),
            ("Reviews kept", _kept(run)),
            ("Cancelled", f"by {actor(run, 'cancelledBy')}" if "cancelledBy" in run else ""),
            ("Ended", at(run, "ended")),
            ("Reason", run.get("reason", "")),
            ("Taken back", taken_back),
        )
    )


def _approved(run: Shown) -> str:
    """Return when a run was approved and by whom; of one that approved itself, by whose switch; "" of pilots alone."""
    approvals = run.get("options", {}).get("approvals", ())
    if approvals and approvals[-1]["pilot"]:
        return ""
    if not run.get("options", {}).get("selfApproved"):
        return at(run, "approved", "approvedBy")
    return f"{at(run, 'approved')}, by itself: {actor(run, 'approvedBy')}"


def _kept(run: Shown) -> str:
    kept, dropped = (run["counts"].get(name, 0) for name in ("reviewsKept", "reviewsDropped"))
    former = run.get("options", {}).get("reviewsFrom", "")
    return f"{kept:,} of {kept + dropped:,} of {former}" if kept + dropped else ""


def _changed(run: Shown) -> str:
    changed, compared = run.get("changed", {}), run.get("compared", {})
    return ", ".join(f"{count:,} of {compared.get(name, 0):,} {name}" for name, count in changed.items())
