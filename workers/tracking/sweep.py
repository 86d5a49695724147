"""The sweep's own run in MLflow: parent of its trials' runs, with the description, the report and the best models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from trials.spec import content_hash
from workers.tracking.client import RefusedError, call, connect, ensure_store, sqlite_store_of
from workers.tracking.describe import TRIAL_TAG, metric_key
from workers.tracking.inputs import dataset_input
from workers.tracking.records import Dataset
from workers.tracking.replay import MAXIMUM_METRICS
from workers.tracking.sqlite_store import count_rows
from workers.tracking.views import (
    NOTE_TAG,
    artifact_link,
    dataset_link,
    dataset_view,
    run_in,
    same_view,
    sweep_page,
    sweep_views,
)

T = TypeVar("T")

RANKING_FILE = "ranking.json"
"""The artifact with the ranking."""

SWEEP_TAG = "sweeper.sweep"
"""Marks a sweep's parent run; its value is a hash of the sweep's name, which may hold any character."""


MAXIMUM_NOTE = 7500
"""Characters of a description; MLflow keeps 8,000 of a tag."""


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
        self.run_id, self.datasets = "", dict[str, int]()
        self._patience = 0.0
        self._later_patience = patience

    def start(
        self,
        *,
        datasets: Mapping[str, int] | None = None,
        inputs: Sequence[Dataset] = (),
        provenance: str = "real",
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> str:
        """Creates the parent run, or continues the one of this sweep, and returns its id.

        Args:
            datasets: how many trials each has; they get saved views, in which the losses stand in the order of their
                test DSC.
            inputs: the data sets as MLflow knows them.
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
            tags[NOTE_TAG] = description[:MAXIMUM_NOTE]
        self.run_id = self._find()
        if self.run_id:
            self._call(lambda: self._client.update_run(self.run_id, status="RUNNING"), "continuing the sweep's run")
            self._tag(tags)
        else:
            made = self._call(
                lambda: self._client.create_run(self.experiment_id, run_name=self.sweep, tags=tags),
                "creating the sweep's run",
            )
            self.run_id = str(made.info.run_id)
        if inputs:
            used = [dataset_input(one) for one in inputs]
            self._call(lambda: self._client.log_inputs(self.run_id, datasets=used), "logging the data sets")
        self._save_views(datasets or {}, provenance)
        self._patience = self._later_patience
        return self.run_id

    def look(self, datasets: Mapping[str, int], *, provenance: str) -> bool:
        """Finds the sweep's run, and saves the views as `start` does, but changes nothing of the run; whether there is
        one."""
        self.run_id = self._find()
        if self.run_id:
            self._save_views(datasets, provenance)
            self._count_rows()
        return bool(self.run_id)

    def run_page(self, base: str) -> str:
        """The address of the sweep's own run in the UI at `base`: state, answer, ranking, report."""
        return run_in(base, self.experiment_id, self.run_id)

    def page(self, base: str) -> str:
        """The address of the sweep's trials in the UI at `base`."""
        return sweep_page(base, self.experiment_id, self.sweep)

    def describe(self, description: str) -> None:
        """Replaces the markdown description."""
        self._tag({NOTE_TAG: description[:MAXIMUM_NOTE]})

    def answer(self, sentences: Iterable[str], ranking: Sequence[Mapping[str, object]], report: Path | None) -> None:
        """Attaches the answer: its sentences as the description, the ranking as a table, and the report.

        The description begins with links, since MLflow's page shows its first lines.

        Args:
            sentences: markdown, a paragraph each.
            ranking: rows of one table; none attaches none.
            report: the folder of the report, with `report.html`; None where there is none.
        """
        links = []
        if report is not None:
            self.artifacts([report], "report")
            links.append(f"[the report]({self._artifact_link('report/report.html')})")
        if ranking:
            self._table(RANKING_FILE, ranking)
            links.append(f"[the ranking]({self._artifact_link(RANKING_FILE)})")
        count = len(self.datasets)
        views = [f"[{name}]({dataset_link(self.experiment_id, self.sweep, name, count)})" for name in self.datasets]
        if views:
            links.append(f"the trials, best first: {', '.join(views)}")
        self.describe("\n\n".join(part for part in (f"See {', '.join(links)}." if links else "", *sentences) if part))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Figures of the whole sweep, such as the mean score of a loss. What is the same already is not sent again."""
        from mlflow.entities import Metric

        known = self._call(lambda: self._client.get_run(self.run_id), "reading the sweep's run").data.metrics
        now = _now()
        new = [Metric(key, float(value), now, step) for key, value in values.items() if known.get(key) != value]
        for first in range(0, len(new), MAXIMUM_METRICS):
            part = new[first : first + MAXIMUM_METRICS]
            self._call(partial(self._client.log_batch, self.run_id, metrics=part), "logging the sweep's metrics")

    def artifacts(self, paths: Iterable[Path], folder: str = "") -> None:
        """Attaches files, or folders with all that is in them, such as the report and its figures."""
        for path in paths:
            send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            self._call(partial(send, self.run_id, str(path), folder or None), f"sending {path}")

    def finish(self, state: str = "finished") -> None:
        """Ends the parent run; `state` is the sweep's, such as `stopped`."""
        status = "FINISHED" if state == "finished" else "KILLED"
        self._tag({"state": state})
        self._count_rows()
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

    def _find(self) -> str:
        identity = content_hash(self.sweep)
        found = self._call(
            lambda: self._client.search_runs(
                [self.experiment_id], f"tags.\"{SWEEP_TAG}\" = '{identity}'", max_results=1
            ),
            "looking for the sweep's run",
        )
        return str(found[0].info.run_id) if found else ""

    def _count_rows(self) -> None:
        if (file := sqlite_store_of(self.tracking_uri)) is not None:
            count_rows(file)

    def _save_views(self, datasets: Mapping[str, int], provenance: str) -> None:
        self.datasets, now = dict(datasets), _now()
        views = [dataset_view(dataset, provenance=provenance, now=now) for dataset in self.datasets]
        views += sweep_views(self.sweep, self.run_id, self.datasets, provenance=provenance, now=now)
        known = self._call(lambda: self._client.get_experiment(self.experiment_id), "reading the experiment").tags
        for key, value in views:
            if not same_view(known.get(key, ""), value):
                self._call(
                    partial(self._client.set_experiment_tag, self.experiment_id, key, value),
                    "saving a view of its runs",
                )

    def _table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Attaches a table in the form that MLflow's page shows as one, and `mlflow.load_table` reads."""
        columns = list(rows[0])
        table = {"columns": columns, "data": [[row[column] for column in columns] for row in rows]}
        self._call(lambda: self._client.log_dict(self.run_id, table, name), f"sending {name}")
        self._tag({"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])})

    def _artifact_link(self, path: str) -> str:
        return artifact_link(self.experiment_id, self.run_id, path)

    def _tag(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(key, value) for key, value in tags.items()]
        self._call(lambda: self._client.log_batch(self.run_id, tags=entities), "tagging the sweep's run")

    def _call(self, function: Callable[[], T], doing: str) -> T:
        return call(function, doing, attempts=3, patience=self._patience)


def _now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return time.time_ns() // 1_000_000
