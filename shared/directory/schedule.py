"""How far the schedule of a directory's policy is: the run that it started last, and whether it is suspended.

The policy says that runs start by themselves, and how often (policies.py). This is a row beside it. It changes under
its etag, so that of two timers at once one starts a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from shared.directory.keys import Keys
from shared.directory.policies import SCHEDULE, Policies
from shared.tables.port import Conflict, Insert, Operation, Replace, Row, Tables

ROW = "schedule"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What the schedule did last. Timestamps are texts, "" for never.

    `run` is the id of the run that it started, or was about to start where `begun` is false. `skipped` tells why a
    start that is due was put off. `why` tells why `suspended_by` suspended it.
    """

    run: str = ""
    started: str = ""
    begun: bool = True
    skipped: str = ""
    suspended: str = ""
    suspended_by: str = ""
    why: str = ""
    etag: str = ""


class Schedules:
    """The state of one directory's schedule."""

    def __init__(self, tables: Tables, keys: Keys, policies: Policies, now: Callable[[], str]) -> None:
        self._tables = tables
        self._partition = keys.settings()
        self._policies = policies
        self.now = now

    async def get(self) -> ScheduleState:
        """Return the state as it is now."""
        row = await self._tables.get(self._partition, ROW)
        return _state(row) if row else ScheduleState()

    async def save(self, before: ScheduleState, after: ScheduleState) -> ScheduleState | None:
        """Store a state in the place of the one that was read. Returns None if that changed meanwhile."""
        try:
            (etag,) = await self._tables.commit(self._partition, [_operation(before, after)])
        except Conflict:
            return None
        return replace(after, etag=etag)

    async def suspend(self, by: str, why: str) -> None:
        """Let the schedule start no run until somebody resumes it. One that is suspended already stays as it is."""
        while not (state := await self.get()).suspended:
            after = replace(state, suspended=self.now(), suspended_by=by, why=why)
            if await self._note(by, {"after": "suspended", "why": why}, state, after):
                return

    async def resume(self, by: str) -> None:
        """Let the schedule go on."""
        while (state := await self.get()).suspended:
            after = replace(state, suspended="", suspended_by="", why="")
            if await self._note(by, {"before": "suspended", "after": "resumed"}, state, after):
                return

    async def _note(self, by: str, change: dict[str, str], before: ScheduleState, after: ScheduleState) -> bool:
        return await self._policies.note(by, {SCHEDULE: change}, _operation(before, after))


def _state(row: Row) -> ScheduleState:
    known = {name: row.columns[name] for name in ScheduleState.__slots__ if name in row.columns}
    return ScheduleState(**known | {"etag": row.etag})  # type: ignore[arg-type]  # a column has its field's type


def _operation(before: ScheduleState, after: ScheduleState) -> Operation:
    columns = {name: value for name, value in asdict(after).items() if name != "etag"}
    return Replace(ROW, columns, before.etag) if before.etag else Insert(ROW, columns)
