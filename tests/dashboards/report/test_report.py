"""The report: whole and self-contained for any sweep, escaped everywhere, the same bytes for the same rows."""

import hashlib
import io
import re
from contextlib import nullcontext
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from study_maker import MemoryRepository, Study, make_sweep, make_trial, paper_like, store

from dashboards.commands import write
from dashboards.errors import ReportError
from dashboards.figures import Drawing
from dashboards.report import pdf
from dashboards.report import write as report_write
from dashboards.report.settings_table import settings_table
from dashboards.report.write import contents
from dashboards.study_data import read_study_data
from storage.database import open_database
from storage.errors import UnknownSweepError
from storage.repository import Repository
from sweeper.settings import Settings
from sweeper.study import read_study
from tests.dashboards.reports import write_report
from tests.dashboards.unrendered import unrendered
from trials.spec import EvaluationSpec, ModelSpec, TrainingSpec
from trials.states import FailureKind, TrialState

VOID = {"meta", "link", "br", "img", "input", "hr", "col"}


class Page(HTMLParser):
    """Collects what the tests ask of a page, and notices elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.text, self.links, self.wrong = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "path"):
            self.text.append(data)


def report(study, tmp_path, formats=("html",), *, rendered=False, **sweep):
    """Writes a report; most tests look at its words alone, and do without its figures."""
    with nullcontext() if rendered else unrendered():
        files = write_report(MemoryRepository(study, make_sweep(**sweep)), "s", tmp_path / "out", formats=formats)
    text = files.page.read_text(encoding="utf-8")
    return files, text, Page(text)


def two_losses():
    study = Study()
    study.add(make_trial("nuclei", "ce"), [0.5, 0.6, 0.7])
    study.add(make_trial("nuclei", "dice"), [0.4, 0.7, 0.6])
    return study


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    places, losses = ("cvc_clinicdb", "nuclei"), ("ce", "focal", "dice")
    study = paper_like(places, labels=("polyp",), baselines=losses, gammas=(0.3, 0.5), images=8, repeats=2)
    study.trials.append(
        make_trial("nuclei", "boundary", state=TrialState.FAILED, failure=FailureKind.DIVERGED, error="NaN in epoch 3")
    )
    details = {
        "data": {"nuclei": {"split": {"train": 38, "validation": 10, "test": 12}, "excluded": [["n7", "empty"]]}}
    }
    return report(study, tmp_path_factory.mktemp("whole"), ("html", "csv", "latex"), rendered=True, details=details)


@pytest.mark.slow
def test_figures_that_processes_beside_render_have_the_same_bytes(monkeypatch):
    study = paper_like(
        ("nuclei",), labels=("nucleus",), baselines=("ce", "dice"), gammas=(0.3, 0.5), images=8, repeats=2
    )
    repository = MemoryRepository(study, make_sweep())
    data = read_study_data(repository, read_study(repository, "s"))
    here = files_of(contents(data))
    assert all(svg and png for svg, png in here.values())
    monkeypatch.setattr(report_write, "MANY_PLACES", 1)
    assert_same(files_of(contents(data)), here)
    # What becomes of them where such a process ends at once.
    monkeypatch.setattr("dashboards.rendering.sys.executable", "/bin/false")
    assert_same(files_of(contents(data)), here)


def files_of(content):
    drawings, sections = content
    files = {one.name: (one.svg, one.png) for own in drawings.values() for one in own}
    shown = {one.name: (one.svg, one.png) for _, blocks in sections for one in blocks if isinstance(one, Drawing)}
    assert shown.keys() == files.keys()
    assert_same(shown, {name: files[name] for name in shown})
    return files


def assert_same(files, others):
    """Names the first line or the pixels that differ: whole files would hide them."""
    assert list(files) == list(others)
    for name, (svg, png) in files.items():
        lines = zip(svg.splitlines(), others[name][0].splitlines(), strict=True)
        assert [(name, one, other) for one, other in lines if one != other][:3] == []
        pixels, expected = (np.asarray(Image.open(io.BytesIO(one))) for one in (png, others[name][1]))
        assert pixels.shape == expected.shape, name
        assert np.argwhere(pixels != expected)[:3].tolist() == [], name
        assert hashlib.sha256(png).digest() == hashlib.sha256(others[name][1]).digest(), name


def shown(page):
    return " ".join(" ".join(page.text).split())


@pytest.mark.slow
def test_the_page_is_well_formed_and_every_id_is_unique(whole):
    _, text, page = whole
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert text.startswith("<!doctype html>")
    assert 'lang="en"' in text


@pytest.mark.slow
def test_the_page_needs_no_network(whole):
    _, text, page = whole
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert "@import" not in text
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    assert re.findall(r"url\((?!['\"]?#)[^)]*\)", text) == []


@pytest.mark.slow
def test_the_sections_stand_in_order(whole):
    _, _, page = whole
    order = ["answer", "rests", "tables", "family", "gamma", "significance", "examples", "training", "claims", "cost"]
    order.append("ran")
    assert [i for i in page.ids if i in order] == order


@pytest.mark.slow
def test_every_table_has_headers_with_a_scope_and_every_figure_words(whole):
    _, _, page = whole
    headers = [values for tag, values in page.tags if tag == "th"]
    assert headers
    assert all(values.get("scope") in ("row", "col") for values in headers)
    pictures = [values["aria-label"] for _, values in page.tags if values.get("role") == "img"]
    assert len(pictures) == len([tag for tag, _ in page.tags if tag == "svg"])
    assert all(len(words) > 40 for words in pictures)
    scrollable = [values for _, values in page.tags if values.get("class") == "scroll"]
    assert all(values.get("tabindex") == "0" and values.get("aria-label") for values in scrollable)


@pytest.mark.slow
def test_links_inside_the_page_lead_somewhere(whole):
    _, _, page = whole
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


@pytest.mark.slow
def test_it_says_which_loss_validation_alone_would_take(tmp_path):
    study = Study()
    study.add(make_trial("nuclei", "dice", val_dsc=0.7), [0.8, 0.9])
    study.add(make_trial("nuclei", "unified_focal_asym", gamma=0.5, val_dsc=0.9), [0.5, 0.7])
    _, _, page = report(study, tmp_path)
    taken = (
        "the choice is unified_focal_asym at γ = 0.5 on nuclei (mean validation DSC 0.900 over 1 run, test DSC 0.800)."
    )
    assert taken in shown(page)
    assert "the choice is" not in shown(report(Study(), tmp_path)[2])


@pytest.mark.slow
def test_the_settings_are_those_of_the_specs_and_not_of_the_grid(tmp_path):
    study = Study()
    for dataset, seed in (("nuclei", 0), ("nuclei", 1), ("drive", 0)):
        study.add(make_trial(dataset, "ce", repeat=seed, training=TrainingSpec(learning_rate=0.02)), [0.5, 0.6])
    study.add(make_trial("nuclei", "dice", training=TrainingSpec(learning_rate=0.1)), [0.5, 0.6])
    unfinished = make_trial("drive", "dice", state=TrialState.QUEUED, training=TrainingSpec(learning_rate=0.7))
    study.trials.append(unfinished)
    data = read_study_data(MemoryRepository(study, make_sweep()), read_study(MemoryRepository(study), "s"))
    table = settings_table(data.specs)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.head == ("Setting", "The paper", "nuclei", "drive")
    assert rows["learning rate"][1:] == ("0.02, 0.1", "0.02")
    assert rows["seed"][1:] == ("0, 1", "0")
    for ours in ("momentum", "most epochs", "smallest change that counts as better (min_delta)"):
        assert rows[ours][0] == "not stated"
    assert rows["most epochs"][1:] == ("1000", "1000")
    assert rows["normalisation"] == ("instance", "instance", "instance")
    _, _, page = report(study, tmp_path)
    assert "learning rate stated, illegible in our copy 0.02, 0.1 0.02" in shown(page)


def test_every_setting_of_a_spec_has_a_row():
    table = settings_table([make_trial("nuclei", "ce").spec])
    parts = (ModelSpec, TrainingSpec, EvaluationSpec)
    assert len(table.rows) >= sum(len(fields(part)) for part in parts) - len({"source"}) + len({"seed"})


def test_before_anything_has_finished_the_settings_are_those_that_shall_be_trained_with(tmp_path):
    study = Study(trials=[make_trial("nuclei", "ce", state=TrialState.QUEUED)])
    assert "most epochs not stated 1000" in shown(report(study, tmp_path)[2])


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "loss", "told"), [
    ("kits19", "unified_focal_asym", True), ("kits19", "dice", False), ("drive", "unified_focal_asym", False),
])  # fmt: skip
def test_a_difference_to_tables_5_and_6_is_told_what_it_compares(dataset, loss, told, tmp_path):
    study = Study()
    label = {"kits19": "tumour", "drive": "vessel"}[dataset]
    study.add(make_trial(dataset, loss, gamma=0.5 if "unified" in loss else None), [0.5, 0.6], label=label)
    text = shown(report(study, tmp_path)[2])
    assert "paper 0." in text
    assert ("index a spatial axis" in text) == told


@pytest.mark.slow
def test_what_was_chosen_on_which_scores_is_told_as_it_is(whole):
    text = shown(whole[2])
    assert "The test set decided nothing" not in text
    assert "γ, early stopping and the kept models were chosen on validation scores alone." in text
    assert "what is named best for its test score was chosen by it" in text


@pytest.mark.slow
def test_tables_show_the_numbers_the_paper_and_the_repeats(whole):
    _, _, page = whole
    text = shown(page)
    assert "Table 2 · cvc_clinicdb, polyp" in text
    assert "paper 0.909 ± 0.023" in text
    assert "over 2 repeats" in text
    assert "38 / 10 / 12" in text
    assert "n7" in text
    assert "NaN in epoch 3" in text
    assert "Kendall's τ" in text


@pytest.mark.slow
def test_every_figure_is_a_file_in_both_formats_with_its_numbers(whole):
    files, _, _ = whole
    stems = {}
    for path in files.figures:
        stems.setdefault(path.stem, set()).add(path.suffix)
        assert path.stat().st_size > (50 if path.suffix == ".csv" else 500)
    assert all(suffixes == {".svg", ".png", ".csv"} for suffixes in stems.values())
    assert {"fig1-family", "fig2-gamma-on-the-losses", "fig3-gamma-nuclei", "p-values-nuclei-polyp"} <= set(stems)


@pytest.mark.slow
def test_tables_are_written_as_csv_and_latex(whole):
    files, _, _ = whole
    names = {path.name for path in files.tables}
    assert {
        "significance.csv",
        "stability.csv",
        "claims.csv",
        "image_scores.csv",
        "by_size.csv",
        "results-1.tex",
        "tables.tex",
    } <= names


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes(tmp_path):
    study = Study()
    for gamma, dsc in ((0.1, [0.5, 0.6, 0.7]), (0.5, [0.6, 0.5, 0.9])):
        study.add(make_trial("nuclei", "unified_focal_asym", gamma=gamma), dsc)
    study.add(make_trial("nuclei", "dice"), [0.4, 0.5, 0.6])
    one, _, _ = report(study, tmp_path / "one", ("html", "csv", "latex"), rendered=True)
    other, _, _ = report(study, tmp_path / "other", ("html", "csv", "latex"), rendered=True)
    assert [p.name for p in one.all] == [p.name for p in other.all]
    for a, b in zip(one.all, other.all, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


@pytest.mark.slow
def test_a_data_set_named_script_is_text(tmp_path):
    bad = "<script>alert(1)</script>"
    study = Study()
    for loss in ("ce", "<b>dice</b>", 'x" onload="y'):
        study.add(make_trial(bad, loss), [0.5, 0.6, 0.7], label="<i>thing")
    study.trials.append(make_trial(bad, "focal", state=TrialState.FAILED, error="<img src=x onerror=alert(1)>"))
    details = {"data": {bad: {"excluded": [["<u>", "<s>"]]}}}
    files, _, page = report(study, tmp_path, rendered=True, description="<h1>mine</h1>", reason="<em>", details=details)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "i", "b", "u", "s", "em"}
    assert not [v for _, v in page.tags if "onload" in v or "onerror" in v]
    assert bad in shown(page)
    assert page.wrong == []
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in files.figures)
    for path in files.figures:
        if path.suffix == ".svg":
            assert "<script" not in path.read_text(encoding="utf-8")


def test_a_sweep_with_no_finished_trial(tmp_path):
    study = Study(trials=[make_trial("nuclei", "ce", state=TrialState.QUEUED)])
    _, _, page = report(study, tmp_path)
    text = shown(page)
    assert "No trial has finished yet, so no question is answered." in text
    assert "1 of 1 trials are queued or running" in text
    assert page.wrong == []


def test_an_empty_sweep(tmp_path):
    files, _, page = report(Study(), tmp_path, ("html", "csv", "latex"))
    assert "0 of 0 trials" in shown(page)
    assert "No trial has finished." in next(p for p in files.tables if p.name == "tables.tex").read_text()


@pytest.mark.slow
def test_one_trial_on_one_image(tmp_path):
    study = Study()
    study.add(make_trial("nuclei", "ce"), [0.5])
    _, _, page = report(study, tmp_path)
    assert "No two losses have finished on the same data set." in shown(page)


@pytest.mark.slow
def test_identical_scores(tmp_path):
    study = Study()
    for loss in ("ce", "dice", "focal"):
        study.add(make_trial("nuclei", loss), [0.7, 0.7, 0.7, 0.7])
    _, _, page = report(study, tmp_path)
    assert "all scores are identical" in shown(page)
    assert "the smallest corrected p that any scores could give" in shown(page)


@pytest.mark.slow
def test_undefined_scores_alone(tmp_path):
    study = Study()
    for loss in ("ce", "dice"):
        study.add(make_trial("nuclei", loss, val_dsc=None, test_dsc=None), [None, None])
    _, _, page = report(study, tmp_path)
    assert "No trial has finished yet, so no question is answered." in shown(page)


@pytest.mark.slow
def test_very_long_names(tmp_path):
    study = Study()
    for loss in ("ce", "l" * 300):
        study.add(make_trial("d" * 400, loss), [0.5, 0.6, 0.8], label="c" * 200)
    files, _, page = report(study, tmp_path, rendered=True)
    assert page.wrong == []
    assert all(len(path.name) < 120 for path in files.figures)


@pytest.mark.slow
def test_data_sets_that_differ_in_a_sign_keep_their_own_figures(tmp_path):
    study = Study()
    for dataset in ("a/b", "a:b"):
        for loss in ("ce", "dice"):
            study.add(make_trial(dataset, loss), [0.5, 0.6, 0.8])
    files, _, page = report(study, tmp_path)
    assert len({p.name for p in files.figures if p.name.startswith("p-values")}) == 6
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provenance", "rehearsal", "words"),
    [("synthetic", False, "Synthetic images: nuclei."), ("real", True, "Rehearsal:"), ("real", False, None)],
)
def test_the_banner(provenance, rehearsal, words, tmp_path):
    study = Study()
    study.add(make_trial("nuclei", "ce", provenance=provenance), [0.5, 0.6])
    _, _, page = report(study, tmp_path, rehearsal=rehearsal)
    text = shown(page)
    assert (words in text) if words else ("Rehearsal" not in text and "Synthetic images" not in text)


@pytest.mark.slow
def test_outdated_results_are_named_and_not_counted(tmp_path):
    study = Study()
    study.add(make_trial("nuclei", "ce"), [0.5, 0.6])
    study.add(make_trial("nuclei", "dice", results_version=0), [0.9, 0.9])
    _, _, page = report(study, tmp_path)
    text = shown(page)
    assert "1 trials have results of an older version" in text
    assert "0.900" not in text


@pytest.mark.slow
def test_results_that_are_not_reproducible_are_marked(tmp_path):
    study = Study()
    trial = make_trial("nuclei", "ce")
    spec = replace(trial.spec, training=replace(trial.spec.training, deterministic=False))
    study.add(replace(trial, spec=spec, hash=spec.hash), [0.5, 0.6])
    _, _, page = report(study, tmp_path)
    text = shown(page)
    assert "Not reproducible: 1 trials were trained with training.deterministic = false" in text


@pytest.mark.slow
def test_formats_and_folders_that_cannot_be(tmp_path):
    repository = MemoryRepository(Study())
    with pytest.raises(ReportError, match=r"'docx'.*html, pdf, latex, csv, md"):
        write_report(repository, "s", tmp_path, formats=("docx",))
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="--out"):
        write_report(repository, "s", tmp_path / "file")


def test_pdf_without_a_browser_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReportError, match=r"Chromium.*apt-get install chromium"):
        write_report(MemoryRepository(Study()), "s", tmp_path / "out", formats=("pdf",))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.browser
def test_a_study_as_large_as_the_paper_s_is_fifteen_pages_on_paper(tmp_path):
    try:
        pdf.browser()
    except ReportError:
        pytest.skip("no Chromium on this machine")
    study, volumes = paper_like(("cvc_clinicdb", "drive", "bus2017"), images=8), paper_like(
        ("brats20", "kits19"), images=8, labels=("first", "second")
    )  # fmt: skip
    study.trials += volumes.trials
    for name, values in volumes.columns.items():
        study.columns[name] += values
    files, _, _ = report(study, tmp_path, ("pdf",), rendered=True)
    content = files.pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 5 < len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) <= 15


@pytest.mark.slow
def test_the_command_writes_from_a_real_database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 's.db'}")
    try:
        repository = Repository(database)
        store(two_losses(), repository, "nuclei-demo")
        settings = Settings(home=tmp_path / "home")
        with unrendered():
            paths = write(settings, repository, read_study(repository, "nuclei-demo"), tmp_path / "out", ("html",))
        assert paths[0] == tmp_path / "out" / "report.html"
        assert all(path.is_file() for path in paths)
        assert len(repository.significance("nuclei-demo")) > 0
        with pytest.raises(UnknownSweepError, match="nuclei-demo"):
            write(settings, repository, read_study(repository, "nuclei-dmeo"), tmp_path / "out")
    finally:
        database.close()


@pytest.mark.slow
def test_the_ranking_says_who_may_be_best_and_what_more_runs_would_find(tmp_path):
    _, _, page = report(paper_like(gammas=(0.5,), baselines=("ce",), images=8, repeats=3), tmp_path)
    text = " ".join(page.text)
    assert "With new images and new trainings" in text
    assert "Kendall's τ between resampled rankings and this one" in text
    assert "80% of studies of 3 losses with 3 runs each on 8 images find a difference of" in text
    assert "estimated from these scores" in text


@pytest.mark.slow
def test_the_ranking_of_one_run_each_is_of_these_networks(tmp_path):
    _, _, page = report(two_losses(), tmp_path)
    text = " ".join(page.text)
    assert "Of these trained networks, on new images, the best may be" in text
    assert "With one run of each loss nothing is said about new trainings." in text
    assert "with new images and new trainings" not in text.lower()
