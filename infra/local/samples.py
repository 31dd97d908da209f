"""Made-up people for the portal of a laptop, as files that the API takes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.demo_data import generate, write
from shared.directory.matching.policy import read_asked
from shared.json_text import dump


@dataclass(frozen=True, slots=True)
class MadeUp:
    """The people of `make demo`: so many accounts, and so many identities."""

    accounts: int = 1_000
    identities: int = 1_100

    def files(self) -> Mapping[str, bytes]:
        """Return `policy`, as the API shows it once stored, and `accounts` and `identities`, as the API takes them."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(generate(self.accounts, self.identities), folder)
            return {
                "policy": dump(read_asked(json.loads((folder / "policy.json").read_bytes())).to_json()).encode(),
                "accounts": (folder / "accounts.csv").read_bytes(),
                "identities": (folder / "identities.json").read_bytes(),
            }
