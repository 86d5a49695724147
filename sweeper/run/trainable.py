"""The Ray actor of a worker: it owns one warm training process, and passes its messages on. Holds no TensorFlow.

An actor imports this module before its training process starts, and nothing trains meanwhile: it imports little.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

from sweeper.run import ray_cluster  # noqa: F401  before Ray: it sets what Ray reads when it is imported
from sweeper.run.limits import over_text, patience
from trials.messages import (
    NO_GPU,
    End,
    EpochEnded,
    Failed,
    Finished,
    Interrupted,
    Needs,
    Order,
    Report,
    Started,
    Worker,
    read_task,
    to_json,
)
from trials.states import FailureKind
from workers.errors import TimedOutError, WorkerLostError
from workers.process.child import SPOOL_FILE
from workers.process.warm import WarmProcess
from workers.tracking import Replayer, Spool, run_id

# isort: split
import ray
from ray import tune
from ray.actor import ActorHandle

RUN_ID_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Step(TypedDict):
    """What Tune gets of each step of a trial. The report is text: Tune flattens nested results at every step, and a
    final result holds thousands of scores."""

    message: str
    done: bool


class WarmTrainable(tune.Trainable):  # type: ignore[misc]
    """Owns one warm training process and passes its messages on. Holds no TensorFlow."""

    def setup(self, config: Mapping[str, str]) -> None:
        self._process: WarmProcess | None = None
        self._replayer: Replayer | None = None
        self._orders: ActorHandle | None = None
        self._busy = self._waiting = False
        self._start(config)

    def reset_config(self, new_config: Mapping[str, str]) -> bool:
        self._start(new_config)
        return True

    def step(self) -> Step:
        if self._waiting and self._process is not None:
            self._process.order(self._order())
        report = self._receive()
        event = report.event
        resumed = isinstance(event, Started) and event.resumed_from > 0
        self._waiting = self._orders is not None and (isinstance(event, EpochEnded) or resumed)
        return {"message": to_json(report), "done": isinstance(event, End)}

    def cleanup(self) -> None:
        if self._process is not None:
            self._process.close()
        if self._replayer is not None:
            self._replayer.close(timeout=30)

    def _start(self, config: Mapping[str, str]) -> None:
        task = read_task(config["task"])
        request, training = task.request, task.request.spec.training
        devices = ",".join(_gpus()) or NO_GPU  # Ray leaves those of a trial without a GPU as they are
        needs = Needs(training.threads, task.memory_share, training.deterministic, devices)
        process = self._process
        if process is not None and self._busy:
            self._quieten(process)
        if process is None or not process.alive() or process.needs != needs or process.outgrown():
            if process is not None:
                process.close()
            process = self._process = WarmProcess(needs, task.early)
        if self._replayer is None:
            tracking = task.tracking
            self._replayer = Replayer(tracking.uri, experiment=tracking.experiment, parent_run=tracking.parent_run)
        self._spool = request.folder / SPOOL_FILE
        self._orders = ray.get_actor(task.orders) if request.supervised else None
        self._trial, self._waiting = request.folder.name, False
        self._busy = True
        self._limits, self._since = task.limits, time.monotonic()
        process.train(request, task.log)

    def _receive(self) -> Report:
        process = self._process
        if process is None:
            raise RuntimeError("step before setup")
        try:
            event = process.receive(patience(self._limits, time.monotonic() - self._since))
        except WorkerLostError as error:
            self._busy = False
            process.close()
            failure, text = FailureKind.OUT_OF_MEMORY if error.out_of_memory else FailureKind.LOST, str(error)
            if isinstance(error, TimedOutError):
                failure, text = FailureKind.TIMED_OUT, over_text(self._limits, time.monotonic() - self._since)
            with contextlib.suppress(OSError), Spool(self._spool) as spool:  # the disk may be full, the folder gone
                spool.fail(failure, text)
            self._flush()
            return Report(Failed(failure, text, error.stderr_tail))
        worker = None
        if isinstance(event, Started):
            # Only now does the spool hold this attempt's start; one whose last attempt has ended is forgotten.
            self._watch()
            worker = Worker(process.pid, socket.gethostname(), _device())
        if isinstance(event, Finished) or (isinstance(event, Interrupted) and event.order is Order.PRUNE):
            mlflow_run = self._run_id()
        else:  # people open the run of a running or failed trial, too
            mlflow_run = run_id(self._spool) or None
        if isinstance(event, Failed):
            event = replace(event, stderr=process.stderr_tail())
            process.close()
        if isinstance(event, End):
            self._busy = False
            self._flush()
        return Report(event, mlflow_run, worker)

    def _order(self) -> Order:
        """What the coordinator answers to the last epoch."""
        if self._orders is None:
            return Order.CONTINUE
        order: Order = ray.get(self._orders.take.remote(self._trial))
        return order

    def _quieten(self, process: WarmProcess) -> None:
        """Tune ended the trial between two epochs: let the process reach its checkpoint."""
        try:
            process.order(Order.STOP)
            while not isinstance(process.receive(), End):
                pass
        except WorkerLostError as error:
            _log.warning("%s", error)
        self._busy = False

    def _run_id(self) -> str | None:
        """The trial's MLflow run. A trial of a second may end before its run exists: this waits for it, unless MLflow
        is unreachable."""
        deadline = time.monotonic() + RUN_ID_SECONDS
        while not (found := run_id(self._spool)) and time.monotonic() < deadline:
            result = None if self._replayer is None else self._replayer.pending().get(self._spool)
            if result is not None and result.error:
                break
            time.sleep(0.05)
        return found or None

    def _watch(self) -> None:
        if self._replayer is not None:
            self._replayer.watch(self._spool)
            self._replayer.flush()

    def _flush(self) -> None:
        if self._replayer is not None:
            self._replayer.flush()


class Orders:
    """The orders for supervised trials after an epoch.

    Tune runs a trial's next step only after its searcher has got the last result: an order is always there before it
    is asked for.
    """

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def give(self, trial: str, order: Order) -> None:
        self._orders[trial] = order

    def take(self, trial: str) -> Order:
        """The order for the trial, once; `CONTINUE` where none was given."""
        return self._orders.pop(trial, Order.CONTINUE)


def _device() -> str:
    gpus = _gpus()
    return f"GPU {','.join(gpus)}" if gpus else "CPU"


def _gpus() -> list[str]:
    """The GPUs that Ray gave this actor. Where no Ray runs, asking it would start one."""
    return [str(one) for one in ray.get_gpu_ids()] if ray.is_initialized() else []
