"""The registry: names, parameters, ranges, and every error that a person can cause."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.workers.losses.further import FURTHER
from workers import losses
from workers.errors import InputError, ParameterError, UnknownNameError
from workers.losses import LossDefinition, Parameter
from workers.losses.operands import ShapeError

PAPER = {
    "ce": {},
    "focal": {"alpha": 0.25, "gamma": 2.0},
    "dice": {},
    "tversky": {"alpha": 0.3, "beta": 0.7},
    "focal_tversky": {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3},
    "combo": {"alpha": 0.5, "beta": 0.5},
    "hybrid_focal": {"lambda_": 0.5},
    "unified_focal_sym": {"lambda_": 0.5, "delta": 0.6, "gamma": 0.5},
    "unified_focal_asym": {"lambda_": 0.5, "delta": 0.6, "gamma": 0.5},
}
SMOOTH = {"unified_focal_sym": 1e-7, "unified_focal_asym": 1e-7}
RANGES: list[tuple[str, str, list[Any], list[Any]]] = [
    ("focal", "gamma", [0, 5.0], [-0.1, float("inf")]),
    ("focal", "alpha", [0, 1, (0.1, 0.9)], [-1, (0.1, -0.9), (0.5,)]),
    ("tversky", "alpha", [0], [-0.1, (0.1, 0.2)]),
    ("focal_tversky", "gamma", [0.1, 3], [0, -1]),
    ("combo", "alpha", [0, 1], [1.1]),
    ("combo", "beta", [0, 1], [-0.1]),
    ("hybrid_focal", "lambda_", [0, 1], [1.5]),
    ("unified_focal_sym", "gamma", [0, 0.99, (0.1, 0.2, 0.3)], [1, 1.0, -0.1, (0.1, 1.0)]),
    ("unified_focal_asym", "delta", [0.01, 0.99], [0, 1, float("nan"), True, "0.5", None]),
    ("unified_focal_asym", "convention", ["code", "published"], ["paper", 1]),
    ("dice", "absent", ["keep", "skip"], ["drop"]),
    ("dice", "smooth", [1e-9, 1], [0, -1]),
    ("asymmetric_similarity", "beta", [0.1], [0]),
    ("dice_topk", "k", [0.1, 100], [0, 101]),
    ("boundary", "alpha", [0, 1], [2]),
]


def test_the_papers_losses_and_defaults() -> None:
    assert {n for n in losses.names() if losses.definition(n).paper} == set(PAPER)
    for name, expected in PAPER.items():
        found = losses.resolve_parameters(name)
        assert {k: v for k, v in found.items() if k in expected} == expected
        if "smooth" in found:
            assert found["smooth"] == SMOOTH.get(name, 1e-6)
        if "absent" in found:
            assert found["absent"] == "keep"
        if "convention" in found:
            assert found["convention"] == "code"


def test_kinds_and_documentation() -> None:
    assert {losses.definition(n).kind for n in losses.names()} == {"distribution", "region", "compound"}
    for name in losses.names():
        line = losses.definition(name)
        assert line.doc
        assert callable(line.load())
        assert line.source == ""


def test_the_registry_and_plugins_import_no_tensorflow() -> None:
    script = (
        "import sys; from workers import losses, plugins\n"
        "for n in losses.names(): losses.resolve_parameters(n)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "keyword", "good", "bad"), RANGES)
def test_ranges(name: str, keyword: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        found = losses.resolve_parameters(name, {keyword: value})[keyword]
        assert found == value
        assert isinstance(found, float | tuple | str)
    for value in bad:
        with pytest.raises(ParameterError) as raised:
            losses.resolve_parameters(name, {keyword: value})
        message = str(raised.value)
        assert name in message
        assert keyword in message
        with pytest.raises(ParameterError):
            losses.get_loss(name, **{keyword: value})


def test_messages_name_value_and_range() -> None:
    with pytest.raises(ParameterError, match=r"loss 'unified_focal_sym': gamma = 1.2 is outside .*0 ≤ gamma < 1"):
        losses.resolve_parameters("unified_focal_sym", {"gamma": 1.2})
    with pytest.raises(ParameterError, match=r"focal_tversky.*gamma = 0 .*0 < gamma$"):
        losses.resolve_parameters("focal_tversky", {"gamma": 0})
    with pytest.raises(ParameterError, match=r"absent = 'skp', did you mean 'skip'\?; absent is one of keep, skip"):
        losses.resolve_parameters("dice", {"absent": "skp"})
    with pytest.raises(ParameterError, match=r"no parameter 'gama', did you mean 'gamma'\?; its parameters are alpha"):
        losses.get_loss("focal", gama=2)
    with pytest.raises(ParameterError, match=r"loss 'ce' has no parameter 'gamma'; it has none"):
        losses.resolve_parameters("ce", {"gamma": 1})
    with pytest.raises(UnknownNameError, match=r"unknown loss 'dize', did you mean 'dice'\?"):
        losses.get_loss("dize")
    with pytest.raises(ParameterError, match="weighs no error at all"):
        losses.resolve_parameters("tversky", {"alpha": 0, "beta": 0})
    with pytest.raises(ParameterError, match="weighs no error at all"):
        losses.get_loss("hybrid_focal", tversky_alpha=0, tversky_beta=0)


def test_vectors_must_have_one_entry_per_class() -> None:
    assert losses.resolve_parameters("focal", {"alpha": [1, 2, 3]}, classes=3)["alpha"] == (1.0, 2.0, 3.0)
    with pytest.raises(ParameterError, match=r"has 3 entries; one per class, background first, is needed \(4\)"):
        losses.resolve_parameters("unified_focal_sym", {"gamma": [0.1, 0.2, 0.3]}, classes=4)
    with pytest.raises(ParameterError, match=r"gamma has shape \(3,\); expected a number, or one per class for 2"):
        losses.get_loss("unified_focal_sym", gamma=(0.1, 0.2, 0.3))(*operands(2))
    with pytest.raises(ParameterError, match=r"gamma has shape \(1, 1\)"):
        losses.get_loss("focal", gamma=tf.constant([[1.0]]))(*operands(2))
    with pytest.raises(ParameterError, match=r"'dice_topk': k can't be a tensor"):
        losses.get_loss("dice_topk", k=tf.constant(10.0))


def test_numpy_numbers_and_keras_variables_are_taken() -> None:
    expected = float(losses.get_loss("unified_focal_asym", gamma=0.25, delta=(0.5, 0.75))(*operands(2)))
    numbers = {"gamma": np.float32(0.25), "delta": np.array([0.5, 0.75])}
    assert float(losses.get_loss("unified_focal_asym", **numbers)(*operands(2))) == pytest.approx(expected)
    variable = keras.Variable(0.25)
    ours = losses.get_loss("unified_focal_asym", gamma=variable, delta=(0.5, 0.75))
    assert float(ours(*operands(2))) == pytest.approx(expected)


def operands(classes: int, shape: tuple[int, ...] = (2, 4, 5)) -> tuple[Any, Any]:
    p = np.full((*shape, classes), 1 / classes, np.float32)
    return np.eye(classes, dtype=np.float32)[np.zeros(shape, int)], p


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ((2, 4, 5, 2), (2, 4, 5, 3), r"y_true has shape \(2, 4, 5, 2\) but y_pred \(2, 4, 5, 3\); give one-hot"),
        ((2, 4, 5, 1), (2, 4, 5, 2), r"y_true has shape \(2, 4, 5, 1\)"),
        ((2, 4, 5), (2, 4, 5, 2), r"y_true has shape \(2, 4, 5\)"),
        ((2, 4, 6, 2), (2, 4, 5, 2), r"y_true has shape \(2, 4, 6, 2\)"),
        ((2, 4, 5, 1), (2, 4, 5, 1), r"1 class channels in \(2, 4, 5, 1\); expected at least two"),
        ((20, 2), (20, 2), r"\(20, 2\); expected \(batch, h, w, classes\) or"),
        ((1, 2, 2, 2, 2, 2), (1, 2, 2, 2, 2, 2), "expected"),
    ],
)
def test_wrong_shapes(truth: tuple[int, ...], prediction: tuple[int, ...], message: str, traced: bool) -> None:
    for name in ("ce", "unified_focal_asym", "boundary"):
        loss = losses.get_loss(name)
        with pytest.raises(ShapeError, match=message) as raised:
            (tf.function(loss) if traced else loss)(np.zeros(truth, np.float32), np.zeros(prediction, np.float32))
        assert repr(name) in str(raised.value)
        assert isinstance(raised.value, InputError)


def test_probabilities_are_floats() -> None:
    with pytest.raises(ShapeError, match="y_pred has dtype int32; softmax probabilities are floats"):
        losses.get_loss("ce")(*(x.astype(np.int32) for x in operands(2)))


@pytest.mark.slow
def test_keras_compiles_and_trains_with_losses_of_every_kind() -> None:
    g, _ = operands(3, (2, 6, 8))
    g[:, 2:4, 3:6] = (0, 1, 0)
    image = g + 0.1 * np.random.default_rng(0).standard_normal(g.shape).astype(np.float32)
    for name in [n for n in losses.names() if n not in FURTHER or n in ("lovasz_softmax", "skeleton_recall")]:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6, 8, 3)), keras.layers.Conv2D(3, 1, activation="softmax")])
        model.compile(keras.optimizers.SGD(0.5), loss=losses.get_loss(name))
        history = model.fit(image, g, epochs=4, batch_size=2, verbose=0).history["loss"]
        assert history[-1] < history[0], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ce", {}),
        ("dice", {"smooth": 1.0}),
        ("tversky", {"alpha": 0.9, "beta": 0.1}),
        ("unified_focal_asym", {"gamma": (0.1, 0.2, 0.3), "convention": "published"}),
        ("dice_topk", {"k": 50}),
    ],
)
def test_a_compiled_model_is_saved_and_loaded_with_its_loss(
    name: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    g, p = operands(3, (2, 6, 8))
    model = keras.Sequential([keras.Input((6, 8, 3)), keras.layers.Conv2D(3, 1, activation="softmax")])
    model.compile("sgd", loss=losses.get_loss(name, **parameters))
    model.fit(p, g, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = float(losses.get_loss(name, **parameters)(g, model.predict(p, verbose=0)))
    assert loaded.evaluate(p, g, verbose=0) == pytest.approx(expected, rel=1e-6)
    assert loaded.loss.get_config() == losses.get_loss(name, **parameters).get_config()


def test_a_variable_is_saved_as_the_value_that_it_has() -> None:
    gamma = keras.Variable(0.25)
    loss = losses.get_loss("unified_focal_sym", gamma=gamma)
    gamma.assign(0.75)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(*operands(2))) == pytest.approx(
        float(losses.get_loss("unified_focal_sym", gamma=0.75)(*operands(2)))
    )


def test_sample_weights_are_refused() -> None:
    with pytest.raises(ParameterError, match="loss 'dice' takes no sample weights"):
        losses.get_loss("dice")(*operands(2), sample_weight=np.ones(2))  # type: ignore[call-arg]


def test_a_definition_survives_json() -> None:
    for name in losses.names():
        for parameter in losses.definition(name).parameters:
            assert Parameter.from_dict(json.loads(json.dumps(parameter.to_dict()))) == parameter


def test_range_texts() -> None:
    assert Parameter("x", 0, "(-inf, inf)").range_text == "x is any finite number"
    assert Parameter("x", 2, "[1, 3]").range_text == "1 ≤ x ≤ 3"
    assert Parameter("x", 2, "(-inf, 3)", per_class=True).range_text == "x < 3 (a number, or one per class)"
    for interval in ("0, 1", "[0; 1]", "[a, b]", "["):
        with pytest.raises(ParameterError, match="is not of the form"):
            Parameter("x", 0.5, interval)
    with pytest.raises(ParameterError, match=r"x = 5 is outside its range, 0 ≤ x ≤ 1"):
        Parameter("x", 5, "[0, 1]")


def test_a_name_is_given_once() -> None:
    with pytest.raises(InputError, match="a loss named 'dice' is registered already"):
        losses.register(LossDefinition("dice", "nowhere:f"))
    with pytest.raises(InputError, match="two parameters have one name"):
        losses.register(LossDefinition("twins", "nowhere:f", (Parameter("x", 1.0), Parameter("x", 2.0))))
    assert "twins" not in losses.names()
