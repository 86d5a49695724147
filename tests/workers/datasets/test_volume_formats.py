"""Volumes in other formats than NIfTI files: the same arrays, or one line that says what is missing."""

from __future__ import annotations

import builtins
import gzip
import locale
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile

from workers.datasets import check, get_reader
from workers.datasets.prepared import PreparedDataset, preparation_key, prepare
from workers.datasets.volume_formats import companions
from workers.datasets.volumes import read_header, read_labels, read_volume
from workers.errors import DataError

SHAPE = (9, 8, 7)
AFFINE = np.array([[-0.9, 0, 0, 40], [0, 1.1, 0, -30], [0, 0, 3, -20], [0, 0, 0, 1.0]])
LPS = np.diag([-1.0, -1.0, 1.0])

GRID = np.indices(SHAPE)
MASK = (sum((axis - centre) ** 2 for axis, centre in zip(GRID, (3, 4, 2), strict=True)) <= 4).astype(np.uint8)


def picture(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(40, 20, SHAPE) + 200 * MASK).astype(np.int16)


def itk_image(values: np.ndarray) -> Any:
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(values.T)
    image.SetSpacing((0.9, 1.1, 3.0))
    image.SetOrigin((LPS @ AFFINE[:3, 3]).tolist())
    image.SetDirection((LPS @ AFFINE[:3, :3] @ np.diag([1 / 0.9, 1 / 1.1, 1 / 3])).ravel().tolist())
    return image


def save(path: Path, values: np.ndarray) -> None:
    """Writes a volume in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        itk = pytest.importorskip("SimpleITK")
        itk.WriteImage(itk_image(values), str(path))
    elif path.suffix == ".mgz":
        nibabel.save(nibabel.MGHImage(values.astype(np.int32), AFFINE), path)
    elif path.suffix == ".hdr":
        nibabel.save(nibabel.Nifti1Pair(values, AFFINE), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(
            path,
            values.T,
            imagej=True,
            resolution=(1 / 0.9, 1 / 1.1),
            metadata={"spacing": 3, "unit": "mm", "axes": "ZYX"},
        )
    elif path.suffix == ".npy":
        np.save(path, values.T)
    else:
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


ENDINGS = ["mha", "mhd", "nrrd", "nhdr", "mgz", "hdr", "tif", "npy"]


def folder(place: Path, image: str, label: str = "", saver: Callable[[Path, np.ndarray], None] = save) -> Path:
    for i in range(3):
        saver(place / str(i) / f"ct.{image}", picture(i))
        saver(place / str(i) / f"seg.{label or image}", MASK)
    return place


def of(image: str, label: str = "", **options: Any) -> Any:
    names = {"images": [f"{{id}}/ct.{image}"], "labels": f"{{id}}/seg.{label or image}"}
    return get_reader("nifti-folder", names | options)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_arrays_of_a_nifti_file(ending: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "t", ending)
    prepared = prepare(of(ending), source, tmp_path / "root")
    plain = prepare(of("nii.gz"), folder(tmp_path / "u", "nii.gz"), tmp_path / "root")
    image, label = np.asarray(prepared.image("1")), np.asarray(prepared.label("1"))
    assert np.corrcoef(image.ravel(), label.ravel())[0, 1] > 0.8
    if ending in ("tif", "npy"):  # they do not know which way their axes run
        image, label = image[..., ::-1, :], label[..., ::-1]
    np.testing.assert_allclose(image, plain.image("1"), atol=1e-5)
    np.testing.assert_array_equal(label, plain.label("1"))
    assert not any("same image" in problem.message for problem in check(of(ending), source).problems)
    spacing = (1, 1, 1) if ending == "npy" else (3, 1.1, 0.9)
    assert prepared.cases[0].spacing == pytest.approx(spacing, rel=1e-5)


@pytest.mark.parametrize("ending", ["mha", "nrrd", "mgz"])
def test_masks_may_be_of_another_format(ending: str, tmp_path: Path) -> None:
    prepared = prepare(of(ending, "nii.gz"), folder(tmp_path / "t", ending, "nii.gz"), tmp_path / "root")
    label = np.asarray(prepared.label("1"))
    assert np.corrcoef(prepared.image("1").ravel(), label.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("ending", ENDINGS)
def test_half_a_file_is_refused_by_name(ending: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "t", ending)
    for name in ("ct", "seg"):
        path = source / "1" / f"{name}.{ending}"
        voxels = (companions(path) or (path,))[0]
        content = voxels.read_bytes()
        voxels.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=rf"{name}\.{ending}: "):
            read_volume(path)
        voxels.write_bytes(b"")
        with pytest.raises(DataError, match=rf"{name}\.{ending}: "):
            read_volume(path)


@pytest.mark.parametrize(("ending", "voxels"), [("mhd", "raw"), ("nhdr", "raw"), ("hdr", "img")])
def test_voxels_in_a_file_of_their_own_are_part_of_the_key(ending: str, voxels: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "t", ending)
    before = preparation_key(of(ending), source, cache=tmp_path)
    shutil.copy(source / "0" / f"ct.{voxels}", source / "1" / f"ct.{voxels}")
    assert preparation_key(of(ending), source, cache=tmp_path) != before


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
@pytest.mark.parametrize("name", ["/etc/passwd", "../0/ct.raw", "LIST", "%03d.raw 1 7 1", "missing.raw"])
def test_a_header_leads_nowhere_else(ending: str, name: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "t", ending)
    path = source / "1" / f"ct.{ending}"
    path.write_text(path.read_text().replace("ct.raw.gz", name).replace("ct.raw", name))
    with pytest.raises(DataError, match=rf"ct\.{ending}: its voxels are in"):
        read_volume(path)
    problems = check(of(ending), source).problems
    assert [problem.case for problem in problems if problem.severity == "error"][:1] == ["1"]


def test_without_simple_itk_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ct.mha").write_bytes(b"ObjectType = Image\nElementDataFile = LOCAL\n")
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "SimpleITK":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r'ct\.mha: .*python -m pip install "SimpleITK>=2\.4"'):
        read_header(tmp_path / "ct.mha")


def test_spacing_needs_a_size_of_a_voxel(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", "npy")
    with pytest.raises(DataError, match=r"ct\.npy: the file gives no size of a voxel"):
        prepare(of("npy", spacing=[2, 2, 2]), source, tmp_path / "root")
    report = check(of("npy"), source)
    assert any("1 mm is taken (and 2 more cases)" in problem.message for problem in report.problems)


def test_arrays_of_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[{}]]], dtype=object))
    with pytest.raises(DataError, match=r"a\.npy: "):
        read_volume(tmp_path / "a.npy")


def test_an_analyze_file_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.AnalyzeImage(picture(0), AFFINE), tmp_path / "ct.hdr")
    with pytest.raises(DataError, match="an Analyze file, which does not say which way"):
        read_volume(tmp_path / "ct.hdr")


def dicom(place: Path, values: np.ndarray, **changed: str) -> None:
    """A series as a scanner writes it, with a patient's name in it; the files' names are in no order."""
    itk = pytest.importorskip("SimpleITK")
    place.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    volume = itk_image(values)
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = volume.GetDirection()
    for z in range(values.shape[2]):
        slice_ = volume[:, :, z]
        tags = {
            "0010|0010": "Mueller^Anna",
            "0010|0020": "PATIENT-4711",
            "0008|0060": "CT",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.77",
            "0020|0032": "\\".join(str(v) for v in volume.TransformIndexToPhysicalPoint((0, 0, z))),
            "0020|0037": "\\".join(str(direction[i]) for i in (0, 3, 6, 1, 4, 7)),
            "0020|0013": str(z),
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.77.{z + 1}",
            **{key.replace("_", "|"): value for key, value in changed.items()},
        }
        for tag, value in tags.items():
            slice_.SetMetaData(tag, value)
        writer.SetFileName(str(place / f"{(z * 5) % 7:03d}.dcm"))
        writer.Execute(slice_)
    locale.setlocale(locale.LC_ALL, before)  # which writing has set to "C"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    for i in range(2):
        dicom(tmp_path / "t" / str(i) / "ct", picture(i))
        save(tmp_path / "t" / str(i) / "seg.nii.gz", MASK)
    return tmp_path / "t"


SERIES = {"images": ["{id}/ct/"], "labels": "{id}/seg.nii.gz"}


def test_a_dicom_series_is_the_image_of_a_mask(series: Path, tmp_path: Path) -> None:
    prepared: PreparedDataset = prepare(get_reader("nifti-folder", SERIES), series, tmp_path / "root")
    plain = prepare(of("nii.gz"), folder(tmp_path / "u", "nii.gz"), tmp_path / "root")
    for case in ("0", "1"):
        np.testing.assert_allclose(prepared.image(case), plain.image(case), atol=1e-5)
        np.testing.assert_array_equal(prepared.label(case), plain.label(case))
    assert len(prepared.cases[0].files) == 8
    for path in prepared.path.rglob("*"):
        if path.is_file():
            assert b"Mueller" not in path.read_bytes()
            assert b"4711" not in path.read_bytes()


def test_reading_dicom_leaves_the_locale_as_it_was(series: Path, tmp_path: Path) -> None:
    before = locale.getpreferredencoding(do_setlocale=False)
    prepare(get_reader("nifti-folder", SERIES), series, tmp_path / "root")
    assert locale.getpreferredencoding(do_setlocale=False) == before


def test_a_slice_that_is_missing_or_foreign_is_found(series: Path) -> None:
    (series / "0" / "ct" / "003.dcm").unlink()
    dicom(series / "1" / "ct" / "other", picture(5)[..., :1], **{"0020_000e": "1.2.826.0.1.3680043.2.1125.78"})
    (series / "1" / "ct" / "other" / "000.dcm").rename(series / "1" / "ct" / "x.dcm")
    problems = {p.case: p.message for p in check(get_reader("nifti-folder", SERIES), series).problems}
    assert "0/ct: the 6 slices of the DICOM series are not at even distances (3 to 6 mm)" in problems["0"]
    assert "1/ct: 2 DICOM series lie in one folder" in problems["1"]
    assert "Mueller" not in str(problems)


def test_labels_of_a_numpy_file_go_through_the_map(tmp_path: Path) -> None:
    np.save(tmp_path / "seg.npy", MASK.T.astype(bool))
    label = read_labels(tmp_path / "seg.npy", {0: 0, 1: 3}, read_header(tmp_path / "seg.npy"))
    np.testing.assert_array_equal(label, 3 * MASK)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mgz", gzip.compress(struct.pack(">i", 1) + bytes(400), mtime=0)),  # no voxel along any axis
        ("a.mgh", struct.pack(">i", 1) + bytes(400)),
        ("a.dcm", b"DICM, but not where it belongs"),
    ],
)
def test_a_file_of_another_content_than_its_name_says_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: (damaged|no DICOM file)"):
        read_volume(tmp_path / name)
