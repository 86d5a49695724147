"""Volumes in other formats than NIfTI files: MetaImage, NRRD, MGH, TIFF stacks, DICOM series, NumPy and NIfTI pairs.

Each is read whole, by the library that knows it. SimpleITK is an extra: it is large, and few need it.
"""

from __future__ import annotations

import locale
import logging
import re
import struct
import tokenize
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import tifffile
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError

from workers.datasets.grids import Header, make_header, require_numbers, three_axes
from workers.datasets.nifti import Slabs, header_of, quiet_nibabel
from workers.datasets.preprocessing import Affine, times
from workers.errors import DataError

INSTALL = 'python -m pip install "SimpleITK>=2.4"'
"""The command that adds the library for MetaImage, NRRD and DICOM; also the extra `formats`."""

_LPS = np.diag([-1.0, -1.0, 1.0])
"""ITK's axes point to left and posterior, ours to right and anterior."""

_UNEVEN = 0.02
"""How far the distance of two slices of a DICOM series may be from the others', as a share of it."""

_HEADER_BYTES = 1 << 16
"""Most bytes of a text header that are read."""

Opener = Callable[[Path], AbstractContextManager[tuple[Header, Slabs]]]

_Array = npt.NDArray[np.generic]


def opener_of(path: Path) -> Opener | None:
    """What reads the volumes of a file's format; None for NIfTI, and for all that is not known."""
    name = path.name.lower()
    for ending, opener in _OPENERS.items():
        if name.endswith(ending):
            return opener
    return None if name.endswith((".nii", ".nii.gz")) or not _is_dicom(path) else open_dicom


def companions(path: Path) -> tuple[Path, ...]:
    """The further files that a volume consists of: slices of a DICOM series, or the voxels of a header.

    Raises:
        DataError: the header names a file in another folder, or one that is not there.
    """
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        return _detached(path, r"(?im)^ElementDataFile\s*=\s*(.*?)\s*$", "LOCAL")
    if name.endswith((".nhdr", ".nrrd")):
        return _detached(path, r"(?im)^data ?file:\s*(.*?)\s*$", "")
    if name.endswith((".hdr", ".img")):
        pair = [other for other in path.parent.glob(path.stem + ".*") if other.suffix.lower() in (".hdr", ".img")]
        if len(pair) != 2:
            raise DataError(f"{path}: a pair of .hdr and .img, of which one is missing")
        return tuple(other for other in pair if other != path)
    if opener_of(path) is open_dicom:
        return tuple(other for other in dicom_files(path.parent) if other != path)
    return ()


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, in the order of their names."""
    names = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name != "DICOMDIR"]
    return [path for path in names if path.is_file() and _is_dicom(path)]


@contextmanager
def open_itk(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """A MetaImage or NRRD file.

    Raises:
        DataError: SimpleITK is missing; or the file is damaged, or not a volume.
    """
    itk = _simple_itk(path)
    companions(path)  # refuses a header that leads out of its folder, before anything is opened
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    with _damage(path):
        reader.ReadImageInformation()
    header = _itk_header(path, reader)

    def load() -> _Array:
        with _damage(path):
            image = reader.Execute()
        array: _Array = itk.GetArrayFromImage(image)  # a view would outlive its image
        # (volumes, z, y, x), or (z, y, x, components)
        if array.ndim == 4 and reader.GetDimension() == 4:
            array = np.moveaxis(array, 0, -1)
        return np.swapaxes(array, 0, 2)

    yield header, _whole(path, header, load)


def _itk_header(path: Path, reader: Any) -> Header:
    size, dimension = tuple(reader.GetSize()), int(reader.GetDimension())
    components = int(reader.GetNumberOfComponents())
    shape, channels = three_axes(path, size if components == 1 else (*size, *[1] * (3 - len(size)), components))
    affine = np.eye(4)
    direction = np.array(reader.GetDirection(), np.float64).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = _LPS @ direction @ np.diag(reader.GetSpacing()[:3])
    affine[:3, 3] = _LPS @ np.array(reader.GetOrigin()[:3])
    return make_header(shape, _usable(path, affine), channels)


@contextmanager
def open_dicom(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """The DICOM series of which a file is a slice: all files in its folder.

    No text of a file is read but the numbers that say where its slice lies.

    Raises:
        DataError: SimpleITK is missing; several series lie there, a slice is missing, or a file is damaged.
    """
    itk = _simple_itk(path)
    slices = []
    for file in dicom_files(path.parent):
        reader = itk.ImageFileReader()
        reader.SetFileName(str(file))
        with _damage(file):
            reader.ReadImageInformation()
        slices.append((file, reader))
    if not slices:
        raise DataError(f"{path}: no DICOM file; get it again or exclude the case")
    if len(slices) == 1 and slices[0][1].GetSize()[2:] > (1,):
        with open_itk(path) as opened:  # one file with all slices
            yield opened
        return
    series = {reader.GetMetaData("0020|000e") if reader.HasMetaDataKey("0020|000e") else "" for _, reader in slices}
    sizes = {tuple(reader.GetSize()[:2]) for _, reader in slices}
    folder = path.parent
    if len(series) > 1 or len(sizes) > 1:
        raise DataError(
            f"{folder}: {max(len(series), len(sizes))} DICOM series lie in one folder; put each into its own, such as "
            '"{id}/ct/"'
        )
    first = slices[0][1]
    direction = np.array(first.GetDirection(), np.float64).reshape(len(first.GetSize()), -1)[:3, :3]
    normal = np.cross(direction[:, 0], direction[:, 1])
    ordered = sorted(slices, key=lambda one: float(normal @ np.array(one[1].GetOrigin()[:3])))
    heights = np.array([normal @ np.array(reader.GetOrigin()[:3]) for _, reader in ordered])
    steps = np.diff(heights)
    if len(steps) == 0 or not (step := float(np.median(steps))) > 0 or np.abs(steps - step).max() > _UNEVEN * step:
        raise DataError(
            f"{folder}: the {len(slices)} slices of the DICOM series are not at even distances ("
            + (f"{steps.min():.3g} to {steps.max():.3g} mm" if len(steps) else "one slice")
            + "); one is missing or there twice. Complete the series, or exclude the case"
        )
    width, height = next(iter(sizes))
    shape, _ = three_axes(folder, (width, height, len(ordered)))
    affine = np.eye(4)
    sides = np.array([*first.GetSpacing()[:2], float(steps.mean())])
    affine[:3, :3] = _LPS @ np.stack([direction[:, 0], direction[:, 1], normal], axis=1) @ np.diag(sides)
    affine[:3, 3] = _LPS @ np.array(ordered[0][1].GetOrigin()[:3])

    def slabs() -> Slabs:
        for index, (file, reader) in enumerate(ordered):
            with _damage(file):
                values = itk.GetArrayFromImage(reader.Execute())
            require_numbers(file, values.dtype)
            if values.size != width * height:
                raise DataError(f"{file}: a slice in colour; expected one value per pixel")
            yield 0, slice(index, index + 1), values.reshape(height, width).T[..., None]

    yield make_header(shape, _usable(folder, affine)), slabs()


@contextmanager
def open_mgh(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """A FreeSurfer volume."""
    with _damage(path):
        image = nibabel.load(path)
        shape, channels = three_axes(path, image.shape)
        require_numbers(path, image.get_data_dtype())
        affine = _usable(path, np.asarray(image.affine, np.float64))
    yield (header := make_header(shape, affine, channels)), _whole(path, header, lambda: np.asarray(image.dataobj))


@contextmanager
def open_pair(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """A NIfTI volume whose header and voxels are two files, .hdr and .img."""
    companions(path)
    with _damage(path):
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise DataError(
                f"{path}: an Analyze file, which does not say which way its axes run; save it as .nii.gz with its "
                "orientation"
            )
        header = header_of(path, image.header)
    yield header, _whole(path, header, lambda: np.asarray(image.dataobj))


@contextmanager
def open_tiff(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """A TIFF file of several pages, which are the slices of a volume, from the lowest up."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is told by the error alone
    with _damage(path):
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            axes, stored = series.axes, series.shape
            sides = _tiff_sides(tiff)
        if len(axes) != 3 or axes[1:] != "YX":
            raise DataError(
                f"{path}: a TIFF of shape {times(stored)} ({axes}); expected pages of one grey image, each a slice"
            )
        require_numbers(path, series.dtype)
    yield _indexed(path, stored, sides, lambda: tifffile.imread(path))


@contextmanager
def open_numpy(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """An array (z, y, x) or (z, y, x, channels) as NumPy saves it."""
    with _damage(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim not in (3, 4):
        raise DataError(f"{path}: expected one array with the axes z, y, x or z, y, x, channels")
    require_numbers(path, array.dtype)
    yield _indexed(path, array.shape, None, lambda: array)


def _indexed(
    path: Path, stored: tuple[int, ...], sides: tuple[float, float, float] | None, load: Callable[[], _Array]
) -> tuple[Header, Slabs]:
    """A volume (z, y, x) of which the file does not say how it lies in the body."""
    shape, channels = three_axes(path, (*stored[2::-1], *stored[3:]))
    notes = ["the file does not say which way its axes run, so left and right are not known; slices go upwards"]
    if sides is None:
        notes.append("the file gives no size of a voxel; 1 mm is taken")
    affine = np.diag([*(sides or (1.0, 1.0, 1.0)), 1.0])
    header = make_header(shape, affine, channels, sized=sides is not None, notes=tuple(notes))
    return header, _whole(path, header, lambda: np.swapaxes(load(), 0, 2))


def _whole(path: Path, header: Header, load: Callable[[], _Array]) -> Slabs:
    """The channels of an array (x, y, z) or (x, y, z, channels) as slabs."""
    with _damage(path):
        array = load()
    require_numbers(path, array.dtype)
    volumes: npt.NDArray[Any] = array.reshape(*header.shape, header.channels)
    if volumes.dtype == np.bool_:
        volumes = volumes.astype(np.uint8)
    for channel in range(header.channels):
        yield channel, slice(0, header.shape[2]), volumes[..., channel]


def _tiff_sides(tiff: tifffile.TiffFile) -> tuple[float, float, float] | None:
    """The voxel sizes (x, y, z) in mm that ImageJ or OME wrote; None where there are none."""
    if tiff.ome_metadata:
        found = [re.search(rf'PhysicalSize{axis}="([^"]+)"', tiff.ome_metadata) for axis in "XYZ"]
        units = [re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', tiff.ome_metadata) for axis in "XYZ"]
        names = [unit[1] if unit else "µm" for unit in units]
        if all(found) and all(name in _UNITS for name in names):
            x, y, z = (float(one[1]) * _UNITS[name] for one, name in zip(found, names, strict=True) if one)
            return x, y, z
        return None
    about = tiff.imagej_metadata or {}
    unit = _UNITS.get(str(about.get("unit", "")).replace("\\u00B5", "µ"))
    resolution = [tiff.pages.first.tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or "spacing" not in about or not all(resolution):
        return None
    x, y = (tag.value[1] / tag.value[0] * unit for tag in resolution if tag)
    return x, y, float(about["spacing"]) * unit


_UNITS = {"mm": 1.0, "cm": 10.0, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}
"""Units of lengths in TIFF files, in mm."""

_LIBRARY_ERRORS = (
    *(OSError, EOFError, zlib.error, struct.error, ValueError, LookupError, TypeError, OverflowError),
    *(HeaderDataError, ImageDataError, ImageFileError, MGHError, WrapStructError),  # nibabel
    tifffile.TiffFileError,
    RuntimeError,  # SimpleITK
    *(tokenize.TokenError, SyntaxError),  # NumPy
    AssertionError,  # tifffile
)
"""What the libraries raise for damaged files."""

_OPENERS: dict[str, Opener] = {
    ".mha": open_itk,
    ".mhd": open_itk,
    ".nrrd": open_itk,
    ".nhdr": open_itk,
    ".mgz": open_mgh,
    ".mgh": open_mgh,
    ".hdr": open_pair,
    ".img": open_pair,
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".npy": open_numpy,
    ".dcm": open_dicom,
}


def _detached(path: Path, field: str, own: str) -> tuple[Path, ...]:
    """The file with the voxels that a text header names; none where they are in the same file."""
    try:
        with path.open("rb") as file:
            text = file.read(_HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        text = text.split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0]  # below it are the voxels
    match = re.search(field, text.decode("latin-1"))
    name = match[1] if match else own
    if name == own:
        return ()
    if "/" in name or "\\" in name or " " in name or "%" in name or name.upper() == "LIST":
        raise DataError(
            f"{path}: its voxels are in {name!r}; expected one file in the same folder. Save it as one file"
        )
    other = path.with_name(name)
    if not other.is_file():
        raise DataError(f"{path}: its voxels are in {name}, which is not there")
    return (other,)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _usable(path: Path, affine: Affine) -> Affine:
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-12:
        raise DataError(f"{path}: the header gives no usable orientation and voxel size")
    return affine


def _simple_itk(path: Path) -> ModuleType:
    try:
        import SimpleITK  # large, and only needed for these formats
    except ImportError as error:
        raise DataError(f"{path}: this format is read by SimpleITK, which is not installed: {INSTALL}") from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    module: ModuleType = SimpleITK
    return module


@contextmanager
def _same_locale() -> Iterator[None]:
    """What reads DICOM sets the locale of the whole process to "C": text files would then be read as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What a library raises for a damaged file becomes a DataError. Its text may hold a patient's name."""
    try:
        with warnings.catch_warnings(), quiet_nibabel(), _same_locale():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _LIBRARY_ERRORS as error:
        raise DataError(f"{path}: damaged or unreadable volume; get it again or exclude the case") from error
