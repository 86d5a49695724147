"""The coordinator of one sweep: chooses what runs next, and stores what came of it.

Knows no Ray: `sweeper.run.ray_tune` asks it for the next trial and passes on each report. It writes under the sweep's
lease (`sweeper.run.lease`); without the lease it writes nothing.
"""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from storage.errors import NotWritableError
from storage.records import Attempt, Request, Sweep, Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.names import naming_of
from sweeper.run import retry_policy
from sweeper.run.lease import LeaseKeeper
from sweeper.run.study_recorder import StudyRecorder
from sweeper.run.takeover import trained_here
from sweeper.search.adaptive import Adaptive
from sweeper.timing.schedule import longest_first
from trials.messages import (
    EpochEnded,
    Failed,
    Finished,
    Interrupted,
    Order,
    PluginSource,
    Report,
    Started,
    TrainRequest,
    Worker,
)
from trials.places import below
from trials.requests import Retry, Scale, Stop, from_stored
from trials.results import Epoch, TrialResult
from trials.states import OPEN, AttemptState, FailureKind, SweepState, TrialState

POLL_SECONDS = 1.0


class EndedAtOnce(Exception):  # noqa: N818 (it is no fault)
    """The coordinator was asked to end at once; it waits for no trial."""


class Observer(Protocol):
    """Sees what happens, in words for a person (`sweeper.run.progress`)."""

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(slots=True)
class Running:
    """A claimed trial. `since`: when it was claimed, `started`: when its first report came, by the monotonic clock.
    `epoch` and `val_dsc` are those of its last report, after it `resumed_from` an epoch; `longest` is its longest epoch
    in seconds, `pruned` says why its search pruned it."""

    trial: Trial
    attempt: Attempt
    since: float
    started: float | None = None
    resumed_from: int = 0
    epoch: int = 0
    val_dsc: float | None = None
    seconds: float = 0.0
    longest: float = 0.0
    pruned: str = ""
    mlflow_run: str | None = None


Pick = Callable[[Sequence[Trial]], str | None]


@dataclass(frozen=True, slots=True)
class Work:
    """Where a worker finds and leaves things, the same for every trial of a sweep.

    `metrics` are those of the grid's choice by data set, by the names under which they are stored; `sources` says where
    each data set comes from.
    """

    prepared_root: Path
    trials: Path
    plugins: Sequence[PluginSource] = ()
    pictures: Mapping[str, bool] = field(default_factory=dict)
    provenance: str = ""
    revision: str = ""
    metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class Coordinator:
    """Runs a sweep for an executor of trials.

    Args:
        repository: the database.
        sweep: the sweep.
        keeper: its lease, held by this process.
        studies: the Optuna studies.
        work: where workers find and leave things.
        observer: gets every change.
        limit: at most so many trials are started; the others stay queued.
        adaptive: the sweep's searches, if its grid has any.
        until: when it is to have ended, in seconds since 1970. What runs then ends after an epoch, early enough.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        repository: Repository,
        sweep: Sweep,
        keeper: LeaseKeeper,
        *,
        studies: Studies,
        work: Work,
        observer: Observer,
        limit: int | None = None,
        adaptive: Adaptive | None = None,
        until: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.until, self._clock = until, clock
        self.repository, self.sweep, self.keeper = repository, sweep, keeper
        self.studies, self.work = studies, work
        self.observer, self.limit, self.adaptive = observer, limit, adaptive
        self.naming = naming_of(sweep.grid)
        self.running: dict[str, Running] = {}
        self.draining = False
        self.stopping = False
        self.at_once = False
        self.reason = ""
        self.state = SweepState.RUNNING
        self.progressed = time.monotonic()  # when an epoch or a trial last ended
        self.concurrency: int | None = None
        self._ends: deque[FailureKind | None] = deque(maxlen=retry_policy.BREAKER)
        self._failures: Counter[tuple[str, FailureKind]] = Counter()
        self._broken = False
        self._handed_over = False
        self._queue: list[str] = []
        self._trials: dict[str, Trial] = {}
        self._recorder = StudyRecorder(studies)
        self._started = 0
        self._requests: deque[Request] = deque()
        self._polled = 0.0
        self.refresh()

    # What the executor asks.

    def next(self, pick: Pick | None = None) -> Running | None:
        """Claims the next trial, or returns None when there is none to start now (`done` tells whether ever).

        Args:
            pick: chooses from the queue, by its hash, a trial that starts now, or None; by default the first.
        """
        self.poll()
        if self.draining or self.done() or (self.limit is not None and self._started >= self.limit):
            return None
        if not self._queue and not self.running:
            self.refresh()
        self._suggest()
        while self._queue:
            chosen = self._queue[0] if pick is None else pick([self._trials[one] for one in self._queue])
            if chosen is None:
                return None
            self._queue.remove(chosen)
            trial = self._trials[chosen]
            attempt = self.keeper.write(self.repository.claim, trial.hash, host=_host())
            if attempt is None:
                continue
            self._started += 1
            named = replace(trial, label=self.naming.label(trial.spec))
            running = Running(named, attempt, time.monotonic())
            self.running[trial.hash] = running
            self._tell()
            return running
        return None

    def done(self) -> bool:
        """Whether nothing more will be started: all is final, the limit is reached, or the sweep is ending."""
        if self.running:
            return False
        if self.draining or self.stopping:
            return True
        if self.limit is not None and self._started >= self.limit:
            return True
        return not self._queue and not self._unfinished() and not self._searching()

    @property
    def waiting(self) -> bool:
        """Whether there are trials in the queue."""
        return bool(self._queue)

    def request(self, running: Running) -> TrainRequest:
        """What the training process needs to know of a claimed trial."""
        trial, spec = running.trial, running.trial.spec
        # A plug-in that the trial does not use must not be able to break it.
        sources = {spec.loss.source, spec.model.source}
        return TrainRequest(
            spec=spec,
            label=trial.label,
            setting=self.naming.setting(spec),
            prepared_root=self.work.prepared_root,
            folder=below(self.work.trials, trial.hash),
            sweep=self.sweep.name,
            attempt=running.attempt.number,
            provenance=self.work.provenance,
            plugins=tuple(p for p in self.work.plugins if p.source in sources or p.names.get("metrics")),
            revision=self.work.revision,
            pictures=self.work.pictures.get(trial.dataset, True),
            supervised=self.adaptive is not None and self.adaptive.supervised(trial),
            metrics=self.work.metrics.get(trial.dataset, ()),
            data_source=self.work.sources.get(trial.dataset, ""),
        )

    def order(self, trial_hash: str) -> Order:
        """The order for a supervised trial after an epoch: `PRUNE` where its search has pruned it."""
        running = self.running.get(trial_hash)
        return Order.PRUNE if running is not None and running.pruned else Order.CONTINUE

    # What the executor reports.

    def handle(self, trial_hash: str, report: Report) -> None:
        """Takes a report on a running trial and stores what follows from it."""
        running = self.running.get(trial_hash)
        if running is None:
            return
        event, run = report.event, report.mlflow_run
        if run and run != running.mlflow_run and not isinstance(event, Finished):  # its outcome holds the run
            self.keeper.write(self.repository.set_mlflow_run, run, trial=trial_hash)
            running.mlflow_run = run
        match event:
            case Started():
                self._on_started(running, event, report.worker)
            case EpochEnded():
                self._on_epoch(running, event.record)
            case Finished():
                self._on_finished(running, event.result, run)
            case Failed():
                self._on_failed(running, event.failure, event.error, event.stderr)
            case Interrupted(order=Order.PRUNE):
                self._on_pruned(running)
            case Interrupted():
                if not self.stopping:
                    self.observer.say(
                        f"{running.trial.label}: ended after epoch {event.epoch}, since another process has its folder"
                    )
                self._end(running)
                self.keeper.write(self.repository.stop_attempt, running.attempt.id, requeue=True)
        self._tell()

    def lost(self, trial_hash: str, error: str) -> None:
        """The worker of a running trial is lost: it ended without a report."""
        running = self.running.get(trial_hash)
        if running is not None:
            self._on_failed(running, FailureKind.LOST, error, "")
            self._tell()

    def put_back(self, trial_hash: str) -> None:
        """Queues a claimed trial again that got no place to run."""
        running = self.running.get(trial_hash)
        if running is not None:
            self._end(running)
            self.keeper.write(self.repository.stop_attempt, running.attempt.id, requeue=True)
            self._started -= 1
            self._queue.insert(0, trial_hash)
            self._tell()

    def poll(self) -> None:
        """Handles the requests of other processes; cheap enough to be called often.

        Raises:
            LeaseLostError: another coordinator has taken the sweep over.
            EndedAtOnce: see `end_at_once`.
        """
        self.keeper.check()
        if self.at_once:
            raise EndedAtOnce
        now = time.monotonic()
        if now - self._polled < POLL_SECONDS:
            return
        self._polled = now
        self._end_in_time()
        for request in self.keeper.write(self.repository.pending_requests):
            outcome = self._answer(request)
            self.keeper.write(self.repository.complete_request, request.id, outcome)
            self.observer.say(f"{request.verb}: {outcome}")

    def _end_in_time(self) -> None:
        """Ends what runs after its epoch where the next one would end too late."""
        longest = max((running.longest for running in self.running.values()), default=0.0)
        if self.until is not None and not self.stopping and self._clock() + longest >= self.until:
            self.stop_now("its time is over")
            self.observer.say(
                "its time is over: running trials end after this epoch; resume later with: "
                f"sweeper resume {self.sweep.name}"
            )

    def drain(self, reason: str) -> None:
        """Starts no more trials; running trials train to their end."""
        self.draining, self.reason = True, reason

    def stop_now(self, reason: str) -> None:
        """Ends running trials after their current epoch; `sweeper resume` continues from their checkpoints."""
        self.draining, self.stopping, self.reason = True, True, reason

    def end_at_once(self, reason: str) -> None:
        """Ends running trials wherever they are; `sweeper resume` continues from their last checkpoints."""
        self.stop_now(reason)
        self.at_once = True

    def hand_over(self, reason: str) -> None:
        """The same, but the state of the sweep stays `running`: a service that finds it resumes it."""
        self.stop_now(reason)
        self._handed_over = True

    def halt(self, error: NotWritableError | OSError) -> None:
        """Breaks the sweep off, since nothing more can be written; `close` writes that down if there is room again."""
        self.stop_now(f"disk full: {error}")
        self._broken = True
        self.keeper.go_on()
        self.observer.say(f"stopping: {self.reason}; then: sweeper resume {self.sweep.name}")

    def requeue_running(self) -> None:
        """Queues the trials that still run, as far as this process knows: nobody will report on them."""
        for running in list(self.running.values()):
            self._end(running)
            self.keeper.write(self.repository.stop_attempt, running.attempt.id, requeue=True)

    def close(self, *, failed: bool = False) -> SweepState:
        """Stores the sweep's final state.

        Args:
            failed: whether an error ends the coordinator. The state of the sweep then stays `running`, as after a
                kill, and a service that finds it resumes it; unless the sweep was to stop anyway.
        """
        try:
            self._recorder.close()
        except (NotWritableError, OSError):
            if not self._broken:  # else the next run records them
                raise
        self.requeue_running()
        self.refresh()
        state = self._final_state(failed)
        self.keeper.write(self.repository.set_sweep_state, state, self.reason)
        self.state = state
        self._tell()
        return state

    def refresh(self) -> None:
        """Reads the sweep's trials again and orders the queue."""
        trials = self.repository.trials(self.sweep.name)
        # Another sweep's search pruned these; here they are cells of the grid.
        pruned = [t.hash for t in trials if t.state is TrialState.PRUNED and trained_here(t) and not self._suggested(t)]
        if pruned:
            self.keeper.write(self.repository.retry, pruned)
            trials = self.repository.trials(self.sweep.name)
        self._trials = {t.hash: t for t in trials}
        waiting = [t for t in trials if t.state is TrialState.QUEUED and t.hash not in self.running and trained_here(t)]
        weights = {t.hash: self.adaptive.weight(t, trials) if self.adaptive is not None else 1 for t in waiting}
        queued = {t.hash: (t.cost or 0.0) * weights[t.hash] for t in waiting}
        self._queue = longest_first(queued)
        if self.adaptive is not None:
            # Trials that ended under a killed coordinator, or in another sweep, and are not recorded yet.
            self.adaptive.ended(trials)

    @property
    def trials(self) -> list[Trial]:
        return list(self._trials.values())

    def counts(self) -> dict[str, int]:
        """Trials by state, as far as this process knows: asks no database, which may be unreachable."""
        states = Counter(TrialState.RUNNING if t.hash in self.running else t.state for t in list(self._trials.values()))
        return {state.value: states[state] for state in TrialState}

    # Inside.

    def _suggest(self) -> None:
        """Stores what the searches try next. A point that is finished already costs nothing; the next one follows."""
        if self.adaptive is None:
            return
        while new := self.adaptive.next_trials(self.trials, idle=not self._queue):
            self.keeper.write(self.repository.add_trials, new)
            self.refresh()
            self.observer.say(f"search: {new[0].label}" + (f" ({len(new)} seeds)" if len(new) > 1 else ""))

    def _searching(self) -> bool:
        return self.adaptive is not None and self.adaptive.unfinished(self.trials)

    def _suggested(self, trial: Trial) -> bool:
        return self.adaptive is not None and self.adaptive.search_of(trial) is not None

    def _on_started(self, running: Running, event: Started, worker: Worker | None) -> None:
        running.epoch = running.resumed_from = event.resumed_from
        running.started = time.monotonic()
        if running.epoch:
            self.observer.say(f"{running.trial.label}: resumes after epoch {running.epoch}")
        elif running.attempt.number > 1:
            why = "" if event.remarks else ", since no earlier attempt left a checkpoint"
            self.observer.say(f"{running.trial.label}: starts from its first epoch{why}")
        for remark in event.remarks:
            self.observer.say(f"{running.trial.label}: {remark}")
        self.keeper.write(
            self.repository.annotate_attempt,
            running.attempt.id,
            resumed_from=running.epoch,
            pid=None if worker is None else worker.pid,
            device=None if worker is None else worker.device,
            host=None if worker is None else worker.host,
        )
        if self.adaptive is not None and self.adaptive.resumed(running.trial, running.epoch, self.trials):
            # Decided by an earlier coordinator, which was killed before it could tell the trial.
            running.pruned = f"pruned after epoch {running.epoch}"

    def _on_epoch(self, running: Running, epoch: Epoch) -> None:
        running.epoch, running.val_dsc = epoch.epoch, epoch.val_dsc
        running.seconds += epoch.seconds
        running.longest = max(running.longest, epoch.seconds)
        self.progressed = time.monotonic()
        self.keeper.write(self.repository.record_epoch, running.attempt.id, epoch)
        if self.adaptive is not None and self.adaptive.epoch_ended(
            running.trial, epoch.epoch, epoch.val_dsc, self.trials
        ):
            running.pruned = f"pruned after epoch {epoch.epoch} at a validation DSC of {epoch.val_dsc:.3f}"

    def _on_pruned(self, running: Running) -> None:
        trial = running.trial
        self.keeper.write(self.repository.prune, running.attempt.id, running.pruned)
        self._end(running)
        self._ends.append(None)
        self._trials[trial.hash] = self.repository.trial(trial.hash, self.sweep.name)
        if self.adaptive is not None:
            self.adaptive.ended([self._trials[trial.hash]])
        self.observer.say(f"{trial.label}: {running.pruned}")

    def _on_finished(self, running: Running, result: TrialResult, mlflow_run: str | None) -> None:
        trial = self.keeper.write(self.repository.finish, running.attempt.id, result, mlflow_run)
        self._end(running)
        self._ends.append(None)
        self._trials[trial.hash] = trial
        if self.adaptive is not None and self._suggested(trial):
            self.adaptive.ended([trial])
        else:
            self._recorder.add(trial)
        dsc = "undefined" if result.test_dsc is None else f"{result.test_dsc:.3f}"
        self.observer.say(
            f"finished {running.trial.label}: test DSC {dsc}, {len(result.history)} epochs, "
            f"{result.train_seconds + result.evaluate_seconds:.1f} s"
        )

    def _on_failed(self, running: Running, kind: FailureKind, error: str, stderr: str) -> None:
        trial = running.trial
        retried = retry_policy.retry(kind, self._failures[trial.hash, kind])
        self._failures[trial.hash, kind] += 1
        state = AttemptState.LOST if kind is FailureKind.LOST else AttemptState.FAILED
        self.keeper.write(
            self.repository.fail, running.attempt.id, kind, error, stderr_tail=stderr, requeue=retried, state=state
        )
        self._end(running)
        self._ends.append(kind)
        first_line = error.strip().partition("\n")[0]
        self.observer.say(
            f"{kind.value.replace('_', ' ')} {trial.label}: {first_line}; "
            + ("will be retried" if retried else f"see: sweeper show {trial.hash[:8]}")
        )
        if retried:
            self._queue.append(trial.hash)
        else:
            self._trials[trial.hash] = self.repository.trial(trial.hash, self.sweep.name)
            if self.adaptive is not None:
                self.adaptive.ended([self._trials[trial.hash]])
        if retry_policy.broken(list(self._ends)) and not self._broken:
            words = kind.value.replace("_", " ")
            halts = kind in retry_policy.HALTING
            reason = (
                words if halts else f"{retry_policy.BREAKER} attempts in a row failed for the same reason ({words})"
            )
            self._broken = True
            self.drain(f"{reason}: {first_line}")
            self.observer.say(f"stopping: {self.reason}; fix the cause, then: sweeper resume {self.sweep.name}")

    def _answer(self, request: Request) -> str:
        """Does what was asked; what came of it, in words for a person."""
        asked = from_stored(request.verb, request.arguments)
        if isinstance(asked, Stop | Scale) and request.created_at < self.keeper.since:
            return "meant for an earlier coordinator, ignored"
        match asked:
            case Stop(now=True):
                self.stop_now("stopped by request")
                return "running trials end after their current epoch"
            case Stop():
                self.drain("stopped by request")
                return "running trials train to their end, no new one starts"
            case Retry(trials):
                self.keeper.write(self.repository.retry, trials)
                for failure in [f for f in self._failures if f[0] in trials]:
                    del self._failures[failure]
                self.refresh()
                ours = sum(trained_here(self._trials[one]) for one in trials if one in self._trials)
                later = f"; {len(trials) - ours} of another results version: `sweeper resume` trains them anew"
                return f"{ours} queued" + (later if ours < len(trials) else "")
            case Scale(concurrency):
                self.concurrency = concurrency
                return f"at most {concurrency} trials at once from now on"
        return f"unknown request {request.verb!r}, ignored"

    def _unfinished(self) -> bool:
        """Whether another sweep is running a trial that this one shares."""
        running = (t for t in self._trials.values() if t.state is TrialState.RUNNING and trained_here(t))
        return any(t.hash not in self.running for t in running)

    def _final_state(self, failed: bool) -> SweepState:
        open_trials = [t for t in self._trials.values() if t.state in OPEN and trained_here(t)]
        if self._broken:
            return SweepState.BROKEN
        if not open_trials and not self._searching():
            return SweepState.FINISHED
        to_be_resumed = self._handed_over or (failed and not self.draining)
        return SweepState.RUNNING if to_be_resumed else SweepState.STOPPED

    def _end(self, running: Running) -> None:
        self.running.pop(running.trial.hash, None)
        self.progressed = time.monotonic()

    def _tell(self) -> None:
        self.observer.changed(self._trials.values(), self.running)


def _host() -> str:
    return socket.gethostname()
