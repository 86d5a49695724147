"""docs/grids.md, followed from its first line to its last on images of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.system.sweeps import ONE_AT_ONCE
from workers.datasets import get_reader

PAGE = (Path(__file__).parents[3] / "docs" / "grids.md").read_text(encoding="utf-8")
TOML = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^\$ sweeper (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(home: Path) -> Path:
    """A folder with `data/cells` as on the page (ten of the project's nuclei) and the page's grids."""
    here = Path.cwd()
    reader = get_reader("nuclei")
    source = reader.default_source()
    assert source is not None
    for number, case in enumerate(reader.find_cases(source)[:10], start=1):
        for kind, path in (("images", case.images[0]), ("masks", case.label)):
            target = here / "data" / "cells" / kind / f"a{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(target)
    first, settings, more = TOML
    (here / "cells.toml").write_text(first + settings, encoding="utf-8")
    (here / "more.toml").write_text(more, encoding="utf-8")
    return here


@pytest.mark.slow
def test_each_look_before_the_launch_works_and_writes_nothing(sweeper: Any, folder: Path, home: Path) -> None:
    for words in COMMANDS:
        if words.startswith(("plan", "data check")):
            answer = sweeper(*words.split())
            assert (answer.status, answer.err) == (0, "")
            assert answer.out
    assert not home.exists()


def test_the_plan_is_what_the_page_says(sweeper: Any, folder: Path, home: Path) -> None:
    plan = json.loads(sweeper("plan", "--grid", "cells.toml", "--data", "data", "--json").out)
    assert [(t["loss"], t["gamma"]) for t in plan["trials"]] == [
        ("dice", None),
        ("unified_focal_asym", 0.2),
        ("unified_focal_asym", 0.5),
        ("unified_focal_asym", 0.8),
    ]
    assert plan["missing_data"] == []
    assert "cases: 10" in sweeper("data", "check", "cells", "--grid", "cells.toml", "--data", "data").out


def test_the_second_grid_shares_the_first_one_s_trials(sweeper: Any, folder: Path, home: Path) -> None:
    first = json.loads(sweeper("plan", "--grid", "cells.toml", "--data", "data", "--json").out)["trials"]
    hashes = {t["hash"] for t in first}
    second = json.loads(sweeper("plan", "--grid", "more.toml", "--data", "data", "--json").out)
    assert second["grid"] == "cells-more"
    assert len(second["trials"]) == 2 * 4
    assert [t["loss"] for t in second["trials"] if t["hash"] in hashes] == ["dice"]


@pytest.mark.slow
def test_the_launch_trains_all_and_a_second_one_nothing(sweeper: Any, folder: Path, home: Path) -> None:
    with (folder / "cells.toml").open("a", encoding="utf-8") as grid:
        grid.write(ONE_AT_ONCE)
    launch = next(words for words in COMMANDS if words.startswith("launch"))
    assert sweeper(*launch.split()).status == 0
    status = json.loads(sweeper("status", "cells", "--json").out)
    assert [t["state"] for t in status["trials"]] == ["finished"] * 4
    assert all(t["epochs"] == 1 for t in status["trials"])
    assert "nothing to train" in sweeper(*launch.split()).out
    again = json.loads(sweeper("status", "cells", "--json").out)
    assert [t["attempts"] for t in again["trials"]] == [1] * 4
    assert (home / "reports" / "cells" / "report.html").stat().st_size > 10_000
