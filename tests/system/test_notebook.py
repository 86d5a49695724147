"""The notebook of the docs: its stored outputs are whole, and it runs on a sweep that was really trained."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.system.sweeps import Home

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "notebook.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell shows, as text; a figure as the word that stands for it."""
    return [
        "".join(str(o.get("text") or o["data"]["text/plain"]) for o in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_the_stored_outputs_are_of_a_whole_run_and_name_no_machine() -> None:
    notebook = read()
    nbformat.validate(notebook)
    assert all(outputs(notebook))
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r"/(home|root|tmp|work)/", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_notebook_runs_on_a_tiny_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.run("launch", "--grid", home.grid(), "--name", "demo")
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    notebook = read()
    stored = outputs(notebook)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = outputs(notebook)
    assert all(shown)
    assert "unified_focal_asym" in shown[0]
    assert shown[0] != stored[0], "the outputs are the stored ones: nothing was run"
    trials = home.json("status", "demo")["trials"]
    assert all(f"{trial['test_dsc']:.6f}" in shown[0] for trial in trials)
