"""What pages of users are made of; the pages themselves are shared/scim/paging.py's."""

from __future__ import annotations

from scim_users.membership import Memberships
from scim_users.search import find, find_by_key, find_from
from shared.directory.directory import Directory
from shared.directory.records.model import Account
from shared.scim.paging import Source


def source(directory: Directory, base: str, shown: Memberships) -> Source[Account]:
    """Return what a query of users reads, and reads along of the memberships that its answer shows."""
    return Source(
        directory.listing,
        lambda asked: find(directory, asked, base, shown),
        lambda tree: find_by_key(directory, tree, base, shown),
        lambda tree, start, count: find_from(directory, tree, base, start, count),
    )
