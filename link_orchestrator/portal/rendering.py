"""From a template and a view to HTML. Everything is escaped by itself, and a name that is not there is an error.

The macros of templates/macros/ are at hand in every template as `ui`, without an import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from link_orchestrator.names import compared_in_words, in_words, job_in_words, label_of, rule_in_words, within
from link_orchestrator.portal.assets import addresses
from link_orchestrator.portal.remedies import in_page_words
from link_orchestrator.words import in_letters, who
from shared.directory.text import HIDDEN
from shared.directory.work import jobs

TEMPLATES: Final = Path(__file__).parent / "templates"
ROOT: Final = "/portal"


def render(template: str, context: Mapping[str, Any], fragment: str = "") -> str:
    """Return a template as HTML, or that block of it alone which `fragment` names. Raises KeyError for no block."""
    found = environment().get_template(template)
    if not fragment:
        return found.render(context)
    return "".join(found.blocks[fragment](found.new_context(dict(context))))


@cache
def environment() -> Environment:
    """Return the environment of all templates."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # Caches every template: there are fewer of them than this.
        cache_size=400,
    )
    made.filters.update(in_letters=in_letters, who=who, visible=visible)
    made.filters.update(rule_in_words=rule_in_words, compared_in_words=compared_in_words, label_of=label_of)
    made.filters.update(job_in_words=job_in_words, made_at=made_at, said=said, exact=exact)
    made.filters.update(
        in_page_words=in_page_words, number=number, moment=moment, words=in_words, capital=capital, address=address
    )
    ui = SimpleNamespace()
    made.globals.update(url=url, asset=lambda name: url(addresses()[name]), ui=ui)
    for name in sorted(file.name for file in (TEMPLATES / "macros").glob("*.html")):
        module = made.get_template(f"macros/{name}").module
        vars(ui).update({key: value for key, value in vars(module).items() if not key.startswith("_")})
    return made


def url(path: str = "", **query: object) -> str:
    """Return the address of a path behind /portal/, with a query of what is not None and not ""."""
    asked = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return f"{ROOT}/{quote(path)}".rstrip("/") + (f"?{asked}" if asked else "")


def number(value: float) -> str:
    """Return a number with commas between thousands."""
    return f"{value:,}"


def moment(value: str) -> str:
    """Return a moment of the API as people read it; the script puts it into the browser's zone."""
    try:
        return f"{datetime.fromisoformat(value).astimezone(UTC):%-d %b %Y, %H:%M} UTC"
    except ValueError:
        return value


def made_at(job_id: str) -> str:
    """Return when a job was begun, by its id; "" for an id that does not say it."""
    try:
        return jobs.made_at(job_id)
    except ValueError:
        return ""


def said(text: str) -> Markup:
    """Return a sentence of the API as a page says it: attributes as they are called there, jobs as links.

    What has no name in words, and what a person has to find or type as it is, stands in letters of one width.
    """
    return _marked(text, within)


def exact(text: str) -> Markup:
    """Return a sentence in which names of the API are to be read as they are: in letters of one width."""
    return _marked(text, lambda name: "")


def _marked(text: str, name_of: Callable[[str], str]) -> Markup:
    if isinstance(text, Markup):  # a template wrote it, with what it means
        return text
    parts, end = [], 0
    for found in _RAW.finditer(text):
        parts += [escape(text[end : found.start()]), _shown(found, name_of)]
        end = found.end()
    return Markup().join([*parts, escape(text[end:])])


def _shown(found: re.Match[str], name_of: Callable[[str], str]) -> Markup:
    raw = found[0]
    if found["job"]:
        return _job(found["job"])
    if found["person"]:
        return escape("somebody who signed in")
    if found["names"]:
        names = ", ".join(map(label_of, raw.split(", ")))
        return escape(names) if name_of("userName") else _CODE(raw)
    return escape(name_of(raw)) or _CODE(raw)


def _job(job_id: str) -> Markup:
    called = f"{job_in_words(job_id)} of {moment(made_at(job_id))}"
    return Markup('<a href="{}">{}</a>').format(url(f"jobs/{job_id}"), f"{called[:1].lower()}{called[1:]}")


_CODE: Final = Markup("<code>{}</code>").format
_RAW: Final = re.compile(
    r"(?:\b[a-z]+:)?(?P<job>\b[a-z]+20\d{12}\w*)"
    r"|\b(?P<person>entra:[0-9a-f-]{36})"
    r"|(?P<names>(?<![\w.])(?<!, )\w[\w.]*+(?:, \w[\w.]*+)*+)(?=: (?:changed since|left as the import))"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r'|[{\[]"[^{}\[\]]*[}\]]'
    r"|\bSwitch\(\[\w+\][^()]*\)"
    r"|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+(?:=\w+)?\b"
    r"|(?<![\w@.-])(?:[a-z]+\.)*[a-z]+[A-Z]\w*(?:\.\w+|\[\w+\])*(?![\w@-])"
)
"""What a sentence of the API has in the letters of programs: ids, JSON, settings, names of attributes."""


def visible(text: str) -> str:
    """Return a text without the characters in it that nobody sees."""
    return HIDDEN.sub("", text)


def address(text: str) -> Markup:
    """Return an address that breaks before its domain, where there is no room for it in one line."""
    return escape(text).replace("@", Markup("<wbr>@"))


def capital(sentence: str) -> str:
    """Return a sentence with a capital at its beginning, unless it begins with an attribute such as `userName`."""
    first = sentence.partition(" ")[0]
    return sentence if first != first.lower() else sentence[:1].upper() + sentence[1:]
