"""Demo data: read back from its files, it shows every decision, the same ones every time."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo_data import generate, write
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.identities import read_identities
from shared.directory.matching.accounts import Decision, DecisionKind, stays_local
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import ENTERPRISE, SignInEvidence, Status
from tests.link_orchestrator.join import plan


def facts(id: str, document: Any, evidence: SignInEvidence, protected: bool, status: Status) -> AccountFacts:
    return AccountFacts(
        id,
        "v1",
        document["userName"],
        document.get("externalId"),
        tuple(email["value"] for email in document.get("emails", ())),
        evidence.verified_emails,
        evidence.name_id,
        evidence.object_id,
        document.get(ENTERPRISE, {}).get("employeeNumber"),
        protected,
        status=status,
    )


def decisions(folder: Path, identities_file: str) -> tuple[Counter[DecisionKind], list[AccountFacts]]:
    accounts_file = (folder / "accounts.csv").read_bytes()
    rows = [row for row in read_accounts(accounts_file) if isinstance(row, AccountRow)]
    provisioned = [json.loads(line) for line in (folder / "provisioned.jsonl").read_text().splitlines()]
    accounts = [
        *(facts(f"a{row.line}", row.document, row.evidence, row.protected, Status.LOCAL) for row in rows),
        *(facts(f"p{n}", user, SignInEvidence(), False, Status.PROVISIONED) for n, user in enumerate(provisioned)),
    ]
    people = (folder / identities_file).read_bytes()
    identities = [row for row in read_identities(people) if isinstance(row, Identity)]
    policy = Policy.from_json(json.loads((folder / "policy.json").read_text()))
    made = plan(identities, accounts, policy)
    assert len(made) == len(identities) == 1_100
    return Counter(one.kind for one in [*made.values(), *unmatched(made, accounts)]), accounts


def unmatched(made: dict[str, Decision], accounts: list[AccountFacts]) -> list[Decision]:
    named = {id for one in made.values() for id in (*one.others, one.account.id if one.account else "")}
    return [stays_local(account) for account in accounts if account.id not in named]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_decision_occurs_and_most_are_strong_links(tmp_path: Path, seed: int) -> None:
    write(generate(1_000, 1_100, seed), tmp_path)
    counts, accounts = decisions(tmp_path, "identities.json")
    assert set(counts) == set(DecisionKind) - {DecisionKind.SHARED_VALUE, DecisionKind.SET_ASIDE}
    assert 780 <= counts[DecisionKind.LINK] <= 850
    assert sum(account.status is Status.LOCAL for account in accounts) == 1_000
    assert len({account.user_name for account in accounts}) == len(accounts)


def test_the_portals_csv_lacks_only_what_it_has_no_column_for(tmp_path: Path) -> None:
    write(generate(1_000, 1_100), tmp_path, downloaded=True)
    counts, _ = decisions(tmp_path, "identities.csv")
    assert set(DecisionKind) - set(counts) <= {
        DecisionKind.AMBIGUOUS,
        DecisionKind.SET_ASIDE,
        DecisionKind.SHARED_VALUE,
    }


def test_the_same_seed_gives_the_same_data_and_another_one_other_data(tmp_path: Path) -> None:
    files = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(generate(200, 220, seed), tmp_path / folder)
        files.append([path.read_bytes() for path in sorted((tmp_path / folder).iterdir())])
    assert files[0] == files[1] != files[2]


def test_data_is_made_while_it_is_read() -> None:
    tracemalloc.start()
    demo = generate(1_000_000, 1_100_000)
    for rows in (demo.accounts, demo.identities, demo.provisioned):
        assert len(list(itertools.islice(rows, 100))) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_no_two_of_many_accounts_have_one_name() -> None:
    names = [row["userName"] for row in generate(20_000, 0).accounts]
    assert len(set(names)) == len(names) == 20_000
