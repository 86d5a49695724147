"""The spool: what a trial has to say to MLflow, as lines of a file in the trial's folder.

Writing a record costs microseconds and needs no MLflow, no network and no server. A line is one JSON object
`{"n": sequence number, "kind": …, "at": milliseconds since 1970, …}`:

| kind | fields |
|---|---|
| `start` | `name`, `tags`, `params`: a new attempt of the trial |
| `metrics` | `step` (epoch, from 1), `values` |
| `artifact` | `path` relative to the trial's folder, `folder` in the run |
| `model` | `path` relative to the trial's folder, and the rest of `ModelRecord` |
| `end` | `status`, `tags`, `step`, `values`: the attempt's outcome |

One process writes at a time (the training child, or its parent once the child is dead). A line that was cut off by a
kill has no line feed: readers ignore it, the next writer removes it. Sending is the matter of `replay`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

from trials.results import EpochRecord, TrialResult
from trials.spec import TrialSpec
from workers.tracking.describe import epoch_values, final_values, model_name, run_params, run_tags

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """One complete line: its sequence number, kind, time in milliseconds, fields, and the file offset after it."""

    number: int
    kind: str
    at: int
    fields: Mapping[str, Any]
    end: int


def read_records(path: Path, offset: int = 0) -> Iterator[SpoolRecord]:
    """The complete records from byte `offset` on, in order; nothing if the file does not exist.

    A line that is complete but no JSON object (a damaged disk) is passed over with a warning: one lost metric must not
    hold up all that follow.
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
                fields = json.loads(line)
                number, kind, at = int(fields.pop("n")), str(fields.pop("kind")), int(fields.pop("at"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("%s: unreadable record before byte %d passed over (%s)", path, offset, error)
                continue
            yield SpoolRecord(number, kind, at, fields, offset)


class Spool:
    """The writer of one trial's spool.

    Opening an existing file goes on where it stopped: a half-written last line is removed and the numbers continue, so
    a resumed trial adds to the same MLflow run. Records reach the operating system at once (they survive a SIGKILL);
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
        self._mend()
        self._file: BinaryIO = path.open("ab", buffering=0)

    def append(self, kind: str, fields: Mapping[str, Any]) -> int:
        """Adds one record and returns its sequence number, counted from 1."""
        self._number += 1
        record = {"n": self._number, "kind": kind, "at": time.time_ns() // 1_000_000, **fields}
        self._file.write(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        return self._number

    def start(
        self,
        spec: TrialSpec,
        *,
        label: str,
        sweep: str,
        attempt: int = 1,
        provenance: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Begins attempt number `attempt` of the trial.

        Args:
            spec: becomes the run's tags and its parameters.
            label: the trial's name for people: the name of the run and of its model.
            sweep: the sweep's name.
            attempt: counted from 1; a later attempt goes on in the same MLflow run.
            provenance: for example `rehearsal`; where empty, that of the data (`real`, `synthetic`).
            tags: further tags of the run.
        """
        fields = {
            "name": label,
            "tags": {**run_tags(spec, sweep=sweep, attempt=attempt, provenance=provenance), **(tags or {})},
            "params": run_params(spec),
            "dataset": {"name": spec.data.dataset, "digest": spec.data.prepared or "unprepared"},
            "model_name": model_name(label),
        }
        self.append("start", fields)

    def epoch(self, record: EpochRecord, gauges: Mapping[str, float] | None = None) -> None:
        """Adds an epoch's metrics. `gauges` are system metrics, for example those of `gauges.Gauges.read`.

        An epoch that a resumed trial repeats with the very same values is written once.
        """
        values = epoch_values(record)
        if self._epochs.get(record.epoch) == _identity(values):
            return
        self._epochs[record.epoch] = _identity(values)
        self.append("metrics", {"step": record.epoch, "values": {**values, **(gauges or {})}})

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file to attach to the run, under `folder` of its artifacts. It must stay where it is until it was sent."""
        self.append("artifact", {"path": self._relative(path), "folder": folder})

    def model(
        self,
        path: Path,
        input_shape: Sequence[int | None],
        classes: Sequence[str],
        *,
        input_example: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """The trained network, as Keras' own `.keras` file, saved without its loss (`compile=False` loads it).

        Args:
            path: the `.keras` file.
            input_shape: one image's shape, spatial axes then channels, None where the axis is free.
            classes: the foreground classes; the output has one channel more, the background, as its first.
            input_example: a `.npy` file with a batch of input images, float32 (batch, *spatial, channels).
            environment: package versions that the network needs, such as `{"keras": "3.15.0"}`.
        """
        fields = {
            "path": self._relative(path),
            "input_shape": [None if size is None else int(size) for size in input_shape],
            "classes": list(classes),
            "input_example": None if input_example is None else self._relative(input_example),
            "requirements": dict(environment or {}),
        }
        self.append("model", fields)

    def finish(self, result: TrialResult) -> None:
        """The attempt trained to its end: final metrics, and the run's status FINISHED."""
        tags = {f"environment.{name}": value for name, value in result.environment.items()}
        tags["state"] = "finished"
        self._end("FINISHED", tags, step=result.best_epoch, values=final_values(result))

    def fail(self, kind: str, message: str, *, status: RunStatus = "FAILED") -> None:
        """The attempt ended without a result, for the reason `kind` (such as `out_of_memory`); `message` says why."""
        state = "stopped" if status == "KILLED" else "failed"
        self._end(status, {"state": state, "failure": kind, "failure_message": message}, step=0, values={})

    def prune(self, epoch: int) -> None:
        """The search gave the trial up after `epoch`: the run ends KILLED, which is MLflow's nearest word, and says so
        in its tag `state`."""
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
        self.append("end", {"status": status, "tags": dict(tags), "step": step, "values": dict(values)})
        os.fsync(self._file.fileno())

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self.folder)

    def _mend(self) -> None:
        """Removes a half-written last line; learns the last number and the epochs that were written."""
        end = 0
        for record in read_records(self.path):
            self._number, end = record.number, record.end
            if record.kind == "metrics":
                self._epochs[int(record.fields["step"])] = _identity(record.fields["values"])
        if self.path.exists() and self.path.stat().st_size > end:
            os.truncate(self.path, end)


def _identity(values: Mapping[str, float]) -> str:
    """What makes two records of an epoch the same: its scores, not how long it took. As text, since NaN is not NaN."""
    return ", ".join(str(values.get(key)) for key in ("loss", "val_loss", "val_dsc", "learning_rate"))
