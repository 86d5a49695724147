"""IDRiD's segmentation part: 81 retinal photographs with the lesions of diabetic retinopathy, and the optic disc."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from workers.datasets.image_folder import united
from workers.datasets.images import read_image
from workers.datasets.layouts import Layout, find_cases
from workers.datasets.patterns import wrong_folder
from workers.datasets.preprocessing import Label, MaskResampling
from workers.datasets.reader import About, Case, CaseFiles, Reader
from workers.errors import DataError

_LAYOUT = """\
A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg …, b. Testing Set/IDRiD_55.jpg …      4288×2848 RGB
A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif …
  likewise 2. Haemorrhages (HE), 3. Hard Exudates (EX), 4. Soft Exudates (SE), 5. Optic Disc (OD)
  an image without a lesion of a kind has no file there"""

_FOLDERS = (
    ("1. Microaneurysms", "MA"),
    ("2. Haemorrhages", "HE"),
    ("3. Hard Exudates", "EX"),
    ("4. Soft Exudates", "SE"),
    ("5. Optic Disc", "OD"),
)


@dataclass(frozen=True, kw_only=True)
class Idrid(Reader):
    """Four kinds of lesions. The official partition of 54 and 27 images is kept.

    A pixel of two kinds is of the smaller one: microaneurysm, haemorrhage, hard exudate, soft exudate, optic disc.

    Attributes:
        optic_disc: whether the disc is a class, too.
    """

    about: ClassVar[About] = About(
        title="IDRiD (lesions of diabetic retinopathy, 81 photographs)",
        page="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
        licence="CC BY 4.0; cite Porwal et al. 2018",
        layout=_LAYOUT,
    )
    hashed_name: ClassVar[str] = "Idrid"

    name: str = "idrid"
    size: tuple[int, int] | None = (512, 768)
    mask_resampling: MaskResampling = "area"
    optic_disc: bool = False

    dimensions = 2

    @property
    def classes(self) -> tuple[str, ...]:
        lesions = ("background", "microaneurysm", "haemorrhage", "hard exudate", "soft exudate")
        return (*lesions, "optic disc") if self.optic_disc else lesions

    @property
    def masks_apart(self) -> bool:
        return True

    def find_cases(self, source: Path) -> list[CaseFiles]:
        return self._part(source, "a. Training Set", "train") + self._part(source, "b. Testing Set", "test")

    def read_case(self, case: CaseFiles) -> Case:
        # From the largest kind to the smallest: a pixel is of the last one that marks it.
        masks = [(index, path, _marked(path)) for index, path in reversed(case.masks)]
        return Case(read_image(case.images[0]), united(masks, self.classes, "last"), (1.0, 1.0))

    def _part(self, source: Path, part: str, partition: Literal["train", "test"]) -> list[CaseFiles]:
        inner = source / "A. Segmentation"
        base = inner if inner.is_dir() else source
        truth = f"2. All Segmentation Groundtruths/{part}"
        masks = tuple(
            (index, f"{truth}/{folder}/{{id}}_{letters}.tif")
            for index, (folder, letters) in enumerate(_FOLDERS[: len(self.classes) - 1], start=1)
        )
        if not (base / "1. Original Images" / part).is_dir():
            raise wrong_folder(source, self.about.title, self.about.layout)
        images = f"1. Original Images/{part}/{{id}}.jpg"
        cases = find_cases(base, Layout((images,), masks, missing="empty"))
        for case in cases:
            if case.masks[0][0] != 1:
                raise DataError(
                    f"{source}: no microaneurysms of {case.images[0].relative_to(source)}, and each image has some; "
                    "add the missing file, or name the case in `exclude`"
                )
        return [replace(case, partition=partition) for case in cases]


def _marked(path: Path) -> Label:
    """The pixels that are not black: the files mark in red, some by a palette."""
    values = read_image(path, 3).max(axis=-1)
    if len(found := np.unique(values)) > 2 or (found.size and found[0] != 0):
        raise DataError(
            f"{path}: expected black and one other colour, found {len(found)} values; fix or exclude the case"
        )
    marked: Label = (values > 0).astype(np.uint8)
    return marked
