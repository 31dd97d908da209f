"""The runner on a small tree of its own, and that the lists say what is in the code. The faults: `make mutants`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.mutants.__main__ import main
from tests.mutants.planting import LISTS, ROOT, Lost, Mutant, choose, read_mutants

MUTANTS = read_mutants()

GATE = """
def may_pass(age):
    return age >= 18
"""
TESTS = """
from gate import may_pass

def test_a_child_may_not_pass():
    assert not may_pass(17)

def test_a_grown_up_may_pass():
    assert may_pass(30)
"""
CHILD, GROWN_UP = "test_gate.py::test_a_child_may_not_pass", "test_gate.py::test_a_grown_up_may_pass"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "gate.py").write_text(GATE)
    (tree / "test_gate.py").write_text(TESTS)
    return tree


def entry(name: str, replaced: str, by: str, *tests: str) -> str:
    values = {"harm": "A child drives.", "file": "gate.py", "replaced": replaced, "by": by}
    return "\n".join([f"[{name}]", *(f"{one} = '{text}'" for one, text in values.items()), f"tests = {list(tests)}"])


def run(tree: Path, names: Sequence[str], *entries: str) -> tuple[int, str]:
    """Return the exit code over a list of these entries, and what is shown."""
    (tree.parent / "gates.toml").write_text("\n\n".join(entries))
    told = io.StringIO()
    code = main(names, tree, tree.parent, Console(file=told, width=120, highlight=False))
    return code, told.getvalue()


EVERYBODY = entry("everybody_passes", "age >= 18", "True", GROWN_UP, CHILD)


def test_what_becomes_of_each_fault_is_told_and_only_a_caught_one_is_well(tree: Path) -> None:
    code, told = run(
        tree,
        [],
        EVERYBODY,
        entry("a_day_too_late", ">= 18", "> 18", CHILD, GROWN_UP),
        entry("of_a_text_that_is_gone", "age > 17", "True", CHILD),
        entry("of_a_text_that_is_there_twice", "age", "-age", CHILD),
        entry("that_is_no_python", ">= 18", ">= 18 or", CHILD),
    )
    verdicts = {line.split()[-1]: line.split()[-2] for line in told.splitlines() if "/5 " in line}
    assert verdicts == {
        "gates.everybody_passes": "caught",
        "gates.a_day_too_late": "survived",
        "gates.of_a_text_that_is_gone": "lost",
        "gates.of_a_text_that_is_there_twice": "lost",
        "gates.that_is_no_python": "broken",
    }
    assert "is 2 times in gate.py" in told
    assert "If it were real: A child drives." in told
    assert (code, (tree / "gate.py").read_text()) == (1, GATE)


@pytest.mark.parametrize("names", [["everybody_passes"], ["gates.everybody_passes"], ["gates"]])
def test_a_fault_is_tried_alone_by_its_name_or_its_list(tree: Path, names: list[str]) -> None:
    others = [] if names == ["gates"] else [entry("a_day_too_late", ">= 18", "> 18", CHILD)]
    code, told = run(tree, names, EVERYBODY, *others)
    assert (code, "assert not True" in told) == (0, True)


@pytest.mark.parametrize("test", ["test_gate.py::test_that_nobody_wrote", "test_gate.py"])
def test_nothing_is_told_where_a_test_fails_without_any_fault(tree: Path, test: str) -> None:
    (tree / "test_gate.py").write_text(TESTS.replace("may_pass(30)", "may_pass(3)"))
    code, told = run(tree, [], entry("everybody_passes", "age >= 18", "True", test))
    assert (code, "fail without any fault" in told, "survived" in told) == (1, True, False)


def test_a_name_that_no_fault_has_is_refused(tree: Path) -> None:
    code, told = run(tree, ["nobody_passes"], EVERYBODY)
    assert (code, told) == (2, "nobody_passes: no fault and no list has this name\n")


def test_an_entry_that_says_too_little_or_too_much_is_named(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text(EVERYBODY.replace("harm", "harms"))
    with pytest.raises(ValueError, match=r"gates\.toml: everybody_passes takes"):
        read_mutants(tmp_path)


def test_the_lists_say_what_is_in_the_code() -> None:
    """So that whoever changes a line with a fault on it learns at once, and not by a run of minutes."""
    wrong = [f"{mutant.name}: {problem}" for mutant in MUTANTS for problem in problems(mutant)]
    assert not wrong, "\n".join([f"bring {LISTS.relative_to(ROOT)} up to date:", *wrong])


def problems(mutant: Mutant) -> Iterator[str]:
    """Yield why a fault cannot be planted, or what it names that is not there."""
    if (ROOT / mutant.file).is_file():
        try:
            planted = mutant.planted((ROOT / mutant.file).read_text("utf-8"))
            if mutant.file.endswith(".py"):
                compile(planted, mutant.file, "exec")
        except (Lost, SyntaxError) as error:
            yield str(error)
    else:
        yield f"there is no {mutant.file}"
    for test in mutant.tests:
        path, _, name = test.partition("::")
        function = f"def {name.partition('[')[0].rpartition('::')[2]}(" if name else "def test_"
        if not (ROOT / path).is_file() or function not in (ROOT / path).read_text("utf-8"):
            yield f"there is no {test}"


def test_every_fault_has_a_name_of_its_own() -> None:
    assert [one.name for mutant in MUTANTS for one in choose(MUTANTS, [mutant.name.partition(".")[2]])] == [
        mutant.name for mutant in MUTANTS
    ]
