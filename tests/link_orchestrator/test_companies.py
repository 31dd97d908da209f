"""A plain export of e-mail, name and active: at least 85 % end as a link or a review, and nobody is linked wrongly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.directory.directory import Directories
from tests.link_orchestrator.companies import POLICY, Company, company
from tests.link_orchestrator.running import App, all_accounts, csv_file, serving

SEEDS = range(1, 5)
AIM = 0.85
"""Share of the people who are in both that a plan links, or pairs with the right account for a person to confirm."""


def settled(made: Company, rows: list[dict[str, Any]], names: dict[str, str]) -> Counter[str]:
    """Count the people who are in both by what the plan makes of them, "right" before it if of the right account."""
    found = {row["identity"]["objectId"]: row for row in rows if "identity" in row}
    counts: Counter[str] = Counter()
    for address, object_id in made.truth.items():
        row = found[object_id]
        right = names.get(row.get("account", {}).get("id", "")) == address
        counts[f"{'right ' if right else ''}{row['decision']}"] += 1
    return counts


@pytest.mark.parametrize("seed", SEEDS)
async def test_most_people_find_their_account_and_nobody_finds_anothers(tmp_path: Path, seed: int) -> None:
    made = company(seed)
    async with serving(tmp_path) as app:
        await app.call("PUT", "directory/policy", POLICY)
        await app.bring(csv_file(*made.rows))
        run = await app.plan(*made.users)
        rows = await app.decisions(run)
        names = {account.id: account.user_name for account in await accounts(app)}
        counts = settled(made, rows, names)
        await app.apply(run)
        linked = {one.user_name: one.link.identity for one in await accounts(app) if one.link}
    assert {address: oid for address, oid in linked.items() if made.truth.get(address) != oid} == {}, "linked wrongly"
    assert (counts["right link"] + counts["right review"]) / len(made.truth) >= AIM, counts
    assert counts["right link"] / len(made.truth) >= AIM - 0.05, counts
    assert counts["link"] == 0


async def accounts(app: App) -> list[Any]:
    return await all_accounts(await Directories(app.tables).open("main"))


@pytest.mark.parametrize("seed", SEEDS)
def test_of_a_tenth_of_those_who_are_in_both_the_sign_in_name_is_another(seed: int) -> None:
    made = company(seed)
    users = {user["id"]: user for user in made.users}
    both = [users[object_id] for object_id in made.truth.values()]
    share = sum(user["userPrincipalName"] != user["mail"] for user in both) / len(both)
    assert 0.08 <= share <= 0.2
