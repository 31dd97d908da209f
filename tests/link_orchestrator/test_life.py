"""Whatever the order and repetition, with a death between any two: one person, one account, and nobody in two hands.

life.py has what happens and what must hold; on Azurite it is the same, shorter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from shared.tables.port import Tables
from tests.link_orchestrator.life import Life

LENGTHS = {"sqlite": (60, 30), "azurite": (3, 12)}
"""Lives, and the things that happen in each of them."""


def test_whatever_happens_nobody_gets_two_accounts_and_no_account_two_hands(
    open_tables: Callable[[], Tables], request: pytest.FixtureRequest
) -> None:
    lives, happenings = LENGTHS[request.node.callspec.params["open_tables"]]
    bounds = settings(
        max_examples=lives,
        stateful_step_count=happenings,
        database=None,
        # The same lives each time, so that what is found is found again.
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    with asyncio.Runner() as runner:
        loop, tables = runner.get_loop(), open_tables()
        try:
            run_state_machine_as_test(lambda: Life(loop, tables), settings=bounds)
        finally:
            runner.run(tables.close())
