"""One trial from its spec to its scores: prepare nothing, train, keep the best epoch, evaluate.

Everything a trial writes lies in its own folder (named by its hash, given by the caller): checkpoints while it runs,
then `result.json`, `model.keras`, `predictions.npz` and `validation_predictions.npz`. A folder that holds a whole
result is not trained again.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trials.messages import Order
from trials.results import Epoch, Partition, Score, TrialResult
from trials.spec import RESULTS_VERSION, TrialSpec
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.errors import DataError, DivergedError, InputError, WorkerError
from workers.files import atomic_write
from workers.scoring import inference
from workers.scoring.cases import score_prediction
from workers.scoring.masks import needs_softmax
from workers.training.batches import TrainingBatches, ValidationBatches
from workers.training.checkpoints import Checkpoint, CheckpointFolder
from workers.training.keeping_up import InputKeeper
from workers.training.learner import Learner, Learners, LossInput
from workers.training.plateau import PlateauState, advance
from workers.training.saving import Saving

RESULT_FILE = "result.json"
MODEL_FILE = "model.keras"
PREDICTIONS_FILE = "predictions.npz"
VALIDATION_FILE = "validation_predictions.npz"
KEPT_FILES = (MODEL_FILE, PREDICTIONS_FILE, VALIDATION_FILE)
"""What lies beside a whole result."""


class InterruptedTrialError(WorkerError):
    """The caller ordered the trial to end after an epoch, whose checkpoint is on disk."""

    def __init__(self, order: Order, epoch: int) -> None:
        super().__init__(f"the trial was ordered to {order.value} after epoch {epoch}")
        self.order, self.epoch = order, epoch


@dataclass(frozen=True, slots=True)
class Listener:
    """What a trial reports while it runs. `started` gets the epoch from which it resumes, and remarks for people.

    `epoch` is called by another thread, while the next epoch trains; an order to end ends that one.
    """

    started: Callable[[int, tuple[str, ...]], None]
    epoch: Callable[[Epoch], Order]


def run_trial(
    spec: TrialSpec,
    *,
    prepared_root: Path,
    folder: Path,
    learners: Learners,
    listener: Listener,
    loaders: int = 0,
    metrics: Sequence[str] = (),
) -> TrialResult:
    """Trains and evaluates one spec.

    Args:
        spec: a resolved spec.
        prepared_root: the folder that holds the prepared data sets.
        folder: the trial's own folder; made if missing. The caller sees to it that no other process writes there
            (`workers.process.occupancy`).
        learners: the warm networks of this process.
        listener: called at the start and after each epoch, whose checkpoint is on the disk then.
        loaders: processes that load and augment training batches; 0 does it in a thread. It moves no number.
        metrics: further metrics to score by, by the names under which they are stored. They move no number.

    Raises:
        InputError: the trial is of a results version that this program does not compute.
        DataError: the prepared data or the split are missing or damaged.
        DivergedError: the loss became NaN or infinite.
        InterruptedTrialError: the listener ordered an end.
        CheckpointError: the weights of the best epoch were damaged while the trial ran.
        OSError: the disk is full or unwritable.
    """
    if spec.results_version != RESULTS_VERSION:
        raise InputError(
            f"the trial is of results version {spec.results_version}, and the program on {platform.node()} computes "
            f"version {RESULTS_VERSION}: it was changed while the sweep ran; end the sweep with `sweeper stop --now`, "
            "give all machines one version, then: sweeper resume"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if (done := read_result(folder, spec.hash)) is not None:
        listener.started(len(done.history), ("the result was on disk already",))
        return replace(done, resumed_from=len(done.history), steps=0)
    return _Run(spec, prepared_root, folder, learners, listener, loaders, metrics).result()


def read_result(folder: Path, trial_hash: str) -> TrialResult | None:
    """The result that an earlier attempt left in the folder, or None.

    A result whose other files are gone is none: whoever removed the folder while the trial ran left only what was
    written after. The trial is trained again.
    """
    if not all((folder / name).is_file() for name in KEPT_FILES):
        return None
    try:
        values = json.loads((folder / RESULT_FILE).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return TrialResult.from_dict(values) if values.get("hash") == trial_hash else None


class _Run:
    def __init__(
        self,
        spec: TrialSpec,
        prepared_root: Path,
        folder: Path,
        learners: Learners,
        listener: Listener,
        loaders: int,
        metrics: Sequence[str],
    ) -> None:
        self.spec, self.folder, self.listener = spec, folder, listener
        self.metrics = tuple(metrics)
        self.prepared = open_prepared(prepared_path(prepared_root, spec.data.dataset, spec.data.prepared))
        _check_prepared(self.prepared, spec)
        self.prepared.verify_here()
        self.split = self.prepared.read_split(spec.data.split)
        self.checkpoints = CheckpointFolder(folder)
        self.loss = LossInput(spec)
        maps = self.loss.truth_maps(len(self.prepared.classes))
        self.training_batches = TrainingBatches(
            self.prepared, self.split.train, spec.training, spec.seed, processes=loaders, truth_maps=maps
        )
        self.validation_batches = ValidationBatches(
            self.prepared, self.split.validation, spec.training, spec.seed, truth_maps=maps
        )
        self.learner: Learner = learners.get(
            spec,
            self.training_batches.shape,
            len(self.prepared.classes),
            ignores=self.prepared.ignores,
            members=self.prepared.members,
        )

    def result(self) -> TrialResult:
        begin = time.monotonic()
        plateau, history, resumed_from = self._restore()
        with self.training_batches, Saving() as saving:
            history, plateau = self._train(plateau, history, saving)
            saving.wait()
        self.learner.load(self.checkpoints.load_best(plateau.best_epoch))
        trained = time.monotonic()
        with ThreadPoolExecutor(1, thread_name_prefix="model") as beside:
            saved = beside.submit(self.learner.model.save, self.folder / MODEL_FILE)
            scores = self._evaluate()
            saved.result()
        result = TrialResult(
            hash=self.spec.hash,
            scores=tuple(scores),
            history=tuple(history),
            best_epoch=plateau.best_epoch,
            stopped_early=plateau.stop,
            resumed_from=resumed_from,
            steps=sum(e.steps for e in history[resumed_from:]),
            parameters=self.learner.parameters,
            train_seconds=trained - begin,
            evaluate_seconds=time.monotonic() - trained,
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            environment=environment(),
        )
        with atomic_write(self.folder / RESULT_FILE) as file:
            file.write(json.dumps(result.to_dict()).encode())
        self.checkpoints.finish()
        return result

    def _restore(self) -> tuple[PlateauState, list[Epoch], int]:
        self.checkpoints.tidy()
        checkpoint, remarks = self.checkpoints.load()
        if checkpoint is None:
            self.learner.reset(self.spec.seed)
            self.listener.started(0, remarks)
            return PlateauState(self.spec.training.learning_rate), [], 0
        self.learner.load(checkpoint.weights, checkpoint.optimiser)
        history = [Epoch(**e) for e in checkpoint.state["history"]]
        self.listener.started(checkpoint.epoch, remarks)
        return PlateauState(**checkpoint.state["plateau"]), history, checkpoint.epoch

    def _train(self, plateau: PlateauState, history: list[Epoch], saving: Saving) -> tuple[list[Epoch], PlateauState]:
        training = self.spec.training
        keeper = InputKeeper(self.training_batches, training.epochs)
        for epoch in range(len(history) + 1, training.epochs + 1):
            if plateau.stop:
                break
            begin, learning_rate = time.monotonic(), plateau.learning_rate
            batches = saving.beside(self.training_batches.epoch(epoch))
            trained = self.learner.train_epoch(self.loss.at(epoch), batches, learning_rate)
            _refuse_nan("training loss", trained.loss, epoch)
            if epoch < training.epochs:
                keeper.after(epoch, trained.waited, time.monotonic() - begin)
                self.training_batches.begin(epoch + 1)  # so that its first step need not wait
            validated = self.learner.validate(self.loss, saving.beside(self.validation_batches.epoch(epoch)))
            _refuse_nan("validation loss", validated.loss, epoch)
            plateau = advance(plateau, epoch, validated.loss, training)
            record = Epoch(
                epoch,
                trained.loss,
                validated.loss,
                validated.dsc,
                learning_rate,
                trained.steps,
                seconds=time.monotonic() - begin,
                waited=trained.waited + validated.waited,
            )
            history = [*history, record]
            saving.wait()  # before the weights are copied: one copy of them is enough
            saving.begin(self._save(plateau, history))
        return history, plateau

    def _save(self, plateau: PlateauState, history: Sequence[Epoch]) -> Callable[[], None]:
        """What writes the last epoch's checkpoint, as the network is now, and reports it."""
        record = history[-1]
        state = {"plateau": asdict(plateau), "history": [asdict(e) for e in history]}
        checkpoint = Checkpoint(record.epoch, self.learner.weights(), self.learner.optimiser_state(), state)

        def save() -> None:
            self.checkpoints.save(checkpoint, best=plateau.best_epoch == record.epoch)
            if (order := self.listener.epoch(record)) is not Order.CONTINUE:
                raise InterruptedTrialError(order, record.epoch)

        return save

    def _evaluate(self) -> list[Score]:
        scores: list[Score] = []
        parts: tuple[tuple[Partition, Sequence[str], str], ...] = (
            ("validation", self.split.validation, VALIDATION_FILE),
            ("test", self.split.test, PREDICTIONS_FILE),
        )
        for partition, cases, name in parts:
            predictions: dict[str, npt.NDArray[np.uint8]] = {}
            for case in cases:
                found, predictions[case] = evaluate(
                    self.learner, self.prepared, self.spec, case, partition, self.metrics
                )
                scores += found
            with atomic_write(self.folder / name) as file:
                np.savez_compressed(file, allow_pickle=False, **predictions)
        return scores


def evaluate(
    learner: Learner,
    prepared: PreparedDataset,
    spec: TrialSpec,
    case: str,
    partition: Partition,
    metrics: Sequence[str] = (),
) -> tuple[list[Score], npt.NDArray[np.uint8]]:
    """The scores of a network on one case, and its prediction on the prepared grid.

    Raises:
        DataError, InputError: see `score_prediction`.
    """
    evaluation, training = spec.evaluation, spec.training
    # The softmax of a volume is large: it is kept only where a metric needs it.
    predict = inference.predict_case if needs_softmax(metrics) else inference.predict_labels
    predicted = predict(
        lambda patches: learner.apply(tf.constant(patches)).numpy(),
        prepared.image(case),
        patch=training.patch,
        overlap=evaluation.overlap,
        classes=len(prepared.classes),
        weighting=evaluation.weighting,
        batch=training.batch_size,
    )
    if predict is inference.predict_labels:
        return score_prediction(prepared, case, predicted, evaluation, partition, chosen=metrics), predicted
    labels = inference.most_probable(predicted)
    scores = score_prediction(prepared, case, labels, evaluation, partition, chosen=metrics, probabilities=predicted)
    return scores, labels


def environment() -> dict[str, str]:
    """What a result was computed with: versions, device, host."""
    import keras

    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "device": str(device),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
        "revision": os.environ.get("SWEEPER_REVISION", ""),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _refuse_nan(what: str, value: float, epoch: int) -> None:
    if not math.isfinite(value):
        raise DivergedError(f"the {what} became {value} in epoch {epoch}", epoch=epoch)


def _check_prepared(prepared: PreparedDataset, spec: TrialSpec) -> None:
    if prepared.classes != spec.data.classes or prepared.dimensions != spec.data.dimensions:
        raise DataError(
            f"prepared data {prepared.path} hold {prepared.dimensions}D {prepared.classes}, "
            f"the trial expects {spec.data.dimensions}D {spec.data.classes}"
        )
