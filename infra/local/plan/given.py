"""What `make plan` was given: two files, the verified domains, a policy; each refused by its own name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from link_orchestrator.files.accounts import WHICH_NAME
from link_orchestrator.files.identities import read_identities
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.files.text import NAME_IT
from link_orchestrator.requests.sent_file import MAX_FILE_BYTES
from shared.directory.matching.identity import Identity
from shared.json_text import Twice, read_written

ACCOUNTS, IDENTITIES, DOMAINS, TRUST, POLICY, OUT = "ACCOUNTS", "IDENTITIES", "DOMAINS", "TRUST_EMAILS", "POLICY", "OUT"
ACCOUNT_COLUMNS, IDENTITY_COLUMNS = "ACCOUNT_COLUMNS", "IDENTITY_COLUMNS"
ACCOUNT_ENCODING, IDENTITY_ENCODING = "ACCOUNT_ENCODING", "IDENTITY_ENCODING"
WORDS: Final = (
    *(ACCOUNTS, IDENTITIES, DOMAINS, TRUST, POLICY, OUT),
    *(ACCOUNT_COLUMNS, IDENTITY_COLUMNS, ACCOUNT_ENCODING, IDENTITY_ENCODING),
)
"""Words by which `make plan` is told something."""
COLUMNS_OF: Final = {ACCOUNTS: ACCOUNT_COLUMNS, IDENTITIES: IDENTITY_COLUMNS}
"""The word that says which header of a file is which column."""
ENCODING_OF: Final = {ACCOUNTS: ACCOUNT_ENCODING, IDENTITIES: IDENTITY_ENCODING}
"""The word that says in which code page a file is written."""
USAGE: Final = "make plan ACCOUNTS=accounts.csv IDENTITIES=users.csv DOMAINS=contoso.com"
WHAT: Final = {
    ACCOUNTS: "the accounts that your application has, as it exports them",
    IDENTITIES: "the people in Entra: Users > Download users in the Entra admin center",
}
_TYPES: Final = {".csv": "text/csv", ".json": "application/json", ".jsonl": "application/x-ndjson"}
_PASTED: Final = re.compile(r"add \?columns=(\S+) to the address")
"""How the app says what to add to an address."""
_ROWS_LOOKED_AT: Final = 20
"""Rows by which it is told what kind of file one is."""


class Trouble(Exception):
    """No plan can be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file and the word that it was given as. `columns` is JSON from header to column, "" for none.

    `encoding` is the code page that its text is in, "" where the app is to find that out.
    """

    word: str
    path: Path
    content: bytes
    columns: str = ""
    encoding: str = ""

    @property
    def content_type(self) -> str:
        kind = _TYPES.get(self.path.suffix.lower(), "application/octet-stream")
        return f"{kind}; charset={self.encoding}" if self.encoding else kind

    def __str__(self) -> str:
        return f"{self.word}={self.path}"


@dataclass(frozen=True, slots=True)
class Given:
    """What a plan is made of. `policy` has what was set of it, the domains included."""

    accounts: GivenFile
    identities: GivenFile
    policy: Mapping[str, Any]


def read(asked: Mapping[str, str]) -> Given:
    """Read what was given, by its word; what was not is "". Raises Trouble."""
    missing = [word for word in (ACCOUNTS, IDENTITIES) if not asked[word]]
    if missing:
        said = "".join(f"\n  {word}: {WHAT[word]}" for word in missing)
        raise Trouble(f"{' and '.join(missing)} must be given, as in\n  {USAGE}{said}")
    policy = _policy(asked[POLICY], asked[DOMAINS], asked[TRUST])
    given = Given(_file(ACCOUNTS, asked), _file(IDENTITIES, asked), policy)
    if given.accounts.path.samefile(given.identities.path):
        raise Trouble(f"{ACCOUNTS} and {IDENTITIES} are the same file. {ACCOUNTS}: {WHAT[ACCOUNTS]}.")
    return given


def looks_like_identities(file: GivenFile) -> bool:
    """Tell whether a file holds people of Entra."""
    try:
        rows = list(islice(read_identities(file.content, content_type=file.content_type), _ROWS_LOOKED_AT))
    except UnreadableFile:
        return False
    return any(isinstance(row, Identity) for row in rows)


def swapped(given: Given) -> str:
    """Return what to say if the two files took each other's place, "" if they did not."""
    if not looks_like_identities(given.accounts) or looks_like_identities(given.identities):
        return ""
    return (
        f"{given.accounts} looks like identities of Entra: swap the two.\n"
        f"  make plan ACCOUNTS={given.identities.path} IDENTITIES={given.accounts.path} …"
    )


def in_words(refusal: str, given_as: str) -> str:
    """Return what the app says of a file or its rows, with the words of `make plan` for its own addresses.

    `given_as` is ACCOUNTS or IDENTITIES.
    """
    word, encoding = COLUMNS_OF[given_as], ENCODING_OF[given_as]
    refusal = _PASTED.sub(lambda found: f"add {word}='{unquote(found[1])}'", refusal)
    refusal = refusal.replace("The charset of the Content-Type is", f"{encoding} is a code page that is")
    refusal = refusal.replace(NAME_IT, f"name its code page: {encoding}=")
    example = f'by {word}, like {word}=\'{{"User name": "userName"}}\','
    refusal = refusal.replace(WHICH_NAME, WHICH_NAME.replace("by columns", example))
    for door, other in (("accounts/import", ACCOUNTS), ("linking/identities", IDENTITIES)):
        refusal = refusal.replace(f"Send it to POST /{door}", f"Give it as {other}").replace(f"POST /{door}", other)
    return refusal.replace("?columns=", f"{word}=")


def _path(word: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise Trouble(f"{word}={value}: there is no such home folder.") from None


def _bytes(word: str, path: Path) -> bytes:
    """Return the content of a file. Raises Trouble for one that is not there or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Trouble(f"{word}={path}: there is no such file in {path.absolute().parent}.{_like(path)}") from None
    except IsADirectoryError:
        raise Trouble(f"{word}={path} is a folder: name a file in it.") from None
    except PermissionError:
        raise Trouble(f"{word}={path} may not be read by you: change its permissions, or copy it.") from None
    except (OSError, ValueError) as problem:
        raise Trouble(f"{word}={path} cannot be read: {problem}.") from None


def _like(path: Path) -> str:
    """Return a sentence that names the files that may have been meant, "" if there is none."""
    folder = path.absolute().parent
    try:
        names = [entry.name for entry in islice(folder.iterdir(), 10_000) if entry.is_file()]
    except OSError:
        return " That folder cannot be read, or is not there." if not folder.is_dir() else ""
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=0.75)
    return f" Is it {' or '.join(close)}?" if close else ""


def _file(word: str, asked: Mapping[str, str]) -> GivenFile:
    path = _path(word, asked[word])
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    if size > MAX_FILE_BYTES:
        raise Trouble(
            f"{word}={path} has {size / 1e6:,.0f} MB, and a file has at most {MAX_FILE_BYTES / 1e6:,.0f} MB. Leave out "
            "columns that are not needed, or rows."
        )
    content = _bytes(word, path)
    if not content.strip():
        raise Trouble(f"{word}={path} is empty.")
    return GivenFile(word, path, content, asked[COLUMNS_OF[word]], asked[ENCODING_OF[word]])


def _policy(path: str, domains: str, trust: str) -> Mapping[str, Any]:
    policy: Any = {}
    if path:
        try:
            content = _bytes(POLICY, _path(POLICY, path))
            policy = read_written(content.decode(json.detect_encoding(content)))
        except Twice as problem:
            raise Trouble(f"{POLICY}={path}: {problem}.") from None
        except ValueError as problem:
            raise Trouble(f"{POLICY}={path} is not JSON: {problem}.") from None
        if not isinstance(policy, dict):
            raise Trouble(f'{POLICY}={path} holds no JSON object like {{"verifiedDomains": ["contoso.com"]}}.')
    # What is said on the command line goes before what stands in a file.
    said = {"verifiedDomains": [one for one in re.split(r"[,;\s]+", domains) if one], "trustEmails": trust}
    return {**policy, **{name: value for name, value in said.items() if value}}
