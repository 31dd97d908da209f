"""Where a directory stands, and the app's settings as far as they are about it: no secret, and no other directory."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from link_orchestrator.kinds import KINDS, RUN
from link_orchestrator.requests.jobs import all_with_persons, listed, taken_back
from shared.admin.accounts import STATES
from shared.admin.pages import SCANNED, count_states
from shared.admin.parameters import read_choice, refuse_others
from shared.directory.directory import Directory
from shared.host.graph_settings import GraphSettings
from shared.host.settings import Credential, Settings
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.tables.access import together

LIVE: Final = "live"
"""Name under which the accounts are counted that SCIM has not deleted: all that the directory says it has."""
BY_STATE: Final = "states"
"""Parameter that asks for the number of accounts in each state."""


async def get_directory(directory: Directory, request: Request, settings: Settings) -> Response:
    """Return how many accounts and groups there are, the last job of each kind, and which credentials open this.

    No count is older than some seconds. Accounts are counted by state if that is asked for, and where there are few.
    """
    refuse_others(request, BY_STATE)
    by_state = read_choice(request, BY_STATE, ("true", "false")) == "true"
    accounts, groups, latest = await asyncio.gather(
        directory.listing.total(),
        directory.group_listing.total(),
        together(*(directory.jobs.entries(kind, most=1) for kind in KINDS)),
    )
    # To count by state is to look at every account. No row has these counts: each change of an account would be two.
    seen = {**STATES, LIVE: lambda one: not one.retired}
    counted = await count_states(directory.listing, seen) if by_state and accounts <= SCANNED else None
    states = dict(counted) if counted is not None else None
    # Of the same look: while an import goes on, the total that is kept for some seconds is less than the states say.
    accounts = states.pop(LIVE) if states is not None else accounts
    jobs = await all_with_persons(directory, [job for jobs in latest for job in jobs])
    runs = [job.id for job in jobs if job.kind == RUN.name]
    beside = await taken_back(directory, *runs) if runs else {}
    document = {
        "name": directory.name,
        "accounts": accounts,
        **({"states": states} if states is not None else {}),
        "groups": groups,
        "latest": {job.kind: listed(job) | beside.get(job.id, {}) for job in jobs},
        "credentials": _credentials(settings, directory.name),
    }
    return Response(200, dump(document))


async def get_settings(directory: Directory, request: Request, settings: Settings) -> Response:
    """Return the app's settings that are about this directory, as they are: a deployment changes them."""
    tenants = sorted(tenant for tenant, name in settings.portal_tenants.items() if name == directory.name)
    document = {
        "appRoles": sorted(settings.app_roles),
        "baseUrl": settings.base_url or None,
        "storage": settings.tables_endpoint or None,
        "buckets": directory.keys.buckets,
        "backups": _backups(settings),
        "graph": _graph(settings.graph, directory.name),
        "credentials": _credentials(settings, directory.name),
        "signIn": {"on": settings.signs_in, "application": settings.portal_audience or None, "tenants": tenants},
    }
    return Response(200, dump(document))


def _backups(settings: Settings) -> dict[str, Any] | None:
    """Return where the tables are copied to every night, and for how many days copies are kept; None for no copies."""
    if not settings.backups_endpoint:
        return None
    return {"storage": settings.backups_endpoint, "days": settings.backup_days or None}


def _credentials(settings: Settings, directory: str) -> list[dict[str, Any]]:
    """Return the credentials that open a directory."""
    return [_credential(one) for one in settings.credentials if one.directory == directory]


def _credential(credential: Credential) -> dict[str, Any]:
    expires = credential.expires.isoformat() if credential.expires else None
    return {"name": credential.name, "roles": sorted(credential.roles), "expires": expires}


def _graph(graph: GraphSettings, directory: str) -> dict[str, Any]:
    """Return what is read from where, and by what the app proves who it is; null for what is not set."""
    ways = {
        "federatedToken": graph.federated_token_file,
        "certificate": graph.certificate,
        "clientSecret": graph.client_secret.get_secret_value(),
        "managedIdentity": graph.managed_identity,
    }
    return {
        "tenant": graph.tenants.get(directory),
        "application": graph.client_id or None,
        "endpoint": graph.endpoint,
        "proof": next((name for name, given in ways.items() if given), None),
    }
