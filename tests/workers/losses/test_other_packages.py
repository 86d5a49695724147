"""Values that MONAI, segmentation-models-pytorch and PyTorch gave once (benchmarks/other_losses) are ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from workers import losses

MADE = json.loads(
    (Path(__file__).parents[3] / "benchmarks" / "other_losses" / "values.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("entry", MADE["values"], ids=lambda e: f"{e['package']}-{e['loss']}-{e['case']}")
def test_the_value_is_that_of_the_package(entry: dict[str, Any]) -> None:
    case = MADE["cases"][entry["case"]]
    prediction = np.array(case["probabilities"])
    truth = np.eye(prediction.shape[-1])[np.array(case["labels"])]
    loss = losses.get_loss(entry["ours"], **entry["settings"])
    assert float(loss(truth, tf.constant(prediction))) == pytest.approx(entry["value"], rel=2e-5), entry["convention"]
