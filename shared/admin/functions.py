"""The functions of the administrator's API for one account, one group and the policy; the nightly upkeep."""

from __future__ import annotations

import logging

import azure.functions as func

from shared.admin import account_changes, accounts, group_changes, groups
from shared.admin.copies import NIGHT, copy_tables
from shared.directory.directory import Directory
from shared.directory.figures import count_links
from shared.directory.sweep import sweep, sweep_terms
from shared.directory.work.jobs import CHANGING, RUN
from shared.host.http import Edge, Route, add_route
from shared.host.problems import loggable

log = logging.getLogger("scimlink")

ACCOUNT_ROUTES = (
    Route("accounts_find", "GET", "accounts", accounts.find_accounts),
    Route("accounts_get", "GET", "accounts/{id}", accounts.get_account),
    Route("accounts_edit", "PATCH", "accounts/{id}", account_changes.edit_account),
    Route("accounts_delete", "DELETE", "accounts/{id}", account_changes.delete_account),
    Route("accounts_link", "POST", "accounts/{id}/link", account_changes.link_account),
    Route("accounts_release", "POST", "accounts/{id}/release", account_changes.release_account),
    Route("groups_find", "GET", "groups", groups.find_groups),
    Route("groups_get", "GET", "groups/{id}", groups.get_group),
    Route("members_list", "GET", "members", groups.list_members),
    Route("groups_release", "POST", "groups/{id}/release", group_changes.release_group),
    Route("policy_get", "GET", "directory/policy", accounts.get_policy),
    Route("directory_schemas_get", "GET", "directory/schemas", accounts.get_schemas),
    Route("directory_schemas_put", "PUT", "directory/schemas", accounts.put_schemas),
)


def blueprint(edge: Edge) -> func.Blueprint:
    """Return these functions, for function_app.py to register."""
    bp = func.Blueprint()
    for route in ACCOUNT_ROUTES:
        add_route(bp, edge, route)

    @bp.function_name("sweep")
    @bp.timer_trigger(schedule="0 30 2 * * *", arg_name="timer")
    async def sweep_directories(timer: func.TimerRequest) -> None:
        """Remove what crashes left behind and what is kept no longer, and count the links, every night."""
        for name in edge.settings.directories:
            try:
                await _look_after(await edge.directories.open(name))
            # One directory's trouble keeps no other from being swept; the next night tries again.
            except Exception as error:
                log.error("sweep %s failed with %s", name, loggable(error))

    @bp.function_name("tables_copy")
    @bp.timer_trigger(schedule=NIGHT, arg_name="timer")
    async def copy(timer: func.TimerRequest) -> None:
        """Copy the tables to blobs, every night."""
        await copy_tables(edge.settings)

    return bp


async def _look_after(directory: Directory) -> None:
    removed, cleared = await tidy(directory)
    log.info("sweep %s removed %d rows, %d stages", directory.name, removed, cleared)
    links = await count_links(directory)
    told = (directory.name, links["linked"], links["unconfirmed"], links["overdue"])
    log.info("links counted: directory=%s linked=%d unconfirmed=%d overdue=%d", *told)


async def tidy(directory: Directory) -> tuple[int, int]:
    """Remove what crashes left behind, and what is kept no longer; return the number of rows and of stages.

    A run holds accounts to the versions that it planned, and writes claims ahead of them. The rows that crashes left
    therefore wait until no run or undo is under way.
    """
    cleared, removed = await directory.stages.sweep(), await sweep_terms(directory)
    if not await directory.jobs.is_under_way(RUN, CHANGING):
        removed += await sweep(directory)
    return removed, cleared
