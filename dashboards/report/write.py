"""The report of a sweep: one HTML page that needs nothing else, every figure as a file, the tables as CSV and LaTeX.

Reads stored rows only; a sweep that is still running, or has no finished trial, gets a report of what there is.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import jinja2

from dashboards.errors import ReportError
from dashboards.figures import FIGURES, Drawing
from dashboards.figures.style import BESIDE, without_formulas
from dashboards.rendering import Renderers
from dashboards.report import SECTIONS, Section, SectionDrawings, latex
from dashboards.report.blocks import Block
from dashboards.report.layout import rows
from dashboards.report.markdown import markdown
from dashboards.report.numbers import time_text
from dashboards.report.pdf import browser, print_pdf
from dashboards.study_data import StudyData, read_study_data
from storage.repository import Repository
from sweeper.analysis import Answers
from sweeper.study import Study
from trials.errors import ExpectedError
from workers.files import atomic_write

LARGEST_INSIDE = 150_000
"""The numbers of a figure are inside of the page up to so many characters, and otherwise in a file beside it."""

MANY_PLACES = 4
"""With so many data sets and classes, figures are worth a process beside, which takes most of a second to start."""

MOST_RENDERERS = 4

FORMATS = ("html", "pdf", "latex", "csv", "md")

Made = TypeVar("Made")

_OF_TRAININGS = ("gamma_differences", "gamma_curves", "stability", "selection", "costs", "unfinished")
"""Tables that are about how networks were trained."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written. `figures` are SVG, PNG and CSV files, `tables` CSV and LaTeX files."""

    page: Path | None
    pdf: Path | None
    markdown: Path | None
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]

    @property
    def all(self) -> list[Path]:
        return [p for p in (self.page, self.pdf, self.markdown) if p is not None] + [*self.tables, *self.figures]


def write_study_report(
    repository: Repository,
    study: Study,
    out: Path,
    *,
    formats: Sequence[str] = ("html",),
    trials_folder: Path | None = None,
    prepared_root: Path | None = None,
) -> ReportFiles:
    """Writes the report of a study into the folder `out`, which is made where it is missing; old files are replaced.

    Args:
        repository: where the sweep is stored; only read.
        study: what `read_study` read of it.
        out: the folder: report.html, report.pdf, report.md, figures/, tables/.
        formats: of "html", "pdf", "latex", "csv" and "md". Figures are always written.
        trials_folder: holds the trials' predictions, for the example segmentations.
        prepared_root: holds the prepared data sets, for the same.

    Raises:
        ReportError: an unknown format, PDF without a Chromium, a figure or section that fails, or a folder that cannot
            be written.
        AnalysisError: a stored score is impossible.
    """
    check_formats(formats)
    return write_report(read_study_data(repository, study, trials_folder, prepared_root), out, formats=formats)


def check_formats(formats: Sequence[str]) -> None:
    """Refuses what cannot be written before anything is computed.

    Raises:
        ReportError: an unknown format, or PDF without a Chromium.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"unknown report format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if "pdf" in formats:
        browser()


def write_report(data: StudyData, out: Path, *, formats: Sequence[str] = ("html",)) -> ReportFiles:
    """Writes the report of what was read already. Arguments, files and errors as in `write_study_report`."""
    check_formats(formats)
    drawings, sections = contents(data)
    try:
        return _write(data, drawings, sections, out, formats)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {out} ({error}); choose another folder with --out"
        ) from error


def contents(data: StudyData) -> tuple[dict[str, list[Drawing]], list[tuple[Section, list[Block]]]]:
    """The drawings of every registered figure whose section the page has, by its name, and the sections in order.

    Raises:
        ReportError: a figure or a section fails, or a figure names a section that there is not.
    """
    with _beside(data) as beside:
        painted = draw_figures(data, beside)
        sections = fill_sections(data, painted)  # which has the figures' words; their files are rendered meanwhile
        drawings = {name: _made(f"the figure {name!r}", map, Drawing.complete, own) for name, own in painted.items()}
    return drawings, [(section, [_complete(block) for block in blocks]) for section, blocks in sections]


def _complete(block: Block) -> Block:
    return block.complete() if isinstance(block, Drawing) else block


def draw_figures(data: StudyData, beside: Renderers | None) -> dict[str, list[Drawing]]:
    """The drawings of every registered figure whose section the page has, by its name. Those that are rendered beside
    are not complete.

    Raises:
        ReportError: a figure fails, or names a section that there is not.
    """
    for name, figure in FIGURES.items():
        if figure.section not in SECTIONS:
            raise ReportError(f"the figure {name!r} names the section {figure.section!r}; known: {', '.join(SECTIONS)}")
    shown = _sections(data)
    return {name: _drawn(name, data, beside) for name, figure in FIGURES.items() if figure.section in shown}


def _drawn(name: str, data: StudyData, beside: Renderers | None) -> list[Drawing]:
    """A figure's drawings. Those of a plug-in are rendered here, where it may have changed what matplotlib does."""
    token = BESIDE.set(beside if name in FIGURES.built_in() else None)
    try:
        return _made(f"the figure {name!r}", FIGURES[name].drawings, data)
    finally:
        BESIDE.reset(token)


def _beside(data: StudyData) -> AbstractContextManager[Renderers | None]:
    """Processes that render a large study's figures; for a small one, or on a single core, there are none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worth = cores > 1 and len(data.places) >= MANY_PLACES
    return Renderers(min(cores, MOST_RENDERERS)) if worth else nullcontext()


def _sections(data: StudyData) -> dict[str, Section]:
    """The registered sections that may have content; those about trainings have none where scores are from a file."""
    return {name: section for name, section in SECTIONS.items() if not (data.source and section.of_trainings)}


def fill_sections(data: StudyData, drawings: Mapping[str, Sequence[Drawing]]) -> list[tuple[Section, list[Block]]]:
    """Every registered section that has content, in the order of the page.

    Raises:
        ReportError: a section fails.
    """
    found = []
    for name, section in sorted(_sections(data).items(), key=lambda item: item[1].order):
        own = SectionDrawings({f: drawings[f] for f, figure in FIGURES.items() if figure.section == name})
        blocks = [*_made(f"the section {name!r}", section.content, data, own), *own.take()]
        if blocks:
            found.append((section, blocks))
    return found


def page_html(data: StudyData, sections: Sequence[tuple[Section, Sequence[Block]]]) -> str:
    """The page. Every text is escaped by the template engine."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dashboards.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["rows"] = rows
    environment.filters["base64"] = lambda text: base64.b64encode(text.encode("utf-8")).decode("ascii")
    sweep = data.sweep
    return environment.get_template("report.html.j2").render(
        css=files("dashboards.report").joinpath("templates/report.css").read_text(encoding="utf-8"),
        sweep=sweep,
        created=time_text(sweep.created_at),
        ended=time_text(sweep.finished_at) if sweep.finished_at is not None else "",
        banners=_banners(data),
        sentences=data.sentences,
        source=data.source,
        chosen=data.answers.chosen,
        sections=sections,
        largest=LARGEST_INSIDE,
    )


def _made(what: str, function: Callable[..., Iterable[Made]], *arguments: object) -> list[Made]:
    """What a figure or section gives; whatever else a plug-in's function raises is told as an error of the report."""
    try:
        return list(function(*arguments))
    except ExpectedError:
        raise
    except Exception as error:
        raise ReportError(f"{what} of the report failed: {type(error).__name__}: {error}") from error


def _write(
    data: StudyData,
    drawings: Mapping[str, Sequence[Drawing]],
    sections: Sequence[tuple[Section, Sequence[Block]]],
    out: Path,
    formats: Sequence[str],
) -> ReportFiles:
    figures_folder, tables_folder = out / "figures", out / "tables"
    figures_folder.mkdir(parents=True, exist_ok=True)
    written = [path for own in drawings.values() for drawing in own for path in drawing.write(figures_folder)]
    tables: list[Path] = []
    if "csv" in formats or "latex" in formats:
        tables_folder.mkdir(exist_ok=True)
    if "csv" in formats:
        tables += _write_csv(data, tables_folder)
    if "latex" in formats:
        tables += _write_latex(data.answers, tables_folder)
    html = None
    if "html" in formats or "pdf" in formats:
        html = out / "report.html"
        with atomic_write(html) as file:  # a report that was there stays until the new one is whole
            file.write(page_html(data, sections).encode("utf-8"))
    pdf = print_pdf(html, out / "report.pdf") if html is not None and "pdf" in formats else None
    text = None
    if "md" in formats:
        text = out / "report.md"
        with atomic_write(text) as file:
            shown = markdown(data.sweep.name, _banners(data), data.sentences, sections)
            file.write(shown.encode("utf-8"))
    return ReportFiles(html, pdf, text, tuple(written), tuple(tables))


def _banners(data: StudyData) -> list[str]:
    sweep, answers = data.sweep, data.answers
    banners = []
    if sweep.rehearsal:
        banners.append(
            "Rehearsal: small networks, few epochs. It shows that the sweep runs, and says nothing about the losses."
        )
    if answers.caution:
        banners.append(answers.caution)
    waiting = int(answers.trials["state"].isin(["queued", "running"]).sum())
    if waiting:
        banners.append(
            f"Not finished: {waiting} of {len(answers.trials)} trials are queued or running; numbers may change."
        )
    outdated = int((answers.unfinished["state"] == "outdated").sum())
    if outdated:
        banners.append(f"{outdated} trials have results of an older version, which are listed but not counted.")
    unsteady = sum(not spec.training.deterministic for spec in data.specs)
    if unsteady:
        banners.append(
            f"Not reproducible: {unsteady} trials were trained with training.deterministic = false. "
            "Trained again, they give other numbers."
        )
    return banners


def _write_csv(data: StudyData, folder: Path) -> list[Path]:
    answers = data.answers
    frames = {
        "trials": answers.trials, "results": answers.table, "significance": answers.significance,
        "comparisons": answers.comparisons, "gamma_differences": answers.gamma_differences,
        "gamma_curves": answers.curves, "stability": answers.stability, "selection": answers.selection,
        "ranking_agreement": answers.agreement, "claims": answers.claims, "costs": answers.costs,
        "unfinished": answers.unfinished, "image_scores": answers.selected, "by_size": answers.by_size,
    }  # fmt: skip
    if data.source:  # nothing is known of the trainings
        frames = {name: frame for name, frame in frames.items() if name not in _OF_TRAININGS}
    paths = []
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        with atomic_write(path) as file:
            without_formulas(frame).to_csv(file, index=False)
        paths.append(path)
    return paths


def _write_latex(answers: Answers, folder: Path) -> list[Path]:
    tables = latex.result_tables(answers) | latex.comparison_tables(answers) | latex.significance_tables(answers)
    if len(answers.stability):
        tables["stability"] = latex.stability_table(answers)
    paths = []
    for stem, text in {**tables, "tables": latex.document(list(tables))}.items():
        path = folder / f"{stem}.tex"
        with atomic_write(path) as file:
            file.write(text.encode("utf-8"))
        paths.append(path)
    return paths
