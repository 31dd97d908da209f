"""Storage for the tests: SQLite in a folder of its own, and Azurite over the wire, one for each process of tests."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from sqlite3 import Connection

import pytest
from hypothesis import HealthCheck, Phase, settings

from infra.local import azurite as azurite_process
from shared.tables import sqlite
from shared.tables.azure import AzureTables
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.environments import alone
from tests.fuzz import many
from tests.waiting import PLANTED

# No example fails for how long it takes, and examples may share a fixture: what they store is apart. Beside a planted
# fault the first failing example will do: nobody reads the smallest one.
scimlink = settings(
    many(100), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("scimlink", scimlink)
settings.register_profile("planted", scimlink, phases=[Phase.explicit, Phase.generate])
settings.load_profile("planted" if PLANTED in os.environ else "scimlink")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run the tests of `-n auto` in as many processes as there are cores; on one core in this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores > 1 else 0


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Sync no file of SQLite: what a power cut loses, no test looks at. Servers in processes of their own do sync."""
    connect = sqlite._connect

    @wraps(connect)
    def connect_unsynced(path: Path) -> Connection:
        connection = connect(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "_connect", connect_unsynced)
        yield


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of an Azurite that runs for the session."""
    with ExitStack() as stack:
        with alone():  # it starts on a port that was free a moment before
            connection_string = stack.enter_context(azurite_process.start())
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
