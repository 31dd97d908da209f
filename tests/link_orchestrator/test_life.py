"""Whatever the order and repetition, with a death between any two: one person, one account, and nobody in two hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from shared.tables.port import Tables
from tests.link_orchestrator.life import Life

EXAMPLES = {
    "sqlite": settings(max_examples=60, stateful_step_count=25),
    "azurite": settings(max_examples=4, stateful_step_count=12),
}


def test_a_directory_lives(open_tables: Callable[[], Tables], request: pytest.FixtureRequest) -> None:
    backend = request.node.callspec.params["open_tables"]
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        tables = open_tables()
        try:
            run_state_machine_as_test(
                lambda: Life(loop, tables), settings=settings(EXAMPLES[backend], database=None, print_blob=True)
            )
        finally:
            runner.run(tables.close())
