"""Environments of their own for what cannot share the tests' one: made on first use beside .venv, and kept.

Tests run in several processes: the first one makes an environment, the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(name: str, *installs: tuple[Path, Sequence[str]], made_with: str = sys.executable) -> Path:
    """Return the interpreter of the environment in the folder `name`, with requirements files installed, in order.

    Each file comes with further options for pip. The environment is made anew where a file changed, and for another
    Python.
    """
    folder = ROOT / name
    python = folder / "bin" / "python"
    version = subprocess.run([made_with, "--version"], check=True, capture_output=True).stdout
    wanted = hashlib.sha256(b"".join([version, *(file.read_bytes() for file, _ in installs)])).hexdigest()
    marker = folder / "made-for"
    with alone():
        if not marker.exists() or marker.read_text() != wanted:
            subprocess.run([made_with, "-m", "venv", "--clear", str(folder)], check=True)
            for file, options in installs:
                pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.run([*pip, *options, "-r", str(file)], check=True)
            marker.write_text(wanted)
    return python


@contextmanager
def alone() -> Iterator[None]:
    """Let no other process of the tests be in such a block."""
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
