"""BUSI: 647 breast ultrasound images with benign or malignant lesions, and 133 without; some have several lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers.datasets.image_folder import united
from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.layouts import Layout, excerpt, find_cases
from workers.datasets.patterns import wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader

_LAYOUT = """\
Dataset_BUSI_with_GT/benign/benign (1).png, benign (1)_mask.png …           sizes vary, about 500×600
Dataset_BUSI_with_GT/benign/benign (4)_mask_1.png                           a second lesion; all are united
Dataset_BUSI_with_GT/malignant/malignant (1).png, malignant (1)_mask.png …
Dataset_BUSI_with_GT/normal/normal (1).png, normal (1)_mask.png …           no lesion; used with normal = true
or images/benign_001.png …, masks/benign_001.png …, likewise malignant_… and normal_…"""


@dataclass(frozen=True, kw_only=True)
class Busi(Reader):
    """Breast lesions, benign and malignant as one class, all lesions of an image together.

    Attributes:
        normal: whether the images without a lesion are cases, too.
    """

    about: ClassVar[About] = About(
        title="BUSI (breast lesions in ultrasound, 780 images)",
        page="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        licence="CC BY 4.0, as MedMNIST says of it; cite Al-Dhabyani et al., Data in Brief 28 (2020) 104863",
        layout=_LAYOUT,
        ungrouped="the files do not tell which images are of one patient, and some images are there more than once; "
        "both make every score too high where they lie in training and test",
    )
    hashed_name: ClassVar[str] = "Busi"

    name: str = "busi"
    size: tuple[int, int] | None = (256, 256)
    normal: bool = False

    classes = ("background", "lesion")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        inner = source / "Dataset_BUSI_with_GT"
        base = inner if inner.is_dir() else source
        kinds = ("benign", "malignant", *(("normal",) if self.normal else ()))
        if cases := excerpt(source, ".png", ("benign", "malignant", "normal"), self.about):
            return [case for case in cases if case.id.startswith(kinds)]
        if not all((base / kind).is_dir() for kind in kinds):
            raise wrong_folder(source, self.about.title, self.about.layout)
        return [
            case
            for kind in kinds
            for case in find_cases(
                base, Layout((f"{kind}/{{id}}.png",), ((0, f"{kind}/{{id}}_mask*.png"),), unite=True)
            )
        ]

    def read_case(self, case: CaseFiles) -> Case:
        masks = case.masks or ((0, case.label),)
        label = united([(index, path, read_binary_mask(path)) for index, path in masks], self.classes, "last")
        return Case(read_image(case.images[0]), label, (1.0, 1.0))
