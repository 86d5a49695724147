"""Every loss of ours, and the documented plug-in, passes the checks; and each check finds what it is there for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from workers import losses, plugins
from workers.conformance import ConformanceError
from workers.losses.conformance import check_loss, loss_checks
from workers.losses.registry import LOSSES

JACCARD = Path(__file__).parents[3] / "docs" / "examples" / "jaccard_loss.py"

SHORTER = {"hausdorff_erosion": {"erosions": 2.0}, "cldice_dice": {"iterations": 0.0}}
"""Settings with which a graph of many equal steps is traced and compiled in a moderate time."""

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("focal", {"alpha": (0.2, 0.5, 0.9), "gamma": 0.4}),
    ("unified_focal_sym", {"gamma": (0.1, 0.4, 0.8), "delta": (0.6, 0.7, 0.8)}),
    ("unified_focal_asym", {"gamma": (0.1, 0.4, 0.8), "delta": (0.6, 0.7, 0.8), "absent": "skip"}),
    ("unified_focal_sym", {"gamma": 0.2, "convention": "published"}),
    ("unified_focal_asym", {"gamma": 0.8, "convention": "published", "absent": "skip"}),
    ("dice_topk", {"k": 40.0}),
    ("boundary", {"alpha": 0.5, "absent": "skip"}),
    ("hausdorff", {"sides": "both"}),
    ("exponential_logarithmic", {"gamma": 1.4, "absent": "skip"}),
    ("generalised_wasserstein_dice", {"distances": (1.0, 0.9, 0.4)}),
    ("cldice_dice", {"iterations": 1.0}),
    ("dice+boundary", {"dice.weight": 0.3, "boundary.alpha": 1.0}),
]
# With vectors and other settings: what the defaults' run of a loss can't tell.
OTHER = ("gradient_is_the_slope", "finite_at_extremes")


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = dict(LOSSES)
    yield
    plugins.load_plugin_texts(())
    LOSSES.replace(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", losses.names())
def test_ours(name: str) -> None:
    checks = loss_checks(name, **SHORTER.get(name, {}))
    for check in checks.values():
        check()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), SETTINGS)
def test_ours_with_other_settings(name: str, parameters: dict[str, Any]) -> None:
    checks = loss_checks(name, classes=[3], **parameters)
    for check in OTHER:
        checks[check]()


@pytest.mark.slow
def test_the_documented_plugin() -> None:
    plugins.load_plugin(JACCARD)
    check_loss("power_jaccard")


def mean_error(truth: Any, prediction: Any) -> Any:
    return tf.reduce_mean((truth - prediction) ** 2)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def half_slope(values: Any) -> Any:
    return values, lambda upstream: 0.5 * upstream


WRONG: dict[str, Any] = {
    "returns_a_scalar": lambda g, p: tf.reduce_mean((g - p) ** 2, axis=-1),
    "finite_at_extremes": lambda g, p: -tf.reduce_mean(g * tf.math.log(p)),
    "gradient_is_the_slope": lambda g, p: mean_error(g, half_slope(p)),
    "order_of_images_does_not_matter": lambda g, p: mean_error(g[:1], p[:1]),
    "order_of_pixels_does_not_matter": lambda g, p: mean_error(g[:, :2], p[:, :2]),
    "number_of_images_does_not_matter": lambda g, p: tf.reduce_sum(tf.reduce_mean((g - p) ** 2, axis=(1, 2))),
    "number_of_pixels_does_not_matter": lambda g, p: tf.reduce_mean(tf.reduce_sum((g - p) ** 2, axis=(1, 2))),
    "stays_in_its_range": lambda g, p: mean_error(g, p) - 0.1,
    "better_predictions_have_smaller_losses": lambda g, p: -mean_error(g, p),
    "takes_soft_truth": lambda g, p: mean_error(tf.where(g == 1, g, tf.zeros_like(g)), p),
    "what_is_not_a_number_stays_so": lambda g, p: mean_error(g, tf.where(tf.math.is_nan(p), tf.zeros_like(p), p)),
}


@pytest.mark.parametrize("check", WRONG)
def test_a_wrong_loss_fails_the_check_that_is_meant_for_it(check: str) -> None:
    losses.register(losses.LossDefinition("wrong", WRONG[check]))
    with pytest.raises(ConformanceError, match=f"loss 'wrong' fails the check {check}: expected "):
        loss_checks("wrong")[check]()


def test_an_error_of_the_loss_is_told_with_the_check() -> None:
    losses.register(losses.LossDefinition("wrong", lambda g, p: g / undefined))  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(ConformanceError, match=r"fails the check returns_a_scalar: NameError: name 'undefined'"):
        check_loss("wrong")
