"""Which files `func azure functionapp publish` uploads, by the rules of Azure Functions Core Tools 4.

They are not git's: an exception holds wherever it stands, every pattern begins at the root, and it need only match the
beginning of a path, up to the end of a word. A star is one or more characters of one name, two stars of any path; all
else, the question mark too, is itself. (Azure/azure-functions-core-tools: GitIgnoreParser, FileSystemHelpers)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

NEVER_FILES = {".funcignore", ".gitignore", "local.settings.json", "project.lock.json"}
NEVER_FOLDERS = {".git", ".vscode"}


def uploaded(folder: Path) -> set[str]:
    """Return the files of a folder that a publish from there uploads."""
    lines = [line.strip() for line in (folder / ".funcignore").read_text("utf-8").split("\n")]
    patterns = [line for line in lines if line and not line.startswith("#")]
    ignored = _begins_with_one_of(line for line in patterns if not line.startswith("!"))
    excepted = _begins_with_one_of(line[1:] for line in patterns if line.startswith("!"))
    files = {file.relative_to(folder).as_posix() for file in _files(folder)}
    return {file for file in files if excepted.match(file) or not ignored.match(file)}


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name.lower() not in NEVER_FOLDERS:
                yield from _files(entry)
        elif entry.name.lower() not in NEVER_FILES:
            yield entry


def _begins_with_one_of(patterns: Iterable[str]) -> re.Pattern[str]:
    expressions = [_expression(pattern.removeprefix("/")) for pattern in patterns]
    return re.compile(rf"(?:{'|'.join(expressions)})\b", re.ASCII)


def _expression(pattern: str) -> str:
    parts = {"**": ".+", "*": "[^/]+"}
    return "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*)", pattern))
