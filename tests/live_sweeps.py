"""Sweeps in the middle of running, in a real database, without training. Not a test module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.records import Lease, NewTrial
from storage.repository import Repository
from sweeper.grids.names import Naming
from tests.results import result, scored
from trials.results import Epoch, TrialResult
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from trials.states import FailureKind, TrialState


@dataclass(frozen=True)
class Planned:
    """A trial, and what has become of it."""

    dataset: str = "nuclei"
    loss: str = "dice"
    gamma: float | None = None
    repeat: int = 0
    state: TrialState = TrialState.QUEUED
    dsc: float = 0.8
    epoch: int = 0
    failure: FailureKind = FailureKind.LOST
    error: str = "worker killed by signal 9"
    host: str = "gpu-box"
    device: str | None = "GPU 0"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = "unet"

    @property
    def spec(self) -> TrialSpec:
        values = {} if self.gamma is None else {"gamma": self.gamma}
        return TrialSpec(
            DataSpec(self.dataset, ("background", "nucleus"), 2, "p" * 16, "s" * 16),
            LossSpec(self.loss, {**values, **self.parameters}),
            model=ModelSpec(self.model),
            training=TrainingSpec(epochs=100),
            repeat=self.repeat,
            seed=self.repeat,
        )


def mixed() -> list[Planned]:
    """Two data sets, four losses, every state, two repeats of one cell."""
    states = TrialState
    return [
        Planned(loss="ce", state=states.FINISHED, dsc=0.761),
        Planned(loss="dice", state=states.FAILED, failure=FailureKind.DIVERGED, error="the loss became NaN in epoch 3"),
        Planned(loss="focal", state=states.FAILED),
        *(
            Planned(loss="unified_focal_asym", gamma=gamma, state=state, dsc=0.7 + gamma / 5, epoch=epoch)
            for gamma, state, epoch in (
                (0.1, states.FINISHED, 0),
                (0.3, states.FINISHED, 0),
                (0.5, states.RUNNING, 12),
                (0.7, states.RUNNING, 0),
                (0.9, states.QUEUED, 0),
            )
        ),
        Planned(dataset="drive", loss="ce", state=states.FINISHED, dsc=0.8),
        Planned(dataset="drive", loss="ce", repeat=1, state=states.FINISHED, dsc=0.7),
        Planned(dataset="drive", loss="dice", state=states.FINISHED, dsc=0.65),
        Planned(dataset="drive", loss="dice", repeat=1),
        Planned(dataset="drive", loss="focal", state=states.STOPPED),
        Planned(dataset="drive", loss="unified_focal_asym", gamma=0.1, state=states.PRUNED),
        Planned(dataset="drive", loss="unified_focal_asym", gamma=0.5),
    ]


def store(repository: Repository, planned: Sequence[Planned], name: str = "demo", **sweep: Any) -> Lease:
    """Writes the sweep as a coordinator does, and gives back its lease, still held."""
    trials = [new_trial(p) for p in planned]
    given = {"grid": {"name": name}, "description": "What a test made.", **sweep}
    repository.create_sweep(name, trials=trials, **given)
    lease = repository.acquire_lease(name, "test-host:1:0", 3600)
    for one in planned:
        bring(repository, lease, one)
    return lease


def new_trial(one: Planned) -> NewTrial:
    spec = one.spec
    return NewTrial(
        spec.hash, spec, Naming().label(spec), one.dataset, one.loss, one.gamma, one.repeat, one.repeat,
        spec.results_version, cost=60.0,
    )  # fmt: skip


def bring(repository: Repository, lease: Lease, one: Planned) -> None:
    """Brings a queued trial into its state."""
    if one.state is TrialState.QUEUED:
        return
    attempt = repository.claim(lease, one.spec.hash, host=one.host, device=one.device)
    assert attempt is not None
    repository.annotate_attempt(lease, attempt.id, pid=4711)
    if one.state is TrialState.RUNNING:
        for number in range(1, one.epoch + 1):
            repository.record_epoch(lease, attempt.id, epoch(number, one.dsc))
    elif one.state is TrialState.FINISHED:
        repository.finish(lease, attempt.id, outcome(one), one.spec.hash * 2)
    elif one.state is TrialState.FAILED:
        repository.fail(lease, attempt.id, one.failure, one.error, stderr_tail="last words", requeue=False)
    elif one.state is TrialState.PRUNED:
        repository.prune(lease, attempt.id, "no better than the median")
    else:
        repository.stop_attempt(lease, attempt.id, requeue=False)


def epoch(number: int, dsc: float) -> Epoch:
    return Epoch(number, 1 / number, 1 / number, dsc * (1 - 0.5**number), 0.1, 19, 1.5)


def outcome(one: Planned) -> TrialResult:
    scores = tuple(
        scored(partition, f"case{i}", "nucleus", dsc, dsc / (2 - dsc), dsc, dsc)
        for partition, dsc in (("validation", one.dsc), ("test", one.dsc - 0.01))
        for i in range(4)
    )
    return result(
        one.spec.hash, scores, (epoch(n, one.dsc) for n in (1, 2)), environment={"python": "3.11", "device": "CPU"}
    )  # fmt: skip
