"""Plants one fault at a time in a copy of the tree, and runs the tests that must see it.

The faults are listed by room in the .toml files beside this module, each under its name:

    [a_stale_etag_is_taken]
    harm = "Of two people who save at once, one loses what they saved."
    file = "shared/tables/sqlite.py"
    replaced = "if row.etag != etag:"
    by = "if False:"
    tests = ["tests/shared/tables/test_contract.py::TestOneRow::test_a_change_of_another_version_is_refused[sqlite]"]

`replaced` is found exactly once in the file, or else nothing is planted: the code has changed, and so must the list.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.waiting import PLANTED

LISTS = Path(__file__).parent
ROOT = LISTS.parents[1]
LIMIT = 300
"""Seconds after which tests are ended that a fault keeps from ending: red means an assertion, not a long wait."""
FAILED = 1
"""The exit code of pytest where tests ran and failed. Any other but 0 says that they did not run."""
NOT_COPIED = (".*", "__pycache__", "node_modules")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `name` is its room and what is wrong; `harm` is what would happen to a person if it were real."""

    name: str
    harm: str
    file: str
    replaced: str
    by: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        """The list that the fault stands in."""
        return self.name.partition(".")[0]

    def planted(self, text: str) -> str:
        """Return the text of its file with the fault in it. Raises Lost if that is not possible."""
        found = text.count(self.replaced)
        if found != 1:
            raise Lost(f"the text to replace is {found} times in {self.file}: bring the list up to date")
        if self.replaced == self.by:
            raise Lost("the text is replaced by itself")
        return text.replace(self.replaced, self.by)


class Lost(Exception):
    """A fault that cannot be planted. The message is the remedy."""


class Verdict(StrEnum):
    """What became of a fault."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    LOST = "lost"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict on a fault, the seconds that it took, and what was said: by pytest, or why nothing was planted."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    said: str


def read_mutants(folder: Path = LISTS) -> list[Mutant]:
    """Return the faults of all lists of a folder, by room. Raises ValueError naming an entry that is wrong."""
    mutants: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text("utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path.name}: {error}") from None
        for name, entry in entries.items():
            try:
                mutants.append(Mutant(f"{path.stem}.{name}", **entry | {"tests": tuple(entry["tests"])}))
            except (TypeError, KeyError):
                raise ValueError(f"{path.name}: {name} takes harm, file, replaced, by and tests") from None
    return mutants


def choose(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    """Return the faults of these names or rooms; all where none is given. Raises ValueError for one that is not there.

    A name may leave its room out.
    """
    for name in names:
        if not any(_is_called(mutant, name) for mutant in mutants):
            raise ValueError(f"{name}: no fault and no list has this name")
    return [mutant for mutant in mutants if not names or any(_is_called(mutant, name) for name in names)]


def _is_called(mutant: Mutant, name: str) -> bool:
    return name in (mutant.name, mutant.room, mutant.name.partition(".")[2])


class Field:
    """Copies of a tree, one a core, in each of which one fault stands at a time."""

    def __init__(self, trees: Sequence[Path]) -> None:
        self._trees = trees
        self._free: SimpleQueue[Path] = SimpleQueue()
        for tree in trees:
            self._free.put(tree)

    @property
    def cores(self) -> int:
        """How many faults are tried at once."""
        return len(self._trees)

    def fails_without(self, mutants: Sequence[Mutant]) -> str:
        """Run all that the faults name on the tree as it is; return what pytest says where that fails, or else ""."""
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        parts = [part for n in range(self.cores) if (part := tests[n :: self.cores])]
        with ThreadPoolExecutor(self.cores) as pool:
            ran = pool.map(lambda part: self._run(part, one_failure=False), parts)
            return "\n".join(said for code, said in ran if code)

    def try_each(self, mutants: Sequence[Mutant]) -> Iterator[Outcome]:
        """Try every fault; yield the outcomes as they come."""
        pool = ThreadPoolExecutor(self.cores)
        try:
            for done in as_completed([pool.submit(self._try, mutant) for mutant in mutants]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _try(self, mutant: Mutant) -> Outcome:
        began = time.monotonic()
        try:
            code, said = self._run(mutant.tests, mutant)
        except Lost as lost:
            return Outcome(mutant, Verdict.LOST, 0.0, str(lost))
        verdict = {0: Verdict.SURVIVED, FAILED: Verdict.CAUGHT}.get(code, Verdict.BROKEN)
        return Outcome(mutant, verdict, time.monotonic() - began, said)

    def _run(self, tests: Sequence[str], mutant: Mutant | None = None, *, one_failure: bool = True) -> tuple[int, str]:
        """Run tests in a copy that is free, with a fault or without; return pytest's exit code and what it says."""
        tree = self._free.get()
        try:
            with _planted(tree, mutant):
                return _run_tests(tree, [*(["-x"] if one_failure else []), *tests])
        finally:
            self._free.put(tree)


@contextmanager
def copies(root: Path, count: int = os.cpu_count() or 1) -> Iterator[Field]:
    """Copy a tree into a temporary folder, as often as there are cores, and remove the copies at the end."""
    with TemporaryDirectory(prefix="mutants-") as scratch:
        trees = [Path(scratch, str(n)) for n in range(count)]
        for tree in trees:
            shutil.copytree(root, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
            # A fault may have the size and the second of what it replaces, by which Python would take it for that:
            # these are compared by hash. It also halves the time of a small test.
            compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."]
            subprocess.run([sys.executable, *compiling], cwd=tree, check=True)
        yield Field(trees)


@contextmanager
def _planted(tree: Path, mutant: Mutant | None) -> Iterator[None]:
    if mutant is None:
        yield
        return
    path = tree / mutant.file
    if not path.is_file():
        raise Lost(f"there is no {mutant.file}: bring the list up to date")
    text = path.read_text("utf-8")
    faulty = mutant.planted(text)
    try:
        path.write_text(faulty, "utf-8")
        yield
    finally:
        path.write_text(text, "utf-8")


def _run_tests(tree: Path, arguments: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "--tb=short", *arguments]
    environment = os.environ | {"PYTHONPATH": str(tree), PLANTED: "1"}
    try:
        ran = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"the tests had not ended after {LIMIT} seconds: name one that fails by itself"
    return ran.returncode, ran.stdout
