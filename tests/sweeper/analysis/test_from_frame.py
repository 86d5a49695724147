"""Scores that were made elsewhere become the frames of a sweep; one line says what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sweeper.analysis import AnalysisError, analyse, compare
from sweeper.analysis.from_frame import MOST_METRICS, frames_of


def frame(runs: int = 3, cases: int = 12, folds: int = 0) -> pd.DataFrame:
    """Two losses that differ, in the columns that `sweeper analyse` wants."""
    draw = np.random.default_rng(3)
    image = draw.normal(0, 0.05, cases)
    rows = [
        ("heart", "atrium", loss, run, f"c{case}", dsc := mean + image[case] + draw.normal(0, 0.01), 40 * (1 - dsc))
        for loss, mean in {"dice_ce": 0.8, "dice_topk": 0.7}.items()
        for run in range(runs)
        for case in range(cases)
    ]
    made = pd.DataFrame(rows, columns=["dataset", "class", "loss", "run", "case", "dsc", "hd95"])
    return made.assign(fold=[int(case[1:]) % folds for case in made["case"]]) if folds else made


def test_every_row_counts_once_under_its_own_run() -> None:
    scores = frame()
    trials, rows = frames_of(scores)
    assert trials["current"].all()
    assert sorted(zip(trials["variant"], trials["repeat"], strict=True)) == [
        (loss, run) for loss in ("dice_ce", "dice_topk") for run in range(3)
    ]
    back = rows.merge(trials, left_on="trial", right_on="hash")
    kept = back.set_index(["variant", "repeat", "case"])["dsc"].sort_index()
    assert kept.to_numpy() == pytest.approx(scores.set_index(["loss", "run", "case"])["dsc"].sort_index().to_numpy())
    assert set(rows["partition"]) == {"test"}


def test_the_answers_are_those_of_compare() -> None:
    scores = frame()
    pairs = analyse(*frames_of(scores)).comparisons.set_index("metric")
    for metric in ("dsc", "hd95"):
        (alone,) = compare(scores, metric=metric).to_dict("records")
        for key, value in alone.items():
            assert pairs.loc[metric][key] == (value if isinstance(value, str) else pytest.approx(value)), key
    assert set(pairs.index) == {"dsc", "hd95"}  # no rows of metrics that the frame does not have


def test_one_run_of_each_loss_is_about_these_trained_networks() -> None:
    answers = analyse(*frames_of(frame(runs=1)))
    assert "of these trained networks" in answers.sentences[0]
    assert answers.comparisons["p"].isna().all()


def test_folds_are_networks_of_their_own_within_a_run() -> None:
    trials, _ = frames_of(frame(runs=2, folds=4))
    assert len(trials) == 2 * 2 * 4
    assert trials.groupby("variant")["repeat"].nunique().tolist() == [2, 2]


def test_numbers_and_texts_name_the_same_run() -> None:
    scores = frame(runs=2)
    texts = scores.assign(run=scores["run"].astype(str))
    mixed = pd.concat([scores[scores["class"] == "atrium"], texts.assign(**{"class": "ventricle"})])
    trials, _ = frames_of(mixed)
    assert len(trials) == 4


def test_a_metric_that_nobody_knows_is_better_where_it_is_larger() -> None:
    scores = frame().assign(confidence=lambda f: f["dsc"] / 2)
    table = analyse(*frames_of(scores)).table.set_index(["metric", "variant"])["mean"]
    assert table["confidence", "dice_ce"] == pytest.approx(table["dsc", "dice_ce"] / 2)


def column(name: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda scores: scores.assign(**{name: value})


def other(name: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Changes the value of the third row alone."""
    return lambda f: f.assign(**{name: f[name].astype(object).where(f.index != 2, value)})


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...]]] = {
    "no column": (lambda f: f.drop(columns="case"), ("'case'", "needed")),
    "DSC by another name": (lambda f: f.rename(columns={"dsc": "Dice"}), ("'dsc'", "rename 'Dice'")),
    "no DSC": (lambda f: f.drop(columns="dsc"), ("no metric 'dsc'",)),
    "no rows": (lambda f: f.head(0), ("no row",)),
    "one loss": (lambda f: f[f["loss"] == "dice_ce"], ("only one loss", "'dice_ce'")),
    "constant": (column("dsc", 0.5), ("every dsc is 0.5",)),
    "another metric is constant": (column("hd95", 3.0), ("every hd95 is 3",)),
    "undefined": (column("dsc", np.nan), ("every dsc is NaN",)),
    "another metric is undefined": (column("hd95", np.nan), ("every hd95 is NaN",)),
    "twice": (lambda f: pd.concat([f, f.head(1)]), ("'c0' has two rows",)),
    "no run": (other("run", None), ("row 2", "no run")),
    "a word": (other("hd95", "far"), ("'c2'", "hd95 is 'far'")),
    "infinite": (other("hd95", np.inf), ("'c2'", "hd95 is infinite", "diagonal")),
    "percent": (lambda f: f.assign(dsc=100 * f["dsc"]), ("dsc is 8", "in [0, 1]", "divided by 100")),
    "negative": (other("hd95", -1.0), ("hd95 is -1", "at least 0")),
    "a text that is no metric": (column("site", "A"), ("'site'", "no metric", "leave it out")),
    "truth values": (column("done", True), ("'done'", "truth values")),
    "γ": (column("gamma", 0.5), ("'gamma'", "the loss's name")),
    "a seed": (column("seed", 1), ("'seed'", "no metric")),
    "half a fold": (column("fold", 0.5), ("fold is '0.5'",)),
    "no number as size": (other("size", "big"), ("'size'", "no number")),
    "no case in common": (lambda f: f.assign(case=f["loss"] + f["case"]), ("two losses", "named alike")),
    "no image shows the class": (column("size", 0), ("every size is 0",)),
    "many columns": (
        lambda f: pd.concat([f, pd.DataFrame(0.1, f.index, [f"m{i}" for i in range(MOST_METRICS)])], axis=1),
        (f"at most {MOST_METRICS}", "leave the others out"),
    ),
    "two columns of one name": (lambda f: pd.concat([f, f[["dsc"]]], axis=1), ("two columns 'dsc'",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_compared_is_one_line(case: str) -> None:
    change, said = WRONG[case]
    with pytest.raises(AnalysisError) as error:
        frames_of(change(frame().assign(size=9.0)))
    assert "\n" not in str(error.value)
    for words in said:
        assert words in str(error.value)
