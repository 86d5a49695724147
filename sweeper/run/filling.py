"""Metrics that stored scores lack, filled from what is kept of a trial; nothing is trained.

A grid may ask for further metrics after its trials have finished, and a trial may come from a sweep that did not ask
for them. The predictions of the test images are kept, so that masks are scored again; metrics of the softmax need the
network itself (`workers.process.evaluation`). What is stored stays: a trial whose predictions do not give its stored
DSC gets nothing. Predictions of the validation images are not kept, so their scores stay as they are.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.grids.expansion import metrics_of
from sweeper.grids.files import parse_grid
from sweeper.grids.names import naming_of
from sweeper.grids.plugged import load_plugins, refuse_inert
from sweeper.run.lease import LeaseKeeper
from sweeper.session import Session
from sweeper.settings import Settings
from sweeper.views.examples import PREDICTIONS
from trials.metrics import DESCRIPTION, OVERLAP, in_order, names
from trials.places import below
from trials.results import Score
from trials.spec import RESULTS_VERSION, TrialSpec, is_external
from trials.states import TrialState
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.errors import DataError, InputError, WorkerError, shortened
from workers.process.evaluation import MODEL_FILE, evaluate_again
from workers.scoring.cases import score_prediction
from workers.scoring.masks import needs_softmax

SHOWN = 3
"""So many trials are named for each reason, the others counted."""

Stored = Mapping[tuple[str, str], float | None]
"""The stored DSC of a trial's test images by case and class."""


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


def fill_scores(repository: Repository, settings: Settings, keeper: LeaseKeeper, *, described: bool = False) -> Filled:
    """Adds the metrics that a sweep's grid asks for to the test scores that lack them. Repeating it changes nothing.

    Args:
        repository: the database.
        settings: where predictions, networks and prepared data are.
        keeper: the sweep's lease.
        described: whether what always is computed is added as well: the image's diagonal and the structures' sizes,
            which scores of an older version lack, and metrics of the sweep's plug-ins.

    Raises:
        LeaseLostError: another coordinator has taken the sweep over.
    """
    sweep = repository.sweep(keeper.sweep)
    asked = asked_metrics(sweep)
    always = (*names(OVERLAP), *names(DESCRIPTION)) if described else ()
    if not always and not any(asked.values()):
        return Filled(0)
    stored = repository.stored_metrics(sweep.name)
    lacking: list[tuple[Trial, list[str]]] = []
    for trial in repository.trials(sweep.name):
        if trial.state is TrialState.FINISHED and trial.results_version == RESULTS_VERSION and trial.hash in stored:
            wanted = in_order([*asked.get(trial.dataset, ()), *always])
            if absent := [name for name in wanted if name not in stored[trial.hash]]:
                lacking.append((trial, absent))
    if not lacking:
        return Filled(0)
    scores = _stored_scores(repository, sweep.name)
    naming = naming_of(sweep.grid)
    filled, unfilled = 0, []
    for trial, absent in lacking:
        added = False
        for part, compute in _ways(absent):
            try:
                found = compute(trial, settings, part)
                _check(scores[trial.hash], found, external=is_external(trial.spec))
            except (InputError, WorkerError, OSError) as error:
                unfilled.append(Unfilled(naming.label(trial.spec), tuple(part), str(error)))
                continue
            only = [replace(s, values={n: v for n, v in s.values.items() if n in part}) for s in found]
            keeper.write(repository.add_metrics, trial.hash, only)
            added = True
        filled += added
    return Filled(filled, tuple(unfilled))


def fill(session: Session, sweep_name: str, *, described: bool = False) -> Filled:
    """`fill_scores` under a lease of its own, for a sweep that nobody runs; says what came of it.

    Raises:
        LeaseHeldError: somebody runs the sweep.
    """
    with LeaseKeeper(session.repository, sweep_name, session.settings.lease_seconds, running=False) as keeper:
        filled = fill_scores(session.repository, session.settings, keeper, described=described)
    for line in filled.lines():
        session.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return filled


Way = Callable[[Trial, Settings, Sequence[str]], list[Score]]


def _ways(absent: Iterable[str]) -> list[tuple[list[str], Way]]:
    """What lacks, in two parts: from kept masks, and from the network."""
    parts: dict[bool, list[str]] = {False: [], True: []}
    for name in absent:
        parts[needs_softmax([name])].append(name)
    ways: list[tuple[list[str], Way]] = [(parts[False], _from_predictions), (parts[True], _from_network)]
    return [(part, way) for part, way in ways if part]


def _stored_scores(repository: Repository, sweep_name: str) -> dict[str, dict[tuple[str, str], float | None]]:
    columns = repository.score_columns(sweep_name)
    found: dict[str, dict[tuple[str, str], float | None]] = defaultdict(dict)
    keys = ("trial", "partition", "case", "label", "dsc")
    for trial, partition, case, label, dsc in zip(*(columns[key] for key in keys), strict=True):
        if partition == "test":
            found[trial][case, label] = dsc
    return found


def _from_predictions(trial: Trial, settings: Settings, chosen: Sequence[str]) -> list[Score]:
    path = below(settings.trials, trial.hash) / PREDICTIONS
    if not path.is_file():
        raise UnfillableError("the predictions are not kept on this machine; only training the trial again gives them")
    prepared = _prepared(settings, trial.spec)
    scores: list[Score] = []
    try:
        with np.load(path, allow_pickle=False) as predictions:
            for case in predictions.files:
                mask = predictions[case]
                scores += score_prediction(prepared, case, mask, trial.spec.evaluation, "test", chosen=chosen)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(f"the kept predictions are damaged ({type(error).__name__})") from error
    return scores


def _from_network(trial: Trial, settings: Settings, chosen: Sequence[str]) -> list[Score]:
    folder: Path = below(settings.trials, trial.hash)
    if is_external(trial.spec):
        raise UnfillableError("masks of another program have no softmax")
    if not (folder / MODEL_FILE).is_file():
        raise UnfillableError(
            "they need the softmax, which is not stored, and the trained network is not kept on this machine; only "
            "training the trial again gives them"
        )
    return evaluate_again(trial.spec, folder, settings.prepared, chosen)


def _prepared(settings: Settings, spec: TrialSpec) -> PreparedDataset:
    return open_prepared(prepared_path(settings.prepared, spec.data.dataset, spec.data.prepared))


def _check(stored: Stored, found: Iterable[Score], *, external: bool) -> None:
    """Refuses scores of other masks than those that the stored scores are of."""
    again = {(score.case, score.label): score["dsc"] for score in found}
    for place in sorted(stored.keys() | again.keys()):
        if place not in again or place not in stored or again[place] != stored[place]:
            case, label = place
            raise UnfillableError(
                f"what is kept does not give the stored scores (image {case!r}, class {label!r}: DSC "
                f"{again.get(place)}, stored {stored.get(place)}); "
                + ("score the masks again with --predictions" if external else "only training again gives them")
            )
