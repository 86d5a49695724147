"""Folders as users of other programs described them, where their scripts are at hand.

`init` writes a grid for each that `data check` finds nothing wrong with.

Each script makes one folder or more. Those that are wrong on purpose are named here.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from sweeper.data.preparation import check_data
from sweeper.drafts.make import draft
from sweeper.grids.files import grid_of_text
from sweeper.settings import Settings
from trials.errors import ExpectedError

SHARED = Path(__file__).parents[4] / "shared" / "cases" / "data"
SCRIPTS = sorted(SHARED.glob("[0-9]*.py")) if SHARED.is_dir() else []
WRONG = {"08_headers": None, "22_sizes": {"u", "v"}}
"""Scripts whose folders are to be refused: all, or those of these names."""


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_folder_that_is_right_is_drafted_and_checked(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    monkeypatch.syspath_prepend(str(SHARED))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the scripts' folder is not ours
    monkeypatch.delitem(sys.modules, "_common", raising=False)
    runpy.run_path(str(script))
    monkeypatch.delitem(sys.modules, "_common", raising=False)
    wrong = WRONG.get(script.stem, set())
    said = {}
    for folder in sorted((tmp_path / "data").iterdir()):
        settings = Settings(home=tmp_path / "home", data=folder.parent)
        try:
            found = check_data(grid_of_text(draft(folder, settings).text), settings)
            said[folder.name] = "" if found.ok else found.text()
        except ExpectedError as error:
            said[folder.name] = str(error)
    assert said
    assert {name: text for name, text in said.items() if text and wrong is not None and name not in wrong} == {}
