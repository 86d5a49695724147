"""`sweeper losses`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers import losses


def test_the_list_has_every_loss_and_show_its_parameters(sweeper: Any) -> None:
    listed = sweeper("losses", "list")
    assert [line.split()[0] for line in listed.out.splitlines() if line[0] != " "] == list(losses.names())
    shown = sweeper("losses", "show", "tversky").out
    for words in ("Salehi et al. 2017", "α fp + β fn", "0 ≤ alpha", "trap"):
        assert words in shown
    assert "boundary.alpha" in sweeper("losses", "show", "dice+boundary").out


def test_what_is_wrong_is_one_line(sweeper: Any, tmp_path: Path) -> None:
    for words, message in (
        (("show", "dize"), "unknown loss 'dize', did you mean 'dice'"),
        (("check", str(tmp_path / "none.py")), "is no file"),
    ):
        done = sweeper("losses", *words)
        assert done.status == 2
        assert message in done.err
        assert len(done.err.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_file_s_losses_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "steep.py"
    file.write_text(
        "import tensorflow as tf\nfrom workers.losses import LossDefinition, register\n"
        "register(LossDefinition('steep', lambda g, p: -tf.reduce_mean(g * tf.math.log(p)), (), 'distribution'))\n"
    )
    command = [sys.executable, "-m", "workers.plugins.checking", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "steep: holds   returns a scalar" in done.stdout
    assert "steep: fails   finite at extremes" in done.stdout
