"""The storage port: the small vocabulary of Azure Table Storage that the directory is written against.

Two adapters keep these promises, sqlite.py (a laptop) and azure.py (Azure, Azurite); one contract suite runs on both.
Few verbs are enough: point reads, an ordered range query over one partition, and a transaction on one partition.
Limits: https://learn.microsoft.com/azure/storage/tables/scalability-targets and
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.json_text import dump

Value = str | int | float | bool
"""What a column holds. Integers are 64 bits signed. A column that is None is not written."""

MAX_OPERATIONS = 100
MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""Bytes of a transaction as it is sent (wire_bytes)."""
OPERATION_BYTES = 2048
"""Bytes that are sent with an operation beside its key and columns, at most: its headers and the table's address."""
NUMBER_BYTES = 64
"""Bytes that are sent with a number beside its name, at most."""
MAX_ENTITY_BYTES = 1024 * 1024
MAX_STRING_UNITS = 32 * 1024
"""UTF-16 code units, of two bytes each, in a string column: 64 KiB."""
MAX_COLUMNS = 252
MAX_KEY_UNITS = 512
"""UTF-16 code units, of two bytes each, in a key: 1 KiB."""
MAX_PAGE = 1000

ANY = "*"
"""As an operation's etag: any version, but the row must exist."""

FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_KIND = re.compile(r"[a-z0-9]+_([a-z])(?:_|$)")


class TablesError(Exception):
    """A storage call failed."""


class Conflict(TablesError):
    """An operation met a row that forbids it, and nothing was changed. `index` is its place in the transaction."""

    reason = ""

    def __init__(self, index: int = 0) -> None:
        super().__init__(f"operation {index}: {self.reason}")
        self.index = index


class AlreadyExists(Conflict):
    """An insert met a row under its key."""

    reason = "the row exists"


class VersionConflict(Conflict):
    """A conditional operation met another version, or no row."""

    reason = "the row changed or is gone"


class Throttled(TablesError):
    """The service is overloaded: try again in `retry_after` seconds. The call may or may not have taken effect."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(f"throttled, retry after {retry_after} s")
        self.retry_after = retry_after


class Unavailable(TablesError):
    """No answer, or a broken one. The call may or may not have taken effect."""


class Damaged(TablesError):
    """A row does not read as it was written, or is not where it belongs. No such read says that a row is not there."""


class Denied(TablesError):
    """The service does not let this app in: the set-up is wrong, and trying again does not help.

    The text has the service's status and code, and what to do.
    """


class LimitExceeded(TablesError, ValueError):
    """The caller broke a limit of Table Storage: a mistake in the program, found before anything is sent."""


class TransactionTooLarge(LimitExceeded):
    """The operations are too large together. Nothing was changed; in several transactions they may fit."""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row. `etag` changes with every write of the row and is never used for it again."""

    partition: str
    key: str
    etag: str
    columns: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Insert:
    """Write a row that must not exist."""

    key: str
    columns: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write a row, replacing what is there."""

    key: str
    columns: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True)
class Replace:
    """Write all columns of a row that must have this etag (or `ANY`)."""

    key: str
    columns: Mapping[str, Value | None]
    etag: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Write some columns of a row that must have this etag (or `ANY`); the others stay."""

    key: str
    columns: Mapping[str, Value | None]
    etag: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a row that must have this etag (or `ANY`)."""

    key: str
    etag: str


Operation = Insert | Upsert | Replace | Merge | Delete


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a query, in order of key. There are more if `continuation` is set, even where `rows` is empty."""

    rows: Sequence[Row]
    continuation: str | None = None


Span = tuple[str, str, str]
"""A range of one partition: the partition, its lowest key, and the first key behind it."""


class Tables(Protocol):
    """Partitions of rows. Keys and columns are the caller's; order is by UTF-16 code units of the key."""

    async def get(self, partition: str, key: str, *, select: Sequence[str] | None = None) -> Row | None:
        """Return the row, or None. `select` names the columns wanted; a missing one is left out."""

    async def get_many(
        self, places: Sequence[tuple[str, str]], *, select: Sequence[str] | None = None
    ) -> list[Row | None]:
        """Return the row, or None, at each (partition, key): a point read for each, all under way at once."""

    async def query(
        self,
        partition: str,
        low: str = "",
        high: str | None = None,
        *,
        select: Sequence[str] | None = None,
        top: int = MAX_PAGE,
        continuation: str | None = None,
    ) -> Page:
        """Return rows with low <= key < high (no upper bound if None), at most `top` of them and possibly fewer.

        `continuation` is that of the page before, of a query with the same bounds; a later process may go on from it.
        """

    async def query_many(self, spans: Sequence[Span], *, top: int = MAX_PAGE) -> list[Page]:
        """Return the first page of each range, as query() does: a query for each, all under way at once."""

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply 1 to 100 operations to one partition, all or none; no key may occur twice.

        Returns the new etag of each operation's row ("" for a deleted one).
        Raises AlreadyExists or VersionConflict with the index of an operation that failed; nothing is changed then.
        """

    async def commit_ahead(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply the operations as commit() does, where only a later commit gives them a meaning.

        That is one of this process, or of who learns of them from it, as of the outcome of an activity. They last as
        soon as that one does. Until then a power cut may take them, though no crash of the process does.
        """
        return await self.commit(partition, operations)

    async def close(self) -> None:
        """Close the connections. The rows stay."""


def kind(partition: str) -> str:
    """Return the letter behind the directory's name, or "". An adapter may keep each kind of partition by itself."""
    found = _KIND.match(partition)
    return found[1] if found else ""


def check(partition: str, operations: Sequence[Operation]) -> None:
    """Raise LimitExceeded for a transaction that Table Storage would refuse (Azurite accepts several of these)."""
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise LimitExceeded(f"a transaction holds 1 to {MAX_OPERATIONS} operations, not {len(operations)}")
    check_key(partition)
    keys = set()
    stored = 0
    for operation in operations:
        check_key(operation.key)
        keys.add(operation.key)
        stored += _entity_bytes(partition, operation.key, getattr(operation, "columns", {}))
    if len(keys) != len(operations):
        raise LimitExceeded("a key occurs twice in one transaction")
    # A single operation is no transaction. To encode several takes as long as to store them, so it is done for those
    # alone that may be too large: a stored byte is sent in six at most.
    if len(operations) > 1 and 6 * stored + OPERATION_BYTES * len(operations) > MAX_TRANSACTION_BYTES:
        sent = sum(wire_bytes(partition, operation) for operation in operations)
        if sent > MAX_TRANSACTION_BYTES:
            raise TransactionTooLarge(f"a transaction has at most {MAX_TRANSACTION_BYTES} bytes, not {sent}")


def wire_bytes(partition: str, operation: Operation) -> int:
    """Return how many bytes an operation has in a transaction at most, as azure_batch.py writes it: in UTF-8 JSON.

    A character of Chinese is stored in two bytes and sent in three; one that controls or ends a line is sent in six.
    """
    # A key is in the address, where a unit of UTF-16 may take nine bytes, and in the row.
    size = OPERATION_BYTES + 12 * (_units(partition) + _units(operation.key))
    if isinstance(operation, Delete):
        return size
    numbers = [name for name, value in operation.columns.items() if isinstance(value, int | float)]
    # A number is accompanied by its type, under its name.
    size += sum(len(name) + NUMBER_BYTES for name in numbers)
    text = dump(operation.columns)
    size += 3 * (text.count("\u2028") + text.count("\u2029"))
    return size + len(text.encode("utf-8", "surrogatepass"))


def check_key(key: str) -> None:
    """Raise LimitExceeded for a PartitionKey or RowKey that Table Storage would refuse."""
    if _units(key) > MAX_KEY_UNITS or FORBIDDEN_IN_KEYS.search(key):
        raise LimitExceeded("a key has at most 512 UTF-16 units, without / \\ # ? and control characters")


def check_page(top: int) -> None:
    """Raise LimitExceeded for a page size that Table Storage would refuse."""
    if not 1 <= top <= MAX_PAGE:
        raise LimitExceeded(f"a page has 1 to {MAX_PAGE} rows, not {top}")


def _entity_bytes(partition: str, key: str, columns: Mapping[str, Value | None]) -> int:
    """Size of a stored entity as Table Storage counts it: names and strings at two bytes a UTF-16 unit."""
    if len(columns) > MAX_COLUMNS:
        raise LimitExceeded(f"a row has at most {MAX_COLUMNS} columns, not {len(columns)}")
    size = 4 + 2 * (_units(partition) + _units(key))
    for name, value in columns.items():
        size += 8 + 2 * len(name)
        if isinstance(value, str):
            units = len(value) if value.isascii() else _units(value)
            if units > MAX_STRING_UNITS:
                raise LimitExceeded(f"column {name}: a string has at most {MAX_STRING_UNITS} UTF-16 units, not {units}")
            size += 4 + 2 * units
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise LimitExceeded(f"column {name}: an integer has 64 bits")
        else:
            size += 8
    if size > MAX_ENTITY_BYTES:
        raise LimitExceeded(f"a row has at most {MAX_ENTITY_BYTES} bytes, not {size}")
    return size


def _units(text: str) -> int:
    """Return how many UTF-16 code units a text has."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
