"""How `make` comes by a Python and an environment: which one it takes, when it makes it anew, what it says."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local import environment

SCRIPT = environment.ROOT / "infra" / "local" / "python.sh"
OLD = '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.13" || exit 1\n'
FITTING = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'

Machine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with these commands and no others but what a shell script needs: asks it for its Python."""
    for tool in ("sh", "uname", "head", "cut", "cat"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))

    def ask(*arguments: str, commands: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
        for name, text in commands.items():
            path = tmp_path / name
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        known = {"PATH": str(tmp_path), "HOME": str(tmp_path), **variables}
        return subprocess.run([SCRIPT, *arguments], env=known, capture_output=True, text=True, check=False)

    return ask


def test_python3_is_taken_where_it_fits_whatever_else_is_installed(machine: Machine) -> None:
    assert machine(commands={"python3": FITTING, "python3.14": FITTING}).stdout == "python3\n"


@pytest.mark.parametrize("other", ["python3.12", ".pyenv/versions/3.12.1/bin/python3"])
def test_the_newest_other_python_is_taken_where_python3_is_too_old(machine: Machine, other: str) -> None:
    asked: dict[str, Any] = {"commands": {"python3": OLD, "python3.14": OLD, other: FITTING}}
    assert machine(**asked).stdout == f"{sys.executable}\n"
    assert machine("all", **asked).stdout == f"3.12 {sys.executable}\n"


@pytest.mark.parametrize(
    ("commands", "variables", "found"),
    [
        ({"python3": OLD}, {}, "python3 is Python 3.10.13"),
        ({}, {}, "python3 is not a Python that runs"),
        ({"python3": FITTING, "python3.10": OLD}, {"PYTHON": "python3.10"}, "python3.10 is Python 3.10.13"),
    ],
)
def test_what_is_wanted_what_was_found_and_what_to_do_is_said(
    machine: Machine, commands: dict[str, str], variables: dict[str, str], found: str
) -> None:
    done = machine(commands=commands, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    for text in ("needs Python 3.11 or newer", found, "Install one", "make PYTHON="):
        assert text in done.stderr


def test_windows_is_told_of_wsl(machine: Machine) -> None:
    done = machine(commands={"uname": "#!/bin/sh\necho MINGW64_NT-10.0\n", "python3": FITTING})
    assert done.returncode == 1
    assert "WSL" in done.stderr


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Makes the environment of a group in a folder; tells what was run for it, without running it."""
    ran: list[str] = []

    def run(command: list[Any], **_: Any) -> None:
        ran.append(" ".join(map(str, command[2:-1])))
        (tmp_path / "env" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "env" / "bin" / "python").touch()
        (tmp_path / "env" / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {platform.python_version()}\n")

    def make(group: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["environment", str(tmp_path / "env"), group])
        ran.clear()
        environment.main()
        return list(ran)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(environment, "install", lambda python, group: ran.append(f"install {group}"))
    return make


def test_an_environment_is_made_once(
    make: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert make("local") == ["venv", "install local"]
    told = capsys.readouterr().out
    assert f"Making {tmp_path / 'env'} with Python {platform.python_version()} ({sys.executable})" in told
    assert "is ready after" in told
    assert make("local") == []
    assert capsys.readouterr().out == ""


def test_a_group_that_holds_another_serves_for_it(make: Callable[[str], list[str]]) -> None:
    make("local")
    assert make("dev") == ["venv", "install dev"]
    assert make("local") == []


@pytest.mark.parametrize("gone", [True, False])
def test_an_environment_of_another_python_is_made_anew(
    make: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path, gone: bool
) -> None:
    make("local")
    if gone:
        (tmp_path / "env" / "bin" / "python").unlink()
    else:
        (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.0rc1\n")
    assert make("local") == ["venv --clear", "install local"]
    assert ("it was made with 3.11.0rc1" in capsys.readouterr().out) is not gone


def test_what_was_cut_off_while_it_was_made_is_made_again(
    make: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    with monkeypatch.context() as broken:
        broken.setattr(environment, "install", fail)
        with pytest.raises(SystemExit, match="could not be made"):
            make("local")
    assert make("local") == ["venv", "install local"]


def test_a_folder_that_holds_something_else_is_not_cleared(make: Callable[[str], list[str]], tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "precious").touch()
    assert make("local") == ["venv", "install local"]


def test_requirements_are_those_of_the_app_and_of_the_group_with_what_it_includes() -> None:
    local, dev = environment.list_requirements("local"), environment.list_requirements("dev")
    assert local < dev
    assert any(line.startswith("rich==") for line in local)
    assert any(line.startswith("pytest==") for line in dev - local)
    assert not any(line.startswith("#") for line in local)


def test_make_help_lists_every_target() -> None:
    make = str(shutil.which("make"))
    done = subprocess.run(
        [make, "--no-print-directory", "help"], cwd=environment.ROOT, capture_output=True, text=True, check=True
    )
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    lines = (environment.ROOT / "Makefile").read_text("utf-8").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    assert listed == {target for target in phony if "$" not in target}
