"""Which process writes next to a SQLite file: one that hurries, before those that are patient.

SQLite gives the file to whoever asks first once it is free, and who writes without a rest asks first: a process with
one row to write was seen to wait for fifteen transactions of another. So there is a lock beside the file, which who
hurries holds while it waits and writes, and under which patient processes begin nothing. It is a courtesy: what keeps
writers apart is SQLite's own lock (sqlite.py). The kernel takes it from a process that ends, however it ends.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path


class Precedence:
    """One process's place among those that write to a file."""

    def __init__(self, path: Path, *, patient: bool) -> None:
        self._file = path.with_name(f"{path.name}-turn").open("ab")
        self._patient = patient
        self._held = False

    def enter(self) -> bool:
        """Tell whether this process may begin to write. Who hurries always may, and others may not until it leaves."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if self._patient else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return not self._patient  # a second one that hurries, or one that is patient and looks
        except OSError:
            return True  # a file system without such locks has no courtesy
        self._held = True
        if self._patient:
            self.leave()
        return True

    def leave(self) -> None:
        """Let patient processes begin again."""
        if self._held:
            self._held = False
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        self._file.close()
