"""Sending a spool to MLflow: in order, once, and from where the last sending stopped.

The position (byte offset and MLflow run) is kept beside the spool and replaced atomically after each call. A kill
between a call and its position repeats that call, which changes nothing: a run is found again by its trial's tag, a
metric has the timestamp that the spool recorded (MLflow stores an equal key, step, value and timestamp once), an
artifact overwrites itself, and a model is found again by the run and record that it came from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from trials.spec import content_hash
from workers.tracking.client import RefusedError, artifacts_at, call, connect
from workers.tracking.describe import TRIAL_TAG
from workers.tracking.errors import TrackingInputError, TrackingUnavailableError
from workers.tracking.inputs import dataset_input
from workers.tracking.model import upload_model
from workers.tracking.records import (
    ArtifactRecord,
    EndRecord,
    LabelRecord,
    Line,
    MetricsRecord,
    ModelRecord,
    ScoresRecord,
    StartRecord,
)
from workers.tracking.spool import read_lines
from workers.tracking.views import NOTE_TAG, picture_note

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")

MAXIMUM_METRICS = 1000
"""Metrics that MLflow accepts in one call."""

_EXPERIMENTS: dict[tuple[str, str], str] = {}
"""The ids of experiments by tracking URI and name."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a sending did. `left` counts complete records that still wait; `error` says why, empty if all were sent.

    `refused` holds a message for each record that MLflow refuses; those are skipped, the spool keeps them. `ended` says
    that the last record sent is the end of an attempt, `unreachable` that MLflow could not be reached.
    """

    sent: int
    left: int
    run_id: str
    ended: bool
    error: str = ""
    unreachable: bool = False
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a spool was sent, to which store (a hash: the address may hold a password), and into which run.

    `artifacts` is where the run's files belong, as MLflow answered when it made the run; empty for a run that existed
    already.
    """

    target: str
    offset: int = 0
    run_id: str = ""
    artifacts: str = ""
    model_id: str = ""
    model_name: str = ""
    ended: bool = False


def replay(
    spool: Path,
    tracking_uri: str,
    *,
    experiment: str,
    parent_run: str | None = None,
    attempts: int = 2,
    strict: bool = False,
) -> ReplayResult:
    """Sends what `spool` holds and MLflow does not have yet.

    Args:
        spool: the file that a `Spool` wrote; a missing one is an empty one.
        tracking_uri: where to send it. Another URI than last time gets everything from the start.
        experiment: the experiment's name; it must exist (`ensure_store`).
        parent_run: the sweep's run id, under which the trial's run appears.
        attempts: how often each call is tried.
        strict: raise in place of returning an error.

    Raises:
        TrackingUnavailableError: only if `strict`: MLflow is unreachable, or another process is sending this spool.
        TrackingInputError: only if `strict`: the URI or experiment cannot be used.
    """
    if not spool.exists():
        return ReplayResult(0, 0, "", ended=False)
    place = _position_file(spool)
    sender = _Sender(spool, place, tracking_uri, experiment, parent_run, attempts)
    unreachable = False
    try:
        with FileLock(spool.with_suffix(".lock"), timeout=0):
            sender.run()
    except Timeout:
        sender.error = TrackingUnavailableError(f"{spool} is being sent by another process")
    except (TrackingUnavailableError, TrackingInputError) as error:
        sender.error = error
        unreachable = isinstance(error, TrackingUnavailableError)
    except OSError as error:  # the position cannot be written: on a full disk, the spool waits
        sender.error = TrackingUnavailableError(f"{spool} could not be sent: {error}")
    if strict and sender.error is not None:
        raise sender.error
    position = sender.position
    left = sum(1 for _ in read_lines(spool, position.offset))
    return ReplayResult(
        sender.sent, left, position.run_id, position.ended, str(sender.error or ""), unreachable, tuple(sender.refused)
    )


def run_id(spool: Path) -> str:
    """The MLflow run that a spool was last sent into; empty before its start was sent. Asks no server."""
    return _load_position(_position_file(spool), None).run_id


def forget_sent(spool: Path) -> None:
    """Makes the next `replay` of a spool send everything from its start: into the run that is there, or a new one."""
    if spool.exists():
        with FileLock(spool.with_suffix(".lock"), timeout=10):
            _position_file(spool).unlink(missing_ok=True)


class _Sender:
    def __init__(
        self, spool: Path, place: Path, uri: str, experiment: str, parent_run: str | None, attempts: int
    ) -> None:
        self.spool, self.place, self.uri = spool, place, uri
        self.experiment, self.parent_run, self.attempts = experiment, parent_run, attempts
        self.position = _load_position(place, content_hash([uri, experiment]))
        self.sent = 0
        self._known: dict[str, frozenset[tuple[int, float]]] = {}
        self.refused: list[str] = []
        self.error: TrackingUnavailableError | TrackingInputError | None = None

    def run(self) -> None:
        self.position = _load_position(self.place, self.position.target)
        if next(read_lines(self.spool, self.position.offset), None) is None:
            return
        client = connect(self.uri)
        try:
            self._send_from_here(client)
        except _RunMissingError:
            # The store was emptied or restored from a backup: what it lost, the spool still has.
            _log.warning("%s: MLflow no longer has run %s; sending from the start", self.spool, self.position.run_id)
            self._move(_Position(self.position.target))
            try:
                self._send_from_here(client)
            except _RunMissingError as error:
                raise TrackingUnavailableError(f"MLflow loses the run of {self.spool} repeatedly") from error

    def _send_from_here(self, client: MlflowClient) -> None:
        for batch in _batches(read_lines(self.spool, self.position.offset)):
            try:
                self._send_and_move(client, batch)
            except RefusedError:
                if len(batch) == 1:
                    raise
                for line in batch:  # so that only the record at fault is lost to MLflow
                    self._send_and_move(client, [line])

    def _send_and_move(self, client: MlflowClient, batch: list[Line]) -> None:
        try:
            after = self._send(client, batch)
        except RefusedError as error:
            if error.missing:
                _EXPERIMENTS.pop((self.uri, self.experiment), None)
            if error.missing and self.position.run_id and _run_is_missing(client, self.position.run_id):
                raise _RunMissingError from error
            if len(batch) > 1 or not self.position.run_id:
                raise
            _log.warning("%s: %s", self.spool, error)
            self.refused.append(str(error))
            after = self.position
        self.sent += len(batch)
        self._move(replace(after, offset=batch[-1].end))

    def _send(self, client: MlflowClient, batch: list[Line]) -> _Position:
        line, record = batch[0], batch[0].record
        if isinstance(record, StartRecord):
            return self._start(client, record, line.at)
        if isinstance(record, EndRecord) and not self.position.run_id:
            return replace(self.position, ended=True)  # lost before it began: there is no run to end
        if not self.position.run_id:
            raise RefusedError(f"{self.spool} does not begin with a start record", missing=False)
        if isinstance(record, MetricsRecord):
            self._metrics(client, batch)
            return replace(self.position, ended=False)
        if isinstance(record, LabelRecord):
            self._label(client, record)
            return self.position
        if isinstance(record, ScoresRecord):
            metrics = self._final(record.values, record.step, line.at)
            self._call(lambda: client.log_batch(self.position.run_id, metrics=metrics), "logging further metrics")
            return self.position
        if isinstance(record, ArtifactRecord):
            self._artifact(client, record)
            return self.position
        if isinstance(record, ModelRecord):
            model_id = upload_model(
                client,
                record.inside(self.spool.parent),
                self.position.run_id,
                self.position.model_name,
                experiment_id=self._experiment_id(client),
                described=self._described(),
                key=f"{self.position.run_id}:{line.number}",
                attempts=self.attempts,
            )
            return replace(self.position, model_id=model_id)
        if isinstance(record, EndRecord):
            self._end(client, record, line.at)
            return replace(self.position, ended=True)
        raise RefusedError(f"record {line.number} of {self.spool} has the unknown kind {record.kind!r}", missing=False)

    def _start(self, client: MlflowClient, record: StartRecord, at: int) -> _Position:
        from mlflow.entities import Param, RunTag

        tags = dict(record.tags)
        if self.parent_run:
            tags["mlflow.parentRunId"] = self.parent_run
        run_id = self.position.run_id
        if run_id and self._call(partial(client.get_run, run_id), "reading a run").info.lifecycle_stage != "active":
            run_id = ""  # a person deleted it; the new attempt gets a run of its own
        run_id = run_id or self._find_run(client, tags[TRIAL_TAG])
        if run_id:
            artifacts = self.position.artifacts if run_id == self.position.run_id else ""
            self._call(lambda: client.update_run(run_id, status="RUNNING", name=record.name), "continuing a run")
            self._call(lambda: client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()]), "tagging a run")
        else:
            made = self._call(
                lambda: client.create_run(self._experiment_id(client), start_time=at, tags=tags, run_name=record.name),
                "creating a run",
            )
            run_id, artifacts = made.info.run_id, made.info.artifact_uri
        self._move(
            replace(self.position, run_id=run_id, artifacts=artifacts, model_name=record.model_name, ended=False)
        )
        params = [Param(k, v) for k, v in record.params.items()]
        self._call(lambda: client.log_batch(run_id, params=params), "logging parameters")
        used = dataset_input(record.dataset)
        self._call(lambda: client.log_inputs(run_id, datasets=[used]), "logging the data set")
        return self.position

    def _metrics(self, client: MlflowClient, batch: Iterable[Line]) -> None:
        from mlflow.entities import Metric

        # A run that is older than this spool may know the epoch, with the times that another attempt took.
        known = frozenset() if self.position.artifacts else self._losses(client)
        metrics = [
            Metric(key, float(value), line.at, line.record.step)
            for line in batch
            if isinstance(line.record, MetricsRecord)
            and (line.record.step, line.record.values.get("loss")) not in known
            for key, value in line.record.values.items()
        ]
        run_id = self.position.run_id
        for first in range(0, len(metrics), MAXIMUM_METRICS):
            part = metrics[first : first + MAXIMUM_METRICS]
            self._call(partial(client.log_batch, run_id, metrics=part), "logging metrics")

    def _losses(self, client: MlflowClient) -> frozenset[tuple[int, float]]:
        """The epochs that the run had, with their training losses, when this sending first asked."""
        run_id = self.position.run_id
        if run_id not in self._known:
            found = self._call(partial(client.get_metric_history, run_id, "loss"), "reading a metric")
            self._known[run_id] = frozenset((one.step, one.value) for one in found)
        return self._known[run_id]

    def _artifact(self, client: MlflowClient, record: ArtifactRecord) -> None:
        path = self.spool.parent / record.path
        if not path.is_file():
            raise RefusedError(f"artifact {path} of {self.spool} does not exist (any more)", missing=False)
        folder = record.folder or None
        run_id, known = self.position.run_id, self.position.artifacts

        def send() -> None:
            if known:
                artifacts_at(known, self.uri).log_artifact(str(path), folder)
            else:
                client.log_artifact(run_id, str(path), folder)

        self._call(send, f"sending {path.name}")

    def _end(self, client: MlflowClient, record: EndRecord, at: int) -> None:
        from mlflow.entities import RunTag

        run_id, metrics = self.position.run_id, self._final(record.values, record.step, at)
        said = {**record.tags, **self._note(client)}
        tags = [RunTag(key, str(value)[:5000]) for key, value in said.items()]
        self._call(lambda: client.log_batch(run_id, metrics=metrics, tags=tags), "logging the outcome")
        self._call(lambda: client.set_terminated(run_id, status=record.status, end_time=at), "ending the run")

    def _final(self, values: Mapping[str, float], step: int, at: int) -> list[Metric]:
        """Final metrics as MLflow's. One that names a model is one of the run and of the model: MLflow writes both."""
        from mlflow.entities import Metric

        run_id, model_id = self.position.run_id, self.position.model_id
        of_model = {"model_id": model_id, "run_id": run_id} if model_id else {}
        return [
            Metric(key, float(value), at, step, **(of_model if key.startswith(("test_", "val_")) else {}))
            for key, value in values.items()
        ]

    def _label(self, client: MlflowClient, record: LabelRecord) -> None:
        from mlflow.entities import RunTag

        run_id, tags = self.position.run_id, [RunTag(key, value) for key, value in record.tags.items()]
        self._call(lambda: client.update_run(run_id, name=record.name), "naming a run")
        self._call(lambda: client.log_batch(run_id, tags=tags), "tagging a run")

    def _note(self, client: MlflowClient) -> dict[str, str]:
        """The run's description: its segmentations, where it has some, on its first page."""
        for line in read_lines(self.spool):
            if isinstance(line.record, ArtifactRecord) and line.record.path.suffix == ".png":
                path = "/".join(part for part in (line.record.folder, line.record.path.name) if part)
                return {NOTE_TAG: picture_note(self._experiment_id(client), self.position.run_id, path)}
        return {}

    def _find_run(self, client: MlflowClient, trial: str) -> str:
        """The trial's run if one was created before; the oldest, should there be several."""
        runs = self._call(
            lambda: client.search_runs(
                [self._experiment_id(client)],
                f"tags.\"{TRIAL_TAG}\" = '{trial}'",
                max_results=1,
                order_by=["attributes.start_time ASC"],
            ),
            "looking for a run",
        )
        return str(runs[0].info.run_id) if runs else ""

    def _described(self) -> StartRecord:
        """The last start that was sent: what the trial's run says of it."""
        lines = [line for line in read_lines(self.spool) if line.end <= self.position.offset]
        return [line.record for line in lines if isinstance(line.record, StartRecord)][-1]

    def _experiment_id(self, client: MlflowClient) -> str:
        """The experiment's id, asked for once in this process: it changes only where the store is emptied."""
        known = _EXPERIMENTS.get((self.uri, self.experiment))
        if known is not None:
            return known
        found = self._call(lambda: client.get_experiment_by_name(self.experiment), "looking up the experiment")
        if found is None:
            raise TrackingInputError(f"MLflow has no experiment {self.experiment!r}; create it with ensure_store")
        return _EXPERIMENTS.setdefault((self.uri, self.experiment), str(found.experiment_id))

    def _call(self, function: Callable[[], T], doing: str) -> T:
        return call(function, doing, attempts=self.attempts)

    def _move(self, position: _Position) -> None:
        self.position = position
        _save_position(self.place, position)


class _RunMissingError(Exception):
    """MLflow does not know the run that the position names."""


def _run_is_missing(client: MlflowClient, run_id: str) -> bool:
    try:
        call(lambda: client.get_run(run_id), "looking for a run")
    except RefusedError as error:
        return error.missing
    return False


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Consecutive lines of metrics together, as one call costs the same whatever it carries; others alone."""
    waiting: list[Line] = []
    size = 0
    for line in lines:
        more = len(line.record.values) if isinstance(line.record, MetricsRecord) else 0
        is_metrics = isinstance(line.record, MetricsRecord)
        if waiting and (not is_metrics or size + more > MAXIMUM_METRICS):
            yield waiting
            waiting, size = [], 0
        if is_metrics:
            waiting.append(line)
            size += more
        else:
            yield [line]
    if waiting:
        yield waiting


def _position_file(spool: Path) -> Path:
    return spool.with_suffix(".position.json")


def _load_position(place: Path, target: str | None) -> _Position:
    """The position kept at `place`; the start, if it is missing, damaged, or of a store other than `target`."""
    start = _Position(target or "")
    try:
        position = _Position(**json.loads(place.read_text()))
    except FileNotFoundError:
        return start
    except (ValueError, TypeError) as error:
        _log.warning("%s is damaged (%s); sending from the start, which repeats nothing", place, error)
        return start
    return position if target in (None, position.target) else start


def _save_position(place: Path, position: _Position) -> None:
    beside = place.with_suffix(".new")
    beside.write_text(json.dumps({name: getattr(position, name) for name in _Position.__slots__}))
    beside.replace(place)
