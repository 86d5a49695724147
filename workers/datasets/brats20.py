"""BraTS20: enhancing brain tumour in contrast-enhanced T1 volumes, of the 369 training cases those that have any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, ExcludedCaseError, Reader, Table1Row
from workers.datasets.volumes import read_labels, read_volume

_LAYOUT = """\
BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz   240×240×155, 1 mm, skull stripped
BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz    0, 1, 2, 4 (4: enhancing tumour)
… BraTS20_Training_369 (.nii as well; also inside MICCAI_BraTS2020_TrainingData/)"""

_LABELS = {0: 0, 1: 0, 2: 0, 4: 1}
"""Necrosis (1) and oedema (2) are background here: the paper's task is enhancing tumour alone."""

_MISNAMED = {"355": "W39_1998.09.19_Segm.nii"}
"""The distribution carries the segmentation of this one case under a name of its own."""


@dataclass(frozen=True, kw_only=True)
class Brats20(Reader):
    """Enhancing tumour from T1-CE. Cases without it (27 of 369) are excluded, as the paper does, and listed."""

    about: ClassVar[About] = About(
        title="BraTS20 (enhancing brain tumour, 369 volumes of which 342 have it)",
        page="https://www.med.upenn.edu/cbica/brats2020/data.html",
        licence="research, after registration; cite Menze et al. 2015, Bakas et al. 2017 and 2018",
        layout=_LAYOUT,
        table1=Table1Row(342, (96, 96, 96), 219, 55, 68, (0.2,)),
    )
    hashed_name: ClassVar[str] = "Brats20"

    name: str = "brats20"
    spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.0)

    classes = ("background", "enhancing tumour")
    dimensions = 3

    def find_cases(self, source: Path) -> list[CaseFiles]:
        prefix = "BraTS20_Training_"
        for folder in (source, source / "MICCAI_BraTS2020_TrainingData"):
            images = match_files(folder, f"{prefix}{{id}}/{prefix}{{id}}_t1ce.nii*")
            if images:
                labels = match_files(folder, f"{prefix}{{id}}/{prefix}{{id}}_seg.nii*")
                for case, name in _MISNAMED.items():
                    misnamed = folder / f"{prefix}{case}" / name
                    if case not in labels and misnamed.is_file():
                        labels[case] = misnamed
                return pair(images, labels, folder, "")
        raise wrong_folder(source, self.about.title, self.about.layout)

    def read_case(self, case: CaseFiles) -> Case:
        volume, header = read_volume(case.images[0])
        label = read_labels(case.label, _LABELS, header)
        if not label.any():
            raise ExcludedCaseError("no enhancing tumour (label 4)")
        return Case(volume[..., None], label, header.spacing, header.affine)
