"""What the last plan says of an account, or of a person: for pages that are about no run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.portal.page import Asked
from link_orchestrator.portal.pages.of_plan import Row
from link_orchestrator.portal.pages.of_run import Document
from shared.scim.errors import InvalidValue

MOST_PLANS: Final = 5
"""Plans that are looked into, the latest first: a later run has rows of those alone on whom it decided again."""
MOST_NAMES: Final = 4
"""Names by which somebody is looked for."""
MOST_ROWS: Final = 50
"""Rows that begin with a name and are looked at. They come in the order of their names: whoever has it, is first."""
MOST_SHOWN: Final = 3
"""Rows that are shown."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the latest plan that has rows of somebody says of them."""

    run: Document
    rows: Sequence[Row]


async def of_account(asked: Asked, account: Document) -> Said | None:
    """Return what the last plan says of an account, None where no plan that is kept knows it."""
    names = [account["userName"], *reversed(account.get("formerUserNames", ()))]
    return await _find(asked, names, lambda row: account["id"] in accounts_of(row))


async def of_person(asked: Asked, identity: Document) -> Said | None:
    """Return what the last plan says of a person, None where no plan that is kept knows them."""
    return await _find(asked, [identity["userPrincipalName"]], lambda row: row.person.get("objectId") == identity["id"])


def accounts_of(row: Row) -> dict[str, str]:
    """Return the accounts that a row matches with its person, or is about: their names, by id."""
    some = (row.account, row.document.get("account", {}), *row.document.get("candidates", ()))
    return {str(one["id"]): str(one.get("userName") or one["id"]) for one in some if "id" in one}


async def _find(asked: Asked, names: Iterable[str], is_about: Callable[[Row], bool]) -> Said | None:
    wanted = list(dict.fromkeys(names))[:MOST_NAMES]
    runs = (await asked.api.get("linking/runs", count=str(MOST_PLANS)))["runs"]
    for run in runs:
        if "planned" not in run or "reduced" in run:
            continue
        for name in wanted:
            if rows := [row for row in await _named(asked, run["id"], name) if is_about(row)]:
                return Said(run, rows[:MOST_SHOWN])
    return None


async def _named(asked: Asked, run: str, name: str) -> Sequence[Row]:
    """Return the rows of a plan whose names begin so; none of one whose names an earlier version did not keep."""
    try:
        page = await asked.api.get("linking/runs/{id}/decisions", id=run, find=name, count=str(MOST_ROWS))
    except InvalidValue:
        return ()
    return [Row(one) for one in page["decisions"]]
