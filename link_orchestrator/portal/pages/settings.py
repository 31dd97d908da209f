"""Settings as they are: a deployment changes them, and no page does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown

SERVES: Final[Mapping[str, str]] = {"admin": "administration", "scim": "Entra's provisioning"}
"""What an app serves, and a token opens, by its role."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the page of settings shows."""

    settings: Mapping[str, Any]
    on_laptop: bool
    """Whether it is the local host of the app: no other has made-up people."""
    serves: Mapping[str, str] = field(default_factory=lambda: SERVES)


async def show(asked: Asked) -> Outcome:
    """Show the settings."""
    return Shown("settings.html", Settings(await asked.api.get("directory/settings"), asked.samples is not None))


PAGES: Final = (Page("settings", show, label="Settings"),)
