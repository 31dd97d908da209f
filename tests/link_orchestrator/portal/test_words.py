"""No page shows a person a raw name of the API: every page of a directory in many states is read as its user would."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from link_orchestrator.files import accounts, groups
from link_orchestrator.kinds import KINDS
from link_orchestrator.names import JOBS, label_of
from link_orchestrator.portal.pages import PAGES
from link_orchestrator.portal.rendering import exact, said
from tests.link_orchestrator.portal.door import Answer, Door, opened
from tests.link_orchestrator.portal.people import ask, everybody
from tests.link_orchestrator.portal.runs import plan_demo
from tests.link_orchestrator.portal.test_links import linked_in
from tests.link_orchestrator.running import csv_file
from tests.waiting import until

MOST_ALIKE: Final = 3
"""Addresses of one page, with the same conditions by name, that are looked at."""
EXACT: Final = frozenset({"code", "pre", "kbd", "bdi", "textarea", "title"})
"""Elements that have a value as it is: in letters of one width, or somebody's own text."""
WITHIN_A_LINE: Final = frozenset({"wbr", "span", "strong", "em", "b"})
RAW: Final = {
    "a name of the API": re.compile(r"\b[a-z]+[A-Z]\w*"),
    "an attribute's path": re.compile(r"\b\w+\[\w+\]|urn:|\b(?:name|enterprise)\.[a-z]\w+"),
    "the id of a job": re.compile(r"\b[a-z]+20\d{6}\w*"),
    "an object id": re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b"),
    "JSON": re.compile(r'[{\[]"|"[}\]]'),
    "a name with underscores": re.compile(r"\b\w+_\w+"),
    "nothing, as a program has it": re.compile(r"\bNone\b,?(?! [a-z])|\bTrue\b|\bFalse\b|\bnull\b|\bnan\b"),
}
"""What nobody but a programmer knows how to read."""
PROPER: Final = frozenset({"shift_jis"})
"""Names that are written so everywhere: an encoding."""


class Raw(NamedTuple):
    """A raw word on a page, and what stands around it."""

    page: str
    what: str
    around: str


class Reader(HTMLParser):
    """Collects what a person reads of a page, without values that are shown as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in EXACT:
            self._within.append(tag)
        if tag not in WITHIN_A_LINE | EXACT:
            self.text += f" | {dict(attrs).get('aria-label') or ''} "

    def handle_endtag(self, tag: str) -> None:
        if self._within and self._within[-1] == tag:
            self._within.pop()
        elif tag not in WITHIN_A_LINE:
            self.text += " | "

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.text += data


def raw_words(path: str, html: str) -> Iterator[Raw]:
    """Yield the raw words on a page. Addresses of people are theirs."""
    reader = Reader()
    reader.feed(html)
    text = " ".join(word for word in reader.text.split() if "@" not in word)
    for what, pattern in RAW.items():
        for found in pattern.finditer(text):
            if found[0] not in PROPER:
                yield Raw(path, what, text[max(0, found.start() - 60) : found.end() + 40])


def kind_of(path: str) -> str:
    """Return which page an address is of, and with which conditions, whatever their values."""
    bare, _, query = path.partition("?")
    page = next((one.path for one in PAGES if re.fullmatch(re.sub(r"\{\*?\w+\}", "[^/]+", one.path), bare)), bare)
    return f"{page}?{'&'.join(sorted(part.partition('=')[0] for part in query.split('&') if part))}"


async def every_page(door: Door) -> list[tuple[str, Answer]]:
    """Return every page that links lead to from the first one. A report is a document of the API, and none of them."""
    found, new, pages, alike = {""}, [""], list[tuple[str, Answer]](), Counter[str]()
    while new:
        path = new.pop(0)
        alike[kind_of(path)] += 1
        if alike[kind_of(path)] > MOST_ALIKE or re.search(r"/report(\?|$)", path):
            continue
        page, led = await door.get(path), list[str]()
        if page.status == 303:
            led = [page.headers["Location"].removeprefix("/portal/")]
        elif "html" in page.headers["Content-Type"]:
            pages.append((path, page))
            led = linked_in(page.html)
        new += dict.fromkeys(one for one in led if one not in found)
        found |= {*led}
    return pages


async def hold(door: Door, *more: str) -> None:
    """Hold every page, and further ones, to what a person can read."""
    pages = await every_page(door) + [(path, await door.get(path)) for path in more]
    found = {(kind_of(raw.page), raw.what, raw.around) for path, page in pages for raw in raw_words(path, page.html)}
    assert not found, "\n".join(map(str, sorted(found)))


async def ended(door: Door, kind: str) -> None:
    """Wait until the last job of a kind has ended."""

    async def is_over() -> bool:
        latest = (await door.api.call("GET", "directory"))["latest"]
        return kind in latest and "ended" in latest[kind]

    await until(is_over)


async def test_no_page_of_a_run_from_its_plan_to_its_undo_has_a_raw_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        await hold(door)
        run = await plan_demo(door.api)
        rows = {row["decision"]: row for row in await door.api.decisions(run)}
        assert len(rows) > 8, "of each decision a row is looked at"
        of_run = f"runs/{run['id']}"
        await ask(door, "POST", f"linking/{of_run}/review", {"rows": [rows["review"]["id"]], "action": "link"})
        await hold(door, *(f"{of_run}/rows/{row['id']}" for row in rows.values()))
        await door.api.apply(run, links=run["links"] + 1)
        await door.send(f"{of_run}/verify", {"do": "verify"})
        await ended(door, "verification")
        await door.api.call("POST", f"linking/{of_run}/undo", {})
        await ended(door, "undo")
        await hold(door, *(f"{of_run}/rows/{row['id']}" for row in rows.values()))


async def test_no_page_about_files_and_people_has_a_raw_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        await everybody(door)
        rows = (
            {"userName": "ok@contoso.com", "email": "", "active": "", "Abteilung": "IT"},
            {"userName": "a@contoso.com", "email": "x", "active": "", "Abteilung": "IT"},
            {"userName": "b@contoso.com", "email": "", "active": "perhaps", "Abteilung": "IT"},
            {"userName": "OK@contoso.com", "email": "", "active": "", "Abteilung": "IT"},
        )
        await door.api.bring(csv_file(*rows))
        job = (await door.api.call("GET", "directory"))["latest"]["import"]["id"]
        preview = await door.api.call("POST", "accounts/import", csv_file(*rows), "text/csv", preview="true")
        await ended(door, "preview")
        await hold(door, f"imports/{preview['id']}", f"previews/{preview['id']}")
        await door.api.call("POST", f"accounts/imports/{job}/undo", {})
        await ended(door, "importundo")
        await hold(door)


REFUSED: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("policy", {"do": "save", "seen": "0", "excluded": "type nobody\ngroup 7", "verifiedDomains": "*"}),
    ("policy", {"do": "save", "seen": "0", "autoApprove.share": "x", "approves": "yes"}),
    ("policy", {"do": "raw", "raw": '{"excluded": [{"kind": 1}], "x": 1}', "seen": "0"}),
    ("plan", {"do": "plan", "from": "graph", "source.graph": "groups"}),
    ("connect", {"do": "check", "mapping": '{"synchronizationRules": 1}'}),
    ("connect", {"do": "read", "source.graph.servicePrincipal": "x"}),
    ("import", {"do": "bring", "file": "Name,Abteilung\nAda,IT\n"}),
    ("runs/x", {}),
    ("accounts?state=x", {}),
)


@pytest.mark.parametrize(("path", "fields"), REFUSED)
async def test_no_refusal_has_a_raw_name(door: Door, path: str, fields: dict[str, str]) -> None:
    page = await door.send(path, fields) if fields else await door.get(path)
    assert page.status in (400, 404, 422), page.text
    assert not list(raw_words(path, page.html))


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("It has the userPrincipalName as userName.", "It has the user principal name as sign-in name."),
        (
            "Only weak evidence (nameId) connects the two",
            "Only weak evidence (NameID of a past sign-in) connects the two",
        ),
        ("type sharedMailbox", "type <code>sharedMailbox</code>"),
        ("jDoe@contoso.com and a.jDoe-x", "jDoe@contoso.com and a.jDoe-x"),
        ("<userName>", "&lt;sign-in name&gt;"),
        ('{"x<": 1} is no', "<code>{&#34;x&lt;&#34;: 1}</code> is no"),
        (
            "undone by undo20261201135347727ee116e.",
            'undone by <a href="/portal/jobs/undo20261201135347727ee116e">undo of 1 Dec 2026, 13:53 UTC</a>.',
        ),
        (
            "linked since, by run:run202612011455158422141f8: it is as it was.",
            (
                'linked since, by <a href="/portal/jobs/run202612011455158422141f8">run of 1 Dec 2026, 14:55 UTC</a>: '
                "it is as it was."
            ),
        ),
        (
            (
                "The account is given back; evidence, externalId, link, status: changed since (release by "
                "entra:10ca1000-0000-4000-8000-000000000001); name: left as the import wrote it"
            ),
            (
                "The account is given back; Past sign-ins, Object ID in Entra, Link, Who manages it: changed since "
                "(release by somebody who signed in); Name: left as the import wrote it"
            ),
        ),
    ],
)
def test_a_sentence_has_names_in_words_and_what_is_typed_as_it_is(sentence: str, shown: str) -> None:
    assert said(sentence) == shown


def test_what_is_to_be_found_in_entra_stays_as_it_is_there() -> None:
    assert exact("objectId to externalId") == "<code>objectId</code> to <code>externalId</code>"


def test_every_kind_of_job_has_a_name() -> None:
    assert {*JOBS} >= {*KINDS}


def test_no_two_columns_of_a_file_are_called_the_same() -> None:
    for columns in (accounts.COLUMNS, groups.COLUMNS):
        assert len({label_of(one) for one in columns}) == len([*columns])


async def test_who_has_no_account_is_linked_on_the_page_that_says_so(door: Door) -> None:
    run = await plan_demo(door.api)
    for decision in ("noAccount", "noIdentity"):
        row = (await door.api.decisions(run, decision))[0]
        page = (await door.get(f"runs/{run['id']}/rows/{row['id']}")).text
        assert "What would make it a link There is nothing to link if the" in page
        assert "above, or press Look at both beside a suggestion" in page
        assert "Name the counterpart yourself" in page
