"""Cursors (RFC 9865): a position in the answer to one query, signed, so that nothing is kept between its pages.

The room says what a position is. A cursor is readable, and holds no person's data.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.scim.errors import ExpiredCursor, InvalidCount, InvalidCursor
from shared.scim.limits import CURSOR_SECONDS
from shared.scim.query import Query

Sign = Callable[[bytes], bytes]
"""Makes the authentication code of a message, which only the directory can make."""
MAC = 16
"""Bytes of the authentication code that a cursor carries."""
Position = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The page begins at the position, or ends before it where `back` is set. The position () is the beginning."""

    position: Position = ()
    back: bool = False


def seal(cursor: Cursor, query: Query, sign: Sign, now: float | None = None) -> str:
    """Return the cursor as the text that a client sends back: unreserved characters of RFC 3986 alone."""
    expires = int((time.time() if now is None else now) + CURSOR_SECONDS)
    held = json.dumps([cursor.position, cursor.back, query.count, expires], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(held, query, sign) + held).rstrip(b"=").decode()


def open_cursor(query: Query, sign: Sign, now: float | None = None) -> Cursor:
    """Return the cursor that the query carries, which must have been made for the same query here.

    Raises InvalidCursor, ExpiredCursor, or InvalidCount where `count` differs from the first page's.
    """
    if not query.cursor:
        return Cursor()
    try:
        sealed = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
    except (binascii.Error, ValueError):
        raise InvalidCursor(_INVALID) from None
    mac, held = sealed[:MAC], sealed[MAC:]
    if not hmac.compare_digest(mac, _mac(held, query, sign)):
        raise InvalidCursor(_INVALID)
    position, back, count, expires = json.loads(held)
    if (time.time() if now is None else now) >= expires:
        raise ExpiredCursor(f"A cursor holds for {CURSOR_SECONDS} seconds. Begin again with an empty one.")
    if count != query.count:
        raise InvalidCount(f"count must stay what it was on the first page, {count}.")
    return Cursor(tuple(position), back)


_INVALID = "The cursor is none of this query's. Send nextCursor as it came with the same filter, or an empty cursor."


def _mac(held: bytes, query: Query, sign: Sign) -> bytes:
    return sign(held + b"\0" + query.selection.encode("utf-8", "surrogatepass"))[:MAC]
