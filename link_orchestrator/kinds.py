"""The table of job kinds. Routes, orchestrations, activities and the API's document follow from it.

To add a kind, write its passes, its orchestrator and its record here, and the request that starts it in requests/. The
routes that show, list and cancel its jobs, and what the document says about them, come from the record. Only rows that
are no problems need a schema of their own in requests/openapi_schemas.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
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
    keep_reviews,
    pairs,
    plan,
    plan_groups,
    preview_accounts,
    preview_groups,
    suggest,
    undo,
    undo_group_imports,
    undo_groups,
    undo_import_verdicts,
    undo_imports,
    undo_names,
    undo_verdicts,
    verify,
)
from link_orchestrator.problem_report import PROBLEM
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.work.jobs import Job

Pass = Callable[[Directory, Job, Slice], Coroutine[Any, Any, Counter[str]]]
"""Works on one slice and returns its counts. It must be safe to run on the same slice twice, even at the same time."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that the jobs of a kind leave behind, as they are listed over HTTP."""

    name: str
    """Last word of the path that lists them, and the answer's field that holds them."""
    description: str
    """What is listed, in the API's document."""
    filter_by: str = "decision"
    """The field that says what became of a row, and the query parameter that asks for one value of it."""
    choices: tuple[str, ...] = ()
    """Values of that field. Rows without any are problems, and are not filtered."""
    explained: tuple[str, ...] = ()
    """Those of them whose rows are counted by their reason, too, beside the first page of them."""

    @property
    def has_problems(self) -> bool:
        """Whether rows of a file that could not be used are among them."""
        return not self.choices or PROBLEM in self.choices


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job. One without an orchestrator is an upload: its jobs are done once they are recorded."""

    name: str
    """The kind as jobs store it, and what their ids begin with."""
    title: str
    """One job of the kind, with its article, in the API's document."""
    path: str
    """Path of its jobs over HTTP."""
    function_prefix: str
    """What the names of its HTTP functions begin with."""
    rows: Rows
    orchestrator: Orchestrator | None = None
    passes: Mapping[str, Pass] = field(default_factory=dict)
    """The passes that the orchestrator runs, by name."""
    after_cancel: str = ""
    """What becomes of a job that is cancelled, in the API's document."""
    awaits_verdict: bool = False
    """Whether its jobs wait until an administrator approves or cancels them."""
    about_run: bool = False
    """Whether its jobs are about a run, where the last of them is shown."""
    about_import: Kind | None = None
    """The kind of import that its jobs are about, where the last of them is shown."""
    about_path: str = "undo"
    """Where that is, behind the path of the import."""
    listed: bool = False
    """Whether GET of its path lists its jobs."""
    days: int = 0
    """Days for which its jobs keep what they brought for others: an upload for runs, a preview for its import."""
    waits_for_undo: bool = False
    """Whether its slices wait while an undo is under way, for a bounded time."""

    @property
    def about_name(self) -> str:
        """The name of the function that shows the last of its jobs that are about an import."""
        about = self.about_import.function_prefix if self.about_import else ""
        return f"{about}_{self.about_path.replace('/', '_')}"

    @property
    def plural(self) -> str:
        """What its jobs are called together, which is also the field that holds them where they are listed."""
        return self.path.rpartition("/")[2] if self.orchestrator else "uploads"


IMPORT: Final = Kind(
    name="import",
    title="an import",
    path="accounts/imports",
    function_prefix="accounts_import",
    rows=Rows("problems", "the rows that were not imported: line, reason, remedy."),
    orchestrator=orchestrator.import_accounts,
    passes={"import": import_accounts.import_rows},
    after_cancel="It stops within some hundred rows; what it brought in already stays.",
    waits_for_undo=True,
)
GROUP_IMPORT: Final = Kind(
    name="groupimport",
    title="an import of groups",
    path="groups/imports",
    function_prefix="groups_import",
    rows=Rows("problems", "the groups and members that were not imported: line, reason, remedy."),
    orchestrator=orchestrator.import_groups,
    passes={"import_groups": import_groups.import_groups},
    after_cancel=IMPORT.after_cancel,
    waits_for_undo=True,
)
PREVIEW: Final = Kind(
    name="preview",
    title="a preview of an import",
    path="accounts/previews",
    function_prefix="accounts_preview",
    rows=Rows(
        "rows",
        "the first rows of the file as the accounts that they would become, and all rows that would not be imported.",
        filter_by="outcome",
        choices=(*preview_accounts.OUTCOMES, PROBLEM),
    ),
    orchestrator=orchestrator.preview_accounts,
    passes={"preview": preview_accounts.preview_rows},
    after_cancel="It stops within some hundred rows; it changes no account anyway.",
    waits_for_undo=True,
    days=1,
)
GROUP_PREVIEW: Final = Kind(
    name="grouppreview",
    title="a preview of an import of groups",
    path="groups/previews",
    function_prefix="groups_preview",
    rows=Rows("problems", "the groups and members that would not be imported: line, reason, remedy."),
    orchestrator=orchestrator.preview_groups,
    passes={"preview_groups": preview_groups.preview_groups},
    after_cancel="It stops within some hundred rows; it changes no group anyway.",
    waits_for_undo=True,
    days=1,
)
IMPORT_UNDO: Final = Kind(
    name="importundo",
    title="an undo of an import",
    path="accounts/undos",
    function_prefix="accounts_undo",
    rows=Rows(
        "rows",
        "the accounts that the import had made or changed, and what the undo did about each, a page at a time.",
        filter_by="outcome",
        choices=undo_import_verdicts.OUTCOMES,
        explained=(undo_verdicts.REFUSED, undo_verdicts.PARTLY, undo_verdicts.UNCHANGED),
    ),
    orchestrator=orchestrator.undo_import,
    passes={"count_import": undo_imports.count_import, "undo_import": undo_imports.undo_import},
    after_cancel="It stops after what it has in hand; what it took back stays so, and another undo takes the rest.",
    about_import=IMPORT,
)
GROUP_IMPORT_UNDO: Final = Kind(
    name="groupimportundo",
    title="an undo of an import of groups",
    path="groups/undos",
    function_prefix="groups_undo",
    rows=Rows(
        "rows",
        "the groups that the import had made or changed, and what the undo did about each, a page at a time.",
        filter_by="outcome",
        choices=undo_group_imports.OUTCOMES,
        explained=(undo_verdicts.REFUSED, undo_verdicts.PARTLY, undo_verdicts.UNCHANGED),
    ),
    orchestrator=orchestrator.undo_group_import,
    passes={"undo_group_import": undo_group_imports.undo_group_import},
    after_cancel=IMPORT_UNDO.after_cancel,
    about_import=GROUP_IMPORT,
)
IMPORT_UNDO_PREVIEW: Final = Kind(
    name="importundopreview",
    title="a preview of the undo of an import",
    path="accounts/undo-previews",
    function_prefix="accounts_undo_preview",
    rows=replace(
        IMPORT_UNDO.rows,
        description="the accounts that the import made or changed, and what an undo would do about each, a page at a "
        "time.",
    ),
    orchestrator=orchestrator.preview_import_undo,
    passes={"foresee_import": undo_imports.foresee_import},
    after_cancel="It stops after what it has in hand; it changes no account anyway.",
    about_import=IMPORT,
    about_path="undo/preview",
    waits_for_undo=True,
)
GROUP_IMPORT_UNDO_PREVIEW: Final = Kind(
    name="groupimportundopreview",
    title="a preview of the undo of an import of groups",
    path="groups/undo-previews",
    function_prefix="groups_undo_preview",
    rows=replace(
        GROUP_IMPORT_UNDO.rows,
        description="the groups that the import made or changed, and what an undo would do about each, a page at a "
        "time.",
    ),
    orchestrator=orchestrator.preview_group_import_undo,
    passes={"foresee_group_import": undo_group_imports.foresee_group_import},
    after_cancel="It stops after what it has in hand; it changes no group anyway.",
    about_import=GROUP_IMPORT,
    about_path="undo/preview",
    waits_for_undo=True,
)
IDENTITIES: Final = Kind(
    name="identities",
    title="an upload of identities",
    path="linking/identities",
    function_prefix="linking_identities",
    rows=Rows("problems", "the rows of an upload that are no identities: line, reason, remedy."),
    listed=True,
    days=30,
)
ENTRA_GROUPS: Final = Kind(
    name="entragroups",
    title="an upload of groups",
    path="linking/groups",
    function_prefix="linking_groups",
    rows=Rows(
        "problems", "the objects of an upload that are no groups, or without all their members: line, reason, remedy."
    ),
    listed=True,
    days=30,
)
RUN: Final = Kind(
    name="run",
    title="a run",
    path="linking/runs",
    function_prefix="linking_run",
    rows=Rows(
        "decisions",
        "the plan's rows, of one decision or all, a page at a time.",
        choices=(*DecisionKind, *GroupDecisionKind),
    ),
    orchestrator=orchestrator.link_accounts,
    passes={
        "changes": compare.changes,
        "spread": compare.spread,
        "lead": compare.lead,
        "touch": compare.touch,
        "gather": compare.gather,
        "collect": pairs.collect,
        "join": pairs.join,
        "weigh": plan.weigh,
        "decide": plan.decide_all,
        "collect_again": partial(pairs.collect, again=True),
        "join_again": partial(pairs.join, again=True),
        "weigh_again": partial(plan.weigh, again=True),
        "decide_again": partial(plan.decide_all, again=True),
        "suggest": suggest.suggest,
        "merge_names": plan.merge_names,
        "resolve_members": plan_groups.resolve_members,
        "decide_groups": plan_groups.decide_groups,
        "keep_reviews": keep_reviews.keep_reviews,
        "reserve": apply.reserve,
        "apply": apply.apply,
        "apply_groups": apply_groups.apply_groups,
    },
    after_cancel="It stops after what it has in hand; what it linked already stays linked.",
    awaits_verdict=True,
    listed=True,
)
UNDO: Final = Kind(
    name="undo",
    title="an undo",
    path="linking/undos",
    function_prefix="linking_undo",
    rows=Rows(
        "rows",
        "the accounts that the run had linked, and what the undo did about each, a page at a time.",
        filter_by="outcome",
        choices=(*undo_verdicts.OUTCOMES, *undo_verdicts.COUNTED.values()),
        explained=(
            *(undo_verdicts.REFUSED, undo_verdicts.PARTLY, undo_verdicts.RELEASED, undo_verdicts.UNCHANGED),
            *(undo_verdicts.COUNTED[one] for one in (undo_verdicts.REFUSED, undo_verdicts.UNCHANGED)),
        ),
    ),
    orchestrator=orchestrator.undo_links,
    passes={
        "prepare": undo.prepare,
        "count": undo.count,
        "undo": undo.undo,
        "undo_groups": undo_groups.undo_groups,
        "names": undo_names.give_names_back,
    },
    after_cancel="It stops after what it has in hand; what it took back stays so, and another undo takes the rest.",
    about_run=True,
    listed=True,
)
VERIFICATION: Final = Kind(
    name="verification",
    title="a verification",
    path="linking/verifications",
    function_prefix="linking_verification",
    rows=Rows(
        "rows",
        "what a verification found, a page at a time.",
        filter_by="found",
        choices=(verify.CONFIRMED, verify.UNCONFIRMED, verify.UNLINKED, verify.CREATED, verify.ALIKE),
    ),
    orchestrator=orchestrator.verify_links,
    passes={"look": verify.look, "compare": verify.pair, "settle": verify.settle},
    after_cancel="It stops after what it has in hand; what it found until then is kept.",
    about_run=True,
)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        *(IMPORT, GROUP_IMPORT, PREVIEW, GROUP_PREVIEW, IMPORT_UNDO, GROUP_IMPORT_UNDO),
        *(IMPORT_UNDO_PREVIEW, GROUP_IMPORT_UNDO_PREVIEW),
        *(IDENTITIES, ENTRA_GROUPS, RUN, UNDO, VERIFICATION),
    )
}
