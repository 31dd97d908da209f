"""`python -m tests.fuzz`: the property tests of what clients may send, with many times the examples of a test run.

They draw bodies, paths, filters and queries at random, each time others; what makes one fail is printed, and comes with
the next run, too. The enumeration of PATCH paths (tests/shared/scim/paths.py) is complete here, over the real door.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from hypothesis import settings

TIMES = "SCIMLINK_FUZZ_TIMES"
"""The environment variable by which tests know how many times the usual examples they draw."""
WHERE = ("tests/shared/scim", "tests/scim_users", "tests/scim_groups", "tests/link_orchestrator/graph")


def times() -> int:
    """Return how many times the usual examples a test draws."""
    return int(os.environ.get(TIMES, "1"))


def many(examples: int) -> settings:
    """Return the settings of a test that usually draws so many examples."""
    return settings(max_examples=examples * times())


def main() -> int:
    """Run the tests, and return pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--times", type=int, default=50, metavar="N", help="how many times the usual examples (50)")
    parser.add_argument("where", nargs="*", default=WHERE, metavar="PATH", help="tests, all of these doors if none")
    asked = parser.parse_args()
    chosen = ["-m", "hypothesis or fuzz", "-n", "auto", "--dist", "worksteal"]
    command = [sys.executable, "-m", "pytest", *chosen, *asked.where]
    return subprocess.call(command, env={**os.environ, TIMES: str(asked.times)})


if __name__ == "__main__":
    sys.exit(main())
