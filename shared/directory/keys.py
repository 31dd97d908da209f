"""Where everything stands: partition and row keys of one directory, and the one way values are compared.

Keys are keyed hashes of folded values: nothing to escape, no hot tail, and no name to read in a key. Every partition
starts with the directory's name, so no key of one directory can reach another's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
import uuid
from typing import NamedTuple

DIRECTORY_NAME = re.compile(r"[a-z0-9]{1,32}")

BUCKETS = 64
"""Account partitions of a directory. Fixed when it is created: an id names its bucket for ever."""

DIGEST = 32
"""Characters of a key's digest."""

# Row key prefixes in an account partition. "a" and "b" are neighbours, so one range reads both.
LIVE = "a_"
RETIRED = "b_"
COUNT = "c"
NAME = "n_"
TOMBSTONE = "t_"
AUDIT = "z_"

# Row keys in the partition of a group's members: the head, which every id follows; all ids end before MEMBERS_END.
HEAD = "-"
MEMBERS_END = "g"

# Row key prefixes in a key partition.
IDENTITY = "i_"
POINTER = "p_"


class Key(NamedTuple):
    """A value an account can be found by: what kind it is, and the value as the application wrote it."""

    kind: str
    value: str


def fold(value: str) -> str:
    """Return the form in which two values are the same: NFKC, case folded, without outer white space."""
    if value.isascii():
        return value.strip().lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    # Once is not enough for a few letters: the second normalisation can bring back something that folds further.
    return unicodedata.normalize("NFKC", folded.casefold()).strip()


def folded(key: Key) -> Key:
    """Return the key by which equal keys are equal objects."""
    return Key(key.kind, fold(key.value))


def is_group(resource_id: str) -> bool:
    """Tell whether an id is a group's, and not an account's."""
    return resource_id[14:15] == GROUPS.digit


def prefix_end(prefix: str) -> str:
    """Return the first key behind all that start with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Space(NamedTuple):
    """Where one resource type stands: the letters of its partitions, and the version digit of its UUIDs.

    By that digit a member's id tells what it names, without a look-up (RFC 9562: 4 is random, 8 is for custom use).
    """

    resources: str
    pointers: str
    digit: str


ACCOUNTS = Space("u", "x", "4")
GROUPS = Space("g", "y", "8")

NAMES = ("userName", "displayName")
"""Kinds of keys that are a resource's name: the claim on it stands beside the resource, in one transaction."""

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that was made here."""

MEMBER_BUCKETS = 16
"""Partitions of the index from members to groups."""


class Keys:
    """Partition and row keys of one resource type in one directory."""

    def __init__(self, directory: str, secret: bytes, buckets: int = BUCKETS, space: Space = ACCOUNTS) -> None:
        self.directory = directory
        self.buckets = buckets
        self._secret = secret
        self._space = space
        self._fingerprint = hashlib.blake2b(digest_size=8, key=secret, person=b"seen")

    def of(self, space: Space) -> Keys:
        """Return the keys of another resource type in the same directory."""
        return Keys(self.directory, self._secret, self.buckets, space)

    def digest(self, key: Key) -> str:
        """Return 32 hex digits for a key; equal exactly for equal kind and equal folded value."""
        value = fold(key.value).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(value, digest_size=16, key=self._secret, person=key.kind.encode()).hexdigest()

    def bucket(self, digest: str) -> int:
        """Return the bucket that a digest or an account id belongs to: both carry it in their first two digits."""
        return int(digest[:2], 16) % self.buckets

    def bucket_of(self, lead: str) -> int:
        """Return the bucket in which the rows stand that begin with a lead."""
        return self.bucket(lead[len(POINTER) :])

    def new_id(self, name: str) -> str:
        """Return a new id: a random UUID whose first two digits are the bucket of the resource's first name."""
        kind = "userName" if self._space is ACCOUNTS else "displayName"
        bucket, random = self.bucket(self.digest(Key(kind, name))), str(uuid.uuid4())
        return f"{bucket:02x}{random[2:14]}{self._space.digit}{random[15:]}"

    def resources(self, bucket: int) -> str:
        """Return the partition of a bucket's resources, name claims, audit and count."""
        return f"{self.directory}_{self._space.resources}_{bucket:02x}"

    def home(self, resource_id: str) -> str:
        """Return the partition that holds a resource; a string that is no id leads to a row that is not there."""
        try:
            return self.resources(self.bucket(resource_id))
        except ValueError:
            return self.resources(0)

    def members(self, group_id: str) -> str:
        """Return the partition of a group's members, a row each under the member's id."""
        return f"{self.directory}_m_{group_id}"

    def groups_of(self, member_id: str) -> str:
        """Return the partition that indexes a member's groups; ids of one bucket share one, so that a page does."""
        return self.memberships(self.bucket(member_id) % MEMBER_BUCKETS)

    def memberships(self, bucket: int) -> str:
        """Return a partition of the index from members to groups."""
        return f"{self.directory}_r_{bucket:02x}"

    def pointers(self, bucket: int) -> str:
        """Return the partition of a bucket's pointers and identity claims."""
        return f"{self.directory}_{self._space.pointers}_{bucket:02x}"

    def claim(self, key: Key) -> tuple[str, str]:
        """Return partition and row of the claim on a name or an identity.

        An identity's claim stands beside the pointers from its externalId, so that both are written in one transaction.
        """
        if key.kind in NAMES:
            digest = self.digest(key)
            return self.resources(self.bucket(digest)), NAME + digest
        digest = self.digest(Key("externalId", key.value))
        return self.pointers(self.bucket(digest)), IDENTITY + digest

    def lead(self, key: Key) -> str:
        """Return how the rows begin that lead from a key to accounts: a name's claim, or the pointers of another."""
        return (NAME if key.kind in NAMES else POINTER) + self.digest(key)

    def pointer(self, key: Key, account_id: str = "") -> tuple[str, str]:
        """Return partition and row of the pointer from a key to an account; without an id, the rows' prefix."""
        digest = self.digest(key)
        return self.pointers(self.bucket(digest)), f"{POINTER}{digest}_{account_id}"

    def fingerprint(self, text: str) -> str:
        """Return 16 hex digits for a text, by which only this directory can tell that it is the same again."""
        fingerprint = self._fingerprint.copy()  # a new one for each of a million takes twice the time
        fingerprint.update(text.encode("utf-8", "surrogatepass"))
        return fingerprint.hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the 32 bytes that only this directory makes of a message: for what a client is to hand back."""
        return hmac.digest(self._secret, b"signed\0" + message, "sha256")

    def jobs(self) -> str:
        """Return the partition of imports, uploads and runs."""
        return f"{self.directory}_j"

    def settings(self) -> str:
        """Return the partition of what belongs to the directory as a whole."""
        return f"{self.directory}_d"
