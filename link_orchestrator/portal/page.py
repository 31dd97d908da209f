"""What a page is: a path, what shows it, what its buttons do; and what the frame hands to these."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from link_orchestrator.portal.api import Api
from link_orchestrator.portal.forms import NOTHING_SENT, Form
from shared.directory.text import Advice
from shared.host.auth import Caller

_NAMED: Final = re.compile(r"([A-Za-z][\w.$\[\]-]*): (.+)", re.DOTALL)
"""A sentence of the API that begins with the attribute that it is about."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the API did not do what a form asked for; of a 503, that it is not known whether it did."""

    status: int
    sentence: str
    path: str = ""
    """Path of the page where it is settled, "" for the one that is shown."""
    advice: Advice | None = None
    """What the API advised, where that has a code."""

    @property
    def fields(self) -> Mapping[str, str]:
        """What is wrong with each attribute that the sentence names."""
        found: dict[str, str] = {}
        for part in self.sentence.split("; "):
            if match := _NAMED.fullmatch(part.strip()):
                found[match[1]] = match[2]
            elif found:  # what goes on about the attribute before
                found[next(reversed(found))] += f"; {part}"
        return found


class Samples(Protocol):
    """Made-up people to try the app with. Only the local host has them."""

    def files(self) -> Mapping[str, bytes]:
        """Return `policy`, as the API shows it once stored, and `accounts` and `identities`, as the API takes them."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a signed-in person for a page."""

    api: Api
    caller: Caller
    seal: Callable[[str], str]
    """Returns the seal by which a form says what its page showed: no request has one whose page was not loaded."""
    path: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the page's path."""
    query: Mapping[str, str] = field(default_factory=dict)
    form: Form = NOTHING_SENT
    """What was sent; on a page that is shown again after a refusal, what was typed."""
    refusal: Refusal | None = None
    """Why what was sent was refused, where the page is shown again."""
    samples: Samples | None = None


class Shown(NamedTuple):
    """A template, and the frozen object that it shows as `view`.

    `untrue` has the keys of notices that are not so, whatever link somebody was sent.
    """

    template: str
    view: Any
    untrue: Collection[str] = ()


class SeeOther(NamedTuple):
    """What a form is answered with: the page to go to (a path behind /portal/), so that a reload repeats nothing.

    `said` is the key of a notice of that page, `query` what else the page is asked for.
    """

    to: str
    said: str = ""
    query: Mapping[str, str] = {}


class Download(NamedTuple):
    """A file for the browser to keep."""

    content: bytes
    mimetype: str
    name: str


Outcome = Shown | SeeOther | Download
Handler = Callable[[Asked], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Page:
    """An entry of the table of pages."""

    path: str
    """Path behind /portal/, such as `runs/{id}`; "" is the first page."""
    show: Handler
    """Answers GET. Once more called, with the refusal and what was typed, where the API refused what a form asked."""
    does: Mapping[str, Handler] = field(default_factory=dict)
    """What each button does, by the value of the form's field `do`. A handler calls the API, and may let it refuse."""
    label: str = ""
    """What the navigation calls it; "" for a page that is not in there."""
    under: str = ""
    """The path of the page of the navigation that it belongs to; "" for itself."""
    notices: Mapping[str, str] = field(default_factory=dict)
    """Sentences that it may begin with, by the key that SeeOther names."""
