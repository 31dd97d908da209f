"""People for the pages about them: accounts and groups in every state, brought through the API."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from tests.link_orchestrator.portal.door import OPERATOR, SAME_SITE, Door
from tests.link_orchestrator.running import TOKEN, csv_file, object_id
from tests.waiting import until

HOSTILE = '<script>alert("1")</script> &amp; "\'` עברית العربية 🙈 ' + "long" * 2_500
"""What a field may hold: markup, quotes, right-to-left letters, an emoji, and no space to break at."""
SHORT_HOSTILE = '<img src=x onerror=alert(1)>"עברית🙈'


async def ask(
    door: Door, method: str, path: str, body: object = None, headers: Mapping[str, str] = OPERATOR, **params: str
) -> Any:
    """Send a request to the JSON API, SCIM's with the token, and return the answer's document."""
    headers = {"Authorization": f"Bearer {TOKEN}"} if path.startswith("scim/") else {**SAME_SITE, **headers}
    kind = "text/csv" if isinstance(body, bytes) else "application/json"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {**headers, "Content-Type": kind}
    async with door.session.request(
        method, f"/{path}", headers=headers, data=data and io.BytesIO(data), params=params
    ) as answer:
        text = await answer.text()
        return json.loads(text) if text else None


async def bring(door: Door, *names: str) -> dict[str, str]:
    """Import accounts, and return their ids by userName."""
    job = await ask(door, "POST", "accounts/import", csv_file(*({"userName": name} for name in names)))

    async def ended() -> bool:
        return "ended" in await ask(door, "GET", f"accounts/imports/{job['id']}")

    await until(ended)
    return {name: (await find(door, name))["id"] for name in names}


async def find(door: Door, name: str) -> Any:
    """Return the account of a userName."""
    (found,) = (await ask(door, "GET", "accounts", userName=name))["accounts"]
    return found


async def everybody(door: Door) -> dict[str, str]:
    """Bring accounts and groups in every state, one of them hostile; return ids by name."""
    ids = await bring(door, "ada@contoso.com", "bob@contoso.com", "root@contoso.com", "out@contoso.com", SHORT_HOSTILE)
    for name, change in {
        "ada@contoso.com": {"document": {"displayName": "Ada Lovelace", "title": "Analyst"}, "applicationId": "4711"},
        "root@contoso.com": {"protected": True},
        "out@contoso.com": {"document": {"active": False}},
        SHORT_HOSTILE: {"document": {"displayName": HOSTILE[:1_000], "title": HOSTILE}},
    }.items():
        await ask(door, "PATCH", f"accounts/{ids[name]}", change)
    await ask(
        door, "POST", f"accounts/{ids['bob@contoso.com']}/link", {"identity": object_id(1), "reason": "He called"}
    )
    await ask(
        door,
        "PATCH",
        f"accounts/{ids['bob@contoso.com']}",
        {"evidence": {"nameId": "bob", "verifiedEmails": ["bob@contoso.com"]}},
    )
    new = await ask(door, "POST", "scim/v2/Users", {"userName": "new@contoso.com", "externalId": object_id(3)})
    members = [{"value": ids["bob@contoso.com"]}, {"value": new["id"]}, {"value": ids[SHORT_HOSTILE]}]
    group = await ask(
        door, "POST", "scim/v2/Groups", {"displayName": "Sales", "externalId": object_id(9), "members": members}
    )
    await ask(door, "POST", "scim/v2/Groups", {"displayName": SHORT_HOSTILE})
    for name in ("ada@contoso.com", "root@contoso.com", SHORT_HOSTILE):
        await ask(door, "DELETE", f"scim/v2/Users/{ids[name]}")
    return ids | {"new@contoso.com": new["id"], "Sales": group["id"]}
