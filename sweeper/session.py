"""What every command has in hand. Light to import: `sweeper status` answers within a second."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from storage.repository import Repository
from sweeper.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """Settings, the open database, a console for a person."""

    settings: Settings
    repository: Repository
    console: Console
