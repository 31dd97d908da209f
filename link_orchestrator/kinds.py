"""The kinds of job there are: one record each. HTTP, lifecycle, activities and functions go by this table.

To add one, write its passes and its record here, and what starts it in requests/. Its address, its cancel, its rows,
its orchestration and their descriptions follow from the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from link_orchestrator import orchestrator
from link_orchestrator.messages import Slice
from link_orchestrator.orchestrator import Orchestrator
from link_orchestrator.passes import (
    apply,
    apply_groups,
    compare,
    import_accounts,
    import_groups,
    plan,
    plan_groups,
    undo,
    undo_groups,
    verify,
)
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.work.jobs import Job

Pass = Callable[[Directory, Job, Slice], Coroutine[Any, Any, Counter[str]]]
"""Works on one slice and returns its counts. It may run twice, also at once: it finds what it did before."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What the rows of a kind's jobs are over HTTP."""

    name: str
    """Of the list, in its address and in its answer."""
    about: str
    """What is listed, as the API's document says it."""
    told_apart_by: str = "decision"
    """The field, and the query parameter, of a row's word: a plan's decision, an undo's outcome."""
    words: tuple[str, ...] = ()
    """Words that may be asked for. Without any, all rows are problems."""

    @property
    def are_problems(self) -> bool:
        """Whether each row says what could not be used."""
        return not self.words


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job. One without an orchestrator is an upload: its jobs are done once they are recorded."""

    name: str
    """As it is stored in its jobs, and in their ids."""
    title: str
    path: str
    """Of its jobs over HTTP."""
    function: str
    """What the names of its HTTP functions begin with."""
    rows: Rows
    orchestrator: Orchestrator | None = None
    passes: Mapping[str, Pass] = field(default_factory=dict)
    cancelled: str = ""
    """What becomes of a job that is cancelled, as the API's document says it."""
    waits: bool = False
    """Whether its jobs wait for an administrator's verdict."""
    of_a_run: bool = False
    """Whether its jobs are about a run, beside which the last one is found."""
    listed: bool = False
    """Whether its jobs are listed at its path, in an answer's field of the path's last word."""


IMPORT: Final = Kind(
    "import",
    "an import",
    "accounts/imports",
    "accounts_import",
    Rows("problems", "the rows that were not imported: line, reason, remedy."),
    orchestrator.import_accounts,
    {"import": import_accounts.import_rows},
    "It stops within some hundred rows; what it brought in already stays.",
)
GROUP_IMPORT: Final = Kind(
    "groupimport",
    "an import of groups",
    "groups/imports",
    "groups_import",
    Rows("problems", "the groups and members that were not imported: line, reason, remedy."),
    orchestrator.import_groups,
    {"import_groups": import_groups.import_groups},
    "It stops within some hundred rows; what it brought in already stays.",
)
IDENTITIES: Final = Kind(
    "identities",
    "an upload of identities",
    "linking/identities",
    "linking_identities",
    Rows("problems", "the rows of an upload that are no identities: line, reason, remedy."),
)
ENTRA_GROUPS: Final = Kind(
    "entragroups",
    "an upload of groups",
    "linking/groups",
    "linking_groups",
    Rows(
        "problems", "the objects of an upload that are no groups, or without all their members: line, reason, remedy."
    ),
)
RUN: Final = Kind(
    "run",
    "a run",
    "linking/runs",
    "linking_run",
    Rows(
        "decisions",
        "the plan's rows, of one decision or all, a page at a time.",
        words=(*DecisionKind, *GroupDecisionKind),
    ),
    orchestrator.link_accounts,
    {
        "changes": compare.changes,
        "lead": compare.lead,
        "touch": compare.touch,
        "gather": compare.gather,
        "collect": plan.collect,
        "join": plan.join,
        "weigh": plan.weigh,
        "decide": plan.decide_all,
        "collect_again": partial(plan.collect, again=True),
        "join_again": partial(plan.join, again=True),
        "weigh_again": partial(plan.weigh, again=True),
        "decide_again": partial(plan.decide_all, again=True),
        "resolve_members": plan_groups.resolve_members,
        "decide_groups": plan_groups.decide_groups,
        "reserve": apply.reserve,
        "apply": apply.apply,
        "apply_groups": apply_groups.apply_groups,
    },
    "It stops within a page of work; what it linked already stays linked.",
    waits=True,
    listed=True,
)
UNDO: Final = Kind(
    "undo",
    "an undo",
    "linking/undos",
    "linking_undo",
    Rows(
        "rows",
        "the accounts that the run had linked, and what the undo did about each, a page at a time.",
        "outcome",
        (*undo_groups.COUNTED, *undo_groups.COUNTED.values()),
    ),
    orchestrator.undo_links,
    {"undo": undo.undo, "undo_groups": undo_groups.undo_groups},
    "It stops within a page; what it took back stays so, and another undo takes the rest.",
    of_a_run=True,
    listed=True,
)
VERIFICATION: Final = Kind(
    "verification",
    "a verification",
    "linking/verifications",
    "linking_verification",
    Rows(
        "rows",
        "what a verification found, a page at a time.",
        "found",
        (verify.CONFIRMED, verify.UNCONFIRMED, verify.UNLINKED, verify.CREATED),
    ),
    orchestrator.verify_links,
    {"look": verify.look, "compare": verify.compare, "settle": verify.settle},
    "It stops within a page; what it found until then is kept.",
    of_a_run=True,
)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in (IMPORT, GROUP_IMPORT, IDENTITIES, ENTRA_GROUPS, RUN, UNDO, VERIFICATION)
}
PASSES: Final[Mapping[str, Pass]] = {name: one for kind in KINDS.values() for name, one in kind.passes.items()}
"""All passes by their names, no two of which are alike."""
