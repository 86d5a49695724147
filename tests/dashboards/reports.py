"""Reports for the tests, from a repository that is open already. Not a test module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboards.report.write import ReportFiles, write_study_report
from sweeper.study import read_study


def write_report(repository: Any, sweep: str, out: Path, **options: Any) -> ReportFiles:
    """Reads the sweep and writes its report."""
    return write_study_report(repository, read_study(repository, sweep), out, **options)
