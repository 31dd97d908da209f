"""The portal's door: the app that is told of sign-ins, and people who are signed in as App Service hands them over."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import function_app
from infra.local.host import LocalHost
from link_orchestrator.portal import frame
from link_orchestrator.portal.page import Page, Samples
from shared.host.settings import Credential, Settings
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import TOKEN, Api, connected, make_directory

CLIENT, TENANT = "11111111-aaaa-4aaa-8aaa-111111111111", "22222222-bbbb-4bbb-8bbb-222222222222"
EVA, MAX = "33333333-cccc-4ccc-8ccc-333333333333", "44444444-dddd-4ddd-8ddd-444444444444"
SETTINGS = Settings(
    credentials=(Credential.of(TOKEN, "local", "scim", "admin"),),
    portal_auth=True,
    portal_audience=CLIENT,
    portal_tenants={TENANT: "main"},
)
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


def signed_in(
    *roles: str, aud: str = CLIENT, tid: str = TENANT, oid: str = EVA, name: str = "eva@contoso.com"
) -> dict[str, str]:
    """Return the header by which App Service Authentication hands over a person with these roles."""
    claims = [("aud", aud), ("tid", tid), ("oid", oid), ("preferred_username", name)]
    claims += [("roles", role) for role in roles]
    told = {"auth_typ": "aad", "claims": [{"typ": typ, "val": val} for typ, val in claims]}
    return {"X-MS-CLIENT-PRINCIPAL": base64.b64encode(json.dumps(told).encode()).decode()}


OPERATOR, READER = signed_in("Operator"), signed_in("Reader")
COLLEAGUE = signed_in("Operator", oid=MAX, name="max@contoso.com")
"""A second operator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page was answered with."""

    status: int
    headers: Mapping[str, str]
    html: str

    @property
    def text(self) -> str:
        """What a person reads, without the markup."""
        html = re.sub(r"<wbr>|</?(?:code|bdi)(?: [^>]*)?>", "", self.html)
        body = re.sub(r"<(head|script)\b.*?</\1>", " ", html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())

    @property
    def token(self) -> str:
        """The token of the page's forms."""
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.html)
        assert found, "no form on this page"
        return found[1]


@dataclass(frozen=True, slots=True)
class Door:
    """The portal as a browser reaches it; without a person it is the operator's."""

    session: aiohttp.ClientSession
    url: str
    tables: SqliteTables
    api: Api
    """The JSON API beside it, by a token: to bring a directory to where a page is about it."""

    async def get(self, path: str = "", headers: Mapping[str, str] = OPERATOR) -> Answer:
        """Load a page."""
        return await self.ask("GET", path, headers)

    async def send(
        self, path: str, fields: Mapping[str, Any], headers: Mapping[str, str] = OPERATOR, token: str | None = None
    ) -> Answer:
        """Send a page's form as a browser does: with the token of the page, from the same site."""
        if token is None:
            token = (await self.get(path, headers)).token
        return await self.ask("POST", path, {**SAME_SITE, **headers}, data={"token": token, **fields})

    async def ask(self, method: str, path: str, headers: Mapping[str, str], **more: Any) -> Answer:
        """Send any request; follows no redirect."""
        address = f"/portal/{path}".rstrip("/")
        async with self.session.request(method, address, headers=headers, allow_redirects=False, **more) as answer:
            return Answer(answer.status, answer.headers, await answer.text(errors="replace"))


def add_pages(patch: pytest.MonkeyPatch, *pages: Page) -> None:
    """Let every portal that is built from now on have these pages, too."""
    patch.setattr(frame.Portal.__init__, "__defaults__", (None, (*frame.PAGES, *pages)))


@asynccontextmanager
async def opened(folder: Path, settings: Settings = SETTINGS, samples: Samples | None = None) -> AsyncIterator[Door]:
    """Serve the app with these settings over an empty directory."""
    tables, histories = (SqliteTables.open(folder / "scimlink.db", name) for name in ("accounts", "histories"))
    if await tables.get("main_d", "directory") is None:
        await make_directory(tables)
    try:
        app = function_app.build(settings, tables, samples)
        async with (
            LocalHost(app, histories) as host,
            aiohttp.ClientSession(host.url) as session,
            connected(host.url) as by_token,
        ):
            yield Door(session, host.url, tables, Api(by_token))
    finally:
        await tables.close()
        await histories.close()
