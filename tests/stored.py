"""What the local engine has in its file, read past it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_ROWS = """SELECT partition, key, ifnull(kept.columns, named.columns)
FROM TABLE_NAME AS named LEFT JOIN TABLE_NAME_large AS kept ON id = large
UNION ALL SELECT x'', x'', columns FROM TABLE_NAME_large
WHERE id NOT IN (SELECT large FROM TABLE_NAME WHERE large IS NOT NULL)"""


def stored_tables(file: Path) -> list[str]:
    """Return the names of the tables in a file."""
    with closing(sqlite3.connect(file)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '*_large'")
        return [name for (name,) in names]


def stored_rows(file: Path, table: str) -> list[tuple[bytes, bytes, str]]:
    """Return partition, key and columns of each row of a table; large columns that no row names have no place."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(_ROWS.replace("TABLE_NAME", table)).fetchall()
