"""Query parameters that several of the administrator's requests take, and the pages with which they are answered.

A cursor goes out with a mark of the list and of the parameters by which it was asked for. A place of one list may be
one of another, too, and would be read there without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shared.directory.errors import InvalidCursor
from shared.directory.keys import ID, Key
from shared.directory.records.audit import HISTORY_CURSOR
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

PAGED = ("count", "cursor")
"""Parameters that a request for a list takes."""
PAGE = 100
"""Rows of a page for a request that names no count."""


def refuse_others(request: Request, *known: str) -> None:
    """Raise InvalidValue for a parameter that a request does not take: ?previw=true must not do what it was to show."""
    for name in request.params.keys() - {one.lower() for one in known}:
        raise InvalidValue(f"{name}: no parameter of this request, which takes {', '.join(known)}; nothing was done")


def read_key(request: Request, *kinds: str) -> Key:
    """Return the one key, of these kinds, that a request asks for. Raises InvalidValue for none and for several."""
    asked = [Key(kind, value) for kind in kinds if (value := request.params.get(kind.lower()))]
    if len(asked) != 1:
        raise InvalidValue(f"query: name one of {', '.join(kinds)}")
    return asked[0]


def read_choice(request: Request, name: str, choices: Collection[str]) -> str:
    """Return the one of these choices that a request names, "" for none. Raises InvalidValue for anything else."""
    choice = request.params.get(name.lower(), "")
    if choice and choice not in choices:
        raise InvalidValue(f"{name}: one of {', '.join(choices)}")
    return choice


def read_count(request: Request, default: int = PAGE, most: int = 1_000) -> int:
    """Return the number of rows that a page is to have. Raises InvalidValue."""
    count = request.params.get("count", str(default))
    if not count.isdecimal() or len(count) > len(str(most)) or not 1 <= int(count) <= most:
        raise InvalidValue(f"count: a number from 1 to {most}")
    return int(count)


def read_cursor(request: Request, name: str) -> str:
    """Return where a page of the list of this name begins, "" for its begin.

    Raises InvalidCursor for what is no cursor of the list, and for one of other parameters.
    """
    return open_cursor(request.params.get("cursor", ""), *_asked(request, name))


def read_id_cursor(request: Request, name: str) -> str:
    """Return the cursor of a list that is in order of id, "" for its begin. Raises InvalidCursor."""
    cursor = read_cursor(request, name)
    if cursor and not ID.fullmatch(cursor):
        raise InvalidCursor
    return cursor


def read_history_cursor(request: Request) -> str:
    """Return the cursor of a page of a history, "" for its begin. Raises InvalidCursor."""
    cursor = read_cursor(request, "history")
    if cursor and not HISTORY_CURSOR.fullmatch(cursor):
        raise InvalidCursor
    return cursor


def page_answer(
    request: Request,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    cursor: str | None,
    beside: Mapping[str, Any] | None = None,
    version: str | None = None,
) -> Response:
    """Return a page of rows under a name, with the cursor to the next if there are more, and what there is beside.

    `version` is that of what is beside.
    """
    more = {"cursor": seal_cursor(cursor, *_asked(request, name))} if cursor else {}
    return Response(200, dump({**(beside or {}), name: rows} | more), version)


def seal_cursor(cursor: str, *of: object) -> str:
    """Return a cursor with the mark of what it is of, which is JSON."""
    return f"{_mark(of)}-{cursor}"


def open_cursor(sealed: str, *of: object) -> str:
    """Return what seal_cursor() sealed, "" for "". Raises InvalidCursor if that was of anything else."""
    mark, _, cursor = sealed.partition("-")
    if sealed and (mark != _mark(of) or not cursor):
        raise InvalidCursor
    return cursor


def _asked(request: Request, name: str) -> tuple[object, ...]:
    """Return what a list is asked for by. How many rows of it, and in which form, is another page of the same list."""
    params = {key: value for key, value in request.params.items() if value and key not in ("count", "cursor", "format")}
    return name, request.id, sorted(params.items())


def _mark(of: Sequence[object]) -> str:
    return hashlib.blake2b(dump(of).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
