"""Small trials in spools, and what MLflow holds of them. Not a test module."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tests.results import scored
from trials.results import Epoch, TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec
from workers.tracking import Spool
from workers.tracking.client import connect

NOBODY = "http://127.0.0.1:9"  # the discard port: connections are refused at once
CLASSES = ("kidney", "kidney tumour")
NAME = "kits19 · unified_focal_asym · γ=0.5"


def trial(gamma: float = 0.5, repeat: int = 0, scope: str = "") -> TrialSpec:
    loss = LossSpec("unified_focal_asym", {"gamma": gamma, "delta": 0.6})
    return TrialSpec(DataSpec("kits19", CLASSES, 3, "p" * 16, "s" * 16), loss, repeat=repeat, seed=7, scope=scope)


def epoch(number: int, loss: float = 0.5, seconds: float = 1.5) -> Epoch:
    return Epoch(number, loss, loss + 0.1, 0.8, 0.1, 10 * number, seconds)


def outcome(spec: TrialSpec) -> TrialResult:
    scores = [
        scored(partition, f"case{i}", label, dsc=0.5 + 0.1 * i, iou=0.4, precision=0.9, recall=None)
        for partition in ("validation", "test")
        for label in CLASSES
        for i in range(2)
    ]
    history = tuple(epoch(number) for number in (1, 2, 3))
    return TrialResult(spec.hash, tuple(scores), history, 2, True, 0, 30, 1234, 4.5, 0.5, 321.0, {"keras": "3.15.0"})


def write_trial(folder: Path, spec: TrialSpec, *, finish: bool = True, seconds: float = 1.5) -> Path:
    path = folder / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(spec, label=NAME, sweep="sweep one", source="https://example.org/kits")
        for number in (1, 2, 3):
            spool.epoch(epoch(number, seconds=seconds))
        (folder / "overlay.png").write_bytes(b"\x89PNG")
        spool.artifact(folder / "overlay.png", "overlays")
        if finish:
            spool.finish(outcome(spec))
    return path


def runs(uri: str, experiment: str = "tests") -> list:
    client = connect(uri)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def state(uri: str, experiment: str = "tests") -> list[dict]:
    """All that MLflow holds of each run, its own ids aside."""
    client = connect(uri)
    found = []
    for run in runs(uri, experiment):
        ours = f"source_run_id = '{run.info.run_id}'"
        histories = {
            key: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        files = [file.path for file in client.list_artifacts(run.info.run_id, "overlays")]
        found.append(
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "tags": {
                    key: value.replace(run.info.run_id, "RUN").replace(
                        f"experiments/{run.info.experiment_id}/", "experiments/EXPERIMENT/"
                    )
                    for key, value in run.data.tags.items()
                },
                "params": run.data.params,
                "metrics": histories,
                "files": files,
                "models": [
                    (model.name, model.status, {m.key: m.value for m in model.metrics or []})
                    for model in client.search_logged_models([run.info.experiment_id], ours)
                ],
                "datasets": [
                    (d.dataset.name, d.dataset.digest, d.dataset.source, {t.key: t.value for t in d.tags})
                    for d in run.inputs.dataset_inputs
                ],
            }
        )
    return sorted(found, key=lambda run: run["name"])


def fake_keras_file(path: Path) -> Path:
    """The part of a `.keras` file that is read without Keras."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
    return path


def with_model(folder: Path, spec: TrialSpec, keras_file: Path) -> Path:
    path = folder / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(spec, label=NAME, sweep="s")
        spool.model(keras_file, (None, None, None, 1), CLASSES)
        spool.finish(outcome(spec))
    return path
