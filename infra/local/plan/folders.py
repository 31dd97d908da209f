"""The folder in which a plan is made. It is removed at the end, and after a kill by the next plan."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from infra.local.serve import only_server

PREFIX: Final = "scimlink-plan-"
YOUNG_SECONDS: Final = 60.0
"""Seconds for which a folder without a lock is left alone: its plan may be about to lock it."""
_TRIES: Final = 50
_PAUSE: Final = 0.1
"""Tries, and seconds between two of them, to remove a folder into which a process that is ending still writes."""


@contextmanager
def working_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it when the block ends.

    Whatever else this process writes into temporary files goes there, too.
    """
    _remove_left_over()
    folder, former = Path(tempfile.mkdtemp(prefix=PREFIX)), tempfile.tempdir
    try:
        with only_server(folder):
            tempfile.tempdir = str(folder)
            yield folder
    finally:
        tempfile.tempdir = former
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE)


def _remove_left_over() -> None:
    """Remove the folders of this user's plans that were killed: no process holds their locks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            seen = folder.lstat()
            if seen.st_uid != os.getuid() or folder.is_symlink() or time.time() - seen.st_mtime < YOUNG_SECONDS:
                continue
            with only_server(folder):
                remove(folder)
