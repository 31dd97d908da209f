"""A stand-in for what issues tokens for Microsoft Graph: Entra's token endpoint and Azure's managed identity.

The token endpoint speaks TLS, because msal takes no other, with a certificate made on the spot: REQUESTS_CA_BUNDLE
tells clients of it. A token is a random word, valid until expire() is called.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from aiohttp import web

EXCHANGE_AUDIENCE: Final = "api://AzureADTokenExchange"
CLIENT_ID: Final = "99999999-8888-4777-8666-555555555555"


@dataclass
class Login:
    """Issues tokens for one tenant to one application: by secret, by certificate, or by a federated assertion."""

    tenant: str
    endpoint: str = ""
    """Graph's address, which a token for Graph is asked for by."""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    header: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    assertions: set[str] = field(default_factory=set)
    """Tokens of other issuers by which the application is trusted."""
    certificate: str = ""
    """PEM of the certificate that the application is registered with."""
    trusts_identity: bool = True
    """Whether the managed identity's tokens become such assertions."""
    refuses: tuple[str, int] | None = None
    """The error, with the number in its description, by which every request for a token is refused."""
    valid: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    """The means by which tokens were issued, in order."""

    def expire(self) -> None:
        """End all tokens."""
        self.valid.clear()

    def issue(self, means: str) -> str:
        """Return a new token for Graph."""
        token = secrets.token_urlsafe(24)
        self.valid.add(token)
        self.asked.append(means)
        return token

    async def identity(self, request: web.Request) -> web.Response:
        """Answer as Azure's managed identity endpoint of an app does."""
        if request.headers.get("X-IDENTITY-HEADER") != self.header:
            return web.json_response({"statusCode": 401, "message": "no header"}, status=401)
        resource = request.query.get("resource", "")
        if resource == EXCHANGE_AUDIENCE:
            token = secrets.token_urlsafe(24)
            if self.trusts_identity:
                self.assertions.add(token)
        elif resource == self.endpoint and self.refuses is None:
            token = self.issue("identity")
        else:
            return web.json_response({"statusCode": 500, "message": "no such resource"}, status=500)
        expires = str(int(time.time()) + 3600)
        return web.json_response({"access_token": token, "expires_on": expires, "resource": resource})

    async def configuration(self, request: web.Request) -> web.Response:
        """Answer where the tenant issues tokens."""
        if request.match_info["tenant"] != self.tenant:
            return _refused("invalid_tenant", 90002)
        base = f"https://{request.host}/{self.tenant}/oauth2/v2.0"
        return web.json_response(
            {"issuer": f"{base}/", "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token"}
        )

    async def token(self, request: web.Request) -> web.Response:
        """Answer a request for a token by client credentials."""
        form: Mapping[str, Any] = await request.post()
        if self.refuses is not None:
            return _refused(*self.refuses)
        if form.get("client_id") != CLIENT_ID:
            return _refused("unauthorized_client", 700016)
        if form.get("scope") != f"{self.endpoint}/.default":
            return _refused("invalid_scope", 70011)
        assertion = str(form.get("client_assertion", ""))
        if assertion in self.assertions:
            means = "federation"
        elif assertion.count(".") == 2:
            if not self._is_signed(assertion, str(request.url)):
                return _refused("invalid_client", 700027)
            means = "certificate"
        elif assertion:
            return _refused("invalid_client", 700213)
        elif form.get("client_secret") == self.secret:
            means = "secret"
        else:
            return _refused("invalid_client", 7000215)
        return web.json_response({"token_type": "Bearer", "expires_in": 3599, "access_token": self.issue(means)})

    def _is_signed(self, assertion: str, audience: str) -> bool:
        import jwt
        from cryptography import x509

        try:
            key: Any = x509.load_pem_x509_certificate(self.certificate.encode()).public_key()
            jwt.decode(assertion, key, algorithms=["PS256"], audience=audience, issuer=CLIENT_ID)
        except (ValueError, jwt.InvalidTokenError):
            return False
        return True


def _refused(error: str, number: int) -> web.Response:
    return web.json_response(
        {"error": error, "error_codes": [number], "error_description": f"AADSTS{number}: made up"}, status=400
    )


def make_certificate(folder: Path, name: str) -> Path:
    """Write a new self-signed certificate of 127.0.0.1 with its key, as one PEM file that only this user can read."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path = folder / f"{name}.pem"
    path.touch(0o600)
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path


def tls(path: Path) -> ssl.SSLContext:
    """Return the context of a server that speaks TLS with a certificate of make_certificate()."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
