"""The worker's environment, made on first use beside .venv, and a way to drive an app in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.check import INFRA
from infra.checks.evaluation import constant
from infra.checks.template import read
from tests.environments import ROOT, environment
from tests.waiting import PATIENCE

WORKER = Path(__file__).parent / "requirements.txt"

PYTHON: str = constant(read((INFRA / "main.bicep").read_text("utf-8"), "infra/main.bicep"), "pythonVersion", INFRA)
"""The version that the template names, unless it is told otherwise."""

Drive = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """Return the interpreter of an environment with the app's requirements and the language worker."""
    # The worker's packages ask for Python 3.13; their code runs on 3.11 and 3.12, too, where nothing else is installed.
    worker = (WORKER, ["--no-deps", "--ignore-requires-python"])
    script = [str(ROOT / "infra" / "local" / "python.sh"), "all"]
    listed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    pythons = dict(line.split(" ", 1) for line in listed.splitlines())
    made_with = pythons.get(PYTHON, sys.executable)
    return environment(".worker-venv", (ROOT / "requirements.txt", []), worker, made_with=made_with)


@pytest.fixture(scope="session")
def drive(worker_python: Path) -> Drive:
    """Return a function that loads an app's folder in the worker and makes calls (see drive.py)."""

    def run(folder: Path, calls: Sequence[Any] = (), settings: Mapping[str, str] | None = None) -> dict[str, Any]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        done = subprocess.run(
            [worker_python, Path(__file__).parent / "drive.py", folder],
            input=json.dumps(list(calls)),
            env={**keep, "PYTHONDONTWRITEBYTECODE": "1", **(settings or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run
