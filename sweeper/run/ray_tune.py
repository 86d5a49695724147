"""Ray Tune as the executor of a sweep: a searcher that asks the coordinator what runs next, and a scheduler.

What trains is `sweeper.run.trainable`.

Tune's own experiment state is disposable: it lies in a temporary folder, and `sweeper resume` starts from the database.
TensorFlow is imported by the training process alone (`workers.process.child`).
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweeper.errors import RayUnavailableError
from sweeper.run.coordinator import Coordinator
from sweeper.run.gpu_types import on_type
from sweeper.run.placement import Placement, placement_on, start_line
from sweeper.run.ray_cluster import nodes, slots  # before Ray: it sets what Ray reads when it is imported
from sweeper.run.trainable import Orders, WarmTrainable
from sweeper.timing.measured import measured_speeds
from trials.messages import (
    Limits,
    Order,
    Task,
    Tracking,
    read_report,
    to_json,
)
from trials.places import below

# isort: split
import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

NODE_SECONDS = 5.0
"""Between two looks at whether this process's Ray node lives."""

_log = logging.getLogger(__name__)


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
        early: str = "",
    ) -> None:
        super().__init__()
        self._placement, self._early = placement, early
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
            early=self._early,
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
    early: str = "",
    trainable: type[tune.Trainable] = WarmTrainable,
) -> None:
    """Runs the coordinator's trials on the connected cluster until it has no more.

    Args:
        coordinator: chooses what runs next, and gets the reports.
        tracking: where workers report to.
        logs: folder for what the training processes print.
        resources: what a trial on each data set takes, see `resources_of`.
        limits: how long one on each data set may take, see `limits_of`.
        early: where a training process waits that was started before, see `workers.process.early`.
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
                search_alg=QueueSearcher(coordinator, tracking, at_once, logs, resources, limits, placement, early),
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
