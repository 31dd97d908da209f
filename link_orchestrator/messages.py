"""What crosses the orchestration boundary: one frozen object each, as JSON. Rows go through the tables instead."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A frozen object that travels as a JSON object in camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the message as a JSON object."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the message of a JSON object, or of its text: raised events may come either way."""
        return cls.model_validate_json(data) if isinstance(data, str) else cls.model_validate(data)


ITEMS_A_SLICE = 2_000
"""Accounts and identities that make one slice of a pass; but a slice has one bucket at least."""
MEMBERSHIPS_AN_ACCOUNT = 10
"""Memberships that take about as long as an account."""


def slices_for(items: int) -> int:
    """Return into how many slices the passes over some accounts and identities are cut."""
    return max(1, -(-items // ITEMS_A_SLICE))


class Start(Message):
    """What an orchestration begins with. `slices` is into how many parts each pass is cut.

    `reads` says that the identities are to be read first, which also tells the slices. `compares` says that there are
    former runs, since which little may have changed.
    """

    job: str
    directory: str
    buckets: int
    slices: int
    expires_hours: float = 0.0
    groups: bool = False
    reads: bool = False
    compares: bool = False


class Slice(Message):
    """A part of a pass: the buckets from `low` to before `high`."""

    job: str
    directory: str
    pass_name: str = Field(alias="stage")
    low: int
    high: int

    @property
    def name(self) -> str:
        """What the slice's own rows are named by."""
        return f"{self.low:02x}"


class SliceDone(Message):
    """What a slice came to. `stopped` says that the job was cancelled before it was done."""

    counts: dict[str, int] = {}
    stopped: bool = False


class Compare(Message):
    """Which run is to say whether so little changed that it need not decide on everything."""

    job: str
    directory: str


class Extent(Message):
    """What a run is to decide on: everything, or what changed, in so many slices; in none if nothing did."""

    everything: bool = False
    slices: int = 0


class Milestone(Message):
    """A step of a job that the tables are to show."""

    job: str
    directory: str
    state: str = Field(alias="phase")
    expires: str | None = None
    reason: str | None = None


class Read(Message):
    """Whose identities are to be read from their source."""

    job: str
    directory: str


class ReadDone(Message):
    """How many identities and groups have been read so far, and how to go on: read on; or wait, and why; or end.

    `slices` is set once all are read, `failed` to the reason why that cannot be, `stopped` if the run was cancelled.
    """

    read: int = 0
    groups: int = 0
    wait: float = 0.0
    why: str = ""
    slices: int = 0
    failed: str = ""
    stopped: bool = False
