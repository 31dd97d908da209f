"""A directory's life: whoever may do something does it, in any order, again and again, and the process may die.

The machine knows who acted and checks, account by account, that the act changed what it may and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from hypothesis.strategies import booleans, builds, fixed_dictionaries, integers, lists, none, sampled_from, tuples

import scim_groups.service
import scim_users.service
from infra.local.faults import Crash, Fault, FaultyTables, no_faults, script
from link_orchestrator.kinds import IMPORT, KINDS, RUN, UNDO, Kind
from link_orchestrator.lifecycle import cancel, ensure_started
from link_orchestrator.messages import ACTIVATING
from link_orchestrator.requests import approval, imports, reviews, runs, undos, uploads
from link_orchestrator.run import account_of, by_run, planned_version
from link_orchestrator.source import Sources
from shared.admin import account_changes
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key, fold
from shared.directory.matching.policy import Policy
from shared.directory.records.model import ENTERPRISE, Account, Authority, Status
from shared.directory.work.jobs import Job, State
from shared.host.http import Service
from shared.host.problems import problem
from shared.scim.endpoint import Request, Response
from shared.scim_root.bulk import run_bulk
from shared.tables.port import Tables
from tests.link_orchestrator.executor import Executor
from tests.link_orchestrator.running import POLICY, activity_calls, make_directory, object_id, plan_rows
from tests.shared.directory.invariants import check_invariants

T = TypeVar("T")

NAMES = ["ann@contoso.com", "bea@contoso.com", "cleo@contoso.com", "dora@contoso.com"]
NEW = "new@contoso.com"
SPELLINGS = [*NAMES, "ANN@contoso.com", "\uff41nn@contoso.com"]
"""Names, one in another case, and one in letters that only look like those of the first."""
MAILS = [*NAMES, "team@contoso.com", "ann@elsewhere.example"]
NUMBERS = ["7", "8", "9", "10"]
IDENTITIES = [object_id(number) for number in range(1, 5)]
NOBODYS = object_id(9)
"""The object id of somebody whom no run has seen."""
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
TITLES = ["Engineer", "Director"]
SOON, DEATHS = 8, 60
"""Storage calls within which a process dies that is to die: a request has few of them, a job many."""

STEPS = sampled_from([100, 100, 100, 3])
"""Steps of its jobs that the executor takes at once: mostly all of them."""
UNDOS: list[dict[str, Any]] = [{}, {}, {"keep": "attributes"}, {"activate": 0}, {"activate": 1}]
EDITS: list[dict[str, Any]] = [
    {"document": {"title": "Edited"}},
    {"document": {"active": True}},
    {"document": {"userName": NAMES[0]}},
    {"protected": True},
    {"protected": False},
    {"evidence": None},
]
identities = sampled_from(IDENTITIES)
LAST = 9
places = integers(0, LAST)
numbers = integers(0, len(NAMES) - 1)


def person(number: int, **more: Any) -> dict[str, Any]:
    """Return an identity as it should be; `more` are attributes of Graph that it has, too."""
    name, identity = NAMES[number], IDENTITIES[number]
    return {"id": identity, "userPrincipalName": name, "mail": name, "employeeId": NUMBERS[number], **more}


def account(number: int, **more: Any) -> dict[str, Any]:
    """Return the row of a person's account as it should be; `more` are columns that it has, too, or instead."""
    name = NAMES[number]
    return {"userName": name, "email": name, "emailVerified": True, "employeeNumber": NUMBERS[number]} | more


def work_emails(*mails: str) -> list[dict[str, Any]]:
    """Return addresses, the first of which is primary."""
    return [{"value": mail, "type": "work", "primary": not n} for n, mail in enumerate(mails)]


def user(name: str, **more: Any) -> dict[str, Any]:
    """Return a user as provisioning sends it."""
    return {"schemas": [USER], "userName": name, **more}


wild_rows = fixed_dictionaries(
    {"userName": sampled_from(SPELLINGS)},
    optional={
        "email": sampled_from(MAILS),
        "emailVerified": booleans(),
        "employeeNumber": sampled_from(NUMBERS),
        "objectId": identities,
        "externalId": identities,
        "nameId": sampled_from(NAMES),
        "title": sampled_from(TITLES),
        "active": booleans(),
    },
)
marks = sampled_from([{"protected": True}, {"title": TITLES[0]}, {"title": TITLES[1], "userName": SPELLINGS[-1]}])
rows = wild_rows | builds(lambda number, mark: account(number, **mark), numbers, marks)
wild_people = fixed_dictionaries(
    {"id": identities, "userPrincipalName": sampled_from(SPELLINGS), "accountEnabled": booleans()},
    optional={
        "mail": sampled_from(MAILS),
        "employeeId": sampled_from(NUMBERS),
        "proxyAddresses": sampled_from(MAILS).map(lambda mail: [f"smtp:{mail}"]),
    },
)
crowds = lists(wild_people, max_size=2, unique_by=lambda one: one["id"]).map(
    lambda odd: [*odd, *(one for one in map(person, range(len(NAMES))) if one["id"] not in [o["id"] for o in odd])]
)
proper_users = numbers.map(
    lambda number: user(NAMES[number], externalId=IDENTITIES[number], emails=work_emails(NAMES[number]), active=True)
)
wild_users = fixed_dictionaries(
    {"userName": sampled_from(SPELLINGS)},
    optional={
        "externalId": identities,
        "emails": lists(sampled_from(MAILS), max_size=2).map(lambda mails: work_emails(*mails)),
        ENTERPRISE: sampled_from(NUMBERS).map(lambda number: {"employeeNumber": number}),
        "title": sampled_from(TITLES),
        "active": booleans(),
    },
).map(lambda attributes: user(attributes.pop("userName"), **attributes))
namesakes = numbers.map(lambda number: user(NEW, externalId=NOBODYS, emails=work_emails(NAMES[number])))
users = proper_users | wild_users | namesakes
"""Users as they should be, as they may be, and somebody whom no run has seen with a person's address."""
cycles = tuples(numbers, sampled_from(["", "", NEW, *NAMES]), booleans())
"""Whom provisioning comes for, under which name ("" for their own), and whether they are active."""
swaps = tuples(numbers, numbers, booleans()).map(
    lambda pair: [(pair[0], NEW, True), (pair[1], NAMES[pair[0]], pair[2]), (pair[0], NAMES[pair[1]], True)]
)
"""Cycles in which two people change their names with each other."""
operations = sampled_from(
    [
        *({"op": "add", "path": "externalId", "value": identity} for identity in IDENTITIES),
        *({"op": "replace", "path": "userName", "value": name} for name in SPELLINGS),
        *({"op": "replace", "path": 'emails[type eq "work"].value', "value": mail} for mail in MAILS),
        *({"op": "replace", "path": "active", "value": active} for active in (True, False)),
        *({"op": "replace", "path": f"{ENTERPRISE}:employeeNumber", "value": number} for number in NUMBERS),
        *({"op": "replace", "path": "title", "value": title} for title in TITLES),
        {"op": "add", "path": "emails", "value": []},
        {"op": "add", "path": "userName.x", "value": "y"},
        {"op": "remove", "path": 'emails[type eq "home"]'},
        {"op": "add", "path": 'emails[type eq "work"].primary', "value": True},
    ]
)


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, and what they name: accounts by their ids, identities by their object ids, a run."""

    who: str
    account: str | None = None
    identities: frozenset[str] = frozenset()
    run: str = ""
    protected: bool = False
    keeps: bool = False
    activates: bool = False
    names: frozenset[str] | None = None


NOBODY = Act("nobody")


@dataclass(frozen=True, slots=True)
class Refused:
    """That a request was refused."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Death:
    """That the process dies at a storage call of an act, after some acts that it survives."""

    acts: int
    call: int
    fault: Fault


class Life(RuleBasedStateMachine):
    """One directory, its processes one after the other, and its executor."""

    serial = itertools.count()

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Tables) -> None:
        super().__init__()
        self.loop = loop
        self.store = store
        self.name = f"life{next(self.serial)}"
        self.executor = Executor()
        self.accounts: dict[str, Account] = {}
        # Ids are drawn at random: accounts go by the order in which they came.
        self.order: list[str] = []
        self.gone: set[str] = set()
        self.approved: dict[str, dict[tuple[str, str], str]] = {}
        self.linked: dict[str, dict[str, Account]] = {}
        self.edited: dict[str, dict[str, set[str]]] = {}
        self.owed: dict[str, dict[str, str]] = {}
        self.kept: dict[str, str] = {}
        self.files: dict[str, frozenset[str]] = {}
        self.groups: list[str] = []
        self.death: Death | None = None

    def wait(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(cast(Any, work))

    @initialize(
        policy=fixed_dictionaries({"adoptOnCreate": booleans(), "createBesideMatches": booleans()}),
        odd=lists(rows, max_size=2),
        people=crowds,
        cycles=lists(cycles, max_size=3),
        asks=sampled_from(UNDOS),
        user=users,
    )
    def begins(
        self,
        policy: dict[str, bool],
        odd: list[dict[str, Any]],
        people: list[dict[str, Any]],
        cycles: list[Any],
        asks: dict[str, Any],
        user: dict[str, Any],
    ) -> None:
        directory = self.wait(make_directory(self.store, self.name, 2))
        self.policy = Policy.from_json(POLICY | policy)
        self.wait(directory.policies.set(self.policy))
        self.wait(self.begin_process())
        self.imports([*odd, *map(account, range(len(NAMES)))], False)
        self.tries(people, cycles, asks, 100)
        self.posts(user)

    async def begin_process(self) -> None:
        """Begin a process that remembers nothing, over the tables that the one before it left."""
        self.tables = FaultyTables(self.store)
        self.directories = Directories(self.tables)
        self.directory = await self.directories.open(self.name)

    def act(self, act: Act, work: Callable[[Directory], Awaitable[T]]) -> T | Refused | None:
        """Let the process do something, and check what that changed. Returns None if the process died on the way."""
        before, kept, answer = self.accounts, dict(self.kept), self.wait(self.mortal(work))
        self.accounts = {account.id: account for account in self.wait(check_invariants(self.store, self.name))}
        self.order += sorted(self.accounts.keys() - set(self.order), key=lambda i: self.accounts[i].user_name)
        for account_id in before.keys() | self.accounts.keys():
            self.check(act, before.get(account_id), self.accounts.get(account_id))
        if act.who == "scim":
            for account_id in self.accounts.keys() - before.keys():
                self.check_second(self.accounts[account_id], before, kept)
        return answer

    async def mortal(self, work: Callable[[Directory], Awaitable[T]]) -> T | Refused | None:
        death, self.death = self.death, None
        if death and death.acts:
            self.death = replace(death, acts=death.acts - 1)
        elif death:
            self.tables.reset()
            self.tables.faults = script({death.call: death.fault})
        try:
            return await work(self.directory)
        except Crash:
            await self.begin_process()
            return None
        except Exception as error:
            status, _, detail, _ = problem(error)
            if status == 500:
                raise
            return Refused(status, detail)
        finally:
            self.tables.faults = no_faults

    def one(self, place: int) -> str:
        """Return the id of an account, at the last place of one that was deleted; of nobody where there is none."""
        known = [one for one in self.order if (one in self.gone) == (place == LAST)]
        return known[place % len(known)] if known else "nobody"

    # What an act may change.

    def check(self, act: Act, before: Account | None, after: Account | None) -> None:
        if before == after:
            return
        if before is None:
            assert after is not None
            assert after.id not in self.gone, "a deleted account is there again"
            assert (act.who, after.status) in (("import", Status.LOCAL), ("scim", Status.PROVISIONED))
            assert after.link is None
            return
        if after is None:
            assert not before.protected, "a protected account was deleted"
            assert (act.who, before.status) in (("hand", Status.LOCAL), ("scim", Status.PROVISIONED))
            self.gone.add(before.id)
            return
        getattr(self, f"check_{act.who}")(act, before, after)
        if act.who in ("hand", "import"):
            self.note_edit(before, after)
        if after.retired and not before.retired:
            self.kept[after.id] = identity_of(before)
        if not after.retired:
            self.kept.pop(after.id, None)

    def check_nobody(self, act: Act, before: Account, after: Account) -> None:
        raise AssertionError("this changes no account")

    def check_look(self, act: Act, before: Account, after: Account) -> None:
        assert stored(before) == stored(after), "a look-up changed more than the confirmation"
        assert identity_of(before) == identity_of(after)

    def check_scim(self, act: Act, before: Account, after: Account) -> None:
        assert not before.protected, "SCIM changed a protected account"
        assert not after.protected
        if before.status is Status.LOCAL:
            self.check_taken(act, before, after)
        elif after.status is Status.LOCAL:
            assert (before.status, after.retired, after.link) == (Status.CLAIMED, True, None)
        else:
            assert before.status is after.status
            # What a client made itself, it may give another externalId.
            same = identity_of(before) == identity_of(after) or after.status is Status.PROVISIONED
            assert same, "an account went from hand to hand"

    def check_second(self, made: Account, before: Mapping[str, Account], kept: Mapping[str, str]) -> None:
        """Check that a create made nobody's second account."""
        identity = fold(made.external_id or "")
        assert identity not in kept.values() or not identity, "whoever comes back gets another account"
        for other in before.values():
            if identity and other.link:  # what SCIM clients made themselves may share an externalId
                assert identity_of(other) != identity, "a second account of a linked identity"
            if other.status is Status.LOCAL and not self.policy.create_beside_matches:
                shared = made.found_by() | {Key("email", fold(made.user_name))}
                assert not shared & other.found_by(), "a second account beside one that may be the same person's"

    def check_taken(self, act: Act, before: Account, after: Account) -> None:
        """Check that SCIM linked an account by an adopting create, or by a return, and by nothing else."""
        assert after.link, "SCIM changed an account that is managed here"
        assert after.link.identity in act.identities
        assert after.link.identity not in after.parted, "only a person joins such a pair again"
        self.forget_owed(after.id)
        if before.retired:
            assert self.kept[before.id] == identity_of(after), "another person came back"
            return
        assert self.policy.adopt_on_create
        assert (after.user_name, after.emails, after.active) == (before.user_name, before.emails, before.active)

    def check_import(self, act: Act, before: Account, after: Account) -> None:
        assert not before.protected or act.protected, "a file changed a protected account"
        assert after.protected >= before.protected
        assert (before.link, before.status, before.retired) == (after.link, after.status, after.retired)
        assert before.user_name == after.user_name
        named = act.names is None or after.user_name.lower() in act.names
        assert named, "a file changed an account that it names in other letters, if at all"
        assert before.authority is Authority.LOCAL or before.text == after.text

    def check_hand(self, act: Act, before: Account, after: Account) -> None:
        assert before.id == act.account, "another account than the one that was named changed"
        assert after.retired == before.retired or after.link, "a deleted account is there again"
        if after.link and identity_of(before) != identity_of(after):
            assert not before.protected
            assert after.link.identity in act.identities
        elif before.authority is after.authority is Authority.IDP:
            assert before.text == after.text

    def check_run(self, act: Act, before: Account, after: Account) -> None:
        assert before.status is Status.LOCAL
        assert not before.protected, "a run changed a protected account"
        assert after.link is not None
        assert after.link.by == by_run(act.run)
        version = self.approved[act.run].get((after.id, after.link.identity))
        assert version, "nobody approved this link"
        assert version == before.etag, "a run linked an account that changed since its plan"
        parted = fold(after.link.identity) in before.parted
        assert not parted or after.link.rule == "review", "only a person joins a pair that was taken apart"
        assert before.with_external_id(after.external_id or "").text == after.text
        self.forget_owed(after.id)
        self.linked.setdefault(act.run, {})[after.id] = before
        self.edited.setdefault(act.run, {})[after.id] = set()

    def check_undo(self, act: Act, before: Account, after: Account) -> None:
        was = self.linked.get(act.run, {}).get(before.id)
        if was is None:
            owed = [names[before.id] for names in self.owed.values() if before.id in names]
            assert owed, "an undo changed an account that its run did not link"
            # Its former name was in the way of one that the undo owes.
            assert without(after, "userName") == without(before, "userName")
            assert after.user_name in owed or after.user_name.startswith(f"{before.id}.")
            return
        assert (after.status, after.link, after.retired) == (was.status, was.link, was.retired)
        # SCIM's DELETE took the externalId away: what is there was written here since, and stays.
        written = before.external_id if before.link is None else None
        assert after.external_id == (written or was.external_id)
        assert was.protected or after.protected == before.protected
        identity = next(identity for account_id, identity in self.approved[act.run] if account_id == before.id)
        assert fold(identity) in after.parted, "SCIM and runs may join this pair again"
        switched_on = after.active and not before.active
        assert act.activates or not switched_on, "an undo switched somebody on"
        if act.keeps:
            assert without(after, "externalId") == without(before, "externalId")
            return
        if before.link is None and not before.retired:
            # The account is back, perhaps with its attributes as they were. Now it is switched on, or gets its name.
            assert without(after, "active", "userName") == without(before, "active", "userName")
            between = after.user_name.startswith(f"{after.id}.")
            assert between or after.user_name in (before.user_name, was.user_name)
            return
        here = self.edited[act.run][before.id]
        left = {"externalId"} if written else set()
        left |= {"active"} if was.active and not after.active else set()
        if after.user_name != was.user_name and "userName" not in here:
            left.add("userName")
            self.owed.setdefault(act.run, {})[before.id] = was.user_name
        assert without(after, *here, *left) == without(was, *here, *left), "an undo ends elsewhere than it began"
        assert "evidence" in here or after.evidence == was.evidence

    def forget_owed(self, account_id: str) -> None:
        """Forget the former names of an account: it has another one from somebody, or is linked again."""
        for owed in self.owed.values():
            owed.pop(account_id, None)

    def is_taken(self, name: str, account_id: str) -> bool:
        """Tell whether another account has a name."""
        return any(fold(a.user_name) == fold(name) for a in self.accounts.values() if a.id != account_id)

    def note_edit(self, before: Account, after: Account) -> None:
        """Keep what somebody changed here of an account since runs linked it."""
        old, new = before.document(), after.document()
        names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} - {"externalId"}
        names |= {"evidence"} if before.evidence != after.evidence else set()
        if "userName" in names or after.link:
            self.forget_owed(before.id)
        for edited in self.edited.values():
            if before.id in edited:
                edited[before.id] |= names

    # What happens.

    @rule(
        acts=integers(0, 2),
        call=integers(1, SOON) | integers(1, DEATHS),
        fault=sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER]),
    )
    def dies(self, acts: int, call: int, fault: Fault) -> None:
        self.death = Death(acts, call, fault)

    @rule(file=lists(rows, min_size=1, max_size=4), protected=booleans(), steps=STEPS)
    def imports(self, file: list[dict[str, Any]], protected: bool, steps: int = 100) -> None:
        request = asked(file, protected="change") if protected else asked(file)
        answer = self.act(NOBODY, lambda directory: imports.import_accounts(directory, request, self.executor))
        if isinstance(answer, Response):
            names = (row["userName"] for row in file)
            self.files[json.loads(answer.text)["id"]] = frozenset(name.lower() for name in names)
        self.works(IMPORT, steps)

    @rule(people=crowds, full=booleans(), steps=STEPS)
    def plans(self, people: list[dict[str, Any]], full: bool, steps: int) -> None:
        async def begin(directory: Directory) -> Response:
            upload = json.loads((await uploads.upload_identities(directory, asked({"value": people}))).text)
            request = asked({"identities": upload["id"], "full": full})
            return await runs.start_run(directory, request, self.executor, cast(Sources, None))

        self.act(NOBODY, begin)
        self.works(RUN, steps)

    @rule(place=places, action=sampled_from(["link", "link", "exclude", "leave"]), candidate=places)
    def reviews(self, place: int, action: str, candidate: int) -> None:
        for run in self.jobs(RUN, State.PLANNED):
            found = self.wait(plan_rows(self.reader, run.id))
            if not found:
                return
            row = sorted(found, key=lambda row: (row.decision, row.subject not in IDENTITIES, row.outcome))[
                place % len(found)
            ]
            body: dict[str, Any] = {"rows": [row.id], "action": action}
            if action == "link" and row.versions:
                body["account"] = sorted(row.versions, key=self.order.index)[candidate % len(row.versions)]
            self.act(
                NOBODY,
                lambda directory, body=body, run=run: reviews.review(directory, asked(body, run.id), self.executor),
            )

    @rule(pauses=booleans(), steps=STEPS)
    def approves(self, pauses: bool, steps: int) -> None:
        for run in self.jobs(RUN, State.PLANNED):
            self.approved[run.id] = self.wait(self.linked_by_plan(run.id))
            body = {"links": len(self.approved[run.id]), "pauseProvisioning": pauses}
            answer = self.act(
                NOBODY,
                lambda directory, run=run, body=body: approval.approve(directory, asked(body, run.id), self.executor),
            )
            assert not isinstance(answer, Refused) or answer.status != 409 or "links:" not in answer.detail, answer
        self.works(RUN, steps)

    async def linked_by_plan(self, run: str) -> dict[tuple[str, str], str]:
        """Return what a plan with its reviews would link: by account and identity, the version that it saw."""
        pairs: dict[tuple[str, str], str] = {}
        for row in await plan_rows(self.reader, run):
            review = row.review or {"action": "leave"}
            if review["action"] == "link" or (row.decision == "link" and review["action"] == "leave"):
                account_id = review.get("account") or account_of(row)
                pairs[account_id, row.subject] = planned_version(row, account_id)
        return pairs

    @rule(people=crowds, full=booleans())
    def links(self, people: list[dict[str, Any]], full: bool) -> None:
        self.plans(people, full, 100)
        self.approves(False, 100)

    @rule(kind=sampled_from([RUN.name, IMPORT.name]))
    def cancels(self, kind: str) -> None:
        for job in self.jobs(KINDS[kind]):
            self.act(NOBODY, lambda directory, job=job: cancel(directory, job, asked(None), self.executor))

    @rule(place=places, asks=sampled_from(UNDOS), steps=STEPS)
    def undoes(self, place: int, asks: dict[str, Any], steps: int) -> None:
        ended = [job for job in self.jobs(RUN, ended=True) if job.approved]
        if ended:
            about = ended[place % len(ended)].id
            self.act(NOBODY, lambda directory: undos.start_undo(directory, asked(asks, about), self.executor))
        self.works(UNDO, steps)

    @rule()
    def goes_on(self) -> None:
        for kind in (IMPORT, RUN, UNDO):
            self.works(kind, 100)

    def works(self, kind: Kind, most: int) -> None:
        """Let the executor take steps of the jobs of a kind that have not ended, and start those that a death kept."""
        for job in self.jobs(kind):
            options = job.options
            act = Act(
                kind.name,
                run=options.get("run", job.id),
                protected=options.get("protected") == "change",
                keeps="keep" in options,
                activates="activate" in options,
                names=self.files.get(job.id),
            )

            async def work(directory: Directory, job: Job = job) -> None:
                await ensure_started(directory, job, self.executor)
                await self.executor.work(job.id, activity_calls(self.directories), most)

            self.act(act, work)
            if kind is UNDO:
                self.check_left(act, job)

    def check_left(self, act: Act, undo: Job) -> None:
        """Check that an undo that is done left no link of its run but those that it refused to take back."""
        done = self.wait(self.reader.jobs.get(undo.id))
        if done.state is State.DONE:
            rows = self.wait(plan_rows(self.reader, undo.id))
            assert len({row.subject for row in rows}) == len(rows), "an undo reports an account twice"
            counts = Counter(done.counts) - Counter({ACTIVATING: len(self.accounts)})
            assert counts == Counter(row.decision for row in rows), "an undo's counts are not those of its report"
            refused = {row.subject for row in rows if row.decision == "refused"}
            left = {i for i, one in self.accounts.items() if one.link and one.link.by == by_run(act.run)}
            assert left <= refused, "an undo left a link of its run and says nothing"
            for account_id, name in self.owed.get(act.run, {}).items():
                one = self.accounts.get(account_id)
                back = one is None or one.user_name == name or self.is_taken(name, account_id)
                assert back, "an undo ends with a former name that nobody has"

    def jobs(self, kind: Kind, *states: State, ended: bool = False) -> list[Job]:
        """Return the jobs of a kind that have ended or not, those in some states only, oldest first."""
        self.reader = self.wait(Directories(self.store).open(self.name))
        known = [job for job in self.wait(self.reader.jobs.list_all()) if job.kind == kind.name]
        return [job for job in known if job.state.ended == ended and (not states or job.state in states)]

    # SCIM.

    def scim(self, act: Act, service: Service, request: Request) -> Response | Refused | None:
        async def work(directory: Directory) -> Response:
            await directory.gate.refuse_closed()
            return await service(directory, request)

        return self.act(act, work)

    @rule(
        path=sampled_from(["userName", "emails.value", "externalId", 'emails[type eq "work"].value']),
        value=sampled_from([*SPELLINGS, *IDENTITIES]),
    )
    def looks_up(self, path: str, value: str) -> None:
        self.find(path, value)

    def find(self, path: str, value: str) -> list[dict[str, Any]] | None:
        """Return the users that a look-up finds, None if the process died."""
        request = asked(None, by="entra", filter=f'{path} eq "{value}"')
        answer = self.act(Act("look"), lambda directory: scim_users.service.query(directory, request))
        return (
            cast("list[dict[str, Any]]", json.loads(answer.text)["Resources"]) if isinstance(answer, Response) else None
        )

    @rule(user=users)
    def posts(self, user: dict[str, Any]) -> None:
        self.scim(Act("scim", identities=named_by(user)), scim_users.service.create, asked(user, by="entra"))

    @rule(place=places, patch=lists(operations, min_size=1, max_size=3))
    def patches(self, place: int, patch: list[dict[str, Any]]) -> None:
        self.sends_patch(self.one(place), patch)

    def sends_patch(self, about: str, patch: list[dict[str, Any]]) -> None:
        request = asked({"schemas": [PATCH], "Operations": patch}, about, by="entra")
        self.scim(Act("scim", identities=frozenset(IDENTITIES)), scim_users.service.patch, request)

    @rule(place=places, user=users)
    def puts(self, place: int, user: dict[str, Any]) -> None:
        request = asked(user, self.one(place), by="entra")
        self.scim(Act("scim", identities=named_by(user)), scim_users.service.replace, request)

    @rule(cycle=cycles)
    def provisioning_comes(self, cycle: tuple[int, str, bool]) -> None:
        self.provisions(*cycle)

    def provisions(self, number: int, name: str, active: bool) -> None:
        """Do what Entra does about a person: look for them, then change what differs, or create them."""
        identity, name = IDENTITIES[number], name or NAMES[number]
        wanted = user(name, externalId=identity, emails=work_emails(name), active=active, title=TITLES[0])
        for path, value in ("externalId", identity), ("userName", name):
            found = self.find(path, value)
            if found is None:
                return
            if found:
                patch = [
                    {"op": "replace", "path": path, "value": wanted[path]} for path in ("userName", "active", "title")
                ]
                self.sends_patch(found[0]["id"], [{"op": "add", "path": "externalId", "value": identity}, *patch])
                return
        self.posts(wanted)

    @rule(people=crowds, cycles=lists(cycles, min_size=1, max_size=4) | swaps, asks=sampled_from(UNDOS), steps=STEPS)
    def tries(self, people: list[dict[str, Any]], cycles: list[Any], asks: dict[str, Any], steps: int) -> None:
        """Link everybody, let provisioning come, and take the links back."""
        self.links(people, True)
        for cycle in cycles:
            self.provisions(*cycle)
        self.undoes(-1, asks, steps)

    @rule(place=places)
    def deletes(self, place: int) -> None:
        self.scim(Act("scim"), scim_users.service.delete, asked(None, self.one(place), by="entra"))

    @rule(
        posted=lists(users, max_size=2),
        place=places,
        patch=lists(operations, min_size=1, max_size=2),
        deleted=none() | places,
    )
    def bulk(self, posted: list[dict[str, Any]], place: int, patch: list[dict[str, Any]], deleted: int | None) -> None:
        wanted = [{"method": "POST", "path": "/Users", "bulkId": str(n), "data": user} for n, user in enumerate(posted)]
        body = {"schemas": [PATCH], "Operations": patch}
        wanted.append({"method": "PATCH", "path": f"/Users/{self.one(place)}", "data": body})
        if deleted is not None:
            wanted.append({"method": "DELETE", "path": f"/Users/{self.one(deleted)}"})
        request = asked({"schemas": [BULK], "Operations": wanted}, by="entra")
        self.scim(
            Act("scim", identities=frozenset((*IDENTITIES, NOBODYS))),
            lambda directory, request: run_bulk(directory, request, ROOMS),
            request,
        )

    @rule(name=sampled_from(["Team", "Staff"]), members=lists(places, max_size=2))
    def posts_group(self, name: str, members: list[int]) -> None:
        body = {"schemas": [GROUP], "displayName": name, "members": [{"value": self.one(place)} for place in members]}
        answer = self.scim(NOBODY, scim_groups.service.create, asked(body, by="entra"))
        if isinstance(answer, Response):
            self.groups.append(json.loads(answer.text)["id"])

    @rule(group=places, member=places, op=sampled_from(["add", "remove"]))
    def patches_group(self, group: int, member: int, op: str) -> None:
        if self.groups:
            value = [{"value": self.one(member)}]
            body = {"schemas": [PATCH], "Operations": [{"op": op, "path": "members", "value": value}]}
            request = asked(body, self.groups[group % len(self.groups)], by="entra")
            self.scim(NOBODY, scim_groups.service.patch, request)

    # The administrator, one account at a time.

    def by_hand(self, service: Service, place: int, body: Any, *identities: str) -> None:
        account = self.one(place)
        self.act(
            Act("hand", account, frozenset(identities)), lambda directory: service(directory, asked(body, account))
        )

    @rule(place=places, identity=identities)
    def links_by_hand(self, place: int, identity: str) -> None:
        self.by_hand(account_changes.link_account, place, {"identity": identity}, identity)

    @rule(place=places, edit=sampled_from(EDITS), rare=sampled_from([*[""] * 6, "release", "release", "delete"]))
    def edits(self, place: int, edit: dict[str, Any], rare: str) -> None:
        if rare == "release":
            self.by_hand(account_changes.release_account, place, {"keepEvidence": "document" in edit})
        elif rare == "delete":
            self.by_hand(account_changes.delete_account, place, None)
        else:
            self.by_hand(account_changes.edit_account, place, edit)


ROOMS = {"Users": scim_users.service, "Groups": scim_groups.service}


def identity_of(account: Account) -> str:
    """Return the identity that has an account, folded: that of its link, or the externalId that it was made with."""
    return fold(account.link.identity if account.link else account.external_id or "")


def stored(account: Account) -> Sequence[object]:
    """Return what a look-up may not change."""
    return account.text, account.status, account.protected, account.evidence, account.retired, account.parted


def without(account: Account, *names: str) -> dict[str, Any]:
    """Return an account's document without some attributes; what `schemas` says follows from the others."""
    document = account.document()
    return {name: document[name] for name in document if name not in (*names, "schemas")}


def named_by(user: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({user["externalId"]} if "externalId" in user else ())


def asked(body: Any, about: str = "", by: str = "administrator", **params: str) -> Request:
    """Return a request."""
    data = b"" if body is None else json.dumps(body).encode()
    return Request("http://localhost/scim/v2", by, about, params, data, content_type="application/json")
