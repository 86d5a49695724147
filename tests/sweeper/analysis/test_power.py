"""How much is enough: the predicted power against simulated studies, and what the lines say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeper.analysis.common_units import CommonUnits
from sweeper.analysis.power import (
    ASSUMED,
    MOST_REPEATS,
    POWER,
    Components,
    Design,
    Enough,
    components_of,
    enough,
    enough_of,
    error_of,
    findable,
    plan_lines,
    power_lines,
    power_of,
    repeats_for,
    what_more_would_tell,
)
from sweeper.analysis.trainings import LossScores, Variances, compare_losses

DESIGN = Design(losses=4, runs=3, units=20)


def study(draw: np.random.Generator, design: Design, components: Components) -> np.ndarray:
    """Scores of losses that do not differ, of shape (losses, runs, units)."""
    shape = design.losses, design.runs, design.units
    return (
        draw.normal(0.8, 0.108, design.units)
        + draw.normal(0, components.loss_unit, (design.losses, 1, design.units))
        + draw.normal(0, components.run, (*shape[:2], 1))
        + draw.normal(0, components.unit_run, shape)
    )


def frame_of(values: np.ndarray, label: str = "nucleus", dataset: str = "nuclei") -> pd.DataFrame:
    loss, run, case = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "dataset": dataset,
            "label": label,
            "variant": loss.astype(str),
            "run": run,
            "case": case,
            "dsc": values.ravel(),
        }
    )


@pytest.mark.parametrize("components", [ASSUMED, Components(0.02, 0.039, 0.021)])
def test_simulated_studies_find_the_findable_difference_as_often_as_is_said(components: Components) -> None:
    draw = np.random.default_rng(3)
    difference, found = findable(DESIGN, components), 0
    for _ in range(120):
        values = study(draw, DESIGN, components)
        values[0] += difference
        losses = [LossScores(one) for one in values]
        found += compare_losses(losses[0], losses[1], Variances.of(losses)).p < DESIGN.level
    assert stats.binomtest(found, 120, POWER).pvalue > 0.01


def test_the_error_is_that_of_the_comparison() -> None:
    draw = np.random.default_rng(0)
    design, errors = Design(2, 4, 30), []
    for _ in range(100):
        losses = [LossScores(one) for one in study(draw, design, ASSUMED)]
        errors.append(compare_losses(losses[0], losses[1], Variances.of(losses)).error ** 2)
    assert error_of(design, ASSUMED)[0] == pytest.approx(np.sqrt(np.mean(errors)), rel=0.08)


def test_the_findable_difference_has_the_power_that_is_asked_for() -> None:
    assert power_of(findable(DESIGN, ASSUMED), DESIGN, ASSUMED) == pytest.approx(POWER, abs=1e-6)
    assert power_of(0.0, DESIGN, ASSUMED) == pytest.approx(DESIGN.level, rel=1e-3)


def test_more_of_anything_finds_less_and_more_losses_find_more() -> None:
    found = findable(DESIGN, ASSUMED)
    assert findable(replace(DESIGN, runs=5), ASSUMED) < found
    assert findable(replace(DESIGN, units=100), ASSUMED) < found
    assert findable(replace(DESIGN, losses=8), ASSUMED) > found
    assert findable(replace(DESIGN, folds=5), ASSUMED) < found


def test_repeats_are_the_fewest_that_find_the_difference() -> None:
    design = Design(losses=2, runs=3, units=400)
    repeats = repeats_for(0.01, design, ASSUMED)
    assert repeats is not None
    assert (
        findable(replace(design, runs=repeats), ASSUMED) <= 0.01 < findable(replace(design, runs=repeats - 1), ASSUMED)
    )


def test_few_images_are_not_made_up_for_by_repeats() -> None:
    design = Design(losses=8, runs=3, units=12)
    assert repeats_for(0.01, design, ASSUMED) is None
    assert findable(replace(design, runs=MOST_REPEATS), ASSUMED) > 0.01


@pytest.mark.parametrize("design", [Design(4, 1, 20), Design(1, 3, 20), Design(4, 3, 1), Design(4, 3, 5, folds=5)])
def test_one_run_one_loss_or_one_image_finds_nothing(design: Design) -> None:
    assert np.isnan(power_of(0.5, design, ASSUMED))
    assert np.isnan(findable(design, ASSUMED))


def test_components_are_those_that_the_scores_were_made_with() -> None:
    draw = np.random.default_rng(1)
    truth = Components(0.03, 0.02, 0.01)
    common = CommonUnits.of(frame_of(study(draw, Design(10, 10, 60), truth)), "dsc")
    assert common is not None
    found = components_of(common, "s")
    assert found is not None
    assert (found.loss_unit, found.run, found.unit_run) == pytest.approx((0.03, 0.02, 0.01), rel=0.15)
    assert found.source == "s"
    assert not found.assumed


def test_components_of_folds_are_those_of_the_scores_too() -> None:
    draw = np.random.default_rng(2)
    truth = Components(0.03, 0.02, 0.01)
    frame = frame_of(study(draw, Design(6, 15, 100), truth))
    common = CommonUnits.of(frame[frame["run"] % 5 == frame["case"] % 5], "dsc")
    assert common is not None
    found = components_of(common, "s")
    assert found is not None
    assert (found.loss_unit, found.run, found.unit_run) == pytest.approx((0.03, 0.02, 0.01), rel=0.2)


def test_a_study_that_ran_is_told_class_by_class() -> None:
    draw = np.random.default_rng(4)
    thing, other = (study(draw, DESIGN, replace(ASSUMED, run=run)) for run in (0.005, 0.06))
    steady, shaky = enough_of(pd.concat([frame_of(thing, "a"), frame_of(other, "b")]), "mine")
    assert steady.design == shaky.design == DESIGN
    assert steady.finds < shaky.finds
    lines = power_lines([steady, shaky])
    assert lines[0] == (
        "nuclei, a: 80% of studies of 4 losses with 3 runs each on 20 images find a difference of "
        f"{steady.finds:.3f} in DSC"
    )
    assert lines[1].startswith("  standard deviations estimated from sweep mine: run 0.0")


def test_one_run_each_is_told_by_what_more_would_find() -> None:
    (one,) = enough_of(frame_of(study(np.random.default_rng(5), replace(DESIGN, runs=1), ASSUMED)), "mine")
    assert np.isnan(one.finds)
    assert one.components == ASSUMED
    said = " ".join(power_lines([one]))
    assert "4 losses with 1 run each on 20 images find nothing about new trainings" in said
    assert f"Two more repeats of each loss would find a difference of {findable(DESIGN, ASSUMED):.3f}" in said
    assert "(by assumed variances)" in said


def test_a_closing_line_counts_the_repeats_that_are_lacking() -> None:
    enough_repeats = repeats_for(0.01, Design(2, 3, 400), ASSUMED)
    assert enough_repeats is not None
    nearly = enough("d", "", "images", Design(2, enough_repeats - 2, 400), ASSUMED)
    assert what_more_would_tell(nearly).startswith("Two more repeats of each loss would find a difference of 0.01")
    there = enough("d", "", "images", Design(2, enough_repeats, 400), ASSUMED)
    assert what_more_would_tell(there) == ""


def test_a_plan_names_the_least_and_the_most_of_its_data_sets() -> None:
    found = [enough("small", "", "images", replace(DESIGN, units=units), ASSUMED) for units in (10,)]
    found.append(enough("large", "", "images", replace(DESIGN, units=300), ASSUMED))
    first, second = plan_lines(found)
    assert first == (
        f"power: 80% of such studies find a difference of {found[1].finds:.3f} (large) to {found[0].finds:.3f} (small) "
        "in DSC"
    )
    assert "no number of repeats finds 0.01 on small" in second
    assert "standard deviations assumed: run 0.013" in second
    assert plan_lines([]) == []


def test_a_plan_with_one_run_says_what_three_would_find() -> None:
    one = enough("nuclei", "", "images", replace(DESIGN, runs=1), ASSUMED)
    assert plan_lines([one])[0] == (
        "power: one run of each loss says nothing about new trainings; with 3 repeats 80% of such studies find a "
        f"difference of {findable(DESIGN, ASSUMED):.3f} in DSC (nuclei)"
    )


@pytest.mark.parametrize("runs", [1, 3])
def test_what_is_said_survives_json(runs: int) -> None:
    one = enough("nuclei", "nucleus", "images", replace(DESIGN, runs=runs), ASSUMED)
    again = Enough.from_dict(one.to_dict())
    assert again.to_dict() == one.to_dict()
    assert power_lines([again]) == power_lines([one])


def test_equal_scores_find_any_difference() -> None:
    (one,) = enough_of(frame_of(np.full((3, 2, 4), 0.5)), "mine")
    assert one.finds == 0
    assert what_more_would_tell(one) == ""
