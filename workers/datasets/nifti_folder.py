"""A folder of NIfTI volumes, by pattern or in the Medical Segmentation Decathlon's layout, whole or cut into parts.

Few volumes are enough: `slices` takes 2D slices, `blocks` cuts sub-volumes. Parts of one volume share its group, and a
grouped split keeps them together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

from workers.datasets.dataset_json import described_cases, read_description
from workers.datasets.grids import Header
from workers.datasets.image_folder import check_classes, check_group, check_ignored, classes_of, group_of
from workers.datasets.intake import Intake, Raw, cut, joined, read_volumes, windows
from workers.datasets.patterns import GROUP, match_files, match_groups, match_several, pair, require_partners
from workers.datasets.preprocessing import (
    IGNORED,
    Image,
    Label,
    canonical_order,
    check_clip,
    to_canonical,
)
from workers.datasets.reader import About, Case, CaseFiles, Reader
from workers.datasets.regions import LabelOptions, check_regions, values_of
from workers.datasets.volume_formats import companions, dicom_files
from workers.datasets.volumes import read_header, read_labels
from workers.errors import DataError, ParameterError

MAX_VALUE = (1 << 20) - 1
"""Largest value of a label: atlases number their structures by thousands."""


@dataclass(frozen=True, kw_only=True)
class NiftiFolder(LabelOptions, Reader):
    """NIfTI volumes with label volumes on the same grid.

    Attributes:
        images: patterns of the image files, one per channel; `{id}` is the case's id. Empty: as dataset.json says.
        labels: pattern of the label files.
        classes: class names, "background" first.
        label_map: label value to class index; empty for values that are class indices already.
        nonzero: class given to background voxels whose first image is not 0 (the brain of a skull-stripped image).
        group: regular expression whose first group, searched in the id, names the patient.
        slices: make each slice in this plane a 2D case.
        step: take every n-th slice.
        labelled: only slices (or blocks) with a class above `nonzero` in them; an empty one has nothing to score.
        blocks: cut each volume into this many parts along z, y and x; [1, 1, 2] are left and right halves.
        unlabelled: what becomes of images without labels: an error, or they are left out and listed.
        channels: volumes of an image that has them all in one file; None: one in each file, or as dataset.json says.
        grid: whether labels and further channels lie where their "headers" say, or, with "trust", where the voxels of
            the first image lie, whatever the headers say.
        ignore_label: label value whose voxels enter neither loss nor score.
        regions: names of nested regions, each with all the label values that lie in it, in place of `label_map`.
    """

    about: ClassVar[About] = About(
        title="a folder of NIfTI volumes",
        page="your own data, or http://medicaldecathlon.com",
        licence="your own",
        layout='dataset.json, imagesTr/NAME.nii.gz, labelsTr/NAME.nii.gz\n(or patterns: images = ["{id}/ct.nii.gz"])',
    )
    any_folder: ClassVar[bool] = True
    hashed_name: ClassVar[str] = "NiftiFolder"

    name: str = "nifti-folder"
    images: tuple[str, ...] = ()
    labels: str = "labelsTr/{id}.nii.gz"
    classes: tuple[str, ...] = ("background", "foreground")
    label_map: dict[int, int] = field(default_factory=dict)
    nonzero: int | None = None
    group: str | None = None
    slices: Literal["axial", "coronal", "sagittal"] | None = None
    step: int = 1
    labelled: bool = False
    blocks: tuple[int, int, int] = (1, 1, 1)
    unlabelled: Literal["refuse", "skip"] = "refuse"
    channels: int | None = None
    grid: Literal["headers", "trust"] = "headers"
    ignore_label: int | None = None
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.regions:
            check_regions(self.regions)
            object.__setattr__(self, "classes", classes_of("regions", self.regions, self.classes, type(self).classes))
            if self.label_map or self.nonzero is not None:
                raise ParameterError("regions go without label_map and without nonzero")
        check_classes(self.classes, self._indices)
        check_ignored(self.ignore_label, self._indices)
        if any(not 0 <= value <= MAX_VALUE for value in self._map):
            raise ParameterError(f"label values {sorted(self._map)}: they run from 0 to {MAX_VALUE}")
        if self.nonzero is not None and not 0 < self.nonzero < len(self.classes):
            raise ParameterError(f"nonzero = {self.nonzero}: a class index from 1 to {len(self.classes) - 1}")
        if self.group is not None:
            check_group(self.group)
            if self.images and GROUP in self.images[0]:
                raise ParameterError(f"group = {self.group!r}: the patterns tell the group already, by {GROUP}")
        if self.images and len({GROUP in pattern for pattern in (*self.images, self.labels)}) > 1:
            raise ParameterError(f"images and labels {[*self.images, self.labels]}: {GROUP} belongs into each of them")
        if self.step < 1 or min(self.blocks) < 1:
            raise ParameterError(f"step = {self.step}, blocks = {list(self.blocks)}: whole numbers from 1")
        if self.slices and self.blocks != (1, 1, 1):
            raise ParameterError("slices and blocks: choose one")
        if self.channels is not None and not (self.images and self.channels >= len(self.images)):
            raise ParameterError(
                f"channels = {self.channels}: the volumes in the files of images, at least one in each; dataset.json "
                "tells their number itself"
            )
        check_clip(self.clip, self.channels or len(self.images))

    @property
    def dimensions(self) -> Literal[2, 3]:
        return 2 if self.slices else 3

    @property
    def channelwise(self) -> bool:
        return True

    @property
    def arrays_version(self) -> int:
        return 2 if len(self.images) > 1 else 1  # 2: each channel has its own z-score

    @property
    def _indices(self) -> dict[int, int]:
        """Label value to class index."""
        return self.label_map or values_of(self.ordered_regions) or {index: index for index in range(len(self.classes))}

    @property
    def _map(self) -> dict[int, int]:
        return self._indices | ({} if self.ignore_label is None else {self.ignore_label: IGNORED})

    @property
    def _in_parts(self) -> bool:
        return self.slices is not None or self.blocks != (1, 1, 1)

    @property
    def group_pattern(self) -> str | None:
        return self.group

    @property
    def ungrouped(self) -> str:
        if self.group is not None or not self._in_parts:
            return ""
        return "the files tell which parts are of one volume, and not which volumes are of one patient"

    def hashed_group(self, case: CaseFiles) -> str | None:
        # Keys were first made when each volume was called a patient of its own.
        return case.group or case.id

    def _group(self, volume: CaseFiles) -> str | None:
        """A volume's patient. Of unknown patients, the parts of a volume are a group, and a volume is none."""
        if self.group is not None:
            return group_of(volume.id, self.group)
        return volume.group or (volume.id if self._in_parts else None)

    def find_cases(self, source: Path) -> list[CaseFiles]:
        if (resolved := self.at(source)) is not self:
            return resolved.find_cases(source)
        cases = self._by_pattern(source) if self.images else self._described(source)
        cases = [replace(case, group=self._group(case), companions=_companions(case)) for case in cases]
        if not self._in_parts:
            return cases
        return sorted((part for case in cases for part in self._parts(case)), key=lambda case: case.id)

    def read_whole(self, case: CaseFiles) -> Case:
        image, label, header = self._read(case)
        return Case(image, label, header.spacing, header.affine, notes=header.notes)

    def read_case(self, case: CaseFiles) -> Case:
        if not case.part:
            whole = self.read_whole(case)
            if self._in_parts:  # a volume that could not be cut, for the error that reading it gives
                raise DataError(f"{case.images[0]}: changed while it was read; do the same again")
            return whole
        image, label, header = self._read_cached(case)
        part = cut(Raw(image, header.spacing, header.affine, label), _window(case.part), self.slices)
        if part.label is None:
            raise DataError(f"{case.where}: no label belongs to it")
        return Case(part.image, part.label, part.spacing, part.affine, notes=header.notes)

    def intake(self, channels: int) -> Intake:
        return Intake(
            volumes=True,
            channels=channels,
            preprocessing=self.preprocessing,
            trust=self.grid == "trust",
            plane=self.slices,
            blocks=self.blocks,
            patterns=self.images,
        )

    def _by_pattern(self, source: Path) -> list[CaseFiles]:
        channels = [_match(source, pattern) for pattern in self.images]
        labels = match_files(source, self.labels)
        expected = f"Expected {', '.join(self.images)} and {self.labels}."
        cases = pair(channels[0], labels, source, expected, self.unlabelled)
        first = {case.id: case.images[0] for case in cases}
        for pattern, files in zip(self.images[1:], channels[1:], strict=True):
            require_partners(first, files, pattern, source)
        groups = match_groups(source, self.images[0])
        return [
            replace(case, images=tuple(files[case.id] for files in channels), group=groups.get(case.id))
            for case in cases
        ]

    def _described(self, source: Path) -> list[CaseFiles]:
        """The cases of dataset.json. Of images in one file each the number of volumes is checked."""
        description = read_description(source)
        cases = described_cases(description, source)
        count = len(description.channels)
        for case in cases:
            if len(case.images) != 1 or count < 2:
                continue
            try:
                volumes = read_header(case.images[0]).channels
            except DataError:
                continue  # read_case says what is wrong
            if volumes != count:
                raise DataError(
                    f"{case.images[0]}: holds {volumes} of {count} volumes: {description.path.name} "
                    f"names the channels ({', '.join(description.channels)}); fix it, or set the pattern images"
                )
        return cases

    def at(self, source: Path) -> Self:
        if self.images or self.label_map or self.regions:
            return self
        description = read_description(source)
        if description.ignored is not None and self.ignore_label is None:
            return replace(self, ignore_label=description.ignored).at(source)
        found, place = description.classes, description.path
        if description.regions:
            plain = {name: (value,) for value, name in description.labels.items() if value}
            try:
                return replace(self, regions={**description.regions, **plain})
            except ParameterError as error:
                raise DataError(f"{place}: {error}; or set classes and label_map") from error
        whole = description.label_map
        options = f"classes = {json.dumps(found)}"
        if list(whole) != list(whole.values()):
            options += ", label_map = { " + ", ".join(f"{value} = {index}" for value, index in whole.items()) + " }"
        elif len(found) == len(self.classes):
            return self  # two classes are called background and foreground then, as in trials that are stored
        else:
            whole = {}
        typed = self.classes != type(self).classes
        if typed and len(self.classes) != len(found):
            raise DataError(f"{place} has {len(found)} classes: set {options}, or leave classes out")
        if len(set(found)) != len(found) or len(found) < 2 or max(whole, default=0) > MAX_VALUE:
            raise DataError(f"{place}: labels {json.dumps(found)} cannot be classes; set classes and label_map")
        return replace(self, classes=self.classes if typed else found, label_map=whole)

    def _parts(self, case: CaseFiles) -> Iterator[CaseFiles]:
        """The slices or blocks of a volume as cases; reads its labels only where `labelled` asks for them.

        A volume that cannot be read stays whole: `read_case` says what is wrong, so that all such volumes are found.
        """
        label = None
        try:
            header = read_header(case.images[0])
            shape = canonical_order(header.shape, header.affine)
            if self.labelled:
                label = to_canonical(
                    read_labels(case.label, self._map, header, trust=self.grid == "trust"), header.affine
                )
        except DataError:
            yield case
            return
        for suffix, part in self._windows(shape):
            if label is not None:
                inside = label[_window(part)]
                if not ((inside > (self.nonzero or 0)) & (inside != IGNORED)).any():
                    continue
            yield replace(case, id=f"{case.id}-{suffix}", part=part)

    def _windows(self, shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
        """Name of each part, and its window as `z0:z1,y0:y1,x0:x1` on the canonical grid."""
        for suffix, window in windows(shape, self.slices, self.step, self.blocks):
            yield suffix, ",".join(f"{part.start}:{part.stop}" for part in window)

    def _asked(self, case: CaseFiles) -> _Asked:
        several = self.channels or (0 if not self.images else len(self.images))
        trust, sized = self.grid == "trust", self.spacing is None
        return _Asked(case.images, case.label, tuple(self._map.items()), self.nonzero, several, trust, sized)

    def _read(self, case: CaseFiles) -> tuple[Image, Label, Header]:
        return _read(self._asked(case))

    def _read_cached(self, case: CaseFiles) -> tuple[Image, Label, Header]:
        stamps = tuple(path.stat().st_mtime_ns for path in case.files)
        read = _read_cached(self._asked(case), stamps)
        if isinstance(read, str):
            raise DataError(read)
        return read


class _Asked(NamedTuple):
    """What is read of a case.

    Attributes:
        images, labels: its files.
        label_map: value to class, as pairs.
        nonzero: the option.
        channels: volumes in all images; 0: as many as there are.
        trust: whether the first image's grid is taken for all.
        sized: whether a file may leave the size of its voxels open.
    """

    images: tuple[Path, ...]
    labels: Path
    label_map: tuple[tuple[int, int], ...]
    nonzero: int | None
    channels: int
    trust: bool
    sized: bool


def _read(asked: _Asked) -> tuple[Image, Label, Header]:
    """Image (x, y, z, channels), label (x, y, z) and the header, in the first file's own axis order."""
    if not asked.images:
        raise DataError(f"{asked.labels}: no image belongs to it")
    volumes, header = read_volumes(asked.images, asked.channels, trust=asked.trust, sized=asked.sized)
    image = joined(volumes)
    label = read_labels(asked.labels, dict(asked.label_map), header, trust=asked.trust)
    if asked.nonzero is not None:
        label[(label == 0) & (image[..., 0] != 0)] = asked.nonzero
    return image, label, header


@lru_cache(maxsize=1)
def _read_cached(asked: _Asked, stamps: tuple[int, ...]) -> tuple[Image, Label, Header] | str:
    """As `_read`. The last volume is kept, because its parts follow one another.

    Of a volume that cannot be read the error's message is kept, so that it is not read again for each part. `stamps`
    are the files' times of change: a changed file is read again.
    """
    try:
        return _read(asked)
    except DataError as error:
        return str(error)


def _match(source: Path, pattern: str) -> dict[str, Path]:
    """Case id to file; to the first file of a DICOM series for a pattern of folders (`{id}/ct/`)."""
    if not pattern.endswith("/"):
        return match_files(source, pattern)
    found = match_several(source, pattern + "*")
    series = {case: dicom_files(paths[0].parent) for case, paths in found.items()}
    return {case: paths[0] for case, paths in series.items() if paths}


def _companions(case: CaseFiles) -> tuple[Path, ...]:
    try:
        return tuple(dict.fromkeys(other for path in (*case.images, case.label) for other in companions(path)))
    except DataError:
        return ()  # read_case says what is wrong


def _window(part: str) -> tuple[slice, ...]:
    return tuple(slice(*(int(edge) for edge in axis.split(":"))) for axis in part.split(","))
