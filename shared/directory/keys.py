"""The partition and row keys of one directory, and the one way in which values are compared.

Keys are keyed hashes of folded values: they need no escaping, spread over their range, and show nobody's name. Every
partition begins with the directory's name, so no key of one directory reaches the rows of another.
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
"""Buckets of a new directory, each a partition of accounts. Their number never changes: an id names its bucket."""

DIGEST = 32
"""Hex digits of a key's digest."""

# Row key prefixes in an account partition. "a" and "b" are neighbours, so one range reads both.
LIVE = "a_"
RETIRED = "b_"
COUNT = "c"
NAME = "n_"
TOMBSTONE = "t_"
KEPT = "k_"
AUDIT = "z_"

# Row keys in the partition of a group's members: the head, which every id follows; all ids end before MEMBERS_END.
# Behind them is what only linked groups have (linked_members.py), before the history.
HEAD = "-"
MEMBERS_END = "g"
WAS_HERE = "h_"
LINKED = "l"

# Row key prefixes in a key partition.
IDENTITY = "i_"
OWN = "o_"
POINTER = "p_"


class Key(NamedTuple):
    """A value by which an account can be found: its kind, and the value as the application wrote it."""

    kind: str
    value: str


OWN_BUCKETS = 16
"""Partitions of pointers that have the claims on applicationIds, too: so an import writes many in one transaction."""

APPLICATION_ID = "applicationId"
"""Kind of the key that the application itself gave an account."""


def application_key(application_id: str) -> Key:
    """Return the key of an account's applicationId: one that differs in nothing, case included, is the same.

    What an application takes for two keys must be two here. Folding, which makes 15-character ids of Salesforce alike,
    leaves the digits of the text's bytes as they are.
    """
    return Key(APPLICATION_ID, application_id.encode("utf-8", "surrogatepass").hex())


def fold(value: str) -> str:
    """Return the form in which values are compared: NFKC, case folded, without white space around them."""
    if value.isascii():
        return value.strip().lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    # Once is not enough for a few letters: normalisation can bring back what folds further.
    return unicodedata.normalize("NFKC", folded.casefold()).strip()


def folded(key: Key) -> Key:
    """Return the key with its value folded, so that equal keys are equal objects."""
    return Key(key.kind, fold(key.value))


def same_letters(left: str, right: str) -> bool:
    """Tell whether two texts are written alike, apart from case.

    A name in full-width letters, or with a long s, folds to the plain one and yet is another name or mailbox: alike
    enough for a person to look at, not for a link.
    """
    return in_small_letters(left) == in_small_letters(right)


def in_small_letters(text: str) -> str:
    """Return a text in small letters, by which two are compared that must be written alike but for case.

    A letter and the accent behind it are the letter with the accent, as macOS and Windows write one and the same name.
    A letter stays as it is where it is not the capital of its small form, or where its composed form is another letter:
    the Kelvin sign's are `k` and K, and yet a name with it is another name. fold() makes them equal.
    """
    if text.isascii():
        return text.lower()
    plain = all(unicodedata.normalize("NFC", letter) == letter for letter in text)
    return "".join(map(_small, unicodedata.normalize("NFC", text) if plain else text))


def _small(letter: str) -> str:
    small = letter.lower()
    return small if small.upper() == letter else letter


def is_group(resource_id: str) -> bool:
    """Tell whether an id is a group's, and not an account's."""
    return resource_id[14:15] == GROUPS.digit


def prefix_end(prefix: str) -> str:
    """Return the first key behind all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def behind(key: str) -> str:
    """Return a key behind this one and before the next, for keys that all have one length."""
    return key + "-"


class Space(NamedTuple):
    """What sets one resource type apart: the letters of its partitions, and the version digit of its UUIDs.

    By that digit a member's id tells what it names, without a look-up (RFC 9562: 4 is random, 8 is for custom use).
    """

    resources: str
    pointers: str
    digit: str


ACCOUNTS = Space("u", "x", "4")
GROUPS = Space("g", "y", "8")

NAMES = ("userName", "displayName")
"""Kinds of keys that name a resource. The claim on a name is beside it, so that one transaction writes both."""

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that was made here."""

MEMBER_BUCKETS = 16
"""Partitions of the index that leads from members to their groups."""


class Keys:
    """Partition and row keys of one resource type in one directory."""

    def __init__(self, directory: str, secret: bytes, buckets: int = BUCKETS, space: Space = ACCOUNTS) -> None:
        self.directory = directory
        self.buckets = buckets
        self._secret = secret
        self._space = space
        # Copies of a hash that has begun with the key take half as long as new ones, for each of a million.
        self._begun: dict[str, hashlib.blake2b] = {}
        self._fingerprint = hashlib.blake2b(digest_size=8, key=secret, person=b"seen")

    def of(self, space: Space) -> Keys:
        """Return the keys of another resource type in the same directory."""
        return Keys(self.directory, self._secret, self.buckets, space)

    def digest(self, key: Key) -> str:
        """Return DIGEST hex digits for a key, equal for equal kinds and equal folded values."""
        begun = self._begun.get(key.kind)
        if begun is None:
            person = key.kind.encode()
            begun = self._begun[key.kind] = hashlib.blake2b(digest_size=16, key=self._secret, person=person)
        digest = begun.copy()
        digest.update(fold(key.value).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def bucket(self, digest: str) -> int:
        """Return the bucket that a digest or an account id belongs to: both carry it in their first two digits."""
        return int(digest[:2], 16) % self.buckets

    def bucket_of(self, lead: str) -> int:
        """Return the bucket that has the rows that begin with a lead."""
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
        """Return the partition that holds a resource; for a string that is no id, one that does not hold it."""
        try:
            return self.resources(self.bucket(resource_id))
        except ValueError:
            return self.resources(0)

    def members(self, group_id: str) -> str:
        """Return the partition of a group's members, each in a row under its id."""
        return f"{self.directory}_m_{group_id}"

    def groups_of(self, member_id: str) -> str:
        """Return the partition with a member's groups. Ids of one bucket share it, and so one query."""
        return self.memberships(self.bucket(member_id) % MEMBER_BUCKETS)

    def memberships(self, bucket: int) -> str:
        """Return a partition of the index that leads from members to their groups."""
        return f"{self.directory}_r_{bucket:02x}"

    def nested(self) -> str:
        """Return the partition of the index that leads from groups to the groups which hold them."""
        return f"{self.directory}_n"

    def pointers(self, bucket: int) -> str:
        """Return the partition of a bucket's pointers and identity claims."""
        return f"{self.directory}_{self._space.pointers}_{bucket:02x}"

    def claim(self, key: Key) -> tuple[str, str]:
        """Return partition and row of the claim on a name, an identity or an applicationId.

        The claim on an identity is beside the pointers from its externalId, so that one transaction writes both.
        """
        if key.kind in NAMES:
            digest = self.digest(key)
            return self.resources(self.bucket(digest)), NAME + digest
        if key.kind == APPLICATION_ID:
            digest = self.digest(key)
            return self.pointers(self.bucket(digest) % OWN_BUCKETS), OWN + digest
        digest = self.digest(Key("externalId", key.value))
        return self.pointers(self.bucket(digest)), IDENTITY + digest

    def lead(self, key: Key) -> str:
        """Return how rows begin that lead from a key to accounts: a name's claim, or another key's pointers."""
        return (NAME if key.kind in NAMES else POINTER) + self.digest(key)

    def pointer(self, key: Key, account_id: str = "") -> tuple[str, str]:
        """Return partition and row of the pointer from a key to an account; without an id, the rows' prefix."""
        digest = self.digest(key)
        return self.pointers(self.bucket(digest)), f"{POINTER}{digest}_{account_id}"

    def fingerprint(self, text: str) -> str:
        """Return 16 hex digits by which this directory, and only this one, knows a text again."""
        fingerprint = self._fingerprint.copy()
        fingerprint.update(text.encode("utf-8", "surrogatepass"))
        return fingerprint.hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the 32 bytes by which this directory knows its own message when a client hands it back."""
        return hmac.digest(self._secret, b"signed\0" + message, "sha256")

    def jobs(self) -> str:
        """Return the partition of imports, uploads and runs."""
        return f"{self.directory}_j"

    def refusals(self, bucket: int) -> str:
        """Return the partition of what provisioning was refused about the accounts of a bucket."""
        return f"{self.directory}_f_{bucket:02x}"

    def adoptions(self, bucket: int) -> str:
        """Return the partition of the index of a bucket's accounts that a create over SCIM linked."""
        return f"{self.directory}_a_{bucket:02x}"

    def activity(self) -> str:
        """Return the partition of who changed what."""
        return f"{self.directory}_e"

    def settings(self) -> str:
        """Return the partition of what belongs to the directory as a whole."""
        return f"{self.directory}_d"
