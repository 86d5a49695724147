"""Saved views of MLflow's run table: "best loss on nuclei" is then two clicks, "Views" and the view's name.

MLflow 3 keeps a saved view as an experiment's tag: JSON with a name and a `state`, which is the table's settings as
deflated JSON. The format is its UI's own (read from what the UI of 3.17 saves); an MLflow that does not know it ignores
the tag.
"""

from __future__ import annotations

import base64
import json
import zlib
from urllib.parse import quote, urlsplit

_COLUMNS = {
    "attributes.`Run Name`": 320,
    "metrics.`test_dsc`": 110,
    "metrics.`val_dsc_best`": 110,
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


def runs_page(base: str, experiment_id: str) -> str:
    """The address of an experiment's runs in the UI at `base`, in its mode for training (the other is for agents)."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def run_page(base: str, run_id: str | None) -> str:
    """The address of a run in the UI at `base`, without any password; empty where there is no run, or no UI there."""
    parts = urlsplit(base)
    if not run_id or parts.scheme not in ("http", "https"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/#/runs/{quote(run_id, safe='')}"


def artifact_link(experiment_id: str, run_id: str, path: str) -> str:
    """The address of a run's artifact from any other page of the same UI, whatever the UI's own address."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifactPath/{quote(path)}"


def dataset_view(dataset: str, *, provenance: str, now: int) -> tuple[str, str]:
    """The experiment tag (key and value) of the view of one data set's trials, highest test DSC first.

    Args:
        dataset: its name; the view has its own key, so that writing it again replaces it.
        provenance: of the trials shown; those of a rehearsal get a view of their own.
        now: milliseconds since 1970, shown by the UI as the view's date.
    """
    state = {
        "searchFilter": f"tags.dataset = {_literal(dataset)} and tags.provenance = {_literal(provenance)}",
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
        "groupBy": None,
        "groupsExpanded": {},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    name = f"Best loss on {dataset}" if provenance == "real" else f"Best loss on {dataset} ({provenance})"
    value = {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    return f"mlflow.sharedViewState.{_key(dataset)}-{_key(provenance)}", json.dumps(value)


def _literal(value: str) -> str:
    return '"' + value.replace('"', "_") + '"'


def _key(value: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in value)
