"""Orchestration instances in the tables: a partition for each, with its head, its events and its unread mail.

Only one process writes here (a laptop runs one server), so a write needs no condition. Each can be repeated, and may be
cut off anywhere: instance.py goes on from what is there.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from infra.local.durable.wire import Event
from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    Delete,
    Operation,
    Row,
    Tables,
    Throttled,
    Unavailable,
    Upsert,
    VersionConflict,
)

log = logging.getLogger(__name__)

RUNNING = "Running"
PENDING = "Pending"
OPEN = (RUNNING, PENDING)

_OPEN_PARTITION = "open"
_PIECE = 30_000
"""Characters of a text in one column."""
_PIECES_A_ROW = 16
_TRANSACTION_CHARACTERS = 900_000
"""Characters of all texts in one transaction.

They are ASCII (json.dumps escapes the rest): Table Storage counts two bytes for each, HTTP sends one, and a body above
1 MiB would hold up the event loop.
"""
_LONGEST_PATIENCE = 30.0
"""Seconds between two tries at most, while the storage service is away."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an instance without its events. Output and custom status are JSON texts, times ISO 8601 in UTC.

    `execution` counts the starts under this id.
    """

    instance_id: str
    name: str
    status: str
    created: str
    updated: str
    execution: int = 1
    output: str | None = None
    custom_status: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """An external event that the orchestrator does not wait for yet."""

    number: int
    name: str
    input: str


class Store:
    """All instances of one task hub."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list_open(self) -> list[str]:
        """Return the ids of instances that were begun and not closed."""
        return [row.key async for row in self._rows(_OPEN_PARTITION)]

    async def find(self, instance_id: str) -> Head | None:
        """Return an instance's head, or None."""
        async for text in self._texts(instance_id, "head", "heae"):
            fields = json.loads(text)
            fields.pop("parent", None)
            return Head(**fields)
        return None

    async def load(self, head: Head) -> tuple[list[Event], list[Mail]]:
        """Return the events of the instance's present execution and its unread mail."""
        first = _event_key(head.execution, 0)
        events = [json.loads(t) async for t in self._texts(head.instance_id, first, "f")]
        mail = [Mail(**json.loads(t)) async for t in self._texts(head.instance_id, "m", "n")]
        return events, mail

    async def find_input(self, head: Head) -> str | None:
        """Return the JSON text that the present execution was started with."""
        # 0 is OrchestratorStarted, 1 is ExecutionStarted.
        first, after = _event_key(head.execution, 1), _event_key(head.execution, 2)
        async for text in self._texts(head.instance_id, first, after):
            started: str | None = json.loads(text)["Input"]
            return started
        return None

    async def begin(self, head: Head, texts: Sequence[str]) -> None:
        """Begin an execution, without the mail of the one before.

        It is the present one once its head is written; the events of the one before are removed then.
        """
        await self._write(_OPEN_PARTITION, [Upsert(head.instance_id, {})])
        await self._erase(head.instance_id, "m", "n")
        await self.append(head, 0, texts, changed=head)
        await self._erase(head.instance_id, "e", _event_key(head.execution, 0))

    async def append(
        self, head: Head, index: int, texts: Sequence[str], *, changed: Head | None = None, read: Mail | None = None
    ) -> None:
        """Append events from `index` on, then the head if it changed.

        Mail that an event came from goes in the same transaction.
        """
        operations = [o for i, t in enumerate(texts, index) for o in _split(_event_key(head.execution, i), t)]
        if read is not None:
            operations.append(Delete(_mail_key(read.number), ANY))
        if changed is not None:
            # Versions with sub-orchestrations cannot read a head without this field, and a folder may go back to one.
            operations.extend(_split("head", json.dumps(asdict(changed) | {"parent": None})))
        await self._write(_partition(head.instance_id), operations)

    async def post(self, instance_id: str, mail: Mail) -> None:
        """Keep an external event until it is read."""
        await self._write(_partition(instance_id), _split(_mail_key(mail.number), json.dumps(asdict(mail))))

    async def close(self, instance_id: str) -> None:
        """Take an instance off the list of open ones."""
        if await _patiently(lambda: self._tables.get(_OPEN_PARTITION, instance_id)) is not None:
            await self._write(_OPEN_PARTITION, [Delete(instance_id, ANY)])

    async def purge(self, instance_id: str) -> None:
        """Remove all that is kept of an instance, its head last."""
        await self._erase(instance_id, "e", "f")
        await self._erase(instance_id, "m", "n")
        await self._erase(instance_id, "head", "heae")

    async def _erase(self, instance_id: str, low: str, high: str) -> None:
        partition = _partition(instance_id)
        keys = [row.key async for row in self._rows(partition, low, high, select=("rows",))]
        await self._write(partition, [Delete(key, ANY) for key in keys])

    async def _texts(self, instance_id: str, low: str, high: str) -> AsyncIterator[str]:
        """Yield the texts between two keys. A text's first row is written last: without that row there is no text."""
        key, pieces, left = "", list[str](), 0
        async for row in self._rows(_partition(instance_id), low, high):
            base, _, further = row.key.partition("~")
            if not further:
                key, pieces, left = base, [], int(row.columns["rows"])
            elif base != key or left == 0:
                continue
            pieces.extend(str(row.columns[c]) for c in sorted(row.columns) if c != "rows")
            left -= 1
            if left == 0:
                yield "".join(pieces)

    async def _rows(
        self, partition: str, low: str = "", high: str | None = None, *, select: Sequence[str] | None = None
    ) -> AsyncIterator[Row]:
        continuation: str | None = None
        while True:
            ask = functools.partial(self._tables.query, partition, low, high, select=select, continuation=continuation)
            page = await _patiently(ask)
            for row in page.rows:
                yield row
            continuation = page.continuation
            if continuation is None:
                return

    async def _write(self, partition: str, operations: Sequence[Operation]) -> None:
        for some in _transactions(operations):
            while some:
                try:
                    await _patiently(functools.partial(self._tables.commit, partition, some))
                    break
                except VersionConflict as gone:
                    # Only a Delete has a condition here: the row went with a former attempt whose answer was lost.
                    del some[gone.index]


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call returns, however long the service is away: no other process would do this work."""
    delay = 0.05
    while True:
        try:
            return await call()
        except (Throttled, Unavailable) as problem:
            wait = max(delay, problem.retry_after if isinstance(problem, Throttled) else 0)
            log.warning("the task hub's table: %s; again in %.1f s", problem, wait)
            await asyncio.sleep(wait)
            delay = min(2 * delay, _LONGEST_PATIENCE)


def _partition(instance_id: str) -> str:
    return f"i:{instance_id}"


def _event_key(execution: int, index: int) -> str:
    return f"e{execution:08}-{index:08}"


def _mail_key(number: int) -> str:
    return f"m{number:08}"


def _split(key: str, text: str) -> list[Operation]:
    """Return the rows of a text, which may be longer than a column or a row holds. Its first row comes last."""
    pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
    groups = [pieces[i : i + _PIECES_A_ROW] for i in range(0, len(pieces), _PIECES_A_ROW)]
    rows: list[Operation] = [
        Upsert(f"{key}~{number:04}" if number else key, {f"t{i:02}": piece for i, piece in enumerate(group)})
        for number, group in enumerate(groups)
    ]
    first = groups[0]
    rows[0] = Upsert(key, {"rows": len(groups), **{f"t{i:02}": piece for i, piece in enumerate(first)}})
    return rows[::-1]


def _transactions(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    some: list[Operation] = []
    size = 0
    for operation in operations:
        weight = 0 if isinstance(operation, Delete) else sum(len(str(v)) for v in operation.columns.values())
        if some and (len(some) == MAX_OPERATIONS or size + weight > _TRANSACTION_CHARACTERS):
            yield some
            some, size = [], 0
        some.append(operation)
        size += weight
    if some:
        yield some
