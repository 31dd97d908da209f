"""The parts that every page is made of: a document with its style, sections, facts, bars, steps.

Parts take HTML where they say so, and text everywhere else; text is escaped here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from link_orchestrator.words import Bar, who

LEAST_SHARE: Final = 0.6
"""Percent of a bar's full length that the smallest count still gets, or it could not be seen."""

_LIGHT: Final = """
  --paper: #fff; --ink: #1b2430; --soft: #566170; --line: #d8dee5; --panel: #f4f6f8; --trough: #e9edf1;
  --go: #1a7f4b; --went: #74b795; --ask: #c98a00; --stop: #c0392b; --apart: #7f6aa8; --new: #2f6fb0; --rest: #8a949e;
  --heed: #fff7e0; --heed-line: #c98a00"""
_DARK: Final = """
  --paper: #14181d; --ink: #e7eaee; --soft: #a6b0bb; --line: #303943; --panel: #1b2127; --trough: #262e36;
  --go: #40b67d; --went: #2c7a55; --ask: #e0a838; --stop: #ea6f61; --apart: #a793d4; --new: #62a1e0; --rest: #7d8894;
  --heed: #2a2415; --heed-line: #e0a838"""

STYLE: Final = f"""
@page {{ size: A4; margin: 16mm 16mm 18mm; @bottom-right {{ content: counter(page) " / " counter(pages);
  font: 9pt system-ui, sans-serif; color: #566170 }} }}
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box }}
html {{ background: var(--paper); -webkit-text-size-adjust: 100% }}
body {{ font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 880px; padding: 2.5rem 1.25rem 4rem; -webkit-print-color-adjust: exact; print-color-adjust: exact }}
h1 {{ font-size: 1.75rem; line-height: 1.2; margin: 0; text-wrap: balance; overflow-wrap: anywhere }}
h2 {{ font-size: 1.15rem; line-height: 1.3; margin: 0 0 .6rem; break-after: avoid }}
h3 {{ font-size: 1rem; margin: 1.4rem 0 .4rem; break-after: avoid; overflow-wrap: anywhere }}
h2 + h3 {{ margin-top: 0 }} section {{ margin-top: 2.6rem }}
p, li, small {{ text-wrap: pretty }} p {{ margin: 0 0 .7rem; max-width: 68ch }}
p.lead {{ font-size: 1.1rem; margin: .8rem 0 0 }}
p.kind {{ margin: 0 0 .4rem; font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; color: var(--soft) }}
p.soft {{ margin: .6rem 0 .2rem }}
p.soft, small {{ color: var(--soft) }} small {{ font-size: .87rem; display: block }}
small {{ font-weight: 400; overflow-wrap: anywhere }}
.state {{ display: inline-block; border: 1px solid currentColor; border-radius: 1em; padding: .05em .7em;
  font-size: .85rem; line-height: 1.5; vertical-align: .25em; margin-left: .6rem; font-weight: 400;
  color: var(--soft) }}
code {{ font: .9em ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; background: var(--panel);
  border-radius: 3px; padding: .1em .35em; overflow-wrap: anywhere }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.4rem; margin: 0 }}
dt {{ color: var(--soft) }} dd {{ margin: 0; overflow-wrap: anywhere }}
ul, ol {{ margin: 0; padding-left: 1.4rem; max-width: 72ch }} li {{ margin: .35rem 0; break-inside: avoid }}
li:has(ul) {{ break-inside: auto }}
ul.tiles {{ list-style: none; padding: 0; margin: 1.6rem 0 0; max-width: none; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)) }}
ul.tiles li {{ margin: 0; background: var(--panel); border-radius: 8px; border-top: 4px solid var(--rest);
  padding: .7rem .9rem .8rem }}
ul.tiles strong {{ display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums }}
svg {{ display: block; width: 100% }}
svg.whole {{ height: 26px; border-radius: 5px; margin: 1.4rem 0 .7rem }}
table {{ border-collapse: collapse; width: 100% }} table + table {{ margin-top: 1.6rem }}
caption {{ text-align: left; color: var(--soft); padding: 0 0 .5rem; caption-side: top }}
th, td {{ text-align: left; vertical-align: top; font-weight: 400; padding: .5rem .9rem .5rem 0;
  border-top: 1px solid var(--line) }}
thead th, thead td {{ color: var(--soft); font-size: .87rem; border-top: 0; vertical-align: bottom }}
tbody th {{ font-weight: 600 }} th, td {{ overflow-wrap: break-word }} tr {{ break-inside: avoid }}
ul ul {{ margin: .2rem 0 0 }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
td.bar {{ width: 34%; padding-right: 0 }}
td.bar svg {{ height: 14px; margin-top: .28rem; border-radius: 3px; background: var(--trough) }}
.warning {{ background: var(--heed); border-left: 5px solid var(--heed-line); border-radius: 4px; list-style: none;
  padding: .75rem 1rem; margin: .6rem 0; break-inside: avoid }}
ul.warnings {{ padding: 0; max-width: none }} .warning strong {{ display: block; font-weight: 600 }}
.known {{ background: var(--panel); border-left-color: var(--rest) }}
.go {{ fill: var(--go); border-color: var(--go) !important }} .went {{ fill: var(--went) }}
.ask {{ fill: var(--ask); border-color: var(--ask) !important }} .stop {{ fill: var(--stop) }}
.apart {{ fill: var(--apart); border-color: var(--apart) !important }}
.new {{ fill: var(--new); border-color: var(--new) !important }} .rest {{ fill: var(--rest) }}
footer {{ margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .87rem }}
:focus-visible {{ outline: 2px solid var(--new); outline-offset: 2px }}
@media (max-width: 34rem) {{
  body {{ padding-top: 1.5rem }} dl {{ grid-template-columns: 1fr; gap: 0 }} dd {{ margin-bottom: .5rem }}
  td.bar {{ width: 22% }} }}
@media (forced-colors: active) {{ rect {{ fill: CanvasText; stroke: Canvas }} }}
@media print {{
  body {{ font-size: 10pt; max-width: none; padding: 0 }} section {{ margin-top: 1.6rem }}
  ul.tiles {{ grid-template-columns: repeat(auto-fit, minmax(29mm, 1fr)) }}
  th, td {{ padding-top: .3rem; padding-bottom: .3rem }} }}
"""


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole page; `title` is text, `body` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        f"<main>{join(body)}</main>\n</body></html>\n"
    )


def join(parts: Iterable[str]) -> str:
    """Return parts of HTML below one another, without those that are empty."""
    return "\n".join(part for part in parts if part)


def heading(kind: str, title: str, state: str, lead: str) -> str:
    """Return the head of a page: what it is, what it is about, its job's state, and one sentence. All is text."""
    return (
        f'<header><p class="kind">{escape(kind)}</p><h1>{escape(title)}<span class="state">{escape(state)}</span></h1>'
        f'<p class="lead">{escape(lead)}</p></header>'
    )


def section(title: str, *parts: str) -> str:
    """Return a section of HTML below a heading of text; "" where there is nothing in it."""
    inside = join(parts)
    name = "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())
    head = f'<h2 id="{escape(name)}">{escape(title)}</h2>'
    return f'<section aria-labelledby="{escape(name)}">{head}\n{inside}</section>' if inside else ""


def paragraph(text: str) -> str:
    """Return a paragraph of text; "" for none."""
    return f"<p>{escape(text)}</p>" if text else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a list, without those that have no value."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f"<dl>{items}</dl>" if items else ""


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of text below a header, with a caption of text if there is one; "" for no row."""
    inside = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{said}<thead><tr>{head}</tr></thead><tbody>{inside}</tbody></table>" if inside else ""


def items(texts: Iterable[str], *, numbered: bool = False) -> str:
    """Return a list of HTML items, numbered where they are steps; "" for none."""
    inside = "".join(f"<li>{text}</li>" for text in texts)
    tag = "ol" if numbered else "ul"
    return f"<{tag}>{inside}</{tag}>" if inside else ""


def box(title: str, *texts: str, tag: str = "div", state: str = "", lead: str = "") -> str:
    """Return a box with what is to be known first: its title, texts below it, and a link of HTML that leads on."""
    inside = "".join(f"<small>{escape(text)}</small>" for text in texts if text)
    inside += f"<small>{lead}</small>" if lead else ""
    return f'<{tag} class="warning {state}"><strong>{escape(title)}</strong>{inside}</{tag}>'


def tiles(figures: Iterable[tuple[int, str, str]]) -> str:
    """Return figures side by side: each a number, what it counts, and its colour."""
    inside = "".join(
        f'<li class="{colour}"><strong>{count:,}</strong> {escape(label)}</li>' for count, label, colour in figures
    )
    return f'<ul class="tiles">{inside}</ul>' if inside else ""


def whole(shares: Sequence[tuple[int, str]]) -> str:
    """Return one bar that counts divide among them, each in its colour. What it shows is said in words beside it."""
    total = sum(count for count, _ in shares)
    if not total:
        return ""
    drawn, at = [], 0.0
    for count, colour in shares:
        width = 1000 * count / total
        drawn.append(f'<rect x="{at:.1f}" width="{max(width - 2, 1):.1f}" height="26" class="{colour}"/>')
        at += width
    return (
        f'<svg class="whole" viewBox="0 0 1000 26" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'
    )


def bars(
    what: str, named: Mapping[str, Bar], counts: Mapping[str, int], caption: str = "", *, total: bool = True
) -> str:
    """Return a table with a bar for each count that is not 0, all to one scale; "" if every count is 0.

    `what` heads the column of names. `caption` is said above it, with the sum of the counts where they add up.
    """
    drawn = [(bar, counts[name]) for name, bar in named.items() if counts.get(name)]
    if not drawn:
        return ""
    most = max(count for _, count in drawn)
    rows = "".join(
        f'<tr><th scope="row">{escape(bar.label)}{_small(bar.meaning)}</th><td class="number">{count:,}</td>'
        f'<td class="bar" aria-hidden="true"><svg viewBox="0 0 100 10" preserveAspectRatio="none">'
        f'<rect width="{max(100 * count / most, LEAST_SHARE):.1f}" height="10" class="{bar.colour}"/></svg></td></tr>'
        for bar, count in drawn
    )
    head = (
        f'<thead><tr><th scope="col">{escape(what)}</th><th scope="col" class="number">Count</th>'
        '<td aria-hidden="true"></td></tr></thead>'
    )
    said = f"{caption} {sum(count for _, count in drawn):,} in all.".strip() if total else caption
    return f"<table><caption>{escape(said)}</caption>{head}<tbody>{rows}</tbody></table>"


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def code(text: str) -> str:
    """Return text as code, in HTML."""
    return f"<code>{escape(text)}</code>"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return words as a sentence lists them."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def moment(value: object) -> str:
    """Return a time as the API shows it as a reader likes it, in UTC; "" for none."""
    text = str(value or "").partition(".")[0].rstrip("Z").replace("T", " ")
    return f"{text} UTC" if text else ""


def at(job: Mapping[str, Any], name: str, by: str = "") -> str:
    """Return when something happened to a job, and by whom; "" if it did not."""
    when = moment(job.get(name))
    return f"{when} by {actor(job, by)}" if when and by and job.get(by) else when


def actor(job: Mapping[str, Any], by: str) -> str:
    """Return who did something to a job: the person where one is known, else whom the field `by` names."""
    return who(str(job[by]), str((job.get("persons") or {}).get(by.removesuffix("By"), "")))
