"""From an image to its label map: preprocessing, network, and back to the image's own grid. Imports no TensorFlow.

All that a trial's own evaluation does is done by the same functions, so that an image of the study's test set gets the
very mask that was scored. In memory are one image, its probabilities, and one batch of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trials.results import Score
from trials.spec import EvaluationSpec
from workers.datasets.folder import PreparedCase
from workers.datasets.intake import Part, Raw, parts_of, put, settings_without_mask
from workers.datasets.preprocessing import (
    Affine,
    ConstantImageError,
    Label,
    MaskResampling,
    canonical_order,
    from_canonical,
    preprocess,
    resample,
    to_canonical,
)
from workers.datasets.regions import Members
from workers.errors import DataError
from workers.inference.recipe import Recipe
from workers.scoring.cases import score_prediction
from workers.scoring.inference import Apply, most_probable, predict_case
from workers.scoring.native import steps_of, to_original

Networks = Callable[[tuple[int, ...]], Sequence[Apply]]
"""From the spatial shape of a window, or of a whole image, to the networks for it."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What networks found in an image.

    Attributes:
        labels: class indices on the image's own grid, uint8.
        probabilities: float32 (*spatial, classes) there, where they were asked for. They are interpolated linearly, and
            `labels` are the nearest voxel's, as in the scores; so at an edge another class may be the most probable.
        affine: of the image.
        scores: where the truth is known.
        notes: what a person should know.
    """

    labels: Label
    probabilities: Probabilities | None
    affine: Affine | None
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """By what a prediction is scored.

    Attributes:
        evaluation: the trial's.
        metrics: further metrics.
        ignores, members, mask_resampling: of the trial's data set.
    """

    evaluation: EvaluationSpec
    metrics: tuple[str, ...] = ()
    ignores: bool = False
    members: Members = ()
    mask_resampling: MaskResampling = "nearest"


def predict_raw(
    networks: Networks,
    raw: Raw,
    recipe: Recipe,
    name: str,
    *,
    probabilities: bool = False,
    truth: Truth | None = None,
) -> Predicted:
    """Applies networks to an image; of several the mean of their softmax counts.

    Args:
        networks: the networks.
        raw: the image, with its mask where it is scored.
        recipe: how they are applied.
        name: of the image, for messages and scores.
        probabilities: whether they are wanted, too.
        truth: how the mask is scored; None for no scores.

    Raises:
        DataError: the image has too few pixels for the network, one value alone, or a value that is no number.
    """
    labels = np.zeros(raw.shape, np.uint8)
    whole = np.zeros((*raw.shape, len(recipe.classes)), np.float32) if probabilities else None
    scores: list[Score] = []
    notes = list(raw.notes)
    for part in parts_of(recipe.intake, raw):
        case = f"{name}-{part.suffix}" if part.suffix else name
        try:
            found, softmax, own = _predict_part(networks, part, recipe, case, probabilities, truth)
        except ConstantImageError:
            if part.window is None:
                raise
            # Nothing is to be seen in it, and the data set has no such case: it is background.
            found, own = np.zeros(part.raw.shape, np.uint8), []
            softmax = None
            if whole is not None:
                softmax = np.zeros((*part.raw.shape, len(recipe.classes)), np.float32)
                softmax[..., 0] = 1
        scores += own
        if part.window is None or raw.affine is None:
            labels, whole = found, softmax
            continue
        put(to_canonical(labels, raw.affine), part.window, recipe.intake.plane, found)
        if whole is not None and softmax is not None:
            put(to_canonical(whole, raw.affine), part.window, recipe.intake.plane, softmax)
    return Predicted(labels, whole, raw.affine, tuple(scores), tuple(notes))


def _predict_part(
    networks: Networks, part: Part, recipe: Recipe, case: str, probabilities: bool, truth: Truth | None
) -> tuple[Label, Probabilities | None, list[Score]]:
    """Labels and probabilities of a part on its own grid, and its scores."""
    raw, given = part.raw, part.raw.label
    original = raw.shape
    settings = recipe.intake.preprocessing if given is not None else settings_without_mask(recipe.intake)
    blank = np.zeros(original, np.uint8) if given is None else given
    # Preprocessing may overwrite the image, and the mask is needed as it was.
    ready = preprocess(raw.image, blank, raw.spacing, raw.affine, settings, where=case, part=part.window is not None)
    known = prepared_case(case, ready.label.shape, original, ready.spacing, raw.affine)
    softmax: Probabilities | None = None
    window = recipe.window(known.shape)
    applied = networks(known.shape if window is None else window.patch)
    for apply in applied:
        one = predict_case(
            apply,
            ready.image,
            patch=None if window is None else window.patch,
            overlap=None if window is None else window.overlap,
            classes=len(recipe.classes),
            weighting="uniform" if window is None else window.weighting,
            batch=1 if window is None else window.batch,
        )
        softmax = one if softmax is None else softmax + one
    if softmax is None:
        raise DataError("no network was given")
    if len(applied) > 1:
        softmax /= np.float32(len(applied))
    labels = most_probable(softmax)
    scores: list[Score] = []
    if truth is not None and given is not None:
        scored = _Scored(known, ready.label, given, raw.field, recipe.classes, truth)
        scores = score_prediction(
            scored, case, labels, truth.evaluation, "test", chosen=truth.metrics, probabilities=softmax
        )
    return to_original(labels, known), to_original_softmax(softmax, known) if probabilities else None, scores


def prepared_case(
    name: str, shape: tuple[int, ...], original: tuple[int, ...], spacing: tuple[float, ...], affine: Affine | None
) -> PreparedCase:
    """An image that is in no data set, in the form in which the cases of one are described."""
    return PreparedCase(
        id=name,
        index=0,
        group=None,
        partition=None,
        files=(),
        part="",
        shape=shape,
        original_shape=original,
        spacing=spacing,
        affine=None if affine is None else tuple(tuple(float(v) for v in row) for row in affine),
        voxels=(),
        bytes=(),
    )


def to_original_softmax(softmax: Probabilities, case: PreparedCase) -> Probabilities:
    """Probabilities on the prepared grid brought to the image's own, by linear interpolation."""
    affine = None if case.affine is None else np.asarray(case.affine, np.float64)
    shape = case.original_shape if affine is None else canonical_order(case.original_shape, affine)
    steps = tuple(1 / step for step in steps_of(case))
    result = np.empty((*shape, softmax.shape[-1]), np.float32)
    for index in range(softmax.shape[-1]):
        result[..., index] = resample(np.ascontiguousarray(softmax[..., index]), shape, steps, 1)
    return result if affine is None else np.ascontiguousarray(from_canonical(result, affine))


@dataclass(frozen=True, slots=True)
class _Scored:
    """One image with its truth, in the form in which a data set's are scored (`workers.scoring.cases.Truths`)."""

    known: PreparedCase
    prepared_label: Label
    given: Label
    camera: Label | None
    classes: tuple[str, ...]
    truth: Truth

    @property
    def ignores(self) -> bool:
        return self.truth.ignores

    @property
    def members(self) -> Members:
        return self.truth.members

    @property
    def mask_resampling(self) -> MaskResampling:
        return self.truth.mask_resampling

    def case(self, case: str) -> PreparedCase:
        return self.known

    def label(self, case: str) -> Label:
        return self.prepared_label

    def native_label(self, case: str) -> Label:
        return self.given

    def field(self, case: str) -> Label:
        if self.camera is None:
            raise DataError(f"{case}: the study scores within the field of view; give its masks with --fields DIR")
        return self.camera


def means(scores: Iterable[Score], metric: str) -> Iterator[tuple[str, float]]:
    """Each class with its mean of a metric over those images where it is defined."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if (value := score[metric]) is not None:
            values.setdefault(score.label, []).append(value)
    for label, own in values.items():
        yield label, sum(own) / len(own)
