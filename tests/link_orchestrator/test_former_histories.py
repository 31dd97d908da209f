"""Orchestrations that the version before began (4ed3453, November 2026) are replayed by today's code as they were.

former_histories.jsonl has, for each, what it started with, what it waited for, step by step, and what came of that.
Durable Functions replays them by the names and the order of what they ask for. The recorded answers and messages are
those of the version before: an activity may be called by that version and run by this one.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from link_orchestrator import orchestrator
from link_orchestrator.messages import Slice
from tests.link_orchestrator.running import Engine, Task

HISTORIES = {
    one["history"]: one
    for one in map(json.loads, Path(__file__).with_name("former_histories.jsonl").read_text().splitlines())
}
PIECE = timedelta(days=3)
"""After what time the SDK had a part of a longer timer fire, where that was longer than six days."""


async def nothing(name: str, message: Any) -> Any:
    """Stand for the activities, whose answers the history has."""
    raise AssertionError(name)


def asked(wanted: Any) -> list[tuple[str, Any]]:
    """Return what an orchestration waits for: names, and of slices which they are."""
    tasks = wanted if isinstance(wanted, list | tuple) else [wanted]
    found = []
    for task in tasks:
        message = task.message if isinstance(task.message, dict) else {}
        found.append((task.name, [message.get(name) for name in ("stage", "low", "high", "phase")]))
    return found


def recorded(step: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the same of a step of a history."""
    if "any" in step:
        return [(name, [None] * 4) for name in step["any"]]
    tasks = step["all"] if "all" in step else [step["one"]]
    return asked([Task(task["name"], task.get("message")) for task in tasks])


def replay(history: dict[str, Any], pieces: int = 0) -> Any:
    """Replay a history to its end, its long timer in so many pieces before it was decided. Returns what it ended in."""
    engine = Engine(nothing, start=history["start"])
    steps: Generator[Any, Any, Any] = getattr(orchestrator, history["kind"])(engine, "retry")
    try:
        wanted = next(steps)
        for step in history["steps"]:
            assert asked(wanted) == recorded(step)
            if "any" in step:
                for _ in range(pieces):
                    engine.current_utc_datetime += PIECE
                    wanted = steps.send(next(task for task in wanted if task.name == "timer"))
                    assert asked(wanted) == recorded(step)
            if "at" in step:
                engine.current_utc_datetime = max(engine.current_utc_datetime, datetime.fromisoformat(step["at"]))
            if "raises" in step:
                wanted = steps.throw(RuntimeError("an attempt too many"))
            elif "won" in step:
                wanted = steps.send(next(task for task in wanted if task.name == step["won"]))
            else:
                wanted = steps.send(step["answer"])
    except StopIteration as end:
        return end.value
    except RuntimeError:
        return "raised"
    raise AssertionError(f"it waits for {asked(wanted)}, which is not in its history")


@pytest.mark.parametrize("name", HISTORIES)
def test_what_the_version_before_began_is_replayed_as_it_was(name: str) -> None:
    assert replay(HISTORIES[name]) == HISTORIES[name]["end"]


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("name", ["a plan is approved within a day", "a plan with groups is cancelled"])
def test_a_plan_that_waits_at_a_later_piece_of_its_long_timer_is_decided_there(name: str, pieces: int) -> None:
    """The SDK made a timer of a week of pieces of three days; today's code asks for as many."""
    assert replay(HISTORIES[name], pieces) == HISTORIES[name]["end"]


def test_a_slice_that_the_version_before_asked_for_is_read() -> None:
    for history in HISTORIES.values():
        for step in history["steps"]:
            for task in step.get("all", ()):
                assert Slice.from_json(task["message"]).job == "job1"


def test_the_histories_are_of_every_kind_of_job_that_there_was() -> None:
    kinds = {history["kind"] for history in HISTORIES.values()}
    assert kinds == {"link_accounts", "import_accounts", "import_groups", "undo_links", "verify_links"}
