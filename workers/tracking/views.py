"""Saved views of MLflow's run table, and addresses of its pages: "best loss on nuclei" is then two clicks.

Each data set has a view over all sweeps; each sweep has one of all its trials, and one for each data set where it has
several. The views of a sweep show the means over repeats, of which each can be opened; a large one shows single trials,
since MLflow's page groups only the hundred runs that it has loaded.

MLflow 3 keeps a saved view as an experiment's tag: JSON with a name and a `state`, which is the table's settings as
deflated JSON. The format is its UI's own (read from what the UI of 3.17 saves); an MLflow that does not know it ignores
the tag.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from trials.spec import content_hash
from workers.tracking.describe import SETTING_TAG

GROUPED_RUNS = 100
"""So many runs MLflow's page loads at first; of more, a group's mean would be one over the best of them."""

_COLUMNS = {
    "attributes.`Run Name`": 320,
    "metrics.`test_dsc`": 110,
    "metrics.`val_dsc_best`": 110,
    "attributes.`Dataset`": 180,
    "metrics.`test_iou`": 110,
    "metrics.`test_precision`": 110,
    "metrics.`test_recall`": 110,
    "tags.`loss`": 180,
    "tags.`gamma`": 80,
    "tags.`repeat`": 80,
    "tags.`sweep`": 120,
    "runDateAndNestInfo": 150,
    "duration": 90,
}
"""The columns from left to right with their widths in pixels; wide enough for a run's name."""


NOTE_TAG = "mlflow.note.content"
"""MLflow's tag of a run's description."""

_TRAINING = "workflowType=machine_learning"
"""MLflow's mode for training; the other one is for language models."""

VIEW_TAG = "mlflow.sharedViewState."
"""What the names of MLflow's tags for saved views begin with."""


def runs_page(base: str, experiment_id: str) -> str:
    """The address of an experiment's runs in the UI at `base`, in its mode for training (the other is for agents)."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{_TRAINING}"


def sweep_page(base: str, experiment_id: str, sweep: str) -> str:
    """The address of a sweep's trials in the UI at `base`: the view that `sweep_views` saves."""
    return f"{runs_page(base, experiment_id)}&viewStateShareKey={_sweep_key(sweep)}"


def run_page(base: str, run_id: str | None) -> str:
    """The address of a run in the UI at `base`, without any password; empty where there is no run, or no UI there."""
    parts = urlsplit(base)
    if not run_id or parts.scheme not in ("http", "https"):
        return ""
    host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return f"{host}/#/runs/{quote(run_id, safe='')}?{_TRAINING}"


def run_in(base: str, experiment_id: str, run_id: str) -> str:
    """The address of a run of an experiment in the UI at `base`, in its mode for training."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{_TRAINING}"


def artifact_link(experiment_id: str, run_id: str, path: str) -> str:
    """The address of a run's artifact from any other page of the same UI, whatever the UI's own address."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifactPath/{quote(path)}?{_TRAINING}"


def picture_note(experiment_id: str, run_id: str, path: str) -> str:
    """A run's description that shows a picture of its artifacts, and links to it."""
    link = artifact_link(experiment_id, run_id, path)
    shown = f"get-artifact?path={quote(path, safe='')}&run_uuid={run_id}"
    return f"[Segmentations]({link}): truth outlined, false positives orange, false negatives blue.\n\n![]({shown})"


def dataset_view(dataset: str, *, provenance: str, now: int) -> tuple[str, str]:
    """The experiment tag (key and value) of the view of one data set's trials, highest test DSC first.

    Args:
        dataset: its name; the view has its own key, so that writing it again replaces it.
        provenance: of the trials shown; those of a rehearsal get a view of their own.
        now: milliseconds since 1970, shown by the UI as the view's date.
    """
    name = f"Best loss on {dataset}" if provenance == "real" else f"Best loss on {dataset} ({provenance})"
    query = f"tags.dataset = {_literal(dataset)} and tags.provenance = {_literal(provenance)}"
    return _view(f"{_key(dataset)}-{_key(provenance)}", name, query, now=now)


def sweep_views(
    sweep: str, parent_run: str, trials: Mapping[str, int], *, provenance: str, now: int
) -> list[tuple[str, str]]:
    """The experiment tags of a sweep's own views: all its trials, and those of each data set where it has several.

    Args:
        sweep: its name.
        parent_run: its run.
        trials: how many it has, by data set.
        provenance, now: as for `dataset_view`.
    """
    kind = "" if provenance == "real" else f" ({provenance})"
    own = f'tags.mlflow.parentRunId = "{parent_run}"'
    keys = [SETTING_TAG] if len(trials) < 2 else ["dataset", SETTING_TAG]
    views = [_view(_sweep_key(sweep), f"{sweep}{kind}", own, now=now, group=_grouped(keys, sum(trials.values())))]
    if len(trials) > 1:
        views += [
            _view(
                f"{_sweep_key(sweep)}-{_key(dataset)}",
                f"{sweep}: best loss on {dataset}{kind}",
                f"{own} and tags.dataset = {_literal(dataset)}",
                now=now,
                group=_grouped([SETTING_TAG], count),
            )
            for dataset, count in trials.items()
        ]
    return views


def dataset_link(experiment_id: str, sweep: str, dataset: str, of: int) -> str:
    """The address of the view of one of a sweep's `of` data sets from any other page of the same UI."""
    key = _sweep_key(sweep) if of < 2 else f"{_sweep_key(sweep)}-{_key(dataset)}"
    return f"{runs_page('', experiment_id).removeprefix('/')}&viewStateShareKey={key}"


def same_view(one: str, other: str) -> bool:
    """Whether two values of tags of views differ in their dates alone."""
    try:
        first, second = json.loads(one), json.loads(other)
    except ValueError:
        return False
    return bool((first["name"], first["state"]) == (second["name"], second["state"]))


def _grouped(tags: list[str], trials: int) -> dict[str, object] | None:
    if not 0 < trials <= GROUPED_RUNS:
        return None
    return {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": tag} for tag in tags]}


def _view(key: str, name: str, query: str, *, now: int, group: dict[str, object] | None = None) -> tuple[str, str]:
    state = {
        "searchFilter": query,
        "orderByKey": "metrics.`test_dsc`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [name for name in _COLUMNS if "`" in name],
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": group,
        "groupsExpanded": {},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    value = {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    return f"{VIEW_TAG}{key}", json.dumps(value)


def _sweep_key(sweep: str) -> str:
    return f"sweep-{content_hash(sweep)}"


def _literal(value: str) -> str:
    return '"' + value.replace('"', "_") + '"'


def _key(value: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in value)
