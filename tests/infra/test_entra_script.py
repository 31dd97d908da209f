"""infra/entra.sh against an `az` that knows some applications, and writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.check import INFRA

AZ = """#!/usr/bin/env python3
import os, re, sys
with open(os.environ["ASKED"], "a") as asked:
    print(*sys.argv[1:], file=asked)
said = " ".join(sys.argv[1:])
query = sys.argv[sys.argv.index("--query") + 1] if "--query" in sys.argv else ""
if said.startswith("ad app list "):
    # Microsoft Graph is asked for names that begin so; the query is worked out afterwards.
    found = [one.split("=") for one in os.environ["APPS"].split(",") if one]
    exact = re.search(r"displayName=='(.*?)'", query)
    ids = [id for name, id in found if exact is None or name == exact[1]]
    print(*(ids[:1] if exact is None else ids), sep="\\n")
elif said.startswith("ad app create "):
    print("made")
elif said.startswith("account show") or said.startswith("ad sp show"):
    print("known")
"""


def entra(folder: Path, apps: str, *more: str) -> tuple[int, str, list[str]]:
    """Run the script. Returns its exit code, what it printed, and what it asked for, in lines."""
    (folder / "az").write_text(AZ)
    (folder / "az").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "ASKED": str(folder / "asked"), "APPS": apps}
    command = [str(INFRA / "entra.sh"), "principal", "https://admin.example", "User.Read.All", *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), (folder / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("apps", "client"),
    [("", "made"), ("SCIMLINK of others=theirs", "made"), ("SCIMLINK of others=theirs,SCIMLINK=ours", "ours")],
)
def test_only_the_application_of_this_very_name_gets_roles_and_the_credential(
    tmp_path: Path, apps: str, client: str
) -> None:
    code, said, asked = entra(tmp_path, apps)
    assert (code, said) == (0, client)
    assert not [one for one in asked if "theirs" in one]


def test_of_two_applications_of_this_name_none_is_changed(tmp_path: Path) -> None:
    code, _, asked = entra(tmp_path, "SCIMLINK=one,SCIMLINK=two")
    assert code == 1
    assert len(asked) == 1


def test_whoever_is_assigned_can_sign_in_for_the_script_consents_for_all(tmp_path: Path) -> None:
    _, _, asked = entra(tmp_path, "")
    (consent,) = [one for one in asked if one.startswith("ad app permission grant ")]
    assert "--scope openid profile email" in consent


SCRIPTS = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


def test_people_get_tokens_by_the_applications_that_are_named_once_entra_knows_what_these_ask_for(
    tmp_path: Path,
) -> None:
    code, _, asked = entra(tmp_path, "", SCRIPTS)
    (scope,) = [place for place, one in enumerate(asked) if "oauth2PermissionScopes" in one]
    (allowed,) = [place for place, one in enumerate(asked) if "preAuthorizedApplications" in one]
    assert code == 0
    assert scope < allowed
    assert f'"appId": "{SCRIPTS}"' in asked[allowed]
    assert not [one for one in asked if "appRoleId" in one and SCRIPTS in one]


def test_without_such_an_application_those_that_were_named_before_stay(tmp_path: Path) -> None:
    _, _, asked = entra(tmp_path, "")
    assert not [one for one in asked if "preAuthorizedApplications" in one]
