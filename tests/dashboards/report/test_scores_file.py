"""`sweeper analyse`: the report of a file of scores that were made elsewhere, and what is said of a wrong file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from dashboards.commands import write_scores
from dashboards.figures import FIGURES
from dashboards.report import write
from dashboards.study_data import StudyData, data_of_scores
from sweeper.analysis import AnalysisError
from sweeper.run.publishing import report_scores
from sweeper.score_files import read_scores, study_of
from tests.dashboards.unrendered import unrendered

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The file that docs/answers.md shows."""
    (text,) = re.findall(r"```text\n(dataset,.*?)```", (DOCS / "answers.md").read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "nnunet.csv"
    path.write_text(text, encoding="utf-8")
    return path


def page_of(data: StudyData) -> str:
    """The page without its figures."""
    page = write.page_html(data, write.fill_sections(data, dict.fromkeys(FIGURES, ())))
    return re.sub(r"\s+", " ", unescape(page))


def study_data(scores: pd.DataFrame) -> StudyData:
    return data_of_scores(study_of(scores, "nnunet.csv"), "nnunet.csv")


@pytest.mark.slow
def test_the_page_s_example_becomes_a_whole_report(example: Path, tmp_path: Path) -> None:
    with unrendered():
        files = report_scores(example, tmp_path / "out", ("html", "csv", "latex"))  # as the command finds the writer
    assert all(path.exists() for path in files)
    page = files[0].read_text(encoding="utf-8")
    assert "scores from nnunet.csv" in page
    assert "heart (left atrium)" in page
    assert "in new trainings" in page
    assert "HD95: a smaller value is better." in page
    assert {"results.csv", "comparisons.csv", "results-1.tex"} <= {path.name for path in files}
    means = pd.read_csv(example).groupby("loss")["dsc"].mean()
    shown = pd.read_csv(tmp_path / "out" / "tables" / "results.csv").query("metric == 'dsc'").set_index("variant")
    assert shown["mean"].to_dict() == pytest.approx(means.to_dict())


@pytest.mark.slow
def test_the_page_says_nothing_of_trainings_that_it_does_not_know(example: Path) -> None:
    page = page_of(study_data(read_scores(example).assign(confidence=[i / 20 for i in range(12)])))
    for absent in (
        "No trial has finished", "Every trial finished", "chosen on validation", "sweep started", "older version",
        "sweeper score", 'id="gamma"', 'id="cost"', 'id="training"', 'id="claims"', "estimated from sweep",
        "Precision", "Recall", "IoU",
    ):  # fmt: skip
        assert absent not in page, absent
    assert "confidence: no metric that this program knows. A larger value is taken to be better." in page
    assert "estimated from these scores" in page


@pytest.mark.slow
def test_one_run_of_each_loss_is_about_these_trained_networks(example: Path) -> None:
    scores = read_scores(example)
    page = page_of(study_data(scores[scores["run"] == "0"]))
    assert "of these trained networks" in page
    assert "better than" not in page
    assert "*:" not in page


@pytest.mark.slow
def test_sizes_in_the_file_give_the_scores_by_size(example: Path) -> None:
    page = page_of(study_data(read_scores(example).assign(size=[10, 20, 30] * 4)))
    assert "small: 10 to 10 pixels" in page
    assert "No image has both an empty truth and an empty prediction." in page


@pytest.mark.slow
def test_the_paper_s_losses_on_its_data_set_are_asked_for_its_claims(example: Path) -> None:
    names = {"dice_ce": "unified_focal_asym", "dice_topk": "dice"}
    scores = read_scores(example).replace({"loss": names, "dataset": {"heart": "bus2017"}})
    page = page_of(study_data(scores.assign(**{"class": "tumour"})))
    assert 'id="claims"' in page
    assert "Of the paper's" in page


def test_csv_and_parquet_are_read_alike(example: Path, tmp_path: Path) -> None:
    first = read_scores(example)
    first.set_index("dataset").to_parquet(tmp_path / "scores.parquet")
    first.to_csv(tmp_path / "indexed.csv", encoding="utf-8-sig")  # as pandas and spreadsheets do
    for name in ("scores.parquet", "indexed.csv"):
        again = read_scores(tmp_path / name)
        pd.testing.assert_frame_equal(again[first.columns], first)
        assert len(again.columns) == len(first.columns)


HEAD = "dataset,class,loss,run,case,dsc"
WRONG: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "unknown ending": ("scores.xlsx", b"x", ("'.xlsx'", ".csv or .parquet")),
    "empty": ("scores.csv", b"", ("is empty",)),
    "empty parquet": ("scores.parquet", b"", ("is empty",)),
    "blank lines": ("scores.csv", b"\n\n", ("cannot be read as csv",)),
    "no rows": ("scores.csv", HEAD.encode(), ("no row",)),
    "no text": ("scores.csv", b"\x89PNG\x00\xff", ("cannot be read as csv",)),
    "no parquet": ("scores.parquet", b"PAR1 nonsense", ("cannot be read as parquet",)),
    "semicolons": ("scores.csv", HEAD.replace(",", ";").encode() + b"\na;b;c;1;2;0,1\n", ("semicolons",)),
    "a column twice": ("scores.csv", f"{HEAD},dsc\na,b,c,1,2,.1,.2\n".encode(), ("two columns 'dsc'",)),
    "more cells than columns": ("scores.csv", f"{HEAD}\na,b,c,1,2,.1,9\n".encode(), ("cannot be read as csv",)),
    "an open quote": ("scores.csv", f'{HEAD}\n"a,b,c,1,2,.1\n'.encode(), ("cannot be read as csv",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_none_is_told_in_one_line_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    name, content, said = WRONG[case]
    (tmp_path / name).write_bytes(content)
    refused(lambda: write_scores(tmp_path / name, tmp_path / "out"), name, *said)
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    refused(lambda: read_scores(tmp_path / "none.csv"), "no file", "none.csv")
    (tmp_path / "folder.csv").mkdir()
    refused(lambda: read_scores(tmp_path / "folder.csv"), "is a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(example: Path) -> None:
    example.chmod(0)
    refused(lambda: read_scores(example), "cannot be read", "Permission denied")


def refused(action: Callable[[], object], *said: str) -> None:
    with pytest.raises(AnalysisError) as error:
        action()
    assert "\n" not in str(error.value)
    for words in said:
        assert words in str(error.value)
