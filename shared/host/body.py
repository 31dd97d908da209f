"""The body of a request: read only once its sender is known, and bounded before it is unpacked (RFC 9110 section 8.4).

A body that is larger than its function takes is cut one byte behind that, so that the service refuses it in its own
words. Azure's host hands over whole bodies, packed as they came; the local one lets them be read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import azure.functions as func

from shared.scim.errors import InvalidSyntax, ScimError

PACKINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings, each with the `wbits` by which zlib reads it."""


FIRST_PIECE, LAST_PIECE = 64, 64 * 1024
"""Bytes that are unpacked at once, at the beginning of a member and behind it."""


class BodyLost(Exception):
    """The body did not come, or not in time. Answered 408."""


class UnknownPacking(ScimError):
    """The body has a content coding that is not read here. Answered 415 with Accept-Encoding (RFC 9110 15.5.16)."""

    status = 415


Read = Callable[[int], Awaitable[bytes]]
"""Returns the body, or so many of its first bytes. Raises BodyLost. The local host's requests have it as `read`."""


async def read_body(req: func.HttpRequest, most: int) -> bytes:
    """Return the body, unpacked; of one that has more than `most` bytes the first `most` + 1.

    Raises BodyLost, UnknownPacking, or InvalidSyntax for what does not unpack.
    """
    read: Read | None = getattr(req, "read", None)
    body = await read(most + 1) if read else req.get_body()
    packing = str(req.headers.get("content-encoding", "")).strip().lower()
    if not body or packing in ("", "identity"):
        return body
    if packing not in PACKINGS:
        raise UnknownPacking(f"Content-Encoding takes {' or '.join(ACCEPTED)}; or send the body as it is.")
    # zlib gives up the interpreter lock, so that other requests go on while a file of a hundred megabytes is unpacked.
    return await asyncio.to_thread(unpack, body, packing, most)


ACCEPTED = ("gzip", "deflate")
"""The codings that an answer names; x-gzip is an old word for the first one."""


def unpack(body: bytes, packing: str, most: int) -> bytes:
    """Return what a body unpacks to; of more than `most` bytes the first `most` + 1. Raises InvalidSyntax."""
    unpacked, at = bytearray(), 0
    try:
        while at < len(body) and len(unpacked) <= most:  # gzip may have several members (RFC 1952 section 2.2)
            at = _unpack_member(body, at, PACKINGS[packing], unpacked, most + 1)
    except zlib.error:
        raise InvalidSyntax(f"The body is not {packing}, as its Content-Encoding says, or not all of it.") from None
    return bytes(unpacked)


def _unpack_member(body: bytes, at: int, wbits: int, unpacked: bytearray, most: int) -> int:
    """Unpack the member that begins there, until there are `most` bytes in all, and return where it ends.

    zlib is given pieces, each twice as long as the one before. It copies whatever stands behind a member's end: that
    would be all the rest of the body, for each of the 200,000 members that fit 4 MB.
    """
    stream, size = zlib.decompressobj(wbits), FIRST_PIECE
    while not stream.eof and len(unpacked) < most:
        piece = body[at : at + size]
        if not piece:
            raise zlib.error("it ends too early")
        unpacked += stream.decompress(piece, most - len(unpacked))
        at, size = at + len(piece) - len(stream.unused_data), min(2 * size, LAST_PIECE)
    return at
