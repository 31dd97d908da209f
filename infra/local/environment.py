"""`python -m infra.local.environment FOLDER GROUP`: makes the environment that `make` needs, and says what it does.

Installed is what requirements.txt and a dependency group of pyproject.toml name. Runs before anything is installed, so
it needs the standard library alone; python.sh chooses the Python.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PIP = "pip==26.3"


def main() -> None:
    """Make the environment, make it anew for another Python, or install what it lacks."""
    folder, group = Path(sys.argv[1]), sys.argv[2]
    made_for = folder / "made-for"
    wanted = list_requirements(group)
    former = find_version(folder)
    this = platform.python_version()
    if former == this and made_for.exists() and wanted <= set(made_for.read_text("utf-8").splitlines()):
        return
    began = time.monotonic()
    clear = []
    if former != this:
        clear = ["--clear"] if (folder / "pyvenv.cfg").exists() else []
        before = f"; it was made with {former}" if former else ""
        print(f"Making {folder} with Python {this} ({sys.executable}){before}", flush=True)
    made_for.unlink(missing_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", *clear, folder], check=True)
        install(folder / "bin" / "python", group)
    except subprocess.CalledProcessError:
        sys.exit(f"{folder} could not be made: see above. The next make begins again.")
    made_for.write_text("".join(f"{line}\n" for line in sorted(wanted)), "utf-8")
    print(f"{folder} is ready after {time.monotonic() - began:.0f} s", flush=True)


def find_version(folder: Path) -> str:
    """Return the version of the Python that an environment was made with; "" if either is not there."""
    configuration = folder / "pyvenv.cfg"
    if not configuration.exists() or not (folder / "bin" / "python").exists():
        return ""
    lines = (line.partition("=") for line in configuration.read_text("utf-8").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == "version"), "")


def list_requirements(group: str) -> set[str]:
    """Return the lines of requirements.txt and of a dependency group."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    return {line for line in lines if line and not line.startswith("#")} | set(_flatten(groups, group))


def _flatten(groups: dict[str, list[Any]], group: str) -> Iterator[str]:
    for one in groups[group]:
        if isinstance(one, str):
            yield one
        else:
            yield from _flatten(groups, one["include-group"])


def install(python: Path, group: str) -> None:
    """Install what list_requirements() returns. Raises subprocess.CalledProcessError."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--quiet", PIP], check=True)
    print(f"Fetching what requirements.txt and the group {group} of pyproject.toml name", flush=True)
    named = ["-r", f"{ROOT}/requirements.txt", "--group", f"{ROOT}/pyproject.toml:{group}"]
    with subprocess.Popen([*pip, "--progress-bar", "off", *named], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            _, installing, names = line.partition("Installing collected packages: ")
            if installing:
                print(f"Installing {names.count(',') + 1} packages", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "pip")


if __name__ == "__main__":
    main()
