"""What the schedule of runs asks for: when its next run is due, and how it is suspended and resumed.

requests/schedule.py starts the runs. The schedule itself is an attribute of the directory's policy.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from shared.directory.directory import Directory
from shared.directory.matching.policy import Schedule
from shared.directory.policies import Switch
from shared.directory.schedule import ScheduleState
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job

TOLERANCE: Final = timedelta(minutes=5)
"""Time before a run is due at which it may start: the timer looks every 15 minutes, and never to the second."""


def next_start(schedule: Schedule, switch: Switch, state: ScheduleState) -> str:
    """Return when the schedule's next run is due; a start that was put off, or broken off, was due in the past."""
    if not state.begun:
        return state.started
    if not state.started:
        return switch.at
    return timestamp(datetime.fromisoformat(state.started) + timedelta(hours=schedule.every_hours))


def is_due(moment: str, now: str) -> bool:
    """Tell whether what is due at a moment may start now."""
    return datetime.fromisoformat(now) >= datetime.fromisoformat(moment) - TOLERANCE


async def suspend_for(directory: Directory, undo: Job) -> None:
    """Let no run start by itself until an administrator resumes the schedule. Without a schedule nothing happens."""
    if (await directory.policies.read()).policy.schedule_in_force is not None:
        linked = undo.options.get("run", "creates over SCIM")
        await directory.schedule.suspend(undo.by, f"{undo.id} takes back what {linked} linked")
