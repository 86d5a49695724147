"""What the study computes beside the product's answers, on small made-up frames whose answers are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from benchmarks.harness import Setting
from benchmarks.study import pilot, questions, read, text
from benchmarks.study.__main__ import DOCS
from benchmarks.study.page import TEMPLATE, page, values
from benchmarks.study.read import Exported
from benchmarks.study.run import RUNS, launches
from benchmarks.study.study import Study
from sweeper.analysis.frames import TRIAL_COLUMNS, score_frame, typed_trials
from sweeper.analysis.selection import select_gamma
from sweeper.data.preparation import bare_identities
from sweeper.grids.expansion import expand, training_of
from sweeper.grids.files import load_grid
from trials.spec import RESULTS_VERSION, TrialSpec


def frames(
    means: dict[str, float],
    datasets: tuple[str, ...] = ("a",),
    runs: int = 3,
    images: int = 6,
    run_spread: float = 0.0,
    noise: float = 0.02,
    gammas: tuple[float, ...] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and test scores of losses with these mean DSC; a unified loss has every γ, and the larger is better."""
    random = np.random.default_rng(0)
    rows, scores = [], []
    for dataset in datasets:
        easy = random.normal(0, 0.05, images)
        for loss, mean in means.items():
            for gamma in gammas if loss.startswith("unified") else (np.nan,):
                for repeat in range(runs):
                    name = f"{dataset}-{loss}-{gamma}-{repeat}"
                    bonus = 0.0 if np.isnan(gamma) else 0.05 * (gamma - max(gammas))
                    values = mean + bonus + easy + random.normal(0, run_spread) + random.normal(0, noise, images)
                    rows.append(
                        dict.fromkeys(TRIAL_COLUMNS, "")
                        | {"hash": name, "label": name, "state": "finished", "dataset": dataset, "loss": loss}
                        | {"variant": loss, "gamma": gamma, "repeat": repeat, "fold": -1, "seed": repeat}
                        | {"results_version": RESULTS_VERSION, "current": True, "external": False, "epochs": 1}
                        | {"provenance": "real", "dimensions": 2, "val_loss": 0.1, "val_dsc": mean + bonus}
                        | {"test_dsc": float(values.mean()), "best_epoch": 1, "train_seconds": 3600.0}
                        | {"parameters": 1, "attempts": 1, "finished_at": 0.0}
                    )
                    for case, value in enumerate(np.clip(values, 0, 1)):
                        scores.append((name, "test", f"{case:02d}", "x", "", value, value, 0.6, 0.8, 50.0))
    columns = ["trial", "partition", "case", "label", "group", "dsc", "iou", "precision", "recall", "size"]
    table = pd.DataFrame(scores, columns=columns)
    return typed_trials(rows), score_frame({column: table[column].tolist() for column in columns})


def test_a_run_counts_when_every_loss_has_it() -> None:
    trials, _ = frames({"ce": 0.7, "dice": 0.8}, ("a", "b"), runs=2)
    trials.loc[(trials["dataset"] == "a") & (trials["repeat"] == 1) & (trials["loss"] == "ce"), "state"] = "queued"
    trials.loc[(trials["dataset"] == "b") & (trials["repeat"] == 0) & (trials["loss"] == "ce"), "state"] = "failed"
    whole = read.whole_runs(trials)
    assert set(zip(whole["dataset"], whole["repeat"], strict=True)) == {("a", 0), ("b", 0), ("b", 1)}
    told = read.runs_of(trials).set_index("dataset")
    assert told.loc["a"].tolist() == [1, 3, 0, 4]
    assert told.loc["b"].tolist() == [2, 3, 1, 4]


def test_the_gain_is_the_unified_loss_less_the_baseline_whatever_their_order() -> None:
    trials, scores = frames({"ce": 0.70, "zero": 0.60, "unified_focal_asym": 0.75}, gammas=(0.5, 0.9))
    images, selection = questions.image_dsc(trials, scores), select_gamma(trials)
    assert selection.set_index("variant").loc["unified_focal_asym", "gamma"] == 0.9, "validation prefers it"
    found = questions.gains(questions.overall(images, selection), ["unified_focal_asym"], ["ce", "zero"])
    assert found.set_index("over")["gain"].to_dict() == pytest.approx({"ce": 0.05, "zero": 0.15}, abs=0.02)
    assert ((found["low"] < found["gain"]) & (found["gain"] < found["high"])).all()


def test_the_share_of_the_foreground_counts_each_image_once() -> None:
    trials, scores = frames({"ce": 0.7, "dice": 0.8}, runs=2)
    one_run = trials["hash"].iloc[0]
    scores.loc[scores["case"].isin(["00", "01"]) & (scores["trial"] != one_run), "partition"] = "validation"
    scores.loc[scores["case"] == "05", "partition"] = "validation"
    found = questions.shares(trials, scores, {"a": 1000})
    assert found.to_dict("records") == [{"dataset": "a", "label": "x", "images": 6, "tested": 5, "share": 0.05}]


def test_a_line_knows_its_slope_and_which_point_bears_it() -> None:
    found = questions.line(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 0.0, 3.0]))
    assert found is not None
    assert found.slope == pytest.approx(0.9)
    assert found.low < 0 < found.high
    assert min(found.others) == pytest.approx(0.0), "without the last point"
    assert questions.line(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None


def test_the_gain_of_rare_sets_is_a_slope_for_each_tenfold() -> None:
    share = pd.DataFrame(
        {"dataset": ["a", "b", "c", "d"], "label": "x", "images": 9, "share": [0.1, 0.01, 0.01, 0.001]}
    )
    gained = pd.DataFrame(
        {"dataset": ["d", "a", "b", "c"], "loss": "u", "over": "ce", "gain": [0.31, 0.1, 0.19, 0.21]}
    ).assign(low=0.0, high=1.0, p_holm=1.0)
    (row,) = questions.gain_by_rarity(gained, share).to_dict("records")
    assert row["slope"] == pytest.approx(0.105)
    assert row["sets"] == 4
    assert row["low"] < row["slope"] < row["high"]


def test_recall_less_precision() -> None:
    trials, scores = frames({"ce": 0.7, "dice": 0.8})
    found = questions.balance(trials, scores, select_gamma(trials))
    assert found["difference"].tolist() == pytest.approx([0.2, 0.2])


def test_single_runs_of_losses_that_differ_much_name_the_best() -> None:
    trials, scores = frames({"ce": 0.5, "dice": 0.8, "focal": 0.4})
    (row,) = questions.single_runs(questions.image_dsc(trials, scores), trials, select_gamma(trials), 50).to_dict(
        "records"
    )
    assert (row["best"], row["other"], row["worse"], row["clear"], row["named"], row["runs"]) == ("dice", 0, 0, 1, 1, 3)


def test_single_runs_of_equal_losses_name_others() -> None:
    trials, scores = frames({"ce": 0.6, "dice": 0.6, "focal": 0.6}, runs=3, run_spread=0.1)
    (row,) = questions.single_runs(questions.image_dsc(trials, scores), trials, select_gamma(trials), 200).to_dict(
        "records"
    )
    assert row["other"] > 0.2
    assert row["named"] > 1
    assert 0 < row["worse"] <= row["other"]


def test_a_single_run_chooses_its_own_gamma() -> None:
    trials, scores = frames({"ce": 0.6, "unified_focal_sym": 0.6}, runs=2, gammas=(0.1, 0.9), noise=0.0)
    first = (trials["repeat"] == 0) & (trials["gamma"] == 0.1)
    trials.loc[first, "val_dsc"] = 0.99
    runs = questions._of_single_runs(questions.image_dsc(trials, scores), trials)
    assert runs["unified_focal_sym"][0].mean() == pytest.approx(runs["unified_focal_sym"][1].mean() - 0.04)


def test_one_loss_against_itself_differs_more_often_by_the_paper_s_test() -> None:
    trials, scores = frames({"ce": 0.6}, runs=6, run_spread=0.15, noise=0.01)
    (found,) = questions.same_loss(questions.image_dsc(trials, scores))
    assert (found.runs, found.pairs, found.halves) == (6, 15, 10)
    assert found.paper > 0.4
    assert found.ours < found.paper


def test_own_rates_take_what_validation_prefers() -> None:
    common, _ = frames({"ce": 0.7, "dice": 0.6, "focal": 0.1})
    other, _ = frames({"ce": 0.5, "dice": 0.8})
    (row,) = questions.own_rates([common, other]).to_dict("records")
    assert (row["first"], row["first_own"], row["moved"], row["losses"], row["tau"]) == ("ce", "dice", 2, 2, -1.0)


def curve(dataset: str, loss: str, rate: float, values: list[float]) -> pd.DataFrame:
    columns = {"dataset": dataset, "loss": loss, "rate": rate, "epoch": range(1, len(values) + 1), "val_dsc": values}
    return pd.DataFrame(columns)


def test_the_pilot_chooses_the_rate_of_both_losses_and_epochs_by_the_slower() -> None:
    found = pd.concat(
        [
            curve("a", "ce", 0.1, [0.2] * 5 + [0.7] * 15),
            curve("a", "dice", 0.1, [0.1] * 10 + [0.5] * 3 + [0.9] * 7),
            curve("a", "ce", 0.3, [0.6] * 12),
            curve("a", "dice", 0.3, [0.7] * 12),
            curve("a", "ce", 1.0, [0.8] * 12),
            curve("a", "dice", 1.0, [0.1] * 12),
        ]
    )
    assert pilot.choose(found) == {"a": pilot.Choice(0.3, 15)}
    assert pilot.best_by_rate(found).to_numpy().tolist() == [[0.7, 0.6, 0.8], [0.5, 0.7, 0.1]]


def test_a_pilot_s_sweep_is_named_by_its_rate() -> None:
    trials, scores = frames({"ce": 0.7}, runs=1)
    epochs = pd.DataFrame({"trial": trials["hash"], "epoch": 1, "val_dsc": 0.5, "loss": 0.1})
    one = Exported("pilot-0.03", trials, scores, epochs, pd.DataFrame(), {})
    assert pilot.curves([one]).to_dict("records") == [
        {"dataset": "a", "loss": "ce", "rate": 0.03, "epoch": 1, "val_dsc": 0.5}
    ]


def test_numbers_of_the_page() -> None:
    assert (text.number(-0.0125, 2), text.number(np.nan), text.signed(0.0301), text.signed(-0.0001)) == (
        "−0.01", "–", "+0.030", "0.000",
    )  # fmt: skip
    assert text.interval(-0.1, 0.25, 2) == "−0.10 to +0.25"
    assert (text.percent(0.256), text.small(0.0004), text.small(0.04)) == ("26%", "< 0.001", "0.040")
    assert text.table(("a", "b"), [(1, 2)]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert text.table(("a",), []) == text.NOT_YET
    assert text.listing(["a", "b", "c"]) == "a, b and c"


def test_a_template_and_its_values_belong_together() -> None:
    assert text.filled("{{a}} and {{b}}", {"a": "1", "b": "2"}) == "1 and 2"
    with pytest.raises(KeyError, match="c"):
        text.filled("{{a}}", {"a": "1", "c": "2"})


def asked(words: list[str]) -> dict[str, TrialSpec]:
    changes = [value for word, value in pairwise(words) if word == "--set"]
    grid = load_grid(words[words.index("--grid") + 1], changes)
    return {spec.hash: spec for spec in expand(grid, bare_identities(grid))}


def test_the_study_grows_by_whole_runs_and_shares_them_with_its_checks() -> None:
    steps = list(launches(Setting.NORMAL))
    first, whole = asked(steps[0]), asked(steps[RUNS - 1])
    assert set(first) < set(whole)
    assert (len(first), len(whole)) == (320, 1600)
    assert {spec.repeat for spec in first.values()} == {0}
    further, same, *rates = (asked(words) for words in steps[RUNS:])
    assert len({spec.loss.name for spec in further.values()}) == 16
    assert (len(further), len(set(further) & set(whole))) == (480, 320), "eight losses on four sets, five times"
    assert (len(same), len(set(same) & set(whole))) == (40, 20), "ten seeds of two losses on two sets"
    common = {spec.data.dataset: spec.training.learning_rate for spec in whole.values()}
    factors = [{round(s.training.learning_rate / common[s.data.dataset], 1) for s in one.values()} for one in rates]
    assert factors == [{0.3}, {3.0}]


def test_a_quick_study_is_two_sets_with_every_loss_twice() -> None:
    *_, last = launches(Setting.QUICK)
    found = asked(last).values()
    assert len(found) == 32
    assert {(s.data.dataset, s.seed) for s in found} == {(d, s) for d in ("nuclei", "isic2017") for s in (0, 1)}


def exported(name: str, trials: pd.DataFrame, scores: pd.DataFrame) -> Exported:
    """A sweep with four attempts of which one gave a result."""
    attempts = pd.DataFrame({"state": ["finished", "lost", "stopped", "failed"], "fencing": [1, 1, 2, 4]})
    return Exported(name, trials, scores, pd.DataFrame(), attempts, dict.fromkeys("abc", 1000) | {"ms_lesions": 99})


@pytest.mark.slow
def test_every_place_of_the_page_has_a_value() -> None:
    trials, scores = frames({"ce": 0.7, "dice": 0.6, "unified_focal_asym": 0.75, "unified_focal_sym": 0.72},
                            ("a", "b", "c", "ms_lesions"), runs=2, gammas=(0.5, 0.9))  # fmt: skip
    found = values(Study(exported("public", trials, scores)))
    text.filled(TEMPLATE.read_text(encoding="utf-8"), found)
    assert "ms_lesions" not in found["best"] + found["gains"] + found["balance"] + found["single"]
    assert "in 3 launches: " in found["ran"]
    assert found["ran"].endswith(
        "each after the first went on with what the one before had left, or with what was asked for next. "
        "Of 4 attempts 1 were lost with their process, 1 were stopped and trained on later, and 1 failed."
    )
    assert found["progress"].startswith("**48 of 1600 trials have finished.**")
    assert {found[one] for one in ("pilot", "same", "rates", "further", "further_means", "further_consensus")} == {
        text.NOT_YET
    }


@pytest.mark.slow
def test_further_losses_are_told_beside_the_study_and_change_nothing_of_it() -> None:
    means = {"ce": 0.7, "dice": 0.6, "unified_focal_asym": 0.65, "unified_focal_sym": 0.62}
    own = exported("public", *frames(means, ("a", "b"), runs=2, gammas=(0.5, 0.9)))
    beside = exported("public-further", *frames(means | {"iou": 0.9}, ("a", "b"), runs=2, gammas=(0.5, 0.9)))
    alone, found = values(Study(own)), values(Study(own, further=Study(beside)))
    changed = {place for place in found if found[place] != alone[place]}
    assert changed == {"short", "further", "further_means", "further_consensus"}
    assert found["means"].splitlines()[0] == "| mean DSC | a | b |"
    assert [line.split()[1] for line in found["further_means"].splitlines()[2:]] == sorted([*means, "iou"])
    assert (
        "With 1 further losses beside, one of these has the highest mean on 2 of 2 sets, and a loss is"
        in found["short"]
    )
    assert found["further"].endswith("For this 4 more trials were trained.")
    assert found["further_consensus"].splitlines()[2].startswith("| iou | 1.00 |")


@pytest.mark.slow
def test_every_number_of_the_page_is_that_of_the_scores_beside_it() -> None:
    """The page is computed again, from an import of the exported sweeps, and compared word by word."""
    assert page(Study.read(DOCS / "study")) == (DOCS / "study.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_grid_has_the_rate_and_the_epochs_that_the_pilot_chose() -> None:
    chosen = pilot.choose(pilot.curves(Study.read(DOCS / "study").pilots))
    grid = load_grid("public")
    trained = {one.name: training_of(grid, one) for one in grid.datasets}
    assert {name: pilot.Choice(one.learning_rate, one.epochs) for name, one in trained.items()} == chosen
