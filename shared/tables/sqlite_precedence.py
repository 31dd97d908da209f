"""Which process writes to a SQLite file next: an urgent one goes before those that are patient.

SQLite gives a free file to the process that asks first, and a process that writes all the time asks first: another with
one row to write was seen to wait for fifteen of its transactions. So there is a lock beside the file. An urgent process
holds it while it waits and writes, and while it is held, patient processes begin no transaction. It is a courtesy: what
keeps writers apart is SQLite's own lock (sqlite.py). When a process ends, however it ends, the kernel releases it.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path


class Precedence:
    """The precedence of one process among those that write to a file."""

    def __init__(self, path: Path, *, patient: bool) -> None:
        self._file = path.with_name(f"{path.name}-turn").open("ab")
        self._patient = patient
        self._held = False

    def enter(self) -> bool:
        """Tell whether this process may begin to write. An urgent one may; patient ones may not until it leaves."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if self._patient else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return not self._patient  # another urgent process holds it, or a patient one is just looking
        except OSError:
            return True  # the file system has no such locks
        self._held = True
        if self._patient:
            self.leave()
        return True

    def leave(self) -> None:
        """Let patient processes write again."""
        if self._held:
            self._held = False
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        self._file.close()
