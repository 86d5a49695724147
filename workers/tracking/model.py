"""A trained network as an MLflow model, made from the `.keras` file without TensorFlow.

`mlflow.keras.log_model` would import TensorFlow a second time and block the training for seconds. The folder it writes
is simple (Keras' own file, and what describes it), so it is written here by hand and read back by `mlflow.pyfunc` and
`mlflow.keras` like any other; a test does both.

With a recipe (`workers.inference.recipe`), `mlflow.pyfunc` gives a model that takes raw images, as arrays or paths, and
`mlflow.keras` the network alone. Without one both take preprocessed batches.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.tracking.client import RefusedError, artifacts_at, call
from workers.tracking.records import ModelRecord, StartRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model

EXAMPLE_WIDTH = 32
"""Voxels along each free axis of an input example; divisible by the networks' strides up to depth 5."""

_RECORD_TAG = "sweeper.record"
_MODEL_TAGS = {"sweep", "dataset", "loss", "gamma", "repeat"}


def upload_model(
    client: MlflowClient,
    record: ModelRecord,
    run_id: str,
    name: str,
    *,
    experiment_id: str,
    described: StartRecord,
    key: str,
    attempts: int,
) -> str:
    """Puts the network into MLflow as the run's model and returns the model's id. Repeating it changes nothing.

    Args:
        client: MLflow's.
        record: the network; its paths lead to the files.
        run_id: the trial's run.
        name: the model's.
        experiment_id: the run's experiment.
        described: the run's start, whose tags and parameters the model gets, too.
        key: names this record among all.
        attempts: how often each call is tried.

    Raises:
        RefusedError: the file is missing or not a Keras file.
        TrackingUnavailableError: MLflow is unreachable.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    if not record.path.is_file():
        raise RefusedError(f"model file {record.path} does not exist (any more)", missing=False)
    found = call(
        lambda: client.search_logged_models([experiment_id], f"tags.`{_RECORD_TAG}` = '{key}'", max_results=1),
        "looking for the model",
        attempts=attempts,
    )
    linked: set[str] = set()
    if found:
        model = found[0]
        run = call(lambda: client.get_run(run_id), "reading the run", attempts=attempts)
        linked = {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()
    else:
        tags: dict[str, str] = {k: v for k, v in described.tags.items() if k in _MODEL_TAGS}
        model = call(
            lambda: client.create_logged_model(
                experiment_id,
                name=name,
                source_run_id=run_id,
                tags={**tags, _RECORD_TAG: key},
                params=dict(described.params),
                model_type="segmentation",
            ),
            "creating the model",
            attempts=attempts,
        )
    model_id = str(model.model_id)
    if model.status != LoggedModelStatus.READY:
        if model_id not in linked:  # MLflow refuses to link it twice
            link = LoggedModelOutput(model_id, step=0)
            call(lambda: client.log_outputs(run_id, [link]), "linking the model", attempts=attempts)
        with tempfile.TemporaryDirectory(dir=record.path.parent, prefix="mlflow-model-") as folder:
            write_model_folder(Path(folder), record, run_id=run_id, model_id=model_id, location=model.artifact_location)
            location = model.artifact_location
            call(
                lambda: artifacts_at(location, client.tracking_uri).log_artifacts(folder),
                "sending the model",
                attempts=attempts,
            )
        call(
            lambda: client.finalize_logged_model(model_id, LoggedModelStatus.READY),
            "finishing the model",
            attempts=attempts,
        )
    return model_id


def write_model_folder(folder: Path, record: ModelRecord, *, run_id: str, model_id: str, location: str) -> None:
    """Writes the folder that `mlflow.keras.save_model` would write (MLflow's `keras` flavour, Keras 3 file)."""
    from mlflow.models import Model

    from workers.inference.model import RECIPE_FILE  # with the readers and SciPy, for which a training would wait

    keras_version = _keras_version(record.path)
    requirements = _requirements(record, keras_version)
    data = folder / "data"
    data.mkdir()
    (data / "keras_module.txt").write_text("keras")
    _link(record.path, data / "model.keras")
    model = Model(artifact_path=location, run_id=run_id, model_uuid=model_id, model_id=model_id)
    if record.recipe:
        # Raw images are paths or arrays of any size and type: no signature of MLflow can say that.
        (data / RECIPE_FILE).write_text(record.recipe, encoding="utf-8")
    else:
        model.signature = _signature(record)
        _write_example(model, record, folder)
    model.metadata = {"classes": ", ".join(("background", *record.classes))}
    model.add_flavor(
        "keras", data="data", keras_version=keras_version, keras_backend="tensorflow", save_exported_model=False
    )
    _add_environment(model, folder, requirements, "workers.inference.model" if record.recipe else "mlflow.keras")
    model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    model.save(str(folder / "MLmodel"))


def _signature(record: ModelRecord) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    sizes = [-1 if size is None else size for size in record.input_shape]
    single = np.dtype(np.float32)
    inputs = Schema([TensorSpec(single, (-1, *sizes))])
    outputs = Schema([TensorSpec(single, (-1, *sizes[:-1], len(record.classes) + 1))])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _write_example(model: Model, record: ModelRecord, folder: Path) -> None:
    """One image, cut to its middle where the network's axes are free: MLflow keeps it as text, twice."""
    if record.input_example is None:
        return
    try:
        batch = np.load(record.input_example, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RefusedError(f"input example {record.input_example} cannot be read ({error})", missing=False) from error
    cut = [slice(0, 1)]
    for size, free in zip(batch.shape[1:], record.input_shape, strict=False):
        width = min(size, EXAMPLE_WIDTH) if free is None else size
        cut.append(slice((size - width) // 2, (size - width) // 2 + width))
    array = np.ascontiguousarray(batch[tuple(cut)], dtype=np.float32)
    example = _example(array.shape, array.tobytes())
    example.save(str(folder))
    model.saved_input_example_info = dict(example.info)


@lru_cache(maxsize=1)
def _example(shape: tuple[int, ...], data: bytes) -> Any:
    """MLflow's texts of an image. Its trials share one, and to write it out as text took half of a short trial's
    sending."""
    from mlflow.models.utils import _Example

    return _Example(np.frombuffer(data, np.float32).reshape(shape))


def _add_environment(model: Model, folder: Path, requirements: list[str], loader: str) -> None:
    """Adds the `python_function` flavour and its environment files (JSON, which is YAML too)."""
    from mlflow import pyfunc

    # Keras' own loader is given the model's folder, ours that of the files.
    data = "data" if loader != "mlflow.keras" else None
    pyfunc.add_to_model(model, loader_module=loader, data=data, conda_env="conda.yaml", python_env="python_env.yaml")
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    virtual = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "conda.yaml").write_text(json.dumps(conda, indent=2))
    (folder / "python_env.yaml").write_text(json.dumps(virtual, indent=2))
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")


def _requirements(record: ModelRecord, keras_version: str) -> list[str]:
    """Pinned packages, given rather than inferred: MLflow infers them by importing TensorFlow once more."""
    import mlflow

    pinned = {"mlflow": mlflow.__version__, "keras": keras_version, **record.requirements}
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def _keras_version(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise RefusedError(f"model file {path} is no .keras file ({error})", missing=False) from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
