"""The pure steps of trials, one after the other in one warm process: what no program around them can do without.

    python -m benchmarks.plain.steps --prepared FOLDER --threads 1 SPECS

SPECS is a file with one spec a line. Batches and images lie in memory, and all is traced before the clock starts.
Prints, as a line of JSON for each trial, the seconds of all training and validation steps, and of the prediction of
every validation and test image; and the largest resident memory of the process so far (MiB).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trials.spec import TrialSpec
from workers.datasets.prepared import open_prepared, prepared_path
from workers.scoring import inference
from workers.training.batches import TrainingBatches, ValidationBatches
from workers.training.learner import Learner, Learners, LossInput, configure_device
from workers.training.loading import Batch


class Images:
    """The batches and images of a data set, in memory."""

    def __init__(self, spec: TrialSpec, root: Path) -> None:
        prepared = open_prepared(prepared_path(root, spec.data.dataset, spec.data.prepared))
        split, training = prepared.read_split(spec.data.split), spec.training
        self.classes = len(prepared.classes)
        train = TrainingBatches(prepared, split.train, training, spec.seed)
        validation = ValidationBatches(prepared, split.validation, training, spec.seed)
        self.shape = train.shape
        self.train: list[Batch] = [train.batch(1, step) for step in range(train.steps)]
        self.validation: list[Batch] = [validation.batch(1, step) for step in range(validation.steps)]
        self.predicted = [np.array(prepared.image(case)) for case in (*split.validation, *split.test)]


def seconds(spec: TrialSpec, images: Images, learner: Learner) -> dict[str, float]:
    """What the steps of a trial take."""
    loss, training = LossInput(spec), spec.training

    def epoch(number: int) -> None:
        learner.train_epoch(loss.at(number), images.train, training.learning_rate)
        learner.validate(loss, images.validation)

    def predict(image: np.ndarray) -> None:
        inference.predict_labels(
            lambda patches: learner.apply(tf.constant(patches)).numpy(),
            image,
            patch=training.patch,
            overlap=spec.evaluation.overlap,
            classes=images.classes,
            weighting=spec.evaluation.weighting,
            batch=training.batch_size,
        )

    epoch(1)
    predict(images.predicted[0])
    learner.reset(spec.seed)
    begin = time.perf_counter()
    for number in range(1, training.epochs + 1):
        epoch(number)
    trained = time.perf_counter()
    for image in images.predicted:
        predict(image)
    return {"train": trained - begin, "predict": time.perf_counter() - trained}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("specs", type=Path)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    specs = [TrialSpec.from_json(line) for line in arguments.specs.read_text().splitlines()]
    configure_device(arguments.threads)
    images, learners = Images(specs[0], arguments.prepared), Learners()
    for spec in specs:
        learner = learners.get(spec, images.shape, images.classes)
        took = seconds(spec, images, learner)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"loss": spec.loss.name, **took, "memory": memory}), flush=True)


if __name__ == "__main__":
    main()
