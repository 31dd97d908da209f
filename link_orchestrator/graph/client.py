"""Single requests to Microsoft Graph: the token, the one host it may go to, and what each refusal means.

graph.py knows what to ask for. Waiting is not done here: whoever reads keeps in the tables when to go on
(passes/read.py).
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
"""The largest page there is. Changes come in pages of Graph's own choice."""
IDS: Final = 15
"""Values that `in` takes in a filter (https://developer.microsoft.com/graph/known-issues, query parameters)."""
SECONDS: Final = 100
"""For one answer; Graph itself gives up before."""
BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
EXPIRED: Final = frozenset({"Directory_ExpiredPageToken", "syncStateNotFound", "resyncRequired"})
"""What Graph calls a link that is too old: https://learn.microsoft.com/graph/delta-query-overview (tokens)."""

_MISSING = "of Microsoft Graph is missing: grant it to the application that reads, as an administrator of the tenant"


class Refused(SourceFailed):
    """Graph does not do what was asked; the same again will be refused as well."""


class UnknownObject(Refused):
    """There is no object of that id in the tenant, or not any more."""


class GraphClient:
    """Asks Graph on behalf of one directory."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, tokens: Tokens) -> None:
        self._session = session
        self._endpoint = endpoint
        self._tokens = tokens

    async def get(self, target: str, *, permission: str, advanced: bool = False) -> Mapping[str, Any]:
        """Return the JSON object at a path or at a link that Graph gave. `permission` is what it takes to read it.

        `advanced` queries need a header (https://learn.microsoft.com/graph/aad-advanced-queries). Raises SourceBusy and
        SourceFailed, among these PlaceExpired and Refused.
        """
        address = self._address(target)
        headers = {"Accept": "application/json"} | ({"ConsistencyLevel": "eventual"} if advanced else {})
        status, found, retry_after = await self._ask(address, headers)
        if status == 401:
            # It may have been revoked or expire just now; a token that is refused while fresh is the wrong one.
            status, found, retry_after = await self._ask(address, headers, fresh=True)
        if status == 200 and found is not None:
            return found
        raise _meaning(status, found, retry_after, permission)

    def _address(self, target: str) -> str:
        """Return the address of a path or link. A token goes to the configured host alone, whatever an answer says."""
        address = target if "://" in target else self._endpoint + target
        ours, theirs = urlsplit(self._endpoint), urlsplit(address)
        if (theirs.scheme, theirs.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
            raise Refused("an answer of Microsoft Graph leads to another host: nothing was asked there")
        return address

    async def _ask(
        self, address: str, headers: Mapping[str, str], *, fresh: bool = False
    ) -> tuple[int, Mapping[str, Any] | None, str]:
        """Return status, JSON object if it is one, and Retry-After."""
        import aiohttp
        from yarl import URL

        token = await self._tokens.get(fresh=fresh)
        sent = {**headers, "Authorization": f"Bearer {token}"}
        # Encoded by whoever made it: to be sent as it is, skip tokens too.
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
    """Return what an answer other than a good one means. Of its text only the error's code is told, which is a word."""
    error = found.get("error") if found else None
    code = re.sub(r"[^A-Za-z_]", "", str(error.get("code", "")))[:60] if isinstance(error, dict) else ""
    if status in BUSY:
        reason = "Microsoft Graph asks to wait" if status == 429 else f"Microsoft Graph is not available ({status})"
        return SourceBusy(reason, retry_after_seconds(retry_after))
    if status == 200:
        return SourceBusy("an answer of Microsoft Graph broke off")
    if status == 401:
        names = f"{VARIABLES['endpoint']} and {VARIABLES['authority']}"
        return SourceFailed(f"Microsoft Graph refuses the token: check that {names} are of one cloud")
    if status == 403:
        return SourceFailed(f"the permission {permission} {_MISSING}")
    if code in EXPIRED or status == 410:
        return PlaceExpired(f"a link of Microsoft Graph has expired ({code or status})")
    if status == 404:
        return UnknownObject(
            "Microsoft Graph knows no object of that id in the tenant: check the ids that were asked for"
        )
    return Refused(f"Microsoft Graph refuses the request ({status} {code})".replace(" )", ")"))


def in_filter(ids: Sequence[str]) -> str:
    """Return the query parameter that asks for the objects of these ids alone, IDS at most."""
    quoted = ",".join(f"'{object_id}'" for object_id in ids)
    return f"$filter=id%20in%20({quoted})"


def values_of(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a page."""
    return (value for value in answer.get("value") or () if isinstance(value, Mapping))


def link_of(answer: Mapping[str, Any], kind: str) -> str | None:
    """Return the link of a page to the next one, or of the last one to the changes (`delta`), if it has any."""
    link = answer.get(f"@odata.{kind}Link")
    return link if isinstance(link, str) and link else None


def retry_after_seconds(retry_after: str) -> float | None:
    """Return a Retry-After in seconds: a number, or a date (RFC 9110 section 10.2.3). None if it is neither."""
    if re.fullmatch(r"\d{1,6}(\.\d+)?", retry_after.strip()):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
