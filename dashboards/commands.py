"""What `sweeper report` calls, through the entry-point group `sweeper.reports`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dashboards.report import write_report
from storage.repository import Repository
from sweeper.settings import Settings


def write(
    settings: Settings, repository: Repository, sweep_name: str, out: Path, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """Writes the report and returns every file, the page first.

    Raises:
        ReportError: it cannot be written as asked.
        UnknownSweepError: there is no such sweep.
    """
    files = write_report(
        repository, sweep_name, out, formats=formats, trials_folder=settings.trials, prepared_root=settings.prepared
    )
    return files.all
