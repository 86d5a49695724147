"""BUS2017, data set B: 163 breast ultrasound images of varying size with their lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader, Table1Row

_LAYOUT = """\
original/000001.png … original/000163.png   sizes vary, about 570×760
GT/000001.png … GT/000163.png               0 or 255"""


@dataclass(frozen=True, kw_only=True)
class Bus2017(Reader):
    """Breast lesions, benign and malignant as one class."""

    about: ClassVar[About] = About(
        title="BUS2017 data set B (breast tumours in ultrasound, 163 images)",
        page="http://www2.docm.mmu.ac.uk/STAFF/M.Yap/dataset.php",
        licence="research, by agreement with its owners (Yap et al. 2018)",
        layout=_LAYOUT,
        table1=Table1Row(163, (128, 128, 3), 104, 26, 33, (4.8,)),
    )
    hashed_name: ClassVar[str] = "Bus2017"

    name: str = "bus2017"
    size: tuple[int, int] | None = (128, 128)

    classes = ("background", "tumour")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        images = match_files(source, "original/{id}.png")
        if not images:
            raise wrong_folder(source, self.about.title, self.about.layout)
        return pair(images, match_files(source, "GT/{id}.png"), source, "")

    def read_case(self, case: CaseFiles) -> Case:
        return Case(read_image(case.images[0]), read_binary_mask(case.label), (1.0, 1.0))
