"""What a publish uploads: all that the app needs to run, and nothing of what a used clone has beside it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.environments import ROOT
from tests.worker.conftest import Drive
from tests.worker.package import uploaded
from tests.worker.test_worker import SETTINGS

AT_THE_TOP = {"function_app.py", "host.json", "requirements.txt"}
ROOMS = ("link_orchestrator", "scim_groups", "scim_users", "shared")
LEFT_BEHIND = (
    ".data/scimlink.db",
    "function_app.pyc",
    "host.jsonl",
    "shared/.hidden/auth.py",
    "shared/host/.env",
    "shared/host/.idea/http.py",
    "shared/host/http.pyc",
    "shared/host/new/http.py",
    ".data/token",
    ".env",
    ".venv/lib/python3.13/site-packages/shared/admin/functions.py",
    ".worker-venv/bin/python",
    "accounts.csv",
    "demo/accounts.csv",
    "demo/identities.json",
    "infra/local/serve.py",
    "link_orchestrator/requests/__pycache__/jobs.cpython-313.pyc",
    "local.settings.json",
    "node_modules/azurite/function_app.py",
    "shared/accounts.csv",
    "shared/admin/.data/token",
    "shared/admin/README.md",
    "shared/scim/__pycache__/schema.cpython-313.pyc",
    "shared/scim/schemas/notes.txt",
    "shared/token",
    "tests/test_function_app.py",
    "shared-accounts/export.py",
    "the accounts.xlsx",
    "größe.csv",
    "é/token",
)
"""What lies in a clone in which somebody has worked."""
GOES_ALONG = (
    "host.json.old",
    "requirements.txt~",
    "shared/host/#http.py#",
    "shared/host/.http.py.swp",
    "shared/host/http.py.bak",
    "shared/scim/schemas/core.json.orig",
)
"""Copies that editors leave, as infra/docs/deploy.md says. To Core Tools each begins like a file of the app: a pattern
cannot say where a name ends, and no other one can take back what is excepted."""


def needed() -> set[str]:
    """Return the files of the app: the code of its rooms, the documents that it reads, what the portal's pages need."""
    kinds = ("*.py", "*.json", "*.html", "*.css", "*.js")
    return {file.relative_to(ROOT).as_posix() for room in ROOMS for kind in kinds for file in (ROOT / room).rglob(kind)}


@pytest.fixture
def used_clone(tmp_path: Path) -> Path:
    """A clone with its code, and with much beside it."""
    for file in (".funcignore", *AT_THE_TOP, *needed(), *LEFT_BEHIND, *GOES_ALONG):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        if file in LEFT_BEHIND + GOES_ALONG:
            (tmp_path / file).write_text("secret")
        else:
            shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_a_publish_uploads_what_the_app_needs_and_nothing_else_but_copies_of_it(used_clone: Path) -> None:
    assert uploaded(used_clone) == {*AT_THE_TOP, *needed(), *GOES_ALONG}


def test_a_tool_that_reads_the_list_as_git_does_uploads_the_same(used_clone: Path) -> None:
    git = shutil.which("git") or "git"
    listed = [git, "ls-files", "--others", "--exclude-from=.funcignore", "-z"]
    subprocess.run([git, "init", "--quiet", used_clone], check=True)
    told = subprocess.run(listed, cwd=used_clone, check=True, capture_output=True, text=True).stdout
    assert {*told.split("\0")} - {"", ".funcignore"} == AT_THE_TOP | needed()


def test_what_is_uploaded_runs_in_the_worker(
    drive: Drive, used_clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    package = tmp_path_factory.mktemp("package")
    for file in uploaded(used_clone):
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(used_clone / file, package / file)
    calls = [
        {"function": "health_live", "inputs": {"req": {"http": {"method": "GET", "url": "http://app/health/live"}}}},
        {
            "function": "openapi",
            "inputs": {"req": {"http": {"method": "GET", "headers": {"authorization": "Bearer wrong"}}}},
        },
    ]
    answer = drive(package, calls, SETTINGS)
    assert answer["error"] is None
    assert [result["value"]["status"] for result in answer["results"]] == [200, 401]
