"""CVC-ClinicDB: 612 colonoscopy frames with polyps, from the original TIFF distribution or its PNG mirror."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader, Table1Row
from workers.errors import DataError

_LAYOUT = """\
Original/1.tif … Original/612.tif          288×384 RGB
Ground Truth/1.tif … Ground Truth/612.tif  0 or 255
or the PNG mirror: PNG/Original/1.png … and PNG/Ground Truth/1.png …
metadata.csv (optional, the mirror has it): columns frame_id, sequence_id; needed for grouped splits"""


@dataclass(frozen=True, kw_only=True)
class CvcClinicDb(Reader):
    """Polyps. Frames of one video are near copies of each other: a grouped split keeps a sequence together."""

    about: ClassVar[About] = About(
        title="CVC-ClinicDB (colorectal polyps, 612 frames)",
        page="https://polyp.grand-challenge.org/CVCClinicDB/",
        licence="research and education, with citation of Bernal et al. 2015",
        layout=_LAYOUT,
        table1=Table1Row(612, (288, 384, 3), 392, 98, 122, (9.3,)),
        ungrouped="neighbouring frames of one video may lie in training and test, which flatters every score; which "
        "frames are neighbours is told by metadata.csv, which is not there",
    )
    hashed_name: ClassVar[str] = "CvcClinicDb"

    name: str = "cvc_clinicdb"
    size: tuple[int, int] | None = (288, 384)

    classes = ("background", "polyp")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        for folder, extension in ((".", "tif"), ("TIF", "tif"), (".", "png"), ("PNG", "png")):
            base = source / folder
            images = match_files(base, f"Original/{{id}}.{extension}")
            if images:
                masks = match_files(base, f"Ground Truth/{{id}}.{extension}")
                sequences = _sequences(source / "metadata.csv")
                cases = pair(images, masks, base, "")
                return [replace(case, group=sequences.get(case.id)) for case in cases]
        raise wrong_folder(source, self.about.title, self.about.layout)

    def read_case(self, case: CaseFiles) -> Case:
        return Case(read_image(case.images[0]), read_binary_mask(case.label), (1.0, 1.0))


def _sequences(path: Path) -> dict[str, str]:
    """Frame to video sequence, from the mirror's metadata.csv; empty without that file."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {str(int(row["frame_id"])): str(row["sequence_id"]) for row in csv.DictReader(file)}
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected the columns frame_id (a number) and sequence_id ({error})") from error
