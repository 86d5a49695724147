"""The report of a sweep: one HTML page that needs nothing else, every figure as a file, the tables as CSV and LaTeX.

Reads stored rows only; a sweep that is still running, or has no finished trial, gets a report of what there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dashboards.errors import ReportError
from dashboards.figures.family import family_figure, suppression_figure
from dashboards.figures.gamma import gamma_figure
from dashboards.figures.segmentations import example_figures
from dashboards.figures.significance import critical_difference, p_value_matrix
from dashboards.figures.style import Drawing
from dashboards.figures.training import loss_figure, validation_dsc_figure
from dashboards.report import latex, rows
from dashboards.report.pdf import browser, print_pdf
from storage.records import Sweep
from storage.repository import Repository
from sweeper.analysis import Answers
from sweeper.analysis.claims import UNTESTED
from sweeper.analysis.selection import at_selected_gamma
from sweeper.study import Study, read_study
from sweeper.views.examples import Examples, load_examples
from sweeper.views.status import tried_points

FORMATS = ("html", "pdf", "latex", "csv")

_CONTENTS = (
    ("ran", "What ran"), ("tables", "Results per data set"), ("family", "The losses"), ("gamma", "How much γ matters"),
    ("search", "What the search tried"),
    ("significance", "Significance"), ("examples", "Example segmentations"), ("training", "Training"),
    ("claims", "The paper's claims"), ("cost", "Cost"), ("failures", "What did not finish"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written. `figures` are SVG and PNG files, `tables` CSV and LaTeX files."""

    page: Path | None
    pdf: Path | None
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]

    @property
    def all(self) -> list[Path]:
        return [p for p in (self.page, self.pdf) if p is not None] + [*self.tables, *self.figures]


@dataclass(frozen=True, slots=True)
class _Significance:
    """One data set's and class's part of the section on significance."""

    title: str
    warning: str
    matrix: Drawing
    friedman: str
    ranks: Drawing | None
    tests: rows.TextTable


def write_report(
    repository: Repository,
    sweep_name: str,
    out: Path,
    *,
    formats: Sequence[str] = ("html",),
    trials_folder: Path | None = None,
    prepared_root: Path | None = None,
) -> ReportFiles:
    """Writes the report of a sweep into the folder `out`, which is made if need be; old files of ours are replaced.

    Args:
        repository: where the sweep is stored; only read.
        sweep_name: the sweep's name.
        out: the folder: report.html, report.pdf, figures/, tables/.
        formats: of "html", "pdf", "latex" and "csv". Figures are always written.
        trials_folder: holds the trials' predictions, for the example segmentations.
        prepared_root: holds the prepared data sets, for the same.

    Raises:
        ReportError: an unknown format, PDF without a Chromium, or a folder that cannot be written.
        UnknownSweepError: there is no such sweep; the message names the nearest.
        AnalysisError: a stored score is impossible.
    """
    study = read_study(repository, sweep_name)
    return write_study_report(
        repository, study, out, formats=formats, trials_folder=trials_folder, prepared_root=prepared_root
    )


def write_study_report(
    repository: Repository,
    study: Study,
    out: Path,
    *,
    formats: Sequence[str] = ("html",),
    trials_folder: Path | None = None,
    prepared_root: Path | None = None,
) -> ReportFiles:
    """`write_report` of a study that was read already, whose answers are then not computed twice."""
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"unknown report format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if "pdf" in formats:
        browser()
    answers = study.answers
    history = _history(repository, answers, study.sweep.name)
    examples = load_examples(answers, trials_folder, prepared_root, hidden=rows.without_pictures(study.sweep.grid))
    page = _Page(study.sweep, answers, history, examples, repository.environments(), _tried(repository, study.sweep))
    try:
        return _write(page, answers, out, formats)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {out} ({error}); choose another folder with --out"
        ) from error


def _write(page: _Page, answers: Answers, out: Path, formats: Sequence[str]) -> ReportFiles:
    figures_folder, tables_folder = out / "figures", out / "tables"
    figures_folder.mkdir(parents=True, exist_ok=True)
    written = [path for drawing in page.drawings for path in drawing.write(figures_folder)]
    tables: list[Path] = []
    if "csv" in formats or "latex" in formats:
        tables_folder.mkdir(exist_ok=True)
    if "csv" in formats:
        tables += _write_csv(answers, tables_folder)
    if "latex" in formats:
        tables += _write_latex(answers, tables_folder)
    html = None
    if "html" in formats or "pdf" in formats:
        html = out / "report.html"
        html.write_text(page.html(), encoding="utf-8")
    pdf = print_pdf(html, out / "report.pdf") if html is not None and "pdf" in formats else None
    return ReportFiles(html, pdf, tuple(written), tuple(tables))


class _Page:
    """All figures and tables of the report, made once; `html` sets them."""

    def __init__(
        self,
        sweep: Sweep,
        answers: Answers,
        history: pd.DataFrame,
        examples: list[Examples],
        environments: Mapping[str, Mapping[str, str]],
        tried: Sequence[rows.Tried],
    ) -> None:
        self._sweep, self._answers, self._environments, self._tried = sweep, answers, environments, tried
        searched = set(answers.trials.loc[answers.trials["hash"].isin({h for t in tried for h in t.hashes}), "variant"])
        self._problems = [(e.dataset, e.problems) for e in examples if e.problems]
        datasets = list(answers.selection["dataset"].unique())
        swept = set(answers.stability["dataset"])
        groups: dict[str, list[Drawing]] = {
            "family": _family(),
            "gamma": [gamma_figure(d, answers.curves, answers.selection, searched) for d in datasets if d in swept],
            "examples": [drawing for e in examples if e.shown for drawing in example_figures(e)],
            "training": _training(datasets, history, sorted(answers.selection["variant"].unique())),
        }
        places = [(d, label) for d, label in answers.selected[["dataset", "label"]].drop_duplicates().to_numpy()]
        parts = [self._significance(d, label, i) for i, (d, label) in enumerate(places)]
        self._parts = [p for p in parts if p is not None]
        self._across = None
        if answers.across is not None and answers.across.blocks > 1 and len(answers.across.mean_ranks) > 1:
            self._across = critical_difference(answers.across)
        self._groups = groups
        flat = [d for group in groups.values() for d in group]
        flat += [d for p in self._parts for d in (p.matrix, p.ranks) if d is not None]
        flat += [self._across] if self._across is not None else []
        self.drawings = flat

    def html(self) -> str:
        """The page. Every text that comes from users is escaped by the template engine."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("dashboards.report"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )  # fmt: skip
        answers, sweep = self._answers, self._sweep
        claims = answers.claims
        known = claims["verdict"] != UNTESTED
        return environment.get_template("report.html.j2").render(
            css=files("dashboards.report").joinpath("templates/report.css").read_text(encoding="utf-8"),
            sweep=sweep,
            created=rows.time_text(sweep.created_at),
            ended=rows.time_text(sweep.finished_at) if sweep.finished_at is not None else "",
            banners=_banners(sweep, answers),
            answers=answers,
            chosen=rows.chosen_on_validation(answers),
            contents=[part for part in _CONTENTS if part[0] != "search" or self._tried],
            total=len(answers.trials),
            finished=int(answers.trials["current"].sum()),
            repeated=bool((answers.table["repeats"] > 1).any()),
            ran=rows.what_ran(answers, sweep.details),
            excluded=rows.exclusions(sweep.details),
            data_notes=[*rows.data_notes(sweep.grid, sweep.details), *rows.external_notes(answers)],
            tried=self._tried,
            environment=rows.environment_table(answers, self._environments),
            settings=_settings(sweep),
            grid=rows.grid_text(sweep.grid),
            results=rows.result_tables(answers),
            family=self._groups["family"],
            gamma_figures=self._groups["gamma"],
            stability=rows.stability_table(answers),
            selection=rows.selection_table(answers),
            significance=self._parts,
            across_text=_across_text(answers),
            across_figure=self._across,
            example_figures=self._groups["examples"],
            example_problems=self._problems,
            training_figures=self._groups["training"],
            claims_known=rows.claims_table(claims[known]),
            claims_untested=rows.claims_table(claims[~known]),
            cost=rows.cost_table(answers),
            failures=rows.failures_table(answers),
        )

    def _significance(self, dataset: str, label: str, place: int) -> _Significance | None:
        answers = self._answers
        order = rows.ordered_variants(answers, dataset, label)
        if len(order) < 2:
            return None
        summary = answers.ranks[place]
        return _Significance(
            title=f"{dataset}, {label}",
            warning=rows.test_warning(answers, dataset, label),
            matrix=p_value_matrix(dataset, label, answers.significance, order),
            friedman=rows.friedman_text(summary.statistic, summary.p, summary.blocks, summary.left_out, summary.note),
            ranks=critical_difference(summary) if len(summary.mean_ranks) > 1 and summary.blocks > 1 else None,
            tests=rows.dsc_tests(answers, dataset, label),
        )


@cache
def _family() -> list[Drawing]:
    """Figures 1 and 2 are the same in every report."""
    return [family_figure(), suppression_figure()]


def _history(repository: Repository, answers: Answers, sweep_name: str) -> pd.DataFrame:
    """The epochs of the current trials at each variant's chosen γ, with data set and variant."""
    chosen = at_selected_gamma(answers.trials[answers.trials["current"]], answers.selection)
    epochs = pd.DataFrame(repository.epoch_columns(sweep_name))
    if epochs.empty or chosen.empty:
        return pd.DataFrame(columns=["trial", "epoch", "loss", "val_loss", "val_dsc", "dataset", "variant"])
    keys = chosen[["hash", "dataset", "variant"]].rename(columns={"hash": "trial"})
    return epochs.merge(keys, on="trial")


def _tried(repository: Repository, sweep: Sweep) -> list[rows.Tried]:
    """What each search of the sweep tried."""
    trials = repository.trials(sweep.name)
    return [
        rows.tried(study, search, points, lambda trial_hash: [e.val_dsc for e in repository.epochs(trial_hash)])
        for study, search in sweep.details.get("search", {}).items()
        if (points := tried_points(study, search, trials))
    ]


def _training(datasets: list[str], history: pd.DataFrame, variants: list[str]) -> list[Drawing]:
    drawings = []
    for dataset in datasets:
        own = history[history["dataset"] == dataset]
        if len(own):
            drawings += [validation_dsc_figure(dataset, own, variants), loss_figure(dataset, own)]
    return drawings


def _banners(sweep: Sweep, answers: Answers) -> list[str]:
    banners = []
    if sweep.rehearsal:
        banners.append(
            "Rehearsal: small networks, few epochs. It shows that the study runs, and says nothing about the losses."
        )
    synthetic = [d for d, reason in answers.unfit.items() if reason == "synthetic images"]
    if synthetic:
        banners.append(f"Synthetic images: {', '.join(synthetic)}. Their scores say nothing about real images.")
    waiting = int(answers.trials["state"].isin(["queued", "running"]).sum())
    if waiting:
        banners.append(
            f"Not finished: {waiting} of {len(answers.trials)} trials are still to come; figures may change."
        )
    outdated = int((answers.unfinished["state"] == "outdated").sum())
    if outdated:
        banners.append(f"{outdated} trials have results of an older version, which are listed but not counted.")
    return banners


def _settings(sweep: Sweep) -> str:
    return (
        "Settings that the paper leaves open and this project had to choose (learning rate, most epochs, the smallest "
        "change that counts as better, patches per 3D epoch) stand in the grid below, with everything else of sweep "
        f"{sweep.name}."
    )


def _across_text(answers: Answers) -> str:
    summary = answers.across
    if summary is None:
        return ""
    return rows.friedman_text(summary.statistic, summary.p, summary.blocks, summary.left_out, summary.note)


def _write_csv(answers: Answers, folder: Path) -> list[Path]:
    frames = {
        "trials": answers.trials, "results": answers.table, "significance": answers.significance,
        "gamma_curves": answers.curves, "stability": answers.stability, "selection": answers.selection,
        "ranking_agreement": answers.agreement, "claims": answers.claims, "costs": answers.costs,
        "unfinished": answers.unfinished, "image_scores": answers.selected,
    }  # fmt: skip
    paths = []
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        frame.to_csv(path, index=False)
        paths.append(path)
    return paths


def _write_latex(answers: Answers, folder: Path) -> list[Path]:
    tables = latex.result_tables(answers)
    if len(answers.stability):
        tables["stability"] = latex.stability_table(answers)
    texts: dict[str, Any] = {**tables, "tables": latex.document(list(tables))}
    paths = []
    for stem, text in texts.items():
        path = folder / f"{stem}.tex"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
