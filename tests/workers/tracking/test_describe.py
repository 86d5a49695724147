"""How a trial reads in MLflow: its tags, parameters, final metrics and names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.results import scored
from tests.workers.tracking.tracking_samples import trial
from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec
from workers.tracking.describe import (
    epoch_values,
    final_values,
    metric_key,
    model_name,
    run_params,
    run_tags,
    score_values,
)


def test_tags_and_parameters_name_all_that_a_person_filters_by() -> None:
    spec = trial(gamma=0.30000000000000004, repeat=2)
    tags = run_tags(spec, sweep="s", attempt=3, provenance="rehearsal")
    expected = {"sweep": "s", "dataset": "kits19", "loss": "unified_focal_asym", "gamma": "0.3", "repeat": "2"}
    assert expected.items() <= tags.items()
    assert tags["provenance"] == "rehearsal"
    assert tags["sweeper.trial"] == spec.hash
    params = run_params(spec)
    assert params["loss.delta"] == "0.6"
    assert params["loss.name"] == "unified_focal_asym"
    assert params["training.learning_rate"] == "0.1"
    assert params["data.classes"] == "kidney, kidney tumour"
    assert not any("None" in value for value in params.values())
    ce = TrialSpec(DataSpec("nuclei", ("nucleus",), 2), LossSpec("ce"))
    assert not {"gamma", "reproducible"} & run_tags(ce, sweep="s", attempt=1).keys()
    unsteady = replace(ce, training=replace(ce.training, deterministic=False))
    assert run_tags(unsteady, sweep="s", attempt=1)["reproducible"] == "false"


def test_an_epoch_says_which_share_of_it_waited_for_input() -> None:
    epoch = Epoch(1, 0.5, 0.4, 0.8, 0.1, 19, 8.0, waited=2.0)
    assert epoch_values(epoch)["input_wait"] == 0.25
    assert "input_wait" not in epoch_values(replace(epoch, waited=None))


def test_final_metrics_are_means_over_images_then_classes() -> None:
    scores = (
        scored("test", "a", "kidney", 0.9, 0.8, None, 1.0),
        scored("test", "b", "kidney", 0.7, 0.6, None, None),
        scored("test", "a", "kidney tumour", 0.2, 0.1, None, 0.5),
        scored("validation", "c", "kidney", 0.6, 0.5, 0.4, 0.3),
    )
    result = TrialResult("h", scores, (), 1, False, 0, 1, 1, 1.0, 1.0, 1.0)
    values = final_values(result)
    assert values["test_dsc_kidney"] == pytest.approx(0.8)
    assert values["test_dsc_kidney_tumour"] == pytest.approx(0.2)
    assert values["test_dsc"] == pytest.approx(0.5)
    assert values["test_recall"] == pytest.approx(0.75)
    assert values["val_dsc_best"] == pytest.approx(0.6)
    assert "test_precision" not in values  # undefined everywhere
    assert "val_dsc" not in values  # the history's name


def test_every_metric_that_a_trial_is_scored_by_is_there_and_a_missed_structure_costs_the_diagonal() -> None:
    missed = {"hd95": math.inf, "diagonal": 10.0, "size": 7.0, "nsd(tolerance=2)": None}
    found = {"hd95": 2.0, "diagonal": 10.0, "size": 9.0, "nsd(tolerance=2)": 0.5, "of_a_plug_in": 0.25}
    values = score_values([Score("test", "a", "kidney", missed), Score("test", "b", "kidney", found)])
    assert values == {
        f"test_{name}{end}": value
        for name, value in {"hd95": 6.0, "nsd_tolerance_2": 0.5, "of_a_plug_in": 0.25}.items()
        for end in ("", "_kidney")
    }
    # of an older version, which knew no diagonal
    assert score_values([Score("validation", "a", "kidney", {"hd95": math.inf})]) == {}


@given(st.text(max_size=40))
def test_any_class_or_trial_name_becomes_one_that_mlflow_allows(name: str) -> None:
    assert all(sign.isascii() and (sign.isalnum() or sign in "_-.") for sign in metric_key(name))
    assert not set(model_name(f"{name} · dice · γ=0.5")) & set("/:.%\"'")
