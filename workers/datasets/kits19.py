"""KiTS19: kidney and kidney tumour in abdominal CT, the 210 cases with published masks less six."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader, Table1Row
from workers.datasets.volumes import read_labels, read_volume

_LAYOUT = """\
case_00000/imaging.nii.gz        slices×512×512, Hounsfield units
case_00000/segmentation.nii.gz   0, 1 (kidney), 2 (tumour)
… case_00209 (also inside data/, as the repository has it; cases from 210 on have no masks and are not used)"""

_EXCLUDED = (15, 23, 37, 68, 125, 133)
"""Yeung et al. (2022), section 3.1.5: left out for the quality of their ground truth."""

_WITH_MASK = 210
"""Cases below this number were published with a mask."""


@dataclass(frozen=True, kw_only=True)
class Kits19(Reader):
    """Kidney (1) and tumour (2). Case ids are the five digits of the folder's name."""

    about: ClassVar[About] = About(
        title="KiTS19 (kidney and tumour in CT, 210 volumes of which 204 are used)",
        page="https://github.com/neheller/kits19",
        licence="CC BY-NC-SA 4.0",
        layout=_LAYOUT,
        table1=Table1Row(204, (80, 160, 160), 130, 33, 41, (0.8, 0.2)),
    )
    hashed_name: ClassVar[str] = "Kits19"

    name: str = "kits19"
    spacing: tuple[float, float, float] | None = (3.22, 1.62, 1.62)
    clip: tuple[float, float] | None = (-79.0, 304.0)

    classes = ("background", "kidney", "tumour")
    dimensions = 3

    @property
    def excluded(self) -> Mapping[str, str]:
        return {f"{case:05d}": "excluded by the paper (quality of the ground truth)" for case in _EXCLUDED}

    def find_cases(self, source: Path) -> list[CaseFiles]:
        for folder in (source, source / "data"):
            images = match_files(folder, "case_{id}/imaging.nii.gz")
            labels = match_files(folder, "case_{id}/segmentation.nii.gz")
            # Without masks by design; and the repository alone, before the images are fetched, has masks only.
            images = {case: path for case, path in images.items() if case in labels or not _unpublished(case)}
            if images:
                return pair(images, labels, folder, "")
        raise wrong_folder(source, self.about.title, self.about.layout)

    def read_case(self, case: CaseFiles) -> Case:
        volume, header = read_volume(case.images[0])
        label = read_labels(case.label, {0: 0, 1: 1, 2: 2}, header)
        return Case(volume[..., None], label, header.spacing, header.affine)


def _unpublished(case: str) -> bool:
    return case.isdigit() and int(case) >= _WITH_MASK
