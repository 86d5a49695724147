"""A folder of 2D images and masks, by pattern: a new data set without code. Also the nuclei that the project
carries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from workers.datasets.images import (
    Orientation,
    is_turned,
    read_binary_mask,
    read_class_mask,
    read_colour_mask,
)
from workers.datasets.intake import Intake, read_pictures
from workers.datasets.layouts import Layout, find_cases
from workers.datasets.masks import Foreground
from workers.datasets.patterns import GROUP
from workers.datasets.preprocessing import IGNORED, Label, check_clip
from workers.datasets.reader import About, Case, CaseFiles, Reader
from workers.datasets.regions import LabelOptions, check_regions, values_of
from workers.errors import DataError, ParameterError

NUCLEI = Path(__file__).parent / "nuclei"
"""60 real microscopy images with masks, CC0; LICENSE.md beside them has the citation."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder(LabelOptions, Reader):
    """2D images with masks of the same size.

    Attributes:
        images: pattern of the images' paths in the folder; `{id}` is the case's id. A list of patterns: several files
            make the channels of an image.
        masks: pattern of the masks' paths. A list of patterns, one for each class after the background, or a table of
            class names with patterns: each is the binary mask of its class.
        classes: class names, "background" first; not needed beside a table of masks.
        label_map: pixel value of a mask to class index; empty for binary masks (0 and 1, or 0 and full scale), and
            where the values of more than two classes are their indices.
        colours: colour of a mask, as "#rrggbb", to class index, in place of `label_map`.
        channels: of all image files of a case: 3 (grey is repeated), 1 (colour becomes luminance) or as many as the
            files have; of several files each has the same share of them.
        group: regular expression whose first group, searched in the id, names the patient or sequence.
        unlabelled: what becomes of images without a mask: an error, or they are left out and listed.
        unite: put the masks together where a pattern matches several of one image, such as one for each lesion.
        missing_masks: of several classes with a file each: whether a missing file is an error, or the class is absent.
        overlaps: what a pixel is that the masks of two classes mark: an error, or of the class that is named last.
        foreground: of masks of one structure: the higher of two values, all that is not 0, or what is above half scale.
        ignore_label: pixel value of a mask (beside `colours`, a colour) whose pixels enter neither loss nor score.
        regions: names of nested regions, each with all the mask values that lie in it, in place of `label_map`.
        orientation: turn pictures and masks as their orientation tag says, or read them as they are stored.
    """

    about: ClassVar[About] = About(
        title="a folder of 2D images and masks",
        page="your own data",
        licence="your own",
        layout='images/NAME.png\nmasks/NAME.png   (or set patterns: images = "scans/{id}.tif")',
    )
    any_folder: ClassVar[bool] = True
    hashed_name: ClassVar[str] = "ImageFolder"

    name: str = "image-folder"
    images: str | tuple[str, ...] = "images/{id}.*"
    masks: str | tuple[str, ...] | dict[str, str] = "masks/{id}.*"
    classes: tuple[str, ...] = ("background", "foreground")
    label_map: dict[int, int] = field(default_factory=dict)
    channels: int = 3
    group: str | None = None
    unlabelled: Literal["refuse", "skip"] = "refuse"
    unite: bool = False
    missing_masks: Literal["refuse", "empty"] = "refuse"
    overlaps: Literal["refuse", "last"] = "refuse"
    colours: dict[str, int] = field(default_factory=dict)
    foreground: Foreground = "binary"
    ignore_label: int | str | None = None
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    orientation: Orientation = "tag"

    dimensions = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.masks, dict):
            object.__setattr__(self, "classes", classes_of("masks", self.masks, self.classes, type(self).classes))
        if self.regions:
            check_regions(self.regions)
            object.__setattr__(self, "classes", classes_of("regions", self.regions, self.classes, type(self).classes))
        check_classes(self.classes, self._indices)
        check_ignored(self.ignore_label, self._indices, by_colour=bool(self.colours))
        if self.group is not None:
            check_group(self.group)
            if GROUP in self.layout.images[0]:
                raise ParameterError(f"group = {self.group!r}: the patterns tell the group already, by {GROUP}")
        if (self.label_map or self.colours or self.regions) and self._a_mask_each:
            raise ParameterError(
                "label_map, colours and regions are for masks of several classes; here each class has its own"
            )
        if self._indices and self.foreground != "binary":
            raise ParameterError(
                "foreground is for masks of one structure; label_map, colours and regions name several"
            )
        if sum(map(bool, (self.label_map, self.colours, self.regions))) > 1:
            raise ParameterError("label_map, colours and regions: choose one")
        files = len(self.layout.images)
        if files > 1:
            check_clip(self.clip, self.channels)
        if self.channels < 1 or self.channels % files:
            raise ParameterError(
                f"channels = {self.channels}: {files} files for each image make {files} channels (grey) or {3 * files} "
                "(colour)"
            )

    @property
    def turns(self) -> bool:
        return self.orientation == "tag"

    @property
    def _indices(self) -> dict[int, int]:
        """Mask value (or colour as 0xrrggbb) to class index; empty for binary masks."""
        own = self.label_map or colours_of(self.colours) or values_of(self.ordered_regions)
        if own or len(self.classes) == 2 or self._a_mask_each:
            return own
        return {index: index for index in range(len(self.classes))}

    @property
    def _a_mask_each(self) -> bool:
        """Whether each class has files of its own."""
        return not isinstance(self.masks, str)

    @property
    def masks_apart(self) -> bool:
        return self._a_mask_each

    @property
    def layout(self) -> Layout:
        """Where the files of a case are."""
        images = (self.images,) if isinstance(self.images, str) else self.images
        if isinstance(self.masks, str):
            masks: tuple[tuple[int, str], ...] = ((0, self.masks),)
        elif isinstance(self.masks, dict):
            masks = tuple((index, self.masks[name]) for index, name in enumerate(self.classes[1:], start=1))
        elif len(self.masks) != len(self.classes) - 1:
            raise ParameterError(
                f"masks = {list(self.masks)}: a pattern for each class after the background, of which there are "
                f"{len(self.classes) - 1}; set classes"
            )
        else:
            masks = tuple(enumerate(self.masks, start=1))
        return Layout(images, masks, self.unite, self.missing_masks, self.unlabelled)

    @property
    def channelwise(self) -> bool:
        return not isinstance(self.images, str) and len(self.images) > 1

    @property
    def group_pattern(self) -> str | None:
        return self.group

    def find_cases(self, source: Path) -> list[CaseFiles]:
        cases = find_cases(source, self.layout)
        return [replace(case, group=group_of(case.id, self.group)) for case in cases] if self.group else cases

    def read_case(self, case: CaseFiles) -> Case:
        image = read_pictures(case.images, self.channels, self.orientation)
        label = self._label(case)
        swapped = label.shape != image.shape[:2] == label.T.shape
        if swapped and self.turns and is_turned(case.images[0]):
            raise DataError(
                f"{case.images[0]}: turned by its orientation tag it has {image.shape[0]}×{image.shape[1]} pixels, and "
                f"its mask {label.shape[0]}×{label.shape[1]}: the mask was drawn on the picture as it is stored; set "
                'options.orientation = "stored"'
            )
        return Case(image, label, (1.0, 1.0))

    def intake(self, channels: int) -> Intake:
        patterns = () if isinstance(self.images, str) else self.images
        return Intake(
            volumes=False,
            channels=channels,
            preprocessing=self.preprocessing,
            orientation=self.orientation,
            patterns=patterns,
        )

    def _label(self, case: CaseFiles) -> Label:
        if not case.masks:
            return self._read_mask(case.label)
        masks = [(index, path, self._read_mask(path)) for index, path in case.masks]
        return united(masks, self.classes, self.overlaps)

    def _read_mask(self, path: Path) -> Label:
        if self.colours:
            ignored = {} if self.ignore_label is None else colours_of({str(self.ignore_label): IGNORED})
            return read_colour_mask(path, self._indices | ignored, self.orientation)
        ignore = None if self.ignore_label is None else int(self.ignore_label)
        if self._indices:
            return read_class_mask(
                path, self._indices | ({} if ignore is None else {ignore: IGNORED}), self.orientation
            )
        return read_binary_mask(path, self.foreground, self.orientation, ignore)


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


def united(
    masks: Sequence[tuple[int, Path, Label]], classes: Sequence[str], overlaps: Literal["refuse", "last"]
) -> Label:
    """One label map of several masks of an image.

    Args:
        masks: each with the class that it marks (0: with its own class indices) and its file.
        classes: their names.
        overlaps: what a pixel is that two classes claim: an error, or of the class of the last mask.

    Raises:
        DataError: the masks differ in size, or overlap where that is refused.
    """
    _, first, whole = masks[0]
    label = np.zeros_like(whole)
    for index, path, mask in masks:
        if mask.shape != label.shape:
            raise DataError(
                f"{path}: {mask.shape[0]}×{mask.shape[1]} pixels, but {first.name} has "
                f"{label.shape[0]}×{label.shape[1]}; fix or exclude the case"
            )
        ignored = (mask == IGNORED) | (label == IGNORED)
        own = mask if index == 0 else np.where(mask > 0, np.uint8(index), np.uint8(0))
        both = (own > 0) & (label > 0) & (own != label) & ~ignored
        if overlaps == "refuse" and both.any():
            there, here = (classes[int(values[both][0])] for values in (label, own))
            raise DataError(
                f"{path}: {np.count_nonzero(both)} of its pixels of class {here!r} are of class {there!r} too, and a "
                'pixel has one class; let the class that is named last have them: options.overlaps = "last"'
            )
        label = np.where(own > 0, own, label)
        label[ignored] = IGNORED
    return label


def classes_of(
    option: str, table: Mapping[str, object], classes: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes of a table of masks or regions: its names, in the order of `classes` where those are given.

    Raises:
        ParameterError: `classes` has other names.
    """
    if "background" in table:
        raise ParameterError(f"{option}: the background is not named there; it is what is in none of them")
    if set(classes[1:]) == set(table):
        return classes
    if classes != default:
        raise ParameterError(
            f"classes = {list(classes)}: {option} has {list(table)}; name the same, or leave classes out"
        )
    return ("background", *table)


def check_ignored(ignore: int | str | None, indices: Mapping[int, int], *, by_colour: bool = False) -> None:
    """Refuses an `ignore_label` that is a class, too, or is not of the kind that the masks have.

    Raises:
        ParameterError: see above.
    """
    if ignore is None:
        return
    if isinstance(ignore, str) != by_colour:
        kind = 'a colour, such as "#ffffff"' if by_colour else "a whole number, the masks' value"
        raise ParameterError(f"ignore_label = {ignore!r}: give {kind}")
    value = next(iter(colours_of({ignore: 0}))) if isinstance(ignore, str) else ignore
    if value in indices:
        raise ParameterError(f"ignore_label = {ignore!r}: it is a class, too; a value is either a class or ignored")


def colours_of(colours: dict[str, int]) -> dict[int, int]:
    """Colours as numbers 0xrrggbb, each with its class index.

    Raises:
        ParameterError: not a colour.
    """
    for colour in colours:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
            raise ParameterError(f'colours: {colour!r} is not a colour; write it as "#rrggbb", such as "#ff0000"')
    return {int(colour[1:], 16): index for colour, index in colours.items()}


def check_classes(classes: tuple[str, ...], label_map: dict[int, int]) -> None:
    """Refuses class names and label maps that do not fit together.

    Raises:
        ParameterError: fewer than two or repeated names, or an index without a name.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise ParameterError(f"classes = {list(classes)}: give at least two different names, background first")
    if len(classes) > 255:
        raise ParameterError(f"{len(classes)} classes: at most 255")
    wrong = {value: index for value, index in label_map.items() if not 0 <= index < len(classes)}
    if wrong:
        raise ParameterError(f"label_map {wrong}: class indices run from 0 to {len(classes) - 1}")


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
