"""Completion in the shell: bash asks the installed command what could follow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Each argument is a line as far as it is typed.
COMPLETE = """
eval "$(_SWEEPER_COMPLETE=source_bash sweeper)"
for line in "$@"; do
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _sweeper_completion sweeper
    echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_grids_and_sweeps(stored: Path) -> None:
    offered = {
        "sweeper lau": "launch",
        "sweeper launch --gr": "--grid",
        "sweeper launch --grid ": "adaptive demo gamma odyssey paper public small",
        "sweeper data sy": "synth",
        "sweeper status ": "demo",
    }
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *offered],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert dict(zip(offered, done.stdout.splitlines(), strict=True)) == offered


@pytest.mark.slow
def test_without_a_sweep_none_is_offered_and_nothing_is_made(home: Path) -> None:
    typed = {"_SWEEPER_COMPLETE": "complete_bash", "COMP_WORDS": "sweeper status ", "COMP_CWORD": "2"}
    command = str(Path(sys.executable).parent / "sweeper")
    done = subprocess.run([command], env={**os.environ, **typed}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == done.stderr == ""
    assert not home.exists()
