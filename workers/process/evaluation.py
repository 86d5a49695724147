"""A trained network applied to its images again, in a process of its own: for metrics of the softmax.

Run as `python -m workers.process.evaluation --threads N` with a request as one line of JSON on its input. It writes the
scores as one line of JSON, or the error.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from trials.errors import ExpectedError
from trials.messages import PluginSource
from trials.results import Partition, Score
from trials.spec import TrialSpec
from workers.errors import WorkerError, WorkerLostError
from workers.process.one_request import asked, command, environment

MODEL_FILE = "model.keras"


class EvaluationError(WorkerError):
    """The network could not be applied; the message says why."""


def evaluate_again(
    spec: TrialSpec,
    folder: Path,
    prepared_root: Path,
    metrics: Sequence[str],
    *,
    partitions: Sequence[Partition] = ("test",),
    plugins: Sequence[PluginSource] = (),
) -> list[Score]:
    """The scores of a finished trial's network on its images, by metrics that may need the softmax.

    Args:
        spec: the trial.
        folder: its own folder, with the trained network.
        prepared_root: the folder that holds the prepared data sets.
        metrics: by the names under which they are stored.
        partitions: which images.
        plugins: that may run here, for a network or metric of theirs.

    Raises:
        EvaluationError: the network or the data are missing or damaged, or the network is of another plug-in.
        WorkerLostError: the process ended without an answer.
    """
    if spec.model.source and spec.model.source not in {plugin.source for plugin in plugins}:
        raise EvaluationError("the network is of a plug-in; only training the trial again gives them")
    request = {
        "spec": spec.to_dict(), "folder": str(folder), "prepared_root": str(prepared_root), "metrics": list(metrics),
        "partitions": list(partitions), "plugins": [plugin.to_dict() for plugin in plugins],
    }  # fmt: skip
    done = subprocess.run(
        command("workers.process.evaluation", spec.training.threads),
        env=environment(),
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        message = f"the process that evaluates it ended with status {done.returncode}: {tail}"
        raise WorkerLostError(message, stderr_tail=done.stderr) from None
    if "error" in answer:
        raise EvaluationError(answer["error"])
    return [Score.from_dict(score) for score in answer["scores"]]


def main() -> None:
    """Answers one request."""
    with asked("workers.process.evaluation") as (threads, request, answers):
        from workers.training.learner import configure_device

        spec = TrialSpec.from_dict(request["spec"])
        configure_device(threads, deterministic=spec.training.deterministic)
        from workers.plugins import load_plugin_texts

        try:
            load_plugin_texts(map(PluginSource.from_dict, request["plugins"]))
            scores = _scores(
                spec,
                Path(request["folder"]),
                Path(request["prepared_root"]),
                request["metrics"],
                request["partitions"],
            )
            answer: dict[str, object] = {"scores": [score.to_dict() for score in scores]}
        except (ExpectedError, OSError, ValueError, zipfile.BadZipFile) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")


def _scores(
    spec: TrialSpec, folder: Path, prepared_root: Path, metrics: Sequence[str], partitions: Sequence[Partition]
) -> list[Score]:
    from workers.datasets.prepared import open_prepared, prepared_path
    from workers.training.learner import Learners
    from workers.training.trial import evaluate

    prepared = open_prepared(prepared_path(prepared_root, spec.data.dataset, spec.data.prepared))
    split = prepared.read_split(spec.data.split)
    spatial = spec.training.patch or tuple(prepared.image(prepared.case_ids[0]).shape[:-1])
    learner = Learners().get(spec, (*spatial, prepared.channels), len(prepared.classes))
    learner.model.load_weights(folder / MODEL_FILE)
    scores: list[Score] = []
    for partition in partitions:
        for case in split.test if partition == "test" else split.validation:
            scores += evaluate(learner, prepared, spec, case, partition, metrics)[0]
    return scores


if __name__ == "__main__":
    main()
