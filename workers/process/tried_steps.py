"""A few training steps of one network with one loss on made-up images, in a process of its own: whether this machine's
device takes them, and how fast.

Run as `python -m workers.process.tried_steps --threads N` with a request as one line of JSON on its input. It writes
what came of it as one line of JSON. `try_steps` is its owner's side, and imports no TensorFlow.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from trials.messages import NO_GPU
from trials.spec import TrialSpec
from workers.process.one_request import asked, command, environment

if TYPE_CHECKING:
    import numpy as np

CLASSES, CHANNELS, CASES = 3, 1, 4


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it.

    `refused` is an operation without a deterministic form on this device, `failed` anything else that went wrong;
    `error` says what. `first_seconds` is the first step with its tracing, `step_seconds` the mean of the others,
    `memory_mib` the most memory of the device (of the process, on a CPU), `waited` the share of the time in which the
    step had to wait for its batch.
    """

    state: Literal["ok", "refused", "failed"]
    device: str = ""
    first_seconds: float | None = None
    step_seconds: float | None = None
    memory_mib: float | None = None
    waited: float | None = None
    error: str = ""


def try_steps(
    spec: TrialSpec, size: tuple[int, ...], steps: int, *, device: Literal["cpu", "gpu"], patience: float = 900.0
) -> Tried:
    """Trains so many steps of a spec, whose data are made up, on images of a size. Raises nothing.

    Args:
        spec: network, loss, and settings of the training; its data say dimensions and classes alone.
        size: of an image.
        steps: beside the first one.
        device: `gpu` fails where TensorFlow sees none.
        patience: it is ended, and has failed, after so many seconds.
    """
    hidden = {"CUDA_VISIBLE_DEVICES": NO_GPU} if device == "cpu" else {}
    request = {"spec": spec.to_dict(), "size": list(size), "steps": steps, "device": device}
    started = command("workers.process.tried_steps", spec.training.threads)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    try:
        done = subprocess.run(
            started,
            env={**environment(), **quiet, **hidden},
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        return Tried("failed", error=f"it had not ended after {patience:.0f} s")
    try:
        return Tried(**json.loads(done.stdout))
    except (json.JSONDecodeError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return Tried("failed", error=f"its process ended with status {done.returncode}: {last}")


def main() -> None:
    """Answers one request."""
    with asked("workers.process.tried_steps") as (threads, request, answers):
        from workers.process.failures import failure_text, refused_operation
        from workers.training.learner import configure_device

        spec = TrialSpec.from_dict(request["spec"])
        try:
            configure_device(threads, deterministic=spec.training.deterministic)
            tried = _tried(spec, tuple(request["size"]), request["steps"], request["device"])
        except Exception as error:  # noqa: BLE001  whatever a library raises is the answer
            refused = refused_operation(error)
            tried = Tried("refused" if refused else "failed", error=failure_text(error).strip().splitlines()[0])
        answers.write(json.dumps(asdict(tried)) + "\n")


class _MadeUp:
    """Images of noise, with a block of each class: enough for every loss and augmentation."""

    def __init__(self, size: tuple[int, ...]) -> None:
        import numpy as np

        noise = np.random.default_rng(0)
        self._image = noise.normal(size=(*size, CHANNELS)).astype(np.float32)
        self._label = np.zeros(size, np.uint8)
        self._label[tuple(slice(n // 8, n // 2) for n in size)] = 1
        self._label[tuple(slice(n // 2, n - n // 8) for n in size)] = 2
        self._foreground = np.argwhere(self._label > 0).astype(np.int32)

    def image(self, case: str) -> np.ndarray:
        return self._image

    def label(self, case: str) -> np.ndarray:
        return self._label

    def foreground(self, case: str) -> np.ndarray:
        return self._foreground


def _tried(spec: TrialSpec, size: tuple[int, ...], steps: int, device: str) -> Tried:
    import tensorflow as tf

    from workers.training.batches import TrainingBatches
    from workers.training.learner import Learners, LossInput
    from workers.training.trial import environment

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        return Tried("failed", error="TensorFlow sees no GPU; `sweeper doctor` says what is missing")
    loss = LossInput(spec)
    training = replace(spec.training, patch=size, patches_per_case=-(-steps * spec.training.batch_size // CASES))
    cases = [str(number) for number in range(CASES)]
    batches = TrainingBatches(_MadeUp(size), cases, training, spec.seed, truth_maps=loss.truth_maps(CLASSES))
    learner = Learners().get(spec, (*size, CHANNELS), CLASSES)
    learner.reset(spec.seed)
    with batches:
        begin = time.monotonic()
        learner.train_epoch(loss.at(1), [batches.batch(1, 0)], training.learning_rate)
        traced = time.monotonic()
        trained = learner.train_epoch(loss.at(1), batches.epoch(1), training.learning_rate)
        ended = time.monotonic()
    if gpus:
        memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    else:
        import resource

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent = ended - traced
    return Tried("ok", environment()["device"], traced - begin, spent / trained.steps, memory, trained.waited / spent)


if __name__ == "__main__":
    main()
