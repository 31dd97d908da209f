"""Tokens through msal from a stand-in for Entra over TLS: every way to get one, their order, and each refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate
from pydantic import SecretStr

from infra.local.graph import GraphStandIn
from infra.local.standins.login import CLIENT_ID, make_certificate
from infra.local.standins.tenant import TENANT, Tenant
from link_orchestrator.graph.tokens import Http, Tokens
from link_orchestrator.source import SourceBusy, SourceFailed
from shared.host.graph_settings import GraphSettings

IDENTITY: dict[str, Any] = {"managed_identity": True}
APPLICATION: dict[str, Any] = {"client_id": CLIENT_ID, "managed_identity": False}


@pytest.fixture
async def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GraphStandIn]:
    async with GraphStandIn(Tenant({}), tmp_path) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def file(tmp_path: Path, stand_in: GraphStandIn) -> str:
    """A file with an assertion that Entra accepts."""
    stand_in.login.assertions.add("assertion-of-another-issuer")
    path = tmp_path / "assertion"
    path.write_text("assertion-of-another-issuer\n")
    return str(path)


@pytest.fixture
def certificate(tmp_path: Path, stand_in: GraphStandIn) -> str:
    """A certificate that the application is registered with."""
    path = make_certificate(tmp_path, "application")
    stand_in.login.certificate = (
        path.read_text().partition("-----BEGIN CERTIFICATE")[2].join(["-----BEGIN CERTIFICATE", ""])
    )
    return str(path)


@pytest.fixture
def pfx(certificate: str, tmp_path: Path) -> str:
    """The same certificate and its key as PFX without a password."""
    text = Path(certificate).read_bytes()
    key = serialization.load_pem_private_key(text, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    plain, path = serialization.NoEncryption(), tmp_path / "application.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"x", key, load_pem_x509_certificate(text), None, plain))
    return str(path)


def tokens(stand_in: GraphStandIn, **settings: Any) -> Tokens:
    return Tokens(stand_in.settings(**settings), "main")


async def test_a_token_is_kept_until_a_fresh_one_is_asked_for(stand_in: GraphStandIn) -> None:
    ours = tokens(stand_in)
    first = await ours.get()
    assert await ours.get() == first
    fresh = await ours.get(fresh=True)
    assert fresh != first
    assert await ours.get() == fresh
    assert stand_in.login.asked == ["identity"] * 2


async def test_each_directory_asks_its_own_tenant(stand_in: GraphStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def post(self: Http, url: str, **options: Any) -> Any:
        asked.append(url)
        raise requests.ConnectionError

    def get(self: Http, url: str, **options: Any) -> Any:
        return post(self, url, **options)

    monkeypatch.setattr(Http, "post", post)
    monkeypatch.setattr(Http, "get", get)
    settings = stand_in.settings(
        **APPLICATION, client_secret=SecretStr("secret"), tenants={"main": "ours", "other": "theirs"}
    )
    for directory in ("main", "other"):
        with pytest.raises(SourceBusy):
            await Tokens(settings, directory).get()
    assert [("/ours/" in url, "/theirs/" in url) for url in asked] == [(True, False), (False, True)]


async def test_a_user_assigned_identity_is_asked_for_by_its_id(stand_in: GraphStandIn) -> None:
    assert await tokens(stand_in, managed_identity_id="one-of-several").get() in stand_in.login.valid


async def test_of_what_is_set_up_the_preferred_way_is_taken(
    stand_in: GraphStandIn, file: str, certificate: str
) -> None:
    secret = SecretStr(stand_in.login.secret)
    ways = {"federated_token_file": file, "certificate": certificate, "client_secret": secret}
    for expected in ("federation", "certificate", "secret"):
        assert await tokens(stand_in, **APPLICATION, **ways).get() in stand_in.login.valid
        assert stand_in.login.asked.pop() == expected
        del ways[next(iter(ways))]


async def test_a_certificate_may_come_as_azure_puts_it_into_a_folder(stand_in: GraphStandIn, pfx: str) -> None:
    assert await tokens(stand_in, **APPLICATION, certificate=pfx).get() in stand_in.login.valid
    assert stand_in.login.asked == ["certificate"]


async def test_the_managed_identity_stands_for_the_application_where_entra_accepts_it(
    stand_in: GraphStandIn,
) -> None:
    settings = {"client_id": CLIENT_ID, "client_secret": SecretStr(stand_in.login.secret)}
    assert await tokens(stand_in, **settings).get() in stand_in.login.valid
    stand_in.login.trusts_identity = False
    ours = tokens(stand_in, **settings)
    first = await ours.get()
    assert first in stand_in.login.valid
    assert await ours.get() == first
    assert stand_in.login.asked == ["federation", "secret"], "what is accepted is not looked for again"


@pytest.mark.parametrize(
    ("settings", "said", "remedy"),
    [
        ({"client_secret": SecretStr("wrong")}, "AADSTS7000215", "SCIMLINK_GRAPH_CLIENT_SECRET"),
        ({"client_secret": SecretStr("x"), "client_id": "unknown"}, "AADSTS700016", "SCIMLINK_GRAPH_CLIENT_ID"),
        ({"client_secret": SecretStr("x"), "tenants": {"main": "unknown.example"}}, "", "SCIMLINK_GRAPH_TENANTS"),
        ({"federated_token_file": "/nowhere"}, "", "SCIMLINK_GRAPH_FEDERATED_TOKEN_FILE"),
        ({"certificate": "/nowhere"}, "", "SCIMLINK_GRAPH_CERTIFICATE"),
        ({"certificate": __file__}, "", "SCIMLINK_GRAPH_CERTIFICATE"),
    ],
)
async def test_a_refusal_names_the_error_and_the_setting_to_look_at(
    stand_in: GraphStandIn, settings: dict[str, Any], said: str, remedy: str
) -> None:
    with pytest.raises(SourceFailed) as refusal:
        await tokens(stand_in, **{**APPLICATION, **settings}).get()
    assert said in str(refusal.value)
    assert remedy in str(refusal.value)
    assert "made up" not in str(refusal.value), "what Entra says about the tenant stays out"


async def test_every_way_that_was_tried_is_named(stand_in: GraphStandIn) -> None:
    stand_in.login.trusts_identity = False
    with pytest.raises(SourceFailed) as refusal:
        await tokens(stand_in, client_id=CLIENT_ID, client_secret=SecretStr("wrong")).get()
    assert "AADSTS700213" in str(refusal.value)
    assert "AADSTS7000215" in str(refusal.value)


async def test_an_entra_that_is_away_is_asked_again_later(stand_in: GraphStandIn, certificate: str) -> None:
    away = tokens(stand_in, **APPLICATION, certificate=certificate, authority="https://127.0.0.1:1")
    with pytest.raises(SourceBusy):
        await away.get()
    stand_in.login.refuses = ("temporarily_unavailable", 90033)
    with pytest.raises(SourceBusy):
        await tokens(stand_in, **APPLICATION, certificate=certificate).get()


def test_a_secret_is_not_shown_with_the_settings(stand_in: GraphStandIn) -> None:
    settings = stand_in.settings(client_secret=SecretStr("keep-this-to-yourself"))
    assert "keep-this" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.tenants == {"main": TENANT}


def test_settings_that_are_wrong_are_named_without_their_value() -> None:
    for name, value in (
        ("SCIMLINK_GRAPH_TENANTS", "hidden"),
        ("SCIMLINK_GRAPH_TENANTS", '{"main": "../hidden"}'),
        ("SCIMLINK_GRAPH_TENANTS", '["hidden"]'),
        ("SCIMLINK_GRAPH_ENDPOINT", "http://hidden.example"),
        ("SCIMLINK_GRAPH_ENDPOINT", "https://graph.microsoft.com/hidden"),
        ("SCIMLINK_GRAPH_AUTHORITY", "hidden"),
    ):
        with pytest.raises(ValueError, match=name) as wrong:
            GraphSettings.from_environment({name: value})
        assert "hidden" not in str(wrong.value)
    assert GraphSettings.from_environment({}) == GraphSettings()
