"""Scores of one case as the evaluation's settings ask for: on which grid, and within which pixels.

The main scores are on the prepared grid and the whole image. `evaluation.native` scores on the source's own grid,
`evaluation.field_of_view` only what the camera saw. Imports no TensorFlow, so that masks made elsewhere are scored by
the same code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from trials.results import Score
from trials.spec import EvaluationSpec
from workers.datasets.prepared import PreparedCase
from workers.datasets.preprocessing import IGNORED, Label, MaskResampling
from workers.datasets.regions import Members
from workers.scoring.masks import Softmax, score_case
from workers.scoring.native import to_original, to_prepared

Partition = Literal["validation", "test"]


class Truths(Protocol):
    """What is needed of a data set to score its cases; `workers.datasets.prepared.PreparedDataset` has it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by index."""

    @property
    def ignores(self) -> bool:
        """Whether labels may hold `IGNORED`."""

    @property
    def members(self) -> Members:
        """The classes of each nested region."""

    @property
    def mask_resampling(self) -> MaskResampling:
        """How masks are brought to the prepared grid."""

    def case(self, case: str) -> PreparedCase:
        """Its grids."""

    def label(self, case: str) -> Label:
        """The truth on the prepared grid."""

    def native_label(self, case: str) -> Label:
        """The truth on the source's own grid."""

    def field(self, case: str) -> Label:
        """The field of view on the source's own grid."""


def score_prediction(
    prepared: Truths,
    case: str,
    prediction: Label,
    evaluation: EvaluationSpec,
    partition: Partition,
    *,
    chosen: Iterable[str] = (),
    probabilities: npt.NDArray[np.float32] | None = None,
) -> list[Score]:
    """Scores of a prediction on the prepared grid, uint8 of the case's `shape`.

    Args:
        prepared: the data set.
        case: its id.
        prediction: class indices.
        evaluation: the grid, and which pixels count.
        partition: which part of the data the case belongs to.
        chosen: further metrics, by the names under which they are stored.
        probabilities: the softmax (*shape, classes); without it metrics of calibration are left out.

    Raises:
        DataError: no field of view where one is asked for, or the prepared data are damaged.
        InputError: a value that is no class, or another shape.
    """
    mask = to_original(prediction, prepared.case(case)) if evaluation.native else prediction
    softmax = None if probabilities is None else _softmax(prepared, case, probabilities, evaluation)
    return _score(prepared, case, mask, evaluation, partition, chosen, softmax)


def score_original(
    prepared: Truths,
    case: str,
    mask: Label,
    evaluation: EvaluationSpec,
    partition: Partition,
    *,
    chosen: Iterable[str] = (),
) -> list[Score]:
    """Scores of a mask on the source's own grid, uint8 of the case's `original_shape`; raises as `score_prediction`."""
    if not evaluation.native:
        mask = to_prepared(mask, prepared.case(case), prepared.mask_resampling)
    return _score(prepared, case, mask, evaluation, partition, chosen, None)


def _softmax(
    prepared: Truths, case: str, probabilities: npt.NDArray[np.float32], evaluation: EvaluationSpec
) -> Softmax:
    """The softmax with the truth of the prepared grid, whichever grid the masks are scored on."""
    inside = None
    if evaluation.field_of_view:
        inside = np.asarray(to_prepared(prepared.field(case), prepared.case(case)) > 0)
    truth = prepared.label(case)
    if prepared.ignores:
        counted = np.asarray(truth != IGNORED)
        inside = counted if inside is None else inside & counted
    return Softmax(truth, probabilities, inside, prepared.members)


def _score(
    prepared: Truths,
    case: str,
    mask: Label,
    evaluation: EvaluationSpec,
    partition: Partition,
    chosen: Iterable[str],
    softmax: Softmax | None,
) -> list[Score]:
    """Scores of a mask on the grid that the evaluation asks for."""
    known = prepared.case(case)
    truth: Label = prepared.native_label(case) if evaluation.native else prepared.label(case)
    if evaluation.field_of_view:
        field = prepared.field(case)
        inside = field if evaluation.native else to_prepared(field, known)
        # Background in both maps counts as nothing in any of the scores.
        truth, mask = truth * inside, mask * inside
    if prepared.ignores:
        counted = truth != IGNORED
        truth, mask = truth * counted, mask * counted
    return score_case(
        truth,
        mask,
        prepared.classes,
        spacing=_native_spacing(known) if evaluation.native else known.spacing,
        surface_distances=evaluation.surface_distances,
        partition=partition,
        case=case,
        group=known.group or "",
        chosen=chosen,
        softmax=softmax,
        members=prepared.members,
    )


def _native_spacing(case: PreparedCase) -> tuple[float, ...]:
    """Voxel size along the source's axes, mm (1 for images)."""
    if case.affine is None:
        return (1.0,) * len(case.original_shape)
    return tuple(float(size) for size in voxel_sizes(np.asarray(case.affine)))
