"""Metrics that stored scores lack, filled from what is kept of a trial; nothing is trained.

A grid may ask for further metrics after its trials have finished, and a trial may come from a sweep that did not ask
for them. The predictions of the test and validation images are kept, so that masks are scored again; metrics of the
softmax need the network itself (`workers.process.evaluation`). What is stored stays: a trial whose predictions do not
give its stored DSC gets nothing. Trials of an older version kept no predictions of the validation images: `rescore`
applies their networks again.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.grids.expansion import metrics_of
from sweeper.grids.files import parse_grid
from sweeper.grids.names import naming_of
from sweeper.grids.plugged import load_plugins, refuse_inert
from sweeper.run.lease import LeaseKeeper
from sweeper.session import Session
from sweeper.settings import Settings
from sweeper.views.examples import PREDICTIONS, VALIDATION_FILE
from trials.messages import PluginSource
from trials.metrics import DESCRIPTION, OVERLAP, in_order, names
from trials.places import below
from trials.results import Partition, Score
from trials.spec import RESULTS_VERSION, TrialSpec, is_external
from trials.states import TrialState
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.errors import DataError, InputError, WorkerError, shortened
from workers.process.evaluation import MODEL_FILE, evaluate_again
from workers.scoring.cases import score_prediction
from workers.scoring.masks import needs_softmax

SHOWN = 3
"""So many trials are named for each reason, the others counted."""

Stored = Mapping[tuple[Partition, str, str], float | None]
"""The stored DSC of a trial's images by partition, case and class."""

PARTITIONS: tuple[Partition, ...] = ("test", "validation")

KEPT: Mapping[Partition, str] = {"test": PREDICTIONS, "validation": VALIDATION_FILE}
"""Where a trial's predictions are."""


@dataclass(frozen=True, slots=True)
class Unfilled:
    """Metrics that a trial's scores still lack, and why."""

    label: str
    metrics: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Filled:
    """How many trials lacked metrics and got them, and what is still lacking."""

    trials: int
    unfilled: tuple[Unfilled, ...] = ()

    def lines(self) -> list[str]:
        """For a person: what was filled, and each reason with the trials that it concerns."""
        lines = []
        if self.trials:
            lines.append(f"added metrics to the scores of {self.trials} finished trial{'s' if self.trials > 1 else ''}")
        reasons: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
        for one in self.unfilled:
            reasons[one.metrics, one.why].append(one.label)
        for (metrics, why), labels in reasons.items():
            shown = shortened([f"«{label}»" for label in labels], SHOWN)
            lines.append(f"no {', '.join(metrics)} for {shown}: {why}")
        return lines


class UnfillableError(InputError):
    """A trial's metrics cannot be filled; the message says why."""


def asked_metrics(sweep: Sweep) -> dict[str, tuple[str, ...]]:
    """The further metrics that a stored sweep's grid asks for, by data set; its plug-ins are loaded for that."""
    kinds = ("metrics", "samplers", "pruners")
    refuse_inert(sweep, kinds)
    load_plugins(sweep, kinds)
    grid = parse_grid(sweep.grid, sweep.name)
    return {dataset.name: metrics_of(grid, dataset) for dataset in grid.datasets}


def fill_scores(
    repository: Repository,
    settings: Settings,
    keeper: LeaseKeeper,
    *,
    described: bool = False,
    further: Sequence[str] = (),
) -> Filled:
    """Adds the metrics that a sweep's grid asks for to the scores that lack them. Repeating it changes nothing.

    Args:
        repository: the database.
        settings: where predictions, networks and prepared data are.
        keeper: the sweep's lease.
        described: whether what always is computed is added as well: the image's diagonal and the structures' sizes,
            which scores of an older version lack, and metrics of the sweep's plug-ins. Also, networks are then applied
            to validation images again where no predictions of these are kept.
        further: metrics that no grid asks for, by the names under which they are stored.

    Raises:
        LeaseLostError: another coordinator has taken the sweep over.
    """
    sweep = repository.sweep(keeper.sweep)
    asked = asked_metrics(sweep)
    always = (*names(OVERLAP), *names(DESCRIPTION)) if described else ()
    if not always and not further and not any(asked.values()):
        return Filled(0)
    stored = {partition: repository.stored_metrics(sweep.name, partition) for partition in PARTITIONS}
    lacking: list[tuple[Trial, Lack]] = []
    for trial in repository.trials(sweep.name):
        if trial.state is not TrialState.FINISHED or trial.results_version != RESULTS_VERSION:
            continue
        wanted = in_order([*asked.get(trial.dataset, ()), *always, *further])
        lack: Lack = {}
        for partition in PARTITIONS:
            if trial.hash not in stored[partition]:
                continue
            kept = (below(settings.trials, trial.hash) / KEPT[partition]).is_file()
            absent = [name for name in wanted if name not in stored[partition][trial.hash]]
            if absent and (partition == "test" or described or kept):
                lack[partition] = absent
        if lack:
            lacking.append((trial, lack))
    if not lacking:
        return Filled(0)
    scores = _stored_scores(repository, sweep.name)
    naming, plugins = naming_of(sweep.grid), details_of(sweep).runnable
    filled, unfilled = 0, []
    for trial, lack in lacking:
        added = False
        for parts, compute in _ways(trial, settings, lack, plugins):
            try:
                found = compute()
                for partition in parts:
                    _check(scores[trial.hash], found, partition, external=is_external(trial.spec))
            except (InputError, WorkerError, OSError) as error:
                for partition, part in parts.items():
                    where = "" if partition == "test" else "of the validation images: "
                    unfilled.append(Unfilled(naming.label(trial.spec), tuple(part), f"{where}{error}"))
                continue
            only = [replace(s, values={n: v for n, v in s.values.items() if n in parts[s.partition]}) for s in found]
            keeper.write(repository.add_metrics, trial.hash, only)
            added = True
        filled += added
    return Filled(filled, tuple(unfilled))


def fill(session: Session, sweep_name: str, *, described: bool = False, further: Sequence[str] = ()) -> Filled:
    """`fill_scores` under a lease of its own, for a sweep that nobody runs; says what came of it.

    Raises:
        LeaseHeldError: somebody runs the sweep.
    """
    with LeaseKeeper(session.repository, sweep_name, session.settings.lease_seconds, running=False) as keeper:
        filled = fill_scores(session.repository, session.settings, keeper, described=described, further=further)
    for line in filled.lines():
        session.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return filled


Lack = dict[Partition, list[str]]
"""Which metrics a trial's scores lack, by partition."""


def _ways(
    trial: Trial, settings: Settings, lack: Lack, plugins: Sequence[PluginSource]
) -> list[tuple[Lack, Callable[[], list[Score]]]]:
    """What lacks, in parts: from each file of kept masks, and from the network, which is opened once."""
    ways: list[tuple[Lack, Callable[[], list[Score]]]] = []
    again: Lack = {}
    for partition, absent in lack.items():
        masks = [name for name in absent if not needs_softmax([name])]
        softmax = [name for name in absent if needs_softmax([name])]
        kept = (below(settings.trials, trial.hash) / KEPT[partition]).is_file()
        if masks and (kept or partition == "test" or is_external(trial.spec)):
            ways.append(({partition: masks}, partial(_from_predictions, trial, settings, partition, masks)))
        elif masks:
            softmax = absent
        if softmax:
            again[partition] = softmax
    if again:
        ways.append((again, partial(_from_network, trial, settings, again, plugins)))
    return ways


def _stored_scores(
    repository: Repository, sweep_name: str
) -> dict[str, dict[tuple[Partition, str, str], float | None]]:
    columns = repository.score_columns(sweep_name)
    found: dict[str, dict[tuple[Partition, str, str], float | None]] = defaultdict(dict)
    keys = ("trial", "partition", "case", "label", "dsc")
    for trial, partition, case, label, dsc in zip(*(columns[key] for key in keys), strict=True):
        found[trial][partition, case, label] = dsc
    return found


def _from_predictions(trial: Trial, settings: Settings, partition: Partition, chosen: Sequence[str]) -> list[Score]:
    path = below(settings.trials, trial.hash) / KEPT[partition]
    if not path.is_file():
        raise UnfillableError("the predictions are not kept on this machine; only training the trial again gives them")
    prepared = _prepared(settings, trial.spec)
    scores: list[Score] = []
    try:
        with np.load(path, allow_pickle=False) as predictions:
            for case in predictions.files:
                mask = predictions[case]
                scores += score_prediction(prepared, case, mask, trial.spec.evaluation, partition, chosen=chosen)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(f"the kept predictions are damaged ({type(error).__name__})") from error
    return scores


def _from_network(trial: Trial, settings: Settings, lack: Lack, plugins: Sequence[PluginSource]) -> list[Score]:
    folder: Path = below(settings.trials, trial.hash)
    if is_external(trial.spec):
        raise UnfillableError("masks of another program have no softmax")
    if not (folder / MODEL_FILE).is_file():
        raise UnfillableError(
            "they need the softmax, which is not stored, and the trained network is not kept on this machine; only "
            "training the trial again gives them"
        )
    chosen = in_order([name for absent in lack.values() for name in absent])
    return evaluate_again(trial.spec, folder, settings.prepared, chosen, partitions=tuple(lack), plugins=plugins)


def _prepared(settings: Settings, spec: TrialSpec) -> PreparedDataset:
    return open_prepared(prepared_path(settings.prepared, spec.data.dataset, spec.data.prepared))


def _check(stored: Stored, found: Iterable[Score], partition: Partition, *, external: bool) -> None:
    """Refuses scores of other masks than those that the stored scores are of."""
    again = {(score.partition, score.case, score.label): score["dsc"] for score in found}
    places = {place for place in stored.keys() | again.keys() if place[0] == partition}
    for place in sorted(places):
        if place not in again or place not in stored or again[place] != stored[place]:
            _, case, label = place
            raise UnfillableError(
                f"what is kept does not give the stored scores (image {case!r}, class {label!r}: DSC "
                f"{again.get(place)}, stored {stored.get(place)}); "
                + ("score the masks again with --predictions" if external else "only training again gives them")
            )
