"""The portal's own stylesheet and script, under names that hold their hash: a browser keeps them for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "assets"
MIMETYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that pages load."""

    content: bytes
    mimetype: str


@cache
def addresses() -> dict[str, str]:
    """Return the path behind /portal/ of each asset, by the file's name."""
    return {name: path for path, (name, _) in _assets().items()}


def find(path: str) -> Asset | None:
    """Return the asset at a path behind /portal/, if there is one."""
    found = _assets().get(path)
    return found and found[1]


@cache
def _assets() -> dict[str, tuple[str, Asset]]:
    found = {}
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in MIMETYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            path = f"assets/{file.stem}.{digest}{file.suffix}"
            found[path] = (file.name, Asset(content, MIMETYPES[file.suffix]))
    return found
