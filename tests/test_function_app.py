"""What the Azure host is told when it loads an app without settings."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path

import pytest

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
