"""What a form carries so that the app knows where it comes from: a token, and of some a seal.

The token binds a form to the person whose page it is on, so that no other site can have it sent. The seal says what the
page showed, where that is to be looked at before the form is sent. Both are keyed with the directory's secret, which
all instances share. The token changes every day; yesterday's is still taken.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

from shared.directory.keys import Key, Keys
from shared.host.auth import Caller


def form_token(keys: Keys, caller: Caller, now: datetime) -> str:
    """Return the token for a person's forms of today."""
    return keys.digest(Key("portalForm", f"{now:%Y-%m-%d} {caller.name}"))


def seal_of(keys: Keys, caller: Caller, shown: str) -> str:
    """Return the seal of what a page showed a person."""
    return keys.sign(f"shown to {caller.name}: {shown}".encode("utf-8", "surrogatepass")).hex()


def is_token_of(keys: Keys, caller: Caller, now: datetime, token: str) -> bool:
    """Tell whether a form carries this person's token of today or yesterday."""
    taken = [form_token(keys, caller, day) for day in (now, now - timedelta(days=1))]
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in taken)
