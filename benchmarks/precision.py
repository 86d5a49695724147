"""What mixed precision and XLA do to the result: test DSC on real images, seed by seed, against float32 without XLA.

    python -m benchmarks.precision

The nuclei that come with the package at 64×64, a 2D U-Net of 8 filters and depth 3, ten epochs of the asymmetric
unified loss, three seeds; the difference between seeds stands beside, since it is the measure of what matters. Not part
of `make bench`: it is a note on results rather than on speed, and float16 has no fast path on a CPU.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from trials.results import TrialResult
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses
from workers.datasets import get_reader
from workers.datasets.prepared import prepare
from workers.datasets.splits import make_split

VARIANTS = {
    "float32": {},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "mixed_float16": {"precision": "mixed_float16"},
    "XLA": {"xla": True},
}
LOSS = "unified_focal_asym"


def measure(setting: Setting) -> Measured:
    from trials.messages import Order
    from workers.training.learner import Learners, configure_device
    from workers.training.trial import Listener, run_trial

    epochs = 1 if setting == Setting.QUICK else 10
    seeds = {Setting.QUICK: (0,), Setting.NORMAL: (0, 1, 2), Setting.LONG: tuple(range(10))}[setting]
    configure_device(1)
    reader = get_reader("nuclei", {"size": [64, 64]})
    source = reader.default_source()
    if source is None:
        raise RuntimeError("the nuclei images are missing from the package")
    listener = Listener(lambda epoch, remarks: None, lambda record: Order.CONTINUE)
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = prepare(reader, source, root, processes=1)
        split = make_split(data.cases, seed=0)
        data.write_split(split)
        for name, changes in VARIANTS.items():
            learners = Learners()
            training = replace(TrainingSpec(epochs=epochs), **changes)  # type: ignore[arg-type]
            for seed in seeds:
                spec = TrialSpec(
                    DataSpec("nuclei", data.classes, 2, data.key, split.hash),
                    LossSpec(LOSS, losses.resolve_parameters(LOSS)),
                    ModelSpec(base_filters=8, depth=3),
                    training,
                    seed=seed,
                )
                trained = run_trial(
                    spec, prepared_root=root, folder=root / spec.hash, learners=learners, listener=listener
                )
                scores.setdefault(name, []).append(test_dsc(trained))
    plain = scores["float32"]
    rows = [spread(plain)]
    rows += [difference(name, values, plain) for name, values in scores.items() if name != "float32"]
    return Measured(rows, {"test_dsc": scores, "seeds": seeds})


def test_dsc(result: TrialResult) -> float:
    """Mean over the test images."""
    return statistics.mean(dsc for s in result.scores if s.partition == "test" and (dsc := s["dsc"]) is not None)


def spread(plain: list[float]) -> Row:
    distance = max(plain) - min(plain)
    detail = f"DSC {', '.join(f'{value:.3f}' for value in plain)}"
    return Row("difference between seeds in float32, test DSC", "", distance, distance, distance, "DSC", detail=detail)


def difference(name: str, values: list[float], plain: list[float]) -> Row:
    each = [a - b for a, b in zip(values, plain, strict=True)]
    detail = f"DSC {', '.join(f'{value:.3f}' for value in values)}"
    what = f"`{name}`: difference of the test DSC, seed by seed"
    return Row(what, "float32 without XLA", statistics.mean(each), min(each), max(each), "DSC", detail=detail)


if __name__ == "__main__":
    sys.exit(harness.main("precision", __doc__, measure))
