"""Masks that were made elsewhere (nnU-Net, say), scored into a sweep's tables beside its losses.

They become one finished trial of the sweep, scored on the same test images by the same code, under a name of their own.
Its spec says that nothing was trained here. It holds a hash of the masks, never a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.errors import StorageError
from storage.records import NewTrial, Trial
from storage.repository import Repository
from sweeper.errors import GridError
from sweeper.grids.names import Naming, naming_of
from sweeper.run.filling import asked_metrics
from sweeper.run.lease import holder_name
from sweeper.settings import Settings
from sweeper.views.examples import PREDICTIONS, VALIDATION_FILE
from trials.places import NAME_PATTERN, below
from trials.results import Score, TrialResult
from trials.spec import EXTERNAL, LossSpec, ModelSpec, TrainingSpec, TrialSpec, content_hash, is_external
from trials.splits import Split
from trials.states import TrialState
from workers import losses
from workers.datasets.patterns import match_files
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.datasets.preprocessing import Label
from workers.datasets.sources import hash_files
from workers.errors import DataError, nearest
from workers.files import atomic_write
from workers.process.child import SPOOL_FILE
from workers.scoring.cases import Partition, score_original
from workers.scoring.native import read_mask, to_prepared
from workers.tracking import Spool

PATTERN = "{id}.*"
"""The default: each mask's file is named by its case's id."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored: the trial, how many test images, and whether the validation images had masks too."""

    trial: Trial
    images: int
    validation: bool


def score_masks(
    repository: Repository,
    settings: Settings,
    sweep_name: str,
    *,
    dataset: str,
    label: str,
    folder: Path,
    pattern: str = PATTERN,
) -> Scored:
    """Scores a folder of masks and stores the scores as a finished trial of a sweep.

    Repeating it changes nothing, but adds the metrics that the sweep's grid asks for since.

    Args:
        repository: the database.
        settings: where the prepared data are.
        sweep_name: the sweep; its split and its settings of the scores are used.
        dataset: one of its data sets.
        label: the name in the tables, in the column of the losses.
        folder: holds one mask for each test image, on the source image's grid; the validation images are scored
            too, if each has a mask.
        pattern: paths of the masks in it; `{id}` stands for the case's id.

    Raises:
        UnknownSweepError: no such sweep.
        GridError: it has no such data set, runs all folds of it, or the label cannot be used.
        DataError: the data set is not prepared here, a mask is missing, damaged, on another grid, or holds no class.
        LeaseHeldError: the sweep is running.
    """
    sweep = repository.sweep(sweep_name)
    template = _template(repository.trials(sweep_name), sweep_name, dataset)
    _check_label(label)
    prepared = open_prepared(prepared_path(settings.prepared, dataset, template.data.prepared))
    split = prepared.read_split(template.data.split)
    masks = _masks(folder, pattern, split)
    spec = _spec(template, label, masks)
    scores, predictions = _score(prepared, split, masks, template, asked_metrics(sweep).get(dataset, ()))
    result = _result(spec, scores)
    trial_folder = below(settings.trials, spec.hash)
    trial_folder.mkdir(parents=True, exist_ok=True)
    for partition, name in (("test", PREDICTIONS), ("validation", VALIDATION_FILE)):
        if predictions[partition]:
            with atomic_write(trial_folder / name) as file:
                np.savez_compressed(file, allow_pickle=False, **predictions[partition])
    trial = _store(repository, settings, sweep_name, spec, result)
    if not (trial_folder / SPOOL_FILE).exists():
        naming = naming_of(sweep.grid)
        with Spool(trial_folder / SPOOL_FILE) as spool:
            spool.start(
                spec, label=naming.label(spec), sweep=sweep_name, provenance=EXTERNAL, setting=naming.setting(spec)
            )
            spool.finish(result)
    return Scored(trial, len(split.test), any(s.partition == "validation" for s in scores))


def _template(trials: Sequence[Trial], sweep_name: str, dataset: str) -> TrialSpec:
    """The spec of a trained trial on that data set, whose data and evaluation the masks share."""
    for trial in trials:
        if trial.dataset == dataset and not is_external(trial.spec):
            if trial.spec.data.fold is not None:
                raise GridError(
                    f"sweep {sweep_name!r} runs all folds of data set {dataset!r}, and masks are scored on one test "
                    "set: score them in a sweep whose split has none, or names one (split = { folds = 5, fold = 0 })"
                )
            return trial.spec
    known = sorted({trial.dataset for trial in trials})
    raise GridError(
        f"sweep {sweep_name!r} has no data set {dataset!r}{nearest(dataset, known)}; it has {', '.join(known)}"
    )


def _check_label(label: str) -> None:
    if re.fullmatch(NAME_PATTERN, label) is None:
        raise GridError(
            f"--label {label!r}: 1 to 80 letters, digits, '_', '-' or '.', the first a letter or digit, such as nnunet"
        )
    if label in losses.names():
        raise GridError(f"--label {label!r} is a loss of this program; give the masks a name of their own")


def _masks(folder: Path, pattern: str, split: Split) -> dict[str, Path]:
    """The mask of each test case, and of each validation case where none is missing; by case."""
    if not folder.is_dir():
        raise DataError(f"--predictions {folder}: not a folder")
    found = match_files(folder, pattern)
    missing = [case for case in split.test if case not in found]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(
            f"{folder}: {len(missing)} of {len(split.test)} test images have no mask: {shown}. Looked for {pattern!r}, "
            'where {id} is the case; say --pattern if the names differ, such as "case_{id}.nii.gz"'
        )
    whole = set(split.validation) <= found.keys()
    cases = (*split.test, *split.validation) if whole else split.test
    return {case: found[case] for case in cases}


def _spec(template: TrialSpec, label: str, masks: Mapping[str, Path]) -> TrialSpec:
    """What identifies the scores: the data, split and evaluation of the sweep, and the content of the masks."""
    hashes = hash_files(masks.values(), None)
    source = content_hash({case: hashes[path] for case, path in masks.items()})
    return replace(
        template,
        loss=LossSpec(label, source=source),
        model=ModelSpec(EXTERNAL, base_filters=0, depth=0, normalisation="none"),
        training=TrainingSpec(epochs=0),
        repeat=0,
        seed=0,
    )


def _score(
    prepared: PreparedDataset, split: Split, masks: Mapping[str, Path], template: TrialSpec, chosen: Sequence[str]
) -> tuple[list[Score], dict[str, dict[str, Label]]]:
    """The scores, and the masks on the prepared grid by partition, for the report's pictures and for later metrics."""
    scores: list[Score] = []
    predictions: dict[str, dict[str, Label]] = {"test": {}, "validation": {}}
    for case, path in masks.items():
        known = prepared.case(case)
        mask = read_mask(path, known, prepared.classes)
        partition: Partition = "validation" if case in split.validation else "test"
        scores += score_original(prepared, case, mask, template.evaluation, partition, chosen=chosen)
        predictions[partition][case] = to_prepared(mask, known, prepared.mask_resampling)
    return scores, predictions


def _result(spec: TrialSpec, scores: Sequence[Score]) -> TrialResult:
    """A result without training: no epochs, no parameters, no time."""
    return TrialResult(
        hash=spec.hash,
        scores=tuple(scores),
        history=(),
        best_epoch=0,
        stopped_early=False,
        resumed_from=0,
        steps=0,
        parameters=0,
        train_seconds=0.0,
        evaluate_seconds=0.0,
        peak_memory_mib=0.0,
    )


def _store(repository: Repository, settings: Settings, sweep_name: str, spec: TrialSpec, result: TrialResult) -> Trial:
    """Adds the trial to the sweep and finishes it, under the lease: otherwise a coordinator would train it."""
    sweep = repository.sweep(sweep_name)
    lease = repository.acquire_lease(sweep_name, holder_name(), settings.lease_seconds, running=False)
    try:
        new = NewTrial(
            spec.hash,
            spec,
            Naming().label(spec),
            spec.data.dataset,
            spec.loss.name,
            None,
            spec.repeat,
            spec.seed,
            spec.results_version,
        )
        members = [NewTrial.again(t) for t in repository.trials(sweep_name) if t.hash != spec.hash]
        repository.create_sweep(sweep_name, grid=sweep.grid, trials=[*members, new], details=sweep.details, extend=True)
        # An earlier scoring may have been killed before it stored the scores; a coordinator cannot train such a trial.
        repository.retry(lease, [spec.hash])
        attempt = repository.claim(lease, spec.hash)
        if attempt is not None:
            repository.finish(lease, attempt.id, result)
        elif repository.trial(spec.hash, sweep_name).state is TrialState.FINISHED:
            repository.add_metrics(lease, spec.hash, result.scores)
    finally:
        repository.release_lease(lease)
    trial = repository.trial(spec.hash, sweep_name)
    if trial.state is not TrialState.FINISHED:
        raise StorageError(f"trial {spec.hash} of {sweep_name!r} is {trial.state.value}; score the masks once more")
    return trial
