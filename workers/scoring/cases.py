"""Scores of one case as the evaluation's settings ask for: on which grid, and within which pixels.

The main scores are on the prepared grid and the whole image. `evaluation.native` scores on the source's own grid,
`evaluation.field_of_view` only what the camera saw. Imports no TensorFlow, so that masks made elsewhere are scored by
the same code.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from nibabel.affines import voxel_sizes

from trials.results import Score
from trials.spec import EvaluationSpec
from workers.datasets.prepared import PreparedCase, PreparedDataset
from workers.datasets.preprocessing import Label
from workers.scoring.masks import score_case
from workers.scoring.native import to_original, to_prepared

Partition = Literal["validation", "test"]


def score_prediction(
    prepared: PreparedDataset, case: str, prediction: Label, evaluation: EvaluationSpec, partition: Partition
) -> list[Score]:
    """Scores of a prediction on the prepared grid, uint8 of the case's `shape`.

    Raises:
        DataError: no field of view where one is asked for, or the prepared data are damaged.
        InputError: a value that is no class, or another shape.
    """
    mask = to_original(prediction, prepared.case(case)) if evaluation.native else prediction
    return _score(prepared, case, mask, evaluation, partition)


def score_original(
    prepared: PreparedDataset, case: str, mask: Label, evaluation: EvaluationSpec, partition: Partition
) -> list[Score]:
    """Scores of a mask on the source's own grid, uint8 of the case's `original_shape`; raises as `score_prediction`."""
    if not evaluation.native:
        mask = to_prepared(mask, prepared.case(case))
    return _score(prepared, case, mask, evaluation, partition)


def _score(
    prepared: PreparedDataset, case: str, mask: Label, evaluation: EvaluationSpec, partition: Partition
) -> list[Score]:
    """Scores of a mask on the grid that the evaluation asks for."""
    known = prepared.case(case)
    truth: Label = prepared.native_label(case) if evaluation.native else prepared.label(case)
    if evaluation.field_of_view:
        field = prepared.field(case)
        inside = field if evaluation.native else to_prepared(field, known)
        # Background in both maps counts as nothing in any of the scores.
        truth, mask = truth * inside, mask * inside
    return score_case(
        truth,
        mask,
        prepared.classes,
        spacing=_native_spacing(known) if evaluation.native else known.spacing,
        surface_distances=evaluation.surface_distances,
        partition=partition,
        case=case,
        group=known.group or "",
    )


def _native_spacing(case: PreparedCase) -> tuple[float, ...]:
    """Voxel size along the source's axes, mm (1 for images)."""
    if case.affine is None:
        return (1.0,) * len(case.original_shape)
    return tuple(float(size) for size in voxel_sizes(np.asarray(case.affine)))
