"""Rows of a file and objects of a source that cannot be used: where they are, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used. It begins at `line`, from 1. The texts name columns, and never a row's values."""

    line: int
    reason: str
    remedy: str
