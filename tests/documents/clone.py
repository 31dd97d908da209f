"""A clone in a fresh folder, in which make and the commands of the pages run as they do for a reader."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from infra.local.environment import list_requirements
from tests.documents.pages import ROOT

BASH = shutil.which("bash") or "/bin/bash"
PORT = "7071"
"""The port that the pages and the Makefile name."""
MADE_FOR = "made-for"
"""The file in an environment that says what it was made for (infra/local/environment.py)."""
LEFT_OUT = {".data", ".git", ".venv", "demo", "Makefile"}
"""What a reader's clone does not have, or has as its own."""
SECONDS = 900
"""Seconds after which a command that does not end has failed."""


class Clone:
    """A fresh folder with the repository's files in it. Its environment is the one of the tests, and is set up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        for entry in ROOT.iterdir():
            if entry.name not in LEFT_OUT:
                (folder / entry.name).symlink_to(entry)
        (folder / "Makefile").write_text(self._here((ROOT / "Makefile").read_text("utf-8")), "utf-8")
        (folder / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name != MADE_FOR:
                (folder / ".venv" / entry.name).symlink_to(entry)
        # By this make sees that there is nothing to install.
        (folder / ".venv" / MADE_FOR).write_text("\n".join(list_requirements("dev")), "utf-8")

    def run(self, commands: str) -> str:
        """Run commands in one shell, and return what they print. Fails as soon as one of them does."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
            shell = subprocess.Popen(
                [BASH, "-eu", "-c", self._here(commands)],
                cwd=self.folder,
                env={**keep, "PYTHON": sys.executable, "PYTHONUTF8": "1"},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                shell.wait(SECONDS)
            finally:
                # What the shell left in the background is in its group, and nothing else is.
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGTERM)
            printed.seek(0)
            text = printed.read()
        assert shell.returncode == 0, text
        return text

    def _here(self, text: str) -> str:
        return text.replace(PORT, str(self.port))


def _free_port() -> int:
    """Return a free port that no other test is given: it is not of those that the system picks for port 0."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
