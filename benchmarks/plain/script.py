"""A plain Keras training script.

    python -m benchmarks.plain.script --data images.npz --epochs 1 --out runs LOSS:GAMMA …

Trains each of the named losses in turn: with one of them it is the body of a shell loop, with all of them one process
without any tracking. Prints a line with the trial and its test DSC after each. With `--first-step` it ends after the
first optimiser step, and prints when that was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from trials.spec import ModelSpec
from workers import losses, networks
from workers.scoring.masks import score_case

CLASSES = ("background", "nucleus")
BATCH = 2


def dsc(truth: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Hard DSC of each image, for the validation after each epoch."""
    mask, guess = truth[..., 1], tf.cast(tf.argmax(output, -1), tf.float32)
    both = tf.reduce_sum(mask * guess, (1, 2))
    return 2 * both / tf.maximum(tf.reduce_sum(mask, (1, 2)) + tf.reduce_sum(guess, (1, 2)), 1)


class FirstStep(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the program after the first optimiser step."""

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        print(f"first step {time.time():.3f}", flush=True)
        raise SystemExit


def train(data: Path, loss: str, gamma: float, epochs: int, out: Path, *, first_step: bool = False) -> float:
    """Trains one network, scores it, writes scores and model into `out`, and returns the mean test DSC."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    with np.load(data) as arrays:
        parts = {name: (arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in ("train", "validation", "test")}
    one_hot = {name: np.eye(2, dtype=np.float32)[labels] for name, (_, labels) in parts.items()}
    out.mkdir(parents=True, exist_ok=True)
    best = out / "best.weights.h5"
    model = networks.build(
        ModelSpec(base_filters=8, depth=3), input_shape=parts["train"][0].shape[1:], classes=len(CLASSES)
    )
    model.compile(keras.optimizers.SGD(0.1), loss=losses.get_loss(loss, gamma=gamma), metrics=[dsc])
    model.fit(
        parts["train"][0],
        one_hot["train"],
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(parts["validation"][0], one_hot["validation"]),
        validation_batch_size=BATCH,
        verbose=0,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(patience=10),
            keras.callbacks.EarlyStopping(patience=20),
            keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True),
            *([FirstStep()] if first_step else []),
        ],
    )
    model.load_weights(best)
    scores = []
    for part in ("validation", "test"):
        images, labels = parts[part]
        predicted = model.predict(images, batch_size=BATCH, verbose=0).argmax(-1)
        for number, (truth, prediction) in enumerate(zip(labels, predicted, strict=True)):
            scores += score_case(truth, prediction, CLASSES, partition=part, case=str(number))
    model.save(out / "model.keras")
    lines = [score.to_dict() for score in scores]
    (out / "scores.json").write_text(json.dumps(lines))
    return float(np.mean([s["dsc"] for s in scores if s.partition == "test"]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trials", nargs="+", metavar="LOSS:GAMMA")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first-step", action="store_true")
    arguments = parser.parse_args()
    for trial in arguments.trials:
        loss, _, gamma = trial.partition(":")
        out = arguments.out / trial
        test_dsc = train(arguments.data, loss, float(gamma), arguments.epochs, out, first_step=arguments.first_step)
        print(f"finished {trial}: test DSC {test_dsc:.3f}", flush=True)


if __name__ == "__main__":
    main()
