"""`python -m infra.checks.audit`: checkov on the templates, in an environment of its own, made when it is missing.

Every check of checkov's is followed, or named here with the resources that it is not followed for, and the reason. One
that need not be named any more is a finding, too. checkov's parser is older than the word `extension`, so that it reads
main.bicep alone; its scan for secrets reads all of infra/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.checks.finding import Finding

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".audit-venv"
PINS = Path(__file__).with_name("audit.txt")

APPS = ("scimApp", "adminApp")
CONFIGS = ("scimSettings", "adminSettings", "adminSignIn")
ACCOUNTS = ("scimHost", "adminHost", "data")
UNREAD = "checkov does not look into a resource with a condition: infra/checks/safety.py does"
NO_SITE = "checkov takes a site's configuration for a site"
NOT_FLEX = "Flex Consumption has no such setting"

NOT_FOLLOWED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "CKV_AZURE_13": (CONFIGS, NO_SITE + "; adminSignIn is the authentication that it asks for"),
    "CKV_AZURE_14": (("adminApp",), UNREAD),
    "CKV_AZURE_15": (("adminApp",), UNREAD),
    "CKV_AZURE_16": (("adminApp",), UNREAD),
    "CKV_AZURE_17": (APPS, "Entra's provisioning and browsers bring no client certificates"),
    "CKV_AZURE_18": (("adminApp",), UNREAD),
    "CKV_AZURE_35": (
        ACCOUNTS,
        "network decides, and checkov reads no variables: without keys, identities are the fence",
    ),
    "CKV_AZURE_43": (ACCOUNTS, "names are made of variables, which checkov does not read"),
    "CKV_AZURE_44": (("adminHost",), UNREAD),
    "CKV_AZURE_63": (CONFIGS, NO_SITE + "; requests are in Application Insights"),
    "CKV_AZURE_65": (CONFIGS, NO_SITE),
    "CKV_AZURE_66": (CONFIGS, NO_SITE),
    "CKV_AZURE_67": (("adminApp",), UNREAD),
    "CKV_AZURE_71": (("adminApp",), UNREAD),
    "CKV_AZURE_78": (APPS, "Flex Consumption has no FTP, and refuses ftpsState"),
    "CKV_AZURE_80": (CONFIGS, NO_SITE),
    "CKV_AZURE_88": (CONFIGS, NO_SITE),
    "CKV_AZURE_109": (("vault",), "network decides, and checkov reads no variables"),
    "CKV_AZURE_153": (("adminApp",), UNREAD),
    "CKV_AZURE_206": (ACCOUNTS, "redundancy is a parameter, which checkov does not read"),
    "CKV_AZURE_212": (APPS, NOT_FLEX + "; scimAlwaysReady is what there is"),
    "CKV_AZURE_213": (APPS, "a new instance mends no storage (infra/docs/deploy.md)"),
    "CKV_AZURE_222": ((*APPS, *CONFIGS), "Entra comes from the internet; rules and sign-in are the fences"),
    "CKV_AZURE_225": (("scimPlan", "adminPlan"), "zoneRedundant is a parameter: not every region has zones"),
}
"""Checks that are not followed: for which resources, and why."""


def main() -> int:
    """Run checkov, say what it finds beyond NOT_FOLLOWED, and return the exit code."""
    checkov = ENVIRONMENT / "bin" / "checkov"
    if not checkov.exists():
        print(f"Making {ENVIRONMENT.name} with checkov: some minutes", flush=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        pip = [str(ENVIRONMENT / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--requirement", PINS], check=True)
    plain = [str(checkov), "--skip-download", "--quiet", "--compact", "--output", "json"]
    runs = (["--framework", "bicep", "--file", "infra/main.bicep"], ["--framework", "secrets", "--directory", "infra"])
    answers = []
    for run in runs:
        done = subprocess.run([*plain, *run], cwd=ROOT, capture_output=True, text=True, check=False)
        answers.append(json.loads(done.stdout))
    found = list(judge(answers))
    for one in found:
        print(one)
    print(f"checkov: {len(NOT_FOLLOWED)} checks not followed, each with its reason; {len(found)} findings")
    return 1 if found else 0


def judge(answers: list[Any]) -> Iterator[Finding]:
    """Return what checkov's answers say beyond NOT_FOLLOWED, and what is named there without need."""
    failed: set[tuple[str, str]] = set()
    for answer in answers:
        for part in answer if isinstance(answer, list) else [answer]:
            if part.get("summary", part).get("parsing_errors", 0):
                yield Finding("checkov", "infra", "checkov could not read a file")
            for one in part.get("results", {}).get("failed_checks", []):
                symbol = str(one["resource"]).rpartition(".")[2]
                failed.add((one["check_id"], symbol))
                if symbol not in NOT_FOLLOWED.get(one["check_id"], ((), ""))[0]:
                    yield Finding("checkov", symbol, f"{one['check_id']} {one['check_name']}")
    named = {(check, symbol) for check, (symbols, _) in NOT_FOLLOWED.items() for symbol in symbols}
    for check, symbol in sorted(named - failed):
        yield Finding("checkov", symbol, f"{check} is followed: take it out of NOT_FOLLOWED")


if __name__ == "__main__":
    sys.exit(main())
