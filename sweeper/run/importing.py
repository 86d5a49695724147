"""Bringing an exported sweep in: what storage does not know of it is checked here, and its code does not run.

`storage.transfer` reads the folder and checks its rows; the grid, the details and the ranges of the settings are
`sweeper`'s own, and are checked by the same classes that a launch goes through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from storage.errors import TransferError
from storage.records import IMPORTED
from storage.repository import Repository
from storage.studies import Studies
from storage.transfer import Imported, import_sweep
from sweeper.errors import GridError
from sweeper.grids.details import SweepDetails, details_of
from sweeper.grids.files import parse_grid
from sweeper.grids.schema import EvaluationTable, ModelTable, TrainingTable
from trials.checked import check_types
from trials.errors import ExpectedError
from trials.messages import PluginSource
from trials.places import is_dataset_name, is_hash, is_name
from trials.spec import TrialSpec, content_hash, is_external
from workers.losses.registry import LOSSES


@dataclass(frozen=True, slots=True)
class BroughtIn:
    """What came in, the code that was allowed to run by this import, and the code that may not run."""

    done: Imported
    allowed: tuple[PluginSource, ...]
    inert: tuple[PluginSource, ...]


def bring_in(repository: Repository, folder: Path, *, allow_code: bool = False) -> BroughtIn:
    """Imports an exported sweep, with its Optuna studies.

    Args:
        repository: where to.
        folder: the export.
        allow_code: whether the plug-ins that the sweep has may run here.

    Raises:
        TransferError: the folder cannot be imported; nothing of it was.
        SweepConflictError: a sweep of that name is here with other trials.
    """

    def admit(sweep: dict[str, Any], trials: Sequence[dict[str, Any]]) -> None:
        try:
            _admit(sweep, trials)
        except (ExpectedError, KeyError, TypeError, ValueError, AttributeError) as error:
            words = " ".join(str(error).split())[:400]
            raise TransferError(
                f"{folder}: {words}; the export was changed or damaged: export the sweep again"
            ) from error

    done = import_sweep(repository, folder, admit)
    with Studies(repository.database) as studies:
        studies.record_finished(repository.trials(done.sweep))
    waiting = details_of(repository.sweep(done.sweep)).inert
    if allow_code and waiting:
        repository.allow_plugins(done.sweep, [plugin.source for plugin in waiting])
    return BroughtIn(done, waiting if allow_code else (), () if allow_code else waiting)


def _admit(sweep: dict[str, Any], trials: Sequence[dict[str, Any]]) -> None:
    details = SweepDetails.from_dict({key: value for key, value in sweep["details"].items() if key != IMPORTED})
    check_types(details)
    _check_details(sweep["name"], details)
    _check_grid(sweep["name"], sweep["grid"], details)
    for row in trials:
        spec = TrialSpec.from_dict(row["spec"])
        try:
            _check_settings(spec)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"trial {row['hash']}: {place} = {first['input']!r}: {first['msg']}") from None


def _check_details(name: str, details: SweepDetails) -> None:
    for dataset, one in details.data.items():
        wrong = not is_dataset_name(dataset) or any(key and not is_name(key) for key in (one.prepared, one.split_hash))
        if wrong:
            raise ValueError(f"details of data set {dataset[:80]!r} have a name or key that cannot be")
    for plugin in details.plugins:
        if not is_hash(plugin.source) or (plugin.text and content_hash(plugin.text) != plugin.source):
            raise ValueError(f"plug-in {plugin.source[:80]!r} is not the hash of its text")
    for study, search in details.searches.items():
        if not study.startswith(f"{name}/") or not is_dataset_name(search.dataset):
            raise ValueError(f"search {study[:80]!r} is not of sweep {name!r}")


def _check_grid(name: str, table: dict[str, Any], details: SweepDetails) -> None:
    try:
        grid = parse_grid(table, name)
    except GridError:
        if not any({"samplers", "pruners"} & set(plugin.names) for plugin in details.plugins):
            raise
        # A sampler of code that does not run here is not known.
        grid = parse_grid({key: value for key, value in table.items() if key != "search"}, name)
    if grid.name != name:
        raise ValueError(f"sweep {name!r} has the grid of {grid.name!r}")


def _check_settings(spec: TrialSpec) -> None:
    EvaluationTable(**dataclasses.asdict(spec.evaluation))
    if not is_external(spec):
        TrainingTable(**dataclasses.asdict(spec.training))
        model = dataclasses.asdict(spec.model)
        ModelTable(**{key: value for key, value in model.items() if key != "source"})
    if spec.loss.name in LOSSES and not spec.loss.source:
        known = {parameter.name: parameter for parameter in LOSSES[spec.loss.name].parameters}
        for key, value in spec.loss.parameters.items():
            if key in known:
                known[key].check(spec.loss.name, value)
