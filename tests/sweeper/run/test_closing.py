"""What a launch ends with: the answer that every other surface gives, and where to look at everything."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from study_maker import MemoryRepository, Study, make_trial

from dashboards.report.write import page_html
from dashboards.study_data import StudyData
from sweeper.analysis import Answers, analyse, score_frame, trial_frame
from sweeper.run.closing import closing_text
from sweeper.settings import Settings
from sweeper.study import read_study


def nothing() -> Answers:
    return analyse(trial_frame([]), score_frame(Study().columns))


def closing(settings: Settings, report: list[Path], mlflow: str = "") -> list[str]:
    text = str(closing_text(settings, "demo", nothing(), report, mlflow))
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_it_ends_with_commands_for_what_is_local(tmp_path: Path) -> None:
    said = closing(Settings(home=tmp_path), [tmp_path / "report.html"])
    assert f"xdg-open {tmp_path}/report.html" in said
    assert said[-2].endswith("sweeper mlflow ui demo")


def test_among_servers_it_ends_with_where_a_browser_finds_them(tmp_path: Path) -> None:
    servers = Settings(home=tmp_path, mlflow_uri="http://mlflow:5000")
    assert closing(servers, [])[-2] == "http://mlflow:5000  (MLflow, with the report)"
    seen = servers.model_copy(update={"mlflow_url": "https://mlflow.example", "board_url": "https://board.example"})
    assert (
        closing(seen, [], "https://mlflow.example/#/a")[-2] == "https://mlflow.example/#/a  (MLflow, with the report)"
    )
    said = closing(seen, [tmp_path / "report.html"])
    assert said[-3:-1] == ["https://board.example  (the board)", "https://mlflow.example  (MLflow, with the report)"]
    assert not any("xdg-open" in line or "mlflow ui" in line for line in said)


def test_a_conclusion_from_synthetic_images_says_so(tmp_path: Path) -> None:
    study = Study()
    for dataset, provenance in (("kits19", "synthetic"), ("nuclei", "real")):
        for loss in ("ce", "dice"):
            study.add(make_trial(dataset, loss, provenance=provenance), [0.5, 0.6])
    answers = analyse(trial_frame(study.trials), score_frame(study.columns))
    said = str(closing_text(Settings(home=tmp_path), "s", answers, [])).splitlines()
    assert "Synthetic images: kits19. Their scores say nothing about real images." in said
    assert "Synthetic" not in "".join(closing(Settings(home=tmp_path), []))


def lucky() -> Study:
    """One run of CE is the best of all on validation; the mean over runs is higher for Dice."""
    study, images = Study(), np.linspace(0.5, 0.7, 12)
    for repeat, (ce, dice) in enumerate(((0.95, 0.80), (0.60, 0.86), (0.61, 0.84))):
        study.add(make_trial("nuclei", "ce", repeat=repeat, val_dsc=ce), (images + 0.01 * repeat).tolist())
        study.add(make_trial("nuclei", "dice", repeat=repeat, val_dsc=dice), (images + 0.2).tolist())
    return study


def test_every_surface_gives_the_same_answer_and_none_the_luckiest_run(tmp_path: Path) -> None:
    study = lucky()
    stored = read_study(MemoryRepository(study), "s")  # type: ignore[arg-type]
    answers = stored.answers
    closing_words = re.sub(r"\s+", " ", str(closing_text(Settings(home=tmp_path), "s", answers, [])))
    page = html.unescape(page_html(StudyData(stored, stored.scores, (), {}, ()), []))
    for surface in (closing_words, page):
        assert answers.sentences[0] in surface
        assert "dice on nuclei (mean validation DSC 0.833 over 3 runs, test DSC 0.800)" in surface
    best = {t.hash: (t.loss, t.repeat) for t in study.trials}[answers.best_models["nuclei"]]
    assert best == ("dice", 1)


@pytest.mark.parametrize("runs", [1, 2])
def test_it_calls_a_loss_better_only_in_new_trainings(runs: int) -> None:
    study = Study()
    for repeat in range(runs):
        for loss, mean in (("ce", 0.4), ("dice", 0.8)):
            study.add(make_trial("a", loss, repeat=repeat), (mean + np.linspace(0, 0.1, 20)).tolist())
    answers = analyse(trial_frame(study.trials), score_frame(study.columns))
    said = str(closing_text(Settings(home=Path("home")), "s", answers, []))
    assert ("better" in said) == (runs > 1)
    assert ("these trained networks" in said) == (runs == 1)
    assert said.endswith("sweeper predict s IMAGES --to DIR")
