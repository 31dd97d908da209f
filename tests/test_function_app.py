"""What the Azure host is told when it loads an app without settings."""

from __future__ import annotations

import json
import logging
import runpy
from pathlib import Path

import pytest
from azure.durable_functions.models.utils.df_serialization import df_loads

from shared.host.settings import Settings

APP = Path(__file__).parent.parent / "function_app.py"


@pytest.mark.parametrize(("worker", "warnings"), [("python", 1), (None, 0)])
def test_only_in_azure_a_missing_setting_is_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, worker: str | None, warnings: int
) -> None:
    for name in ("SCIMLINK_TABLES", "SCIMLINK_TABLES_ENDPOINT", "SCIMLINK_CREDENTIALS", "FUNCTIONS_WORKER_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    if worker:
        monkeypatch.setenv("FUNCTIONS_WORKER_RUNTIME", worker)
    with caplog.at_level(logging.DEBUG, "scimlink"):
        assert "app" not in runpy.run_path(str(APP))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings
    assert "SCIMLINK_TABLES_ENDPOINT" in caplog.text or not warnings


def test_the_number_of_buckets_is_a_setting() -> None:
    assert Settings.from_environment({}).buckets == 64
    assert Settings.from_environment({"SCIMLINK_BUCKETS": "256"}).buckets == 256
    for wrong in ("0", "257", "many"):
        with pytest.raises(ValueError, match="SCIMLINK_BUCKETS"):
            Settings.from_environment({"SCIMLINK_BUCKETS": wrong})


def test_the_durable_sdk_never_builds_objects_of_names_that_it_finds_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_FUNCTIONS_DURABLE_STRICT_TYPING", "0")
    runpy.run_path(str(APP))
    found = {"row": {"__class__": "Path", "__module__": "pathlib", "__data__": "x"}}
    assert df_loads(json.dumps(found)) == found
