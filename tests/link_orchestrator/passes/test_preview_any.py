"""Whatever bytes are sent, whatever a directory has: an import changes no account that its preview did not count."""

from __future__ import annotations

import itertools
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.directory.directory import Directories, Directory
from shared.directory.keys import LIVE, RETIRED, Key
from shared.directory.records.kept import values_changed
from shared.directory.records.model import Account, Status
from tests.link_orchestrator.files.workbooks import ods, repacked, xlsx
from tests.link_orchestrator.passes.test_preview import everything, preview, put, put_linked
from tests.link_orchestrator.running import App, Refusal, csv_file, rows_of
from tests.shared.directory.invariants import check_invariants

numbers = itertools.count(1)

STATES = ("nobody", "local", "keyed", "inactive", "protected", "linked", "provisioned", "deleted", "renamed")
"""What the directory may have of a name before a file comes."""
NAMES = ("ada", "Ada", "ADA ", "bob", "\uff42\uff4f\uff42", "eve", "stra\u00dfe", "strasse", "")
COLUMNS: dict[str, st.SearchStrategy[str]] = {
    "userName": st.sampled_from(NAMES),
    "email": st.sampled_from(["", "a@contoso.com", "b@contoso.com", "nowhere"]),
    "title": st.sampled_from(["", "Old", "New", "=1+1"]),
    "department": st.sampled_from(["", "Sales"]),
    "active": st.sampled_from(["", "yes", "no", "perhaps"]),
    "protected": st.sampled_from(["", "yes", "no"]),
    "externalId": st.sampled_from(["", "", "", "taken", "mine"]),
    "nameId": st.sampled_from(["", "n-1"]),
    "applicationId": st.sampled_from(["", "", "key-ada", "key-bob", "key-eve", "key-new"]),
    "emailVerified": st.sampled_from(["", "yes", "c@contoso.com"]),
}


TEXTS = ("sharedStrings.xml", "content.xml")
"""Parts of workbooks that hold the texts of cells."""


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Draw a file: CSV, JSON Lines or a workbook, cut, or with bytes of anything in it or in a part of it."""
    columns = ["userName", *draw(st.lists(st.sampled_from(list(COLUMNS)[1:]), unique=True, max_size=5))]
    rows = draw(st.lists(st.fixed_dictionaries({name: COLUMNS[name] for name in columns}), min_size=1, max_size=7))
    lines = "\n".join(json.dumps({name: value for name, value in row.items() if value}) for row in rows)
    cells = [columns, *([row[name] for name in columns] for row in rows)]
    book = draw(st.sampled_from([None, None, xlsx, ods]))
    file = draw(st.sampled_from([csv_file(*rows), lines.encode()]))
    if book:
        file = xlsx({"S": cells}) if book is xlsx else ods(cells)
        if draw(st.booleans()):
            return repacked(file, lambda parts: spoil(draw, parts))
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "spoiled"])):
        case "cut":
            return file[: draw(st.integers(0, len(file)))]
        case "spoiled":
            at = draw(st.integers(0, len(file)))
            return file[:at] + draw(st.binary(max_size=4)) + file[at:]
    return file


def spoil(draw: st.DrawFn, parts: dict[str, bytes]) -> None:
    """Change some bytes of a part of a workbook, so that the archive around it stays whole."""
    name = draw(st.sampled_from(sorted(parts)))
    at = draw(st.integers(0, len(parts[name])))
    end = at + draw(st.integers(0, 4))
    parts[name] = parts[name][:at] + draw(st.binary(max_size=4)) + parts[name][end:]


async def prepare(directory: Directory, name: str, state: str, prefix: str) -> None:
    """Bring the directory into a state of a name."""
    number = next(numbers) + 10**6
    match state:
        case "local":
            await put(directory, name, document={"externalId": f"{prefix}mine"})
        case "keyed":
            await put(directory, name, application_id=name.replace(prefix, f"{prefix}key-"))
        case "inactive":
            await put(directory, name, document={"active": False})
        case "protected":
            await put(directory, name, protected=True)
        case "linked":
            taken_by_now = await directory.accounts.list_by(Key("externalId", f"{prefix}taken"))
            await put_linked(directory, name, number, "" if taken_by_now else f"{prefix}taken")
        case "provisioned":
            await put(directory, name, status=Status.PROVISIONED)
        case "deleted":
            await put(directory, name, retired=True)
        case "renamed":
            account = await put(directory, name)
            after = account.with_document(account.document() | {"userName": f"{name}-married"})
            await directory.accounts.replace(account, after, by="test", action="edit")


def repacked_with(file: bytes, prefix: bytes) -> bytes:
    """Return a file whose names and keys have a prefix, so that it is about this example's accounts."""

    def change(parts: dict[str, bytes]) -> None:
        parts.update({name: prefixed(part, prefix) for name, part in parts.items() if name.endswith(TEXTS)})

    if not file.startswith(b"PK"):
        return prefixed(file, prefix)
    try:
        return repacked(file, change)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError):
        return file


def prefixed(text: bytes, prefix: bytes) -> bytes:
    for plain in (b"ada", b"Ada", b"ADA", b"bob", b"eve", b"stra", "\uff42".encode(), b"taken", b"mine"):
        text = text.replace(plain, prefix + plain)
    return text.replace(b"key-" + prefix, prefix + b"key-").replace(b"key-new", prefix + b"key-new")


async def accounts_of(directory: Directory) -> dict[str, Account]:
    """Return all accounts, those that SCIM deleted among them, by id."""
    places = [directory.keys.resources(bucket) for bucket in range(directory.keys.buckets)]
    rows = [row for place in places for row in await rows_of(directory.tables, place)]
    accounts = [Account.from_row(row) for row in rows if row.key.startswith((LIVE, RETIRED))]
    return {account.id: account for account in accounts}


async def taken(job: Awaitable[Any]) -> Any:
    """Return a job once it has ended, None where the file is refused as a whole."""
    with suppress(Refusal):
        return await job
    return None


@settings(max_examples=25)
@given(
    states=st.lists(st.sampled_from(STATES), min_size=4, max_size=4),
    file=files(),
    protected=st.sampled_from([{}, {"protected": "change"}]),
)
@example(["protected", "linked", "inactive", "local"], b"userName,active\nada,no\nbob,no\neve,yes\n", {})
@example(["keyed"] * 4, b"userName,applicationId\nevelyn,key-ada\nada,key-new\n", {})
@example(["keyed"] * 4, b"userName,applicationId\nevelyn,key-ada\nada,\n", {})
@example(["keyed"] * 4, b"userName,applicationId\nbob,key-ada\nevelyn,key-bob\n", {})
@example(["local"] * 4, b"userName,externalId\nada,taken\nbob,taken\n", {"protected": "change"})
async def test_an_import_changes_what_its_preview_counted(
    app: App, states: list[str], file: bytes, protected: dict[str, str]
) -> None:
    directory, prefix = await Directories(app.tables).open("main"), f"p{next(numbers)}-"
    file = repacked_with(file, prefix.encode())
    for name, state in zip(("ada", "bob", "eve", "strasse"), states, strict=True):
        await prepare(directory, prefix + name, state, prefix)
    before, rows = await accounts_of(directory), await everything(directory)
    shown = await taken(preview(app, file, **protected))
    assert await everything(directory) == rows, "etags included"
    imported = await taken(app.bring(file, **protected))
    if shown is None or imported is None:
        assert shown is imported is None
        assert await everything(directory) == rows
        return
    after = await accounts_of(directory)
    assert before.keys() <= after.keys(), "no import deletes anybody"
    assert len(after) - len(before) == shown["counts"].get("created", 0)
    changed = [
        (before[one], after[one]) for one in before if before[one] != after[one]
    ]  # a fence gives another version alone
    assert len(changed) == shown["counts"].get("updated", 0)
    turned = Counter((old.active, new.active) for old, new in changed if old.active != new.active)
    counts = Counter(name.rpartition(":")[2] for pair in changed for name in values_changed(*pair))
    expected = Counter(shown.get("changes", {}))
    assert (expected.pop("deactivated", 0), expected.pop("activated", 0)) == (turned[True, False], turned[False, True])
    assert counts - Counter(active=counts["active"]) == expected
    for part in ("counts", "changes", "leftAlone"):
        assert imported.get(part) == shown.get(part)
    await check_invariants(app.tables, "main")
