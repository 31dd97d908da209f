"""What goes on by itself looks after every directory that somebody can come to, with a token or by signing in."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import function_app
from infra.local.host import LocalHost
from shared.host.settings import Credential, Settings
from shared.tables.sqlite import SqliteTables

PEOPLE = Settings(portal_auth=True, portal_audience="app", portal_tenants={"a": "one", "b": "two", "c": "one"})


def test_the_directories_are_those_of_credentials_and_of_tenants() -> None:
    both = PEOPLE.model_copy(update={"credentials": (Credential.of("t", "entra", directory="three"),)})
    assert (PEOPLE.directories, both.directories) == (["one", "two"], ["one", "three", "two"])


async def test_an_app_without_a_credential_is_looked_after_every_night(
    tmp_path: Path, sqlite_tables: SqliteTables, caplog: pytest.LogCaptureFixture
) -> None:
    """The template's app for administrators has none: people sign in there."""
    histories = SqliteTables.open(tmp_path / "histories.db")
    caplog.set_level(logging.INFO, "scimlink")
    async with LocalHost(function_app.build(PEOPLE, sqlite_tables), histories) as host:
        for timer in ("sweep", "jobs_remove", "scheduled_runs"):
            await host.run_timer(timer)
    await histories.close()
    counted = [one.getMessage() for one in caplog.records if one.getMessage().startswith("links counted:")]
    assert [one.split()[2] for one in counted] == ["directory=one", "directory=two"]
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
