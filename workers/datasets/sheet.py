"""A contact sheet: prepared images with the outlines of their masks as one PNG, to look at before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy.ndimage import binary_erosion

from workers.datasets.folder import PreparedDataset
from workers.datasets.preprocessing import IGNORED, Image, Label
from workers.datasets.regions import Members, belongs

Augment = Callable[[str, int], tuple[Image, Label]]
"""A case and the number of the sample to an augmented image (*spatial, channels) and label (*spatial)."""

COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
"""Outline colour per foreground class: the palette of Okabe and Ito, which colour-blind people can distinguish."""

_TILE = 192
_MARGIN = 4
_CAPTION = 14


def contact_sheet(
    prepared: PreparedDataset,
    to: Path,
    *,
    cases: Sequence[str] | None = None,
    augmented: Augment | None = None,
    samples: int = 4,
    captions: bool = True,
) -> Path:
    """Write a PNG of images with mask outlines; of a volume the axial slice with the most foreground is shown.

    Channels that are no colours are shown one by one, in the row of their case.

    Args:
        prepared: the data set.
        to: the PNG file.
        cases: case ids; None for twelve spread evenly over the data set.
        augmented: adds `samples` augmented versions to each case's row.
        samples: how many.
        captions: whether case ids are written under the tiles.

    Raises:
        DataError: an unknown case.
    """
    chosen = list(cases) if cases is not None else _spread(prepared.case_ids, 12)
    rows: list[list[tuple[str, PillowImage.Image]]] = []
    for case in chosen:
        image, label = np.array(prepared.image(case)), np.array(prepared.label(case))
        apart = prepared.channels > 1 and (prepared.channelwise or prepared.channels != 3)
        tiles = _tiles(case, image, label, apart, prepared.members)
        if augmented is not None:
            for i in range(samples):
                tiles += _tiles(f"augmented {i + 1}", *augmented(case, i), apart, prepared.members)
        rows.append(tiles)
    if augmented is None and all(len(row) == 1 for row in rows):
        flat = [tile for row in rows for tile in row]
        rows = [flat[i : i + 4] for i in range(0, len(flat), 4)]
    sheet = _compose(rows, prepared, captions)
    to.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(to, format="PNG")
    return to


def stretched(image: Image) -> npt.NDArray[np.uint8]:
    """A 2D image (h, w, c) as 8-bit RGB (h, w, 3), stretched between its 1st and 99th percentile."""
    low, high = np.percentile(image, (1, 99))
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return grey if image.shape[-1] == 3 else np.repeat(grey[..., :1], 3, axis=-1)


def _outlined(colour: npt.NDArray[np.uint8], label: Label, members: Members) -> npt.NDArray[np.uint8]:
    """The picture with the outline of each foreground class, or region, drawn into it; ignored pixels become grey."""
    colour[label == IGNORED] = colour[label == IGNORED] // 2 + 64
    indices = range(1, len(members)) if members else [int(i) for i in np.unique(label) if 0 < i < IGNORED]
    for index in sorted(indices, key=lambda index: -len(members[index]) if members else 0):
        mask = belongs(label, index, members)
        colour[mask & ~binary_erosion(mask)] = COLOURS[(index - 1) % len(COLOURS)]
    return colour


def _tiles(
    caption: str, image: Image, label: Label, apart: bool, members: Members
) -> list[tuple[str, PillowImage.Image]]:
    """The tile of an image, or one for each channel where they are shown `apart`."""
    if not apart:
        return [(caption, _tile(image, label, members))]
    count = image.shape[-1]
    return [(f"{caption} [{c + 1}/{count}]", _tile(image[..., c : c + 1], label, members)) for c in range(count)]


def _tile(image: Image, label: Label, members: Members) -> PillowImage.Image:
    if label.ndim == 3:
        marked = (label > 0) & (label != IGNORED)
        z = int(np.count_nonzero(marked, axis=(1, 2)).argmax()) if marked.any() else label.shape[0] // 2
        image, label = image[z, ::-1], label[z, ::-1]  # rows run from front to back
    scale = _TILE / max(label.shape)
    size = (max(1, round(label.shape[1] * scale)), max(1, round(label.shape[0] * scale)))
    picture = PillowImage.fromarray(stretched(image)).resize(size, PillowImage.Resampling.BILINEAR)
    # Outlines are drawn on the tile: they are one pixel wide whatever the size of the image.
    mask = PillowImage.fromarray(label).resize(size, PillowImage.Resampling.NEAREST)
    return PillowImage.fromarray(_outlined(np.array(picture), np.asarray(mask), members))


def _compose(
    rows: Sequence[Sequence[tuple[str, PillowImage.Image]]], prepared: PreparedDataset, captions: bool
) -> PillowImage.Image:
    step, caption = _TILE + _MARGIN, _CAPTION if captions else 0
    columns = max(len(row) for row in rows)
    sheet = PillowImage.new(
        "RGB", (columns * step + _MARGIN, len(rows) * (step + caption) + _MARGIN + _CAPTION), "white"
    )
    draw = ImageDraw.Draw(sheet)
    title = f"{prepared.name} · {len(prepared.cases)} cases" + (" · SYNTHETIC" * (prepared.provenance == "synthetic"))
    draw.text((_MARGIN, 1), title, fill="black")
    for r, row in enumerate(rows):
        for c, (text, tile) in enumerate(row):
            x, y = _MARGIN + c * step, _MARGIN + _CAPTION + r * (step + caption)
            sheet.paste(tile, (x, y))
            if captions:
                draw.text((x, y + _TILE), text[:32], fill="black")
    return sheet


def _spread(ids: Sequence[str], count: int) -> list[str]:
    positions = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)
    return [ids[i] for i in positions]
