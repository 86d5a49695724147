"""What `sweeper report`, `analyse` and `losses plot` call, through the entry-point group `sweeper.reports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dashboards.figures.family import draw_fixed
from dashboards.figures.loss_curves import loss_figure
from dashboards.report.write import check_formats, write_report, write_study_report
from dashboards.study_data import data_of_scores
from storage.repository import Repository
from sweeper.grids.plugged import load_plugins
from sweeper.score_files import read_scores, study_of
from sweeper.settings import Settings
from sweeper.study import Study, keep_significance
from workers.plugins import load_installed

PLUGIN_KINDS = ("tests", "figures", "sections")
"""What plug-ins add to a report."""


def get_ready() -> None:
    """Does what every report needs and no study changes, so that a report at the end of a launch is there sooner."""
    draw_fixed()


def write(
    settings: Settings, repository: Repository, study: Study, out: Path, formats: Sequence[str] = ("html",)
) -> list[Path]:
    """Writes the report and returns every file, the page first; stores the tests that it shows in the database.

    Installed plug-ins, and those that the sweep was launched with, add their tests, figures and sections; code that
    came with an imported sweep does so where a person has allowed it.

    Raises:
        ReportError: it cannot be written as asked.
        PluginError: a plug-in cannot be imported.
    """
    load_installed(PLUGIN_KINDS)
    load_plugins(study.sweep, (*PLUGIN_KINDS, "metrics"))
    files = write_study_report(
        repository, study, out, formats=formats, trials_folder=settings.trials, prepared_root=settings.prepared
    )
    # Not before: the first figures need no test, and are rendered by processes beside while the tests are made.
    keep_significance(repository, study)
    return files.all


def write_scores(file: Path, out: Path, formats: Sequence[str] = ("html",)) -> list[Path]:
    """Writes the report of the scores in a file, without a database, and returns every file, the page first.

    Installed plug-ins add their tests, figures, sections and metrics.

    Raises:
        ReportError: it cannot be written as asked.
        AnalysisError: the file cannot be read, or its scores cannot be compared.
        PluginError: a plug-in cannot be imported.
    """
    load_installed((*PLUGIN_KINDS, "metrics"))
    check_formats(formats)
    study = study_of(read_scores(file), file.name)
    return write_report(data_of_scores(study, file.name), out, formats=formats).all


def draw_loss(name: str, curves: Mapping[str, Sequence[float]], out: Path) -> list[Path]:
    """Writes the figure of one loss into a folder: its SVG and its PNG."""
    return loss_figure(name, curves).write(out)
