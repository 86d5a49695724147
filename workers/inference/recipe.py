"""What a trained network needs beside its weights to be applied to a new image, as data. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from trials.spec import ModelSpec, TrialSpec
from workers.datasets.intake import Intake
from workers.datasets.prepared import PreparedDataset
from workers.errors import DataError
from workers.scoring.inference import Weighting


@dataclass(frozen=True, slots=True)
class Window:
    """The windows that cover an image: see `workers.scoring.inference.predict_case`."""

    patch: tuple[int, ...]
    overlap: tuple[int, ...] | None
    weighting: Weighting
    batch: int


WHOLE = 2**21
"""A larger image, in pixels or voxels, is covered by windows also where the training took images whole: what a network
keeps in memory grows with its input."""

WINDOWS = {2: 1024, 3: 128}
"""The side of such a window."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is applied; JSON by `to_json`.

    Attributes:
        intake: how an image is read and preprocessed.
        classes: names by index, the background first.
        model: the network.
        patch, overlap, weighting, batch: of the sliding window, as in the trial's own evaluation.
        precision, xla: as in its training.
        whole: so many pixels or voxels are taken whole at most, see `window`.
    """

    intake: Intake
    classes: tuple[str, ...]
    model: ModelSpec
    patch: tuple[int, ...] | None = None
    overlap: tuple[int, ...] | None = None
    weighting: Weighting = "uniform"
    batch: int = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    whole: int = WHOLE

    def window(self, shape: tuple[int, ...]) -> Window | None:
        """By which windows an image of this shape is covered; None where it is taken whole."""
        if self.patch is not None:
            return Window(self.patch, self.overlap, self.weighting, self.batch)
        if math.prod(shape) <= self.whole:
            return None
        sides = tuple(min(side, WINDOWS[len(shape)]) for side in shape)
        return Window(sides, tuple(side // 4 for side in sides), "gaussian", 1)

    @classmethod
    def of(cls, spec: TrialSpec, intake: Intake, largest: int = 0) -> Self:
        """That of a trial; `largest`: pixels or voxels of the largest image of its data, which are taken whole."""
        training, evaluation = spec.training, spec.evaluation
        return cls(
            intake=intake,
            classes=spec.data.classes,
            model=spec.model,
            patch=training.patch,
            overlap=evaluation.overlap,
            weighting=evaluation.weighting,
            batch=training.batch_size,
            precision=training.precision,
            xla=training.xla,
            whole=max(WHOLE, largest),
        )

    def to_json(self) -> str:
        """The form in which it travels with a model."""
        return json.dumps({**dataclasses.asdict(self), "intake": self.intake.to_dict()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            DataError: damaged, or of a newer version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            intake, model = Intake.from_dict(values.pop("intake")), ModelSpec(**values.pop("model"))
            tuples = {k: None if values[k] is None else tuple(values[k]) for k in ("classes", "patch", "overlap")}
            return cls(intake=intake, model=model, **(values | tuples))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the recipe of the network is damaged, or of another version ({error})") from error


def largest_of(prepared: PreparedDataset) -> int:
    """Pixels or voxels of the largest image of prepared data."""
    return max((math.prod(case.shape) for case in prepared.cases), default=0)


def intake_of(prepared: PreparedDataset) -> Intake | None:
    """How the images of prepared data are read; None where that is not known."""
    known: Mapping[str, Any] = prepared.intake
    return Intake.from_dict(known) if known else None
