"""The tables are copied to blobs, lost, and restored, over the wire: Azurite has both."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import io
import itertools
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from rich.console import Console

import function_app
from infra import restore
from infra.local import azurite as azurite_process
from infra.local.host import LocalHost
from shared.admin import copies
from shared.directory.directory import Directories
from shared.directory.errors import DirectoryError
from shared.directory.work.jobs import State
from shared.host.settings import Settings
from shared.tables import access, copying
from shared.tables.azure import AzureTables
from shared.tables.blobs import Blobs
from shared.tables.port import Denied, Upsert
from shared.tables.sqlite import SqliteTables
from tests.environments import alone
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import BY, change, create, linked, retired, small, with_changes

DAY = "2026-11-30"
CORE = "urn:ietf:params:scim:schemas:core:2.0"
Rows = list[tuple[str, str, Any]]


def signed(connection_string: str, permissions: str = "rwdlac") -> str:
    """Return the address of the container of the copies, with an account's shared access signature.

    https://learn.microsoft.com/rest/api/storageservices/create-account-sas
    """
    parts = dict(one.split("=", 1) for one in connection_string.rstrip(";").split(";"))
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {"sp": permissions, "ss": "b", "srt": "sco", "st": "", "se": end, "sip": "", "spr": "", "sv": "2020-08-04"}
    text = "\n".join([parts["AccountName"], *fields.values(), ""]).encode()
    key = base64.b64decode(parts["AccountKey"])
    signature = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
    query = urlencode({**{name: value for name, value in fields.items() if value}, "sig": signature})
    return f"{parts['BlobEndpoint']}/{copies.CONTAINER}?{query}"


@pytest.fixture(scope="module")
def blob_service() -> Iterator[str]:
    """The connection string of an Azurite that keeps blobs."""
    with alone():  # it starts on a port that was free a moment before
        started = azurite_process.start("blob")
        connection_string = started.__enter__()
    yield connection_string
    started.__exit__(None, None, None)


@pytest.fixture
async def container(blob_service: str) -> str:
    """The address of an empty container."""
    address = signed(blob_service)
    async with aiohttp.ClientSession() as session:
        for method in ("DELETE", "PUT"):
            async with session.request(method, f"{address}&restype=container", headers={"x-ms-version": "2021-12-02"}):
                pass
    return address


@pytest.fixture
async def azure(azurite: str, table_name: str) -> AsyncIterator[AzureTables]:
    """Empty tables."""
    tables = AzureTables.from_connection_string(azurite, table_name)
    yield tables
    await tables.close()


async def all_rows(tables: AzureTables) -> Rows:
    """Return every row of every table, without what storage gives it."""
    found: Rows = []
    for name in await tables.names():
        continuation: str | None = None
        while True:
            page = await tables.page(name, continuation, None)
            found += [(row.partition, row.key, dict(row.columns)) for row in page.rows]
            continuation = page.continuation
            if continuation is None:
                break
    return found


async def wipe(tables: AzureTables) -> None:
    for name in await tables.names():
        await tables._service().delete_table(name)


@asynccontextmanager
async def app(tables: AzureTables, folder: Path) -> AsyncIterator[tuple[LocalHost, aiohttp.ClientSession]]:
    settings = Settings.local("token").model_copy(update={"backups_endpoint": "https://copies.invalid"})
    histories = SqliteTables.open(folder / "histories.db")
    headers = {"Authorization": "Bearer token"}
    built = function_app.build(settings, tables)
    async with LocalHost(built, histories) as host, aiohttp.ClientSession(host.url, headers=headers) as session:
        yield host, session
    await histories.close()


async def send(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with session.request(method, path, json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json(content_type=None)


async def everything(session: aiohttp.ClientSession) -> Any:
    """Return what SCIM answers about everybody, but for versions, which storage gives."""
    found = []
    for path in ("Users", "Groups", 'Users?filter=userName eq "Bob"', 'Users?filter=externalId eq "oid-ada"'):
        for one in (await send(session, "GET", f"/scim/v2/{path}"))["Resources"]:
            one["meta"].pop("version")
            one["meta"].pop("location")
            found.append(one)
    return json.loads(json.dumps(found).replace(str(session._base_url), ""))


@pytest.fixture
def to_blobs(
    monkeypatch: pytest.MonkeyPatch, azure: AzureTables, azurite: str, table_name: str, container: str
) -> None:
    """Lets the app into both by a key, where it has no managed identity."""
    source = AzureTables.from_connection_string
    monkeypatch.setattr(copies, "open_source", lambda _: source(azurite, table_name))
    monkeypatch.setattr(copies, "open_blobs", lambda _: Blobs(container))


@pytest.mark.usefixtures("to_blobs")
async def test_after_a_loss_everything_is_as_it_was_copied(
    azure: AzureTables, container: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with app(azure, tmp_path) as (host, session):
        users = [
            await send(session, "POST", "/scim/v2/Users", {"schemas": [f"{CORE}:User"], "userName": name, **more})
            for name, more in (("ada", {"externalId": "oid-ada"}), ("bob", {"emails": [{"value": "b@contoso.com"}]}))
        ]
        members = [{"value": user["id"]} for user in users]
        group = {"schemas": [f"{CORE}:Group"], "displayName": "Staff", "members": members}
        await send(session, "POST", "/scim/v2/Groups", group)
        before = await everything(session)
        await host.run_timer("tables_copy")
        await host.run_timer("tables_copy")
    told = [text for text in caplog.messages if text.startswith("tables copied: ")]
    assert len(told) == 1, "the second time there was nothing left to do"
    rows = await all_rows(azure)
    assert len(rows) > 20
    await wipe(azure)
    day = datetime.now(UTC).date().isoformat()
    async with Blobs(container) as blobs:
        assert await restore.run(azure, blobs, day, Console(quiet=True)) == 0
    assert await all_rows(azure) == rows
    async with app(azure, tmp_path) as (_, session):
        assert await everything(session) == before
        async with session.post("/scim/v2/Users", json={"schemas": [f"{CORE}:User"], "userName": "Ada"}) as answer:
            assert answer.status == 409, "the name is taken as before"


async def copied_beside(azure: AzureTables, container: str, steps: Sequence[Any]) -> int:
    """Copy in the smallest parts, and do one of the steps behind each part; return the number of parts."""
    async with Blobs(container) as blobs:
        for step in itertools.chain(steps, itertools.repeat(None)):
            manifest, _ = await copying.copy(azure, blobs, DAY, 0)
            if manifest.ended:
                return len(manifest.parts)
            if step:
                await step()
    raise AssertionError


async def test_what_changes_while_it_is_copied_is_whole_again_after_a_restore(
    azure: AzureTables, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names change hands, accounts are made, linked and deleted, between any two parts."""
    monkeypatch.setattr(copying, "PART_BYTES", 1)
    monkeypatch.setattr(copying, "PAGE_ROWS", 3)
    directory = await small(azure, buckets=2)
    people = [await create(directory, f"person{n}", f"person{n}@contoso.com") for n in range(8)]
    numbers = itertools.count()

    async def live() -> None:
        n = next(numbers)
        account = await directory.accounts.get(people[n % 8].id) if n % 8 < 6 else None
        if account is None:
            await create(directory, f"late{n}", f"late{n}@contoso.com")
        elif n % 3 == 0:
            await change(directory, account, with_changes(account, userName=f"renamed{n}"))
        elif n % 3 == 1 and account.link is None:
            await change(directory, account, linked(account, f"oid-{n}"))
        elif n > 40:
            await directory.accounts.delete(account, by=BY)

    async def try_to_live() -> None:
        try:
            await live()
        except DirectoryError:
            return

    parts = await copied_beside(azure, container, [try_to_live] * 60)
    assert parts > 20
    await wipe(azure)
    async with Blobs(container) as blobs:
        assert await restore.run(azure, blobs, DAY, Console(quiet=True)) == 0
    accounts = await check_invariants(azure)
    assert len(accounts) >= 8


async def test_a_row_that_moved_behind_the_copy_is_in_it(
    azure: AzureTables, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of an account that comes back has another key, before the one that it had."""
    monkeypatch.setattr(copying, "PART_BYTES", 1)
    monkeypatch.setattr(copying, "PAGE_ROWS", 1)
    directory = await small(azure, buckets=1)
    ada = await create(directory, "ada")
    gone = await change(directory, ada, retired(linked(ada, "oid")))
    seen: list[str] = []

    async def come_back() -> None:
        seen.append(gone.id)
        await change(directory, gone, replace(gone, retired=False))

    async with Blobs(container) as blobs:
        while not (manifest := (await copying.copy(azure, blobs, DAY, 0))[0]).ended:
            content = gzip.decompress(await blobs.get(manifest.parts[-1].name) or b"")
            if b'"c"' in content and b"_u_" in content and not seen:
                await come_back()  # behind live accounts, before the retired ones
    assert seen
    await wipe(azure)
    assert (await said(azure, container))[0] == 0
    (found,) = await check_invariants(azure)
    assert (found.id, found.retired) == (ada.id, False)


async def test_a_job_that_was_under_way_has_failed_and_holds_nobody_up(azure: AzureTables, container: str) -> None:
    directory = await small(azure)
    await directory.jobs.start("run", "test", "run1", {})
    await copied_beside(azure, container, [])
    await wipe(azure)
    async with Blobs(container) as blobs:
        assert await restore.run(azure, blobs, DAY, Console(quiet=True)) == 0
    directory = await Directories(azure).open("small")
    job = await directory.jobs.get("run1")
    assert (job.state, job.reason) == (State.FAILED, restore.LOST)
    await directory.jobs.start("run", "test", "run2", {})


async def said(azure: AzureTables, container: str, day: str = DAY, *, over: bool = False) -> tuple[int, str]:
    text = io.StringIO()
    async with Blobs(container) as blobs:
        code = await restore.run(azure, blobs, day, Console(file=text, width=300), over=over)
    return code, text.getvalue()


async def test_nothing_is_written_where_the_copy_is_not_whole(azure: AzureTables, container: str) -> None:
    await small(azure)
    assert await said(azure, container) == (1, f"there is no copy {DAY}: look for the folders in the container\n")
    async with Blobs(container) as blobs:
        manifest, _ = await copying.copy(azure, blobs, DAY, 0)
        assert not manifest.ended
    assert "is not complete: take the one of the day before" in (await said(azure, container))[1]
    await copied_beside(azure, container, [])
    assert (
        "has rows: empty the tables first; --over only goes on with a restore that broke off"
        in (await said(azure, container))[1]
    )
    async with Blobs(container) as blobs:
        await blobs.put(manifest.parts[0].name, b"something else")
    await wipe(azure)
    code, text = await said(azure, container)
    assert (code, "is missing or changed" in text) == (1, True)
    assert await all_rows(azure) == []


async def test_a_restore_that_broke_off_is_done_again(azure: AzureTables, container: str) -> None:
    directory = await small(azure)
    await create(directory, "ada", "ada@contoso.com")
    await copied_beside(azure, container, [])
    rows = await all_rows(azure)
    await azure.commit("small_u_00", [Upsert("a_half", {"status": "half"})])
    await wipe(azure)
    for _ in range(2):
        assert (await said(azure, container, over=True))[0] == 0
    assert await all_rows(azure) == rows


MANY = 6_000
"""Rows: some megabytes, in dozens of parts of PART."""
PART = 64 * 1024


class Ended(Exception):
    """The process is gone."""


class Ending(Blobs):
    """Blobs of a process that ends instead of its next request but some."""

    def __init__(self, container: str, left: int) -> None:
        super().__init__(container)
        self._left = left

    async def _send(self, method: str, name: str, content: bytes | None = None) -> tuple[int, str, bytes]:
        if self._left == 0:
            raise Ended
        self._left -= 1
        return await super()._send(method, name, content)


async def until_done(step: Callable[[Blobs], Awaitable[bool]], container: str, requests: int) -> int:
    """Take a step until it is done, in processes of which each lives for some requests more; return their number."""
    for number in itertools.count(1):
        try:
            async with Ending(container, number * requests) as blobs:
                if await step(blobs):
                    return number
        except Ended:
            pass
    raise AssertionError


async def test_thousands_of_rows_are_copied_and_restored_in_little_memory_however_often_it_breaks_off(
    azure: AzureTables, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PART_BYTES", PART)
    monkeypatch.setattr(copying, "PAGE_ROWS", 100)
    monkeypatch.setattr(copying, "SKEW", timedelta(0))  # what was written before is not copied again

    async def copy(blobs: Blobs) -> bool:
        return (await copying.copy(azure, blobs, DAY, 3_600))[0].ended is not None

    async def write_again(blobs: Blobs) -> bool:
        return await restore.run(azure, blobs, DAY, Console(quiet=True), over=True) == 0

    for bucket in range(MANY // 500):
        names = [hashlib.sha256(f"{bucket} {n}".encode()).hexdigest() for n in range(500)]
        rows = [Upsert(f"a_{name}", {"status": "active", "told": name * 8}) for name in names]
        await access.write(azure, {f"many_u_{bucket:02d}": rows})
    await asyncio.sleep(1.1)  # Azurite's clock has seconds
    tracemalloc.start()
    try:
        before = await all_rows(azure)
        whole = tracemalloc.get_traced_memory()[0]
        tracemalloc.clear_traces()
        copied_in = await until_done(copy, container, 7)
        copied = tracemalloc.get_traced_memory()[1]
        async with Blobs(container) as blobs:
            manifest = await copying.find(blobs, DAY)
        await wipe(azure)
        tracemalloc.reset_peak()
        restored_in = await until_done(write_again, container, 20)
        restored = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (manifest.rows, len(before)) == (MANY, MANY)
    assert len(manifest.parts) > 25
    assert min(copied_in, restored_in) > 1
    assert await all_rows(azure) == before
    assert max(copied, restored) < whole / 2


def token(seconds: int, name: str) -> str:
    """Return a token that ends in so many seconds."""
    payload = json.dumps({"exp": int(time.time()) + seconds, "name": name}).encode()
    return f"x.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.x"


class Az:
    """The only program on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.program, self._answer, self._asked = folder / "az", folder / "answer", folder / "asked"
        self.program.write_text(f'#!/bin/sh\necho "$*" >> {self._asked}\n/bin/cat {self._answer}\n')
        self.program.chmod(0o700)

    def answers(self, text: str) -> None:
        """Answer so from now on."""
        self._answer.write_text(text)

    @property
    def asked(self) -> list[str]:
        """What it was asked."""
        return self._asked.read_text().splitlines()


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Az:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Az(tmp_path)


async def test_a_restore_that_outlasts_its_token_goes_on_by_a_new_one(az: Az) -> None:
    lasting, ending = token(3_600, "lasting"), token(restore.SPARE_SECONDS - 1, "ending")
    az.answers(f"{lasting}\n")
    given = restore.Tokens(token(restore.SPARE_SECONDS + 60, "given"))
    assert (await given.bearer()) != lasting, "what was given lasts"
    tokens = restore.Tokens(ending)
    assert {*await asyncio.gather(*(tokens.bearer() for _ in range(9)))} == {lasting}
    shown = await tokens.get_token("https://storage.azure.com/.default")
    assert (shown.token, shown.expires_on) == (lasting, restore.end_of(lasting))
    (asked,) = az.asked
    assert asked.startswith("account get-access-token --resource https://storage.azure.com/")


@pytest.mark.parametrize("answered", [None, 60], ids=["nothing", "a token that ends"])
async def test_where_no_token_lasts_it_is_said_how_to_go_on(az: Az, answered: int | None) -> None:
    az.answers(token(answered, "ending") if answered else "")
    with pytest.raises(Denied, match=r"az login.*RESTORE_TOKEN.*--over"):
        await restore.Tokens().bearer()
    az.program.unlink()
    with pytest.raises(Denied, match="az login"):
        await restore.Tokens().bearer()


async def test_who_may_not_write_copies_is_told_which_role_is_missing(blob_service: str, container: str) -> None:
    async with Blobs(signed(blob_service, "r")) as blobs:
        with pytest.raises(Denied, match="Storage Blob Data Contributor"):
            await blobs.put("x", b"")
    async with Blobs(container) as blobs:
        await blobs.put("x", b"7")
        assert (await blobs.get("x"), await blobs.get("y")) == (b"7", None)
