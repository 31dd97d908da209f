"""One customer's directory: opened by name, and made on first use, with its own secret for keys.

The secret and the number of buckets never change; policy, schemas and mapping are the administrator's (settings.py).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.directory.keys import BUCKETS, DIRECTORY_NAME, GROUPS, Keys
from shared.directory.policies import Policies
from shared.directory.records.accounts import Accounts
from shared.directory.records.groups import Groups
from shared.directory.records.linked_members import LinkedMembers
from shared.directory.records.listing import AccountListing, Listing
from shared.directory.records.members import Members
from shared.directory.records.model import Group
from shared.directory.settings import POLICY, SCHEMAS, Setting, mapping_setting, schemas_setting
from shared.directory.text import timestamp
from shared.directory.work.activity import Activity
from shared.directory.work.adoptions import Adoptions
from shared.directory.work.gate import Gate
from shared.directory.work.jobs import Jobs
from shared.directory.work.plan import LeftOpen, Plan
from shared.directory.work.refusals import Refusals
from shared.directory.work.seen import Seen, SeenWriter
from shared.directory.work.stages import Stages
from shared.directory.work.staging import Stage
from shared.directory.work.visits import Visits
from shared.tables import port
from shared.tables.port import Insert, Row, Tables

# Runs alone ask for these, and an app that answers SCIM starts without them.
if TYPE_CHECKING:
    from shared.directory.schedule import Schedules
    from shared.directory.work.differences import Differences
    from shared.directory.work.findings import Findings
    from shared.directory.work.names import PlanNames
    from shared.directory.work.readings import Readings
    from shared.directory.work.reviews import Reviews


@dataclass(frozen=True, slots=True)
class Directory:
    """What the rooms above work with: the accounts, groups, jobs and settings of one customer."""

    name: str
    tables: Tables
    keys: Keys
    accounts: Accounts
    listing: AccountListing
    groups: Groups
    group_listing: Listing[Group]
    members: Members
    linked_members: LinkedMembers
    policies: Policies
    schemas: Setting[str]
    mappings: Setting[dict[str, Any] | None]
    jobs: Jobs
    stages: Stages
    left_open: LeftOpen
    gate: Gate
    refusals: Refusals
    adoptions: Adoptions
    activity: Activity
    visits: Visits

    @property
    def schedule(self) -> Schedules:
        """When runs begin by themselves."""
        from shared.directory.schedule import Schedules

        return Schedules(self.tables, self.keys, self.policies, self.accounts.now)

    @property
    def readings(self) -> Readings:
        """How far runs have read identities from their source."""
        from shared.directory.work.readings import Readings

        return Readings(self.tables, self.keys)

    @property
    def findings(self) -> Findings:
        """What runs found worth a warning."""
        from shared.directory.work.findings import Findings

        return Findings(self.tables, self.keys)

    def plan_names(self, job_id: str) -> PlanNames:
        """Return the names in a run's plan."""
        from shared.directory.work.names import PlanNames

        return PlanNames(self.tables, self.keys, job_id)

    def plan(self, job_id: str) -> Plan:
        """Return the rows of a run's plan, or of another job's report."""
        return Plan(self.tables, self.keys, job_id)

    def reviews(self, job_id: str, still_planned: Callable[[], Awaitable[None]]) -> Reviews:
        """Return the reviews of a run."""
        from shared.directory.work.reviews import Reviews

        return Reviews(self.tables, self.keys, job_id, still_planned)

    def differences(self, job_id: str, object_id: str) -> Differences:
        """Return how the members of a group differ from those of its counterpart in Entra, which has this object id."""
        from shared.directory.work.differences import Differences

        return Differences(self.tables, self.keys, job_id, object_id)

    def stage(self, name: str) -> Stage:
        """Return the stage of this name."""
        return Stage(self.tables, self.keys, name)

    async def term_begin(self) -> str:
        """Return the time since which what provisioning replaced is kept for an undo, by the policy's undo term."""
        days = (await self.policies.get()).undo_days
        return timestamp(datetime.fromisoformat(self.accounts.now()) - timedelta(days=days))

    def seen(self, runs: Sequence[str]) -> Seen:
        """Return what a chain of runs saw, the first run first."""
        return Seen(self.tables, self.keys, runs)

    def seen_writer(self, run: str, slice_name: str) -> SeenWriter:
        """Return a writer for what one slice of a run sees."""
        return SeenWriter(self.tables, self.keys, run, slice_name)


class Directories:
    """Opens directories. A process has one of these, so that a directory keeps what it remembers."""

    def __init__(self, tables: Tables, now: Callable[[], str] = timestamp, buckets: int = BUCKETS) -> None:
        self._tables = tables
        self._now = now
        self._buckets = buckets
        self._opened: dict[str, Directory] = {}

    async def open(self, name: str) -> Directory:
        """Return the directory of this name (1 to 32 letters a to z and digits), and make it if it is new."""
        directory = self._opened.get(name)
        if directory is None:
            keys, policy, schemas = await self._settings(name)
            accounts = Accounts(self._tables, keys, self._now)
            groups = Groups(self._tables, keys.of(GROUPS), self._now)
            jobs = Jobs(self._tables, keys)
            policies = Policies(self._tables, keys, self._now)
            directory = Directory(
                name=name,
                tables=self._tables,
                keys=keys,
                accounts=accounts,
                listing=AccountListing(accounts),
                groups=groups,
                group_listing=Listing(groups),
                members=Members(self._tables, keys, self._now),
                linked_members=LinkedMembers(self._tables, keys, self._now),
                policies=policies,
                schemas=schemas_setting(self._tables, keys),
                mappings=mapping_setting(self._tables, keys),
                jobs=jobs,
                stages=Stages(self._tables, keys),
                left_open=LeftOpen(self._tables, keys, jobs),
                gate=Gate(self._tables, keys, self._now),
                refusals=Refusals(self._tables, keys, self._now),
                adoptions=Adoptions(self._tables, keys),
                activity=Activity(self._tables, keys, self._now),
                visits=Visits(self._tables, keys, self._now),
            )
            directory.policies.keep(policy)
            directory.schemas.keep(schemas)
            directory = self._opened.setdefault(name, directory)
        return directory

    async def _settings(self, name: str) -> tuple[Keys, Row | None, Row | None]:
        """Return the keys of a directory, and the rows of its policy and schemas."""
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
