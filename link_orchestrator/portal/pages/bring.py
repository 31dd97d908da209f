"""Import: files come in here, of which the page of a preview or of an upload is next."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import Document, page_of
from link_orchestrator.portal.remedies import Advice, advice_of, worded
from shared.scim.errors import BodyTooLarge, InvalidValue, ScimError

SHOWN: Final = 20
"""Jobs of a list that are shown at once."""
LONGEST_COLUMNS: Final = 3_000
"""Characters of what was said about columns that an address carries."""


LISTS: Final = ("imports", "uploads")
"""The lists of the page, by the last word of the API's path, which is also the parameter that pages it."""


class What(NamedTuple):
    """What may be in a file: how a person calls it, which door of the API takes it, and what the jobs are called."""

    label: str
    hint: str
    door: str
    path: str
    noun: str


WHATS: Final[Mapping[str, What]] = {
    "accounts": What(
        "Accounts of the application",
        "An export of its users, one row an account. You see first what the import would do.",
        "accounts/import",
        "accounts/imports",
        "account",
    ),
    "groups": What(
        "Groups of the application",
        "A row for every group and member. Import the accounts first.",
        "groups/import",
        "groups/imports",
        "group",
    ),
    "identities": What(
        "Entra's users",
        "Entra admin center, Users, Download users; or Graph's users as JSON. For a plan: nothing is changed.",
        "linking/identities",
        "linking/identities",
        "identity",
    ),
    "entragroups": What(
        "Entra's groups",
        "Groups of Microsoft Graph with their members, as JSON. Download groups in the admin center does not say who "
        "is in them. For a plan: nothing is changed.",
        "linking/groups",
        "linking/groups",
        "group",
    ),
}
CHARSETS: Final = (
    ("", "Recognise it"),
    *((name, name) for name in ("utf-8", "windows-1250", "windows-1251", "windows-1252", "windows-1253")),
    *((name, name) for name in ("windows-1254", "windows-1257", "iso-8859-2", "iso-8859-15", "shift_jis")),
)
_DOORS: Final = {"accounts": "accounts", "groups": "groups", "identities": "identities", "entra_groups": "entragroups"}
"""What may be in a file, by what the API's advice calls its door."""


@dataclass(frozen=True, slots=True)
class Bring:
    """What the page of files shows: what can be brought, and what was."""

    what: str = "accounts"
    imports: Sequence[Document] = ()
    uploads: Sequence[Document] = ()
    previews: Sequence[Document] = ()
    """The last previews that can still be imported, or are under way."""
    at: Mapping[str, str] = field(default_factory=dict)
    """Where the pages of the two lists begin, by the parameter that says so; without one that is the first."""
    next: Mapping[str, str] = field(default_factory=dict)
    """Where the next pages begin, for each list that goes on."""
    after: str = ""
    """The upload with which a list of Entra's users began, where the file goes on with it."""
    elsewhere: str = ""
    """What a file is that was sent as something else."""
    whats: Mapping[str, What] = field(default_factory=lambda: WHATS)
    charsets: Sequence[tuple[str, str]] = CHARSETS


async def show(asked: Asked) -> Outcome:
    """Show what can be brought, and what was."""
    at = {name: asked.query[name] for name in LISTS if asked.query.get(name)}
    directory, imports, uploads = await asyncio.gather(
        asked.api.get("directory"),
        *(asked.api.get(f"linking/{name}", cursor=at.get(name), count=str(SHOWN)) for name in LISTS),
    )
    more = {name: page["cursor"] for name, page in zip(LISTS, (imports, uploads), strict=True) if "cursor" in page}
    elsewhere = _elsewhere(asked.refusal.advice) if asked.refusal else ""
    what = elsewhere or asked.form["what"] or asked.query.get("what", "")
    return Shown(
        "bring.html",
        Bring(
            what=what if what in WHATS else "accounts",
            imports=imports["imports"],
            uploads=uploads["uploads"],
            previews=_open_previews(directory["latest"]),
            at=at,
            next=more,
            after=asked.query.get("after", ""),
            elsewhere=WHATS[elsewhere].label if elsewhere else "",
        ),
    )


def _open_previews(latest: Mapping[str, Document]) -> list[Document]:
    """Return the last previews of which nothing was imported yet, as long as it can be."""
    now = datetime.now(UTC)
    found = [latest[kind] for kind in ("preview", "grouppreview") if kind in latest]
    return [
        one
        for one in found
        if not one["options"].get("importedBy")
        and ("ended" not in one or (one["phase"] == "done" and now < datetime.fromisoformat(one["keptUntil"])))
    ]


async def send(asked: Asked) -> Outcome:
    """Take a file: of accounts and groups a preview is made, Entra's users and groups are kept for plans."""
    return await send_file(asked, read_columns(asked.form["columns"]))


async def send_file(asked: Asked, columns: Mapping[str, str]) -> Outcome:
    """Take a file, its columns read as a person says. Raises what the API refuses, in a page's words."""
    form = asked.form
    what = WHATS.get(form["what"])
    if what is None:
        raise InvalidValue("what: say what is in the file")
    file = form.files.get("file")
    if file is None:
        raise InvalidValue("file: choose a file")
    if not file.content:
        raise InvalidValue("file: it is empty. Export it again")
    previews = what.door != what.path
    params = {
        "file": file.name or None,
        "columns": json.dumps(columns) if columns and form["what"] != "entragroups" else None,
        "preview": "true" if previews else None,
        "protected": "change" if form["what"] == "accounts" and form["protected"] else None,
        "after": form["after"].strip() or None if form["what"] == "identities" else None,
    }
    media = f"text/csv; charset={form['charset']}" if form["charset"] else file.content_type
    try:
        job = await asked.api.post(what.door, file.content, media, **params)
    except BodyTooLarge as error:
        raise BodyTooLarge(f"file: {error.detail}") from None
    except ScimError as error:
        raise type(error)(_told(error)) from error
    carried = json.dumps(columns) if columns else ""
    return SeeOther(page_of(job["id"]), query={"columns": carried} if len(carried) < LONGEST_COLUMNS else {})


def read_columns(text: str) -> dict[str, str]:
    """Return what a person says of columns: `Header = column` in lines, nothing behind = for what is not to be read.

    Raises InvalidValue naming the line.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        header, equals, column = line.rpartition("=")
        if not line.strip():
            continue
        if not equals or not header.strip():
            raise InvalidValue(f"columns: line {number} is not like: Login = userName")
        found[header.strip()] = column.strip()
    return found


def _told(error: ScimError) -> str:
    """Return a refusal of a file in a page's words, about the form's field."""
    if re.match(r"(columns|after|preview|protected): ", error.detail):
        return error.detail
    advice = advice_of(error)
    is_elsewhere = advice is not None and advice.code == "door"
    said = _misplaced(advice.values) if advice and is_elsewhere else worded(error, error.detail).sentence
    return "file: " + said.replace("; ", ", ")


def _misplaced(told: Mapping[str, str]) -> str:
    """Return what a file is that was sent as something else, and where it goes."""
    here = WHATS[_DOORS[told["here"]]]
    if told["there"] and told["there"] not in _DOORS:
        return f"{told['is']}. It goes to the Decisions of its run."
    send = "Send what Users, Download users in Entra gives you."
    if told["there"]:
        send = f"Send it as: {WHATS[_DOORS[told['there']]].label}."
    elif here is WHATS["accounts"]:
        send += " If these are accounts of the application all the same, say below, under More choices, what the "
        send += "columns are."
    return f"{told['is']}, and was sent as {here.label}. {send}"


def _elsewhere(advice: Advice | None) -> str:
    """Return what a file is that was refused because it is something else, "" where it was not."""
    return _DOORS.get(advice.values["there"], "") if advice and advice.code == "door" else ""


PAGES: Final = (Page("import", show, {"send": send}, label="Import"),)
