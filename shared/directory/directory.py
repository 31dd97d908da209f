"""One customer's directory: opened by name, made on first use, with its own key secret and policy.

The secret and the number of buckets are fixed when the directory is made; the policy is the administrator's.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.directory.keys import BUCKETS, DIRECTORY_NAME, GROUPS, Keys
from shared.directory.matching.policy import Policy
from shared.directory.records.accounts import Accounts
from shared.directory.records.groups import Groups
from shared.directory.records.listing import AccountListing, Listing
from shared.directory.records.members import Members
from shared.directory.records.model import Group
from shared.directory.settings import POLICY, SCHEMAS, Setting, mapping_setting, policy_setting, schemas_setting
from shared.directory.text import timestamp
from shared.directory.work.differences import Differences
from shared.directory.work.gate import Gate
from shared.directory.work.jobs import Jobs
from shared.directory.work.plan import LeftOpen, Plan
from shared.directory.work.readings import Readings
from shared.directory.work.reviews import Reviews
from shared.directory.work.seen import Seen, SeenWriter
from shared.directory.work.stages import Stages
from shared.directory.work.staging import Stage
from shared.tables import port
from shared.tables.port import Insert, Row, Tables


@dataclass(frozen=True, slots=True)
class Directory:
    """What the rooms work with: the accounts, groups and jobs of one customer and the policy for them."""

    name: str
    tables: Tables
    keys: Keys
    accounts: Accounts
    listing: AccountListing
    groups: Groups
    group_listing: Listing[Group]
    members: Members
    policies: Setting[Policy]
    schemas: Setting[str]
    mappings: Setting[dict[str, Any] | None]
    jobs: Jobs
    stages: Stages
    left_open: LeftOpen
    gate: Gate
    readings: Readings

    def plan(self, job_id: str) -> Plan:
        """Return the rows of a run's plan, or of another job's report."""
        return Plan(self.tables, self.keys, job_id)

    def reviews(self, job_id: str, still_planned: Callable[[], Awaitable[None]]) -> Reviews:
        """Return the reviews of a run."""
        return Reviews(self.tables, self.keys, job_id, still_planned)

    def differences(self, job_id: str, object_id: str) -> Differences:
        """Return how the members of a group here differ from those of the group in Entra that has this object id."""
        return Differences(self.tables, self.keys, job_id, object_id)

    def stage(self, name: str) -> Stage:
        """Return a set of staged items."""
        return Stage(self.tables, self.keys, name)

    def seen(self, runs: Sequence[str]) -> Seen:
        """Return what a chain of runs saw, the first of them first."""
        return Seen(self.tables, self.keys, runs)

    def seen_writer(self, run: str, slice_name: str) -> SeenWriter:
        """Return what keeps what a run sees, on behalf of one slice."""
        return SeenWriter(self.tables, self.keys, run, slice_name)


class Directories:
    """Opens directories; one object for a process, so that what a directory remembers is kept."""

    def __init__(self, tables: Tables, now: Callable[[], str] = timestamp, buckets: int = BUCKETS) -> None:
        self._tables = tables
        self._now = now
        self._buckets = buckets
        self._opened: dict[str, Directory] = {}

    async def open(self, name: str) -> Directory:
        """Return the directory of this name (a to z and digits, at most 32), made if it is new."""
        directory = self._opened.get(name)
        if directory is None:
            keys, policy, schemas = await self._settings(name)
            accounts = Accounts(self._tables, keys, self._now)
            groups = Groups(self._tables, keys.of(GROUPS), self._now)
            jobs = Jobs(self._tables, keys)
            directory = Directory(
                name=name,
                tables=self._tables,
                keys=keys,
                accounts=accounts,
                listing=AccountListing(accounts),
                groups=groups,
                group_listing=Listing(groups),
                members=Members(self._tables, keys, self._now),
                policies=policy_setting(self._tables, keys),
                schemas=schemas_setting(self._tables, keys),
                mappings=mapping_setting(self._tables, keys),
                jobs=jobs,
                stages=Stages(self._tables, keys),
                left_open=LeftOpen(self._tables, keys, jobs),
                gate=Gate(self._tables, keys, self._now),
                readings=Readings(self._tables, keys),
            )
            directory.policies.keep(policy)
            directory.schemas.keep(schemas)
            directory = self._opened.setdefault(name, directory)
        return directory

    async def _settings(self, name: str) -> tuple[Keys, Row | None, Row | None]:
        """Return the keys of a directory, and the rows of its policy and its schemas."""
        if not DIRECTORY_NAME.fullmatch(name):
            raise ValueError("a directory's name has 1 to 32 letters a to z and digits")
        partition = Keys(name, b"").settings()
        row, policy, schemas = await self._tables.get_many([(partition, key) for key in ("directory", POLICY, SCHEMAS)])
        if row is None:
            columns: dict[str, port.Value] = {
                "secret": secrets.token_hex(32),
                "buckets": self._buckets,
                "created": self._now(),
            }
            with contextlib.suppress(port.AlreadyExists):
                await self._tables.commit(partition, [Insert("directory", columns)])
            return await self._settings(name)
        return Keys(name, bytes.fromhex(str(row.columns["secret"])), int(row.columns["buckets"])), policy, schemas
