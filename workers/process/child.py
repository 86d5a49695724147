"""The warm training process: TensorFlow lives here, and trains one trial after another.

Run as `python -m workers.process.child --threads N`. Requests and replies are JSON lines on the standard input and
output that it is started with; what libraries print goes to standard error. The process ends when its input closes, so
that it never outlives the worker that owns it. Its owner's side is `workers.process.warm`.

A request is `{"verb": "train", "spec", "prepared_root", "folder", "plugins", "tracking", "loaders", "supervised"}` or
`{"verb": "order", "order": "go_on" | "stop" | "prune"}`. A `train` request is answered by `started`, one `epoch` after
each epoch, and at last `finished`, `interrupted` or `failed`. A supervised trial waits for an order after each epoch
and after it has gone on from a checkpoint, so that one that is given up trains no further epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trials.results import EpochRecord, TrialResult
    from trials.spec import TrialSpec
    from workers.tracking import Spool
    from workers.tracking.gauges import Gauges
    from workers.training.learner import Learners
    from workers.training.trial import Order

Message = dict[str, Any]

SPOOL_FILE = "spool.jsonl"
EXAMPLE_FILE = "input_example.npy"
OVERLAY_FILE = "segmentations.png"


def main() -> None:
    """Answers requests until the input closes."""
    parser = argparse.ArgumentParser(prog="workers.process.child")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory-share", type=float, default=None)
    arguments = parser.parse_args()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    inbox = Inbox(sys.stdin)

    from workers.tracking.gauges import Gauges
    from workers.training.learner import Learners, configure_device

    configure_device(arguments.threads, memory_share=arguments.memory_share)
    learners, gauges = Learners(), Gauges()

    def send(message: Message) -> None:
        replies.write(json.dumps(message) + "\n")

    send({"kind": "ready", "pid": os.getpid()})
    while True:
        send(train(inbox.next_request(), learners, gauges, inbox, send))


class Inbox:
    """Reads requests on a thread of its own, so that an order reaches a trial that is training."""

    def __init__(self, source: IO[str]) -> None:
        self._requests: queue.Queue[Message] = queue.Queue()
        self._orders: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(source,), name="inbox", daemon=True).start()

    def next_request(self) -> Message:
        request = self._requests.get()
        while self.order() is not None:  # what came too late for the trial before
            pass
        return request

    def order(self, *, seconds: float = 0.0) -> str | None:
        """The order for the trial that is training, if one came, or comes within so many seconds."""
        try:
            return self._orders.get(timeout=seconds) if seconds else self._orders.get_nowait()
        except queue.Empty:
            return None

    def _listen(self, source: IO[str]) -> None:
        for line in source:
            message = json.loads(line)
            if message["verb"] == "order":
                self._orders.put(message["order"])
            else:
                self._requests.put(message)
        # The owner is gone: nobody would read a result, and a device must not stay taken.
        os._exit(0)


def train(
    request: Mapping[str, Any],
    learners: Learners,
    gauges: Gauges,
    inbox: Inbox,
    send: Callable[[Message], None],
) -> Message:
    """Trains the requested trial and returns the last message of its conversation. Raises nothing."""
    from trials.spec import TrialSpec
    from workers.plugins import load_plugin_texts
    from workers.privacy import without_folders
    from workers.process.occupancy import Occupancy
    from workers.tracking import Spool
    from workers.training.trial import InterruptedTrialError, Listener, Order, run_trial

    folder = Path(request["folder"])
    supervised = bool(request.get("supervised"))
    occupancy, held = Occupancy(folder), contextlib.ExitStack()
    spool: Spool | None = None

    def order() -> Order:
        while not occupancy.superseded():
            said = inbox.order(seconds=1.0 if supervised else 0.0)
            if said is not None or not supervised:
                return Order(said or Order.GO_ON)
        return Order.STOP

    try:
        os.environ["SWEEPER_REVISION"] = request["revision"]
        load_plugin_texts(request["plugins"])
        spec = TrialSpec.from_dict(request["spec"])
        held.enter_context(occupancy)
        spool = Spool(folder / SPOOL_FILE)
        spool.start(spec, **request["tracking"])

        def started(epoch: int, remarks: tuple[str, ...]) -> None:
            send({"kind": "started", "resumed_from": epoch, "remarks": list(remarks)})
            if supervised and epoch and (said := order()) is not Order.GO_ON:
                raise InterruptedTrialError(said, epoch)

        def report(record: EpochRecord) -> Order:
            spool.epoch(record, gauges.read())
            send({"kind": "epoch", **asdict(record)})
            return order()

        result = run_trial(
            spec,
            prepared_root=Path(request["prepared_root"]),
            folder=folder,
            learners=learners,
            listener=Listener(started, report),
            loaders=int(request.get("loaders", 0)),
        )
        for record in result.history:  # an attempt killed between its checkpoint and its spool left one out
            spool.epoch(record)
        _report(spool, spec, result, Path(request["prepared_root"]), folder, pictures=request["pictures"])
    except InterruptedTrialError as interrupted:
        if spool is not None and interrupted.order is Order.PRUNE:
            spool.prune(interrupted.epoch)
        elif spool is not None:
            spool.fail(interrupted.order.value, str(interrupted), status="KILLED")
        return {"kind": "interrupted", "order": interrupted.order.value, "epoch": interrupted.epoch}
    except Exception as error:  # noqa: BLE001  whatever a library or plug-in raises ends this trial, not the process
        failure = classify(error)
        if failure == "bug":
            traceback.print_exc()
        text = without_folders(f"{type(error).__name__}: {error}", folder, Path(request["prepared_root"]))
        if spool is not None:
            with contextlib.suppress(OSError):
                spool.fail(failure, text)
        return {"kind": "failed", "failure": failure, "error": text}
    finally:
        if spool is not None:
            with contextlib.suppress(OSError):
                spool.close()
        held.close()
    return {"kind": "finished", "result": result.to_dict()}


def classify(error: Exception) -> str:
    """The kind of a failure, by the names of `storage.FailureKind`: it decides whether the trial is tried again."""
    from workers.errors import DataError, DivergedError, FolderBusyError, InputError, WorkerLostError

    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, WorkerLostError):
        return "out_of_memory" if error.out_of_memory else "lost"
    if isinstance(error, FolderBusyError):
        return "lost"
    if isinstance(error, DataError):
        return "bad_data"
    if isinstance(error, InputError):
        return "bad_settings"
    # By name: this module must stay importable where TensorFlow is not.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    return "bug"


def _report(
    spool: Spool, spec: TrialSpec, result: TrialResult, prepared_root: Path, folder: Path, *, pictures: bool
) -> None:
    """Lays out for MLflow the model, a picture of a few segmentations, and the final scores."""
    import numpy as np

    from workers.datasets.prepared import open_prepared
    from workers.files import atomic_write
    from workers.scoring.overlays import Segmentation, overlay_png
    from workers.training.trial import MODEL_FILE, PREDICTIONS_FILE

    prepared = open_prepared(prepared_root / f"{spec.data.dataset}-{spec.data.prepared}")
    example = None
    if pictures:
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
    versions = {name: result.environment[name] for name in ("keras", "tensorflow", "numpy")}
    spool.model(
        folder / MODEL_FILE,
        (*size, prepared.channels),
        prepared.classes[1:],
        input_example=example,
        environment=versions,
    )
    spool.finish(result)


if __name__ == "__main__":
    main()
