"""Each benchmark runs in its quickest setting. No number is judged here: timing never decides a test."""

import json
import math
import os
import subprocess
import sys

import pytest

from benchmarks import BENCHMARKS
from tests.dashboards.browser import CHROMIUM
from tests.system.sweeps import PLAIN_REPORT, python_path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [*BENCHMARKS, "ranking", "calibration", "history", "analysis", "checkpoint"])
def test_a_quick_run_writes_a_valid_result(name, tmp_path):
    if name == "board" and not CHROMIUM.exists():
        pytest.skip("no Chromium here: apt-get install chromium")
    command = [sys.executable, "-m", f"benchmarks.{name}", "--setting", "quick", "--results", str(tmp_path)]
    variables = {**os.environ, "PYTHONPATH": python_path(PLAIN_REPORT)}  # no figures are drawn
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=variables)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert result["benchmark"] == name
    assert result["machine"]["processor"]
    assert result["rows"]
    for row in result["rows"]:
        assert row["what"]
        assert math.isfinite(row["value"])
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["holds"] is None) == (row["goal"] is None)
