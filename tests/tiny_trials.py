"""Tiny trials on the project's own nuclei images, for tests that really train. Not a test module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers.datasets import get_reader
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.splits import make_split
from workers.losses import resolve_parameters


@dataclass(frozen=True)
class TinyData:
    """Nuclei at 32 × 32 pixels, split."""

    root: Path
    whole: PreparedDataset
    split: str

    def spec(self, loss: str = "unified_focal_asym", *, seed: int = 0, **changes: object) -> TrialSpec:
        """A trial of seconds that learns. Changes are fields of `TrainingSpec`, or loss parameters."""
        fields = set(TrainingSpec.__dataclass_fields__)
        parameters = resolve_parameters(loss, {k: v for k, v in changes.items() if k not in fields})
        training = replace(
            TrainingSpec(epochs=3, augmentation_probability=0.15),
            **{k: v for k, v in changes.items() if k in fields},  # type: ignore[arg-type]
        )
        return TrialSpec(
            data=DataSpec("nuclei", self.whole.classes, 2, self.whole.key, self.split),
            loss=LossSpec(loss, parameters),
            model=ModelSpec(base_filters=4, depth=1),
            training=training,
            seed=seed,
        )


def tiny_data(root: Path) -> TinyData:
    """Prepares the tiny data set under `root`: 12 cases train, 3 validate, 4 test; the rest is left out."""
    reader = get_reader("nuclei", {"size": [32, 32]})
    source = reader.default_source()
    assert source is not None
    cases = [case.id for case in reader.find_cases(source)]
    whole = prepare(reader, source, root, exclude=cases[19:], processes=1)
    split = make_split(whole.cases, seed=0)
    whole.write_split(split)
    return TinyData(root, whole, split.hash)
