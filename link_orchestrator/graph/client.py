"""Single requests to Microsoft Graph: the token, the one host that it may be sent to, and what each refusal means.

identities.py and groups.py know what to ask for. Nothing waits here: where Graph asks for a pause, passes/read.py keeps
in the tables when to go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from link_orchestrator.source import PlaceExpired, SourceBusy, SourceFailed
from shared.host.graph_settings import VARIABLES

if TYPE_CHECKING:
    import aiohttp

    from link_orchestrator.graph.tokens import Tokens

TOP: Final = 999
"""Objects in the largest page that may be asked for. Graph itself chooses the size of pages of changes."""
IDS: Final = 15
"""Values that `in` takes in a filter (https://developer.microsoft.com/graph/known-issues, query parameters)."""
SECONDS: Final = 100
"""Seconds to wait for one answer. Graph itself gives up earlier."""
BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed later."""
EXPIRED: Final = frozenset({"Directory_ExpiredPageToken", "syncStateNotFound", "resyncRequired"})
"""Error codes for a link that is too old: https://learn.microsoft.com/graph/delta-query-overview (tokens)."""

_MISSING = "of Microsoft Graph is missing: grant it to the application that reads, as an administrator of the tenant"


class Refused(SourceFailed):
    """Graph refuses what was asked for, and will refuse it again."""


class UnknownObject(Refused):
    """The tenant has no object of that id, or no longer has it."""


class GraphClient:
    """Asks Graph on behalf of one directory."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, tokens: Tokens) -> None:
        self._session = session
        self._endpoint = endpoint
        self._tokens = tokens

    async def get(self, target: str, *, permission: str, advanced: bool = False) -> Mapping[str, Any]:
        """Return the JSON object at a path or at a link that Graph gave. `permission` is the one that this takes.

        `advanced` queries need a header (https://learn.microsoft.com/graph/aad-advanced-queries). Raises SourceBusy, or
        SourceFailed and its subclasses PlaceExpired and Refused.
        """
        address = self._address(target)
        headers = {"Accept": "application/json"} | ({"ConsistencyLevel": "eventual"} if advanced else {})
        status, found, retry_after = await self._ask(address, headers)
        if status == 401:
            # The token may have expired or been revoked. If a fresh one is refused too, it is the wrong token.
            status, found, retry_after = await self._ask(address, headers, fresh=True)
        if status == 200 and found is not None:
            return found
        raise _meaning(status, found, retry_after, permission)

    def _address(self, target: str) -> str:
        """Return the address of a path or link. Raises Refused for another host: no token is sent there."""
        address = target if "://" in target else self._endpoint + target
        ours, theirs = urlsplit(self._endpoint), urlsplit(address)
        if (theirs.scheme, theirs.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
            raise Refused("an answer of Microsoft Graph leads to another host: nothing was asked there")
        return address

    async def _ask(
        self, address: str, headers: Mapping[str, str], *, fresh: bool = False
    ) -> tuple[int, Mapping[str, Any] | None, str]:
        """Return the answer's status, its JSON object (None if it holds none), and its Retry-After."""
        import aiohttp
        from yarl import URL

        token = await self._tokens.get(fresh=fresh)
        sent = {**headers, "Authorization": f"Bearer {token}"}
        # Graph's links are encoded already, and go back as they came, skip tokens included.
        url = URL(address, encoded=True)
        try:
            async with self._session.get(url, headers=sent, allow_redirects=False) as answer:
                text = await answer.read()
                return answer.status, _object(text), answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceBusy(f"Microsoft Graph does not answer ({type(error).__name__})") from None


def _object(text: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _meaning(status: int, found: Mapping[str, Any] | None, retry_after: str, permission: str) -> Exception:
    """Return the exception for a bad answer. Of the answer's text it repeats only the error's code, a word."""
    error = found.get("error") if found else None
    code = re.sub(r"[^A-Za-z_]", "", str(error.get("code", "")))[:60] if isinstance(error, dict) else ""
    if status in BUSY:
        reason = "Microsoft Graph asks to wait" if status == 429 else f"Microsoft Graph is not available ({status})"
        return SourceBusy(reason, retry_after_seconds(retry_after))
    if status == 200:
        return SourceBusy("an answer of Microsoft Graph broke off")
    if status == 401:
        names = f"{VARIABLES['endpoint']} and {VARIABLES['authority']}"
        return SourceFailed(f"Microsoft Graph refuses the token: check that {names} are of one cloud", "graphToken")
    if status == 403:
        return SourceFailed(f"the permission {permission} {_MISSING}", "graphPermission")
    if code in EXPIRED or status == 410:
        return PlaceExpired(f"a link of Microsoft Graph has expired ({code or status})")
    if status == 404:
        return UnknownObject(
            "Microsoft Graph knows no object of that id in the tenant: check the ids that were asked for"
        )
    return Refused(f"Microsoft Graph refuses the request ({status} {code})".replace(" )", ")"))


def in_filter(ids: Sequence[str]) -> str:
    """Return the query parameter that asks for the objects with these ids only, IDS of them at most."""
    quoted = ",".join(f"'{object_id}'" for object_id in ids)
    return f"$filter=id%20in%20({quoted})"


def values_of(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a page."""
    return (value for value in answer.get("value") or () if isinstance(value, Mapping))


def link_of(answer: Mapping[str, Any], kind: str) -> str | None:
    """Return a page's link to the `next` one, or the last page's link to later changes (`delta`); None without it."""
    link = answer.get(f"@odata.{kind}Link")
    return link if isinstance(link, str) and link else None


def retry_after_seconds(retry_after: str) -> float | None:
    """Return the seconds of a Retry-After, a number or a date (RFC 9110 section 10.2.3); None if it is neither."""
    if re.fullmatch(r"\d{1,6}(\.\d+)?", retry_after.strip()):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
