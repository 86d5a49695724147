"""DRIVE: 40 retinal photographs with their vessels, in the official partition of 20 for training and 20 for testing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.patterns import match_files, pair, require_partners, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader, Table1Row
from workers.errors import DataError

_LAYOUT = """\
training/images/21_training.tif … 40_training.tif       584×565 RGB
training/1st_manual/21_manual1.gif … 40_manual1.gif     0 or 255
test/images/01_test.tif … 20_test.tif
test/1st_manual/01_manual1.gif … 20_manual1.gif         (left out of newer downloads; the original one has them)
training/mask/21_training_mask.gif, test/mask/01_test_mask.gif …   the field of view; needed only for scores in it"""


@dataclass(frozen=True, kw_only=True)
class Drive(Reader):
    """Retinal vessels, the first observer's. Images may be tif, png or jpg; the official test partition is kept."""

    about: ClassVar[About] = About(
        title="DRIVE (retinal vessels, 40 photographs)",
        page="https://drive.grand-challenge.org/",
        licence="CC BY 4.0, after registration",
        layout=_LAYOUT,
        table1=Table1Row(40, (512, 512, 3), 16, 4, 20, (8.7,)),
    )
    hashed_name: ClassVar[str] = "Drive"

    name: str = "drive"
    size: tuple[int, int] | None = (512, 512)

    classes = ("background", "vessel")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        return self._partition(source, "training", "train") + self._partition(source, "test", "test")

    def read_case(self, case: CaseFiles) -> Case:
        label = read_binary_mask(case.label)
        field = None if case.field is None else read_binary_mask(case.field)
        if field is not None and field.shape != label.shape:
            raise DataError(
                f"{case.field}: the field of view has shape {field.shape}, the vessels {label.shape}; "
                "fix or exclude the case"
            )
        return Case(read_image(case.images[0]), label, (1.0, 1.0), field=field)

    def _partition(self, source: Path, folder: str, partition: Literal["train", "test"]) -> list[CaseFiles]:
        images = match_files(source, f"{folder}/images/{{id}}_{folder}.*")
        if not images:
            raise wrong_folder(source, self.about.title, self.about.layout)
        masks = match_files(source, f"{folder}/1st_manual/{{id}}_manual1.*")
        if not masks:
            raise DataError(
                f"{source / folder / '1st_manual'}: the vessels of the {folder} images are missing. Newer downloads "
                "leave out those of the test set; the paper's partition needs them: take the original distribution"
            )
        fields = match_files(source, f"{folder}/mask/{{id}}_{folder}_mask.*")
        if fields:
            require_partners(images, fields, "field-of-view mask", source)
        cases = pair(images, masks, source, "")
        return [replace(case, partition=partition, field=fields.get(case.id)) for case in cases]
