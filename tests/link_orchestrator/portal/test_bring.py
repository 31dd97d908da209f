"""Files through the portal: look first, import, take back; and what is refused keeps what was typed."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from infra.local.samples import MadeUp
from link_orchestrator.portal import forms
from link_orchestrator.portal.pages.of_import import rows_became
from tests.link_orchestrator.portal.door import OPERATOR, READER, Answer, Door
from tests.link_orchestrator.portal.runs import api_of
from tests.link_orchestrator.running import csv_file, graph
from tests.waiting import until

FILE = csv_file(
    {"Login": "jane@contoso.com", "Mail": "jane@contoso.com", "First name": "Jane", "Colour": "red"},
    {"Login": "<script>alert(1)</script>", "Mail": "", "First name": "Eve", "Colour": "blue"},
    {"Login": "", "Mail": "", "First name": "Nobody", "Colour": ""},
)


async def send_file(door: Door, content: bytes, path: str = "import", name: str = "hr.csv", **fields: Any) -> Answer:
    """Send a file by a form of a page, as a browser does."""
    form = aiohttp.FormData()
    sent = {"token": (await door.get(path)).token, "do": "send", "what": "accounts"} | fields
    for field, value in sent.items():
        for one in value if isinstance(value, list) else [value]:
            form.add_field(field, one)
    form.add_field("file", content, filename=name, content_type="text/csv")
    return await door.ask("POST", path, {"Sec-Fetch-Site": "same-origin", **OPERATOR}, data=form)


async def followed(door: Door, sent: Answer, said: str) -> tuple[str, Answer]:
    """Return the path of the page that a form led to, and the page once it says something."""
    assert sent.status == 303, sent.text
    path = sent.headers["Location"].removeprefix("/portal/")

    async def shows() -> Answer | None:
        page = await door.get(path)
        assert page.status == 200, page.text
        return page if said in page.text else None

    return path, await until(shows)


async def take_back(door: Door, path: str, **fields: str) -> tuple[str, Answer]:
    """Take an import back by its page: look what that would do first. Return the path and the page of the undo."""
    look, seen = await followed(door, await door.send(path, {"do": "look"}), "Take it back?")
    numbers: dict[str, str] = dict(re.findall(r'name="(\w+)"[^>]*data-confirm="(\d+)"', seen.html))
    return await followed(door, await door.send(look, {"do": "undo", **numbers, **fields}), "Row by row")


async def test_a_file_is_looked_at_imported_and_taken_back(door: Door) -> None:
    path, preview = await followed(door, await send_file(door, FILE), "Import it?")
    assert "2 would be created" in preview.text.replace("would be created 2", "2 would be created")
    assert "hr.csv: nothing is changed yet" in preview.text
    assert "<script>alert" not in preview.html
    assert "Colour" in preview.text
    path, done = await followed(door, await door.send(path.partition("?")[0], {"do": "import"}), "Take it back")
    assert path.startswith("imports/import")
    assert "created 2" in done.text
    assert "Correct them in the file" in done.text
    assert "hr.csv" in (await door.get("import")).text
    path, undone = await take_back(door, path)
    assert "Removed 2" in undone.text
    assert "<script>alert" not in undone.html
    shown = await door.get(f"{path}?outcome=removed")
    assert "jane@contoso.com" in shown.text


async def test_an_import_that_a_waiting_plan_knows_says_so_before_its_undo_and_what_stayed_after_it(door: Door) -> None:
    file = csv_file({"userName": "ada@contoso.com"}, {"userName": "bob.local"}, {"userName": "kim.local"})
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        imported = await api.bring(file)
        path = f"imports/{imported['id']}"
        assert "A plan waits" not in (await door.get(path)).text
        run = await api.plan(graph(1, "ada@contoso.com"))
        assert "An import was taken back" not in (await door.get(f"runs/{run['id']}")).text
        before = await door.get(path)
        assert (
            "waits for its approval with 1 link. Accounts that this import made and the plan would link are"
            in before.text
        )
        assert f'/portal/runs/{run["id"]}">the plan' in before.html
        _, undone = await take_back(door, path)
        assert "taken back partly: 1 account is not what it was before it. Each row says why." in undone.text
        assert "What the import made and changed is taken back" not in undone.text
        plan = await door.get(f"runs/{run['id']}")
        assert "An import was taken back since the plan was made" in plan.text
        await api.call("POST", f"linking/runs/{run['id']}/cancel")
        await api.wait(f"linking/runs/{run['id']}", "cancelled")
    assert "A plan waits" not in (await door.get(path)).text
    _, undone = await take_back(door, path)
    assert "What the import made and changed is taken back." in undone.text


async def test_what_taking_an_import_back_would_do_is_counted_and_named_before_it_is_done(door: Door) -> None:
    file = csv_file(
        {"userName": "ada@contoso.com"}, {"userName": "bob.local"}, {"userName": "kim.local", "active": "no"}
    )
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        await api.bring(csv_file({"userName": "kim.local"}))
        imported = await api.bring(file)
        await api.plan(graph(1, "ada@contoso.com"))
        look = await door.send(f"imports/{imported['id']}", {"do": "look"})
        path, seen = await followed(door, look, "Take it back?")
        assert path.startswith("undo-previews/importundopreview")
        for told in (
            "1 would be deleted",
            "1 would be given back, still inactive",
            "1 would stay as they are",
            "1 account that the import made is deleted. Nobody signs in by it any more.",
            "A plan waits that knows them",
            "would link the account: it stays. Cancel that run first.",
        ):
            assert told in seen.text or " ".join(reversed(told.split(" ", 1))) in seen.text, told
        assert "ada@contoso.com" in seen.text
        inactive = await door.get(f"{path}?outcome=undoneInactive")
        assert "stays inactive, as the import left it. To switch it on, edit it on its page." in inactive.text
        assert "bob.local" in (await door.get(f"{path}?outcome=removed")).text
        assert (await api.account("bob.local"))["userName"] == "bob.local", "nothing was taken back by looking"
        for typed in ("", "2", "all"):
            wrong = await door.send(path, {"do": "undo", "remove": typed})
            assert (wrong.status, "type 1, the number of accounts that would be deleted" in wrong.text) == (400, True)
        wrong = await door.send(path, {"do": "undo", "remove": "1", "activate": "all"})
        assert (wrong.status, "a number, or nothing" in wrong.text) == (400, True)
        asked = {"do": "undo", "remove": "1", "activate": "1"}
        _, undone = await followed(door, await door.send(path, asked), "Row by row")
        assert "taken back partly: 1 account is not what it was" in undone.text
        assert (await api.account("kim.local"))["document"]["active"] is True
    assert "The import was taken back since" in (await door.get(path)).text


async def test_whoever_came_since_the_look_makes_the_number_wrong_and_nobody_is_deleted(door: Door) -> None:
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        imported = await api.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob.local"}))
        run = await api.plan(graph(1, "ada@contoso.com"))
        path, _ = await followed(door, await door.send(f"imports/{imported['id']}", {"do": "look"}), "Take it back?")
        await api.call("POST", f"linking/runs/{run['id']}/cancel")
        await api.wait(f"linking/runs/{run['id']}", "cancelled")
        _, undone = await followed(door, await door.send(path, {"do": "undo", "remove": "1"}), "Row by row")
        assert "would delete 2 accounts, not 1; nothing was changed" in undone.text
        assert "Nothing was changed by this undo." in undone.text
        assert await api.account("bob.local")


async def test_a_run_that_used_the_accounts_is_named_before_they_are_deleted(door: Door) -> None:
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        imported = await api.bring(csv_file({"userName": "ada@contoso.com"}))
        run = await api.apply(await api.plan(graph(1, "ada@contoso.com")))
        undo = await api.call("POST", f"linking/runs/{run['id']}/undo")
        await api.wait(f"linking/undos/{undo['id']}", "done")
    _, seen = await followed(door, await door.send(f"imports/{imported['id']}", {"do": "look"}), "Take it back?")
    assert "linked 1 account ; its links were taken back" in seen.text.replace("account;", "account ;")
    assert "To go back, bring the file again: the account comes back with another id" in seen.text
    await take_back(door, f"imports/{imported['id']}")
    for path in ("", "connect", f"runs/{run['id']}"):
        told = (await door.get(path)).text
        assert "1 account was deleted with an import that was taken back" in told
        assert "sign in as before" not in told


async def test_a_reader_looks_at_what_taking_back_would_do_and_presses_nothing(door: Door) -> None:
    async with api_of(door) as api:
        imported = await api.bring(csv_file({"userName": "ada"}))
        path, _ = await followed(
            door, await door.send(f"imports/{imported['id']}", {"do": "look"}), "Yes, take the import back"
        )
        read = await door.get(path, READER)
        assert ("1 would be deleted" in read.text or "would be deleted 1" in read.text, "Yes, take" in read.text) == (
            True,
            False,
        )
        assert (await door.send(path, {"do": "undo"}, headers=READER, token="0")).status == 403
        assert await api.account("ada")


async def test_a_preview_shows_addresses_as_addresses_and_attributes_in_words(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, b"userName,email\nada,ada@contoso.com\n"), "Import it?")
    await followed(door, await door.send(path.partition("?")[0], {"do": "import"}), "Take it back")
    _, preview = await followed(door, await send_file(door, b"userName,email\nada,a.b@contoso.com\n"), "Import it?")
    assert "E-mail addresses: ada@contoso.com" in preview.text
    assert "a.b@contoso.com" in preview.text
    assert "{'" not in preview.text


async def test_a_preview_says_that_it_was_imported_and_taken_back(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    preview = path.partition("?")[0]
    path, _ = await followed(door, await door.send(preview, {"do": "import"}), "Take it back")
    said = await door.get(preview)
    assert "The import began" in said.text
    assert f"/portal/{path}" in said.html
    assert "were to be created" in said.text
    for gone in ("nothing is changed yet", "would be created", "Import it?", "taken back"):
        assert gone not in said.text
    assert "taken back" not in (await door.get("import")).text
    await take_back(door, path)
    assert "and was taken back" in (await door.get(preview)).text
    assert "Done taken back" in (await door.get("import")).text


async def test_the_page_of_an_import_looks_at_no_accounts(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again every few seconds while the import goes on."""

    async def count(*asked: object) -> None:
        pytest.fail("accounts were counted by state")

    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    monkeypatch.setattr("link_orchestrator.requests.standing.count_states", count)
    await followed(door, await door.send(path.partition("?")[0], {"do": "import"}), "Take it back")


async def test_columns_are_changed_on_the_preview(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    again = {"do": "again", "header": ["Login", "Colour"], "was": ["userName", ""], "as": ["userName", "department"]}
    path, preview = await followed(door, await send_file(door, FILE, path, **again), "Import it?")
    assert re.search(r'name="was" value="department"', preview.html)
    assert "department" in path, "what was said of columns is in the address, for the next change"


async def test_columns_that_were_chosen_stay_chosen_where_the_file_is_missing(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    chosen = {"do": "again", "what": "accounts", "header": "Colour", "was": "", "as": "department"}
    page = await door.send(path, chosen)
    assert (page.status, "choose a file" in page.text) == (400, True)
    assert re.search(
        r'value="Colour">(?:(?!</select>).)*<option value="department" selected>Department', page.html, re.DOTALL
    )


async def test_columns_that_are_not_read_are_told_above_the_button_that_imports(door: Door) -> None:
    file = csv_file({"Login": "jane", "Personalnr": "007", "Abteilung": "Sales"})
    _, preview = await followed(door, await send_file(door, file), "Import it?")
    told = preview.text.index("2 columns are not read Personalnr , Abteilung : what stands there gets into no account")
    assert told < preview.text.index("Import it?")
    _, all_read = await followed(door, await send_file(door, csv_file({"userName": "jane"})), "Import it?")
    assert "not read" not in all_read.text.partition("Import it?")[0]


async def test_a_column_that_was_chosen_after_the_file_was_read_is_never_dropped_in_silence(door: Door) -> None:
    file = csv_file({"Login": "jane", "Personalnr": "007"})
    path, preview = await followed(door, await send_file(door, file), "Import it?")
    assert re.search(r'<button[^>]*name="do" value="import" form="columns"', preview.html), "sends what was chosen"
    chosen = {"header": ["Login", "Personalnr"], "was": ["userName", ""], "as": ["userName", "employeeNumber"]}
    asked = {"do": "import", "what": "accounts", **chosen}
    refused = await door.send(path, asked)
    assert refused.status == 400
    assert "nothing was imported, because you set Personalnr to Employee number" in refused.text
    kept = r'value="Personalnr">(?:(?!</select>).)*<option value="employeeNumber" selected>'
    assert re.search(kept, refused.html, re.DOTALL)
    assert "<details open><summary>Read it again" in refused.html
    assert not (await door.api.call("GET", "accounts"))["accounts"]
    coded = await door.send(path, {"do": "import", "what": "accounts", "charset": "windows-1252"})
    assert (coded.status, "the encoding to windows-1252" in coded.text) == (400, True)
    # With the file beside it, the same button has it read so, and a new preview is shown.
    path, preview = await followed(door, await send_file(door, file, path, **asked), "Import it?")
    assert path.startswith("previews/")
    assert "not read" not in preview.text.partition("Import it?")[0]
    read = {
        "header": ["Login", "Personalnr"],
        "was": ["userName", "employeeNumber"],
        "as": ["userName", "employeeNumber"],
    }
    await followed(door, await door.send(path, {"do": "import", "what": "accounts", **read}), "Take it back")
    (account,) = (await door.api.call("GET", "accounts", userName="jane"))["accounts"]
    assert "007" in json.dumps(account)


async def test_a_wrong_file_is_led_to_the_right_door(door: Door) -> None:
    users = csv_file({"userPrincipalName": "a@contoso.com", "id": "1", "displayName": "A", "accountEnabled": "true"})
    page = await send_file(door, users)
    assert page.status == 400
    assert "Send it as: Entra's users" in page.text
    assert page.text.count("If these are accounts of the application all the same") == 1, "not in every error, too"
    assert "POST /" not in page.text
    assert re.search(r'value="identities" checked', page.html)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"columns": "Login"}, "line 1 is not like: Login = userName"),
        ({"columns": "Login = nothing"}, "which is no column"),
        ({"what": "nothing"}, "say what is in the file"),
        ({"what": "identities", "after": "identities1"}, "name an upload"),
    ],
)
async def test_what_is_refused_is_said_and_kept(door: Door, fields: dict[str, str], told: str) -> None:
    page = await send_file(door, FILE, **fields)
    assert page.status == 400, page.text
    assert told in page.text
    if "columns" in fields:
        assert f"{fields['columns']}</textarea>" in page.html


async def test_a_column_that_is_missing_is_named_in_the_words_of_the_page(door: Door) -> None:
    page = await send_file(door, csv_file({"Device": "laptop", "Colour": "red"}))
    assert (page.status, "?columns" in page.text) == (400, False)
    assert "If one of these has it, say which under More choices, with a line like: header of the column" in page.text
    assert "Device = userName" not in page.text, "a column that is not likely is not proposed"
    rows = [{"Abteilungsname": one.upper(), "Kontakt": f"{one}@contoso.com"} for one in ("ada", "bob")]
    page = await send_file(door, csv_file(*rows))
    assert "with a line like: Kontakt = userName" in page.text, "the values look like sign-in names"
    rows = [{"Abteilungsname": "IT", "Kürzel": "a.li"}, {"Abteilungsname": "HR", "Kürzel": "b.ob"}]
    page = await send_file(door, csv_file(*rows))
    assert "with a line like: Kürzel = userName" in page.text
    page = await send_file(door, csv_file({"Device": "laptop", "Benutzerkennung": "red"}))
    assert "Say which it is under More choices, with a line like: Benutzerkennung = userName" in page.text


async def test_a_form_without_a_file_says_so(door: Door) -> None:
    page = await door.send("import", {"do": "send", "what": "accounts", "columns": "Login = userName"})
    assert (page.status, "choose a file" in page.text) == (400, True)
    assert "Login = userName</textarea>" in page.html


async def test_entras_users_are_kept_for_plans(door: Door) -> None:
    people = json.dumps([graph(1, "jane@contoso.com"), {"id": "no"}]).encode()
    path, page = await followed(
        door, await send_file(door, people, what="identities", name="users.json"), "Plan with it"
    )
    assert path.startswith("uploads/identities")
    assert "people read 1" in page.text
    assert "rows not taken 1" in page.text
    assert "users.json" in (await door.get("import")).text


async def test_a_list_goes_on_in_another_file_without_typing_an_id(door: Door) -> None:
    first = json.dumps([graph(1, "jane@contoso.com")]).encode()
    path, page = await followed(door, await send_file(door, first, what="identities", name="1.json"), "Plan with it")
    upload = path.partition("?")[0].removeprefix("uploads/")
    assert f'href="/portal/import?what=identities&amp;after={upload}"' in page.html
    form = (await door.get(f"import?what=identities&after={upload}")).html
    assert re.search(rf'<details[^>]* open>.*name="after"[^>]* value="{upload}"', form, re.DOTALL)
    second = json.dumps([graph(2, "kim@contoso.com")]).encode()
    _, page = await followed(
        door, await send_file(door, second, what="identities", name="2.json", after=upload), "Plan with it"
    )
    assert "people read 2" in page.text


async def test_a_reader_looks_on(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    for one in ("import", path):
        page = await door.get(one, READER)
        assert page.status == 200
        assert "<form" not in page.html
    token = (await door.get("import")).token
    assert (await door.send(path.partition("?")[0], {"do": "import"}, READER, token)).status == 403


async def test_an_import_says_which_of_its_rows_a_plan_warns_of_in_the_same_words_and_sums(door: Door) -> None:
    ada = {"userName": "ada@contoso.com", "title": "Old"}
    rows = (ada | {"title": "New"}, {"userName": "bob"}, {"userName": "bob"}, {"userName": "cyd", "active": "?"})
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
        await api.bring(csv_file(ada | {"protected": "yes"}))
        job = await api.bring(csv_file(*rows), file="hr.csv")
        page = (await door.get(f"imports/{job['id']}")).text
        assert "said the same as another row 1" in page
        assert "rows not taken 2" in page
        assert "1 row not taken so far: a plan knows nothing of the people in it. The other 1 lacks nobody" in page
        assert (
            "1 row of hr.csv not taken so far: the plan knows nothing of these people" in (await door.get("plan")).text
        )
        run = await api.plan(graph(1, "ada@contoso.com"))
        assert "1 row of the accounts in hr.csv not taken so far" in (await door.get(f"runs/{run['id']}")).text
        await api.bring(csv_file({"userName": "cyd"}))
        page = (await door.get(f"imports/{job['id']}")).text
        assert "All 2 lack nobody: what they say came since, or their accounts were left as they are." in page


async def test_what_there_is_not_is_no_page(door: Door) -> None:
    for path in ("imports/nothing", "previews/import1", "uploads/x", "import-undos/import1"):
        assert (await door.get(path)).status == 404


async def test_the_made_up_files_can_be_brought_through_the_page(door: Door) -> None:
    files = MadeUp(60, 70).files()
    path, _ = await followed(door, await send_file(door, files["accounts"]), "Import it?")
    path, done = await followed(door, await door.send(path, {"do": "import"}), "Take it back")
    assert done.status == 200


async def test_of_a_mistake_that_many_rows_have_the_pages_say_how_many_there_are(door: Door) -> None:
    many = b"userName,email\nada,ada@contoso.com\n" + b",x\n" * 1_200
    path, preview = await followed(door, await send_file(door, many), "Import it?")
    assert "How many rows have each problem" in preview.text
    assert "1,200 1,000 The column email" in preview.text
    _, done = await followed(door, await door.send(path.partition("?")[0], {"do": "import"}), "Take it back")
    assert "1,200 1,000 The column email" in done.text
    identities = json.dumps({"value": [graph(1, "ada@contoso.com"), {}, {}]}).encode()
    _, upload = await followed(door, await send_file(door, identities, what="identities"), "What next")
    assert "How many rows have each problem" in upload.text


async def test_what_becomes_of_every_row_of_a_file_is_told_by_its_kind_before_and_after_the_import(door: Door) -> None:
    there = csv_file({"userName": "ada"}, {"userName": "eve", "protected": "yes"}, {"userName": "max", "title": "Sir"})
    job = await door.api.call("POST", "accounts/import", there, "text/csv")
    await door.api.wait(f"accounts/imports/{job['id']}", "done")
    rows = [
        {"userName": "ada", "title": "Dr"},
        {"userName": "eve", "title": "Dr"},
        {"userName": "max", "title": "Sir"},
        *({"userName": "new", "title": "Dr"},) * 2,
        {"userName": "new", "title": "Lord"},
        {"userName": "", "title": "Dr"},
    ]
    told = (
        "The 7 rows of the file, each counted once The row Rows Becomes a new account 1 Brings an account up to date 1 "
        "Says what the account has already 1 Says the same as a row before it 1 "
        "Would change a protected account, which is left as it is 1 Cannot be read: the reasons are below 1 "
        "Is not taken, because of another row or account: the reasons are below 1"
    )
    path, preview = await followed(door, await send_file(door, csv_file(*rows)), "Import it?")
    assert told in preview.text
    assert "6 rows could be read, 1 could not" in preview.text
    assert "Rows that would not be taken, or say the same as another 1 of them says the same as another" in preview.text
    path, done = await followed(door, await door.send(path.partition("?")[0], {"do": "import"}), "Take it back")
    assert told in done.text
    assert "Rows that were not taken, or say the same as another 1 of them says the same as another" in done.text
    document = await door.api.call("GET", f"accounts/{path}")
    assert document["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "repeated": 1, "refused": 3}


def test_rows_that_a_stopped_import_did_not_look_at_are_counted_apart() -> None:
    job = {"kind": "import", "counts": {"created": 3, "refused": 2}, "reading": {"rows": 9, "unusable": 1}}
    assert rows_became(job) == [
        ("Becomes a new account", 3),
        ("Cannot be read: the reasons are below", 1),
        ("Is not taken, because of another row or account: the reasons are below", 1),
        ("Was not looked at: it ended before", 5),
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"x" * 5_000 + b".csv",
        b"accounts-\xff\xfe.csv",
        "accounts-\u202evsc.exe".encode(),
        b"a\x01b\x7f.csv",
        b"%22%0D%0Ax.csv",
        "\u05d0\u05d1\u05d2.csv".encode(),
    ],
    ids=["long", "no UTF-8", "right to left", "control characters", "a quote", "Hebrew"],
)
async def test_whatever_a_file_is_called_it_is_read(door: Door, name: bytes) -> None:
    sent = await _send_named(door, name, FILE)
    _, preview = await followed(door, sent, "Import it?")
    assert "\u202e" not in preview.text
    assert len(preview.html) < 60_000, "a name is shown in short"


@pytest.mark.parametrize(("name", "body"), [(b"x" * 70_000, FILE), (b'hr.csv"\r\nBroken', FILE)])
async def test_a_form_that_does_not_arrive_keeps_what_was_typed(door: Door, name: bytes, body: bytes) -> None:
    page = await _send_named(door, name, body, charset="windows-1252", columns="Login = userName")
    assert page.status == 400
    assert "did not arrive as a browser sends it" in page.text
    assert "Login = userName</textarea>" in page.html
    assert "choose a file" not in page.text


async def test_a_file_that_is_too_large_is_said_beside_its_field_and_what_was_typed_stays(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "MAX_FORM_BYTES", 4_000)
    monkeypatch.setattr("link_orchestrator.portal.functions.MAX_FORM_BYTES", 4_000)
    page = await _send_named(door, b"hr.csv", b"x" * 9_000, columns="Login = userName")
    assert page.status == 413
    assert re.search(r'id="e-file"[^>]*>.*file has at most', page.html)
    assert "Login = userName</textarea>" in page.html


async def _send_named(door: Door, name: bytes, content: bytes, **fields: str) -> Answer:
    """Send a file of any name, with fields of the form before it."""
    typed = {"token": (await door.get("import")).token, "do": "send", "what": "accounts", **fields}
    parts = [(f'name="{field}"'.encode(), value.encode()) for field, value in typed.items()]
    parts.append((b'name="file"; filename="' + name + b'"\r\nContent-Type: text/csv', content))
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + said + b"\r\n" for head, said in parts
    )
    headers = {"Sec-Fetch-Site": "same-origin", **OPERATOR, "Content-Type": "multipart/form-data; boundary=b"}
    return await door.ask("POST", "import", headers, data=body + b"--b--\r\n")


async def test_a_column_of_members_that_was_not_read_is_told_and_can_be_chosen(door: Door) -> None:
    file = b"Gruppe;Konto\nSales;ada\n"
    path, preview = await followed(door, await send_file(door, file, what="groups"), "Import it?")
    assert "No column was read as the members of the groups" in preview.text
    again = {"do": "again", "what": "groups", "header": ["Gruppe", "Konto"], "was": ["group", ""]}
    sent = await send_file(door, file, path, **again, **{"as": ["group", "userName"]})
    _, preview = await followed(door, sent, "Import it?")
    assert "No column was read as the members" not in preview.text
    assert "no account has this userName" in preview.text


GERMAN = "userName;displayName\n" + "".join(f"p{n}@muster.de;Jürgen {n}\n" for n in range(12))


async def test_a_german_file_with_a_french_name_is_read_whole(door: Door) -> None:
    file = f"{GERMAN}lefevre@muster.de;Lefèvre\nandre@muster.de;André García\n".encode("cp1252")
    _, preview = await followed(door, await send_file(door, file), "Import it?")
    assert "csv, windows-1252" in preview.text
    assert "14 rows could be read" in preview.text
    assert "Jürgen 11" in preview.text
    assert "missing because of" not in preview.text


async def test_rows_in_another_encoding_are_counted_above_all_and_the_import_is_not_the_plain_next_step(
    door: Door,
) -> None:
    file = f"{GERMAN}anna@muster.de;Anna\nkucera@muster.de;Kučera\n".encode("cp1250")
    path, preview = await followed(door, await send_file(door, file), "Import it?")
    text = preview.text
    assert "13 of 14 rows are missing because of the file's encoding" in text
    assert text.index("missing because of") < text.index("would be created")
    assert "13 rows of 14 cannot be read: the import would leave these people out." in text
    assert '<button class="button primary" name="do" value="import"' not in preview.html
    assert "a code page that is not known" in text
    again = await send_file(door, file, path, do="again", charset="windows-1250")
    _, read = await followed(door, again, "Import it?")
    assert "Kučera" in read.text
    assert '<button class="button primary" name="do" value="import"' in read.html


async def test_a_file_that_was_looked_at_brought_nobody_and_is_found_again(door: Door) -> None:
    path, _ = await followed(door, await send_file(door, FILE), "Import it?")
    assert "Try it with made-up people" in (await door.get("")).text
    page = await door.get("import")
    assert "hr.csv was looked at" in page.text
    assert f'href="/portal/{path}"' in page.html
    await followed(door, await door.send(path, {"do": "import"}), "Take it back")
    assert "Try it with made-up people" not in (await door.get("")).text
    assert "was looked at" not in (await door.get("import")).text


async def test_uploads_of_one_file_in_the_same_minute_are_told_apart(door: Door) -> None:
    people = json.dumps([graph(1, "jane@contoso.com")]).encode()
    async with api_of(door) as api:
        for _ in range(2):
            await api.call("POST", "linking/identities?file=users.json", people)
        uploads = (await api.call("GET", "linking/identities"))["uploads"]
    shown = re.findall(r"users.json, 1 read, ([^<]+)", (await door.get("plan")).html)
    if uploads[0]["started"][:16] == uploads[1]["started"][:16]:
        assert f"{uploads[0]['started'][11:19]} UTC" in shown[0]


async def test_entras_download_of_groups_says_what_it_lacks_and_where_the_members_are(door: Door) -> None:
    table = csv_file({"id": "1", "displayName": "Sales", "groupType": "Security", "membershipType": "Assigned"})
    refused = await send_file(door, table, what="entragroups", name="exportGroups.csv")
    assert refused.status == 400
    assert "Download groups in the Entra admin center" in refused.text
    assert "https://graph.microsoft.com/v1.0/groups?$select=id,displayName&$expand=members" in refused.text
