"""One cell of a sweep, alone and here: to reproduce its numbers, or to see why it fails. Writes no database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.records import Trial
from storage.repository import Repository
from sweeper.errors import TrialFailedError
from sweeper.settings import Settings
from trials.results import TrialResult
from workers.process.warm import WarmProcess


def run_alone(
    settings: Settings, repository: Repository, trial: Trial, folder: Path, say: Callable[[str], None]
) -> TrialResult:
    """Trains a stored trial from its first epoch in `folder`, which must be empty or new.

    Raises:
        TrialFailedError: it failed; the message holds its last words.
        WorkerLostError: the training process died.
    """
    if folder.exists() and any(folder.iterdir()):
        raise TrialFailedError(f"{folder} is not empty; name a new folder with --to")
    sweep = repository.sweep(trial.sweep) if trial.sweep else None
    process = WarmProcess(int(trial.spec["training"]["threads"]))
    try:
        process.train(
            {
                "spec": dict(trial.spec),
                "prepared_root": str(settings.prepared),
                "folder": str(folder),
                "plugins": [] if sweep is None else list(sweep.details.get("plugins", [])),
                "revision": "",
                "pictures": True,
                "tracking": {"sweep": trial.sweep or "alone", "attempt": 1, "provenance": "alone"},
            },
            folder / "log.txt",
        )
        while True:
            message = process.receive()
            if message["kind"] == "epoch":
                say(
                    f"epoch {message['epoch']}: loss {message['loss']:.4f}, validation loss {message['val_loss']:.4f}, "
                    f"validation DSC {message['val_dsc']:.4f}"
                )
            elif message["kind"] == "finished":
                return TrialResult.from_dict(message["result"])
            elif message["kind"] == "failed":
                words = process.stderr_tail().strip()
                raise TrialFailedError(f"{message['failure']}: {message['error']}" + (f"\n{words}" if words else ""))
    finally:
        process.close()


def differences(repository: Repository, trial: Trial, result: TrialResult) -> list[str]:
    """How the scores differ from the stored ones, one line for each image and class; empty where they are equal."""
    columns = repository.score_columns(trial.sweep) if trial.sweep else {}
    rows = zip(*(columns.get(k, []) for k in ("trial", "partition", "case", "label", "dsc")), strict=True)
    stored = {(partition, case, label): dsc for t, partition, case, label, dsc in rows if t == trial.hash}
    ours = {(s.partition, s.case, s.label): s.dsc for s in result.scores}
    return [
        f"{' '.join(key)}: DSC {ours.get(key)} here, {stored.get(key)} stored"
        for key in sorted(stored.keys() | ours.keys())
        if ours.get(key) != stored.get(key)
    ]
