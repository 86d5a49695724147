"""What one study of a search tries next, and which of its trials are pruned: asks Optuna, remembers nothing.

The database is the truth: a study is brought back in memory from the trials that are stored (`Seen`), in the order in
which they were suggested, so that a search that was killed resumes as an undisturbed one that knows the same results.
Optuna is imported when first needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.search.samplers import SearchSettings, make_pruner, make_sampler
from sweeper.search.space import SearchCell
from trials.spec import content_hash
from trials.states import TrialState

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

ASKS = 64
"""How often a sampler is asked for a point that was not tried yet; with listed values it prefers known ones."""

Point = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """A stored trial as the search sees it.

    Attributes:
        hash: of its spec.
        point: the searched parameters' values.
        state: of the trial.
        value: its validation DSC once it has finished.
        scores: the validation DSC after each of its epochs.
        own: whether this search suggested it; other trials of the family are of earlier sweeps, or listed by the grid.
        listed: whether the grid lists it beside the search, which need not suggest it then.
    """

    hash: str
    point: Point
    state: TrialState
    value: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    own: bool = True
    listed: bool = False


class Suggester:
    """One study in memory.

    Args:
        cell: what is searched.
        settings: how.
        seen: the family's trials, those of earlier sweeps first, then this search's in the order of suggestion.
    """

    def __init__(self, cell: SearchCell, settings: SearchSettings, seen: Sequence[Seen]) -> None:
        self._cell, self._settings = cell, settings
        self._tried = [dict(s.point) for s in seen if s.own]
        self._taken = [dict(s.point) for s in seen if s.own or s.listed]
        self._known = bool([s for s in seen if s.own or s.state is TrialState.FINISHED])
        self._open: dict[str, Trial] = {}
        self._doomed: set[str] = set()
        self._study = _study(settings, self._seed(0) if settings.replays else None, f"{cell.family} {settings.seed}")
        for one in seen:
            if self._inside(one.point):
                self._bring_back(one)

    @property
    def tried(self) -> int:
        """How many different points this search has suggested."""
        return len({tuple(sorted(point.items())) for point in self._tried})

    def suggest(self) -> dict[str, float] | None:
        """The next point, none that this search has tried; None when the budget is used up or all points are tried.

        The first is the loss's own default where it lies in the domains (for the unified losses the paper's 0.5).
        """
        if self.tried >= self._settings.trials:
            return None
        default = self._cell.point(self._cell.template)
        if self._settings.from_default and not self._known and self._cell.has(default) and default not in self._taken:
            return default
        number = self.tried
        for ask in range(ASKS):
            if not self._settings.replays:
                self._study.sampler = make_sampler(
                    self._settings.sampler,
                    self._settings.settings,
                    startup=self._settings.startup,
                    seed=self._seed(number, ask),
                )
            trial = self._ask()
            point = {domain.name: domain.fit(trial.params[domain.name]) for domain in self._cell.domains}
            if point not in self._taken:
                return point
            self._tell(trial, None)
        left = [point for point in self._cell.points() if point not in self._taken]
        return left[self._seed(number, ASKS) % len(left)] if left else None

    def report(self, trial_hash: str, epoch: int, score: float) -> bool:
        """Takes the validation DSC in [0, 1] of a running trial after an epoch; says whether to prune the trial."""
        trial = self._open.get(trial_hash)
        if trial is None or not self._settings.prunes:
            return False
        trial.report(score, epoch)
        return trial.should_prune()

    def doomed(self, trial_hash: str) -> bool:
        """Whether a running trial would be pruned after the last epoch that is known of it."""
        return self._settings.prunes and trial_hash in self._doomed

    def _bring_back(self, one: Seen) -> None:
        if self._settings.replays and not one.own:
            self._study.add_trial(_frozen(one, self._distributions))
            return
        self._study.enqueue_trial(dict(one.point))
        trial = self._ask()
        running = one.state in (TrialState.QUEUED, TrialState.RUNNING)
        last = max(one.scores, default=0)
        for epoch, score in sorted(one.scores.items()):
            trial.report(score, epoch)
            # A pruner with rungs notes the score there; what it answers counts after the last epoch of a running trial.
            asked = self._settings.rungs or (running and epoch == last)
            if asked and trial.should_prune() and running and epoch == last:
                self._doomed.add(one.hash)
        if running:
            self._open[one.hash] = trial
        elif one.state is TrialState.PRUNED:
            self._tell(trial, None, pruned=True)
        else:
            self._tell(trial, one.value if one.state is TrialState.FINISHED else None)

    def _ask(self) -> Trial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._study.ask(self._distributions)

    def _tell(self, trial: Trial, value: float | None, *, pruned: bool = False) -> None:
        from optuna.trial import TrialState as OptunaState

        if pruned:
            self._study.tell(trial, state=OptunaState.PRUNED)
        elif value is None:
            self._study.tell(trial, state=OptunaState.FAIL)
        else:
            self._study.tell(trial, value)

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution

        return {d.name: FloatDistribution(*d.bounds, log=d.log) for d in self._cell.domains}

    def _inside(self, point: Point) -> bool:
        return all(d.bounds[0] <= point[d.name] <= d.bounds[1] for d in self._cell.domains)

    def _seed(self, *number: int) -> int:
        """A seed that depends on the search's own, the study and the number of the suggestion alone."""
        return int(content_hash([self._settings.seed, self._cell.family, *number])[:8], 16)


def _study(settings: SearchSettings, seed: int | None, name: str) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A sampler without a state of its own is put in just before it is asked; until then nothing need be drawn well.
    sampler = (
        optuna.samplers.RandomSampler(seed=0)
        if seed is None
        else make_sampler(settings.sampler, settings.settings, startup=settings.startup, seed=seed)
    )
    pruner = make_pruner(settings.pruner, settings.pruner_settings, startup=settings.startup)
    # Hyperband draws a trial's bracket from the study's name and the trial's number; an unnamed study's name is random.
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=name)


def _frozen(one: Seen, distributions: Mapping[str, BaseDistribution]) -> Any:
    """A trial of an earlier sweep, for a sampler whose own asks are repeated in order."""
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    value, state = one.value, OptunaState.COMPLETE
    if one.state is TrialState.PRUNED:
        value, state = one.scores[max(one.scores)] if one.scores else None, OptunaState.PRUNED
    return create_trial(
        state=state if value is not None or state is OptunaState.PRUNED else OptunaState.FAIL,
        value=value,
        params=dict(one.point),
        distributions=dict(distributions),
        intermediate_values=dict(one.scores),
    )
