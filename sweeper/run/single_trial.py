"""Trains one trial of a sweep alone on this machine: to reproduce its numbers, or to see why it fails.

Writes no database.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.records import Trial
from storage.repository import Repository
from sweeper.errors import TrialFailedError
from sweeper.grids.details import details_of
from sweeper.grids.names import naming_of
from sweeper.grids.plugged import refuse_inert_trial
from sweeper.settings import Settings
from trials.messages import EpochEnded, Failed, Finished, Needs, TrainRequest
from trials.results import TrialResult
from workers.process.warm import WarmProcess


def run_alone(
    settings: Settings, repository: Repository, trial: Trial, folder: Path, say: Callable[[str], None]
) -> TrialResult:
    """Trains a stored trial from its first epoch in `folder`, which must be empty or new.

    Raises:
        TrialFailedError: it failed; the message holds what it printed last.
        WorkerLostError: the training process was killed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise TrialFailedError(f"{folder} is not empty; name a new folder with --to")
    sweep = repository.sweep(trial.sweep) if trial.sweep else None
    if sweep is not None:
        refuse_inert_trial(sweep, trial.spec)
    request = TrainRequest(
        spec=trial.spec,
        label=naming_of({} if sweep is None else sweep.grid).label(trial.spec),
        prepared_root=settings.prepared,
        folder=folder,
        sweep=trial.sweep or "alone",
        provenance="alone",
        plugins=() if sweep is None else details_of(sweep).runnable,
    )
    training = request.spec.training
    process = WarmProcess(Needs(training.threads, deterministic=training.deterministic))
    try:
        process.train(request, folder / "log.txt")
        while True:
            match process.receive():
                case EpochEnded(record):
                    say(
                        f"epoch {record.epoch}: loss {record.loss:.4f}, validation loss {record.val_loss:.4f}, "
                        f"validation DSC {record.val_dsc:.4f}"
                    )
                case Finished(result):
                    return result
                case Failed(failure, error):
                    printed = process.stderr_tail().strip()
                    raise TrialFailedError(f"{failure.value}: {error}" + (f"\n{printed}" if printed else ""))
    finally:
        process.close()


def differences(repository: Repository, trial: Trial, result: TrialResult) -> list[str]:
    """How the scores differ from the stored ones, one line for each image and class; empty where they are equal."""
    columns = repository.score_columns(trial.sweep) if trial.sweep else {}
    rows = zip(*(columns.get(k, []) for k in ("trial", "partition", "case", "label", "dsc")), strict=True)
    stored = {(partition, case, label): dsc for t, partition, case, label, dsc in rows if t == trial.hash}
    ours = {(s.partition, s.case, s.label): s["dsc"] for s in result.scores}
    return [
        f"{' '.join(key)}: DSC {ours.get(key)} here, {stored.get(key)} stored"
        for key in sorted(stored.keys() | ours.keys())
        if ours.get(key) != stored.get(key)
    ]
