"""What the directory raises. shared/host/problems.py turns each into one HTTP answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DirectoryError(Exception):
    """A refusal by the directory; nothing was changed, unless it is `half_done`: then a part was done before."""

    half_done = False


class NotFound(DirectoryError):
    """No such account, group, run or file in this directory, or no such address `here`.

    `what` is its kind, as the answer calls it, and `remedy` says where to find those that there are.
    """

    def __init__(self, message: str, what: str, remedy: str = "", *, where: str = "in this directory") -> None:
        super().__init__(message)
        self.what = what
        self.remedy = remedy
        self.where = where


class AlreadyExists(DirectoryError):
    """Another resource, of the id `holder`, has a value that only one may have. `attribute` is its SCIM name.

    `found` is that resource, where it was read just now.
    """

    def __init__(self, attribute: str, holder: str, reason: str = "", *, found: object = None) -> None:
        of = "group" if attribute == "displayName" else "account"
        super().__init__(f"{attribute}: {reason or f'another {of} holds this value'}")
        self.attribute = attribute
        self.holder = holder
        self.found = found


class MayBeTheSame(AlreadyExists):
    """A resource of another name shares a value, by which it may be the same person's."""


class InvalidCursor(DirectoryError):
    """A cursor that came with no page of the same listing."""

    def __init__(self) -> None:
        super().__init__(
            "cursor: no page of this list and of these parameters ended there: take the one of the former page, with "
            "the parameters of that, or start without"
        )


class Stale(DirectoryError):
    """The resource changed between the read and the write."""


class Unfit(DirectoryError):
    """A value by which others know an account or a group may not be so. The message names it, and says why."""


class NobodysId(DirectoryError):
    """The id that stands for none was given as the externalId of somebody. The message names the attribute."""


class Refused(DirectoryError):
    """Policy forbids the change. The message is for the administrator: the reason, then the remedy."""


class Managed(DirectoryError):
    """The identity provider manages what was to be changed. The message names the attributes, then the remedy."""


class TooLarge(DirectoryError):
    """A document does not fit its row."""


class Busy(DirectoryError):
    """Something that the message names is under way. `retry_after` is in seconds, None where waiting does not help.

    `holder` is the id of the job that is under way, if it is one.
    """

    def __init__(self, message: str, retry_after: float | None = None, holder: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.holder = holder


@contextmanager
def refused_behind(done: bool) -> Iterator[None]:
    """Mark what the block refuses as half done, if a part of what was asked is `done` already."""
    try:
        yield
    except DirectoryError as error:
        error.half_done = error.half_done or done
        raise
