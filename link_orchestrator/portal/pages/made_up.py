"""The made-up people that somebody tries the app with: how they come, what of them is here, and how all of it goes.

They come to a directory alone in which nothing was set or brought. So what was before them is known: nobody, and the
policy of every new directory. What is theirs is told by what they alone bring: two files of their names, each the first
of its kind, and every attribute of their policy.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Samples, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import Beside, Document, find_beside
from shared.scim.errors import InvalidValue

ACCOUNTS, IDENTITIES = "made-up-accounts.csv", "made-up-identities.json"
"""What their files are called."""
AT_ONCE: Final = "1000"
"""Jobs that are asked for at once."""
GONE: Final = ("removed", "unchanged")
"""Outcomes of an import's undo behind which an account is not there, or is what it was."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What made-up people brought that is listed: their import, None once it is taken back, and their upload."""

    imported: Document | None = None
    upload: Document | None = None

    def __bool__(self) -> bool:
        return self.imported is not None or self.upload is not None


@dataclass(frozen=True, slots=True)
class MadeUp:
    """What the page shows: what of the made-up people is here, and what was not taken back."""

    brought: Brought
    undo: Document | None = None
    """The last undo of their import, None for none."""
    has_policy: bool = False
    """Whether the policy is the one that they brought."""
    version: str | None = None
    """The version of the policy that was looked at."""
    domains: Sequence[str] = ()
    """Their domains that a policy has which was changed since."""
    excluded: int = 0
    """Their exclusions that such a policy has."""
    beside: Beside = field(default_factory=Beside)

    @property
    def left(self) -> int:
        """How many of their accounts the undo did not take back."""
        counts = (self.undo or {}).get("counts", {})
        return sum(count for name, count in counts.items() if name not in GONE)

    @property
    def busy(self) -> bool:
        """Whether their accounts are being taken back."""
        return self.undo is not None and "ended" not in self.undo

    @property
    def can_go(self) -> bool:
        """Whether a press takes anything back."""
        return not self.busy and bool(self.brought.imported or self.brought.upload or self.has_policy)

    @property
    def is_back(self) -> bool:
        """Whether nothing of theirs is here."""
        return not (self.brought or self.has_policy or self.domains or self.excluded or self.left or self.busy)


async def is_untouched(asked: Asked) -> bool:
    """Tell whether nobody has ever set the directory's policy."""
    history = await asked.api.get("directory/policy/history", count="1")
    return not history["history"]


async def bring(asked: Asked, samples: Samples) -> None:
    """Bring made-up people: their policy, their accounts, and their identities."""
    files = samples.files()
    await asked.api.put("directory/policy", json.loads(files["policy"]))
    await asked.api.post("linking/identities", files["identities"], file=IDENTITIES)
    await asked.api.post("accounts/import", files["accounts"], "text/csv", file=ACCOUNTS)


async def find_brought(asked: Asked) -> Brought:
    """Return what made-up people brought that is still here."""
    imported = await _first(asked, "imports", ACCOUNTS)
    is_taken_back = imported is not None and imported.get("takenBack", {}).get("phase") == "done"
    return Brought(None if is_taken_back else imported, await _first(asked, "uploads", IDENTITIES))


async def _first(asked: Asked, name: str, file: str) -> Document | None:
    """Return the first job of a list, if it is of the file that made-up people bring, else None."""
    cursor, first = "", None
    while True:
        page = await asked.api.get(f"linking/{name}", count=AT_ONCE, cursor=cursor)
        first = page[name][-1] if page[name] else first
        cursor = page.get("cursor", "")
        if not cursor:
            return first if first and first["options"].get("file") == file else None


async def show(asked: Asked) -> Outcome:
    """Show what of the made-up people is here; where there are none, the overview."""
    return Shown("made_up.html", await _look(asked, asked.samples)) if asked.samples else SeeOther("")


async def _look(asked: Asked, samples: Samples) -> MadeUp:
    theirs = json.loads(samples.files()["policy"])
    stored = await asked.api.call("GET", "directory/policy")
    policy: Document = json.loads(stored.text)
    imported = await _first(asked, "imports", ACCOUNTS)
    # Its import's entry may be of a moment before: what is under way there may have ended here.
    undo = await asked.api.find("accounts/imports/{id}/undo", id=imported["id"]) if imported else None
    is_taken_back = undo is not None and undo["phase"] == "done"
    brought = Brought(None if is_taken_back else imported, await _first(asked, "uploads", IDENTITIES))
    has_policy = policy == theirs
    return MadeUp(
        brought=brought,
        undo=undo,
        has_policy=has_policy,
        version=stored.version,
        domains=() if has_policy else _both(theirs["verifiedDomains"], policy["verifiedDomains"]),
        excluded=0 if has_policy else len(_both(theirs["excluded"], policy["excluded"])),
        beside=await find_beside(asked, brought.imported) if brought.imported else Beside(),
    )


def _both(theirs: Collection[Any], found: Collection[Any]) -> list[Any]:
    return [one for one in theirs if one in found]


async def take_back(asked: Asked) -> Outcome:
    """Take back what made-up people brought, as far as nobody has changed it since."""
    if asked.samples is None:
        raise InvalidValue("there are no made-up people here: only the server on your own machine has them")
    seen = await _look(asked, asked.samples)
    if seen.beside.links or seen.beside.waiting:
        what = "undo the run that linked them" if seen.beside.links else "drop the plan that waits"
        raise InvalidValue(f"nothing was taken back: {what} first, and all of it can go then")
    if seen.brought.imported:
        await asked.api.post("accounts/imports/{id}/undo", id=seen.brought.imported["id"])
    if seen.has_policy:
        await asked.api.call("PUT", "directory/policy", body={}, if_match=seen.version)
    if seen.brought.upload:
        await asked.api.delete("linking/identities/{id}", id=seen.brought.upload["id"])
    return SeeOther("made-up", said="back")


PAGES: Final = (
    Page(
        "made-up",
        show,
        {"back": take_back},
        under="",
        notices={"back": "What the made-up people brought is taken back. What stays, and why, is said here."},
    ),
)
