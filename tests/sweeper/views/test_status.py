"""How a status line tells the trials of one sweep apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sqlalchemy import update

from storage.database import open_database
from storage.models import TrialRow
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.analysis.intervals import t_half_width
from sweeper.run.lease import LeaseKeeper
from sweeper.views.groups import half_width
from sweeper.views.objects import Counts, Lease, SweepStatus
from sweeper.views.status import LISTED_TRIALS, MANY_TRIALS, next_step, status_of, status_text, trial_of
from tests.live_sweeps import Planned, new_trial, store
from trials.results import Epoch
from trials.states import FailureKind, TrialState


def said(*trials: dict[str, Any], state: str = "running", lease: dict[str, Any] | None = None) -> list[str]:
    fields = {"dataset": "nuclei", "gamma": None, "repeat": 0, "epochs": 0, "val_dsc": None, "test_dsc": None}
    unseen = {"label": "", "loss": "ce", "seed": 0, "attempts": 0, "error": None, "mlflow_run": None, "sweep": None}
    rows: list[dict[str, Any]] = [
        {"hash": f"{n:016x}", "variant": "ce", "failure": None, "setbacks": {}, "train_seconds": None}
        | unseen | fields | one
        for n, one in enumerate(trials)
    ]  # fmt: skip
    again: Counter[str] = Counter()
    for row in rows:
        again.update({} if row["state"] == "failed" else row["setbacks"])
    status = {
        "sweep": "s", "state": state, "reason": "", "rehearsal": False, "lease": lease, "trials": rows, "again": again,
        "counts": {state: sum(row["state"] == state for row in rows) for state in TrialState},
        "failures": Counter(row["failure"] for row in rows if row["failure"] is not None),
    }  # fmt: skip
    return [line.rstrip() for line in shown(SweepStatus.model_validate(status)).splitlines()]


def shown(status: SweepStatus) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(status_text(status, trials=True))
    return captured.get()


def test_lost_failed_and_out_of_memory_are_told_apart_with_what_to_do() -> None:
    lines = said(
        {"state": "failed", "failure": "lost", "setbacks": {"lost": 4}},
        {"state": "failed", "failure": "out_of_memory", "setbacks": {"out_of_memory": 3}},
        {"state": "failed", "failure": "out_of_memory", "setbacks": {"out_of_memory": 3}},
        {"state": "failed", "failure": "bug", "setbacks": {"bug": 2}},
        {"state": "queued", "setbacks": {"lost": 2, "out_of_memory": 1}},
        {"state": "finished", "setbacks": {"lost": 1}},
        state="stopped",
    )
    text = " | ".join(lines)
    assert "1 lost their worker each time" in text
    assert "2 ran out of memory; a smaller batch or patch" in text
    assert "1 failed by a bug" in text
    assert "then: sweeper retry s --failed" in lines
    assert "attempts that were or will be retried: 3 lost, 1 out of memory" in lines
    assert "nobody is running it; resume it with: sweeper resume s" in lines
    states = [line.split("ce", 1)[1].strip() for line in lines if line.startswith("000")]
    assert states == [
        "failed: lost", "failed: out of memory", "failed: out of memory", "failed: bug",
        "queued (after 2 lost, 1 out of memory)", "finished",
    ]  # fmt: skip


def test_the_interval_over_runs_is_the_one_of_the_report() -> None:
    values = [0.81, 0.86, 0.9, 0.7]
    assert half_width(values) == pytest.approx(t_half_width(np.array(values)), rel=1e-12)
    assert half_width(values[:1]) is None


def fold_of(loss: str, repeat: int, fold: int) -> NewTrial:
    trial = new_trial(Planned("nuclei", loss, repeat=repeat))
    spec = replace(trial.spec, data=replace(trial.spec.data, fold=fold))
    return replace(trial, spec=spec, hash=spec.hash)


def test_trials_are_grouped_by_loss_and_the_folds_of_a_repeat_are_one_run(repository: Repository) -> None:
    hashes = [fold_of(loss, repeat, fold) for loss in ("ce", "dice") for repeat in range(2) for fold in range(2)]
    repository.create_sweep("s", grid={}, trials=hashes)
    with repository.database.engine.begin() as connection:
        for place, score in enumerate((0.5, 0.7, 0.8, 0.8, 0.9, 0.9)):
            changed = update(TrialRow.__table__).where(TrialRow.hash == hashes[place].hash)
            connection.execute(changed.values(state=TrialState.FINISHED, test_dsc=score, val_dsc=score))
    dice, ce = status_of(repository, "s").groups
    assert (dice.variant, dice.runs, dice.test_dsc, dice.half_width) == ("dice", 1, 0.9, None)
    assert (dice.counts.finished, dice.counts.queued) == (2, 2)
    assert (ce.variant, ce.runs, ce.test_dsc) == ("ce", 2, pytest.approx(0.7))
    assert ce.half_width == pytest.approx(half_width([0.6, 0.8]))


def test_trials_that_are_not_reproducible_are_counted(repository: Repository) -> None:
    steady = new_trial(Planned("nuclei", "ce"))
    spec = replace(steady.spec, training=replace(steady.spec.training, deterministic=False))
    repository.create_sweep("s", grid={}, trials=[steady, replace(steady, spec=spec, hash=spec.hash)])
    status = status_of(repository, "s")
    assert status.not_reproducible == 1
    assert "not reproducible (training.deterministic = false): 1 trials" in shown(status)
    assert "not reproducible" not in shown(status.model_copy(update={"not_reproducible": 0}))


def test_a_running_trial_says_how_long_it_is_quiet() -> None:
    lines = said(
        {"state": "running", "epochs": 3, "quiet_seconds": 720.0, "slow": True},
        {"state": "running", "quiet_seconds": 30.0},
    )
    assert any("running, last epoch 12 min ago, slow" in line for line in lines)
    assert any("running, began 30 s ago" in line and "slow" not in line for line in lines)


def test_a_running_trial_says_how_long_it_waits_for_its_input() -> None:
    lines = said(
        {"state": "running", "input_wait": 0.02},
        {"state": "running", "input_wait": 0.414, "input_bound": True},
        {"state": "queued"},
    )
    fine, bound, queued = (line for line in lines if line.startswith("000"))
    assert fine.endswith(" 2%")
    assert bound.endswith(" 41%, input-bound")
    assert queued.endswith("queued")
    (advice,) = " ".join(lines).split("input-bound: ")[1:]
    assert advice.startswith("1 running trial waits for its batches for more than 5% of the time")
    assert "[resources] cpus" in advice
    assert "input" not in " ".join(said({"state": "running"}))


def test_a_trial_that_waits_for_its_input_is_told_from_the_database(repository: Repository) -> None:
    planned = [Planned("nuclei", loss) for loss in ("ce", "dice")]
    lease = store(repository, planned, "s")
    for one, waited in zip(planned, (30.0, None), strict=True):
        attempt = repository.claim(lease, one.spec.hash)
        assert attempt is not None
        repository.record_epoch(lease, attempt.id, Epoch(1, 0.5, 0.4, 0.8, 0.1, 19, 60.0, waited))
    first, second = sorted(status_of(repository, "s").trials, key=lambda t: t.loss)
    assert (first.input_wait, first.input_bound) == (0.5, True)
    assert (second.input_wait, second.input_bound) == (None, False)
    assert trial_of(repository, first.hash).input_wait == 0.5


@pytest.mark.parametrize(
    ("states", "held", "command"),
    [
        (("finished", "queued"), True, "sweeper status s --watch"),
        (("finished", "queued"), False, "sweeper resume s"),
        (("finished", "failed"), False, "sweeper status s"),
        (("finished", "finished"), False, "sweeper report s"),
    ],
)
def test_the_next_step(states: tuple[TrialState, ...], held: bool, command: str) -> None:
    counts = Counts(**{state.value: states.count(state.value) for state in TrialState})
    lease = Lease(holder="gpu-1", expires_at=0.0, expired=False, seconds_left=9.0) if held else None
    status = SweepStatus(
        sweep="s",
        state="running",
        reason="",
        rehearsal=False,
        counts=counts,
        failures={},
        again={},
        lease=lease,
        trials=[],
    )
    assert next_step(status).endswith(f": {command}")
    assert "sweeper launch --grid demo" in next_step(None)


def test_the_lease_says_when_it_runs_out_and_ran_out() -> None:
    alive = {"holder": "gpu-1 (pid 7)", "expires_at": 0.0, "expired": False, "seconds_left": 21.4}
    assert "run by gpu-1 (pid 7); its lease expires in 21 s unless it is renewed" in said(lease=alive)
    assert "stop it with: sweeper stop s" in said(lease=alive)
    dead = {**alive, "expired": True, "seconds_left": -600.0}
    assert "its coordinator gpu-1 (pid 7) is lost: its lease expired 10 min ago" in said(lease=dead)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        yield Repository(database)


def queued(repository: Repository, count: int) -> list[str]:
    """The hashes of a new sweep of so many trials."""
    trials = [new_trial(Planned(dataset="nuclei", loss="ce", repeat=n)) for n in range(count)]
    repository.create_sweep("s", grid={}, trials=trials)
    return [one.hash for one in trials]


def test_of_many_trials_those_are_listed_that_one_would_look_for(repository: Repository) -> None:
    last = queued(repository, MANY_TRIALS + 1)[-1]
    with LeaseKeeper(repository, "s", 30.0) as keeper:
        for kind, requeue in ((FailureKind.LOST, True), (FailureKind.BUG, False)):
            attempt = repository.claim(keeper.lease, last)
            assert attempt is not None
            repository.fail(keeper.lease, attempt.id, kind, "gone", requeue=requeue)
    whole, brief = status_of(repository, "s"), status_of(repository, "s", brief=True)
    assert len(whole.trials) == MANY_TRIALS + 1
    assert brief.trials == [*whole.trials[: LISTED_TRIALS - 1], whole.trials[-1]]
    assert whole.model_copy(update={"trials": []}) == brief.model_copy(update={"trials": []})
    assert (whole.counts.queued, whole.failures, whole.again) == (MANY_TRIALS, {"bug": 1}, {})
    assert f"{LISTED_TRIALS} of {MANY_TRIALS + 1} trials are listed" in shown(brief)
    assert "trials are listed" not in shown(whole)


def test_of_few_trials_all_are_listed(repository: Repository) -> None:
    queued(repository, MANY_TRIALS)
    assert status_of(repository, "s", brief=True) == status_of(repository, "s")
