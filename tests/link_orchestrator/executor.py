"""A durable executor in memory, which outlives the processes that run its activities; it is their client, too."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from link_orchestrator import orchestrator
from shared.tables.port import Unavailable
from tests.link_orchestrator.running import Engine, Task

Call = Callable[[str, Any], Awaitable[Any]]


async def refuse(name: str, message: Any) -> Any:
    """Stand for the activities while an orchestration only takes its next step."""
    raise AssertionError(f"{name} is called by the executor")


@dataclass
class Instance:
    """One orchestration: what it waits for, the answers that it has of that, and the events that came."""

    steps: Generator[Any, Any, Any]
    wanted: Any = None
    answers: dict[Task, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    status: str = "Running"

    def begin(self) -> None:
        """Take the first step."""
        self.wanted = next(self.steps)

    async def advance(self, call: Call) -> bool:
        """Run one activity or take one event. Returns False if there is nothing to do.

        An activity that dies has not run, as far as the orchestration knows: it runs again with the next call.
        """
        if self.status != "Running":
            return False
        if isinstance(self.wanted, tuple):
            task = next((task for task in self.wanted if task.name in self.events), None)
            if task is None:
                return False
            self._send(task)
            return True
        tasks = self.wanted if isinstance(self.wanted, list) else [self.wanted]
        task = next(task for task in tasks if task not in self.answers)
        if task.name == "timer":  # others get their turn before it fires
            self._send(task)
            return False
        self.answers[task] = json.loads(json.dumps(await call(task.name, task.message)))
        if len(self.answers) == len(tasks):
            answers, self.answers = [self.answers[task] for task in tasks], {}
            self._send(answers if isinstance(self.wanted, list) else answers[0])
        return True

    def _send(self, answer: Any) -> None:
        try:
            self.wanted = self.steps.send(answer)
        except StopIteration:
            self.status = "Completed"


@dataclass
class Executor:
    """The orchestrations of a directory by their ids, in the order in which they were started."""

    instances: dict[str, Instance] = field(default_factory=dict)

    async def start_new(self, name: str, instance_id: str, client_input: Any) -> str:
        """Start an orchestration. One that is there goes on."""
        if instance_id not in self.instances:
            engine = Engine(refuse, start=json.loads(json.dumps(client_input)))
            instance = Instance(getattr(orchestrator, name)(engine, "retry"))
            instance.begin()
            self.instances[instance_id] = instance
        return instance_id

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> None:
        """Hand an event to an orchestration that has not ended."""
        instance = self.instances[instance_id]
        if instance.status != "Running":
            raise Unavailable("the orchestration has ended")
        instance.events.append(event_name)

    async def get_status(self, instance_id: str) -> Any:
        """Return an orchestration's status, None if there is none."""
        instance = self.instances.get(instance_id)
        if instance is None:
            return None
        return SimpleNamespace(runtime_status=SimpleNamespace(value=instance.status), custom_status=None)

    async def work(self, instance_id: str, call: Call, most: int = sys.maxsize) -> None:
        """Take at most so many steps of an orchestration, until it waits for an event or ends."""
        while most > 0 and await self.instances[instance_id].advance(call):
            most -= 1
