"""The table of pages, in the order of the navigation. A page is a module here, a template, and its line below."""

from __future__ import annotations

from typing import Final

from link_orchestrator.portal.page import Page
from link_orchestrator.portal.pages import (
    account,
    accounts,
    activity,
    all_rows,
    approval,
    bring,
    connect,
    decisions,
    groups,
    import_undo,
    imports,
    jobs,
    link,
    overview,
    plan,
    policy,
    preview,
    provisioning,
    reports,
    row,
    run_groups,
    runs,
    settings,
    undo,
    upload,
    verify,
)

# One line a module, in the order of the navigation.
PAGES: Final[tuple[Page, ...]] = (
    *overview.PAGES,
    *connect.PAGES,
    *bring.PAGES,
    *preview.PAGES,
    *imports.PAGES,
    *import_undo.PAGES,
    *upload.PAGES,
    *policy.PAGES,
    *plan.PAGES,
    *runs.PAGES,
    *decisions.PAGES,
    *all_rows.PAGES,
    *row.PAGES,
    *approval.PAGES,
    *verify.PAGES,
    *undo.PAGES,
    *run_groups.PAGES,
    *reports.PAGES,
    *accounts.PAGES,
    *account.PAGES,
    *link.PAGES,
    *groups.PAGES,
    *provisioning.PAGES,
    *activity.PAGES,
    *jobs.PAGES,
    *settings.PAGES,
)
