"""`python -m infra.package`: makes .package/scimlink.zip, what both function apps run; Azure installs requirements.txt.

In it is what .funcignore lists, and nothing else. The same files give the same bytes, on every machine: nothing is
compressed, for zlib's versions differ, and no time, owner or order of a file system goes in.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / ".package" / "scimlink.zip"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip file can tell."""
PLAIN_FILE = 0o100644 << 16
"""A file that its owner writes and everybody reads, where a zip file keeps that."""
UNIX = 3


def main() -> None:
    """Make the package, and say how large it is and what its hash is."""
    files = list_files(ROOT)
    PACKAGE.parent.mkdir(exist_ok=True)
    write(ROOT, files, PACKAGE)
    content = PACKAGE.read_bytes()
    named = PACKAGE.relative_to(ROOT)
    print(f"{named}: {len(files)} files, {len(content) / 1024:.0f} kB, SHA-256 {hashlib.sha256(content).hexdigest()}")


def list_files(root: Path) -> list[str]:
    """Return the files that .funcignore excepts from being ignored, in one order on every machine."""
    return sorted({file.relative_to(root).as_posix() for file in _excepted(root) if file.is_file()})


def _excepted(root: Path) -> Iterator[Path]:
    """Return what each `!/…` of .funcignore names: a file, or those of a folder that end in something."""
    for line in (root / ".funcignore").read_text("utf-8").splitlines():
        if line.startswith("!/"):
            yield from root.glob(line[2:])


def write(root: Path, files: list[str], package: Path) -> None:
    """Write the files into a zip file, replacing it."""
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
        for name in files:
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.external_attr, entry.create_system = PLAIN_FILE, UNIX
            archive.writestr(entry, (root / name).read_bytes())


if __name__ == "__main__":
    main()
