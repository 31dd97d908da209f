"""`python -m infra.check`: holds the Bicep templates and the workflows to what they promise. Exit code 1 for a fault.

It takes no Azure and no compiler, and proves no deployment (infra/docs/deploy.md). Two parsers read the templates, each
scenario is worked out as a deployment would, and every check of infra/checks looks at it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.checks import (
    access,
    alerts,
    decided,
    entra,
    form,
    lint,
    names,
    order,
    results,
    safety,
    secrets,
    settings,
    types,
    workflows,
)
from infra.checks.evaluation import CannotTell, Deployment, deploy
from infra.checks.finding import Finding
from infra.checks.scenarios import SCENARIOS
from infra.checks.template import NotPlain, Template, read

CHECKS = (
    *(types.check, decided.check, access.check, settings.check),
    *(safety.check, alerts.check, order.check, results.check),
)
"""Each looks at every scenario of main.bicep."""
INFRA = Path(__file__).parent
ROOT = INFRA.parent
WORKFLOWS = ROOT / ".github" / "workflows"


def main() -> int:
    """Check everything, say what is wrong, and return the exit code."""
    found = [*look(INFRA), *workflows.check(WORKFLOWS), *secrets.check(ROOT)]
    for file in ("main.bicep", "entra.bicep"):
        found += read_again((INFRA / file).read_text("utf-8"), f"infra/{file}")
    for one in found:
        print(one)
    print(f"infra: {len(SCENARIOS) + len(entra.SCENARIOS)} scenarios, {len(found)} findings")
    return 1 if found else 0


def look(folder: Path) -> list[Finding]:
    """Return what is wrong with the templates in a folder, and with what goes along with them, each fault once."""
    found = [*_look_at_main(folder), *_look_at_entra(folder), *alerts.check_files(folder / "observability")]
    return list(dict.fromkeys(found))


def _look_at_main(folder: Path) -> Iterator[Finding]:
    template, deployments, found = _work_out(folder, "main.bicep", SCENARIOS)
    yield from found
    if template is None:
        return
    yield from names.check(template)
    yield from lint.check(template, (folder / "main.bicep").read_text("utf-8"))
    for one in deployments:
        for check in CHECKS:
            yield from _each(check, one)
        yield from names.check_start(template, one)
        yield from safety.check_template(template, one)
    if not found:
        yield from names.check_taken(template, deployments)
        yield from results.check_defaults(template, deployments[0])
    yield from form.check(template, folder)


def _look_at_entra(folder: Path) -> Iterator[Finding]:
    template, deployments, found = _work_out(folder, "entra.bicep", entra.SCENARIOS)
    yield from found
    if template is None:
        return
    yield from names.check(template)
    if template.extensions != ["microsoftGraphV1"]:
        yield Finding(
            "entra", template.file, "Graph's types come from the extension microsoftGraphV1 (bicepconfig.json)"
        )
    for one in deployments:
        yield from types.check(one)
        yield from names.check_start(template, one)
        yield from _each(entra.check, one)
    source = (folder / "entra.bicep").read_text("utf-8")
    yield from lint.check(template, source)
    yield from entra.check_script((folder / "entra.sh").read_text("utf-8"), source)


def _each(check: Callable[[Deployment], Iterator[Finding]], deployment: Deployment) -> Iterator[Finding]:
    """Return what a check finds; what it cannot even look at is a finding, too."""
    try:
        yield from check(deployment)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{check.__module__.rpartition('.')[2]} cannot look at it: {type(error).__name__} {error}"
        yield Finding("form", deployment.scenario, what)


def _work_out(
    folder: Path, file: str, scenarios: Mapping[str, Mapping[str, Any]]
) -> tuple[Template | None, list[Deployment], list[Finding]]:
    try:
        template = read((folder / file).read_text("utf-8"), f"infra/{file}")
    except NotPlain as problem:
        place, _, text = str(problem).partition(": ")
        return None, [], [Finding("syntax", place, text)]
    deployments, found = [], []
    for name, parameters in scenarios.items():
        unknown = sorted(parameters.keys() - template.params.keys())
        found += [Finding("name", template.file, f"there is no parameter {one}") for one in unknown]
        try:
            deployments.append(deploy(template, name, parameters, folder))
        except CannotTell as problem:
            place, _, text = str(problem).partition(": ")
            found.append(Finding("expression", place, f"{text} ({name})"))
    return template, deployments, found


def read_again(source: str, file: str) -> list[Finding]:
    """Return where the second parser, pycep, stumbles: what only one of the two reads may be no Bicep at all."""
    from pycep import BicepParser  # a second of CPU time, for its grammar

    try:
        BicepParser(cache=False).parse(text=source)
    except Exception as error:
        line = getattr(error, "line", 0)
        return [Finding("syntax", f"{file}:{line}", f"pycep does not read it: {str(error).splitlines()[0]}")]
    return []


if __name__ == "__main__":
    sys.exit(main())
