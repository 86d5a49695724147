"""Resident memory of one warm training process over 200 trials, and of one that trains the paper's 2D network.

    python -m benchmarks.memory

Trials of one epoch on the project's nuclei images at 32×32, through the process that a sweep uses
(`workers.process.warm`), with its checkpoints, scores, spool and saved model: the paper's losses in turn with ever new
γ, α and seeds. `one shape` keeps one network, as a sweep over losses does. `two shapes` has another network every fifth
trial, as a sweep over data sets does at worst. The memory is read after each trial; the goal compares the last with the
tenth.

The paper's network, of 31 million parameters, trains an epoch of a few synthetic images of 288×384 in colour. Its
largest resident memory is compared with that of a process that makes the same steps and nothing else
(`benchmarks.plain.steps`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks import harness
from benchmarks.bare import bare_steps
from benchmarks.harness import Measured, Row, Setting
from trials.messages import End, Finished, Needs, TrainRequest
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses
from workers.datasets import get_reader, synthesise
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.splits import make_split
from workers.process.warm import WarmProcess

SETTLED = 10
TRIALS = 200
LOSSES = ("ce", "focal", "dice", "tversky", "focal_tversky", "combo", "unified_focal_sym", "unified_focal_asym")
SHAPES = {"one shape": (4,), "two shapes": (4, 6)}
"""Filters of the first level, of the networks that take turns."""


def measure(setting: Setting) -> Measured:
    trials = {Setting.QUICK: 3, Setting.NORMAL: TRIALS, Setting.LONG: 2 * TRIALS}[setting]
    settled = 2 if setting == Setting.QUICK else SETTLED
    raw, rows = {}, []
    for name, filters in SHAPES.items():
        if setting == Setting.QUICK and name != "one shape":
            continue
        if setting != Setting.LONG and name == "two shapes":
            trials = min(trials, 40)
        with tempfile.TemporaryDirectory() as folder:
            raw[name] = resident(Path(folder), filters, trials)
        rows.append(growth(f"resident memory after {trials} warm trials, {name}", raw[name], settled))
    if setting is not Setting.QUICK:
        with tempfile.TemporaryDirectory() as folder:
            ours, bare = paper_network(Path(folder))
        raw["paper's network"] = [ours, bare]
        rows.append(over_the_steps(ours, bare))
    return Measured(rows, {"mib": raw})


def growth(what: str, resident: Sequence[float], settled: int = SETTLED) -> Row:
    before, last = resident[settled - 1], resident[-1]
    each = [after / before for after in resident[settled:]]
    detail = f"{before:.0f} and {last:.0f} MiB"
    against = "after the tenth" if settled == SETTLED else f"after trial {settled}"
    return Row(what, against, last / before, min(each), max(each), goal=("≤", 1.1), detail=detail)


def over_the_steps(ours: float, bare: float) -> Row:
    what, against = "largest resident memory, the paper's 2D network", "the same steps and nothing else"
    detail = f"{ours:.0f} and {bare:.0f} MiB"
    return harness.ratio(what, against, [ours / bare], goal=("≤", 1.15), detail=detail)


def paper_network(folder: Path) -> tuple[float, float]:
    """MiB of a training process, and of the bare steps."""
    reader = get_reader("cvc_clinicdb")
    data = prepare(reader, synthesise(reader.name, 8, folder / "images", 0), folder, processes=1)
    split = make_split(data.cases, seed=0)
    data.write_split(split)
    spec = TrialSpec(
        data=DataSpec(reader.name, data.classes, 2, data.key, split.hash),
        loss=LossSpec("ce", losses.resolve_parameters("ce", {})),
        training=TrainingSpec(epochs=1),
    )
    process = WarmProcess(Needs(spec.training.threads))
    try:
        ours = train(process, spec, folder).result.peak_memory_mib
    finally:
        process.close()
    (bare,) = bare_steps([spec], folder, folder)
    return ours, bare.memory


def resident(folder: Path, filters: Sequence[int], trials: int) -> list[float]:
    """MiB after each trial of one process."""
    data, split = nuclei(folder)
    process = WarmProcess(Needs(threads=1))
    values = []
    try:
        for number in range(trials):
            spec = trial(data, split, number, filters[number // 5 % len(filters)])
            train(process, spec, folder)
            values.append(psutil.Process(process.pid).memory_info().rss / 2**20)
    finally:
        process.close()
    return values


def nuclei(folder: Path) -> tuple[PreparedDataset, str]:
    """Twelve images train, three validate, four test."""
    reader = get_reader("nuclei", {"size": [32, 32]})
    source = reader.default_source()
    if source is None:
        raise RuntimeError("the nuclei images are missing from the package")
    cases = [case.id for case in reader.find_cases(source)]
    data = prepare(reader, source, folder, exclude=cases[19:], processes=1)
    split = make_split(data.cases, seed=0)
    data.write_split(split)
    return data, split.hash


def trial(data: PreparedDataset, split: str, number: int, filters: int) -> TrialSpec:
    name = LOSSES[number % len(LOSSES)]
    share = (number + 1) / 1000  # every trial has parameters of its own
    own = {"gamma": 0.1 + share} if name.startswith("unified") else {"alpha": 0.2 + share}
    known = losses.graph_parameters(name)
    return TrialSpec(
        data=DataSpec("nuclei", data.classes, 2, data.key, split),
        loss=LossSpec(name, losses.resolve_parameters(name, {k: v for k, v in own.items() if k in known})),
        model=ModelSpec(base_filters=filters, depth=2),
        training=replace(TrainingSpec(), epochs=1),
        seed=number,
    )


def train(process: WarmProcess, spec: TrialSpec, folder: Path) -> Finished:
    """One trial from its request to its last message; its folder is removed, as what is old is in a sweep."""
    place = folder / spec.hash
    request = TrainRequest(spec, spec.hash, folder, place, sweep="benchmark", provenance="real", revision="benchmark")
    process.train(request, place / "log.txt")
    while not isinstance(message := process.receive(), End):
        pass
    if not isinstance(message, Finished):
        raise RuntimeError(f"the trial {spec.hash} did not finish: {message}")
    shutil.rmtree(place)
    return message


if __name__ == "__main__":
    sys.exit(harness.main("memory", __doc__, measure))
