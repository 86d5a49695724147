"""What a data set is: a class that finds the cases of a folder and reads one of them.

A new data set is one frozen dataclass derived from `Reader` and one `register` line. Its fields are its options. A
reader returns what the files hold, with class indices as labels; `workers.datasets.preprocessing` does the rest.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import PlainValidator

from workers.datasets.intake import Intake
from workers.datasets.preprocessing import Affine, Clip, Image, Label, MaskResampling, Preprocessing, clip_of
from workers.datasets.regions import Members
from workers.errors import ParameterError, WorkerError


class ExcludedCaseError(WorkerError):
    """The data set's own rules leave this case out (BraTS20 without enhancing tumour); the message is the reason."""


_LISTED = 30
"""Cases that are named with one reason; the others are counted."""


class Excluded(NamedTuple):
    """A case that is left out, and why."""

    id: str
    reason: str


def listed(excluded: Sequence[Excluded]) -> list[str]:
    """A line for each case that is left out; one line for the many slices that are left out for the same reason."""
    by_reason: dict[str, list[str]] = {}
    for case, reason in excluded:
        by_reason.setdefault(reason, []).append(case)
    lines = []
    for reason, cases in by_reason.items():
        if len(cases) <= _LISTED:
            lines += [f"{case}: {reason}" for case in cases]
        else:
            lines.append(f"{', '.join(cases[:_LISTED])} and {len(cases) - _LISTED} more: {reason}")
    return lines


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        id: unique in its data set.
        images: one file, or one per channel group in order.
        label: the mask; of several, the first.
        group: patient or video sequence whose cases stay together in a grouped split; None when unknown.
        partition: the distribution's own partition, where there is one.
        part: which part of the files the case is, such as a slice or block, as the reader writes it; empty: all of it.
        field: the mask of the pixels that the camera saw, where the distribution has one.
        masks: of a case with several masks, each with the class that it marks; 0 for the class values in the file.
        companions: further files that images or mask consist of, such as the other slices of a DICOM series.
    """

    id: str
    images: tuple[Path, ...]
    label: Path
    group: str | None = None
    partition: Literal["train", "test"] | None = None
    part: str = ""
    field: Path | None = None
    masks: tuple[tuple[int, Path], ...] = ()
    companions: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        whole = (*self.images, self.label, *(path for _, path in self.masks if path != self.label), *self.companions)
        return whole if self.field is None else (*whole, self.field)

    @property
    def where(self) -> str:
        """The case in messages: its image's file, and which part of it."""
        return f"{self.images[0]}: case {self.id!r}" if self.part else str(self.images[0])


@dataclass(frozen=True, slots=True)
class Case:
    """One case as its files hold it.

    Attributes:
        image: float32 (*spatial, channels); 2D (height, width, channels), volumes in the file's own axis order.
        label: uint8 class indices (*spatial).
        spacing: voxel size per axis, in mm; 1 for plain images.
        affine: voxel index to mm (RAS+) of a volume, None for 2D.
        field: uint8 (*spatial), 1 where the camera saw something; None where the files do not contain it.
        notes: what a person should know of the image's header, such as that it contradicts itself.
    """

    image: Image
    label: Label
    spacing: tuple[float, ...]
    affine: Affine | None = None
    field: Label | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table1Row:
    """A row of Table 1 of Yeung et al. (2022); `foreground` is the mean percentage per foreground class."""

    images: int
    input: tuple[int, ...]
    train: int
    validation: int
    test: int
    foreground: tuple[float, ...]


UNTOLD = (
    "the files do not tell which images are of one patient or sequence; where a patient has several, they may lie in "
    "training and test, which makes every score too high"
)


@dataclass(frozen=True, slots=True)
class About:
    """What a person needs to get a data set: its page, its licence, and the layout of its folder.

    `ungrouped` is the report's warning about a random split where the files do not tell which images belong together.
    """

    title: str
    page: str
    licence: str
    layout: str
    table1: Table1Row | None = None
    ungrouped: str = UNTOLD


@dataclass(frozen=True, kw_only=True)
class Reader(ABC):
    """A data set. The fields are the options that a grid can set; those here are common to all.

    Attributes:
        name: name of the data set and of its folder.
        size: see `Preprocessing.size`, and likewise for the next four. In a grid file an empty list switches one off.
    """

    about: ClassVar[About]
    any_folder: ClassVar[bool] = False
    """Whether it reads any folder by patterns, so that image files that no pattern matches are told."""

    hashed_name: ClassVar[str] = ""
    """The class's name in prepared keys. It stays when the class is renamed, and a subclass does not have it from its
    base. Empty: the name of the class, which may then never change."""

    name: str
    size: tuple[int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    clip: Annotated[Clip | None, PlainValidator(clip_of)] = None
    order: Literal[1, 3] = 3
    mask_resampling: MaskResampling = "nearest"

    def __post_init__(self) -> None:
        _ = self.preprocessing  # checks the ranges
        if self.dimensions == 2 and self.spacing is not None:
            raise ParameterError("spacing is for volumes; images are brought to one size by size = [height, width]")
        if self.dimensions == 3 and self.size is not None:
            raise ParameterError("size is for images; volumes are resampled by spacing = [z, y, x] in mm")

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; index 0 is "background"."""

    @property
    @abstractmethod
    def dimensions(self) -> Literal[2, 3]:
        """2 for images, 3 for volumes."""

    @property
    def excluded(self) -> Mapping[str, str]:
        """Case id to reason, for the cases that the paper leaves out by number."""
        return {}

    @property
    def group_pattern(self) -> str | None:
        """The regular expression that finds each case's group in its name; None where groups are known otherwise."""
        return None

    @property
    def ungrouped(self) -> str:
        """What its groups leave open, as a sentence without a full stop; "" where each is a patient or sequence."""
        return ""

    def hashed_group(self, case: CaseFiles) -> str | None:
        """A case's group as prepared keys have it; another than `CaseFiles.group` only where that moved no array."""
        return case.group

    @property
    def turns(self) -> bool:
        """Whether pictures and masks are turned as their orientation tag says."""
        return self.dimensions == 2

    @property
    def ignores(self) -> bool:
        """Whether labels may hold `IGNORED`: pixels that enter neither loss nor score."""
        return False

    @property
    def members(self) -> Members:
        """The classes of each nested region; empty where each class is for itself."""
        return ()

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.size, self.spacing, self.clip, self.order, self.mask_resampling, self.channelwise)

    @property
    def channelwise(self) -> bool:
        """Whether the channels are images of their own, each normalised by itself. They are not in a colour image."""
        return False

    @property
    def arrays_version(self) -> int:
        """Version of what this reader makes of its files with these options.

        A change of its code that moves an array raises it, for the options (or cases) that are concerned and no
        others: their data sets are prepared anew. The version 1 is left out of the key.
        """
        return 1

    @property
    def options(self) -> dict[str, object]:
        """Every option with its value, as JSON."""
        return dataclasses.asdict(self)

    def default_source(self) -> Path | None:
        """A folder that comes with the project, or None."""
        return None

    def at(self, source: Path) -> Self:
        """This reader with the options that a file in the folder tells and that were not given.

        Raises:
            DataError: the file cannot be read, or contradicts the options.
        """
        return self

    @abstractmethod
    def find_cases(self, source: Path) -> list[CaseFiles]:
        """All cases of a folder, in an order that their names decide, without reading images.

        Raises:
            DataError: not this data set's folder, a partner is missing, or two cases have one id.
        """

    def read_whole(self, case: CaseFiles) -> Case:
        """A case without a part: the whole of its files, also where this reader's cases are slices or blocks.

        Raises:
            DataError, ExcludedCaseError: as `read_case`.
        """
        return self.read_case(case)

    def intake(self, channels: int) -> Intake:
        """How an image alone is read, without a mask, see `intake_for`.

        Args:
            channels: of the prepared images.
        """
        return Intake(volumes=self.dimensions == 3, channels=channels, preprocessing=self.preprocessing)

    @property
    def masks_apart(self) -> bool:
        """Whether each class has a mask file of its own."""
        return False

    @abstractmethod
    def read_case(self, case: CaseFiles) -> Case:
        """Read one case.

        Raises:
            DataError: a file is damaged or not what it should be; the message names it.
            ExcludedCaseError: the data set's own rules leave this case out.
        """


def intake_for(reader: Reader, channels: int) -> Intake | None:
    """How the images of a reader are read without their masks; None where that is not known.

    It is not where a plug-in's class reads cases by itself and has no `intake` of its own: what it does to an image is
    not known here, and another network input would be silently wrong.
    """
    order = type(reader).__mro__
    reads = next(n for n, kind in enumerate(order) if "read_case" in vars(kind))
    says = next(n for n, kind in enumerate(order) if "intake" in vars(kind))
    ours = order[reads].__module__.split(".")[0] == "workers"
    return reader.intake(channels) if ours or says <= reads else None
