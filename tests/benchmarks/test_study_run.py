"""The study runs, exports and writes its page by one command: two sets, two losses, two runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.study import open_study
from tests.system.sweeps import PLAIN_REPORT, python_path
from workers.datasets.synthetic import synthesise

ROOT = Path(__file__).parents[2]
KEPT = [(dataset, loss) for dataset in ("nuclei", "isic2017") for loss in ("ce", "dice")]
RULES = ", ".join(f'{{dataset="{dataset}", loss="{loss}"}}' for dataset, loss in KEPT)
CHANGES = [
    f"include=[{RULES}]",
    "datasets.nuclei.training.epochs=1",
    "datasets.isic2017.training.epochs=1",
]


@pytest.mark.slow
def test_a_small_study_runs_and_writes_its_page(tmp_path: Path) -> None:
    synthesise("isic2017", 45, tmp_path / "data" / "isic2017", 0, size=(96, 96))
    variables = {"SWEEPER_HOME": str(tmp_path / "home"), "PYTHONPATH": python_path(PLAIN_REPORT, ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.study.run", "--data", "data", "--to", "out", "--setting", "quick",
         *(word for change in CHANGES for word in ("--set", change))],
        cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert "**8 of 1600 trials have finished.**" in page
    assert "whole runs of each set, nuclei 2, isic2017 2" in page
    study = open_study("public", f"sqlite:///{tmp_path / 'home' / 'sweeper.db'}")
    assert sorted(zip(study.trials["dataset"], study.trials["loss"], strict=True)) == sorted(2 * KEPT)
    assert study.answers.caution.startswith("Synthetic images: isic2017.")
    assert study.answers.caution in done.stdout, "a conclusion says of which images it is"
