"""docs/first-study.md as a user types it, on small nuclei: from a folder of images to masks of new ones."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workers.datasets
from sweeper.grids.files import grid_of_text
from tests.system.sweeps import PLAIN_REPORT, Home, python_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "first-study.md"
NUCLEI = Path(workers.datasets.__file__).parent / "nuclei"
SMALL = tuple(
    word
    for setting in (
        'losses=[{name="dice"}]',
        "repeats=1",
        "training.epochs=3",
        "model.base_filters=8",
        "model.depth=2",
    )
    for word in ("--set", setting)
)
"""What a launch here gets beside the page's own words."""


@dataclass(frozen=True)
class Session:
    """The page's commands in a folder of their own, and what each printed."""

    folder: Path
    home: Home
    printed: dict[str, str]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("session")
    names = sorted(path.name for path in (NUCLEI / "images").iterdir())
    for i, name in enumerate(names[:16]):
        for kind in ("images", "masks"):
            with Image.open(NUCLEI / kind / name) as whole:
                part = whole.crop((0, 0, 128, 128)).resize((64, 64), Image.Resampling.NEAREST)
                place = folder / f"data/cells/{kind}/a{i:02d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                part.save(place)
    (folder / "new").mkdir()
    for i, name in enumerate(names[16:18]):
        with Image.open(NUCLEI / "images" / name) as whole:
            whole.crop((0, 0, 96, 80)).save(folder / f"new/b{i:02d}.png")
    done = Session(folder, Home(folder / "home"), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in re.findall(r"^\$ sweeper (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
            words = shlex.split(line)
            if words[0] == "launch":
                done.printed[line] = done.home.run(*words, *SMALL)
                done.home.variables["PYTHONPATH"] = python_path(PLAIN_REPORT)  # the first report alone is drawn
            elif words[0] == "predict":
                done.printed[line] = done.home.run(*words)
            else:
                done.printed[line] = done.home.ask(*words)
    return done


def test_the_grid_is_written_for_the_folder(session: Session) -> None:
    printed = session.printed["init data/cells --budget 30m"]
    assert "16 cases" in printed
    assert "the names do not tell which images are of one patient" in printed
    grid = grid_of_text((session.folder / "cells.toml").read_text(), origin="cells.toml")
    assert (grid.name, grid.datasets[0].name) == ("cells", "cells")
    assert grid.training.epochs is not None


def test_the_data_are_looked_at(session: Session) -> None:
    assert session.printed["data check cells --grid cells.toml --data data"].startswith("cells in ")
    with Image.open(session.folder / "sheet.png") as sheet:
        assert min(sheet.size) > 64


def test_the_study_is_finished(session: Session) -> None:
    assert list(session.home.states("cells").values()) == ["finished"]
    printed = session.printed["launch --grid cells.toml --data data"]
    assert "report.html" in printed
    assert "sweeper predict cells IMAGES --to DIR" in printed
    assert (session.home.folder / "reports" / "cells" / "report.html").is_file()


def test_new_images_get_masks_of_their_size(session: Session) -> None:
    for i in range(2):
        with Image.open(session.folder / f"predicted/b{i:02d}.png") as mask:
            assert mask.size == (96, 80)
            assert set(np.unique(np.asarray(mask))) <= {0, 1}
        assert (session.folder / f"predicted/b{i:02d}.overlay.png").is_file()
    assert "2 predicted" in session.printed["predict cells new --to predicted --overlay"]


def test_the_second_study_is_compared_and_deleted(session: Session) -> None:
    compared = session.printed["compare cells cells-batch-1"]
    assert "training.batch_size: cells 2; cells-batch-1 1" in compared
    assert "settings that differ: 1" in compared
    assert "no sweep is named" in session.home.ask("status", "cells-b1", code=2)
    assert list(session.home.states("cells").values()) == ["finished"]
