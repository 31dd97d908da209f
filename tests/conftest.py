"""Storage for the tests: SQLite in a folder of its own, and Azurite over the wire, started once a session."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from infra.local import azurite as azurite_process
from shared.tables.azure import AzureTables
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of an Azurite that runs for the session."""
    with azurite_process.start() as connection_string:
        yield connection_string


@pytest.fixture
def table_name() -> str:
    """A table's name that no other test has."""
    return "t" + secrets.token_hex(8)


@pytest.fixture
async def sqlite_tables(tmp_path: Path) -> AsyncIterator[SqliteTables]:
    """An empty table in a SQLite file."""
    tables = SqliteTables.open(tmp_path / "tables.db")
    yield tables
    await tables.close()


@pytest.fixture(params=["sqlite", "azurite"])
def open_tables(request: pytest.FixtureRequest, tmp_path: Path, table_name: str) -> Callable[[], Tables]:
    """Opens the test's table, each time as a new process would; the test runs once on each backend."""
    if request.param == "sqlite":
        return lambda: SqliteTables.open(tmp_path / "tables.db", table_name)
    connection_string = request.getfixturevalue("azurite")
    return lambda: AzureTables.from_connection_string(connection_string, table_name)


@pytest.fixture
async def tables(open_tables: Callable[[], Tables]) -> AsyncIterator[Tables]:
    """An empty table: the test runs once on each backend."""
    opened = open_tables()
    yield opened
    await opened.close()
