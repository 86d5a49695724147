"""What MLflow has of a whole sweep: renamed with it, or marked as deleted. Both may be repeated.

MLflow keeps what is marked as deleted until somebody calls `mlflow gc`; a registered model is gone at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from trials.spec import content_hash
from workers.tracking.client import RefusedError, call, connect
from workers.tracking.describe import TRIAL_TAG, metric_key
from workers.tracking.sweep import SWEEP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARENT_TAG = "mlflow.parentRunId"
_NAME_TAG = "mlflow.runName"
_PAGE = 1000


def rename_sweep(tracking_uri: str, old: str, new: str, *, experiment: str) -> None:
    """Gives the runs and the registered models of a sweep its new name.

    Raises:
        TrackingInputError: the URI cannot be used.
        TrackingUnavailableError: MLflow is unreachable.
    """
    if (found := _experiment(tracking_uri, experiment)) is None:
        return
    client = connect(tracking_uri)
    for parent in _parents(client, found, old):
        for run in [*_children(client, found, parent), parent]:
            _tag(client, run, "sweep", new)
        _tag(client, parent, _NAME_TAG, new)
        _tag(client, parent, SWEEP_TAG, content_hash(new))  # last: by it the run is found
    for name in _models(client, old):
        to = metric_key(new) + name.removeprefix(metric_key(old))
        _call(partial(client.set_registered_model_tag, name, "sweep", new))
        if to != name:
            _call(partial(client.rename_registered_model, name, to))


def delete_sweep(
    tracking_uri: str, sweep: str, *, trials: Collection[str], runs: Collection[str], experiment: str
) -> int:
    """Marks the run of a sweep and those of its trials as deleted, and deletes its registered models.

    Args:
        tracking_uri: where.
        sweep: its name.
        trials: the hashes of the trials that go; the runs of others stay.
        runs: runs of such trials, as far as they are known, also below other sweeps' runs.
        experiment: the experiment's name.

    Returns:
        How many runs were marked.

    Raises:
        TrackingInputError: the URI cannot be used.
        TrackingUnavailableError: MLflow is unreachable.
    """
    if (found := _experiment(tracking_uri, experiment)) is None:
        return 0
    client = connect(tracking_uri)
    parents = _parents(client, found, sweep)
    below = [run for parent in parents for run in _children(client, found, parent)]
    gone = [run.info.run_id for run in below if run.data.tags.get(TRIAL_TAG) in trials]
    gone += [run.info.run_id for run in parents]  # after the others, which are found by it
    wanted = dict.fromkeys([*runs, *gone])
    for name in _models(client, sweep):
        _call(partial(client.delete_registered_model, name))
    for run_id in wanted:
        _call(partial(client.delete_run, run_id))
    return len(wanted)


def _experiment(tracking_uri: str, name: str) -> str | None:
    """The id of the experiment; None where there is none, or no store yet, which is not made for this."""
    if tracking_uri.startswith("sqlite:///") and not Path(make_url(tracking_uri).database or "").exists():
        return None
    client = connect(tracking_uri)
    found = call(lambda: client.get_experiment_by_name(name), f"looking up experiment {name!r}")
    return None if found is None else str(found.experiment_id)


def _parents(client: MlflowClient, experiment: str, sweep: str) -> list[Run]:
    return list(_search(client, experiment, f"tags.\"{SWEEP_TAG}\" = '{content_hash(sweep)}'"))


def _children(client: MlflowClient, experiment: str, parent: Run) -> list[Run]:
    return list(_search(client, experiment, f"tags.\"{_PARENT_TAG}\" = '{parent.info.run_id}'"))


def _search(client: MlflowClient, experiment: str, query: str) -> Iterator[Run]:
    token: str | None = None
    while True:
        page = call(
            partial(client.search_runs, [experiment], query, max_results=_PAGE, page_token=token), "looking for runs"
        )
        yield from page
        if not (token := page.token):
            return


def _models(client: MlflowClient, sweep: str) -> list[str]:
    prefix, found, token = f"{metric_key(sweep)}-", list[str](), None
    while True:
        page = call(
            partial(client.search_registered_models, f"name LIKE '{prefix}%'", page_token=token), "looking for models"
        )
        found += [model.name for model in page if model.tags.get("sweep") == sweep and model.name.startswith(prefix)]
        if not (token := page.token):
            return found


def _tag(client: MlflowClient, run: Run, key: str, value: str) -> None:
    if run.data.tags.get(key) != value:
        _call(partial(client.set_tag, run.info.run_id, key, value))


def _call(function: Callable[[], object]) -> None:
    with suppress(RefusedError):  # it is gone, or done already
        call(function, "changing what it has of a sweep")
