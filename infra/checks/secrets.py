"""A scan for secrets in what is committed: keys, tokens and connection strings by their forms."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.checks.finding import Finding

FORMS: Mapping[str, re.Pattern[str]] = {
    "a storage account's key": re.compile(r"AccountKey\s*=\s*[A-Za-z0-9+/]{40,}={0,2}"),
    "a shared access signature": re.compile(r"[?&]sig=[A-Za-z0-9%+/]{20,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}"),
    "a secret of an Entra application": re.compile(r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,34}"),
    "a token of this app": re.compile(r"\bslk_[A-Za-z0-9_-]{30,}"),
    "a key of Azure's": re.compile(
        r"\b[A-Za-z0-9+/]{76}(?:AAAA|APIM|ACDb|\+ASt|AIoT|AzFu|AzSe)[A-Za-z0-9+/]{4,}={0,2}"
    ),
    "a token of GitHub's": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}"),
    "a key in the clear": re.compile(
        r"(?:InstrumentationKey|SharedAccessKey|client_secret|password)\s*[=:]\s*['\"]?[A-Za-z0-9+/]{32,}"
    ),
}
"""Secrets by their forms: of what the product works with, and what has to do with publishing it."""
ALLOWED: frozenset[tuple[str, str]] = frozenset()
"""Files, and forms that they may hold."""
LEFT_OUT = ("tests/", "infra/local/")
"""Folders with made-up secrets: the key that everybody's Azurite has, and those of the stand-ins for Entra."""


def check(root: Path) -> Iterator[Finding]:
    """Find secrets in the files that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S607
    for name in filter(None, listed.split("\0")):
        if not name.startswith(LEFT_OUT) and (root / name).is_file():
            try:
                text = (root / name).read_text("utf-8")
            except UnicodeDecodeError:
                continue
            yield from scan(text, name)


def scan(text: str, name: str) -> Iterator[Finding]:
    """Find secrets in a text."""
    for kind, form in FORMS.items():
        for found in form.finditer(text):
            if (name, kind) not in ALLOWED:
                line = text.count("\n", 0, found.start()) + 1
                yield Finding("secret", f"{name}:{line}", f"this looks like {kind}")
