"""What a deployment hands on: its outputs, which people copy elsewhere, and the defaults that it takes unasked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding
from infra.checks.scenarios import SCENARIOS
from infra.checks.template import Array, Constant, Template, Text

SAFE: Mapping[str, Any] = {
    "twoApps": True,
    "scimFromEntraOnly": True,
    "lockData": True,
    "adminClientId": "",
    "provisioningIsOn": False,
    "backupDays": 30,
    "logRetentionDays": 90,
}
"""Defaults that keep people safe who answer nothing, and keep their data no longer than the pages say."""
KINDS: Mapping[str, type] = {"int": int, "string": str, "bool": bool, "array": list, "object": dict}
SECRET = {"scimCredentials", "adminCredentials"}
"""Parameters that no output shows: hashes of tokens."""


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find outputs that lead elsewhere."""
    given = deployment.parameters
    scim = given["scimBaseUrl"] or "https://«scimApp.properties.defaultHostName»"
    admin = "adminApp" if given["twoApps"] else "scimApp"
    wanted = {
        "tenantUrl": f"{scim}/scim/v2",
        "portalUrl": f"https://«{admin}.properties.defaultHostName»",
        "adminPrincipalId": "«adminIdentity.properties.principalId»",
        "scimAppName": "«scimApp.name»",
        "vaultName": "«vault.name»",
    }
    for name, value in wanted.items():
        if str(deployment.outputs.get(name)) != value:
            yield Finding(
                "output", name, f"must be {value}, not {deployment.outputs.get(name)} ({deployment.scenario})"
            )
    hashes = [one["sha256"] for name in SECRET for one in given[name]]
    for name, shown in deployment.outputs.items():
        if any(secret in _text(shown) for secret in (*hashes, "ConnectionString")):
            yield Finding("secret", name, "shows a secret to whoever reads deployments")


def _text(value: Any) -> str:
    """Return all texts in a value, references by their paths, as one."""
    if isinstance(value, Mapping):
        return " ".join(map(_text, value.values()))
    return " ".join(map(_text, value)) if isinstance(value, list) else str(value)


def check_defaults(template: Template, deployment: Deployment) -> Iterator[Finding]:
    """Find defaults that Azure refuses, or that are not the safe ones. `deployment` is the one that answers nothing."""
    for name, parameter in template.params.items():
        place, value = f"{template.file}:{parameter.line}", deployment.parameters.get(name)
        wrong = type(value) is not KINDS.get(parameter.kind, object) and not isinstance(value, Reference)
        if wrong and value is not None:
            yield Finding("default", place, f"the default of {name} is no {parameter.kind}")
        allowed = parameter.decorators.get("allowed")
        if isinstance(allowed, Array) and value not in [_plain(one) for one in allowed.items]:
            yield Finding("default", place, f"the default of {name} is not among what is allowed")
        least, most = (_plain(parameter.decorators.get(one)) for one in ("minValue", "maxValue"))
        if isinstance(value, int) and not (value >= (least or value) and value <= (most or value)):
            yield Finding("default", place, f"the default of {name} is beyond its limits")
        if name in SAFE and value != SAFE[name]:
            yield Finding("default", place, f"the default of {name} must be {SAFE[name]}, for whoever answers nothing")
    longest = _plain(template.params["name"].decorators.get("maxLength"))
    if longest != len(SCENARIOS["complete"]["name"]):
        yield Finding("default", template.file, "a name of the greatest length has been tried in no scenario")


def _plain(one: Any) -> Any:
    return one.parts[0] if isinstance(one, Text) else one.value if isinstance(one, Constant) else None
