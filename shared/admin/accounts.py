"""What the application and its administrator read of an account beyond SCIM; the policy and the schemas.

Beyond SCIM are who manages an account, its link, its evidence and its history. account_changes.py changes an account.
"""

from __future__ import annotations

from typing import Any

from shared.admin.parameters import read_key
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import APPLICATION_ID, application_key
from shared.directory.records.model import Account
from shared.directory.text import dump
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.extension import read_extensions
from shared.scim.schema import USER


async def find_accounts(directory: Directory, request: Request) -> Response:
    """List the accounts that have a userName, email, externalId, applicationId, nameId, objectId or employeeNumber."""
    key = read_key(request, "userName", "email", "externalId", APPLICATION_ID, "nameId", "objectId", "employeeNumber")
    accounts = await directory.accounts.list_by(application_key(key.value) if key.kind == APPLICATION_ID else key)
    return Response(200, dump({"accounts": [_shown(account) for account in accounts]}))


async def get_account(directory: Directory, request: Request) -> Response:
    """Return an account with its history; of a deleted one, the history."""
    account = await directory.accounts.find(request.id)
    history = await directory.accounts.history(request.id)
    if account is None and not history:
        raise NotFound("no such account")
    shown = _shown(account) if account else {"id": request.id, "deleted": True}
    changes = [
        {
            "number": c.number,
            "action": c.action,
            "by": c.by,
            "at": c.at,
            "attributes": c.attributes,
            "before": c.before,
        }
        for c in history
    ]
    return Response(200, dump(shown | {"history": changes}), account.version if account else None)


def answer(account: Account) -> Response:
    """Return an account as the account API shows it, with its version."""
    return Response(200, dump(_shown(account)), account.version)


async def get_policy(directory: Directory, request: Request) -> Response:
    """Return the directory's policy."""
    return Response(200, dump((await directory.policies.get()).to_json()))


async def get_schemas(directory: Directory, request: Request) -> Response:
    """Return the directory's own schemas."""
    return Response(200, await directory.schemas.get())


async def put_schemas(directory: Directory, request: Request) -> Response:
    """Replace the directory's own schemas, which extend User from then on."""
    text = read_extensions(read_json(request.body), USER)
    await directory.schemas.set(text)
    return Response(200, text)


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "userName": account.user_name,
        APPLICATION_ID: account.application_id,
        "status": account.status.value,
        "sourceOfAuthority": account.authority.value,
        "active": account.active,
        "protected": account.protected,
        "deletedOverScim": account.retired,
        "link": account.link.to_json() if account.link else None,
        "evidence": account.evidence.to_json(),
        "created": account.created,
        "modified": account.modified,
        "document": account.document(),
    }
