"""Whether the write-ahead log of a SQLite file still holds what was acknowledged.

After a crash SQLite reads its log up to the first frame that is not whole, and says nothing of what stood behind it.
From a log that was cut or damaged, acknowledged changes go missing. So where the log ends is noted in a file beside
it, after each commit that waited for the disk and before anybody is told of it. The note itself does not wait for the
disk: after a loss of power it may be older than the log. The formats: https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

_INDEX_HEADER = struct.Struct("=16xI12x8s8x")
"""Of the header of the log's index: the frames in the log, and its salts."""
_NOTE = struct.Struct(">8sI")
"""The salts of a log, of which the first is one more in each log than in the one before, and frames in it."""
_LOG_HEADER_BYTES = 32


class LogNote:
    """The note beside a file, as a process that writes to the file keeps it."""

    def __init__(self, path: Path) -> None:
        self._index_path = path.with_name(f"{path.name}-shm")
        self._index: int | None = None
        self._note = os.open(_note_path(path), os.O_RDWR | os.O_CREAT, 0o644)

    def write(self) -> None:
        """Note where the log ends. Call it after a commit, while the connection is open."""
        if self._index is None:
            self._index = os.open(self._index_path, os.O_RDONLY)
        size = _INDEX_HEADER.size
        header = os.pread(self._index, 2 * size, 0)
        if header[:size] == header[size:]:  # otherwise another process is about to write it, and a note of its own
            frames, salts = _INDEX_HEADER.unpack(header[:size])
            os.pwrite(self._note, _NOTE.pack(salts, frames), 0)

    def clear(self) -> None:
        """Note that nothing is in the log. Call it before the log is emptied or removed."""
        os.ftruncate(self._note, 0)

    def close(self) -> None:
        """Call it when the connections are closed."""
        os.close(self._note)
        # As long as a connection of this process uses the index, closing it would end the locks of that connection.
        if self._index is not None and os.fstat(self._index).st_nlink == 0:
            os.close(self._index)


def is_cut(path: Path, frames: int) -> bool:
    """Tell whether a log, in which SQLite found these frames, held more of them when the last one was noted."""
    note = _read(_note_path(path), _NOTE.size)
    if len(note) < _NOTE.size:
        return False
    salts, noted = _NOTE.unpack(note)
    header = _read(path.with_name(f"{path.name}-wal"), _LOG_HEADER_BYTES)
    if not noted or (header[16:24] == salts and frames >= noted):
        return False
    # A newer log may be empty: all of the one before is in the file then.
    return not (_is_whole(header) and 0 < _age(header[16:24]) - _age(salts) & 0xFFFFFFFF < 1 << 31)


def forget(path: Path) -> None:
    """Remove the note of a log that is whole, before the log is emptied."""
    _note_path(path).unlink(missing_ok=True)


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-end")


def _read(path: Path, size: int) -> bytes:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(size)
    return b""


def _age(salts: bytes) -> int:
    return int.from_bytes(salts[:4], "big")


def _is_whole(header: bytes) -> bool:
    """Tell whether the header of a log has the checksum that it says."""
    if len(header) < _LOG_HEADER_BYTES:
        return False
    order = ">" if header[3] & 1 else "<"
    first = second = 0
    for one, other in struct.iter_unpack(f"{order}2I", header[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second) == header[24:]
