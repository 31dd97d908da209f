"""Activity: who changed what, the latest first, and which jobs are under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.words import counted

BY_FILE: Final = "linking_run_decide"
"""The operation that decides on rows of a plan by a file."""
COUNT: Final = 50
"""Deeds of a page."""
WORDS: Final = {
    "accounts_edit": "edited an account",
    "accounts_delete": "deleted an account",
    "accounts_link": "linked an account by hand",
    "accounts_release": "released an account",
    "groups_release": "released a group",
    "policy_put": "changed the policy",
    "directory_schemas_put": "changed the schemas",
    "accounts_import": "imported accounts",
    "groups_import": "imported groups",
    "accounts_import_cancel": "cancelled an import of accounts",
    "groups_import_cancel": "cancelled an import of groups",
    "accounts_import_undo_start": "took an import of accounts back",
    "groups_import_undo_start": "took an import of groups back",
    "accounts_undo_preview_start": "looked at what taking an import of accounts back would do",
    "groups_undo_preview_start": "looked at what taking an import of groups back would do",
    "accounts_undo_preview_cancel": "cancelled a preview",
    "groups_undo_preview_cancel": "cancelled a preview",
    "accounts_preview_import": "imported accounts as previewed",
    "groups_preview_import": "imported groups as previewed",
    "accounts_preview_cancel": "cancelled a preview",
    "groups_preview_cancel": "cancelled a preview",
    "accounts_undo_cancel": "stopped taking an import back",
    "groups_undo_cancel": "stopped taking an import back",
    "linking_identities_upload": "brought identities",
    "linking_groups_upload": "brought groups of Entra",
    "linking_identities_remove": "removed an upload of identities",
    "linking_groups_remove": "removed an upload of groups of Entra",
    "linking_run_start": "started a run",
    "linking_run_review": "reviewed rows of a plan",
    "linking_run_decide": "decided on rows of a plan by a file",
    "linking_run_approve": "approved a run",
    "linking_run_cancel": "cancelled a run",
    "linking_undo_start": "started to take a run back",
    "linking_undo_cancel": "stopped taking links back",
    "linking_adoptions_undo": "started to take back the links that provisioning made by itself",
    "linking_verification_start": "started a verification",
    "linking_verification_cancel": "cancelled a verification",
    "linking_schedule_resume": "let the schedule go on",
    "linking_mapping_post": "checked the provisioning mapping",
}
"""What each operation of the API did, in words."""
DECIDED: Final = {
    "link": "to be linked",
    "exclude": "to stay out",
    "acknowledge": "seen",
    "leave": "left as planned",
}
"""What a review decided about rows, in words."""
JOBS: Final = {
    "run": "A run",
    "undo": "Links are taken back",
    "import": "Accounts are imported",
    "groupimport": "Groups are imported",
    "preview": "An import is previewed",
    "grouppreview": "An import of groups is previewed",
    "importundo": "An import is taken back",
    "groupimportundo": "An import of groups is taken back",
    "importundopreview": "The undo of an import is previewed",
    "groupimportundopreview": "The undo of an import of groups is previewed",
    "verification": "Links are verified",
}
"""What a job of each kind that takes time does, in words."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Activity:
    """What the page shows: a page of what was done, and the jobs under way."""

    activity: Sequence[Document]
    jobs: Sequence[Document]
    days: int
    """Days for which it is kept what was done."""
    cursor: str | None = None
    at_first: bool = True

    @property
    def busy(self) -> bool:
        """Whether a job goes on by itself; a plan that waits for its approval does not."""
        return any(job["phase"] != "planned" for job in self.jobs)

    def did(self, deed: Document) -> str:
        """Return what somebody did, in words: a file that was previewed was not imported."""
        if deed.get("began", {}).get("kind") in ("preview", "grouppreview"):
            return "looked at what an import would do"
        operation: str = deed["operation"]
        if "links" in deed:
            what = "a pilot of a run" if "pilot" in deed else "a run"
            return f"approved {what}: {counted(deed['links'], 'link')}"
        if "row" in deed:
            return f"decided on a row of a plan: {', '.join(DECIDED[action] for action in deed['decided'])}"
        if "decided" in deed:
            told = ", ".join(f"{count:,} {DECIDED[action]}" for action, count in deed["decided"].items())
            return f"decided on rows of a plan{' by a file' if operation == BY_FILE else ''}: {told}"
        return WORDS.get(operation, operation.replace("_", " "))

    def job_title(self, job: Document) -> str:
        """Return what a job does."""
        kind: str = job["kind"]
        return "A plan waits for its approval" if job["phase"] == "planned" else JOBS.get(kind, kind)


async def show(asked: Asked) -> Outcome:
    """Show who changed what."""
    cursor = asked.query.get("cursor", "")
    page = await asked.api.get("directory/activity", cursor=cursor, count=str(COUNT))
    jobs = (await asked.api.get("directory/under-way"))["jobs"]
    days = (await asked.api.get("directory/policy"))["jobDays"]
    return Shown("activity.html", Activity(page["activity"], jobs, days, page.get("cursor"), not cursor))


PAGES: Final = (Page("activity", show, label="Activity"),)
