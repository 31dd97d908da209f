"""Who signed in, and what their roles open: through the real door of an app that is told of sign-ins."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import function_app
from infra.local.host import LocalHost
from shared.host.principal import NOBODY, read_principal
from shared.host.settings import Credential, Settings
from shared.tables.sqlite import SqliteTables

TOKEN, CLIENT, TENANT = "a-token", "11111111-aaaa-4aaa-8aaa-111111111111", "22222222-bbbb-4bbb-8bbb-222222222222"
SETTINGS = Settings(
    credentials=(Credential.of(TOKEN, "both", "scim", "admin"),),
    portal_auth=True,
    portal_audience=CLIENT,
    portal_tenants={TENANT: "main"},
)
OID = "33333333-cccc-4ccc-8ccc-333333333333"
PUT = {"verifiedDomains": ["contoso.com"]}

Open = Callable[[Settings], AbstractAsyncContextManager[aiohttp.ClientSession]]


def principal(*roles: str, aud: str = CLIENT, tid: str = TENANT, oid: str = OID, auth: str = "aad") -> dict[str, str]:
    """Return the header of App Service Authentication for a person with these roles."""
    claims = [("aud", aud), ("tid", tid), ("oid", oid), ("preferred_username", "eva@contoso.com")]
    claims += [("roles", role) for role in roles]
    told = [{"typ": typ, "val": val} for typ, val in claims if val]
    document = {"auth_typ": auth, "name_typ": "name", "role_typ": "roles", "claims": told}
    return {"X-MS-CLIENT-PRINCIPAL": base64.b64encode(json.dumps(document).encode()).decode()}


@pytest.fixture
def opened(tmp_path: Path, sqlite_tables: SqliteTables) -> Open:
    @asynccontextmanager
    async def serve(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
        histories = SqliteTables.open(tmp_path / "histories.db")
        app = function_app.build(settings, sqlite_tables)
        async with LocalHost(app, histories) as host, aiohttp.ClientSession(host.url) as session:
            yield session
        await histories.close()

    return serve


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, headers: Any, body: Any = None
) -> tuple[int, str]:
    async with session.request(method, path, headers=headers, json=body) as answer:
        return answer.status, await answer.text()


async def test_a_reader_reads_and_an_operator_changes(opened: Open) -> None:
    same = {"Sec-Fetch-Site": "same-origin"}
    async with opened(SETTINGS) as session:
        for role in ("Reader", "Operator", "Owner"):
            assert (await ask(session, "GET", "/linking/runs", principal(role)))[0] == 200
        status, text = await ask(session, "PUT", "/directory/policy", principal("Reader") | same, PUT)
        assert (status, "Operator or Owner" in text) == (403, True)
        for roles in (("Operator",), ("Owner",), ("Reader", "Operator")):
            assert (await ask(session, "PUT", "/directory/policy", principal(*roles) | same, PUT))[0] == 200
        _, text = await ask(session, "GET", "/directory/policy/history", principal("Reader"))
        assert f"entra:{OID}" in text


@pytest.mark.parametrize(
    ("header", "status", "told"),
    [
        (principal(), 403, "none of the roles Reader, Operator and Owner"),
        (principal("reader", "Administrator"), 403, "none of the roles"),
        (principal("Owner", aud="another"), 403, "another application"),
        (principal("Owner", aud=""), 403, "another application"),
        (principal("Owner", tid="another"), 403, "no directory here is for the tenant"),
        (principal("Owner", tid=""), 403, "no directory here is for the tenant"),
        (principal("Owner", oid=""), 401, "send the header Authorization"),
        (principal("Owner", auth="google"), 401, "send the header Authorization"),
        ({"X-MS-CLIENT-PRINCIPAL": "e30="}, 401, "send the header Authorization"),
        ({"X-MS-CLIENT-PRINCIPAL-NAME": "eva@contoso.com"}, 401, "send the header Authorization"),
    ],
)
async def test_who_is_of_another_place_or_has_no_role_is_told_so(
    opened: Open, header: dict[str, str], status: int, told: str
) -> None:
    async with opened(SETTINGS) as session:
        assert (await ask(session, "GET", "/linking/runs", header))[0] == status
        assert told in (await ask(session, "GET", "/linking/runs", header))[1]


def header_of(*claims: tuple[str, str], role_type: str = "roles") -> dict[str, str]:
    told = [{"typ": typ, "val": val} for typ, val in claims]
    document = {"auth_typ": "aad", "name_typ": "name", "role_typ": role_type, "claims": told}
    return {"X-MS-CLIENT-PRINCIPAL": base64.b64encode(json.dumps(document).encode()).decode()}


SIGNED_IN = (("aud", CLIENT), ("tid", TENANT), ("oid", OID))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (header_of(*SIGNED_IN, ("roles", "Owner")), 200),
        (header_of(*SIGNED_IN, ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "Reader")), 200),
        (header_of(("aud", CLIENT), ("tid", TENANT.upper()), ("oid", OID.upper()), ("roles", "Reader")), 200),
        (header_of(*SIGNED_IN, *SIGNED_IN, ("roles", "Owner")), 200),
        (header_of(*SIGNED_IN, ("name", "Owner"), role_type="name"), 403),
        (header_of(*SIGNED_IN, ("oid", OID.replace("3", "4")), ("roles", "Owner")), 401),
        (header_of(*SIGNED_IN, ("tid", "another"), ("roles", "Owner")), 401),
        (header_of(("aud", "another"), *SIGNED_IN, ("roles", "Owner")), 401),
        (header_of(("aud", CLIENT), ("tid", TENANT), ("oid", "\ud800"), ("roles", "Owner")), 401),
        (header_of(("aud", CLIENT), ("tid", TENANT), ("oid", "x" * 5000), ("roles", "Owner")), 401),
    ],
)
async def test_a_sign_in_is_of_one_person_and_roles_are_claims_of_roles(
    opened: Open, header: dict[str, str], status: int
) -> None:
    async with opened(SETTINGS) as session:
        assert (await ask(session, "GET", "/linking/runs", header))[0] == status


async def test_nothing_that_is_signed_in_opens_scim(opened: Open) -> None:
    async with opened(SETTINGS) as session:
        for path in ("/scim/v2/Users", "/scim/v2/Groups", "/scim/v2/ServiceProviderConfig", "/scim/v2/nothing"):
            assert (await ask(session, "GET", path, principal("Owner")))[0] == 401


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS.model_copy(update={"portal_auth": False}),
        SETTINGS.model_copy(update={"portal_audience": ""}),
        Settings.local(TOKEN),
    ],
)
async def test_without_sign_in_before_the_app_the_header_is_anybodys(opened: Open, settings: Settings) -> None:
    async with opened(settings) as session:
        assert (await ask(session, "GET", "/linking/runs", principal("Owner")))[0] == 401
        token = {"Authorization": f"Bearer {TOKEN}"}
        assert (await ask(session, "GET", "/linking/runs", principal() | token))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example", "Authorization": "Bearer of-entra"}, 403),
        ({"Origin": "https://portal.azure.com", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://portal.azure.com.evil.example", "Authorization": "Bearer of-entra"}, 403),
        ({"Origin": "https://portal.azure.com", "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer x"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Authorization": "Bearer of-entra"}, 200),
    ],
)
async def test_no_other_site_changes_anything_with_a_persons_cookie(
    opened: Open, headers: dict[str, str], status: int
) -> None:
    async with opened(SETTINGS) as session:
        assert (await ask(session, "PUT", "/directory/policy", principal("Owner") | headers, PUT))[0] == status
        assert (await ask(session, "GET", "/directory/policy", principal("Owner") | headers))[0] == 200


async def test_the_origin_of_the_app_is_its_own(opened: Open) -> None:
    settings = SETTINGS.model_copy(update={"base_url": "https://admin.contoso.com"})
    async with opened(settings) as session:
        for origin, status in (("https://admin.contoso.com", 200), ("http://admin.contoso.com", 403)):
            headers = principal("Owner") | {"Origin": origin}
            assert (await ask(session, "PUT", "/directory/policy", headers, PUT))[0] == status


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["auth_typ", "claims", "typ", "val", "role_typ", "x"]), inner, max_size=4)
        ),
    )
)
def test_whatever_the_header_holds_it_is_a_principal_or_nobody(document: Any) -> None:
    header = base64.b64encode(json.dumps(document).encode()).decode()
    assert read_principal(header).roles <= {*json.dumps(document).split('"')}
    assert read_principal(header[:-1]) == NOBODY or len(header) < 2


def test_settings_name_who_may_come() -> None:
    environment = {
        "SCIMLINK_TABLES_ENDPOINT": "https://account.table.core.windows.net",
        "SCIMLINK_PORTAL_AUTH": "easyauth",
        "SCIMLINK_PORTAL_AUDIENCE": CLIENT,
        "APP_ROLES": "admin",
    }
    with pytest.raises(ValueError, match="SCIMLINK_PORTAL_TENANTS is missing"):
        Settings.from_environment(environment).check_complete()
    for wrong in ("[]", "main", '{"tenant": "Not a name"}'):
        with pytest.raises(ValueError, match="SCIMLINK_PORTAL_TENANTS must be a JSON object"):
            Settings.from_environment(environment | {"SCIMLINK_PORTAL_TENANTS": wrong})
    named = environment | {"SCIMLINK_PORTAL_TENANTS": json.dumps({TENANT: "main"})}
    Settings.from_environment(named).check_complete()
