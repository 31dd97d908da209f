"""Access tokens for Microsoft Graph through msal, and a remedy where Entra gives none.

If no application is named, the managed identity itself reads. Otherwise the application proves who it is by one of
these, in order of preference: a federated token in a file, one of the managed identity, a certificate, a client secret.
Of those that are set up, the first that Entra accepts is used.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from link_orchestrator.source import SourceBusy, SourceFailed
from shared.host.graph_settings import TENANTS, VARIABLES, GraphSettings

Acquire = Callable[[], Mapping[str, Any]]
"""Asks msal for a token, which it caches as long as it is valid. Blocks."""

SECONDS: Final = 30
"""Seconds to wait for one answer of Entra."""

EXCHANGE: Final = {
    "login.microsoftonline.us": "api://AzureADTokenExchangeUSGov",
    "login.partner.microsoftonline.cn": "api://AzureADTokenExchangeChina",
}
"""By authority of a sovereign cloud, the audience of a managed identity's token that stands for an application.

https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
"""

_NO_TENANT = f"the tenant is not known to Entra: check {TENANTS}"
_NO_FEDERATION = "no federated credential of the application fits: add one for the app's managed identity or issuer"
REMEDIES: Final[Mapping[int, str]] = {
    90002: _NO_TENANT,
    900023: _NO_TENANT,
    700016: f"the tenant does not know the application: consent to it there, or check {VARIABLES['client_id']}",
    7000215: f"the client secret is wrong: check {VARIABLES['client_secret']}",
    7000222: f"the client secret has expired: put a new one into {VARIABLES['client_secret']}",
    700027: f"the application does not know the certificate: upload it there, or check {VARIABLES['certificate']}",
    70021: _NO_FEDERATION,
    700211: _NO_FEDERATION,
    700212: _NO_FEDERATION,
    700213: _NO_FEDERATION,
}
"""By error number: https://learn.microsoft.com/entra/identity-platform/reference-error-codes."""


def check(settings: GraphSettings, directory: str) -> None:
    """Raise SourceFailed naming a setting without which the identities of a directory cannot be read."""
    if directory not in settings.tenants:
        example = f'{{"{directory}": "the tenant\'s id"}}'
        raise SourceFailed(f"set {TENANTS} to {example}: it names the Entra tenant of each directory")
    if not settings.client_id:
        if not settings.managed_identity:
            raise SourceFailed(
                f"give the app a managed identity, or set {VARIABLES['client_id']} to the id of an application that "
                "may read the tenant"
            )
        if len(settings.tenants) > 1:
            raise SourceFailed(
                f"set {VARIABLES['client_id']} to the id of an application: a managed identity reads one tenant only, "
                f"and {TENANTS} names several"
            )
    elif not any(True for _ in _ways(settings, directory)):
        names = ", ".join(VARIABLES[field] for field in ("federated_token_file", "certificate", "client_secret"))
        raise SourceFailed(f"set one of {names}, or give the app a managed identity: by it the application is trusted")


class Http:
    """The HTTP client that msal uses: a connection for each request, as there are few in a day, and a time limit."""

    def get(self, url: str, **options: Any) -> Any:
        """Send a GET."""
        import requests

        return requests.get(url, timeout=SECONDS, **options)

    def post(self, url: str, **options: Any) -> Any:
        """Send a POST."""
        import requests

        return requests.post(url, timeout=SECONDS, **options)


class Tokens:
    """The tokens of one directory's tenant. There is one object in a process, since it caches them."""

    def __init__(self, settings: GraphSettings, directory: str) -> None:
        self._settings = settings
        self._directory = directory
        self._acquire: Acquire | None = None
        self._lock = threading.Lock()

    async def get(self, *, fresh: bool = False) -> str:
        """Return a token; a `fresh` one does not come from the cache. Raises SourceBusy and SourceFailed."""
        return await asyncio.to_thread(self._get, fresh)

    def _get(self, fresh: bool) -> str:
        with self._lock:
            if fresh:
                self._acquire = None
            if self._acquire is not None:
                return _token(self._acquire)
            refusals: list[str] = []
            for acquire in _ways(self._settings, self._directory):
                try:
                    token = _token(acquire)
                except SourceFailed as refusal:
                    refusals.append(str(refusal))
                else:
                    self._acquire = acquire
                    return token
            raise SourceFailed("; ".join(dict.fromkeys(refusals)), "graphSignIn")


def _ways(settings: GraphSettings, directory: str) -> Iterator[Acquire]:
    """Yield each way to a token that is set up, the preferred one first. Only calling it reads or sends anything."""
    if not settings.client_id:
        yield _managed_identity(settings, settings.endpoint)
        return
    if settings.federated_token_file:
        file = Path(settings.federated_token_file)
        yield _application(settings, directory, lambda: {"client_assertion": lambda: file.read_text("ascii").strip()})
    if settings.managed_identity:
        cloud = urlsplit(settings.authority).hostname or ""
        identity = _managed_identity(settings, EXCHANGE.get(cloud, "api://AzureADTokenExchange"))
        yield _application(settings, directory, lambda: {"client_assertion": lambda: _token(identity)})
    if settings.certificate:
        yield _application(settings, directory, lambda: _certificate(Path(settings.certificate)))
    if settings.client_secret:
        yield _application(settings, directory, settings.client_secret.get_secret_value)


def _application(settings: GraphSettings, directory: str, credential: Callable[[], Any]) -> Acquire:
    @cache
    def application() -> Any:
        import msal

        return msal.ConfidentialClientApplication(
            settings.client_id,
            authority=f"{settings.authority}/{settings.tenants[directory]}",
            client_credential=credential(),
            # The administrator named the authority. To ask the public cloud about it would fail in a closed one.
            instance_discovery=False,
            http_client=Http(),
        )

    return lambda: _answer(application().acquire_token_for_client([f"{settings.endpoint}/.default"]))


def _managed_identity(settings: GraphSettings, resource: str) -> Acquire:
    @cache
    def client() -> Any:
        import msal

        name = settings.managed_identity_id
        identity = msal.UserAssignedManagedIdentity(client_id=name) if name else msal.SystemAssignedManagedIdentity()
        return msal.ManagedIdentityClient(identity, http_client=Http())

    return lambda: _answer(client().acquire_token_for_client(resource=resource))


def _certificate(path: Path) -> Mapping[str, Any]:
    """Return msal's credential for a file: PEM with key and certificate, or PFX without a password, as Azure has it."""
    if path.suffix.lower() in (".pfx", ".p12"):
        return {"private_key_pfx_path": str(path)}
    text = path.read_text("ascii")
    return {"private_key": text, "public_certificate": text}


def _answer(answer: object) -> Mapping[str, Any]:
    return answer if isinstance(answer, Mapping) else {}


def _token(acquire: Acquire) -> str:
    """Return the token that msal answers with. Raises SourceBusy or SourceFailed, whose texts hold no value at all."""
    import requests

    try:
        answer = acquire()
    except requests.RequestException as error:
        raise SourceBusy(f"Entra does not answer the request for a token ({type(error).__name__})") from None
    except OSError as error:
        raise SourceFailed(f"a file of the settings cannot be read ({type(error).__name__}): {_files()}") from None
    except ValueError as error:
        # msal says this of a tenant without an OpenID configuration. Any other ValueError is about the credential.
        known = "authority configuration" in str(error)
        raise SourceFailed(_NO_TENANT if known else f"the credential cannot be used: {_files()}") from None
    except RuntimeError as error:
        raise SourceBusy(f"Entra does not answer the request for a token ({type(error).__name__})") from None
    token = answer.get("access_token")
    if isinstance(token, str):
        return token
    raise _refusal(answer)


def _files() -> str:
    return f"check {VARIABLES['federated_token_file']} and {VARIABLES['certificate']}"


def _refusal(answer: Mapping[str, Any]) -> Exception:
    """Return the exception for an error of Entra. Its description is not repeated: it names objects of the tenant."""
    number = re.match(r"AADSTS(\d+)", str(answer.get("error_description", "")))
    code = int(number[1]) if number else 0
    name = re.sub(r"[^a-z_]", "", str(answer.get("error", "no answer")))[:40]
    if name in ("temporarily_unavailable", "server_error"):
        return SourceBusy(f"Entra gives no token now ({name})")
    said = f"AADSTS{code}" if code else name
    return SourceFailed(
        f"Entra gives no token ({said}): {REMEDIES.get(code, 'look this error up in its documentation')}"
    )
