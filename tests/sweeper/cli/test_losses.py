"""`sweeper losses`."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers import losses
from workers.losses.cost import extra_memory, graph_values
from workers.losses.curves import curves


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
        (("plot", "dize"), "unknown loss 'dize', did you mean 'dice'"),
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
    assert re.search(r"steep: cost    .* times those of ce, (within|above) the 4 that are wanted at most", done.stdout)
    assert re.search(r"steep: memory  \d+\.\d times the softmax output \(steep\)", done.stdout)


@pytest.mark.slow
def test_a_loss_is_drawn_over_p_and_over_overlap(sweeper: Any, tmp_path: Path) -> None:
    done = sweeper("losses", "plot", "dice+ce", "--out", str(tmp_path / "new"))
    assert done.status == 0, done.err
    assert {file.suffix for file in (tmp_path / "new").iterdir()} == {".svg", ".png"}


def test_curves_are_those_of_the_formula() -> None:
    found = curves("ce")
    assert found["value"] == pytest.approx([-math.log(p) for p in found["p"]])
    assert found["slope"] == pytest.approx([-1 / p for p in found["p"]])
    assert found["overlap_value"] == sorted(found["overlap_value"], reverse=True)
    assert found["overlap_value"][-1] == pytest.approx(-math.log(0.95))


def test_the_memory_of_cross_entropy_is_some_arrays() -> None:
    shape = (1, 32, 32, 2)
    memory = extra_memory(lambda tensors: losses.get_loss("ce", **tensors), graph_values("ce"), None, shape)
    assert 1 <= memory <= 8  # the gradient, and what the values are made of
