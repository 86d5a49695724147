"""What a contributor or a plug-in adds with one call: a statistical test, a figure, a section. The report shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from study_maker import MemoryRepository, Study, make_sweep, make_trial, store

from dashboards.commands import write
from dashboards.errors import ReportError
from dashboards.figures import FIGURES, dataset_figure, study_figure
from dashboards.report import SECTIONS, Paragraph, Section, Table
from storage.database import open_database
from storage.repository import Repository
from sweeper.analysis import AnalysisError
from sweeper.analysis.statistical_tests import TESTS, Comparison, StatisticalTest
from sweeper.settings import Settings
from sweeper.study import read_study
from tests.dashboards.reports import write_report
from tests.dashboards.unrendered import unrendered
from trials.messages import PluginSource
from trials.registry import Registry
from trials.spec import content_hash
from workers.plugins import load_plugin_texts


@pytest.fixture(autouse=True)
def _registries_as_before() -> Iterator[None]:
    registries: tuple[Registry[Any], ...] = (TESTS, FIGURES, SECTIONS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.replace(entries)


def sign_test(first: np.ndarray, second: np.ndarray) -> Comparison:
    both = np.isfinite(first) & np.isfinite(second)
    d = first[both] - second[both]
    n, better = d.size, int((d > 0).sum())
    p = float(stats.binomtest(better, n).pvalue)
    return Comparison(
        p, 2 * better / n - 1, float(np.median(d)), d.min(), d.max(), n, int((~both).sum()), 2.0 ** (1 - n)
    )


SIGN = StatisticalTest("sign", "sign", sign_test, paired=True, sentence="The sign test counts the better images.")


def three_losses() -> Study:
    rng = np.random.default_rng(0)
    study = Study()
    for loss, mean in (("ce", 0.6), ("dice", 0.7), ("focal", 0.62)):
        study.add(make_trial("nuclei", loss), rng.normal(mean, 0.03, 9).tolist())
    return study


@pytest.mark.slow
def test_a_third_test_is_in_tables_figures_latex_and_storage_and_moves_no_other_number(tmp_path):
    study = three_losses()
    database = open_database(f"sqlite:///{tmp_path / 's.db'}")
    try:
        repository = Repository(database)
        store(study, repository, "s")
        before = read_study(repository, "s").significance
        TESTS.register("sign", SIGN)
        with unrendered():
            files = write(
                Settings(home=tmp_path),
                repository,
                read_study(repository, "s"),
                tmp_path / "out",
                ("html", "csv", "latex"),
            )
        stored = repository.significance("s")
    finally:
        database.close()

    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The sign test counts the better images." in page
    assert page.count(">sign p</th>") == 1
    stems = {path.stem for path in files}
    assert {"p-values-nuclei-thing", "p-values-sign-nuclei-thing", "significance-1"} <= stems
    latex = (tmp_path / "out" / "tables" / "significance-1.tex").read_text(encoding="utf-8")
    assert "sign $p$ & Holm & effect" in latex
    assert len([line for line in latex.splitlines() if line.startswith(("ce &", "dice &"))]) == 3
    assert {"rank_sum", "signed_rank", "sign"} <= {t.test for t in stored}
    one = next(t for t in stored if (t.test, t.metric, t.first, t.second) == ("sign", "dsc", "ce", "dice"))
    assert one.p == pytest.approx(2 / 2**9)
    assert one.p_holm == pytest.approx(3 * 2 / 2**9)

    after = pd.read_csv(tmp_path / "out" / "tables" / "significance.csv", keep_default_na=True)
    both = after[after["test"] != "sign"].reset_index(drop=True)
    numbers = ["p", "p_holm", "effect", "median_difference", "low", "high", "family_size", "smallest_p_holm"]
    pd.testing.assert_frame_equal(both[numbers], before[numbers], check_dtype=False)


@pytest.mark.slow
def test_a_test_that_fails_is_named(tmp_path):
    def broken(first: np.ndarray, second: np.ndarray) -> Comparison:
        raise ZeroDivisionError("no images")

    TESTS.register("broken", StatisticalTest("broken", "broken", broken, paired=False, sentence=""))
    with pytest.raises(AnalysisError, match=r"test 'broken' failed: ZeroDivisionError: no images"):
        write_report(MemoryRepository(three_losses()), "s", tmp_path)


def histogram(data, dataset):
    figure = Figure(figsize=(4, 3))
    scores = data.answers.images
    figure.subplots().hist(scores.loc[scores["dataset"] == dataset, "dsc"])
    return figure


@pytest.mark.slow
def test_a_figure_is_on_the_page_and_a_file(tmp_path):
    study = three_losses()
    study.add(make_trial("other", "ce"), [0.5, 0.6])
    FIGURES.register(
        "histogram",
        dataset_figure("histogram", histogram, title="Scores", caption="One bar, one range.", section="tables"),
    )
    FIGURES.register(
        "nothing", study_figure("nothing", lambda data: None, title="A void", caption="None.", section="tables")
    )
    files = write_report(MemoryRepository(study, make_sweep()), "s", tmp_path)
    page = files.page.read_text(encoding="utf-8")
    section = page[page.index('<h2 id="tables"') : page.index('<h2 id="family"')]
    for dataset in ("nuclei", "other"):
        assert f"<strong>Scores, {dataset}.</strong> <span" in section
        assert f'aria-label="Scores, {dataset}. One bar, one range."' in section
        for suffix in ("svg", "png"):
            assert (tmp_path / "figures" / f"histogram-{dataset}.{suffix}").stat().st_size > 500
    assert section.count(">One bar, one range.</span>") == 2
    assert "A void" not in page


@pytest.mark.slow
def test_a_section_stands_in_its_place_and_is_escaped(tmp_path):
    def notes(data, drawings):
        yield Paragraph(f"Written for <{data.sweep.name}>.")
        yield Table("Notes", ("What", "n"), (("trials", str(len(data.answers.trials))),), (False, True))

    SECTIONS.register("notes", Section("notes", "Notes of ours", 25, notes))
    SECTIONS.register("empty", Section("empty", "Nothing to say", 26, lambda data, drawings: []))
    with unrendered():
        page = write_report(MemoryRepository(three_losses()), "s", tmp_path).page.read_text(encoding="utf-8")
    assert page.index('<h2 id="tables"') < page.index('<h2 id="notes"') < page.index('<h2 id="family"')
    assert '<a href="#notes">Notes of ours</a>' in page
    assert "Written for &lt;s&gt;." in page
    assert "Nothing to say" not in page


@pytest.mark.slow
def test_what_fails_in_an_added_part_is_named(tmp_path):
    SECTIONS.register("bad", Section("bad", "Bad", 25, lambda data, drawings: [data.missing]))
    with unrendered(), pytest.raises(ReportError, match=r"the section 'bad' of the report failed: AttributeError"):
        write_report(MemoryRepository(three_losses()), "s", tmp_path)
    FIGURES.register("lost", study_figure("lost", lambda data: None, title="", caption="", section="nowhere"))
    with pytest.raises(ReportError, match=r"figure 'lost' names the section 'nowhere'; known: rests, tables"):
        write_report(MemoryRepository(three_losses()), "s", tmp_path)


PLUGIN = """
from dashboards.report import SECTIONS, Paragraph, Section

SECTIONS.register("mine", Section("mine", "Mine", 200, lambda data, drawings: [Paragraph("From a plug-in.")]))
"""


@pytest.mark.slow
def test_a_plug_in_that_the_sweep_was_launched_with_adds_to_its_report(tmp_path):
    plugin = PluginSource("/home/me/mine.py", content_hash(PLUGIN), PLUGIN, {"sections": ("mine",)})
    database = open_database(f"sqlite:///{tmp_path / 's.db'}")
    try:
        repository = Repository(database)
        repository.create_sweep("s", grid={"name": "s"}, trials=[], details={"plugins": [plugin.to_dict()]})
        with unrendered():
            write(Settings(home=tmp_path), repository, read_study(repository, "s"), tmp_path / "out")
    finally:
        database.close()
        load_plugin_texts(())
    assert "From a plug-in." in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "mine" not in SECTIONS


@pytest.mark.slow
def test_a_metric_has_its_heading_in_the_tables_and_its_own_best(tmp_path):
    study = three_losses()
    study.columns["hd95"] = [3.0] * 9 + [2.0] * 8 + [None] + [4.0] * 9
    study.columns["mine"] = [0.1] * 9 + [0.2] * 9 + [0.3] * 9  # of a plug-in that is not here
    with unrendered():
        files = write_report(MemoryRepository(study), "s", tmp_path, formats=("html", "latex"))
    page = files.page.read_text(encoding="utf-8")
    section = page[page.index('<h2 id="tables"') : page.index('<h2 id="family"')]
    assert ">HD95</th>" in section
    assert ">mine</th>" in section
    assert "<strong>2.000 ± 0.000 (−1)</strong>" in section
    assert "<strong>0.300 ± 0.000</strong>" in section
    latex = (tmp_path / "tables" / "results-1.tex").read_text(encoding="utf-8")
    assert "Recall & HD95 & mine" in latex
    assert r"\textbf{2.000}" in latex
