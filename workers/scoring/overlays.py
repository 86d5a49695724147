"""Pictures of a few segmentations: what was found, what was missed, what was invented.

The outline is the truth. The area is the prediction, coloured by whether it is right: a class's own hits stay
uncoloured so that the image remains visible, false positives are orange and false negatives blue (Okabe and Ito's
palette, told apart by colour-blind readers). Pure functions from arrays to pixels; nothing of the file's name or of a
patient is written into them unless the caller passes a caption.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from workers.datasets.preprocessing import IGNORED
from workers.errors import DataError

FALSE_POSITIVE = (230, 159, 0)
FALSE_NEGATIVE = (0, 114, 178)
TRUTH_OUTLINE = (255, 255, 255)
OUTLINE_OUTSIDE = (0, 0, 0)
_OPACITY = 0.7
_INSIDE = 0.35
_GAP = 6
_LINE = 18
_BACKGROUND = (255, 255, 255)
_INK = (0, 0, 0)

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """One case to draw.

    Attributes:
        image: (height, width, channels) or (depth, height, width, channels), any finite values.
        truth: class numbers of the same spatial shape, 0 the background; `IGNORED` is drawn as nothing.
        prediction: likewise.
        caption: a short text without identifiers, such as `DSC 0.91`.
        spacing: size of a voxel along each spatial axis, so that volumes are drawn in proportion; None for equal ones.
    """

    image: npt.NDArray[np.floating] | Pixels
    truth: Labels
    prediction: Labels
    caption: str = ""
    spacing: tuple[float, ...] | None = None


def overlay_png(cases: Sequence[Segmentation], *, height: int = 240) -> bytes:
    """A PNG with one row for each case: the image, then the image with the errors; volumes in three planes.

    Args:
        cases: at least one.
        height: of a picture in pixels; small images are enlarged without smoothing.

    Raises:
        DataError: no case, shapes that disagree, or values that are not finite.
    """
    if not cases:
        raise DataError("an overlay needs at least one segmentation, got none")
    return _encode(_stack([_row(case, height) for case in cases]))


CLASS_COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
"""Okabe and Ito's palette: of the classes after the background, from the first again after the last."""


def labels_png(
    image: npt.NDArray[np.floating],
    labels: Labels,
    classes: Sequence[str],
    *,
    spacing: tuple[float, ...] | None = None,
    truth: Labels | None = None,
    height: int = 360,
) -> bytes:
    """A PNG with an image and the same image with what was found in it, a colour for each class; volumes in three
    planes.

    Args:
        image: (*spatial, channels), finite.
        labels: what was found (*spatial).
        classes: their names, for the legend.
        spacing: size of a voxel along each axis.
        truth: its outline is drawn, where it is known.
        height: of a picture in pixels.

    Raises:
        DataError: shapes that disagree, or values that are not finite.
    """
    known = labels if truth is None else truth * (truth != IGNORED)
    case = Segmentation(image, known, labels, spacing=spacing)
    _check(case)
    shown = Segmentation(to_grey_or_colour(image), labels if truth is None else known, labels, spacing=spacing)
    pictures = []
    for plane, true, found, ratio in planes(shown):
        plain = _scale(np.asarray(plane, dtype=np.uint8), height, ratio)
        mask = _scale(found.astype(np.uint8), height, ratio, labels=True)
        coloured = _coloured(plain, mask)
        if truth is not None:
            inside, outside = outline(_scale(true.astype(np.uint8), height, ratio, labels=True))
            coloured[outside], coloured[inside] = OUTLINE_OUTSIDE, TRUTH_OUTLINE
        pictures += [Image.fromarray(plain), Image.fromarray(coloured)]
    row = _beside(pictures, height, "")
    entries = [(_class_colour(index), name) for index, name in enumerate(classes) if index]
    outlined = [] if truth is None else [(TRUTH_OUTLINE, "truth (outline)")]
    return _encode(_stack([row], [*outlined, *entries]))


def _class_colour(index: int) -> tuple[int, int, int]:
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]


def _coloured(image: Pixels, labels: Labels) -> Pixels:
    """Each class in its colour: its edge in full, its inside so that the image remains visible."""
    result = image.astype(np.float64)
    edge, _ = outline(labels)
    for index in np.unique(labels[labels > 0]):
        colour, where = np.array(_class_colour(int(index)), np.float64), labels == index
        result[where] = (1 - _INSIDE) * result[where] + _INSIDE * colour
        result[where & edge] = colour
    return np.rint(result).astype(np.uint8)


def blend(image: Pixels, truth: Labels, prediction: Labels) -> Pixels:
    """Colours the errors of a plane and draws the truth's outline.

    A voxel of the wrong foreground class counts as a false negative (its own class was missed), as in the scores.

    Args:
        image: (height, width, 3), 0 to 255.
        truth: (height, width) class numbers.
        prediction: (height, width) class numbers.
    """
    result = image.astype(np.float64)
    for mask, colour in (
        ((prediction != truth) & (truth == 0), FALSE_POSITIVE),
        ((prediction != truth) & (truth != 0), FALSE_NEGATIVE),
    ):
        result[mask] = (1 - _OPACITY) * result[mask] + _OPACITY * np.array(colour)
    pixels = np.rint(result).astype(np.uint8)
    # White inside and black outside: one of the two stands out from any image.
    inside, outside = outline(truth)
    pixels[outside] = OUTLINE_OUTSIDE
    pixels[inside] = TRUTH_OUTLINE
    return pixels


def outline(labels: Labels) -> tuple[Mask, Mask]:
    """Foreground pixels with a neighbour (of four) of another class, and background pixels with a foreground one."""
    padded = np.pad(labels, 1, mode="edge")
    edge = np.zeros(labels.shape, dtype=np.bool_)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= neighbour != labels
    foreground: Mask = labels != 0
    return edge & foreground, edge & ~foreground


def to_grey_or_colour(image: npt.NDArray[np.floating] | Pixels) -> Pixels:
    """An image of any range as (…, 3) pixels: stretched from its 0.5th to its 99.5th percentile.

    One channel becomes grey; three stay colours; of other numbers of channels the first is shown.
    """
    values = np.asarray(image, dtype=np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full_like(values, 0.5)
    pixels = np.rint(scaled * 255).astype(np.uint8)
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)


def planes(case: Segmentation) -> list[tuple[npt.NDArray[np.floating] | Pixels, Labels, Labels, float]]:
    """The planes to draw with the height of their pixels as a multiple of the width.

    An image is its own single plane. Of a volume: across each axis the plane with the most truth, or with the most
    prediction where there is no truth, or the middle one where there is neither.
    """
    if case.truth.ndim == 2:
        ratio = 1.0 if case.spacing is None else case.spacing[0] / case.spacing[1]
        return [(case.image, case.truth, case.prediction, ratio)]
    spacing = case.spacing or (1.0, 1.0, 1.0)
    chosen = []
    for axis in range(3):
        index = _busiest(case, axis)
        rows, columns = (size for position, size in enumerate(spacing) if position != axis)
        cut = (np.take(part, index, axis=axis) for part in (case.image, case.truth, case.prediction))
        image, truth, prediction = cut
        chosen.append((image, truth, prediction, rows / columns))
    return chosen


def _busiest(case: Segmentation, axis: int) -> int:
    others = tuple(position for position in range(3) if position != axis)
    for labels in (case.truth, case.prediction):
        counts = np.count_nonzero(labels, axis=others)
        if np.any(counts):
            return int(np.argmax(counts))
    return int(case.truth.shape[axis]) // 2


def _check(case: Segmentation) -> None:
    spatial = case.image.shape[:-1]
    if case.truth.ndim not in (2, 3) or case.truth.shape != spatial or case.prediction.shape != spatial:
        raise DataError(
            f"an overlay needs an image (*spatial, channels) and masks (*spatial) in 2D or 3D; got image "
            f"{case.image.shape}, truth {case.truth.shape}, prediction {case.prediction.shape}"
        )
    if not np.isfinite(case.image).all():
        raise DataError("an overlay needs finite image values; this image holds NaN or infinity")


def _row(case: Segmentation, height: int) -> Image.Image:
    _check(case)
    counted = case.truth != IGNORED
    scaled = Segmentation(
        to_grey_or_colour(case.image), case.truth * counted, case.prediction * counted, case.caption, case.spacing
    )
    pictures = []
    for image, truth, prediction, ratio in planes(scaled):
        # Enlarged first, so that the outline is one pixel wide however coarse the image is.
        plain = _scale(np.asarray(image, dtype=np.uint8), height, ratio)
        masks = (_scale(mask.astype(np.uint8), height, ratio, labels=True) for mask in (truth, prediction))
        pictures += [Image.fromarray(plain), Image.fromarray(blend(plain, *masks))]
    return _beside(pictures, height, case.caption)


def _beside(pictures: Sequence[Image.Image], height: int, caption: str) -> Image.Image:
    """Pictures of one height in a row, below their caption."""
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    row = Image.new("RGB", (width, height + (_LINE if caption else 0)), _BACKGROUND)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, row.height - height))
        left += picture.width + _GAP
    if caption:
        ImageDraw.Draw(row).text((0, 2), caption, fill=_INK, font=ImageFont.load_default(12))
    return row


def _scale(pixels: Pixels, height: int, ratio: float, *, labels: bool = False) -> Pixels:
    width = max(1, round(height * pixels.shape[1] / (pixels.shape[0] * ratio)))
    reduced = height < pixels.shape[0] and not labels
    method = Image.Resampling.BOX if reduced else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize((width, height), method))


Entries = Sequence[tuple[tuple[int, int, int], str]]
"""The colours of a legend with what they mean."""

_ERRORS: Entries = (
    (TRUTH_OUTLINE, "truth (outline)"),
    (FALSE_POSITIVE, "false positive"),
    (FALSE_NEGATIVE, "false negative"),
)


def _stack(rows: Sequence[Image.Image], entries: Entries = _ERRORS) -> Image.Image:
    """The rows under each other, and below them the legend."""
    legend = _legend(entries)
    width = max(legend.width, *(row.width for row in rows))
    height = sum(row.height + _GAP for row in rows) + legend.height
    page = Image.new("RGB", (width, height), _BACKGROUND)
    top = 0
    for row in (*rows, legend):
        page.paste(row, (0, top))
        top += row.height + _GAP
    return page


def _legend(entries: Entries) -> Image.Image:
    font = ImageFont.load_default(12)
    widths = [max(125, 17 + math.ceil(font.getlength(text)) + 12) for _, text in entries]
    page = Image.new("RGB", (sum(widths) + 5, _LINE), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    left = 0
    for (colour, text), width in zip(entries, widths, strict=True):
        draw.rectangle((left, 3, left + 11, 14), fill=colour, outline=OUTLINE_OUTSIDE)
        draw.text((left + 17, 2), text, fill=_INK, font=font)
        left += width
    return page


def _encode(page: Image.Image) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()
