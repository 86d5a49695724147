"""The searches of a sweep: between what the database holds, `sweeper.search.suggestions` and the sweep's coordinator.

Makes rows of trials from suggested points, shows each study what is stored of its family, and writes what has ended
into the Optuna studies that people see. Writes no trial itself: that is the coordinator's, under its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from storage.records import NewTrial, Trial
from storage.repository import Repository
from storage.studies import GAMMA_RANGE, Studies, StudyParameter
from sweeper.search.details import SearchDetails
from sweeper.search.samplers import SearchSettings
from sweeper.search.space import SearchCell, family
from sweeper.search.suggestions import Seen, Suggester
from trials.spec import TrialSpec
from trials.states import OPEN, TrialState

MakeTrial = Callable[[TrialSpec, str], NewTrial]
"""The row of a spec in the Optuna study of that name."""


@dataclass(frozen=True, slots=True)
class Search:
    """One study of a sweep: its name in Optuna, what is searched, and how."""

    name: str
    cell: SearchCell
    settings: SearchSettings

    @property
    def budget(self) -> int:
        """How many points it tries at most: fewer than its settings allow where there are no more."""
        listed = sum(1 for _ in self.cell.points())
        return min(self.settings.trials, listed) if listed else self.settings.trials

    def owns(self, trial: Trial) -> bool:
        """Whether the search suggested this trial of its sweep."""
        return trial.study == self.name and family(trial.spec, self.cell.names) == self.cell.family

    @property
    def details(self) -> SearchDetails:
        """What a sweep remembers of it, with the version of Optuna: its samplers may change between versions."""
        template = self.cell.template
        return SearchDetails(
            dataset=template.data.dataset,
            loss=template.loss.name,
            settings=self.settings,
            hash=self.settings.hash,
            points=self.budget,
            domains=self.cell.domains,
            family=self.cell.family,
            seeds=self.cell.seeds,
            optuna=version("optuna"),
        )

    def points(self, trials: Iterable[Trial]) -> int:
        """How many different points these trials of it have."""
        return len({tuple(self.cell.point(t.spec).values()) for t in trials})


class Adaptive:
    """All searches of a sweep.

    Args:
        repository: the database; only read.
        studies: the Optuna studies.
        searches: the sweep's.
        fixed: hashes of the sweep's other trials.
        make_trial: makes a row of a suggested spec.
    """

    def __init__(
        self,
        repository: Repository,
        studies: Studies,
        searches: Sequence[Search],
        *,
        fixed: frozenset[str],
        make_trial: MakeTrial,
    ) -> None:
        self._repository, self._studies = repository, studies
        self._searches = {search.name: search for search in searches}
        self._make_trial = make_trial
        self._memory: dict[str, Suggester] = {}
        self._exhausted: set[str] = set()
        self._recorded: set[str] = set()
        self._epochs: dict[str, int] = {}
        self._owners: dict[str, Search | None] = dict.fromkeys(fixed)

    def describe(self) -> None:
        """Notes in the Optuna studies how they are searched."""
        for search in self._searches.values():
            self._studies.describe(
                search.name, {"search": search.details.to_dict(), "search_hash": search.settings.hash}
            )

    def search_of(self, trial: Trial) -> Search | None:
        """The search that suggested a trial; None for one that the grid lists."""
        if trial.hash not in self._owners:
            search = self._searches.get(trial.study or "")
            self._owners[trial.hash] = search if search is not None and search.owns(trial) else None
        return self._owners[trial.hash]

    def supervised(self, trial: Trial) -> bool:
        """Whether the trial ends no epoch before the coordinator's order for the one before, since it may be pruned."""
        search = self.search_of(trial)
        return search is not None and search.settings.prunes

    def unfinished(self, trials: Sequence[Trial]) -> bool:
        """Whether a search will suggest more."""
        return any(self._left(search, trials) for search in self._searches.values())

    def finished(self, trials: Sequence[Trial]) -> bool:
        """Whether nothing is left to train of these, all the sweep's: what a search pruned is done with."""
        return not self.unfinished(trials) and not any(
            t.state in OPEN or (t.state is TrialState.PRUNED and self.search_of(t) is None) for t in trials
        )

    def weight(self, trial: Trial, trials: Sequence[Trial]) -> int:
        """How many points of its study, one after the other, wait for a trial: the trial's own and those to come."""
        search = self.search_of(trial)
        return 1 if search is None else 1 + self._left(search, trials)

    def next_trials(self, trials: Sequence[Trial], *, idle: bool) -> list[NewTrial]:
        """The trials of the next point to try, one for each seed; empty when nothing is to be suggested now.

        A study suggests when its last point has ended, so that it knows as much as it can; where a place would be
        `idle` otherwise, the study with the fewest open points suggests one more.
        """
        waiting = {
            name: self._open_points(search, trials)
            for name, search in self._searches.items()
            if self._left(search, trials)
        }
        for name in sorted(waiting, key=lambda name: waiting[name]):
            if waiting[name] and not idle:
                break
            search = self._searches[name]
            point = self._in_memory(search, trials).suggest()
            if point is None:
                self._exhausted.add(name)
                continue
            self._memory.pop(name, None)
            return [self._make_trial(spec, name) for spec in search.cell.specs(point)]
        return []

    def resumed(self, trial: Trial, epoch: int, trials: Sequence[Trial]) -> bool:
        """A suggested trial resumes after `epoch`: says whether it is to be pruned there."""
        search = self.search_of(trial)
        if search is None:
            return False
        self._epochs[trial.hash] = epoch
        self._memory.pop(search.name, None)
        return 0 < epoch < _last(trial) and self._in_memory(search, trials).doomed(trial.hash)

    def epoch_ended(self, trial: Trial, epoch: int, val_dsc: float, trials: Sequence[Trial]) -> bool:
        """A suggested trial has reached `val_dsc` after `epoch`: says whether to prune it. After the last
        there is nothing left to save."""
        search = self.search_of(trial)
        if search is None or not search.settings.prunes:
            return False
        self._epochs[trial.hash] = epoch - 1
        memory = self._in_memory(search, trials)
        self._epochs[trial.hash] = epoch
        return memory.report(trial.hash, epoch, val_dsc) and epoch < _last(trial)

    def ended(self, trials: Iterable[Trial]) -> None:
        """Writes suggested trials that have finished or were pruned into their Optuna studies, each once.

        Those that failed are not written: they may be run again, and an Optuna trial cannot be changed once written.
        """
        for trial in trials:
            search = self.search_of(trial)
            if search is None or trial.state in OPEN:
                continue
            if trial.hash not in self._recorded:
                self._memory.pop(search.name, None)
            if trial.state in (TrialState.FINISHED, TrialState.PRUNED) and trial.hash not in self._recorded:
                self._record(search, trial)
                self._recorded.add(trial.hash)

    def _record(self, search: Search, trial: Trial) -> None:
        point = search.cell.point(trial.spec)
        gamma = trial.gamma if trial.gamma is not None and GAMMA_RANGE[0] <= trial.gamma <= GAMMA_RANGE[1] else None
        self._studies.record(
            search.name,
            trial_hash=trial.hash,
            gamma=gamma,
            value=trial.val_dsc,
            parameters={
                d.name: StudyParameter(point[d.name], d.low, d.high, d.log)
                for d in search.cell.domains
                if d.name != "gamma" or gamma is None
            },
            intermediate=self._scores(trial.hash),
            pruned=trial.state is TrialState.PRUNED,
            user_attrs={"test_dsc": trial.test_dsc, "mlflow_run": trial.mlflow_run, "label": trial.label},
        )

    def _left(self, search: Search, trials: Sequence[Trial]) -> int:
        if search.name in self._exhausted:
            return 0
        return max(search.budget - search.points(self._own(search, trials)), 0)

    def _own(self, search: Search, trials: Sequence[Trial]) -> list[Trial]:
        return [t for t in trials if self.search_of(t) is search]

    def _open_points(self, search: Search, trials: Sequence[Trial]) -> int:
        return search.points(t for t in self._own(search, trials) if t.state in OPEN)

    def _in_memory(self, search: Search, trials: Sequence[Trial]) -> Suggester:
        if search.name not in self._memory:
            self._memory[search.name] = Suggester(search.cell, search.settings, self._seen(search, trials))
        return self._memory[search.name]

    def _seen(self, search: Search, trials: Sequence[Trial]) -> list[Seen]:
        template, names = search.cell.template, search.cell.names
        own = {t.hash for t in self._own(search, trials)}
        listed = {t.hash for t in trials} - own
        kin = self._repository.trials_of_loss(template.data.dataset, template.loss.name)
        stored = {t.hash: t for t in kin if family(t.spec, names) == search.cell.family}
        ended = (TrialState.FINISHED, TrialState.PRUNED)
        earlier = [t for t in stored.values() if t.hash not in own and (t.state in ended or t.hash in listed)]
        earlier.sort(key=lambda t: (t.finished_at or 0.0, t.hash))
        mine = [stored.get(t.hash, t) for t in trials if t.hash in own]
        return [
            Seen(
                t.hash,
                search.cell.point(t.spec),
                t.state,
                t.val_dsc,
                self._known_scores(search, t),
                own=t.hash in own,
                listed=t.hash in listed,
            )
            for t in (*earlier, *mine)
        ]

    def _known_scores(self, search: Search, trial: Trial) -> Mapping[int, float]:
        if not search.settings.prunes and trial.state is not TrialState.PRUNED:
            return {}
        # Of a trial that resumes from an earlier checkpoint, later epochs are from an attempt that was lost.
        last = self._epochs.get(trial.hash) if trial.state in OPEN else None
        return {e: score for e, score in self._scores(trial.hash).items() if last is None or e <= last}

    def _scores(self, trial_hash: str) -> dict[int, float]:
        return {e.epoch: e.val_dsc for e in self._repository.epochs(trial_hash)}


def _last(trial: Trial) -> int:
    return trial.spec.training.epochs
