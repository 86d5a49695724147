"""CHASE_DB1: 28 retinal photographs, both eyes of 14 children, with their vessels by two observers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from workers.datasets.image_folder import group_of
from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader

_LAYOUT = """\
Image_01L.jpg … Image_14R.jpg                 999×960 RGB
Image_01L_1stHO.png … Image_14R_1stHO.png     0 or 255, the first observer
Image_01L_2ndHO.png … Image_14R_2ndHO.png     the second observer
or images/Image_01L.jpg …, masks/Image_01L.png …, masks_2nd/Image_01L.png …"""

_SUFFIX = {1: "1stHO", 2: "2ndHO"}
_FOLDER = {1: "masks", 2: "masks_2nd"}


@dataclass(frozen=True, kw_only=True)
class ChaseDb1(Reader):
    """Retinal vessels. A child is a group: a grouped split keeps both eyes together.

    Attributes:
        observer: whose vessels: 1 or 2.
    """

    about: ClassVar[About] = About(
        title="CHASE_DB1 (retinal vessels, 28 photographs)",
        page="https://blogs.kingston.ac.uk/retinal/chasedb1/",
        licence="CC BY 4.0; cite Fraz et al. 2012",
        layout=_LAYOUT,
    )
    hashed_name: ClassVar[str] = "ChaseDb1"

    name: str = "chase_db1"
    size: tuple[int, int] | None = (512, 512)
    observer: Literal[1, 2] = 1

    classes = ("background", "vessel")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        sorted_out = (source / "images").is_dir()  # into folders, as in excerpts
        images = match_files(source, "images/Image_{id}.jpg" if sorted_out else "Image_{id}.jpg")
        if not images:
            raise wrong_folder(source, self.about.title, self.about.layout)
        truth = f"{_FOLDER[self.observer]}/Image_{{id}}" if sorted_out else f"Image_{{id}}_{_SUFFIX[self.observer]}"
        masks = match_files(source, f"{truth}.png")
        cases = pair(images, masks, source, "")
        return [replace(case, group=group_of(case.id, r"(.+)[LR]$")) for case in cases]

    def read_case(self, case: CaseFiles) -> Case:
        return Case(read_image(case.images[0]), read_binary_mask(case.label), (1.0, 1.0))
