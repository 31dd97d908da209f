"""Settings as they are: a deployment changes them, and no page does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown


@dataclass(frozen=True, slots=True)
class Settings:
    """What the page of settings shows."""

    settings: Mapping[str, Any]


async def show(asked: Asked) -> Outcome:
    """Show the settings."""
    return Shown("settings.html", Settings(await asked.api.get("directory/settings")))


PAGES: Final = (Page("settings", show, label="Settings"),)
