"""What is around every page: sign-in, the form's token, the page by its path, errors as pages, headers.

Nothing leaves it but a page, a file or a redirect: no bare 500, and no JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import Any, Final

from link_orchestrator.lifecycle import Orchestrations
from link_orchestrator.portal import assets
from link_orchestrator.portal.api import Api, Door, by_path
from link_orchestrator.portal.forms import NOTHING_SENT, Form, read_form
from link_orchestrator.portal.page import Asked, Download, Outcome, Page, Refusal, Samples, SeeOther, Shown
from link_orchestrator.portal.pages import PAGES
from link_orchestrator.portal.person import form_token, is_token_of, seal_of
from link_orchestrator.portal.remedies import advice_of, worded
from shared.directory.directory import Directories, Directory
from shared.directory.errors import InvalidCursor, NotFound
from shared.directory.work.jobs import CHANGING
from shared.host.auth import Caller, Unauthorized
from shared.host.problems import Problem, problem
from shared.host.routes import matcher
from shared.host.settings import Settings, now
from shared.scim.errors import InvalidValue, ScimError
from shared.tables.port import Unavailable

log = logging.getLogger("scimlink")

HTML: Final = "text/html"
SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
NOT_THEIRS: Final = (
    "This form was made for another sign-in, or longer than a day ago. Nothing was changed. Look at what you entered, "
    "and send it again."
)


class Off(Exception):
    """The portal's sign-in is off."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as the host hands it on: who sends it is not known, nor is the body read."""

    method: str
    path: str
    """Path behind /portal/."""
    query: Mapping[str, str]
    content_type: str
    base: str
    sign_in: Callable[[], Caller]
    read: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a browser is answered."""

    status: int
    content: str | bytes
    mimetype: str = HTML
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Around:
    """What the frame of a page shows, and what its macros need: in templates it is `page`."""

    path: str = ""
    here: str | None = None
    """Path of the page of the navigation that this one belongs to, None where it is no page."""
    navigation: tuple[Page, ...] = ()
    caller: Caller | None = None
    token: str = ""
    form: Form = NOTHING_SENT
    refusal: Refusal | None = None
    said: str = ""
    lost: Sequence[tuple[str, str]] = ()
    """What was typed into fields that the page does not have any more: the name of each, and its value."""

    @property
    def may_change(self) -> bool:
        """Whether the person may press a button that changes something."""
        return self.caller is not None and self.caller.may_change


class Portal:
    """Answers every request below /portal."""

    def __init__(
        self,
        settings: Settings,
        directories: Directories,
        doors: Iterable[Door],
        samples: Samples | None = None,
        pages: Iterable[Page] = PAGES,
    ) -> None:
        self._settings, self._directories, self._samples = settings, directories, samples
        self._doors = by_path(doors)
        self._pages = [(matcher(page.path), page) for page in pages]
        self._navigation = tuple(page for _, page in self._pages if page.label)
        self._loaded = False

    async def answer(self, arrived: Arrived, client: Orchestrations) -> Reply:
        """Answer a request with a page, a file or a redirect, whatever happens."""
        if asset := assets.find(arrived.path):
            return Reply(200, asset.content, asset.mimetype, SECURITY | {"Cache-Control": FOR_EVER})
        around = Around(arrived.path)
        name = "portal"
        if not self._loaded:
            await asyncio.to_thread(_load)
            self._loaded = True
        try:
            if not self._settings.signs_in:
                raise Off
            caller = arrived.sign_in()
            around = replace(around, caller=caller, navigation=self._navigation)
            page, path = self._find(arrived.path)
            name = f"portal/{page.path}"
            around = replace(around, here=page.under or page.path)
            directory = await self._directories.open(caller.directory)
            around = replace(around, token=form_token(directory.keys, caller, now()))
            api = Api(self._doors, directory, caller, client, arrived.base)
            seal = partial(seal_of, directory.keys, caller)
            asked = Asked(api, caller, seal, path, arrived.query, samples=self._samples)
            reply = await self._reply(page, asked, arrived, directory, around)
        except Exception as error:
            reply = _failed(error, around)
        log.info("%s %s %d", arrived.method, name, reply.status)
        return replace(reply, headers={**SECURITY, "Cache-Control": "no-store", **reply.headers})

    def _find(self, path: str) -> tuple[Page, Mapping[str, str]]:
        for match, page in self._pages:
            if found := match(f"/{path}"):
                return page, found.groupdict()
        raise NotFound("no such page", "page", where="here")

    async def _reply(self, page: Page, asked: Asked, arrived: Arrived, directory: Directory, around: Around) -> Reply:
        if arrived.method == "HEAD":
            # So the script asks, before it sends a form, whether storage answers. The page may be seconds of work.
            await directory.jobs.is_under_way(CHANGING)
            return Reply(200, "")
        if arrived.method != "POST":
            outcome, key = await page.show(asked), arrived.query.get("said", "")
            untrue = isinstance(outcome, Shown) and key in outcome.untrue
            said = "" if untrue else page.notices.get(key, "")
            return _shown(outcome, replace(around, said=said), arrived.query.get("fragment", ""))
        fields: dict[str, tuple[str, ...]] = {}
        body = await arrived.read()
        try:
            asked = replace(asked, form=read_form(arrived.content_type, body, fields))
        except ScimError as error:
            return await self._refused(error, page, replace(asked, form=Form(fields)), around)
        try:
            if not is_token_of(directory.keys, asked.caller, now(), asked.form["token"]):
                raise _Refused
            handler = page.does.get(asked.form["do"])
            if handler is None:
                raise InvalidValue("this page has no such button: load it again")
            return _shown(await handler(asked), around)
        except Exception as error:
            return await self._refused(error, page, asked, around)

    async def _refused(self, error: Exception, page: Page, asked: Asked, around: Around) -> Reply:
        """Show the page again with what was typed, and why it was refused; raises what is no refusal.

        So it is where the app is busy or storage away for a moment, if the page itself can be shown.
        """
        told = (403, None, NOT_THEIRS, {}) if isinstance(error, _Refused) else problem(error)
        status, _, detail, headers = told
        if (status >= 500 and status != 503) or status == 401:
            raise _Told(told) from error
        if isinstance(error, Unavailable):
            detail = UNKNOWN
        if isinstance(error, NotFound):
            detail = f"{_brief(detail)}: somebody removed it while this page was open. Nothing was changed"
        sentence, path = worded(error, detail)
        refusal = Refusal(status, sentence, path, advice_of(error))
        around = replace(around, form=asked.form, refusal=refusal)
        try:
            again = await page.show(replace(asked, refusal=refusal))
        except NotFound as gone:
            return _failed(gone, replace(around, refusal=None, lost=_lost(asked.form, "")))
        if isinstance(again, SeeOther):  # there is no such form any more
            return _failed(_Told(told), replace(around, refusal=None, lost=_lost(asked.form, "")))
        reply = _shown(again, around)
        if lost := _lost(asked.form, str(reply.content)):
            reply = _shown(again, replace(around, lost=lost))
        return replace(reply, status=status, headers={**headers, **reply.headers})


def _brief(detail: str) -> str:
    """Return what the API says of what is not there; where it lists such is nothing to readers of pages."""
    return detail.partition(": ")[0]


def _lost(form: Form, html: str) -> Sequence[tuple[str, str]]:
    """Return what was typed into fields that a page does not have, and does not show otherwise."""
    typed = ((name, "\n".join(values)) for name, values in form.fields.items() if name not in NOT_TYPED)
    return [
        (name, text)
        for name, text in typed
        if text.strip() and f'name="{escape(name)}"' not in html and f"<dd>{escape(text)}</dd>" not in html
    ]


NOT_TYPED: Final = frozenset(
    (
        "token",
        "do",
        "boxes",
        "version",
        "seen",
        "shown",
        "move",
        "rule",
        "rows",
        "one",
        "action",
        "active",
        "protected",
        "unknown",
    )
)
"""Fields that a page fills by itself, or a button."""
UNKNOWN: Final = (
    "storage did not answer, so that it is not known whether this was done: look at the page in another tab first. "
    "What you typed is still here"
)
"""What is said where a write may have happened."""


class _Refused(Exception):
    """A form without a token of the person."""


class _Told(Exception):
    """An error that problem() has read already, and logged."""

    def __init__(self, told: Problem) -> None:
        super().__init__()
        self.told = told


def _load() -> None:
    """Load what renders pages: of the first page it took 0.2 s, which no other request is to wait for."""
    from link_orchestrator.portal.rendering import environment

    environment()


def _shown(outcome: Outcome, around: Around, fragment: str = "") -> Reply:
    from link_orchestrator.portal.rendering import render, url

    match outcome:
        case SeeOther():
            return Reply(303, "", headers={"Location": url(outcome.to, **{**outcome.query, "said": outcome.said})})
        case Download():
            name = "".join(letter if letter.isalnum() or letter in ".-_" else "-" for letter in outcome.name)
            return Reply(
                200, outcome.content, outcome.mimetype, {"Content-Disposition": f'attachment; filename="{name}"'}
            )
        case Shown():
            try:
                return Reply(200, render(outcome.template, {"page": around, "view": outcome.view}, fragment))
            except KeyError:
                if fragment:
                    raise NotFound("no such part of the page", "part of the page", where="here") from None
                raise


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an error page says."""

    status: int
    title: str
    sentence: str
    sign_in: str = ""
    first: str = ""
    """Address of the first page of a list, where this one goes on with another."""


TITLES: Final = {
    400: "That could not be read",
    401: "Sign in",
    403: "You may not do this",
    404: "There is no such page",
    409: "That is not possible now",
    413: "That is too large",
    503: "Try again in a moment",
}


def _failed(error: Exception, around: Around) -> Reply:
    """Return the page of an error."""
    from link_orchestrator.portal.rendering import capital, url

    if isinstance(error, Off):
        trouble = Trouble(
            404,
            "The portal is switched off",
            "Nobody can sign in here. Settings SCIMLINK_PORTAL_AUTH=easyauth and SCIMLINK_PORTAL_AUDIENCE switch it "
            "on, once App Service Authentication stands before this app.",
        )
        headers: Mapping[str, str] = {}
    else:
        status, _, detail, headers = error.told if isinstance(error, _Told) else problem(error)
        title = TITLES.get(status, TITLES[400] if status < 500 else "Something went wrong")
        if status == 404:
            detail = _brief(detail)
            if around.here is None:
                detail = "A part of the address may be missing: look at it, or choose another page"
        sentence = capital(detail)
        trouble = Trouble(status, title, sentence if sentence.endswith(".") else f"{sentence}.")
        if isinstance(error, InvalidCursor):
            said = "This address goes on with a list as it was asked for elsewhere, or in another way."
            trouble = replace(trouble, sentence=said, first=url(around.path))
        if isinstance(error, Unauthorized):
            back = url(around.path)
            trouble = replace(
                trouble,
                sentence="Sign in with your work account to see this page.",
                sign_in=f"/.auth/login/aad?post_login_redirect_uri={_quoted(back)}",
            )
    reply = _shown(Shown("trouble.html", trouble), around)
    kept: dict[str, Any] = {name: value for name, value in headers.items() if name != "WWW-Authenticate"}
    return replace(reply, status=trouble.status, headers=kept)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
