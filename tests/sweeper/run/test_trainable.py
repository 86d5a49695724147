"""What is imported before anything trains. How an actor trains: test_ray_tune.py."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("imported", "later"),
    [
        ("sweeper.run.trainable", ("mlflow", "optuna", "scipy", "sqlalchemy", "tensorflow")),
        ("sweeper.run.launch, sweeper.run.closing, sweeper.run.publishing", ("matplotlib", "scipy.stats")),
    ],
)
def test_what_training_does_not_need_is_imported_after_it_has_started(imported: str, later: tuple[str, ...]) -> None:
    program = f"import sys, {imported}; print([m for m in {later!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
