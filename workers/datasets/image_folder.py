"""A folder of 2D images and masks, by pattern: a new data set without code. Also the nuclei that the project
carries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from workers.datasets.images import read_binary_mask, read_class_mask, read_image
from workers.datasets.patterns import match_files, pair
from workers.datasets.reader import About, Case, CaseFiles, Reader
from workers.errors import ParameterError

NUCLEI = Path(__file__).parent / "nuclei"
"""60 real microscopy images with masks, CC0; LICENSE.md beside them has the citation."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Reader):
    """2D images with masks of the same size.

    Attributes:
        images: pattern of the images' paths in the folder; `{id}` is the case's id.
        masks: pattern of the masks' paths.
        classes: class names, "background" first.
        label_map: pixel value of a mask to class index; empty for binary masks (0 and 1, or 0 and full scale).
        channels: 3 (grey is repeated) or 1 (colour becomes luminance).
        group: regular expression whose first group, searched in the id, names the patient or sequence.
        unlabelled: what becomes of images without a mask: an error, or they are left out and listed.
    """

    about: ClassVar[About] = About(
        title="a folder of 2D images and masks",
        page="your own data",
        licence="your own",
        layout='images/NAME.png\nmasks/NAME.png   (or set patterns: images = "scans/{id}.tif")',
    )
    hashed_name: ClassVar[str] = "ImageFolder"

    name: str = "image-folder"
    images: str = "images/{id}.*"
    masks: str = "masks/{id}.*"
    classes: tuple[str, ...] = ("background", "foreground")
    label_map: dict[int, int] = field(default_factory=dict)
    channels: Literal[1, 3] = 3
    group: str | None = None
    unlabelled: Literal["refuse", "skip"] = "refuse"

    dimensions = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.classes, self.label_map)
        if self.group is not None:
            check_group(self.group)

    @property
    def group_pattern(self) -> str | None:
        return self.group

    def find_cases(self, source: Path) -> list[CaseFiles]:
        expected = f"Expected {self.images} and {self.masks}."
        images = match_files(source, self.images)
        masks = match_files(source, self.masks, images)
        images = match_files(source, self.images, masks)
        cases = pair(images, masks, source, expected, self.unlabelled)
        return [replace(case, group=group_of(case.id, self.group)) for case in cases]

    def read_case(self, case: CaseFiles) -> Case:
        label = read_class_mask(case.label, self.label_map) if self.label_map else read_binary_mask(case.label)
        return Case(read_image(case.images[0], self.channels), label, (1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Nuclei(ImageFolder):
    """The nuclei images that come with the project."""

    about: ClassVar[About] = About(
        title="Nuclei (2018 Data Science Bowl, 60 images)",
        page="https://bbbc.broadinstitute.org/BBBC038",
        licence="CC0 1.0; cite Caicedo et al., Nat. Methods 16 (2019) 1247–1253",
        layout="images/NAME.png\nmasks/NAME.png",
    )
    hashed_name: ClassVar[str] = "Nuclei"

    name: str = "nuclei"
    images: str = "images/{id}.png"
    masks: str = "masks/{id}.png"
    classes: tuple[str, ...] = ("background", "nucleus")

    def default_source(self) -> Path | None:
        return NUCLEI


def check_classes(classes: tuple[str, ...], label_map: dict[int, int]) -> None:
    """Refuses class names and label maps that do not fit together.

    Raises:
        ParameterError: fewer than two or repeated names, an index without a name, or three classes without a map.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise ParameterError(f"classes = {list(classes)}: give at least two different names, background first")
    if len(classes) > 255:
        raise ParameterError(f"{len(classes)} classes: at most 255")
    wrong = {value: index for value, index in label_map.items() if not 0 <= index < len(classes)}
    if wrong:
        raise ParameterError(f"label_map {wrong}: class indices run from 0 to {len(classes) - 1}")
    if not label_map and len(classes) > 2:
        raise ParameterError(f"classes = {list(classes)}: more than two need a label_map (mask value to class index)")


def check_group(group: str) -> None:
    """Refuses a group expression that is not a regular expression with one group.

    Raises:
        ParameterError: it is not.
    """
    try:
        groups = re.compile(group).groups
    except re.error as error:
        raise ParameterError(f"group = {group!r}: not a regular expression ({error})") from error
    if groups != 1:
        raise ParameterError(f"group = {group!r}: put one pair of parentheses around what names the patient")


def group_of(case: str, group: str | None) -> str | None:
    """What the first group of the regular expression matches in a case id; None without a match."""
    match = re.search(group, case) if group else None
    return match[1] if match else None
