"""docs/recipes: every recipe is followed, in a copy of the project, as files of a user's own, and as a package."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.recipe_pages import PACKAGES, ROOT, files, follow, own_files
from trials.registry import REGISTRIES

# Run in the copy: what was added there, then what files add, then what a package adds, each with a result of its own.
USE = """
import json, sys
from pathlib import Path

import numpy as np

from dashboards.commands import write
from sweeper.study import read_study
from storage.database import open_database
from storage.repository import Repository
from study_maker import Study, make_trial, store
from sweeper.data.preparation import bare_identities
from sweeper.grids.expansion import expand
from sweeper.grids.files import load_grid, shipped
from sweeper.search.samplers import make_pruner, make_sampler
from sweeper.settings import Settings
from trials.registry import REGISTRIES
from trials.spec import ModelSpec
from workers import losses, networks
from workers.datasets import get_reader
from workers.plugins import load_installed, load_plugin, load_plugin_texts
from workers.scoring.masks import score_case

files, work = Path(sys.argv[1]), Path(sys.argv[2])
truth = np.eye(2, dtype=np.float32)[np.arange(16).reshape(1, 4, 4) % 2]
labels = np.zeros((4, 4), np.uint8)
labels[0] = 1
for kind, array in (("images", np.arange(16.0).reshape(4, 4)), ("masks", 255 * labels)):
    (work / kind).mkdir()
    np.save(work / kind / "a.npy", array)


def study():
    study, rng = Study(), np.random.default_rng(0)
    for loss, mean in (("ce", 0.6), ("dice", 0.7)):
        study.add(make_trial("nuclei", loss), rng.normal(mean, 0.03, 9).tolist())
    return study


def used(prefix, report):
    network = networks.build(ModelSpec(prefix + "plain", 4, 2), input_shape=(8, 8, 3), classes=2)
    reader = get_reader(prefix + "npy")
    (case,) = reader.find_cases(work)
    read = reader.read_case(case)
    (scores,) = score_case(labels, 1 - labels, ["background", "thing"], partition="test", case="a")
    with open_database(f"sqlite:///{work / report}.db") as database:
        repository = Repository(database)
        store(study(), repository, "s")
        written = write(Settings(home=work), repository, read_study(repository, "s"), work / report, ("html", "csv"))
        tests = sorted({test.test for test in repository.significance("s")})
    return {
        "loss": float(losses.get_loss(prefix + "jaccard")(truth, np.full_like(truth, 0.5))),
        "network": list(network.output_shape),
        "reader": [case.id, list(read.image.shape), int(read.label.sum())],
        "metrics": dict(scores.values),
        "tests": tests,
        "files": sorted(path.name for path in written),
        "page": (work / report / "report.html").read_text(encoding="utf-8"),
        "sampler": type(make_sampler(prefix + "halton", {}, startup=1, seed=0)).__name__,
        "grids": list(shipped()),
    }


found = {"project": used("", "project"), "epochs": load_grid("quick").training.epochs}
plugins = [load_plugin(path) for path in sorted(files.glob("my_*.py"))]
found["names"] = {Path(p.reference).name: {kind: list(names) for kind, names in p.names.items()} for p in plugins}
found["files"] = used("my_", "files")
found["cells"] = {
    path.name: sorted({(s.data.dataset, s.loss.name, s.model.name) for s in expand(grid, bare_identities(grid))})
    for path in sorted(files.glob("*.toml"))
    if path.name != "pyproject.toml"
    for grid in [load_grid(str(path))]
}
found["pruner"] = type(make_pruner("my_strict", {"percentile": 20.0}, startup=1)).__name__
load_plugin_texts(())
found["left"] = [n for group, r in REGISTRIES.items() if group != "sweeper.grids" for n in r if n.startswith("my")]
sys.path.insert(0, sys.argv[3])
load_installed(registry.plural for registry in REGISTRIES.values() if registry.plural != "grids")
found["package"] = used("my_", "package")
print(json.dumps(found))
"""


def entry_points(pyproject: str) -> str:
    """What an installer makes of the groups of a pyproject.toml."""
    groups = tomllib.loads(pyproject)["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items()) + "\n"
        for group, names in groups.items()
    )


def install(site: Path) -> None:
    """The package of the index page, as an installer lays it out: modules, grids and entry points."""
    package, info = site / "my_lab", site / "my_lab-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").touch()
    for path, text in own_files().items():
        if path.startswith("my_"):
            (package / path).write_text(text, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points(files()["pyproject.toml"]))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("recipes")
    own, work = folder / "own", folder / "work"
    own.mkdir()
    work.mkdir()
    for path, text in own_files().items():
        (own / path).write_text(text, encoding="utf-8")
    install(folder / "site")
    paths = [follow(folder / "project"), ROOT / "tests" / "sweeper" / "analysis", ROOT]
    done = subprocess.run(
        [sys.executable, "-c", USE, str(own), str(work), str(folder / "site")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "SWEEPER_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("way", "prefix"), [("project", ""), ("files", "my_"), ("package", "my_")])
def test_what_a_recipe_adds_works(found: Any, way: str, prefix: str) -> None:
    used = found[way]
    assert used["loss"] == pytest.approx(2 / 3, abs=1e-6)
    assert used["network"] == [None, 8, 8, 2]
    assert used["reader"] == ["a", [4, 4, 1], 4]
    assert used["metrics"][f"{prefix}specificity"] == 0.0
    assert used["sampler"] == "QMCSampler"
    assert {"project": "sign", "files": "my_t", "package": "my_t"}[way] in used["tests"]
    assert {"rank_sum", "signed_rank"} < set(used["tests"])
    figures = {"project": "histogram-nuclei.svg", "files": "my_costs.svg", "package": "my_costs.svg"}
    assert figures[way] in used["files"]
    words = {"project": "Trials by data set.", "files": "read by our lab", "package": "read by our lab"}
    assert words[way] in used["page"]


@pytest.mark.slow
def test_grids_of_the_pages(found: Any) -> None:
    assert found["epochs"] == 1
    assert "quick" in found["project"]["grids"]
    assert "my_grid" in found["package"]["grids"]
    cells = found["cells"]
    assert ["nuclei", "my_jaccard", "unet"] in cells["loss.toml"]
    assert {model for _, _, model in cells["network.toml"]} == {"my_plain"}
    assert {dataset for dataset, _, _ in cells["reader.toml"]} == {"phantoms"}
    assert cells["search.toml"]
    assert cells["my_grid.toml"] == [["nuclei", "dice", "unet"], ["nuclei", "unified_focal_asym", "unet"]]
    assert found["pruner"] == "PercentilePruner"


@pytest.mark.slow
def test_files_add_what_they_say_and_are_taken_out_again(found: Any) -> None:
    assert found["names"] == {
        "my_loss.py": {"losses": ["my_jaccard"]},
        "my_network.py": {"networks": ["my_plain"]},
        "my_reader.py": {"datasets": ["my_npy"]},
        "my_metric.py": {"metrics": ["my_specificity"]},
        "my_test.py": {"tests": ["my_t"]},
        "my_figure.py": {"figures": ["my_costs"]},
        "my_section.py": {"sections": ["my-notes"]},
        "my_sampler.py": {"samplers": ["my_halton"], "pruners": ["my_strict"]},
    }
    assert found["left"] == []


def test_every_registry_has_a_recipe_and_an_entry_point() -> None:
    for module in ("dashboards.report", "sweeper.search.samplers", "sweeper.grids.files", "workers.plugins"):
        importlib.import_module(module)  # announces its registries
    index = (ROOT / "docs" / "recipes" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(sweeper\.\w+)`", "\n".join(re.findall(r"^\| .*\|$", index, re.MULTILINE))))
    groups = tomllib.loads(files()["pyproject.toml"])["project"]["entry-points"]
    assert set(REGISTRIES) == listed == set(groups)


def test_code_on_the_pages_is_in_style(tmp_path: Path) -> None:
    for path, text in files().items():
        if path.endswith(".py"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    rules = ["--config", str(ROOT / "pyproject.toml")]
    first_party = ["--config", f"lint.isort.known-first-party = {json.dumps(PACKAGES)}".replace("'", '"')]
    ignored = ["--ignore", "D,N"]  # a user's file needs no docstrings
    for command in (["check", *rules, *first_party, *ignored], ["format", "--check", *rules]):
        done = subprocess.run([*ruff, *command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
