"""What `sweeper report` calls, through the entry-point group `sweeper.reports`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dashboards.report.write import write_study_report
from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.settings import Settings
from sweeper.study import keep_significance, read_study
from workers.plugins import load_installed, load_stored

PLUGIN_KINDS = ("tests", "figures", "sections")
"""What plug-ins add to a report."""


def write(
    settings: Settings, repository: Repository, sweep_name: str, out: Path, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """Writes the report and returns every file, the page first; stores the tests that it shows in the database.

    Installed plug-ins, and those that the sweep was launched with, add their tests, figures and sections.

    Raises:
        ReportError: it cannot be written as asked.
        UnknownSweepError: there is no such sweep.
        PluginError: a plug-in cannot be imported.
    """
    load_installed(PLUGIN_KINDS)
    load_stored(details_of(repository.sweep(sweep_name)).plugins, (*PLUGIN_KINDS, "metrics"))
    study = read_study(repository, sweep_name)
    keep_significance(repository, study)
    files = write_study_report(
        repository, study, out, formats=formats, trials_folder=settings.trials, prepared_root=settings.prepared
    )
    return files.all
