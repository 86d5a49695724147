"""Models as MLflow keeps them; TensorFlow only in a slow test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.tracking.tracking_samples import CLASSES, NAME, fake_keras_file, outcome, state, trial, with_model
from workers.tracking import Spool, replay
from workers.tracking.client import connect
from workers.tracking.describe import model_name


@pytest.mark.slow
def test_a_model_is_logged_once_however_often_it_is_sent(uri: str, tmp_path: Path) -> None:
    path = with_model(tmp_path, trial(), fake_keras_file(tmp_path / "m.keras"))
    for _ in range(2):
        result = replay(path, uri, experiment="tests")
        path.with_suffix(".position.json").unlink()
    client = connect(uri)
    run = client.get_run(result.run_id)
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert model.name == model_name(NAME)
    assert {m.key: m.value for m in model.metrics}["test_dsc"] == pytest.approx(0.55)
    assert model.tags["loss"] == "unified_focal_asym"


@pytest.mark.slow
def test_a_file_that_is_no_model_is_refused_by_name(uri: str, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"nothing")
    result = replay(with_model(tmp_path, trial(), tmp_path / "m.keras"), uri, experiment="tests")
    assert result.left == 0
    assert "m.keras is no .keras file" in result.refused[0]
    assert [run["status"] for run in state(uri)] == ["FINISHED"]


@pytest.mark.slow
def test_the_model_loads_with_pyfunc_and_keras_and_predicts_the_same(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import mlflow
    import numpy as np

    inputs = keras.Input((None, None, 3))
    hidden = keras.layers.Activation("relu")(
        keras.layers.GroupNormalization(groups=-1)(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    )
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(hidden))
    network.save(tmp_path / "model.keras")
    batch = np.random.default_rng(0).normal(size=(2, 48, 40, 3)).astype("float32")
    np.save(tmp_path / "example.npy", batch)
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), label=NAME, sweep="s")
        spool.model(
            tmp_path / "model.keras",
            (None, None, 3),
            CLASSES,
            input_example=tmp_path / "example.npy",
            environment={"tensorflow-cpu": "2.21.0"},
        )
        spool.finish(outcome(trial()))
    result = replay(path, uri, experiment="tests")
    assert result.refused == ()
    client = connect(uri)
    model = client.search_logged_models([client.get_run(result.run_id).info.experiment_id])[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # `set_tracking_uri` would leave it to the tests that follow
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, -1, -1, 3)]
    assert [spec.shape for spec in loaded.metadata.signature.outputs] == [(-1, -1, -1, 3)]
    assert loaded.input_example.shape == (1, 32, 32, 3)
    np.testing.assert_array_equal(loaded.input_example[0], batch[0, 8:40, 4:36])
    np.testing.assert_allclose(loaded.predict(batch), network.predict(batch, verbose=0), atol=1e-6)
    again = mlflow.keras.load_model(f"models:/{model.model_id}")
    np.testing.assert_allclose(again.predict(batch, verbose=0), network.predict(batch, verbose=0), atol=1e-6)
    requirements = (
        Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")) / "requirements.txt"
    ).read_text()
    assert "tensorflow-cpu==2.21.0" in requirements
    assert f"keras=={keras.__version__}" in requirements


@pytest.mark.slow
def test_a_model_with_its_recipe_takes_raw_images_by_itself(uri: str, tmp_path: Path) -> None:
    import mlflow
    import numpy as np
    from PIL import Image

    from trials.spec import ModelSpec
    from workers import networks
    from workers.datasets.intake import Intake, read_raw
    from workers.datasets.preprocessing import Preprocessing
    from workers.inference.recipe import Recipe

    spec = ModelSpec(base_filters=4, depth=1)
    network = networks.build(spec, input_shape=(32, 32, 3), classes=3)
    network.set_weights(networks.initial_weights(network, 0))
    network.save(tmp_path / "model.keras")
    recipe = Recipe(Intake(False, 3, Preprocessing(size=(32, 32))), ("background", *CLASSES), spec)
    with Spool(tmp_path / "spool.jsonl") as spool:
        spool.start(trial(), label=NAME, sweep="s")
        spool.model(tmp_path / "model.keras", (32, 32, 3), CLASSES, recipe=recipe.to_json())
        spool.finish(outcome(trial()))
    result = replay(tmp_path / "spool.jsonl", uri, experiment="tests")
    assert result.refused == ()
    client = connect(uri)
    model = client.search_logged_models([client.get_run(result.run_id).info.experiment_id])[0]
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "raw.png")
    from_path = loaded.predict(str(tmp_path / "raw.png"))
    assert from_path.shape == (40, 52)
    assert from_path.dtype == np.uint8
    assert len(np.unique(from_path)) > 1
    np.testing.assert_array_equal(loaded.predict(pixels), from_path)
    first, second = loaded.predict(np.stack([pixels, pixels[::-1]]))
    np.testing.assert_array_equal(first, from_path)
    assert second.shape == (40, 52)
    # The network alone is there, too.
    again = mlflow.keras.load_model(f"models:/{model.model_id}")
    batch = read_raw(recipe.intake, [tmp_path / "raw.png"]).image[None, :32, :32]
    np.testing.assert_allclose(again.predict(batch, verbose=0), network.predict(batch, verbose=0), atol=1e-6)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    assert not list(folder.rglob("*.pkl"))
