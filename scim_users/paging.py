"""What pages of users are made of; the pages themselves are shared/scim/paging.py's."""

from __future__ import annotations

from scim_users.search import find, find_by_key, find_from
from shared.directory.directory import Directory
from shared.directory.model import Account
from shared.scim.paging import Source


def source(directory: Directory, base: str) -> Source[Account]:
    """Return what a query of users reads."""
    return Source(
        directory.listing,
        lambda asked: find(directory, asked, base),
        lambda tree: find_by_key(directory, tree, base),
        lambda tree, start, count: find_from(directory, tree, base, start, count),
    )
