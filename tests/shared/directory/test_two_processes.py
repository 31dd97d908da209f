"""Two processes do whatever they like, over a store that answers in short and empty pages, against a plain model."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import booleans, integers, lists, sampled_from

from infra.local.faults import Fault, FaultyTables, random_faults
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Stale
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.model import Account, Status
from shared.directory.sweep import sweep
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import (
    BY,
    change,
    ids_of,
    linked,
    outcome,
    person,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
)

T = TypeVar("T")

NAMES = ["ann", "bea@example.com", "cleo", "d"]
EMAILS = ["ann", "bea@example.com", "e@example.com"]
IDENTITIES = ["i1", "i2", "i3"]


@dataclass(frozen=True, slots=True)
class Known:
    """What the model knows of an account that exists."""

    name: str
    emails: frozenset[str]
    stamp: str | None = None
    linked: bool = False
    retired: bool = False


class TwoProcesses(RuleBasedStateMachine):
    """Every act is one process's; each sees at once what the other left."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteTables.open(Path(self.folder.name) / "tables.db")
        self.known: dict[str, Known] = {}
        self.numbers = itertools.count()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(seed=integers(0, 1000))
    def start(self, seed: int) -> None:
        pages = random_faults(seed, 0.3, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE])
        self.run(small(self.store, buckets=2))
        self.processes: list[Directory] = [self.run(reopened(FaultyTables(self.store, pages))) for _ in range(2)]

    def held_by(self, name: str) -> str | None:
        return next((i for i, known in self.known.items() if known.name == name.lower()), None)

    def behind(self, identity: str) -> list[str]:
        return [i for i, known in self.known.items() if known.stamp == identity]

    def links_to(self, identity: str) -> bool:
        return any(known.stamp == identity and known.linked for known in self.known.values())

    def one(self, place: int) -> str | None:
        order = sorted(self.known)
        return order[place % len(order)] if order else None

    @rule(process=integers(0, 1), name=sampled_from(NAMES), upper=booleans(), emails=lists(sampled_from(EMAILS)))
    def creates(self, process: int, name: str, upper: bool, emails: list[str]) -> None:
        directory = self.processes[process]
        new = person(directory, name.upper() if upper else name, *emails)
        refused = self.run(outcome(directory.accounts.create(new, by=BY)))
        assert (refused is AlreadyExists) == (self.held_by(name) is not None)
        if refused is None:
            self.known[new.id] = Known(name, frozenset(emails))

    @rule(process=integers(0, 1), name=sampled_from(NAMES), stamp=sampled_from(IDENTITIES))
    def provisions(self, process: int, name: str, stamp: str) -> None:
        directory = self.processes[process]
        new = person(directory, name, status=Status.PROVISIONED, externalId=stamp)
        [answer] = self.run(create_many(directory.accounts, [new], by=BY))
        assert isinstance(answer, Account) == (self.held_by(name) is None and not self.links_to(stamp))
        if isinstance(answer, Account):
            self.known[new.id] = Known(name, frozenset(), stamp)

    @rule(process=integers(0, 1), place=integers(0, 9), name=sampled_from(NAMES), emails=lists(sampled_from(EMAILS)))
    def renames(self, process: int, place: int, name: str, emails: list[str]) -> None:
        account_id = self.one(place)
        if account_id is None:
            return
        directory = self.processes[process]
        before = self.run(directory.accounts.get_any(account_id))
        after = with_emails(with_changes(before, userName=name), *emails)
        refused = self.run(outcome(change(directory, before, after)))
        assert (refused is AlreadyExists) == (self.held_by(name) not in (None, account_id))
        if refused is None:
            known = self.known[account_id]
            self.known[account_id] = Known(name, frozenset(emails), known.stamp, known.linked, known.retired)

    @rule(process=integers(0, 1), place=integers(0, 9), identity=sampled_from(IDENTITIES), together=booleans())
    def links(self, process: int, place: int, identity: str, together: bool) -> None:
        account_id = self.one(place)
        if account_id is None:
            return
        directory = self.processes[process]
        before = self.run(directory.accounts.get_any(account_id))
        after = linked(before, identity)
        if together:
            [answer] = self.run(replace_many(directory.accounts, [(before, after)], by=BY, action="link"))
            refused = None if isinstance(answer, Account) else type(answer)
        else:
            refused = self.run(outcome(change(directory, before, after)))
        assert (refused is AlreadyExists) == (set(self.behind(identity)) - {account_id} != set())
        if refused is None:
            known = self.known[account_id]
            self.known[account_id] = Known(known.name, known.emails, identity, True)

    @rule(process=integers(0, 1), place=integers(0, 9))
    def retires(self, process: int, place: int) -> None:
        account_id = self.one(place)
        if account_id is None:
            return
        directory = self.processes[process]
        before = self.run(directory.accounts.get_any(account_id))
        self.run(change(directory, before, retired(before)))
        known = self.known[account_id]
        self.known[account_id] = Known(known.name, known.emails, retired=True)

    @rule(process=integers(0, 1), place=integers(0, 9))
    def deletes(self, process: int, place: int) -> None:
        account_id = self.one(place)
        if account_id is None:
            return
        directory = self.processes[process]
        account = self.run(directory.accounts.get_any(account_id))
        self.run(change(directory, account, with_changes(account, title=str(next(self.numbers)))))
        assert self.run(outcome(directory.accounts.delete(account, by=BY))) is Stale
        self.run(directory.accounts.delete(self.run(directory.accounts.get_any(account_id)), by=BY))
        del self.known[account_id]

    @rule(process=integers(0, 1))
    def sweeps(self, process: int) -> None:
        assert self.run(sweep(self.processes[process])) >= 0

    @rule(process=integers(0, 1), name=sampled_from(NAMES), email=sampled_from(EMAILS), stamp=sampled_from(IDENTITIES))
    def finds(self, process: int, name: str, email: str, stamp: str) -> None:
        directory = self.processes[process]
        holder = self.held_by(name)
        assert self.run(ids_of(directory, "userName", name.upper())) == ([holder] if holder else [])
        assert self.run(ids_of(directory, "externalId", stamp)) == sorted(self.behind(stamp))
        having = sorted(i for i, known in self.known.items() if email in known.emails)
        assert self.run(ids_of(directory, "email", email)) == having

    @invariant()
    def the_directory_is_whole(self) -> None:
        if not hasattr(self, "processes"):
            return
        stored = {account.id: account for account in self.run(check_invariants(self.store))}
        assert {
            i: Known(a.user_name.lower(), frozenset(a.emails), a.external_id, a.link is not None, a.retired)
            for i, a in stored.items()
        } == self.known

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()
        self.folder.cleanup()


TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = settings(max_examples=60, stateful_step_count=25, database=None)
