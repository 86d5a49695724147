"""The notebook of the docs: its stored outputs are whole. It is run in `tests/system/test_launch.py`."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def read_notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell shows, as text; a figure as the word that stands for it."""
    return [
        "".join(str(o.get("text") or o["data"]["text/plain"]) for o in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_the_stored_outputs_are_of_a_whole_run_and_name_no_machine() -> None:
    notebook = read_notebook()
    nbformat.validate(notebook)
    assert all(outputs(notebook))
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r"/(home|root|tmp|work)/", NOTEBOOK.read_text(encoding="utf-8"))
