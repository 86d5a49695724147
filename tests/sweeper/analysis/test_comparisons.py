"""`compare`: from any frame of scores to one row a pair, and one line for a frame that cannot be compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sweeper.analysis import AnalysisError, compare
from sweeper.analysis.comparisons import PAIR_COLUMNS
from sweeper.analysis.significance import holm


def frame(
    losses: dict[str, float], runs: int = 3, cases: int = 12, patients: int | None = None, seed: int = 1
) -> pd.DataFrame:
    """Scores with the means of `losses`, in the columns that `compare` wants."""
    draw = np.random.default_rng(seed)
    image = draw.normal(0, 0.1, cases)
    rows = [
        ("nuclei", "nucleus", loss, run, f"c{case}", mean + image[case] + effect + draw.normal(0, 0.02))
        for loss, mean in losses.items()
        for run, effect in enumerate(draw.normal(0, 0.01, runs))
        for case in range(cases)
    ]
    made = pd.DataFrame(rows, columns=["dataset", "class", "loss", "run", "case", "dsc"])
    if patients is not None:
        made["group"] = ["p" + str(int(case[1:]) % patients) for case in made["case"]]
    return made


def test_one_row_a_pair_with_what_it_is_about() -> None:
    pairs = compare(frame({"dice": 0.9, "ce": 0.6, "focal": 0.6}))
    assert list(pairs.columns) == PAIR_COLUMNS
    assert list(zip(pairs["loss_a"], pairs["loss_b"], strict=True)) == [
        ("ce", "dice"),
        ("ce", "focal"),
        ("dice", "focal"),
    ]
    first = pairs.iloc[0]
    scores = frame({"dice": 0.9, "ce": 0.6, "focal": 0.6}).groupby("loss")["dsc"].mean()
    assert first["difference"] == pytest.approx(scores["ce"] - scores["dice"])
    assert first["low"] < first["difference"] < first["high"] < 0
    assert (first["images"], first["groups"], first["runs_a"], first["runs_b"]) == (12, 0, 3, 3)
    assert set(pairs["warrants"]) == {"new trainings"}
    assert pairs["p_holm"].to_numpy() == pytest.approx(holm(pairs["p"].to_numpy()))
    assert list(pairs["p_holm"] < 0.05) == [True, False, True]


def test_holm_corrects_within_one_data_set_and_class() -> None:
    one = frame({"dice": 0.9, "ce": 0.8, "focal": 0.85})
    both = pd.concat([one, one.assign(**{"class": "edge"}), one.assign(dataset="polyps")])
    pairs = compare(both)
    assert len(pairs) == 9
    for _, family in pairs.groupby(["dataset", "class"]):
        assert family["p_holm"].to_numpy() == pytest.approx(compare(one)["p_holm"].to_numpy())


def test_a_loss_with_one_run_warrants_only_these_networks() -> None:
    scores = pd.concat([frame({"dice": 0.9, "ce": 0.6}), frame({"focal": 0.5}, runs=1)])
    pairs = compare(scores).set_index(["loss_a", "loss_b"])
    alone = pairs.loc[("ce", "focal")]
    assert alone["warrants"] == "these networks"
    assert alone["difference"] > 0
    assert pd.isna(alone[["p", "p_holm", "low", "high"]]).all()
    assert (alone["runs_a"], alone["runs_b"]) == (3, 1)
    both = pairs.loc[("ce", "dice")]
    assert both["p_holm"] == both["p"] < 0.05


def test_patients_are_the_units_where_they_are_known() -> None:
    images = frame({"dice": 0.9, "ce": 0.8}, cases=12)
    scores = images.assign(group=["big" if int(case[1:]) < 9 else case for case in images["case"]])
    (pair,) = compare(scores).to_dict("records")
    means = scores.groupby(["loss", "group"])["dsc"].mean().groupby("loss").mean()
    assert (pair["images"], pair["groups"]) == (12, 4)
    assert pair["difference"] == pytest.approx(means["ce"] - means["dice"])


def test_groups_that_are_unknown_leave_images_as_units() -> None:
    scores = frame({"dice": 0.9, "ce": 0.8})
    pd.testing.assert_frame_equal(compare(scores.assign(group="")), compare(scores))
    pd.testing.assert_frame_equal(compare(scores.assign(group=np.nan)), compare(scores))


def test_a_case_that_is_undefined_in_one_run_is_left_out_of_the_pairs_of_that_loss() -> None:
    scores = frame({"dice": 0.9, "ce": 0.8, "focal": 0.7})
    hole = (scores["loss"] == "dice") & (scores["run"] == 1) & (scores["case"] == "c3")
    pairs = compare(scores.assign(dsc=scores["dsc"].mask(hole))).set_index(["loss_a", "loss_b"])["images"]
    assert pairs.to_dict() == {("ce", "dice"): 11, ("ce", "focal"): 12, ("dice", "focal"): 11}
    # A row that is not there is no score either.
    without = compare(scores[~hole]).set_index(["loss_a", "loss_b"])["images"]
    assert without.to_dict() == pairs.to_dict()


def test_folds_score_each_image_by_runs_of_its_own() -> None:
    scores = frame({"dice": 0.9, "ce": 0.6}, cases=15)
    nested = scores.assign(
        run=[f"{run}, fold {int(case[1:]) % 5}" for run, case in zip(scores["run"], scores["case"], strict=True)]
    )
    (pair,) = compare(nested).to_dict("records")
    (plain,) = compare(scores).to_dict("records")
    assert (pair["images"], pair["runs_a"], pair["warrants"]) == (15, 3, "new trainings")
    assert pair["difference"] == pytest.approx(plain["difference"])


def test_a_distance_keeps_its_own_direction() -> None:
    scores = frame({"dice": 3.0, "ce": 7.0}).rename(columns={"dsc": "hd95"})
    (pair,) = compare(scores, metric="hd95").to_dict("records")
    assert (pair["loss_a"], pair["loss_b"]) == ("ce", "dice")
    assert pair["difference"] == pytest.approx(4, abs=0.1)


def test_a_smaller_alpha_widens_the_interval() -> None:
    scores = frame({"dice": 0.9, "ce": 0.8})
    wide, narrow = compare(scores, alpha=0.01).iloc[0], compare(scores).iloc[0]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_a_data_set_with_patients_and_one_without_are_compared_as_each_alone() -> None:
    scores = frame({"dice": 0.9, "ce": 0.8})
    patients = scores.assign(dataset="scans", group=scores["case"].str[-1])
    photographs = scores.assign(dataset="photographs", group="")
    both = compare(pd.concat([patients, photographs]))
    alone = pd.concat([compare(photographs.drop(columns="group")), compare(patients)], ignore_index=True)
    pd.testing.assert_frame_equal(both, alone)
    assert both["groups"].tolist()[0] == 0 < both["groups"].tolist()[1]


Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="run"), "no column 'run'"),
        (lambda f: f.rename(columns={"dsc": "dcs"}), "no metric 'dsc', did you mean 'dcs'"),
        (lambda f: f.assign(dsc="high"), "dsc is 'high'; expected a number"),
        (lambda f: f.assign(dsc=np.nan), "every dsc is NaN"),
        (lambda f: f.assign(dsc=0.5), "every dsc is 0.5"),
        (lambda f: f.assign(dsc=f["dsc"].where(f.index > 0, np.inf)), "dsc is infinite"),
        (lambda f: f.assign(dsc=f["dsc"] > 0.8), "truth values"),
        (lambda f: pd.concat([f, f.head(1)]), "has two rows"),
        (lambda f: f.assign(case=f["case"].where(f.index > 0)), "row 0 of the scores has no case"),
        (lambda f: f[f["loss"] == "ce"], "only one loss, 'ce'"),
        (lambda f: f.head(0), "no row"),
        (lambda f: f.assign(group=f["loss"]), "is in 2 groups"),
        (lambda f: f.assign(group=f["case"].where(f["case"] != "c3")), "has no group"),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_compared_is_one_line(change: Change, message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as raised:
        compare(change(frame({"dice": 0.9, "ce": 0.8})))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        compare(frame({"dice": 0.9, "ce": 0.8}), alpha=alpha)


def test_p_holm_is_corrected_within_one_data_set_and_class():
    """Three pairs of one family; another data set's pair is a family of its own."""
    draw = np.random.default_rng(8)
    rows = [
        {"dataset": place, "class": "thing", "loss": loss, "run": run, "case": f"c{i}", "dsc": draw.normal(mean, 0.05)}
        for place, losses in (("a", {"x": 0.7, "y": 0.72, "z": 0.74}), ("b", {"x": 0.7, "y": 0.72}))
        for loss, mean in losses.items()
        for run in range(3)
        for i in range(12)
    ]
    pairs = compare(pd.DataFrame(rows))
    first, alone = pairs[pairs["dataset"] == "a"], pairs[pairs["dataset"] == "b"]
    assert alone["p_holm"].tolist() == alone["p"].tolist()
    smallest = first.loc[first["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(3 * smallest["p"], 1.0))
    assert (first["p_holm"] >= first["p"]).all()
