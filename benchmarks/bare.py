"""The bare steps of trials, measured in one warm process that does nothing else (`benchmarks.plain.steps`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import harness
from trials.spec import TrialSpec


@dataclass(frozen=True, slots=True)
class Bare:
    """What the steps of a trial took.

    Attributes:
        train: seconds of all training and validation steps.
        predict: seconds of the prediction of every validation and test image.
        memory: the largest resident memory of the process so far, in MiB.
    """

    train: float
    predict: float
    memory: float


def bare_steps(specs: Sequence[TrialSpec], prepared: Path, scratch: Path) -> list[Bare]:
    """Those of each trial, one after the other; they have one data set and one number of threads.

    Raises:
        RuntimeError: the process failed, or did not measure all of them.
    """
    file = scratch / "specs.jsonl"
    file.write_text("".join(json.dumps(spec.to_dict()) + "\n" for spec in specs))
    command = [sys.executable, "-m", "benchmarks.plain.steps", "--prepared", str(prepared)]
    printed = harness.output_of([*command, "--threads", str(specs[0].training.threads), str(file)], {})
    found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    if len(found) != len(specs):
        raise RuntimeError(f"{len(found)} of {len(specs)} trials were measured:\n{printed[-2000:]}")
    return [Bare(one["train"], one["predict"], one["memory"]) for one in found]
