"""How sure a ranking is: seldom sure of nothing, sure of what is there, and of new trainings only where runs repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from sweeper.analysis.comparisons import NEW_TRAININGS, THESE_NETWORKS
from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.rankings import Ranking, consensus, rank_losses, who_may_be_best

IMAGE, RUN, IMAGE_RUN = 0.108, 0.013, 0.021
"""Standard deviations of real Dice scores: of images, of runs, and of image × run."""


def scores(
    shifts: Mapping[str, float],
    *,
    runs: int = 3,
    images: int = 20,
    run: float = RUN,
    seed: int = 0,
    dataset: str = "nuclei",
    label: str = "nucleus",
) -> pd.DataFrame:
    """Scores of losses that differ by `shifts` alone, with real variance components."""
    draw = np.random.default_rng(seed)
    image = draw.normal(0.8, IMAGE, images)
    shape = len(shifts), runs, images
    shift = np.array(list(shifts.values()))[:, None, None]
    values = image + shift + draw.normal(0, run, (*shape[:2], 1)) + draw.normal(0, IMAGE_RUN, shape)
    place = np.indices(shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "dataset": dataset,
            "label": label,
            "variant": np.array(list(shifts))[place[0]],
            "run": place[1],
            "case": np.char.add("case", place[2].astype(str)),
            "dsc": values.ravel(),
        }
    )


def ranked(frame: pd.DataFrame, metric: str = "dsc") -> Ranking:
    (ranking,) = rank_losses(frame, metric)
    return ranking


def equal(losses: int = 8) -> dict[str, float]:
    return dict.fromkeys("abcdefgh"[:losses], 0.0)


def test_of_eight_equal_losses_none_is_called_the_best() -> None:
    studies = [ranked(scores(equal(), images=12, run=3 * RUN, seed=seed)) for seed in range(10)]
    assert sum(study.best is not None for study in studies) <= 1
    assert np.median([max(study.best_probability.values()) for study in studies]) < 0.6


@pytest.mark.slow
def test_images_alone_would_call_many_of_them_the_best() -> None:
    frames = [scores(equal(), images=100, run=3 * RUN, seed=seed) for seed in range(5)]
    with_runs = sum(ranked(frame).best is not None for frame in frames)
    averaged = [f.groupby(["dataset", "label", "variant", "case"], as_index=False)["dsc"].mean() for f in frames]
    without = sum(ranked(frame.assign(run=0)).best is not None for frame in averaged)
    assert with_runs == 0
    assert without >= 2


def test_a_loss_that_is_far_better_is_the_best() -> None:
    ranking = ranked(scores(equal() | {"h": 0.1}))
    assert ranking.best == "h"
    assert ranking.losses[0] == "h"
    assert ranking.about == NEW_TRAININGS
    assert who_may_be_best(ranking) == "with new images and new trainings h is best with probability > .99"


def test_of_two_that_are_close_both_may_be_the_best() -> None:
    ranking = ranked(scores({"a": 0.1, "b": 0.1, "c": 0.0, "d": 0.0}))
    assert ranking.best is None
    assert set(ranking.candidates) == {"a", "b"}
    text = who_may_be_best(ranking)
    assert text.startswith("with new images and new trainings the best may be")
    assert "one of the 2 others (< .01)" in text


def test_every_loss_has_some_rank_and_every_rank_some_loss() -> None:
    ranking = ranked(scores(equal(), seed=3))
    np.testing.assert_allclose(ranking.rank_shares.sum(axis=0), 1)
    np.testing.assert_allclose(ranking.rank_shares.sum(axis=1), 1)
    assert list(ranking.means) == sorted(ranking.means, reverse=True)


def test_rankings_agree_where_the_losses_lie_apart_and_not_where_they_are_equal() -> None:
    apart = ranked(scores({loss: 0.1 * i for i, loss in enumerate("abcde")})).tau
    alike = ranked(scores(equal(5))).tau
    assert apart.low == apart.mean == 1
    assert alike.mean < 0.7
    assert alike.low < 0.3


def test_more_runs_make_a_difference_surer() -> None:
    few, many = (ranked(scores({"a": 0.0, "b": 0.015}, runs=r, images=200, seed=2)) for r in (3, 30))
    assert many.best_probability["b"] > 0.98 > few.best_probability["b"]


def test_a_loss_whose_runs_differ_more_has_more_ranks() -> None:
    frame = scores(equal(6), runs=8, images=100)
    wild = scores({"wild": 0.0}, runs=8, images=100, run=10 * RUN, seed=1)
    wild["dsc"] += frame["dsc"].mean() - wild["dsc"].mean()
    image = frame[(frame["variant"] == "a")].groupby("case")["dsc"].mean()
    wild["dsc"] += wild["case"].map(image - wild.groupby("case")["dsc"].mean())
    ranking = ranked(pd.concat([frame, wild]))
    extremes = dict(zip(ranking.losses, ranking.rank_shares[:, [0, -1]].sum(axis=1), strict=True))
    assert extremes.pop("wild") > 0.6 > 2 * max(extremes.values())


def test_one_run_each_is_about_these_networks() -> None:
    ranking = ranked(scores({"a": 0.1, "b": 0.0}, runs=1))
    assert ranking.about == THESE_NETWORKS
    assert who_may_be_best(ranking) == "of these trained networks, on new images, a is best with probability > .99"


def test_a_loss_with_one_run_beside_repeated_ones_is_named_and_not_ranked() -> None:
    frame = scores({"a": 0.1, "b": 0.0, "once": 0.3})
    ranking = ranked(frame[(frame["variant"] != "once") | (frame["run"] == 0)])
    assert ranking.single == ("once",)
    assert ranking.losses == ("a", "b")
    assert ranking.about == NEW_TRAININGS


def test_patients_are_drawn_whole() -> None:
    frame = scores({"a": 0.03, "b": 0.0}, images=60, run=0.001)
    patient = frame["case"].str.removeprefix("case").astype(int) % 3
    # What one patient has, the others have not: 60 images would be sure of it, three patients are not.
    frame["dsc"] += np.where((frame["variant"] == "b") & (patient == 0), 0.06, 0.0)
    by_images, by_patients = ranked(frame), ranked(frame.assign(group=patient.astype(str)))
    assert (by_images.units, by_images.unit) == (60, "images")
    assert (by_patients.units, by_patients.unit) == (3, "groups")
    assert max(by_patients.best_probability.values()) < max(by_images.best_probability.values())


def test_folds_of_a_cross_validation_are_runs() -> None:
    frame = scores({"a": 0.05, "b": 0.0}, runs=15, images=30)
    fold = frame["case"].str.removeprefix("case").astype(int) % 5
    ranking = ranked(frame[fold == frame["run"] % 5])
    assert ranking.runs == {"a": 3, "b": 3}
    assert ranking.units == 30
    assert ranking.best == "a"
    assert ranking.about == NEW_TRAININGS


def test_the_smaller_distance_is_the_better() -> None:
    frame = scores({"near": 0.0, "far": 0.2}).assign(hd95=lambda f: 10 * f["dsc"])
    assert ranked(frame, "hd95").best == "near"


def test_losses_with_the_same_scores_share_their_ranks() -> None:
    frame = scores({"a": 0.0, "b": -0.3}, runs=1)
    ranking = ranked(pd.concat([frame, frame[frame["variant"] == "a"].assign(variant="c")]))
    assert ranking.best_probability["a"] == pytest.approx(0.5, abs=0.05)
    assert ranking.best_probability["c"] == pytest.approx(0.5, abs=0.05)


def test_an_image_that_one_loss_lacks_is_left_out_for_all() -> None:
    frame = scores({"a": 0.1, "b": 0.0}, images=10)
    frame.loc[(frame["variant"] == "b") & (frame["case"] == "case4"), "dsc"] = np.nan
    ranking = ranked(frame)
    assert (ranking.units, ranking.left_out) == (9, 1)


def test_the_order_of_the_rows_is_no_matter() -> None:
    frame = scores(equal(4), seed=5)
    one, other = ranked(frame), ranked(frame.sample(frac=1, random_state=1))
    np.testing.assert_array_equal(one.rank_shares, other.rank_shares)


@pytest.mark.parametrize("frame", [scores({"a": 0.0}), scores({"a": 0.0, "b": 0.1}, images=1)])
def test_one_loss_or_one_image_has_no_ranking(frame: pd.DataFrame) -> None:
    assert rank_losses(frame) == ()


def test_a_missing_column_and_an_infinite_distance_are_refused() -> None:
    frame = scores({"a": 0.0, "b": 0.1}).assign(hd95=np.inf)
    with pytest.raises(AnalysisError, match="no column 'nsd'"):
        rank_losses(frame, "nsd")
    with pytest.raises(AnalysisError, match="nuclei, class 'nucleus', a, case 'case0': hd95 is infinite"):
        rank_losses(frame, "hd95")


def rankings(places: Sequence[tuple[str, str]], shifts: Sequence[Mapping[str, float]]) -> tuple[Ranking, ...]:
    frames = (
        scores(shift, dataset=dataset, label=label, seed=i)
        for i, ((dataset, label), shift) in enumerate(zip(places, shifts, strict=True))
    )
    return rank_losses(pd.concat(list(frames)))


def test_over_data_sets_each_has_one_say_whatever_its_classes() -> None:
    first, second = {"a": 0.3, "b": 0.15, "c": 0.0}, {"a": 0.0, "b": 0.3, "c": 0.15}
    found = consensus(rankings([("kits", "kidney"), ("kits", "tumour"), ("nuclei", "nucleus")], [first, first, second]))
    assert found is not None
    assert dict(zip(found.losses, found.mean_ranks, strict=True)) == {"b": 1.5, "a": 2.0, "c": 2.5}
    assert found.best == "b"
    assert found.datasets == ("kits", "nuclei")


def test_losses_that_a_data_set_lacks_are_no_part_of_the_consensus() -> None:
    found = consensus(rankings([("d", "x"), ("e", "x")], [{"a": 0.3, "b": 0.0, "c": 0.1}, {"a": 0.3, "b": 0.0}]))
    assert found is not None
    assert (found.losses, found.missing) == (("a", "b"), ("c",))
    assert consensus(rankings([("d", "x")], [{"a": 0.3, "b": 0.0}])) is None
    assert consensus(()) is None
