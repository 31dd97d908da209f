"""The messages between orchestrations and activities: frozen objects, sent as JSON. Rows go through the tables."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A frozen object that is sent as a JSON object in camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the message as a JSON object."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the message in a JSON object, or in the text of one: raised events come in either form."""
        return cls.model_validate_json(data) if isinstance(data, str) else cls.model_validate(data)


class Answer(Message):
    """What an activity answers. One that did nothing is to be run again, and `why` says what it waits for.

    That is after `wait` seconds or, if a service is `away` that it needs, after longer each time.
    """

    wait: float = 0.0
    why: str = ""
    away: bool = False


Code = Annotated[str, Field(exclude_if=lambda code: not code)]
"""Why something failed, in one word for the log: the sentence beside it is for the administrator. It is sent only where
there is one, so that the version of the app before this one reads all other messages."""

WINDOW = 8
"""Slices of a pass that run at the same time."""
ITEMS_A_SLICE = 16_000
"""Accounts and identities in one slice of a pass, at most. It may be more, since a slice has one whole bucket at least.

Each slice that ends has the orchestrator replay all of its history, so that four times as many slices cost a plan and
an apply of 100,000 accounts a tenth more.
"""
LEAST_ITEMS_A_SLICE = 2_000
"""Accounts and identities below which it is not worth a slice more."""
MEMBERSHIPS_AN_ACCOUNT = 10
"""Memberships that take about as long as one account."""


FORM = 4
"""The form in which a run stages what it plans, and its passes. It changes with either.

Since 2 it suggests, and stages by what changes are foretold. Since 3 it merges names by a pass, and keeps reviews last.
Since 4 it looks in every plan for whom provisioning made though an earlier plan suggested an account.
"""
ACTIVATING = "activating"
"""Count of the accounts that an undo would switch on."""
REMOVING = "removing"
"""Count of the accounts that the undo of an import would delete."""


def slices_for(items: int) -> int:
    """Return the number of slices for passes over this many accounts and identities: such as make up whole windows."""
    windows = -(-items // (WINDOW * ITEMS_A_SLICE))
    return max(1, min(windows * WINDOW, -(-items // LEAST_ITEMS_A_SLICE)))


class Start(Message):
    """What an orchestration begins with. `slices` is the number of slices that each pass is cut into.

    `reads`: the identities must be read from their source first, which replaces `slices` by the right number.
    `compares`: there are earlier runs, and perhaps little has changed since. `keeps_reviews`: it takes the place of a
    run, of which it keeps reviews. `approves_itself`: once it is planned, it may need no person. `prepares`: the undo
    closes the gate first. `activate` and `remove`: the numbers of accounts that it may switch on and delete, None where
    none was named. `returns_names`: in the end it gives back names that others had. `form`: its FORM.
    """

    job: str
    directory: str
    buckets: int
    slices: int
    expires_hours: float = 0.0
    groups: bool = False
    reads: bool = False
    compares: bool = False
    # False for orchestrations that began before there was such a thing: their histories have no such activity.
    keeps_reviews: bool = False
    approves_itself: bool = False
    prepares: bool = False
    activate: int | None = None
    remove: int | None = None
    returns_names: bool = False
    form: int = 0


class Slice(Message):
    """What one activity does of a pass: the buckets from `low` up to, but not including, `high`.

    `form` is that of its orchestration's Start.
    """

    job: str
    directory: str
    # The name under which orchestrations that are under way have it in their histories, as with Milestone.state.
    pass_name: str = Field(alias="stage")
    low: int
    high: int
    form: int = 0

    @property
    def buckets(self) -> range:
        """The numbers of its buckets."""
        return range(self.low, self.high)

    @property
    def name(self) -> str:
        """The name under which the slice writes rows of its own: counts, and what it stages."""
        return f"{self.low:02x}"


class SliceDone(Answer):
    """What a slice counted. `stopped`: the job was cancelled, or had ended, before the slice was done.

    `failed` says why the job cannot go on, "" if it can, and `code` says it to the log.
    """

    counts: dict[str, int] = {}
    stopped: bool = False
    failed: str = ""
    code: Code = ""


class Compare(Message):
    """Asks whether so little has changed that a run need not decide on everything again."""

    job: str
    directory: str


class SelfApproval(Message):
    """Asks whether a planned run approves itself."""

    job: str
    directory: str


class SelfApproved(Answer):
    """Whether it did. If not, its job tells why, and it waits for a person."""

    approved: bool = False


class Approved(Message):
    """That a person approved a plan, or a `pilot` of it: the data of an event."""

    pilot: bool = False


class Extent(Answer):
    """What a run decides on: everything, or only what changed, in `slices` slices (0 if nothing changed)."""

    everything: bool = False
    slices: int = 0


class Milestone(Message):
    """A state that a job has reached, to be recorded in the tables.

    `pilot` says that the job is planned again, because a pilot of it was applied: it is the number of pilots that were
    applied before that one.
    """

    job: str
    directory: str
    state: str = Field(alias="phase")
    expires: str | None = None
    reason: str | None = None
    code: Code = ""
    pilot: int | None = None


class Reached(Answer):
    """The state that a job is in behind a milestone; another one where somebody was faster.

    "" in histories of before there was such an answer. `pilot` says that a pilot was approved, and was not applied yet.
    """

    state: str = ""
    pilot: bool = False


class Read(Message):
    """Asks for some more of a run's identities to be read from their source."""

    job: str
    directory: str


class ReadDone(Answer):
    """How many identities and groups have been read so far, and what to do next: read on, wait, or end.

    `slices` is set once everything is read, `failed` to the reason if that is not possible, with its `code`, `stopped`
    if the run was cancelled.
    """

    read: int = 0
    groups: int = 0
    slices: int = 0
    failed: str = ""
    code: Code = ""
    stopped: bool = False
