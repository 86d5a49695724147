"""Plug-ins: loading in this process, describing through a child, and every way in which a file can be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trials import metrics
from trials.messages import PluginSource
from trials.registry import REGISTRIES
from trials.spec import ModelSpec, content_hash
from workers import losses, networks, plugins
from workers.datasets import registry as datasets
from workers.errors import ParameterError, UnknownNameError
from workers.plugins import PluginError, describing
from workers.plugins.__main__ import description

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
JACCARD = EXAMPLES / "jaccard_loss.py"

LOSS = """
from workers.losses import LossDefinition, Parameter, register

def constant(truth, prediction, *, weight):
    import tensorflow as tf
    return {expression}

register(LossDefinition("mine", constant, (Parameter("weight", 2.0, "(0, 9]", per_class=True),), "region"))
"""
MEAN = "weight * tf.reduce_mean((truth - prediction) ** 2)"

DATASET = """
from workers.datasets import Nuclei, register
{extra}
class Mine(Nuclei):
    pass

register("mine-data", Mine)
"""


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    before = losses.names(), networks.names(), datasets.names()
    yield
    plugins.load_plugin_texts(())
    assert (losses.names(), networks.names(), datasets.names()) == before


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def value(name: str, **parameters: float) -> float:
    import numpy as np

    truth = np.eye(2, dtype=np.float32)[np.zeros((1, 4, 4), int)]
    return float(losses.get_loss(name, **parameters)(truth, np.full((1, 4, 4, 2), 0.5, np.float32)))


def test_a_loaded_loss_works_like_a_built_in_one(tmp_path: Path) -> None:
    plugin = plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN)))
    assert plugin.names == {"losses": ("mine",)}
    assert losses.resolve_parameters("mine") == {"weight": 2.0}
    assert losses.definition("mine").source == plugin.source == content_hash(plugin.text)
    assert value("mine") == pytest.approx(0.5)
    assert value("mine", weight=4.0) == pytest.approx(1.0)
    with pytest.raises(ParameterError, match=r"weight = 10.*0 < weight ≤ 9"):
        losses.get_loss("mine", weight=10)


def test_loading_anew_replaces_what_the_old_source_registered(tmp_path: Path) -> None:
    first = plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN)))
    assert plugins.load_plugin(tmp_path / "mine.py") is first
    second = plugins.load_plugin(write(tmp_path, LOSS.format(expression="3.0 * " + MEAN)))
    assert second.source != first.source
    assert value("mine") == pytest.approx(1.5)


def test_a_failing_new_source_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN)))
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN) + "\n1 / 0\n"))
    assert value("mine") == pytest.approx(0.5)


def test_texts_make_the_set_of_plugins_of_a_worker(tmp_path: Path) -> None:
    a = plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN), "a.py"))
    plugins.load_plugin_texts(())
    with pytest.raises(UnknownNameError):
        losses.definition("mine")
    b = plugins.load_plugin(write(tmp_path, LOSS.format(expression="3.0 * " + MEAN), "b.py"))
    (tmp_path / "a.py").unlink()  # a worker on another machine has no such file
    plugins.load_plugin_texts((a,))
    assert value("mine") == pytest.approx(0.5)
    plugins.load_plugin_texts((b,))
    assert value("mine") == pytest.approx(1.5)


def test_a_text_that_is_not_the_specs_is_refused(tmp_path: Path) -> None:
    message = plugins.load_plugin(write(tmp_path, LOSS.format(expression=MEAN)))
    with pytest.raises(PluginError, match="install the same version"):
        plugins.load_plugin_texts((replace(message, source="0" * 16),))


def test_an_installed_module_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_losses"
    package.mkdir()
    write(package, "", "__init__.py")
    write(package, LOSS.format(expression=MEAN), "region.py")
    info = tmp_path / "their_losses-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: their-losses\nVersion: 1.0\n", "METADATA")
    write(info, "[sweeper.losses]\nregion = their_losses.region\n", "entry_points.txt")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert plugins.installed_plugins(("losses", "networks")) == ("their_losses.region",)
    assert "their_losses" not in sys.modules
    plugin = plugins.load_plugin("their_losses.region")
    assert plugin.names == {"losses": ("mine",)}
    assert plugin.text == ""
    message = plugin
    plugins.load_plugin_texts(())
    plugins.load_plugin_texts((message,))
    assert value("mine") == pytest.approx(0.5)
    write(package, "CHANGED = True\n", "__init__.py")
    with pytest.raises(PluginError, match="install the same version"):
        plugins.load_plugin_texts((message,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "registers nothing"),
        ("x = 1\nraise KeyError('deep')\n", r"mine\.py, line 2: KeyError: 'deep'"),
        ("def broken(:\n", r"line 1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", r"line 2: SystemExit: 3"),
        (LOSS.format(expression=MEAN).replace('"mine"', '"dice"'), "a loss named 'dice' is registered already"),
        (LOSS.format(expression=MEAN).replace("(0, 9]", "(3, 9]"), "weight = 2.0 is outside its range, 3 < weight"),
        (LOSS.format(expression=MEAN).replace("(0, 9]", "0..9"), "interval '0..9' is not of the form"),
    ],
)
def test_a_wrong_file_is_named_and_changes_nothing(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PluginError, match=message) as raised:
        plugins.load_plugin(path)
    assert str(path) in str(raised.value)


def test_missing_files_and_modules_are_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"nowhere\.py does not exist"):
        plugins.load_plugin(tmp_path / "nowhere.py")
    with pytest.raises(PluginError, match=r"nowhere\.py does not exist"):
        plugins.describe_plugin(tmp_path / "nowhere.py")
    with pytest.raises(PluginError, match="'no_such_module' is neither a Python file"):
        plugins.load_plugin("no_such_module")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    with pytest.raises(PluginError, match=r"binary\.py can't be read"):
        plugins.source_hash(tmp_path / "binary.py")


@pytest.mark.slow
def test_the_documented_example_is_described_without_tensorflow_in_this_process() -> None:
    script = f"""
import sys
import types
from workers import losses, plugins
plugin = plugins.describe_plugin({str(JACCARD)!r})
assert plugin.names == {{"losses": ("power_jaccard",)}}, plugin
assert losses.resolve_parameters("power_jaccard", {{"power": 3}}) == {{"power": 3.0, "smooth": 1e-6}}
assert losses.definition("power_jaccard").source == plugin.source == plugins.source_hash({str(JACCARD)!r})
try:
    losses.resolve_parameters("power_jaccard", {{"power": 9}})
except losses.registry.ParameterError as error:
    assert "1 ≤ power ≤ 4" in str(error), error
else:
    raise SystemExit("no error")
try:
    losses.definition("power_jaccard").load()(1, 2)
except plugins.PluginError as error:
    assert "load_plugin" in str(error)
else:
    raise SystemExit("no error")
assert plugins.describe_plugin({str(JACCARD)!r}) is plugin
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_was_described_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    described = description(plugins.load_plugin(JACCARD))
    plugins.load_plugin_texts(())
    monkeypatch.setattr(describing, "_ask_child", lambda reference: described)
    plugins.describe_plugin(JACCARD)
    with pytest.raises(PluginError, match="load_plugin"):
        losses.definition("power_jaccard").load()(1, 2)
    plugins.load_plugin(JACCARD)
    assert value("power_jaccard") > 0


def test_the_example_loss_is_what_its_formula_says() -> None:
    plugins.load_plugin(JACCARD)
    # 16 pixels of background predicted as one half: background tp 8, union 16 + 4 − 8; foreground tp 0, union 4.
    assert value("power_jaccard") == pytest.approx(((1 - 8 / 12) + 1) / 2, rel=1e-5)


def test_the_example_network_builds_like_a_built_in_one() -> None:
    plugin = plugins.load_plugin(EXAMPLES / "dilated_network.py")
    assert networks.definition("dilated").source == plugin.source
    spec = ModelSpec("dilated", base_filters=4, depth=2, normalisation="none")
    assert networks.build(spec, input_shape=(8, 12, 3), classes=3).output_shape == (None, 8, 12, 3)
    assert networks.build(spec, input_shape=(8, 8, 8, 1), classes=2).output_shape == (None, 8, 8, 8, 2)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("weight * (truth - prediction)", "a scalar tensor is needed"),
        ("weight * tf.reduce_mean(truth)", "no finite gradient"),
        ("weight * tf.reduce_mean(tf.sqrt(truth * prediction))", "no finite gradient"),
        ("weight / undefined", r"mine\.py, line 6: loss 'mine': NameError"),
    ],
)
def test_a_loss_that_cannot_train_is_found_when_described(tmp_path: Path, expression: str, message: str) -> None:
    path = write(tmp_path, LOSS.format(expression=expression))
    plugin = plugins.load_plugin(path)
    with pytest.raises(PluginError, match=message):
        description(plugin)


@pytest.mark.slow
def test_a_data_set_is_described_and_loaded_here(tmp_path: Path) -> None:
    plugin = plugins.describe_plugin(write(tmp_path, DATASET.format(extra="print('noise on stdout')")))
    assert plugin.names == {"datasets": ("mine-data",)}
    assert datasets.get_reader("mine-data", {"name": "x"}).name == "x"


@pytest.mark.slow
def test_a_data_set_must_not_bring_tensorflow_to_the_coordinator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow").mkdir()
    write(tmp_path / "tensorflow", "", "__init__.py")  # one that is imported at once
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = write(tmp_path, DATASET.format(extra="import tensorflow"))
    with pytest.raises(PluginError, match="'mine-data' and imports TensorFlow; move it into"):
        plugins.describe_plugin(path)


def test_what_is_waited_for_is_said_and_a_file_that_kills_its_process_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(describing, "SILENT_SECONDS", 0.0)
    path = write(tmp_path, "import os, sys\nsys.stderr.write('last words')\nsys.stderr.flush()\nos._exit(7)\n")
    with pytest.raises(PluginError, match="ended its process with status 7: last words"):
        plugins.describe_plugin(path)
    (said,) = capfd.readouterr().err.splitlines()
    assert said == (
        f"waiting for plug-in {path}: a process imports it, TensorFlow with it, and tries each of its losses; "
        "for 5 min at most"
    )


def test_installed_plugins_are_described_only_for_names_that_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def describe(reference: str | Path) -> plugins.PluginSource:
        asked.append(str(reference))
        return plugins.load_plugin(JACCARD)

    installed = {"losses": ("one.losses", "two.losses")}
    monkeypatch.setattr(describing, "installed_plugins", lambda kinds: sum((installed.get(k, ()) for k in kinds), ()))
    monkeypatch.setattr(describing, "describe_plugin", describe)
    known = {"networks": ["unet"], "datasets": ["nuclei"]}
    assert plugins.describe_for((), losses=["ce"], **known) == ()
    found = plugins.describe_for((), losses=["power_jaccard"], **known)
    assert [p.names for p in found] == [{"losses": ("power_jaccard",)}]
    assert plugins.describe_for((), losses=["power_jaccard"], **known) == found  # a second sweep of this process
    assert asked == ["one.losses"]


@pytest.fixture
def _own_kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of ours with a registry that nobody has imported yet, as that of figures in a coordinator."""
    module = "from trials.registry import Registry\nTHINGS = Registry('thing', 'sweeper.things')\n"
    package = types.ModuleType("dashboards.things")
    code = compile(module + "THINGS.register('ours', 1)\n", "things.py", "exec")
    monkeypatch.setitem(sys.modules, "dashboards.things", package)
    package.__dict__["code"] = code
    yield
    REGISTRIES.pop("sweeper.things", None)


@pytest.mark.usefixtures("_own_kind")
@pytest.mark.parametrize("fails", [False, True])
def test_a_plugin_of_a_kind_whose_registry_it_imports_itself(tmp_path: Path, fails: bool) -> None:
    """What our own package registers while the plug-in imports it is ours, and stays when the plug-in goes."""
    text = "import dashboards.things as t\nexec(t.code, t.__dict__)\nt.THINGS.register('theirs', 2)\n"
    path = write(tmp_path, text + ("1 / 0\n" if fails else ""))
    if fails:
        with pytest.raises(PluginError, match="ZeroDivisionError"):
            plugins.load_plugin(path)
    else:
        plugin = plugins.load_plugin(path)
        assert plugin.names == {"things": ("theirs",)}
        assert REGISTRIES["sweeper.things"]["theirs"] == 2
        assert plugins.load_stored([plugin], ["things"]) == (plugin,)
        plugins.load_plugin_texts(())
    assert REGISTRIES["sweeper.things"].names() == ("ours",)


def test_a_kind_without_a_registry_here_is_noted_and_not_imported(tmp_path: Path) -> None:
    """Figures, before a report is written."""
    text = "from trials.registry import Registry\nRegistry('thing', 'sweeper.things').register('theirs', 2)\n"
    plugin = plugins.describe_plugin(write(tmp_path, text))
    assert plugin.names == {"things": ("theirs",)}
    assert "sweeper.things" not in REGISTRIES


def test_a_stored_plugin_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It named data sets alone."""
    text = DATASET.format(extra="")
    stored = {"reference": "/gone/cells.py", "source": content_hash(text), "text": text, "datasets": ["mine-data"]}
    read = PluginSource.from_dict(stored)
    assert read.names == {"datasets": ("mine-data",)}
    assert plugins.load_stored([read], ["datasets"]) == (read,)
    assert plugins.load_stored([PluginSource.from_dict({**stored, "datasets": []})], ["datasets"]) == ()


METRIC = """
from trials.metrics import Metric, register
register(Metric("extent", "Extent", lambda masks: 1.0, "Always 1."))
"""


def test_an_installed_metric_goes_with_every_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No grid names a metric: it is used because it is installed, in every worker and in the same source."""
    package, info = tmp_path / "their_metrics", tmp_path / "their_metrics-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    write(package, METRIC, "__init__.py")
    write(info, "Metadata-Version: 2.1\nName: their-metrics\nVersion: 1.0\n", "METADATA")
    write(info, "[sweeper.metrics]\nextent = their_metrics\n", "entry_points.txt")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    found = plugins.describe_for((), losses=["ce"])
    assert [plugin.names for plugin in found] == [{"metrics": ("extent",)}]
    assert "extent" in metrics.names()
    plugins.load_plugin_texts(())
    assert "extent" not in metrics.names()
    plugins.load_plugin_texts(found)
    assert "extent" in metrics.names()


def test_a_sweep_that_is_resumed_loads_its_data_sets_and_no_losses(tmp_path: Path) -> None:
    loss = plugins.load_plugin(JACCARD)
    cells = plugins.load_plugin(write(tmp_path, DATASET.format(extra=""), "cells.py"))
    plugins.load_plugin_texts(())
    (tmp_path / "cells.py").unlink()
    plugins.load_stored((loss, cells), ["datasets"])
    assert "mine-data" in datasets.names()
    assert "power_jaccard" not in losses.names()
    with pytest.raises(PluginError, match="install the same version"):
        plugins.load_stored((replace(cells, source="0" * 16),), ["datasets"])
