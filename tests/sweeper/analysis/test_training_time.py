"""Training times are compared between trials of one device and one load, or not at all."""

import pytest
from study_maker import Study, make_trial

from sweeper.analysis import analyse, score_frame, trial_frame
from trials.spec import RESULTS_VERSION

REPEATS = 4


def ran(loss, seconds, *, environment="cpu", start=0.0, dataset="drive", **options):
    """Trials of one loss one after the other; the repeats differ by a second."""
    trials = []
    for repeat in range(REPEATS):
        took = seconds + repeat
        start += took
        trials.append(
            make_trial(
                dataset, loss, repeat=repeat, train_seconds=took, environment=environment, finished_at=start, **options
            )
        )
    return trials


def claim(*trials):
    study = Study([t for own in trials for t in own])
    claims = analyse(trial_frame(study.trials), score_frame(study.columns)).claims
    row = claims[(claims["dataset"] == "drive") & claims["claim"].str.contains("Training time")].iloc[0]
    return row["verdict"], row["numbers"]


@pytest.mark.parametrize(("seconds", "expected"), [(60.5, "not shown"), (900, "does not hold")])
def test_on_one_device_alone(seconds, expected):
    found, numbers = claim(ran("ce", 60), ran("dice", seconds, start=10_000))
    assert found == expected
    assert numbers.endswith("; 8 trials on one device, each beside no other of this sweep")


def test_a_device_that_was_slow_is_no_loss_that_was_slow():
    found, numbers = claim(ran("ce", 60), ran("dice", 900, environment="old cpu", start=10_000))
    assert found == "not tested"
    assert "on one device" in numbers


def test_nor_is_a_loss_whose_trials_shared_the_device():
    """Dice ran beside another data set's trials, and cross entropy alone."""
    others = ran("ce", 100, start=10_000, dataset="nuclei")
    assert claim(ran("ce", 60), ran("dice", 100, start=10_000), others)[0] == "not tested"
    alone = ran("dice", 60, start=5_000)
    assert claim(ran("ce", 60), alone, others)[0] == "not shown"


def test_both_losses_at_once_are_alike():
    found, numbers = claim(ran("ce", 60), ran("dice", 60))
    assert found == "not shown"
    assert numbers.endswith("each beside 1 other of this sweep")


@pytest.mark.parametrize("unknown", [{"environment": None}, {"finished_at": None}])
def test_what_was_not_recorded_is_not_compared(unknown):
    trials = [
        make_trial("drive", loss, repeat=r, **({"environment": "cpu", "finished_at": 1000.0 * r} | unknown))
        for loss in ("ce", "dice")
        for r in range(2)
    ]
    assert claim(trials)[0] == "not tested"


def test_a_single_trial_of_each_loss_tests_nothing():
    found, numbers = claim(ran("ce", 60)[:1], ran("dice", 60)[:1])
    assert (found, numbers) == ("not tested", "fewer than two losses have two finished trials")


def test_outdated_trials_are_neither_compared_nor_load():
    old = ran("dice", 999, results_version=RESULTS_VERSION - 1)
    found, numbers = claim(ran("ce", 60), ran("dice", 60, start=10_000), old)
    assert found == "not shown"
    assert "8 trials on one device, each beside no other of this sweep" in numbers
