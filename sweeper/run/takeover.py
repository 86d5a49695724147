"""A sweep that another version of the program began, taken over in its middle.

Where that version computes the same numbers (`results_version`), there is nothing to do: its trials go on, also from
their checkpoints. Where it does not, a trial that has not finished is ended, and the same cell is trained by this
version, as a trial of its own hash and folder. What has finished stays, is shown as outdated, and enters no statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.records import NewTrial, Trial
from storage.repository import Repository
from sweeper.run.lease import LeaseKeeper
from trials.spec import RESULTS_VERSION, is_external
from trials.states import OPEN, TrialState


def trained_here(trial: Trial) -> bool:
    """Whether this version of the program may train a trial: its numbers would be those of the version that it says."""
    return trial.results_version == RESULTS_VERSION


def to_take_over(trials: Sequence[Trial], *, fixed: bool) -> list[Trial]:
    """Those of another results version that this one has to train in their place.

    They are queued, or a killed coordinator has left them running; or another sweep that shares them has ended them
    here, or, of a fixed grid, its search has pruned them.

    Args:
        trials: of the sweep.
        fixed: whether its grid has no search.
    """
    known = {t.hash for t in trials}
    ended = (TrialState.STOPPED, TrialState.PRUNED) if fixed else (TrialState.STOPPED,)
    return [t for t in _others(trials) if t.state in OPEN or (t.state in ended and _anew(t).hash not in known)]


def take_over(repository: Repository, keeper: LeaseKeeper, trials: Sequence[Trial], *, fixed: bool) -> list[str]:
    """Puts trials of this results version in the place of those of another one. Doing it again changes nothing.

    Args:
        repository: the database.
        keeper: the lease of the sweep.
        trials: of the sweep.
        fixed: whether its grid has no search.

    Returns:
        What a person should know; nothing where all trials are of this version.

    Raises:
        LeaseLostError: another coordinator has taken the sweep over.
    """
    replaced = to_take_over(trials, fixed=fixed)
    ended = []
    if replaced:  # else the trials need not be read again at each start
        keeper.write(repository.add_trials, [_anew(trial) for trial in replaced])
        finished = {t.hash for t in repository.trials(keeper.sweep) if t.state is TrialState.FINISHED}
        ended = [trial for trial in replaced if trial.state not in OPEN or _end(repository, keeper, trial)]
        ended = [trial for trial in ended if _anew(trial).hash not in finished]
    known = {t.hash for t in trials}
    outdated = sum(t.state is TrialState.FINISHED and _anew(t).hash not in known for t in _others(trials))
    lines = []
    if ended:
        versions, several = ", ".join(sorted({str(trial.results_version) for trial in ended})), len(ended) > 1
        lines.append(
            f"{len(ended)} trial{'s' if several else ''} of results version {versions} had not finished; "
            f"{'they are' if several else 'it is'} trained by version {RESULTS_VERSION}, from the first epoch"
        )
    if outdated:
        have, stay, them = ("trials have", "stay", "them") if outdated > 1 else ("trial has", "stays", "it")
        lines.append(
            f"{outdated} {have} results of another version and {stay}, marked as outdated; "
            f"to train {them} by version {RESULTS_VERSION}, too, launch the grid again with --extend"
        )
    return lines


def _others(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if not trained_here(trial) and not is_external(trial.spec)]


def _anew(trial: Trial) -> NewTrial:
    """The same cell by this version."""
    spec = replace(trial.spec, results_version=RESULTS_VERSION)
    return NewTrial(
        hash=spec.hash,
        spec=spec,
        label=trial.label,
        dataset=trial.dataset,
        loss=trial.loss,
        gamma=trial.gamma,
        repeat=trial.repeat,
        seed=trial.seed,
        results_version=RESULTS_VERSION,
        study=trial.study,
        cost=trial.cost,
    )


def _end(repository: Repository, keeper: LeaseKeeper, trial: Trial) -> bool:
    """Ends an open trial for good; False where another sweep runs it."""
    attempt = keeper.write(repository.claim, trial.hash)
    if attempt is not None:
        keeper.write(repository.stop_attempt, attempt.id, requeue=False)
    return attempt is not None
