"""A prepared data set: a folder of memory-mapped arrays that all trials on a host share.

`<root>/<name>-<key>/` holds manifest.json and, per case, `<index>.image.npy` float32 (*spatial, channels),
`<index>.label.npy` uint8 (*spatial), `<index>.foreground.npy` int32 (n, dimensions), and `<index>.native.npz`, packed,
for scores at native resolution: `label` uint8 on the source's own grid and, where the distribution has one, `field`,
its field of view. The key covers everything that the arrays were made from. The folder is never changed; only splits
are added. `workers.datasets.preparation` makes it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trials.places import below
from trials.spec import content_hash
from trials.splits import Split
from workers.datasets.parallel import available_processes
from workers.datasets.preprocessing import MaskResampling
from workers.datasets.reader import Excluded
from workers.datasets.regions import Members
from workers.datasets.sources import sha256
from workers.errors import DataError
from workers.files import atomic_write

FORMAT = 2
"""Layout of the folder; another number is refused."""

Scalar = TypeVar("Scalar", bound=np.generic)

MANIFEST = "manifest.json"
SPLITS = "splits"
INTAKE = "intake.json"
"""How an image alone is read, of data that an older version prepared; elsewhere it is in the manifest."""

VERIFIED_SECONDS = 3600
"""So long a host trusts its check of the hashes. Launch and resume always check."""

FILES = ("image.npy", "label.npy", "foreground.npy", "native.npz")
"""What is kept of each case."""


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """One prepared case, without its arrays.

    Attributes:
        id: the case.
        index: number in the names of its files.
        group: patient or sequence, None when unknown.
        partition: the distribution's own partition, or None.
        files: source files relative to the source folder.
        part: which part of the files it is; empty for the whole.
        shape: spatial shape of the prepared arrays.
        original_shape: spatial shape in the source file's own axis order.
        spacing: of the prepared grid per axis, mm (1 for 2D).
        affine: the source's voxel index to mm (RAS+) as four rows, None for 2D.
        voxels: number of prepared voxels per class.
        bytes: sizes of `FILES`.
        native_voxels: number of the source's own voxels per class; empty in data that an older version prepared.
        notes: what a person should know of the image's header (`Case.notes`).
        hashes: SHA-256 of `FILES`; empty in data that an older version prepared.
    """

    id: str
    index: int
    group: str | None
    partition: Literal["train", "test"] | None
    files: tuple[str, ...]
    part: str
    shape: tuple[int, ...]
    original_shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: tuple[tuple[float, ...], ...] | None
    voxels: tuple[int, ...]
    bytes: tuple[int, ...]
    native_voxels: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> PreparedCase:
        """The inverse of `dataclasses.asdict` after JSON."""
        tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if tuples["affine"] is not None:
            tuples["affine"] = tuple(tuple(row) for row in tuples["affine"])
        return cls(**tuples)


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set, cheap to open and to pickle. Arrays are opened on each call; no files stay open.

    Attributes:
        path: its folder.
        key: content key, see `workers.datasets.keys.preparation_key`.
        name: data set name.
        classes: class names by index.
        dimensions: 2 or 3.
        channels: of the images.
        provenance: "synthetic" when the source was made by `workers.datasets.synthetic`.
        cases: in order of id.
        excluded: id and reason of each case that was left out.
        reader: the options that the reader had.
        versions: of the libraries that prepared it, for the record.
        channelwise: the channels are images of their own, each with its own z-score; not the colours of one.
        ignores: labels may hold `IGNORED`, which enters neither loss nor score.
        members: the classes of each nested region (`workers.datasets.regions`); empty without regions.
        intake: how an image alone is read (`workers.datasets.intake`), as JSON; empty where the reader does not say so.
    """

    path: Path
    key: str
    name: str
    classes: tuple[str, ...]
    dimensions: Literal[2, 3]
    channels: int
    provenance: Literal["real", "synthetic"]
    cases: tuple[PreparedCase, ...]
    excluded: tuple[Excluded, ...]
    reader: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    channelwise: bool = False
    ignores: bool = False
    members: Members = ()
    intake: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _by_id(self) -> dict[str, PreparedCase]:
        return {case.id: case for case in self.cases}

    @property
    def mask_resampling(self) -> MaskResampling:
        """How the masks were brought to the prepared grid."""
        return "area" if self.reader.get("mask_resampling") == "area" else "nearest"

    @property
    def case_ids(self) -> tuple[str, ...]:
        return tuple(case.id for case in self.cases)

    def case(self, case: str) -> PreparedCase:
        """The case of that id.

        Raises:
            DataError: there is none.
        """
        if case not in self._by_id:
            raise DataError(f"data set {self.name!r} in {self.path} has no case {case!r}")
        return self._by_id[case]

    def image(self, case: str) -> npt.NDArray[np.float32]:
        """Memory map (*spatial, channels), read only, z-scored."""
        return self._array(case, "image", np.float32, (*self.case(case).shape, self.channels))

    def label(self, case: str) -> npt.NDArray[np.uint8]:
        """Memory map (*spatial) of class indices, read only."""
        return self._array(case, "label", np.uint8, self.case(case).shape)

    def foreground(self, case: str) -> npt.NDArray[np.int32]:
        """Coordinates (n, dimensions) of at most 10,000 foreground voxels, drawn at preparation; n is 0 without any."""
        path = self.path / f"{self.case(case).index:05d}.foreground.npy"
        try:
            points: npt.NDArray[np.int32] = np.load(path)
        except (OSError, ValueError) as error:
            raise _damaged(self.path, f"{path.name}: {error}") from error
        return points

    def native_label(self, case: str) -> npt.NDArray[np.uint8]:
        """Class indices on the source's own grid, uint8 (*original_shape) in the source's axis order."""
        return self._native(case)["label"]

    def field(self, case: str) -> npt.NDArray[np.uint8]:
        """The field of view on the source's own grid, uint8 (*original_shape), 1 inside.

        Raises:
            DataError: the data set has none.
        """
        native = self._native(case)
        if "field" not in native:
            raise DataError(
                f"data set {self.name!r}: case {case!r} has no field-of-view mask; leave out evaluation.field_of_view, "
                "or add the masks that the original distribution has"
            )
        return native["field"]

    def spacing(self, case: str) -> tuple[float, ...]:
        """Voxel size per axis of the prepared grid, mm (1 for 2D)."""
        return self.case(case).spacing

    def verify(self) -> None:
        """Compares every file with its hash: a flipped bit keeps a file's size, and would be trained on.

        Reads the whole folder once, with all cores. Data that an older version prepared have no hashes.

        Raises:
            DataError: a file is not what was written.
        """
        wanted = {
            self.path / f"{case.index:05d}.{kind}": digest
            for case in self.cases
            for kind, digest in zip(FILES, case.hashes, strict=False)
        }
        with ThreadPoolExecutor(available_processes()) as pool:  # hashlib releases the interpreter's lock
            for path, digest in zip(wanted, pool.map(sha256, wanted), strict=True):
                if digest != wanted[path]:
                    raise _damaged(self.path, f"{path.name} was changed")

    def verify_here(self, *, trusted: float = VERIFIED_SECONDS) -> None:
        """`verify`, unless a process of this host did within so many seconds.

        Raises:
            DataError: as `verify`.
        """
        if not any(case.hashes for case in self.cases):
            return
        stamp = self.path / f".verified-{content_hash(platform.node())}"
        try:
            with FileLock(stamp.with_suffix(".lock")):
                if _seconds_since(stamp) < trusted:
                    return
                self.verify()
                stamp.touch()
        except OSError:  # the folder cannot be written here: each process has its own memory
            if not time.monotonic() - _verified.get(self.path, -math.inf) < trusted:
                self.verify()
                _verified[self.path] = time.monotonic()

    def write_split(self, split: Split) -> str:
        """Writes a split beside the arrays and returns its hash. To write the same one again changes nothing.

        Raises:
            DataError: the split names a case that this data set does not have.
        """
        for case in (*split.train, *split.validation, *split.test):
            self.case(case)
        folder = self.path / SPLITS
        folder.mkdir(exist_ok=True)
        with atomic_write(folder / f"{split.hash}.json") as file:
            file.write(json.dumps(split.to_dict(), indent=1).encode())
        return split.hash

    def read_split(self, split_hash: str) -> Split:
        """The split of that hash.

        Raises:
            DataError: this folder does not have it, or it is damaged.
        """
        path = self.path / SPLITS / f"{split_hash}.json"
        try:
            split = Split.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise DataError(f"data set {self.name!r}: no split {split_hash} in {path.parent}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); remove it and make the split again") from error
        if split.hash != split_hash:
            raise DataError(f"{path} is damaged: it holds split {split.hash}; remove it and make the split again")
        return split

    def to_dict(self) -> dict[str, object]:
        """The manifest as plain JSON values, without the folder's own path."""
        values = {k: v for k, v in asdict(self).items() if k != "path"} | {"format": FORMAT}
        plain: dict[str, object] = json.loads(json.dumps(values))
        return plain | {"checksum": content_hash(plain)}

    def _native(self, case: str) -> dict[str, npt.NDArray[np.uint8]]:
        path = self.path / f"{self.case(case).index:05d}.native.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(self.path, f"{path.name}: {error}") from error

    def _array(self, case: str, kind: str, dtype: type[Scalar], shape: tuple[int, ...]) -> npt.NDArray[Scalar]:
        """Maps an array by the type and shape in the manifest: to parse its own header takes most of the time."""
        known = self.case(case)
        path = self.path / f"{known.index:05d}.{kind}.npy"
        size = known.bytes[FILES.index(f"{kind}.npy")]
        offset = size - math.prod(shape) * np.dtype(dtype).itemsize
        try:
            # As text: for a Path NumPy looks up every folder on the way, which doubles the time.
            array: npt.NDArray[Scalar] = np.memmap(str(path), dtype, mode="r", offset=offset, shape=shape)
        except (OSError, ValueError) as error:
            raise _damaged(self.path, f"{path.name}: {error}") from error
        return array


def open_prepared(path: Path) -> PreparedDataset:
    """Opens a prepared folder. Checks its manifest, and that every array's file has its size.

    Raises:
        DataError: not a prepared folder, or damaged, or of another format.
    """
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        checksum = values.pop("checksum")
        if values["format"] != FORMAT:
            raise DataError(
                f"{path}: prepared in format {values['format']}, this version reads {FORMAT}; prepare it again"
            )
        if checksum != content_hash(values):
            raise _damaged(path, f"{MANIFEST} was changed")
        values.pop("format")
        values["cases"] = tuple(map(_without_own_group(values["reader"]), map(PreparedCase.from_dict, values["cases"])))
        values["excluded"] = tuple(Excluded(*pair) for pair in values["excluded"])
        values["members"] = tuple(map(tuple, values.get("members", ())))
        if "intake" not in values and (path / INTAKE).is_file():
            values["intake"] = json.loads((path / INTAKE).read_text(encoding="utf-8"))
        prepared = PreparedDataset(path=path, **(values | {"classes": tuple(values["classes"])}))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not a prepared data set (no {MANIFEST}); run `sweeper data prepare`") from error
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{MANIFEST}: {error}") from error
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(path) if entry.name.endswith((".npy", ".npz"))}
    for case in prepared.cases:
        for kind, size in zip(FILES, case.bytes, strict=True):
            name = f"{case.index:05d}.{kind}"
            if sizes.get(name) != size:
                raise _damaged(path, f"{name} has {sizes.get(name, 0)} bytes, not {size}")
    return prepared


_verified: dict[Path, float] = {}


def _seconds_since(stamp: Path) -> float:
    """How long ago a file was touched; also by a clock that runs ahead."""
    try:
        return abs(time.time() - stamp.stat().st_mtime)
    except FileNotFoundError:
        return math.inf


def _without_own_group(reader: Mapping[str, object]) -> Callable[[PreparedCase], PreparedCase]:
    """Whole volumes have no patient where `nifti-folder` had no `group`. Older versions named each after itself."""
    whole_volumes = reader.get("group", "") is None and "slices" in reader

    def fixed(case: PreparedCase) -> PreparedCase:
        return replace(case, group=None) if whole_volumes and not case.part and case.group == case.id else case

    return fixed


def prepared_path(root: Path, name: str, key: str) -> Path:
    """The folder of a prepared data set."""
    return below(root, f"{name}-{key}")


def is_prepared(root: Path, name: str, key: str) -> bool:
    """Whether that data set was prepared (a folder of this name is always finished)."""
    return (prepared_path(root, name, key) / MANIFEST).is_file()


def _damaged(path: Path, detail: str) -> DataError:
    return DataError(
        f"{path}: the prepared data set is damaged ({detail}); run `sweeper data prepare` to make it again"
    )


def sorted_cases(cases: Sequence[PreparedCase]) -> tuple[PreparedCase, ...]:
    """In order of id, whatever the order in which parallel preparation finished."""
    return tuple(sorted(cases, key=lambda case: case.id))
