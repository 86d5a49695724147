"""Ray Tune as the executor of a sweep: a trainable with a warm training process, and a searcher that asks the
coordinator what runs next.

Tune's own experiment state is disposable: it lies in a temporary folder, and `sweeper resume` starts from the database.
TensorFlow is imported by the training process alone (`workers.process.child`).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from sweeper.errors import RayUnavailableError
from sweeper.run.coordinator import Coordinator
from sweeper.run.gpu_types import on_type
from sweeper.run.limits import over_text, patience
from sweeper.run.placement import Placement, placement_on, start_line
from sweeper.run.ray_cluster import nodes, slots  # before Ray: it sets what Ray reads when it is imported
from sweeper.timing.measured import measured_speeds
from trials.messages import (
    End,
    EpochEnded,
    Failed,
    Finished,
    Interrupted,
    Limits,
    Order,
    Report,
    Started,
    Task,
    Tracking,
    Worker,
    read_report,
    read_task,
    to_json,
)
from trials.places import below
from trials.states import FailureKind
from workers.errors import TimedOutError, WorkerLostError
from workers.process.child import SPOOL_FILE
from workers.process.warm import WarmProcess
from workers.tracking import Replayer, Spool, run_id

# isort: split
import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

RUN_ID_SECONDS = 5.0
NODE_SECONDS = 5.0
"""Between two looks at whether this process's Ray node lives."""

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
        needs = training.threads, task.memory_share, training.deterministic
        process = self._process
        if process is not None and self._busy:
            self._quieten(process)
        if (
            process is None
            or not process.alive()
            or (process.threads, process.memory_share, process.deterministic) != needs
            or process.outgrown()
        ):
            if process is not None:
                process.close()
            process = self._process = WarmProcess(
                training.threads,
                task.memory_share,
                deterministic=training.deterministic,
                devices=",".join(_gpus()) or "-1",  # Ray leaves those of a trial without a GPU as they are
            )
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


class QueueSearcher(Searcher):  # type: ignore[misc]
    """What Tune runs next is what the coordinator claims next."""

    def __init__(
        self,
        coordinator: Coordinator,
        tracking: Tracking,
        slots: int,
        logs: Path,
        resources: Mapping[str, Mapping[str, float]],
        limits: Mapping[str, Limits] | None = None,
        placement: Placement | None = None,
    ) -> None:
        super().__init__()
        self._placement = placement
        self._coordinator, self._tracking, self._slots = coordinator, tracking, slots
        self._logs, self._resources, self._limits = logs, resources, limits or {}
        self._hashes: dict[str, str] = {}
        self._orders_name = f"orders-{secrets.token_hex(8)}"
        self._orders: ActorHandle | None = None

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:
        coordinator = self._coordinator
        if len(self._hashes) >= (coordinator.concurrency or self._slots):
            coordinator.poll()
            return None
        placement = self._placement
        at_once = coordinator.concurrency
        running = coordinator.next(None if placement is None else lambda waiting: placement.pick(waiting, at_once))
        if running is None:
            return Searcher.FINISHED if coordinator.done() else None
        trial_hash = running.trial.hash
        resources = dict(self._resources[running.trial.dataset])
        if placement is not None:
            resources |= on_type(placement.place(running))
        self._hashes[trial_id] = trial_hash
        request = coordinator.request(running)
        if request.supervised and self._orders is None:
            self._orders = ray.remote(num_cpus=0)(Orders).options(name=self._orders_name).remote()
        task = Task(
            request=replace(request, loaders=_loaders(request.spec.training.threads, resources)),
            tracking=self._tracking,
            log=below(self._logs, f"{trial_hash}.log"),
            orders=self._orders_name,
            # Several trials on one GPU: TensorFlow would take all of its memory.
            memory_share=resources["GPU"] if 0 < resources["GPU"] < 1 else None,
            limits=self._limits.get(running.trial.dataset, Limits()),
        )
        # As text, like the results: Tune copies and flattens a trial's configuration many times.
        return {"hash": trial_hash, "task": to_json(task), "resources": resources}

    def on_trial_result(self, trial_id: str, result: Mapping[str, object]) -> None:
        self._coordinator.poll()
        self._handle(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, object] | None = None, error: bool = False) -> None:
        trial_hash = self._hashes.get(trial_id)
        if trial_hash is None:
            return
        if error:
            self._coordinator.lost(trial_hash, "the Ray actor of this trial was lost")
        elif result is None:
            self._coordinator.put_back(trial_hash)
        elif result.get("done"):
            self._handle(trial_id, result)
        if self._placement is not None:
            self._placement.ended(trial_hash)
        del self._hashes[trial_id]

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles the searcher to restore it, and we never restore."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database holds the queue."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database holds the queue."""

    def _handle(self, trial_id: str, result: Mapping[str, object]) -> None:
        trial_hash, message = self._hashes.get(trial_id), result.get("message")
        if trial_hash is not None and isinstance(message, str):
            self._coordinator.handle(trial_hash, read_report(message))
            order = self._coordinator.order(trial_hash)
            if order is not Order.CONTINUE and self._orders is not None:
                ray.get(self._orders.give.remote(trial_hash, order))


class _Forget(tune.Callback):  # type: ignore[misc]
    """Tune keeps every trial and its last result: here thousands of scores, which are in the database."""

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        trial.last_result.pop("message", None)

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles the callback to restore it, and we never restore."""
        return {}


class _OwnNode(tune.Callback):  # type: ignore[misc]
    """Ends the sweep once the Ray node that this process is connected to has died: Tune would wait for it for ever."""

    def __init__(self, sweep: str) -> None:
        self._sweep, self._node = sweep, ray.get_runtime_context().get_node_id()
        self._looked = time.monotonic()

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles the callback to restore it, and we never restore."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        if time.monotonic() < self._looked + NODE_SECONDS:
            return
        self._looked = time.monotonic()
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == self._node):
            why = "the Ray node of this sweep has died, perhaps for want of memory"
            raise RayUnavailableError(f"{why}; go on with: sweeper resume {self._sweep}")


class InOrder(FIFOScheduler):  # type: ignore[misc]
    """First come, first served, among the trials that have not ended.

    Tune's own scheduler looks at every trial since the start at each step: after 10,000 trials this takes as long as
    all other work of Tune for one trial.

    Where trials take GPUs of several types, Tune would end an actor of one type whenever a trial waits for another, and
    the next trial there would begin cold.

    Args:
        overdue: whether a trial that has got no place yet is given back to the searcher.
        warm: how many actors without a trial are kept for each type now.
    """

    def __init__(self, overdue: Callable[[str], bool] | None = None, warm: Callable[[], int] | None = None) -> None:
        super().__init__()
        self._overdue, self._warm = overdue, warm
        self._kept: dict[tune.PlacementGroupFactory, int] = {}
        self._live: dict[str, Trial] = {}

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles the scheduler to restore it, and we never restore."""
        return {}

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        self._live[trial.trial_id] = trial
        if self._warm is not None:
            self._kept.setdefault(trial.placement_group_factory, 0)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        self._live.pop(trial.trial_id, None)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: object) -> None:
        self._live.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        self._live.pop(trial.trial_id, None)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        if self._warm is not None:
            most = self._warm()
            for kind, kept in self._kept.items():
                tune_controller._actor_cache.increase_max(kind, most - kept)
                self._kept[kind] = most
        chosen = next((trial for trial in self._live.values() if trial.status == Trial.PENDING), None)
        if chosen is not None and self._overdue is not None and self._overdue(chosen.config["hash"]):
            tune_controller.stop_trial(chosen)
            # What `stop_trial` leaves of a trial without an actor: Tune would keep room for it, and no actor warm.
            tune_controller._unstage_trial_with_resources(chosen)
            return None
        return chosen


class _StopNow(tune.Stopper):  # type: ignore[misc]
    """Ends every trial at its next report once the coordinator is to stop."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles the stopper to restore it, and we never restore."""
        return {}

    def __call__(self, trial_id: str, result: Mapping[str, object]) -> bool:
        return self._coordinator.stopping

    def stop_all(self) -> bool:
        return self._coordinator.stopping


def _loaders(threads: int, resources: Mapping[str, float]) -> int:
    """Processes that load batches: one for each CPU of the trial beyond its training threads.

    Without them one thread loads, and a large GPU waits for it.
    """
    return max(int(resources["CPU"]) - threads, 0)


def execute(
    coordinator: Coordinator,
    *,
    tracking: Tracking,
    logs: Path,
    resources: Mapping[str, Mapping[str, float]],
    limits: Mapping[str, Limits] | None = None,
    trainable: type[tune.Trainable] = WarmTrainable,
) -> None:
    """Runs the coordinator's trials on the connected cluster until it has no more.

    Args:
        coordinator: chooses what runs next, and gets the reports.
        tracking: where workers report to.
        logs: folder for what the training processes print.
        resources: what a trial on each data set takes, see `resources_of`.
        limits: how long one on each data set may take, see `limits_of`.
        trainable: trains a trial and reports like `WarmTrainable`.

    Raises:
        RayUnavailableError: the cluster has no slot for a single trial, or this process's node of it has died.
        LeaseLostError: another coordinator has taken the sweep over.
        NotWritableError: the database cannot be written any more.
    """
    at_once = max(slots(one) for one in resources.values())
    placement = placement_on(nodes, resources.values(), partial(measured_speeds, coordinator.repository))
    scheduler = InOrder()
    if placement is not None:
        coordinator.observer.say(start_line(nodes()))
        scheduler = InOrder(placement.overdue, lambda: at_once if coordinator.waiting else 0)
    # It lists trials that did not complete as an error; the coordinator reports each of them.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="sweeper-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, _placement),
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=QueueSearcher(coordinator, tracking, at_once, logs, resources, limits, placement),
                scheduler=scheduler,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                stop=_StopNow(coordinator),
                callbacks=[_Forget(), _OwnNode(coordinator.sweep.name)],
                log_to_file=False,
                # The training process writes its own checkpoints, which outlive Tune.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        )
        try:
            tuner.fit()
        except TuneError:
            coordinator.keeper.check()  # what was raised while a report was stored, Tune wraps as text
            raise


def _placement(config: Mapping[str, Mapping[str, float]]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([dict(config["resources"])])


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['hash']}-{trial.trial_id}"


def _device() -> str:
    gpus = _gpus()
    return f"GPU {','.join(gpus)}" if gpus else "CPU"


def _gpus() -> list[str]:
    """The GPUs that Ray gave this actor. Where no Ray runs, asking it would start one."""
    return [str(one) for one in ray.get_gpu_ids()] if ray.is_initialized() else []
