"""ISIC 2017 and 2018: dermoscopic images of skin lesions, with the challenges' own test sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from workers.datasets.images import read_binary_mask, read_image
from workers.datasets.layouts import excerpt
from workers.datasets.patterns import match_files, pair, wrong_folder
from workers.datasets.reader import About, Case, CaseFiles, Reader
from workers.errors import DataError


@dataclass(frozen=True, kw_only=True)
class _Isic(Reader):
    """Skin lesions. The challenge's test set is kept, where it is there; its validation images join the training."""

    parts: ClassVar[tuple[tuple[str, str], ...]]
    """Folders of images and masks: of training, of validation, and last of the test."""

    name: str
    size: tuple[int, int] | None = (256, 256)

    classes = ("background", "lesion")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        if sorted_out := excerpt(source, ".jpg", ("ISIC_",), self.about):
            return sorted_out  # of which none is the test set
        cases: dict[str, CaseFiles] = {}
        *_, (testing, _) = self.parts
        official = (source / testing).is_dir()
        for images, masks in self.parts:
            if not (source / images).is_dir():
                continue
            expected = f"Expected {images}/{{id}}.jpg and {masks}/{{id}}_segmentation.png."
            photographs = match_files(source, f"{images}/{{id}}.jpg")
            truths = match_files(source, f"{masks}/{{id}}_segmentation.png")
            partition: Literal["train", "test"] | None = (
                None if not official else "test" if images == testing else "train"
            )
            for case in pair(photographs, truths, source, expected):
                if case.id in cases:
                    raise DataError(
                        f"{case.images[0]}: case {case.id!r} is in {cases[case.id].images[0].parent.name}, too"
                    )
                cases[case.id] = replace(case, partition=partition)
        if not cases:
            raise wrong_folder(source, self.about.title, self.about.layout)
        return [cases[case] for case in sorted(cases)]

    def read_case(self, case: CaseFiles) -> Case:
        return Case(read_image(case.images[0]), read_binary_mask(case.label), (1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Isic2017(_Isic):
    """2000 images for training, 150 for validation, 600 for the test."""

    about: ClassVar[About] = About(
        title="ISIC 2017 (skin lesions, 2750 dermoscopic images)",
        page="https://challenge.isic-archive.com/data/#2017",
        licence="CC0; cite Codella et al. 2018",
        layout="""\
ISIC-2017_Training_Data/ISIC_0000000.jpg …       ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png …
ISIC-2017_Validation_Data/…                      ISIC-2017_Validation_Part1_GroundTruth/…
ISIC-2017_Test_v2_Data/…                         ISIC-2017_Test_v2_Part1_GroundTruth/…
or images/ISIC_0000000.jpg …, masks/ISIC_0000000.png …""",
    )
    hashed_name: ClassVar[str] = "Isic2017"
    parts: ClassVar[tuple[tuple[str, str], ...]] = (
        ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    )

    name: str = "isic2017"


@dataclass(frozen=True, kw_only=True)
class Isic2018(_Isic):
    """2594 images for training, 100 for validation, 1000 for the test."""

    about: ClassVar[About] = About(
        title="ISIC 2018, task 1 (skin lesions, 3694 dermoscopic images)",
        page="https://challenge.isic-archive.com/data/#2018",
        licence="CC BY-NC; cite Codella et al. 2019 and Tschandl et al. 2018",
        layout="""\
ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg …   ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png …
ISIC2018_Task1-2_Validation_Input/…                  ISIC2018_Task1_Validation_GroundTruth/…
ISIC2018_Task1-2_Test_Input/…                        ISIC2018_Task1_Test_GroundTruth/…
or images/ISIC_0000000.jpg …, masks/ISIC_0000000.png …""",
    )
    hashed_name: ClassVar[str] = "Isic2018"
    parts: ClassVar[tuple[tuple[str, str], ...]] = (
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    )

    name: str = "isic2018"
