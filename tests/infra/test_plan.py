"""`make plan` as somebody runs it: what it leaves, what it says, and that nothing leaves the machine."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from infra.local.demo_data import generate, write
from infra.local.plan import folders, shown
from infra.local.plan import work as plan_work
from infra.local.plan.__main__ import main
from tests.waiting import PATIENCE, process, until

ROOT = Path(__file__).parents[2]
ACCOUNTS = """userName,email,emailVerified,title
ann@contoso.com,ann@contoso.com,yes,=1+1
ben,ben@contoso.com,yes,
,,no,nobody
"""
USERS = """userPrincipalName,displayName,mail,id,accountEnabled
ann@contoso.com,Ann,ann@contoso.com,11111111-1111-4111-8111-111111111111,True
ben.b@contoso.com,=HYPERLINK("x"),ben@contoso.com,22222222-2222-4222-8222-222222222222,True
new@contoso.com,<b>New</b>,new@contoso.com,33333333-3333-4333-8333-333333333333,True
"""
WATCHED = """
import json, os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(json.dumps([event, repr(arguments[1:] if event.startswith(("socket.c", "socket.b", "socket.s"))
                                               else arguments)]) + "\\n")
sys.addaudithook(note)
"""
"""A sitecustomize, which every Python process loads: notes whatever anything does with a socket."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both files, from which the plan is asked for, and an empty folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "accounts.csv").write_text(ACCOUNTS, "utf-8")
    (tmp_path / "here" / "users.csv").write_text(USERS, "utf-8")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def asked(
    *more: str, accounts: str = "accounts.csv", identities: str = "users.csv", domains: str = "contoso.com"
) -> Any:
    return ["--accounts", accounts, "--identities", identities, "--domains", domains, *more]


def rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV as a spreadsheet that knows its mark reads it."""
    text = file.read_bytes().decode()
    assert text.startswith("\ufeff"), "without its mark, Excel does not take it for UTF-8"
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def left(here: Path) -> set[str]:
    """Return the names of everything in the folder and the temporary one."""
    return {entry.name for folder in (here, here.parent / "tmp") for entry in folder.iterdir()}


def test_a_plan_leaves_its_results_which_only_their_owner_reads_and_nothing_else(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(asked()) == 0
    assert left(here) == {"accounts.csv", "users.csv", "report"}
    report = here / "report"
    names = {".gitignore", "report.html", "rows.csv", "decisions.xlsx", "problems.csv"}
    assert {entry.name for entry in report.iterdir()} == names
    book = list(CalamineWorkbook.from_path(str(report / "decisions.xlsx")).get_sheet_by_index(0).iter_rows())
    assert list(rows_of(report / "rows.csv")[0]) == book[0]
    assert {'=HYPERLINK("x")', "Ann"} <= {cell for row in book for cell in row}, "texts, of which none is a formula"
    assert stat.S_IMODE(report.stat().st_mode) == 0o700
    assert (report / ".gitignore").read_text() == "*\n"
    told = capfd.readouterr().out
    for said in ("2 accounts would be linked", "accounts.csv: 2 rows used, 1 not", "report/rows.csv", "Nothing left"):
        assert said in told
    rows = rows_of(report / "rows.csv")
    assert {row["userPrincipalName"]: row["decision"] for row in rows} == {
        "ann@contoso.com": "link",
        "ben.b@contoso.com": "link",
        "new@contoso.com": "noAccount",
    }
    assert next(row for row in rows if row["userPrincipalName"] == "ben.b@contoso.com")["displayName"][:2] == "'="
    problems = rows_of(report / "problems.csv")
    assert [(row["file"], row["line"]) for row in problems] == [("accounts", "4")]
    page = (report / "report.html").read_text("utf-8")
    for said in ("accounts.csv", "users.csv", "contoso.com", "This plan is not kept", "Linked on approval"):
        assert said in page
    assert "ann@" not in page


def test_a_second_plan_has_a_folder_of_its_own_and_none_is_overwritten(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "report").mkdir()
    (here / "report" / "mine").write_text("kept")
    assert main(asked()) == 0
    assert (here / "report-2" / "report.html").exists()
    assert main(asked("--out", "report")) == 1
    assert "is there already, and is not overwritten" in capfd.readouterr().err
    assert [entry.name for entry in (here / "report").iterdir()] == ["mine"]
    assert main(asked("--out", "new/plans/first")) == 0
    assert left(here) == {"accounts.csv", "users.csv", "report", "report-2", "new"}


def test_a_plan_that_loses_the_race_for_its_name_overwrites_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = plan_work.make_plan

    async def beside(*arguments: Any) -> Any:
        (here / "report").mkdir()
        (here / "report" / "mine").write_text("kept")
        return await begun(*arguments)

    monkeypatch.setattr("infra.local.plan.__main__.make_plan", beside)
    assert main(asked()) == 1
    assert "report cannot be written" in capfd.readouterr().err
    assert [entry.name for entry in (here / "report").iterdir()] == ["mine"]
    assert left(here) == {"accounts.csv", "users.csv", "report"}


@pytest.mark.parametrize("workers", [False, True])
async def test_nothing_leaves_the_machine_and_no_door_of_the_app_is_open(here: Path, workers: bool) -> None:
    (here.parent / "site").mkdir()
    (here.parent / "site" / "sitecustomize.py").write_text(WATCHED)
    watched = here.parent / "watched"
    paths = os.pathsep.join([str(here.parent / "site"), str(ROOT)])
    program = (
        f"import sys, infra.local.plan.__main__ as m; m.MANY_BYTES = {0 if workers else 10**9}; sys.exit(m.main())"
    )
    environment = {**os.environ, "PYTHONPATH": paths, "WATCHED": str(watched)}
    async with process(sys.executable, "-c", program, *asked(), env=environment, cwd=here) as plan:
        assert await asyncio.wait_for(plan.wait(), PATIENCE) == 0
    events = [json.loads(line) for line in watched.read_text().splitlines()]
    assert events, "the durable client speaks to its engine: the watch works"
    assert not [event for event in events if "'127.0.0.1'" not in event[1]]
    assert [event for event, _ in events if event == "socket.bind"] == ["socket.bind"], "the durable engine's alone"


@contextmanager
def handled(handler: signal.Handlers | Callable[[int, Any], Any], *numbers: signal.Signals) -> Iterator[None]:
    """Ignore signals, or not: here, and in the processes that are started, whatever this one was started with."""
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_plan_that_is_stopped_leaves_nothing(here: Path, number: signal.Signals, code: int) -> None:
    write(generate(2_000, 2_200), here)
    files = left(here)
    command = (sys.executable, "-m", "infra.local.plan", *asked(identities="identities.json"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = asyncio.subprocess.PIPE
    with handled(signal.default_int_handler, number):
        async with process(*command, env=environment, cwd=here, stdout=pipe, stderr=pipe) as plan:
            await until(lambda: list(here.parent.glob("tmp/*/scimlink.db")))
            plan.send_signal(number)
            _, told = await asyncio.wait_for(plan.communicate(), PATIENCE)
            assert plan.returncode == code, told.decode()
    assert "stopped. Nothing was kept." in told.decode()
    assert "Traceback" not in told.decode()
    assert left(here) == files


@pytest.mark.parametrize(
    ("ignored", "code"),
    [((signal.SIGINT,), 143), ((signal.SIGINT, signal.SIGHUP), 143), ((signal.SIGHUP,), 0)],
    ids=["in a script's background", "with nohup there", "with nohup, at a hang-up"],
)
def test_a_plan_in_the_background_is_stopped_too_and_with_nohup_not_by_a_hang_up(
    here: Path, monkeypatch: pytest.MonkeyPatch, ignored: Sequence[signal.Signals], code: int
) -> None:
    async def meanwhile(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM if code else signal.SIGHUP)
        await asyncio.sleep(0)
        return await plan_work.make_plan(*arguments)

    monkeypatch.setattr("infra.local.plan.__main__.make_plan", meanwhile)
    with handled(signal.SIG_IGN, *ignored):
        assert main(asked()) == code
        assert [signal.getsignal(number) for number in ignored] == [signal.SIG_IGN] * len(ignored)
    assert left(here) == {"accounts.csv", "users.csv", *(() if code else ("report",))}


async def test_what_a_kill_left_is_removed_by_the_next_plan_and_what_another_plan_uses_is_not(here: Path) -> None:
    tmp = here.parent / "tmp"
    names = ("killed", "used", "young")
    for name in names:
        folder = tmp / f"{folders.PREFIX}{name}"
        folder.mkdir()
        (folder / "scimlink.db").write_text("people")
    then = time.time() - 2 * folders.YOUNG_SECONDS
    with folders.only_server(tmp / f"{folders.PREFIX}used"):
        for name in names[:2]:
            os.utime(tmp / f"{folders.PREFIX}{name}", (then, then))
        with folders.working_folder() as mine:
            assert {entry.name.removeprefix(folders.PREFIX) for entry in tmp.iterdir()} - {"used", "young"} == {
                mine.name.removeprefix(folders.PREFIX)
            }
    assert {entry.name.removeprefix(folders.PREFIX) for entry in tmp.iterdir()} == {"used", "young"}


def write_policy(text: str) -> Callable[[Path], list[str]]:
    def made(here: Path) -> list[str]:
        (here / "policy.json").write_text(text)
        return asked("--policy", "policy.json")

    return made


def write_file(name: str, content: bytes) -> Callable[[Path], list[str]]:
    def made(here: Path) -> list[str]:
        (here / name).write_bytes(content)
        return asked(accounts=name)

    return made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (asked(accounts="", identities=""), "ACCOUNTS and IDENTITIES must be given, as in"),
        (asked(identities=""), "IDENTITIES: the people in Entra"),
        (asked(accounts="acounts.csv"), "there is no such file in {here}. Is it accounts.csv?"),
        (asked(accounts="nowhere/accounts.csv"), "there is no such file in {here}/nowhere."),
        (asked(accounts="~nobody-here/a.csv"), "there is no such home folder"),
        (asked(accounts="."), "ACCOUNTS=. is a folder"),
        (asked(accounts="users.csv"), "are the same file"),
        (asked(accounts="users.csv", identities="accounts.csv"), "ACCOUNTS=accounts.csv IDENTITIES=users.csv"),
        (asked(identities="other.csv"), "IDENTITIES=other.csv: "),
        (write_file("empty.csv", b" \n"), "ACCOUNTS=empty.csv is empty"),
        (write_file("bytes.csv", bytes(range(256))), "ACCOUNTS=bytes.csv: "),
        (write_file("head.csv", b"userName,email\n"), "No row of the file can be used"),
        (write_file("de.csv", b"Benutzer,Amt\nann,x\n"), """add ACCOUNT_COLUMNS='{"Benutzer": "userName"}'"""),
        (
            lambda here: [*write_file("pl.csv", "userName\nŁ\n".encode("cp1250"))(here), "--account-encoding", "x-mac"],
            "ACCOUNT_ENCODING is a code page that is not read here",
        ),
        (asked("--account-columns", "x"), "ACCOUNT_COLUMNS: a JSON object from header to column"),
        (write_file("users2.csv", USERS.encode()), "and this is ACCOUNTS. Give it as IDENTITIES."),
        (asked("--policy", "none.json"), "POLICY=none.json: there is no such file"),
        (write_policy("{"), "POLICY=policy.json is not JSON"),
        (write_policy("[]"), "POLICY=policy.json holds no JSON object"),
        (write_policy('{"rulez": []}'), "POLICY: the policy has an unknown attribute, rulez; it may have"),
        (asked(domains="*.contoso.com"), "DOMAINS: verifiedDomains.0: '*.contoso.com': there are no wildcards"),
        (asked("--trust-emails", "yes"), "TRUST_EMAILS: trustEmails: must be one of verified, inVerifiedDomains"),
        (asked("--out", "users.csv"), "OUT=users.csv is there already"),
        (asked("--out", "users.csv/x"), "OUT=users.csv/x cannot be made"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_word_that_it_was_given_by(
    here: Path, capfd: pytest.CaptureFixture[str], given: Any, said: str
) -> None:
    (here / "other.csv").write_text("a,b\n1,2\n")
    arguments = given(here) if callable(given) else given
    files = left(here)
    assert main(arguments) == 1
    told = capfd.readouterr()
    assert told.err.startswith("make plan: ")
    assert said.replace("{here}", str(here)) in told.err
    assert "Traceback" not in told.err
    assert left(here) == files


def test_a_temporary_folder_that_is_full_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "folder")

    monkeypatch.setattr("infra.local.plan.__main__.working_folder", full)
    assert main(asked()) == 1
    told = capfd.readouterr().err
    assert told.startswith("make plan: cannot work in the temporary folder folder: No space left")
    assert "TMPDIR=… names another one" in told
    assert left(here) == {"accounts.csv", "users.csv"}


def test_a_command_line_that_is_wrong_is_refused(here: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--acounts", "x"])
    assert ended.value.code == 2


def test_without_domains_there_is_a_plan_and_it_says_so(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(asked(domains="")) == 0
    assert "0 accounts would be linked" in capfd.readouterr().out
    assert "No verified domain is set" in (here / "report" / "report.html").read_text("utf-8")


def test_a_policy_of_ones_own_counts_and_what_is_said_beside_it_goes_first(here: Path) -> None:
    policy = {
        "verifiedDomains": ["other.example"],
        "excluded": ["ann@contoso.com"],
        "autoApprove": {"share": 1, "number": 9},
    }
    (here / "policy.json").write_text(json.dumps(policy))
    assert main(asked("--policy", "policy.json")) == 0
    rows = rows_of(here / "report" / "rows.csv")
    assert {row["userPrincipalName"]: row["decision"] for row in rows if row["objectId"]} == {
        "ann@contoso.com": "excluded",
        "ben.b@contoso.com": "link",
        "new@contoso.com": "noAccount",
    }, "nobody is approved, whatever the policy says"


def test_a_header_that_is_not_known_is_named_by_whoever_knows_it(here: Path) -> None:
    (here / "other.csv").write_text("Konto,Freigabe\nann@contoso.com,ja\n")
    assert main(asked("--account-columns", '{"Konto": "userName", "Freigabe": "active"}', accounts="other.csv")) == 0
    rows = rows_of(here / "report" / "rows.csv")
    assert [row["userName"] for row in rows if row["decision"] == "link"] == ["ann@contoso.com"]


def test_columns_of_accounts_that_are_not_read_are_named_and_a_cut_row_is_told_once(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "other.csv").write_text("E-Mail;Aktiv;Rolle\nann@contoso.com;nein;x\nben@contoso.com;j")
    assert main(asked(accounts="other.csv")) == 0
    told = capfd.readouterr().out
    assert "  Columns not read: Rolle.\n" in told
    assert "deactivated account" in told, "Aktiv says whether an account is active"
    assert told.count("line 3") == 1


def test_results_are_there_also_where_nobody_reads_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(shown, "show_plan", closed)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(asked()) == 0
    assert (here / "report" / "rows.csv").exists()


def test_what_is_said_of_a_file_names_the_words_that_it_is_given_by(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "names.csv").write_text("User name,email\nAnn Lee,ann@contoso.com\nben@contoso.com,ben@contoso.com\n")
    assert main(asked(accounts="names.csv")) == 0
    (row,) = rows_of(here / "report" / "problems.csv")
    assert "by ACCOUNT_COLUMNS, like ACCOUNT_COLUMNS=" in row["remedy"]
    (here / "polish.csv").write_bytes("userName,displayName\nann@contoso.com,Łukasz Żak\n".encode("cp1250"))
    assert main(asked(accounts="polish.csv")) == 1
    assert "name its code page: ACCOUNT_ENCODING=windows-125" in capfd.readouterr().err
    assert main(asked("--account-encoding", "windows-1250", "--out", "polish", accounts="polish.csv")) == 0
    assert "Łukasz" in (here / "polish" / "report.html").read_text("utf-8") + (here / "polish" / "rows.csv").read_text()
