"""The warm training process: TensorFlow lives here, and trains one trial after another.

Run as `python -m workers.process.child --threads N`. Requests and replies are JSON lines on the standard input and
output that it is started with; what libraries print goes to standard error. The process ends when its input closes, so
that it never outlives the worker that owns it. Its owner's side is `workers.process.warm`.

`trials.messages` says what the two tell each other. A supervised trial asks for an order after each epoch, while the
next one trains, and before it goes on from a checkpoint: one that is pruned ends within the epoch that it has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from trials.messages import (
    End,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Interrupted,
    Order,
    OrderCommand,
    Ready,
    Started,
    TrainRequest,
    read_command,
    to_json,
)
from trials.results import Epoch, TrialResult
from trials.states import FailureKind
from workers.process.failures import classify, failure_text
from workers.process.gpu_memory import memory_limit, visible_devices

if TYPE_CHECKING:
    from workers.tracking import Spool
    from workers.tracking.gauges import Gauges
    from workers.training.learner import Learners

SPOOL_FILE = "spool.jsonl"
EXAMPLE_FILE = "input_example.npy"
OVERLAY_FILE = "segmentations.png"


def main() -> None:
    """Answers requests until the input closes."""
    parser = argparse.ArgumentParser(prog="workers.process.child")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory-share", type=float, default=None)
    parser.add_argument("--not-deterministic", action="store_true")
    arguments = parser.parse_args()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    inbox = Inbox(sys.stdin)

    from workers.tracking.gauges import Gauges
    from workers.training.learner import Learners, configure_device

    memory = memory_limit(arguments.memory_share)
    configure_device(arguments.threads, memory_mib=memory, deterministic=not arguments.not_deterministic)
    learners, gauges = Learners(), Gauges()

    def send(message: Ready | Event) -> None:
        replies.write(to_json(message) + "\n")

    send(Ready(os.getpid(), visible_devices(), memory))
    while True:
        send(train(inbox.next_request(), learners, gauges, inbox, send))


class Inbox:
    """Reads requests on a thread of its own, so that an order reaches a trial that is training."""

    def __init__(self, source: IO[str]) -> None:
        self._requests: queue.Queue[TrainRequest] = queue.Queue()
        self._orders: queue.Queue[Order] = queue.Queue()
        threading.Thread(target=self._listen, args=(source,), name="inbox", daemon=True).start()

    def next_request(self) -> TrainRequest:
        request = self._requests.get()
        while self.order() is not None:  # what came too late for the trial before
            pass
        return request

    def order(self, *, seconds: float = 0.0) -> Order | None:
        """The order for the trial that is training, if one came, or comes within so many seconds."""
        try:
            return self._orders.get(timeout=seconds) if seconds else self._orders.get_nowait()
        except queue.Empty:
            return None

    def _listen(self, source: IO[str]) -> None:
        try:
            for line in source:
                command = read_command(line)
                if isinstance(command, OrderCommand):
                    self._orders.put(command.order)
                else:
                    self._requests.put(command)
        except Exception:  # noqa: BLE001  a process that cannot read its requests must not wait for ever
            traceback.print_exc()
            os._exit(1)
        # The owner has ended: nobody would read a result, and a device must not stay taken.
        os._exit(0)


def train(
    request: TrainRequest,
    learners: Learners,
    gauges: Gauges,
    inbox: Inbox,
    send: Callable[[Event], None],
) -> End:
    """Trains the requested trial and returns the last message of its conversation. Raises nothing."""
    from workers.plugins import load_plugin_texts
    from workers.privacy import without_folders
    from workers.process.occupancy import Occupancy
    from workers.tracking import Spool
    from workers.training.trial import InterruptedTrialError, Listener, run_trial

    spec, folder = request.spec, request.folder
    occupancy, held = Occupancy(folder), contextlib.ExitStack()
    spool: Spool | None = None

    def order() -> Order:
        while not occupancy.superseded():
            received = inbox.order(seconds=1.0 if request.supervised else 0.0)
            if received is not None or not request.supervised:
                return received or Order.CONTINUE
        return Order.STOP

    try:
        os.environ["SWEEPER_REVISION"] = request.revision
        load_plugin_texts(request.plugins)
        held.enter_context(occupancy)
        spool = Spool(folder / SPOOL_FILE)
        spool.start(
            spec,
            label=request.label,
            sweep=request.sweep,
            attempt=request.attempt,
            provenance=request.provenance,
            source=request.data_source,
            setting=request.setting,
        )

        def started(epoch: int, remarks: tuple[str, ...]) -> None:
            send(Started(epoch, remarks))
            if request.supervised and epoch and (received := order()) is not Order.CONTINUE:
                raise InterruptedTrialError(received, epoch)

        def report(record: Epoch) -> Order:
            spool.epoch(record, gauges.read())
            send(EpochEnded(record))
            return order()

        result = run_trial(
            spec,
            prepared_root=request.prepared_root,
            folder=folder,
            learners=learners,
            listener=Listener(started, report),
            loaders=request.loaders,
            metrics=request.metrics,
        )
        for record in result.history:  # an attempt killed between its checkpoint and its spool left one out
            spool.epoch(record)
        _report(spool, request, result)
    except InterruptedTrialError as interrupted:
        if spool is not None and interrupted.order is Order.PRUNE:
            spool.prune(interrupted.epoch)
        elif spool is not None:
            spool.stop(str(interrupted))
        return Interrupted(interrupted.order, interrupted.epoch)
    except Exception as error:  # noqa: BLE001  whatever a library or plug-in raises ends this trial, not the process
        failure = classify(error)
        if failure is FailureKind.BUG:
            traceback.print_exc()
        text = without_folders(failure_text(error), folder, request.prepared_root)
        if spool is not None:
            with contextlib.suppress(OSError):
                spool.fail(failure, text)
        return Failed(failure, text)
    finally:
        if spool is not None:
            with contextlib.suppress(OSError):
                spool.close()
        held.close()
    return Finished(result)


def _report(spool: Spool, request: TrainRequest, result: TrialResult) -> None:
    """Lays out for MLflow the model, a picture of a few segmentations, and the final scores."""
    import numpy as np

    from workers.datasets.prepared import open_prepared, prepared_path
    from workers.files import atomic_write
    from workers.inference.recipe import Recipe, intake_of, largest_of
    from workers.scoring.overlays import Segmentation, overlay_png
    from workers.training.trial import MODEL_FILE, PREDICTIONS_FILE

    spec, folder = request.spec, request.folder
    prepared = open_prepared(prepared_path(request.prepared_root, spec.data.dataset, spec.data.prepared))
    example = None
    if request.pictures:
        with np.load(folder / PREDICTIONS_FILE, allow_pickle=False) as predictions:
            shown = [
                Segmentation(np.asarray(prepared.image(case)), np.asarray(prepared.label(case)), predictions[case])
                for case in sorted(predictions.files)[:4]
            ]
        with atomic_write(folder / OVERLAY_FILE) as file:
            file.write(overlay_png(shown))
        spool.artifact(folder / OVERLAY_FILE, "segmentations")
        if spec.training.patch is None:
            example = folder / EXAMPLE_FILE
            with atomic_write(example) as file:
                np.save(file, np.asarray(prepared.image(prepared.case_ids[0]))[None].astype(np.float32))
    size = spec.training.patch or prepared.image(prepared.case_ids[0]).shape[:-1]
    intake = intake_of(prepared)
    # A plug-in's network cannot be built where the plug-in is not.
    recipe = "" if intake is None or spec.model.source else Recipe.of(spec, intake, largest_of(prepared)).to_json()
    versions = {name: result.environment[name] for name in ("keras", "tensorflow", "numpy")}
    spool.model(
        folder / MODEL_FILE,
        (*size, prepared.channels),
        prepared.classes[1:],
        input_example=example,
        environment=versions,
        recipe=recipe,
    )
    spool.finish(result)


if __name__ == "__main__":
    main()
