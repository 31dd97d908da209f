"""Settings as they are: a deployment changes them, and no page does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown


@dataclass(frozen=True, slots=True)
class Settings:
    """What the page of settings shows."""

    settings: Mapping[str, Any]
    credentials: Sequence[Mapping[str, Any]]


async def show(asked: Asked) -> Outcome:
    """Show the settings."""
    settings = await asked.api.get("directory/settings")
    directory = await asked.api.get("directory")
    return Shown("settings.html", Settings(settings, directory["credentials"]))


PAGES: Final = (Page("settings", show, label="Settings"),)
