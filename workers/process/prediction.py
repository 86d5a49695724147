"""Trained networks applied to new images, in a process of its own.

Run as `python -m workers.process.prediction --threads N` with a request as one line of JSON on its input. It answers
with one line of JSON for each image, in their order. Its owner's side is `predict_all`, which imports no TensorFlow.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from trials.errors import ExpectedError
from trials.messages import PluginSource
from trials.results import Score
from trials.spec import EvaluationSpec
from workers.errors import DataError, WorkerLostError
from workers.inference.recipe import Recipe
from workers.process.one_request import asked, command, environment


@dataclass(frozen=True, slots=True)
class Job:
    """One image.

    Attributes:
        name: where it lies below the folder that was named; also the name of what is written, without its ending.
        files: its files, in the order of the channels.
        mask: its truth, where it is known.
        field: the mask of what the camera saw.
    """

    name: str
    files: tuple[Path, ...]
    mask: Path | None = None
    field: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "files": [str(path) for path in self.files],
            "mask": None if self.mask is None else str(self.mask),
            "field": None if self.field is None else str(self.field),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        mask, camera = values["mask"], values["field"]
        return cls(
            values["name"],
            tuple(map(Path, values["files"])),
            None if mask is None else Path(mask),
            None if camera is None else Path(camera),
        )


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """What all images have in common.

    Attributes:
        recipe: how the networks are applied.
        networks: the files of their weights.
        threads, deterministic: of TensorFlow, as in the training.
        prepared: folder of the prepared data, whose reader reads masks; None where nothing is scored.
        reader: the name of that reader.
        plugins: the sweep's, for its reader, network or metrics.
        to: folder of what is written.
        probabilities, overlay: what is written beside the label maps.
        evaluation: how masks are scored.
        metrics: further metrics.
    """

    recipe: Recipe
    networks: tuple[Path, ...]
    threads: int
    to: Path
    prepared: Path
    reader: str
    plugins: tuple[PluginSource, ...] = ()
    probabilities: bool = False
    overlay: bool = False
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    metrics: tuple[str, ...] = ()
    deterministic: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "recipe": self.recipe.to_json(),
            "networks": [str(path) for path in self.networks],
            "threads": self.threads,
            "to": str(self.to),
            "prepared": str(self.prepared),
            "reader": self.reader,
            "plugins": [plugin.to_dict() for plugin in self.plugins],
            "probabilities": self.probabilities,
            "overlay": self.overlay,
            "evaluation": asdict(self.evaluation),
            "metrics": list(self.metrics),
            "deterministic": self.deterministic,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        rest = dict(values)
        evaluation = dict(rest.pop("evaluation"))
        if evaluation["overlap"] is not None:
            evaluation["overlap"] = tuple(evaluation["overlap"])
        return cls(
            recipe=Recipe.from_json(rest.pop("recipe")),
            networks=tuple(map(Path, rest.pop("networks"))),
            to=Path(rest.pop("to")),
            prepared=Path(rest.pop("prepared")),
            plugins=tuple(map(PluginSource.from_dict, rest.pop("plugins"))),
            evaluation=EvaluationSpec(**evaluation),
            metrics=tuple(rest.pop("metrics")),
            **rest,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an image: its scores, where its truth is known, or what was wrong with it."""

    job: Job
    error: str = ""
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()


def predict_all(request: PredictionRequest, jobs: Sequence[Job]) -> Iterator[Answer]:
    """Applies the networks to each image, and writes what is found. The answers come as they are known.

    An image whose process is killed, as by a full memory, gets an error, and a new process continues with the next.

    Raises:
        WorkerLostError: the process ended before it had opened the networks.
    """
    left = list(jobs)
    while left:
        yield from _until_lost(request, left)


def _until_lost(request: PredictionRequest, left: list[Job]) -> Iterator[Answer]:
    """The answers of one process, which are taken out of what is left."""
    printed = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        command("workers.process.prediction", request.threads),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=printed,
        text=True,
        encoding="utf-8",
    )
    if process.stdin is None or process.stdout is None:
        raise WorkerLostError("the process that predicts has no pipes")
    try:
        process.stdin.write(json.dumps({**request.to_dict(), "jobs": [job.to_dict() for job in left]}) + "\n")
        process.stdin.close()
        begun = False
        for line in process.stdout:
            answer = json.loads(line)
            if "ready" in answer:
                begun = True
                continue
            if "fatal" in answer:
                raise WorkerLostError(answer["fatal"])
            yield Answer(
                left.pop(0),
                answer.get("error", ""),
                tuple(map(Score.from_dict, answer.get("scores", ()))),
                tuple(answer.get("notes", ())),
            )
        status = process.wait()
        if left and not begun:
            raise WorkerLostError(f"the process that predicts ended before it began, {_why(status, printed)}")
        if left:
            lost = left.pop(0)
            yield Answer(lost, f"{lost.files[0]}: its process ended, {_why(status, printed)}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
        printed.close()


def _why(status: int, printed: IO[str]) -> str:
    """Why a process ended: the last line that it printed, or the signal."""
    if status < 0:
        return f"killed by signal {-status}" + ("; is the memory too small?" if status == -9 else "")
    printed.seek(0)
    lines = printed.read().strip().splitlines()
    return f"status {status}: {lines[-1] if lines else 'it printed nothing'}"


def main() -> None:
    """Answers one request."""
    with asked("workers.process.prediction") as (threads, values, answers):
        from workers.training.learner import configure_device

        configure_device(threads, deterministic=values["deterministic"])
        for answer in _answers(values):
            answers.write(json.dumps(answer) + "\n")


def _answers(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from workers.inference.network import TrainedNetworks
    from workers.plugins import load_plugin_texts

    jobs = [Job.from_dict(one) for one in values.pop("jobs")]
    try:
        request = PredictionRequest.from_dict(values)
        load_plugin_texts(request.plugins)
        reading = _Reading(request)
    except (ExpectedError, OSError) as error:
        yield {"fatal": str(error)}
        return
    networks = TrainedNetworks(request.recipe, request.networks)
    yield {"ready": True}
    for job in jobs:
        try:
            yield _answer(request, networks, reading, job)
        except ExpectedError as error:
            # Names the file, whatever the library that complains knows of it.
            text = " ".join(str(error).split()).removesuffix(" or exclude the case")  # of no data set
            yield {"error": text if str(job.files[0]) in text else f"{job.files[0]}: {text}"}
        except MemoryError:
            yield {"error": f"{job.files[0]}: it does not fit into the memory"}


class _Reading:
    """How images are read, with their masks where they are scored."""

    def __init__(self, request: PredictionRequest) -> None:
        from workers.datasets import get_reader
        from workers.datasets.prepared import open_prepared

        self.request, self.intake = request, request.recipe.intake
        self.prepared = open_prepared(request.prepared)
        options = {name: value for name, value in self.prepared.reader.items() if value != []}
        self.reader = get_reader(request.reader, options)

    def raw(self, job: Job) -> Any:
        """The image, with its mask where it has one."""
        from dataclasses import replace

        from workers.datasets.images import read_class_mask
        from workers.datasets.intake import Raw, read_raw
        from workers.datasets.reader import CaseFiles

        if job.mask is None:
            return read_raw(self.intake, job.files)
        if self.reader.masks_apart and len(self.reader.classes) > 2:
            indices = {index: index for index in range(len(self.reader.classes))}
            raw = read_raw(self.intake, job.files)
            return replace(raw, label=read_class_mask(job.mask, indices))
        case = self.reader.read_whole(CaseFiles(job.name, job.files, job.mask, field=job.field))
        return Raw(case.image, case.spacing, case.affine, case.label, case.field, case.notes)


def _answer(request: PredictionRequest, networks: Any, reading: _Reading, job: Job) -> dict[str, Any]:
    """Predicts one image and writes what was found."""
    from workers.datasets.preprocessing import ConstantImageError
    from workers.inference.applying import Truth, predict_raw
    from workers.inference.outputs import write_outputs

    raw = reading.raw(job)
    truth = None
    if job.mask is not None:
        prepared = reading.prepared
        truth = Truth(request.evaluation, request.metrics, prepared.ignores, prepared.members, prepared.mask_resampling)
    try:
        found = predict_raw(
            networks, raw, request.recipe, Path(job.name).name, probabilities=request.probabilities, truth=truth
        )
    except ConstantImageError as error:
        raise DataError(f"{error.reason}, so there is nothing to find") from error
    write_outputs(request.to, job.name, raw, found, request.recipe.classes, overlay=request.overlay)
    return {"scores": [score.to_dict() for score in found.scores], "notes": list(found.notes)}


if __name__ == "__main__":
    main()
