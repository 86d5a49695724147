"""The spool: what a trial has to say to MLflow, as lines of a file in the trial's folder.

Writing a record costs microseconds and needs no MLflow, no network and no server. `records` says what a line holds:

| kind | a trial writes it |
|---|---|
| `start` | when an attempt starts |
| `metrics` | after each epoch |
| `artifact` | for each file that belongs to the run |
| `model` | for the trained network |
| `end` | when the attempt has ended |
| `scores` | when a trial that has finished got further metrics |
| `label` | when its name has changed, since its sweep grew |

One process writes at a time (the training process, or its parent once that has ended). A line that was cut off by a
kill has no line feed: readers ignore it, the next writer removes it. `replay` does the sending.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from trials.messages import Order
from trials.results import Epoch, TrialResult
from trials.spec import TrialSpec
from trials.states import FailureKind
from workers.tracking.describe import (
    SETTING_TAG,
    dataset_of,
    epoch_values,
    final_values,
    model_name,
    run_params,
    run_tags,
)
from workers.tracking.records import (
    ArtifactRecord,
    EndRecord,
    LabelRecord,
    Line,
    MetricsRecord,
    ModelRecord,
    Record,
    RunStatus,
    ScoresRecord,
    StartRecord,
    from_line,
    to_line,
)

_log = logging.getLogger(__name__)


def read_lines(path: Path, offset: int = 0) -> Iterator[Line]:
    """The complete lines from byte `offset` on, in order; nothing if the file does not exist.

    A complete line that cannot be read (a damaged disk) is skipped with a warning: one lost metric must not hold up all
    that follow.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                read = from_line(line, offset)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("%s: skipped an unreadable line before byte %d (%s)", path, offset, error)
                continue
            yield read


class Spool:
    """The writer of one trial's spool.

    Opening an existing file continues it: a half-written last line is removed and the numbers go on, so a resumed trial
    adds to the same MLflow run. Records reach the operating system at once (they survive a SIGKILL);
    `finish`, `fail` and `close` also sync them to the disk.

    Args:
        path: the file, usually `trial_folder / "spool.jsonl"`; its folder is made where missing. Artifact paths are
            kept relative to this folder, so that it may be moved or shared.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self._number = 0
        self._epochs: dict[int, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._repair()
        self._file: BinaryIO = path.open("ab", buffering=0)

    def append(self, record: Record) -> int:
        """Adds one record and returns its sequence number, counted from 1.

        Raises:
            OSError: the disk is full: nothing was added. The system writes what still fits, which is taken back.
        """
        line = to_line(self._number + 1, time.time_ns() // 1_000_000, record)
        end, written = os.fstat(self._file.fileno()).st_size, 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), end)
            raise
        self._number += 1
        return self._number

    def start(
        self,
        spec: TrialSpec,
        *,
        label: str,
        sweep: str,
        attempt: int = 1,
        provenance: str = "",
        source: str = "",
        setting: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Starts attempt number `attempt` of the trial.

        Args:
            spec: becomes the run's tags and its parameters.
            label: the trial's name for people: the name of the run and of its model.
            sweep: the sweep's name.
            attempt: counted from 1; a later attempt continues the same MLflow run.
            provenance: for example `rehearsal`; where empty, that of the data (`real`, `synthetic`).
            source: where the data set comes from: its page, or words.
            setting: the part of the label that all repeats and folds share, without the data set.
            tags: further tags of the run.
        """
        described = run_tags(spec, sweep=sweep, attempt=attempt, provenance=provenance, setting=setting)
        self.append(
            StartRecord(
                name=label,
                tags={**described, **(tags or {})},
                params=run_params(spec),
                dataset=dataset_of(spec.data, source),
                model_name=model_name(label),
            )
        )

    def epoch(self, record: Epoch, gauges: Mapping[str, float] | None = None) -> None:
        """Adds an epoch's metrics. `gauges` are system metrics, for example those of `gauges.Gauges.read`.

        An epoch that a resumed trial repeats with the very same values is written once.
        """
        values = epoch_values(record)
        if self._epochs.get(record.epoch) == _identity(values):
            return
        self.append(MetricsRecord(record.epoch, {**values, **(gauges or {})}))
        self._epochs[record.epoch] = _identity(values)

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file to attach to the run, under `folder` of its artifacts. It must stay where it is until it was sent."""
        self.append(ArtifactRecord(self._relative(path), folder))

    def model(
        self,
        path: Path,
        input_shape: Sequence[int | None],
        classes: Sequence[str],
        *,
        input_example: Path | None = None,
        environment: Mapping[str, str] | None = None,
        recipe: str = "",
    ) -> None:
        """The trained network, as Keras' own `.keras` file, saved without its loss (`compile=False` loads it).

        Args:
            path: the `.keras` file.
            input_shape: one image's shape, spatial axes then channels, None where the axis is free.
            classes: the foreground classes; the output has one channel more, the background, as its first.
            input_example: a `.npy` file with a batch of input images, float32 (batch, *spatial, channels).
            environment: package versions that the network needs, such as `{"keras": "3.15.0"}`.
            recipe: how it is applied to raw images (`workers.inference.recipe`). With it MLflow's `pyfunc` takes raw
                images; without it, preprocessed batches.
        """
        self.append(
            ModelRecord(
                path=self._relative(path),
                input_shape=tuple(None if size is None else int(size) for size in input_shape),
                classes=tuple(classes),
                input_example=None if input_example is None else self._relative(input_example),
                requirements=dict(environment or {}),
                recipe=recipe,
            )
        )

    def finish(self, result: TrialResult) -> None:
        """The attempt trained to its end: final metrics, and the run's status FINISHED."""
        tags = {f"environment.{name}": value for name, value in result.environment.items()}
        tags["state"] = "finished"
        self._end("FINISHED", tags, step=result.best_epoch, values=final_values(result))

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        """Final metrics that the trial got after it had finished, at the step of the others."""
        self.append(ScoresRecord(step, values))
        os.fsync(self._file.fileno())

    def label(self, label: str, setting: str) -> None:
        """The trial has got another name: `label` and `setting` as for `start`."""
        self.append(LabelRecord(label, {SETTING_TAG: setting}))

    def fail(self, kind: FailureKind, message: str) -> None:
        """The attempt failed; `message` says why."""
        tags = {"state": "failed", "failure": kind.value, "failure_message": message}
        self._end("FAILED", tags, step=0, values={})

    def stop(self, message: str) -> None:
        """The attempt was stopped after an epoch, as `message` says. Another attempt can resume the trial."""
        tags = {"state": "stopped", "failure": Order.STOP.value, "failure_message": message}
        self._end("KILLED", tags, step=0, values={})

    def prune(self, epoch: int) -> None:
        """The search pruned the trial after `epoch`. MLflow has no such status: the run ends KILLED, and its tag
        `state` says `pruned`."""
        self._end("KILLED", {"state": "pruned", "pruned_after_epoch": str(epoch)}, step=epoch, values={})

    def close(self) -> None:
        """Syncs to the disk and closes the file. May be called twice."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, status: RunStatus, tags: Mapping[str, str], *, step: int, values: Mapping[str, float]) -> None:
        self.append(EndRecord(status, tags, step, values))
        os.fsync(self._file.fileno())

    def _relative(self, path: Path) -> Path:
        return Path(os.path.relpath(path, self.folder))

    def _repair(self) -> None:
        """Removes a half-written last line; learns the last number and the epochs that were written."""
        end = 0
        for line in read_lines(self.path):
            self._number, end = line.number, line.end
            if isinstance(line.record, MetricsRecord):
                self._epochs[line.record.step] = _identity(line.record.values)
        if self.path.exists() and self.path.stat().st_size > end:
            os.truncate(self.path, end)


def _identity(values: Mapping[str, float]) -> str:
    """What makes two records of an epoch the same: its scores, not how long it took. As text, since NaN is not NaN."""
    return ", ".join(str(values.get(key)) for key in ("loss", "val_loss", "val_dsc", "learning_rate"))
