"""The summaries of a run and of an undo as HTML pages to print. They hold facts and counts, no
names, no script, and load nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from shared.directory.text import counted

DECISIONS: Final = {
    "link": ("Linked on approval", "#1a7f4b"),
    "alreadyLinked": ("Linked before", "#6fb28e"),
    "review": ("Weak evidence: for review", "#c98a00"),
    "ambiguous": ("Several accounts match", "#c98a00"),
    "conflict": ("Claimed by another identity", "#c0392b"),
    "protected": ("Protected account", "#7f6aa8"),
    "excluded": ("Excluded", "#7f6aa8"),
    "outsideVerifiedDomains": ("Address outside the verified domains", "#7f6aa8"),
    "noAccount": ("No account yet", "#2f6fb0"),
    "noIdentity": ("No identity: stays as it is", "#8a949e"),
    "sharedValue": ("Values that many share: no evidence", "#8a949e"),
}
GROUPS: Final = {
    "groupLink": ("Linked where the approval names them", "#1a7f4b"),
    "groupAlreadyLinked": ("Linked before", "#6fb28e"),
    "groupConflict": ("Claimed by another group", "#c0392b"),
    "groupExcluded": ("Excluded", "#7f6aa8"),
    "noGroup": ("Only in Entra: is created", "#2f6fb0"),
    "localGroup": ("Only here: stays as it is", "#8a949e"),
}
OUTCOMES: Final = {
    "matched": ("Finds the account", "#1a7f4b"),
    "created": ("Creates an account", "#2f6fb0"),
    "refused": ("Is refused until settled", "#c0392b"),
    "skipped": ("Is left out", "#8a949e"),
}
APPLIED: Final = {"linked": ("Linked", "#1a7f4b"), "refused": ("Refused: changed since the plan", "#c0392b")}
APPLIED_GROUPS: Final = {
    "groupsLinked": ("Linked", "#1a7f4b"),
    "groupsRefused": ("Refused: changed since the plan", "#c0392b"),
    "groupsLeft": ("Left: the approval named no groups", "#8a949e"),
}
UNDONE: Final = {
    "undone": ("As before their link", "#1a7f4b"),
    "undonePartly": ("Given back, not everything", "#c98a00"),
    "undoneInactive": ("Given back, still inactive", "#c98a00"),
    "activated": ("Switched on again", "#1a7f4b"),
    "released": ("Given back, attributes kept", "#6fb28e"),
    "refused": ("Not given back", "#c0392b"),
    "unchanged": ("Taken back before", "#8a949e"),
}
UNDONE_GROUPS: Final = {
    "groupsUndone": ("As before their link", "#1a7f4b"),
    "groupsReleased": ("Given back, attributes kept", "#6fb28e"),
    "groupsRefused": ("Not given back", "#c0392b"),
    "groupsUnchanged": ("Taken back before", "#8a949e"),
}

WIDTH, LABEL, BAR, ROW = 720, 275, 355, 26
"""Width of a chart, of its labels and of its longest bar, and height of a row: in the units of its viewBox."""

STYLE: Final = """
@page { size: A4; margin: 18mm }
* { box-sizing: border-box }
body { font: 14px/1.45 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1d2329; margin: 2rem auto;
  max-width: 720px; padding: 0 1rem; -webkit-print-color-adjust: exact; print-color-adjust: exact }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; break-after: avoid }
p.lead { margin: .2rem 0 1.2rem; color: #5a646e }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 }
dt { color: #5a646e } dd { margin: 0; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block; break-inside: avoid } svg text { font-size: 13px; fill: #1d2329 }
li { margin: .3rem 0; break-inside: avoid } li small { color: #5a646e; display: block }
.phase { display: inline-block; border: 1px solid currentColor; border-radius: 1em; padding: 0 .7em; font-size: .8rem;
  vertical-align: middle; margin-left: .6rem; font-weight: 400 }
@media print { body { margin: 0; padding: 0; max-width: none } }
"""


def summary(
    run: Mapping[str, Any], warnings: Sequence[Mapping[str, Any]], undos: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the page about a run, given as the API shows it with its own warnings, with those of its mapping.

    `undos` are those of the run, as the API shows them.
    """
    counts = run.get("counts", {})
    body = [
        f'<h1>Linking run<span class="phase">{escape(run["phase"])}</span></h1>',
        '<p class="lead">Existing accounts and their Entra identities, before provisioning starts.</p>',
        _facts(run, undos),
        _chart("What the plan decides", DECISIONS, counts),
        _chart("What the plan decides on groups", GROUPS, counts),
        _chart("What the first provisioning cycle does", OUTCOMES, run.get("predicted", {})),
        _chart("What applying the plan came to", APPLIED, counts),
        _chart("What it came to for groups", APPLIED_GROUPS, counts),
        *(part for undo in undos for part in _undone(undo, f" of {escape(undo['id'])}")),
        _warnings("What to look at before it is approved", run.get("warnings", ())),
        _warnings("What is wrong with the attribute mapping", warnings),
        _policy(run.get("options", {}).get("policy", {})),
    ]
    return _document(f"Linking run {escape(run['id'])}", body)


def undo_summary(undo: Mapping[str, Any]) -> str:
    """Return the page about an undo, given as the API shows it."""
    options = undo.get("options", {})
    facts = (
        ("Undo", undo["id"]),
        ("Of the run", options.get("run", "")),
        ("Of", "the links that creates over SCIM made" if options.get("adoptions") else ""),
        ("Attributes", "stay as they are" if options.get("keep") else "become what they were"),
        ("Switched on", counted(options["activate"], "account") if "activate" in options else "nobody"),
        ("Started", _at(undo, "started", "startedBy")),
        ("Cancelled", undo.get("cancelledBy", "") and f"by {undo['cancelledBy']}"),
        ("Ended", _at(undo, "ended")),
        ("Reason", undo.get("reason", "")),
    )
    body = [
        f'<h1>Undo<span class="phase">{escape(undo["phase"])}</span></h1>',
        '<p class="lead">Links taken back, and what people had before them.</p>',
        _list(facts),
        *_undone(undo),
    ]
    return _document(f"Undo {escape(undo['id'])}", body)


def _undone(undo: Mapping[str, Any], of: str = "") -> tuple[str, str]:
    counts = undo.get("counts", {})
    return (
        _chart(f"What the undo{of} came to", UNDONE, counts),
        _chart(f"What the undo{of} came to for groups", UNDONE_GROUPS, counts),
    )


def _document(title: str, body: Sequence[str]) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _facts(run: Mapping[str, Any], undos: Sequence[Mapping[str, Any]]) -> str:
    review = run.get("review", {})
    facts = (
        ("Run", run["id"]),
        ("Started", _at(run, "started", "startedBy")),
        ("Planned", _at(run, "planned")),
        ("Reviewed", ", ".join(f"{count:,} to {action}" for action, count in review.items() if count)),
        ("Goes on from", ", ".join(run.get("options", {}).get("since", ())[-1:])),
        ("Changed since", _changed(run)),
        ("Links to make", f"{run['links']:,}" if "links" in run else ""),
        ("Approved", _approved(run)),
        ("Approval expires", "" if "approved" in run else _at(run, "expires")),
        ("Reviews kept", _kept(run)),
        ("Cancelled", run.get("cancelledBy", "") and f"by {run['cancelledBy']}"),
        ("Ended", _at(run, "ended")),
        ("Reason", run.get("reason", "")),
        (
            "Taken back",
            "; ".join(f"{undo['id']}, {undo['phase']}, {_at(undo, 'started', 'startedBy')}" for undo in undos),
        ),
    )
    return _list(facts)


def _list(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts if value) + "</dl>"


def _approved(run: Mapping[str, Any]) -> str:
    """Return when a run was approved and by whom; of one that approved itself, by whose switch."""
    if not run.get("options", {}).get("selfApproved"):
        return _at(run, "approved", "approvedBy")
    return f"{_at(run, 'approved')}, by itself: {run['approvedBy'].partition(':')[2]} switched autoApprove on"


def _kept(run: Mapping[str, Any]) -> str:
    kept, dropped = (run["counts"].get(name, 0) for name in ("reviewsKept", "reviewsDropped"))
    former = run.get("options", {}).get("reviewsFrom", "")
    return f"{kept:,} of {kept + dropped:,} of {former}" if kept + dropped else ""


def _changed(run: Mapping[str, Any]) -> str:
    changed, compared = run.get("changed", {}), run.get("compared", {})
    return ", ".join(f"{count:,} of {compared.get(name, 0):,} {name}" for name, count in changed.items())


def _at(run: Mapping[str, Any], name: str, by: str = "") -> str:
    moment = str(run.get(name) or "").partition(".")[0].rstrip("Z").replace("T", " ")
    who = f" by {run[by]}" if by and run.get(by) else ""
    return f"{moment} UTC{who}" if moment else ""


def _chart(title: str, bars: Mapping[str, tuple[str, str]], counts: Mapping[str, int]) -> str:
    """Return a chart with a bar for each count that is not 0, all to one scale; "" if every count is 0."""
    drawn = [(label, colour, counts[name]) for name, (label, colour) in bars.items() if counts.get(name)]
    if not drawn:
        return ""
    most, total = max(count for *_, count in drawn), sum(count for *_, count in drawn)
    lines = []
    for place, (label, colour, count) in enumerate(drawn):
        y = place * ROW
        width = max(2, round(BAR * count / most))
        lines.append(
            f'<text x="{LABEL - 10}" y="{y + 17}" text-anchor="end">{label}</text>'
            f'<rect x="{LABEL}" y="{y + 4}" width="{width}" height="{ROW - 8}" rx="2" fill="{colour}"/>'
            f'<text x="{LABEL + width + 8}" y="{y + 17}">{count:,}</text>'
        )
    spoken = ", ".join(f"{label}: {count}" for label, _, count in drawn)
    return (
        f'<h2>{title}</h2><svg viewBox="0 0 {WIDTH} {len(drawn) * ROW}" role="img" aria-label="{spoken}">'
        f'{"".join(lines)}</svg><p class="lead">{total:,} in all.</p>'
    )


def _warnings(title: str, warnings: Sequence[Mapping[str, Any]]) -> str:
    if not warnings:
        return ""
    items = "".join(
        f"<li>{escape(warned['warning'])}<small>{escape(warned['remedy'])}</small></li>" for warned in warnings
    )
    return f"<h2>{title}</h2><ul>{items}</ul>"


def _limit(limit: Mapping[str, Any] | None) -> str:
    return f"up to {limit['number']:,} links and {limit['share']:.1%} of the accounts" if limit else "never"


def _policy(policy: Mapping[str, Any]) -> str:
    if not policy:
        return ""
    rules = ", ".join(f"{rule['rule']} ({rule['trust']})" for rule in policy.get("rules", ()))
    facts = (
        ("Match rules", rules),
        ("Verified domains", ", ".join(policy.get("verifiedDomains", ())) or "none"),
        ("Excluded", f"{len(policy.get('excluded', ())):,}"),
        ("Approves itself", _limit(policy.get("autoApprove"))),
        ("Safeguard", f"more than {policy.get('safeguardShare', 0):.0%} of the accounts needs its number"),
    )
    return (
        "<h2>Policy of this run</h2><dl>"
        + "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
        + "</dl>"
    )
