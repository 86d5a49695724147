"""The Ray actor's warm process, with real training: kept, and replaced when its memory has grown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_trials import TinyData, tiny_data
from trials.messages import Finished, PluginSource, Task, Tracking, TrainRequest, read_report, to_json
from trials.spec import TrialSpec

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


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[PluginSource]:
    from workers.plugins import describe_plugin, load_plugin_texts

    file = tmp_path / "greedy.py"
    file.write_text(GREEDY)
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
    from sweeper.run.ray_tune import WarmTrainable

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
