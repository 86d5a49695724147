"""What a trained network needs beside its weights to be applied to a new image, as data. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from trials.spec import ModelSpec, TrialSpec
from workers.datasets.intake import Intake
from workers.datasets.prepared import PreparedDataset
from workers.errors import DataError
from workers.scoring.inference import Weighting


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is applied; JSON by `to_json`.

    Attributes:
        intake: how an image is read and preprocessed.
        classes: names by index, the background first.
        model: the network.
        patch, overlap, weighting, batch: of the sliding window, as in the trial's own evaluation.
        precision, xla: as in its training.
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

    @classmethod
    def of(cls, spec: TrialSpec, intake: Intake) -> Self:
        """That of a trial."""
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


def intake_of(prepared: PreparedDataset) -> Intake | None:
    """How the images of prepared data are read; None where that is not known."""
    known: Mapping[str, Any] = prepared.intake
    return Intake.from_dict(known) if known else None
