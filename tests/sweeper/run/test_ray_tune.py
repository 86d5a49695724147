"""The Ray actor's warm process, with real training: kept, and replaced when its memory has grown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_trials import TinyData, tiny_data
from trials.messages import Failed, Finished, PluginSource, Task, Tracking, TrainRequest, read_report, to_json
from trials.spec import TrialSpec
from trials.states import FailureKind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GREEDY = """
import numpy as np
from workers.losses import LossDefinition, get_loss, register

KEPT = []


def greedy(truth, prediction):
    if prediction.shape[1] == 32:
        KEPT.append(np.ones(150_000_000))  # 1.2 GB: past half of what TensorFlow takes
    return get_loss("dice")(truth, prediction)


register(LossDefinition("greedy", greedy))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


POOLED = """
import tensorflow as tf
from workers.losses import LossDefinition, get_loss, register


def pooled(truth, prediction):
    # Windows that overlap: their gradient has no deterministic form under XLA, on any device.
    return get_loss("dice")(truth, prediction) + tf.reduce_mean(tf.nn.max_pool2d(prediction, 3, 2, "SAME"))


register(LossDefinition("pooled", pooled))
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[PluginSource]:
    yield from loaded(tmp_path / "greedy.py", GREEDY)


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[PluginSource]:
    yield from loaded(tmp_path / "pooled.py", POOLED)


def loaded(file: Path, text: str) -> Iterator[PluginSource]:
    from workers.plugins import describe_plugin, load_plugin_texts

    file.write_text(text)
    yield describe_plugin(file)
    load_plugin_texts(())


def config(data: TinyData, spec: TrialSpec, folder: Path, plugins: tuple[PluginSource, ...]) -> dict[str, str]:
    request = TrainRequest(
        spec, "one cell", data.root, folder / spec.hash, sweep="test", plugins=plugins, pictures=False
    )
    # Refused at once, so that nothing waits for a run's id.
    tracking = Tracking(f"sqlite:///{folder}/no-such-folder/mlflow.db", "e", "")
    return {"task": to_json(Task(request, tracking, folder / "log.txt", orders=""))}


def test_a_process_that_has_grown_is_replaced_and_another_kept(
    data: TinyData, tmp_path: Path, plugin: PluginSource
) -> None:
    from sweeper.run.trainable import WarmTrainable

    greedy = data.spec("greedy", epochs=1)
    greedy = replace(greedy, loss=replace(greedy.loss, source=plugin.source))
    specs = [data.spec("ce", epochs=1), data.spec("ce", epochs=1, seed=1), greedy, data.spec("ce", epochs=1, seed=2)]
    configs = [config(data, spec, tmp_path, (plugin,) if spec.loss.name == "greedy" else ()) for spec in specs]
    trainable = WarmTrainable(configs[0])
    pids = []
    try:
        for number, one in enumerate(configs):
            if number:
                assert trainable.reset_config(one)
            while not (result := trainable.step())["done"]:
                pass
            assert isinstance(read_report(result["message"]).event, Finished), result
            pids.append(trainable._process.pid)
    finally:
        trainable.cleanup()
    assert pids[0] == pids[1] == pids[2]
    assert pids[3] != pids[2]


def test_an_operation_without_a_deterministic_form_is_refused_or_trained_as_the_spec_says(
    data: TinyData, tmp_path: Path, pooled: PluginSource
) -> None:
    from sweeper.run.trainable import WarmTrainable

    refused = data.spec("pooled", epochs=1, xla=True)
    refused = replace(refused, loss=replace(refused.loss, source=pooled.source))
    trained = replace(refused, training=replace(refused.training, deterministic=False))
    configs = [config(data, spec, tmp_path, (pooled,)) for spec in (refused, trained)]
    trainable = WarmTrainable(configs[0])
    ends = []
    try:
        for number, one in enumerate(configs):
            if number:
                trainable.reset_config(one)
            while not (result := trainable.step())["done"]:
                pass
            ends.append(read_report(result["message"]).event)
    finally:
        trainable.cleanup()
    assert isinstance(ends[0], Failed)
    assert ends[0].failure is FailureKind.BAD_SETTINGS
    assert "MaxPool" in ends[0].error.splitlines()[0]
    assert "training.deterministic = false" in ends[0].error.splitlines()[0]
    assert isinstance(ends[1], Finished), ends[1]
