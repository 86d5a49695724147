"""The sweep's own run in MLflow: parent of its trials' runs, with the description, the report and the best models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from trials.spec import content_hash
from workers.tracking.client import RefusedError, call, connect, ensure_store
from workers.tracking.describe import TRIAL_TAG, metric_key
from workers.tracking.views import artifact_link, dataset_view

T = TypeVar("T")

SWEEP_TAG = "sweeper.sweep"
"""Marks a sweep's parent run; its value is a hash of the sweep's name, which may hold any character."""


@dataclass(frozen=True, slots=True)
class BestModel:
    """The registered model of a data set: its name in the registry, version, trial hash and score."""

    name: str
    version: str
    trial: str
    score: float


class SweepTracker:
    """What the coordinator writes into MLflow. Every method may be repeated, also after a restart.

    Args:
        tracking_uri, experiment, artifact_root: as for `ensure_store`, which this calls.
        sweep: the sweep's name, which is also its run's name.
        patience: seconds for which later calls wait for an unreachable MLflow. The first ones, here and in `start`,
            fail at once: an address that never worked is probably wrong.

    Raises:
        TrackingInputError: the URI or experiment cannot be used.
        TrackingUnavailableError: MLflow is unreachable (also from every method).
    """

    def __init__(
        self,
        tracking_uri: str,
        sweep: str,
        *,
        experiment: str = "sweeper",
        artifact_root: Path | None = None,
        patience: float = 120.0,
    ) -> None:
        self.tracking_uri, self.sweep, self.experiment = tracking_uri, sweep, experiment
        self.experiment_id = ensure_store(tracking_uri, experiment=experiment, artifact_root=artifact_root)
        self._client = connect(tracking_uri)
        self.run_id = ""
        self._patience = 0.0
        self._later_patience = patience

    def start(
        self,
        *,
        datasets: Iterable[str] = (),
        provenance: str = "real",
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> str:
        """Creates the parent run, or continues the one of this sweep, and returns its id.

        Args:
            datasets: get a saved view each, in which the losses stand in the order of their test DSC.
            provenance: as for `Spool.start`.
            tags: further tags of the run.
            description: markdown, shown on the run's page.
        """
        identity = content_hash(self.sweep)
        tags = {
            SWEEP_TAG: identity,
            "sweep": self.sweep,
            "state": "running",
            "provenance": provenance,
            **(tags or {}),
        }
        if description:
            tags["mlflow.note.content"] = description
        found = self._call(
            lambda: self._client.search_runs(
                [self.experiment_id], f"tags.\"{SWEEP_TAG}\" = '{identity}'", max_results=1
            ),
            "looking for the sweep's run",
        )
        if found:
            self.run_id = str(found[0].info.run_id)
            self._call(lambda: self._client.update_run(self.run_id, status="RUNNING"), "continuing the sweep's run")
            self._tag(tags)
        else:
            made = self._call(
                lambda: self._client.create_run(self.experiment_id, run_name=self.sweep, tags=tags),
                "creating the sweep's run",
            )
            self.run_id = str(made.info.run_id)
        for dataset in datasets:
            key, value = dataset_view(dataset, provenance=provenance, now=_now())
            self._call(
                partial(self._client.set_experiment_tag, self.experiment_id, key, value),
                f"saving the view of {dataset}",
            )
        self._patience = self._later_patience
        return self.run_id

    def describe(self, description: str) -> None:
        """Replaces the markdown description."""
        self._tag({"mlflow.note.content": description})

    def report(self, description: str, paths: Iterable[Path], page: str, folder: str = "report") -> None:
        """Attaches the report, and links to its page from the description.

        Args:
            description: markdown, above the link.
            paths: files, or folders with all that is in them.
            page: the page's path among them.
            folder: of the artifacts.
        """
        self.artifacts(paths, folder)
        link = artifact_link(self.experiment_id, self.run_id, f"{folder}/{page}")
        self.describe(f"{description}\n\n[The report]({link}): tables, tests and figures.".strip())

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Figures of the whole sweep, such as the number of finished trials."""
        from mlflow.entities import Metric

        now = _now()
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        self._call(lambda: self._client.log_batch(self.run_id, metrics=metrics), "logging the sweep's metrics")

    def artifacts(self, paths: Iterable[Path], folder: str = "") -> None:
        """Attaches files, or folders with all that is in them, such as the report and its figures."""
        for path in paths:
            send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            self._call(partial(send, self.run_id, str(path), folder or None), f"sending {path}")

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Ends the parent run."""
        self._tag({"state": {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}[status]})
        self._call(lambda: self._client.set_terminated(self.run_id, status=status), "ending the sweep's run")

    def register_best(
        self, best: Mapping[str, str], *, alias: str = "best", descriptions: Mapping[str, str] | None = None
    ) -> list[BestModel]:
        """Registers each data set's best model, under `<sweep>-<data set>` and an alias.

        Args:
            best: data set → hash of its best trial. Which one is best is for the caller to say, by validation scores.
            alias: `models:/<sweep>-<data set>@<alias>` loads the model.
            descriptions: of the models, by data set, in Markdown.

        Returns:
            One entry for each data set whose trial has a model in MLflow; a trial without one is left out. `score` is
            the trial's `val_dsc_best`, NaN where it has none.
        """
        texts = descriptions or {}
        registered = (self._register(name, trial, alias, texts.get(name, "")) for name, trial in sorted(best.items()))
        return [found for found in registered if found is not None]

    def _register(self, dataset: str, trial: str, alias: str, description: str) -> BestModel | None:
        from mlflow.entities import LoggedModelStatus

        client = self._client
        runs = self._call(
            lambda: client.search_runs([self.experiment_id], f"tags.\"{TRIAL_TAG}\" = '{trial}'", max_results=1),
            "looking for the best trial's run",
        )
        if not runs:
            return None
        run = runs[0]
        models = self._call(
            lambda: client.search_logged_models(
                [self.experiment_id],
                f"source_run_id = '{run.info.run_id}'",
                order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            ),
            "looking for the best model",
        )
        ready = [model for model in models if model.status == LoggedModelStatus.READY]
        if not ready:
            return None
        model, name = ready[0], f"{metric_key(self.sweep)}-{metric_key(dataset)}"
        score = float(run.data.metrics.get("val_dsc_best", float("nan")))
        tags = {"dataset": dataset, "loss": run.data.tags.get("loss", ""), TRIAL_TAG: trial}
        try:
            self._call(
                lambda: client.create_registered_model(
                    name,
                    tags={"dataset": dataset, "sweep": self.sweep},
                    description=f"Best on {dataset} by validation DSC",
                ),
                "registering a model",
            )
        except RefusedError:  # it is registered already
            query = f"name = '{name}' AND tags.\"{TRIAL_TAG}\" = '{trial}'"
            known = list(self._call(lambda: client.search_model_versions(query), "looking for the version"))
        else:
            known = []
        if known:
            version = str(known[0].version)
        else:
            made = self._call(
                lambda: client.create_model_version(
                    name, model.artifact_location, run.info.run_id, tags, model_id=model.model_id
                ),
                "registering a version",
            )
            version = str(made.version)
        if description:
            self._call(lambda: client.update_model_version(name, version, description), "describing a version")
        self._call(lambda: client.set_registered_model_alias(name, alias, version), "setting the alias")
        return BestModel(name, version, trial, score)

    def _tag(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(key, value) for key, value in tags.items()]
        self._call(lambda: self._client.log_batch(self.run_id, tags=entities), "tagging the sweep's run")

    def _call(self, function: Callable[[], T], doing: str) -> T:
        return call(function, doing, attempts=3, patience=self._patience)


def _now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return time.time_ns() // 1_000_000
