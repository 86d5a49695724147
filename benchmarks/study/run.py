"""Runs the whole study, exports it and writes its page: what `make study` calls. What has finished is kept.

python -m benchmarks.study.run --data FOLDER [--to study] [--setting quick|normal] [--set KEY=VALUE …]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Setting
from benchmarks.study import figures
from benchmarks.study.page import page
from benchmarks.study.study import Study
from storage.database import open_database
from storage.repository import Repository
from sweeper.grids.expansion import training_of
from sweeper.grids.files import load_grid
from sweeper.settings import Settings
from trials.states import SweepState

GRIDS = Path(__file__).parent.parent.parent / "docs" / "study"
RATES = {"low": 1 / 3, "high": 3.0}
RUNS = 5
QUICK_RUNS = 2
QUICK = (
    'include=[{dataset="nuclei"},{dataset="isic2017"}]',
    "losses.unified_focal_sym.gamma=0.5",
    "losses.unified_focal_asym.gamma=0.5",
)
"""Two sets, one γ."""


def launches(setting: Setting) -> Iterator[list[str]]:
    """The launches in order, each as the arguments of `sweeper`, without `--data`.

    The study grows by one run of every loss at a time, so that what is interrupted is whole as far as it went.
    """
    quick = setting is Setting.QUICK
    overrides = [word for change in (QUICK if quick else ()) for word in ("--set", change)]
    for runs in range(1, (QUICK_RUNS if quick else RUNS) + 1):
        yield ["launch", "--grid", "public", "--extend", "--set", f"repeats={runs}", *overrides]
    if quick:
        return
    yield ["launch", "--grid", str(GRIDS / "further.toml")]
    yield ["launch", "--grid", str(GRIDS / "aa.toml")]
    for name, factor in RATES.items():
        grid = str(GRIDS / "rates.toml")
        changes = [f"datasets.{one}.training.learning_rate={rate * factor:.3g}" for one, rate in _rates(grid).items()]
        sets = [word for change in changes for word in ("--set", change)]
        yield ["launch", "--grid", grid, "--name", f"public-rate-{name}", *sets]


def _rates(file: str) -> dict[str, float]:
    """The rate of each data set that a grid trains on."""
    grid = load_grid(file)
    named = [rule.dataset for rule in grid.include]
    return {one.name: training_of(grid, one).learning_rate for one in grid.datasets if one.name in named}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with each data set under its name")
    parser.add_argument("--to", type=Path, default=Path("study"), metavar="FOLDER")
    parser.add_argument("--setting", type=Setting, choices=list(Setting), default=Setting.NORMAL, metavar="SETTING")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of `sweeper launch`")
    arguments = parser.parse_args()
    changes = [word for change in arguments.set for word in ("--set", change)]
    names = []
    for words in launches(arguments.setting):
        if status := _sweeper(*words, *changes, "--data", str(arguments.data)):
            return status
        names.append(name := _name(words))
        if not _finished(name):
            print(f"{name} was stopped; the same command goes on with it", file=sys.stderr)
            return 1
    for name in dict.fromkeys(names):
        folder = arguments.to / name
        shutil.rmtree(folder, ignore_errors=True)
        if status := _sweeper("db", "export", name, "--to", str(folder)):
            return status
    study = Study.read(arguments.to)
    figures.write(study, arguments.to / "figures")
    (arguments.to / "study.md").write_text(page(study), encoding="utf-8")
    print(arguments.to / "study.md")
    return 0


def _name(words: list[str]) -> str:
    """The sweep that a launch asks for."""
    return words[words.index("--name") + 1] if "--name" in words else load_grid(words[words.index("--grid") + 1]).name


def _finished(name: str) -> bool:
    with open_database(Settings().database, create=False) as database:
        return Repository(database).sweep(name).state is SweepState.FINISHED


def _sweeper(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "sweeper", *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
