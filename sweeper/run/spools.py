"""What the spools of a sweep's trials lack, from the database: a whole spool, an end, or metrics that came later.

A trial writes its spool itself. A kill leaves it without an end, so that MLflow shows the trial as running for ever; a
removed folder takes it away; and metrics that are added to finished trials are never in it. Whoever holds the sweep's
lease puts this right, and MLflow then gets it as everything else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.records import Sweep, Trial
from storage.repository import SCORE_KEYS, SCORE_TEXTS, Repository
from sweeper.data.preparation import about_of
from sweeper.grids.files import parse_grid
from sweeper.grids.names import naming_of
from sweeper.settings import Settings
from trials.errors import ExpectedError
from trials.places import below
from trials.results import Score, TrialResult
from trials.states import FailureKind, TrialState
from workers.process.child import SPOOL_FILE
from workers.tracking import Spool, told


def spool_of(settings: Settings, trial: str) -> Path:
    """Where a trial's spool is, or would be."""
    return below(settings.trials, trial) / SPOOL_FILE


def end_spools(settings: Settings, trials: Sequence[Trial]) -> list[Path]:
    """Ends the spools of trials that nobody trains and whose process was killed before it could: MLflow would show them
    as running. Repeating it changes nothing.

    Returns:
        The spools that were ended.
    """
    ended = []
    for trial in trials:
        path = spool_of(settings, trial.hash)
        if trial.state in (TrialState.RUNNING, TrialState.FINISHED) or not told(path).open:
            continue
        with suppress(OSError), Spool(path) as spool:  # its disk may be full
            _end(spool, trial)
            ended.append(path)
    return ended


def complete_spools(settings: Settings, repository: Repository, sweep: str) -> None:
    """Ends what `end_spools` does, and adds to the spools the stored metrics that they lack, and changed names."""
    trials = repository.trials(sweep)
    end_spools(settings, trials)
    naming, stored = naming_of(repository.sweep(sweep).grid, trials), _stored(repository, sweep)
    for trial in trials:
        path = spool_of(settings, trial.hash)
        if trial.state is TrialState.RUNNING or not (now := told(path)).label:
            continue
        label, setting = naming.label(trial.spec), naming.setting(trial.spec)
        # A trial that several sweeps share has the name that it has in the one that ran it.
        renamed = trial.sweep in (None, sweep) and (now.label, now.setting) != (label, setting)
        values = now.lacking(stored.get(trial.hash, ())) if trial.state is TrialState.FINISHED else {}
        if renamed or values:
            with suppress(OSError), Spool(path) as spool:
                if renamed:
                    spool.label(label, setting)
                if values:
                    spool.scores(trial.best_epoch or 0, values)


def make_spools(settings: Settings, repository: Repository, sweep: Sweep, provenance: str) -> None:
    """Makes the spools of trials that were tried and have none: their folder was removed, or they were imported."""
    trials = repository.trials(sweep.name)
    lacking = [t for t in trials if t.attempts and not spool_of(settings, t.hash).exists()]
    if not lacking:
        return
    scores, environments, sources = _stored(repository, sweep.name), repository.environments(), sources_of(sweep)
    naming = naming_of(sweep.grid, trials)
    for trial in naming.labelled(lacking):
        with Spool(spool_of(settings, trial.hash)) as spool:
            spool.start(
                trial.spec, label=trial.label, sweep=trial.sweep or sweep.name, attempt=trial.attempts,
                provenance=provenance, source=sources.get(trial.dataset, ""), setting=naming.setting(trial.spec),
            )  # fmt: skip
            for epoch in repository.epochs(trial.hash):
                spool.epoch(epoch)
            if trial.state is TrialState.FINISHED:
                environment = environments.get(trial.environment or "", {})
                spool.finish(_result(repository, trial, scores.get(trial.hash, ()), environment))
            else:
                _end(spool, trial)


def sources_of(sweep: Sweep) -> dict[str, str]:
    """Where each data set of a sweep comes from, as its reader or the grid says: its page, or words."""
    found = {}
    with suppress(ExpectedError):  # a plug-in that is not here
        for table in parse_grid(sweep.grid, sweep.name).datasets:
            with suppress(ExpectedError, AttributeError):  # a reader that is not here, or that does not say it
                found[table.name] = about_of(table).page
    return found


def _end(spool: Spool, trial: Trial) -> None:
    if trial.state is TrialState.PRUNED:
        spool.prune(trial.epochs)
    elif trial.state is TrialState.FAILED:
        spool.fail(trial.failure or FailureKind.BUG, trial.error or "")
    else:
        spool.stop(f"its process ended after epoch {trial.epochs}; `sweeper resume` continues")


def _stored(repository: Repository, sweep: str) -> Mapping[str, Sequence[Score]]:
    """The scores of a sweep's finished trials."""
    columns: Mapping[str, list[Any]] = repository.score_columns(sweep)
    metrics = [name for name in columns if name not in SCORE_TEXTS]
    found: dict[str, list[Score]] = defaultdict(list)
    keys = zip(*(columns[key] for key in SCORE_KEYS), strict=True)
    for row, (trial, partition, case, label) in enumerate(keys):
        values = {name: columns[name][row] for name in metrics if columns[name][row] is not None}
        found[trial].append(Score(partition, case, label, values))
    return found


def _result(
    repository: Repository, trial: Trial, scores: Sequence[Score], environment: Mapping[str, str]
) -> TrialResult:
    """A finished trial's result as the database has it."""
    history = tuple(repository.epochs(trial.hash))
    return TrialResult(
        hash=trial.hash,
        scores=tuple(scores),
        history=history,
        best_epoch=trial.best_epoch or 0,
        stopped_early=False,
        resumed_from=0,
        steps=sum(epoch.steps for epoch in history),
        parameters=trial.parameters or 0,
        train_seconds=_number(trial.train_seconds),
        evaluate_seconds=_number(trial.evaluate_seconds),
        peak_memory_mib=_number(trial.peak_memory_mib),
        environment=environment,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
