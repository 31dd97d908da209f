"""`python -m infra.local.serve`: the whole app on this machine, without Azure.

Prints `ready: http://127.0.0.1:PORT` once it answers, and ends on SIGTERM or SIGINT. The portal is open to whoever sits
at this machine (sign_in.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.host import LocalHost
from infra.local.samples import MadeUp
from infra.local.sign_in import SignIn, with_portal
from infra.local.workers import Workers
from shared.host.graph_settings import GraphSettings
from shared.host.settings import ROLES, Settings, app_roles
from shared.tables.port import Damaged, Tables, Unavailable

try:
    import fcntl
except ImportError:
    sys.exit("The local host needs Linux or macOS: its locks and signals are theirs. On Windows, run it in WSL.")

FILE = "scimlink.db"
"""The file of the tables in a folder."""
ACCOUNTS = "scimlink"
HISTORIES = "scimlinkdurable"


def main() -> None:
    """Serve until a signal comes."""
    arguments = _parser().parse_args()
    start_log(arguments.log_level)
    try:
        graph = GraphSettings.from_environment(os.environ)
    except ValueError as problem:
        sys.exit(f"cannot serve: {problem}")
    try:
        with only_server(arguments.data):
            asyncio.run(serve(arguments, graph))
    except OSError as problem:
        sys.exit(f"cannot serve: {problem}")
    except Damaged as damage:
        sys.exit(f"cannot serve: {damage}. Put a backup in its place: see infra/docs/local.md")
    except Unavailable as problem:
        sys.exit(f"cannot serve: {problem}")


def start_log(level: str) -> None:
    """Log to stderr."""
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # aiohttp logs a request that it cannot read, and with it the names and addresses in a filter.
    logging.getLogger("aiohttp.server").disabled = True


@contextmanager
def only_server(folder: Path | None) -> Iterator[None]:
    """Keep a second server off a folder; makes the folder. Two would each run the same orchestrations.

    Raises OSError. The lock ends with the process, however it ends.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another server uses {folder}") from None
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.serve", description=main.__doc__)
    parser.add_argument("--port", type=int, default=7071, help="0 picks a free one")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, metavar="DIR", help="keep everything in this folder")
    where.add_argument("--tables", metavar="CONNECTION_STRING", help="keep everything in Table Storage or Azurite")
    parser.add_argument("--token", help="the bearer token; without it, the one kept in DIR, made on first use")
    parser.add_argument(
        "--roles", type=app_roles, default=ROLES, metavar="ROLES", help="scim, admin, or both: scim,admin"
    )
    parser.add_argument("--no-portal", action="store_true", help="open the portal to nobody: on a machine with others")
    parser.add_argument(
        "--portal-role", choices=["operator", "reader"], default="operator", help="who you are on the portal"
    )
    workers = min(2, os.cpu_count() or 1)
    what = "processes for imports and linking runs, and one more that replays; 0: the server runs all itself"
    parser.add_argument("--workers", type=int, default=workers, metavar="N", help=what)
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


async def serve(arguments: argparse.Namespace, graph: GraphSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    import function_app

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = arguments.token or kept_token(arguments.data)
    check_tables(arguments.data)
    accounts, histories = (open_tables(arguments.data, arguments.tables, name) for name in (ACCOUNTS, HISTORIES))
    settings = Settings.local(token, graph, arguments.roles)
    sign_in = SignIn(arguments.portal_role) if not arguments.no_portal and "admin" in arguments.roles else None
    if sign_in is not None:
        settings = with_portal(settings)
    try:
        app = function_app.build(settings, accounts, MadeUp())
        where = {"data": arguments.data, "tables": arguments.tables}
        workers = start_workers(arguments.workers, settings, **where, log_level=arguments.log_level)
        host = LocalHost(
            app, histories, port=arguments.port, workers=workers, timers=True, streams=True, sign_in=sign_in
        )
        async with host:
            if not arguments.token:
                print(f"Tenant URL:   {host.url}/scim/v2\nSecret token: {token}")
                if sign_in is not None:
                    print(f"Portal:       {host.url}/portal")
            # The app's objects live as long as it does. Looking through them for garbage held requests up for 60 ms.
            gc.freeze()
            print(f"ready: {host.url}", flush=True)
            await stop.wait()
    finally:
        await accounts.close()
        await histories.close()


def start_workers(
    number: int,
    settings: Settings,
    *,
    data: Path | None = None,
    tables: str | None = None,
    log_level: str = "WARNING",
) -> Workers | None:
    """Return processes that work over the tables of a folder or of a connection string, or None.

    An app without the role admin has nothing for them to do.
    """
    if not number or "admin" not in settings.app_roles:
        return None
    setup = {
        # A worker finds the settings of Graph in its own environment: a secret does not travel as JSON.
        "settings": settings.model_dump(mode="json", exclude={"graph"}),
        "data": str(data) if data else None,
        "tables": tables,
        "logLevel": log_level,
    }
    return Workers(number, setup)


def check_tables(folder: Path | None) -> None:
    """Raise Damaged if the file of the tables in a folder is damaged."""
    if folder is not None:
        from shared.tables.sqlite import SqliteTables

        SqliteTables.check(folder / FILE)


def open_tables(folder: Path | None, connection: str | None, name: str, *, patient: bool = False) -> Tables:
    """Return the table of that name, in a folder or in the storage account of a connection string.

    A patient process lets others write to the folder first.
    """
    if folder is not None:
        from shared.tables.sqlite import SqliteTables

        return SqliteTables.open(folder / FILE, name, patient=patient)
    from shared.tables.azure import AzureTables

    return AzureTables.from_connection_string(connection or "", name)


def kept_token(folder: Path | None) -> str:
    """Return the token kept in a folder, or a new one, which only this user can read there."""
    path = None if folder is None else folder / "token"
    if path is not None and path.exists():
        return path.read_text("ascii").strip()
    token = secrets.token_urlsafe(32)
    if path is not None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    return token


if __name__ == "__main__":
    main()
