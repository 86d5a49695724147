"""Volumes after public bug reports: what is trained on is right, or one line says what is wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from workers.datasets import check, contact_sheet, get_reader, raised_formats
from workers.datasets.coverage import header_warnings
from workers.datasets.prepared import PreparedDataset, preparation_key, prepare
from workers.errors import DataError, ParameterError

SHAPE = (12, 11, 10)
AFFINE = np.array([[-0.9, 0, 0, 40], [0, 1.1, 0, -30], [0, 0, 3, -20], [0, 0, 0, 1.0]])


def ball(shape: tuple[int, ...] = SHAPE, at: tuple[int, ...] = (4, 4, 6), radius: int = 3) -> np.ndarray:
    grid = np.indices(shape)
    return (sum((axis - centre) ** 2 for axis, centre in zip(grid, at, strict=True)) <= radius**2).astype(np.uint8)


def picture(seed: int, mask: np.ndarray, mean: float = 40, spread: float = 20, height: float = 200) -> np.ndarray:
    return (np.random.default_rng(seed).normal(mean, spread, mask.shape) + height * mask.astype(float)).astype(np.int16)


def correlation(image: np.ndarray, label: np.ndarray) -> float:
    return float(np.corrcoef(image.ravel(), (label > 0).ravel())[0, 1])


def ready(folder: Path, options: dict[str, Any], root: Path) -> PreparedDataset:
    return prepare(get_reader("nifti-folder", options), folder, root)


@pytest.fixture
def sequences(tmp_path: Path, write_volume: Any) -> Path:
    """Three patients with a T1 around 3000, a FLAIR around 40 in which alone the structure is seen, a CT and a PET."""
    folder = tmp_path / "sequences"
    mask = ball()
    for i in range(3):
        write_volume(folder / str(i) / "t1.nii.gz", picture(i, mask, 3000, 800, 0))
        write_volume(folder / str(i) / "flair.nii.gz", picture(i + 50, mask, 40, 8, 40))
        write_volume(folder / str(i) / "ct.nii.gz", picture(i, mask, 30, 60, 0))
        write_volume(folder / str(i) / "pet.nii.gz", (picture(i + 9, mask, 900, 500, 12000)).astype(np.float32))
        write_volume(folder / str(i) / "seg.nii.gz", mask)
    return folder


def of(*names: str, **options: Any) -> dict[str, Any]:
    return {"images": [f"{{id}}/{name}.nii.gz" for name in names], "labels": "{id}/seg.nii.gz", **options}


def test_each_sequence_has_its_own_z_score(sequences: Path, tmp_path: Path) -> None:
    prepared = ready(sequences, of("t1", "flair"), tmp_path / "root")
    for case in prepared.case_ids:
        image = np.asarray(prepared.image(case))
        np.testing.assert_allclose(image.mean(axis=(0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(image.std(axis=(0, 1, 2)), 1, atol=1e-4)
        assert correlation(image[..., 1], prepared.label(case)) > 0.7
    alone = ready(sequences, of("flair"), tmp_path / "root")
    np.testing.assert_array_equal(alone.image("1")[..., 0], prepared.image("1")[..., 1])


def test_each_image_is_clipped_by_its_own_window(sequences: Path, tmp_path: Path) -> None:
    prepared = ready(sequences, of("ct", "pet", clip=[[-79, 304], []], spacing=[2, 1, 1]), tmp_path / "root")
    assert correlation(prepared.image("0")[..., 1], prepared.label("0")) > 0.9
    assert len(np.unique(prepared.image("0")[..., 1])) > 200
    alone = ready(sequences, of("ct", clip=[-79, 304], spacing=[2, 1, 1]), tmp_path / "root")
    np.testing.assert_array_equal(alone.image("0")[..., 0], prepared.image("0")[..., 0])


def test_one_window_for_several_images_is_refused_with_what_to_write() -> None:
    with pytest.raises(
        ParameterError, match=r"clip = \[-79\.0, 304\.0\] with 2 images: .*\[\[-79\.0, 304\.0\], \[\]\]"
    ):
        get_reader("nifti-folder", of("ct", "pet", clip=[-79, 304]))
    for wrong in ([1], [[1, 2], [3]], [[2, 1], []], [1, [2, 3]], ["a", "b"]):
        with pytest.raises(ParameterError, match=r"clip.*give \[lowest, highest\]"):
            get_reader("nifti-folder", of("ct", "pet", clip=wrong))


def test_windows_for_another_number_of_channels_are_refused(sequences: Path) -> None:
    reader = get_reader("nifti-folder", of("ct", "pet", clip=[[0, 1], [0, 1], [0, 1]]))
    report = check(reader, sequences)
    assert "has 2 channels, and clip has 3 pairs" in report.problems[0].message


def test_a_sequence_in_which_nothing_is_seen_is_named(sequences: Path, write_volume: Any) -> None:
    write_volume(sequences / "1" / "flair.nii.gz", np.full(SHAPE, 7, np.int16))
    report = check(get_reader("nifti-folder", of("t1", "flair")), sequences)
    (problem,) = [found for found in report.problems if found.severity == "error"]
    assert problem.case == "1"
    assert "1/flair.nii.gz: every value of the image is 7" in problem.message


def test_the_sheet_shows_every_sequence(sequences: Path, tmp_path: Path) -> None:
    prepared = ready(sequences, of("t1", "flair", "ct"), tmp_path / "root")
    sheet = PillowImage.open(contact_sheet(prepared, tmp_path / "sheet.png"))
    assert sheet.width == 3 * 196 + 4
    grey = np.asarray(sheet.convert("RGB"))[18:210].astype(int)
    tiles = [grey[:, 4 + 196 * i : 196 * (i + 1)] for i in range(3)]
    assert all(np.abs(a - b).mean() > 5 for a, b in ((tiles[0], tiles[1]), (tiles[1], tiles[2])))


@pytest.fixture
def stripped(tmp_path: Path, write_volume: Any) -> Path:
    """Two skull-stripped brains: nothing but 0 in the two slices at each end; and one label lies in such a slice."""
    folder = tmp_path / "stripped"
    for i in range(2):
        mask = ball()
        volume = picture(i, mask)
        volume[..., :2] = volume[..., -2:] = 0
        write_volume(folder / f"p{i}" / "t1.nii.gz", volume)
        write_volume(folder / f"p{i}" / "seg.nii.gz", mask)
    return folder


def test_slices_without_anything_in_them_are_left_out_and_listed(stripped: Path, tmp_path: Path) -> None:
    options = of("t1", slices="axial")
    prepared = ready(stripped, options, tmp_path / "root")
    assert prepared.case_ids == tuple(f"p{i}-axial-{z:03d}" for i in range(2) for z in range(2, 8))
    assert [case for case, _ in prepared.excluded] == [f"p{i}-axial-{z:03d}" for i in range(2) for z in (0, 1, 8, 9)]
    reasons = dict(prepared.excluded)
    assert reasons["p0-axial-000"] == "every value of the image is 0"
    assert "though its mask marks 21 pixels" in reasons["p0-axial-008"]
    report = check(get_reader("nifti-folder", options), stripped)
    assert report.ok
    assert report.cases == 12
    empty = [problem.message for problem in report.problems if "the mask is empty" in problem.message]
    assert [message.split("stripped/")[1] for message in empty] == [
        f"p{i}/seg.nii.gz: the mask is empty" for i in range(2)
    ]
    assert report.excluded == prepared.excluded


def test_a_sequence_may_be_empty_in_a_slice_of_which_another_shows_something(
    stripped: Path, tmp_path: Path, write_volume: Any
) -> None:
    for i in range(2):
        write_volume(stripped / f"p{i}" / "t2.nii.gz", picture(i + 9, ball()))
    prepared = ready(stripped, of("t1", "t2", slices="axial"), tmp_path / "root")
    assert len(prepared.cases) == 20
    assert not prepared.image("p0-axial-000")[..., 0].any()
    assert prepared.image("p0-axial-000")[..., 1].std() == pytest.approx(1, abs=1e-4)


def test_an_error_in_a_slice_names_case_slice_and_file(stripped: Path, tmp_path: Path, write_volume: Any) -> None:
    volume = picture(0, ball()).astype(np.float32)
    volume[3, 3, 5] = np.nan
    write_volume(stripped / "p1" / "t1.nii.gz", volume)
    with pytest.raises(DataError, match=r"p1/t1\.nii\.gz: case 'p1-axial-005': 1 of 132 values are NaN"):
        ready(stripped, of("t1", slices="axial"), tmp_path / "root")
    write_volume(stripped / "p0" / "seg.nii.gz", 3 * ball())
    with pytest.raises(DataError, match=r"case 'p0-axial-000': .*p0/seg\.nii\.gz: label values 3"):
        ready(stripped, of("t1", slices="axial"), tmp_path / "root")
    errors = check(get_reader("nifti-folder", of("t1", slices="axial")), stripped).problems[:2]
    assert [problem.case for problem in errors] == ["p0-axial-000", "p1-axial-005"]
    assert "label values 3 are not expected; expected [0, 1] (and in 9 more of its parts)" in errors[0].message


@pytest.mark.parametrize("labelled", [False, True])
def test_every_volume_that_cannot_be_cut_into_slices_is_listed(stripped: Path, labelled: bool) -> None:
    for name in ("p0", "p1"):
        (stripped / name / "t1.nii.gz").write_bytes(b"no volume of " + name.encode())
    reader = get_reader("nifti-folder", of("t1", slices="axial", labelled=labelled))
    problems = check(reader, stripped).problems
    assert [(problem.severity, problem.case) for problem in problems] == [("error", "p0"), ("error", "p1")]
    assert all(f"{problem.case}/t1.nii.gz" in problem.message for problem in problems)


def test_nothing_is_printed_beside_what_is_said(stripped: Path, write_volume: Any) -> None:
    volume = picture(0, ball()).astype(np.float64)
    volume[0, 0, 0] = 1e300
    write_volume(stripped / "p0" / "t1.nii.gz", volume)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check(get_reader("nifti-folder", of("t1")), stripped)
    assert "values are NaN or infinite" in report.problems[0].message


def header_case(folder: Path, image: dict[str, Any], label: dict[str, Any]) -> Path:
    """A folder of one case with these forms: `sform`, `qform` (None: code 0), `zooms`, `units`, `flipped`."""
    mask = ball()
    for name, values, how in (("ct", picture(1, mask), image), ("seg", mask, label)):
        stored = np.ascontiguousarray(values[::-1, ::-1]) if how.get("flipped") else values
        volume = nibabel.Nifti1Image(stored, None)
        volume.header.set_zooms(how.get("zooms", (0.9, 1.1, 3)))
        volume.header.set_xyzt_units(how.get("units", "mm"))
        for form in ("sform", "qform"):
            matrix = how.get(form, AFFINE)
            getattr(volume, f"set_{form}")(matrix, 0 if matrix is None else 1)
        (folder / "p").mkdir(parents=True, exist_ok=True)
        nibabel.save(volume, folder / "p" / f"{name}.nii.gz")
    return folder


FORMS = {"sform": AFFINE, "qform": AFFINE}
CODELESS = {"sform": None, "qform": None}
MIRRORED = np.diag([-1, 1, 1, 1.0]) @ AFFINE
TURNED = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, -1, 0, SHAPE[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def looked_at(folder: Path, root: Path, **options: Any) -> tuple[float, list[str], PreparedDataset]:
    """The correlation of image and label, and the warnings of the check."""
    chosen = {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz", **options}
    prepared = prepare(get_reader("nifti-folder", chosen), folder, root)
    report = check(get_reader("nifti-folder", chosen), folder)
    assert report.ok
    problems = [problem.message for problem in report.problems if problem.case != "split"]
    return correlation(prepared.image("p")[..., 0], prepared.label("p")), problems, prepared


def test_a_label_stored_flipped_is_turned_without_loss(tmp_path: Path) -> None:
    turned = {"sform": TURNED, "qform": TURNED, "flipped": True}
    found, warned, prepared = looked_at(header_case(tmp_path / "t", FORMS, turned), tmp_path / "root")
    assert found > 0.8
    assert warned == []
    plain = looked_at(header_case(tmp_path / "u", FORMS, FORMS), tmp_path / "root")[2]
    np.testing.assert_array_equal(prepared.label("p"), plain.label("p"))
    np.testing.assert_array_equal(prepared.native_label("p"), ball())


def test_a_channel_is_held_to_the_tolerance_of_a_label(tmp_path: Path, write_volume: Any) -> None:
    folder = header_case(tmp_path / "t", FORMS, FORMS)
    for name, shift, ok in (("near", 0.4, True), ("far", 0.5, False)):
        affine = AFFINE.copy()
        affine[0, 3] += shift
        write_volume(folder / "p" / "t2.nii.gz", picture(5, ball()), affine)
        write_volume(folder / "p" / "lab.nii.gz", ball(), affine)
        for options in ({"images": ["{id}/ct.nii.gz", "{id}/t2.nii.gz"]}, {"labels": "{id}/lab.nii.gz"}):
            given = {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz", **options}
            assert check(get_reader("nifti-folder", given), folder).ok == ok, name


def test_headers_without_orientation_are_taken_with_a_warning(tmp_path: Path) -> None:
    found, warned, prepared = looked_at(header_case(tmp_path / "t", CODELESS, CODELESS), tmp_path / "root")
    assert found > 0.8
    assert len(warned) == 1
    assert "ct.nii.gz: the header does not say which way the axes run" in warned[0]
    assert next(header_warnings(prepared.cases)).startswith("p: the header does not say which way the axes run")
    assert prepared.cases[0].spacing == pytest.approx((3, 1.1, 0.9))


def test_a_label_without_orientation_is_refused_or_trusted(tmp_path: Path) -> None:
    folder = header_case(tmp_path / "t", FORMS, CODELESS)
    with pytest.raises(DataError, match=r"seg\.nii\.gz: lies up to .*codes are 0.*options\.grid = \"trust\""):
        looked_at(folder, tmp_path / "root")
    found, _, prepared = looked_at(folder, tmp_path / "root", grid="trust")
    assert found > 0.8
    assert prepared.cases[0].spacing == pytest.approx((3, 1.1, 0.9))


def test_forms_that_contradict_each_other_are_taken_with_a_warning(tmp_path: Path) -> None:
    mirrored = {"sform": AFFINE, "qform": MIRRORED}
    found, warned, _ = looked_at(header_case(tmp_path / "t", mirrored, mirrored), tmp_path / "root")
    assert found > 0.8
    assert "sform and qform disagree on the axes (LAS and RAS)" in warned[0]
    sized = {"sform": AFFINE, "qform": None, "zooms": (1, 1, 1)}
    _, warned, prepared = looked_at(header_case(tmp_path / "u", sized, sized), tmp_path / "root")
    assert "sform and pixdim disagree on the voxel size (0.9 × 1.1 × 3 and 1 × 1 × 1)" in warned[0]
    assert prepared.cases[0].spacing == pytest.approx((3, 1.1, 0.9))


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0)])
def test_lengths_in_other_units_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    matrix = AFFINE.copy()
    matrix[:3] /= factor
    sides = tuple(side / factor for side in (0.9, 1.1, 3))
    other = {"sform": matrix, "qform": matrix, "units": unit, "zooms": sides}
    found, warned, prepared = looked_at(
        header_case(tmp_path / "t", other, FORMS), tmp_path / "root", spacing=[3, 2, 1.8]
    )
    assert found > 0.6
    assert "0.9 × 1.1 × 3 mm" in warned[0]
    plain = looked_at(header_case(tmp_path / "u", FORMS, FORMS), tmp_path / "root", spacing=[3, 2, 1.8])[2]
    assert prepared.cases[0].shape == plain.cases[0].shape == (10, 6, 6)
    np.testing.assert_allclose(prepared.image("p"), plain.image("p"), atol=1e-5)


def test_only_files_in_other_units_get_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = get_reader("nifti-folder", {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz"})
    other = {**FORMS, "units": "micron"}
    folders = [header_case(tmp_path / "mm", FORMS, FORMS), header_case(tmp_path / "um", other, other)]
    now = [preparation_key(reader, folder, cache=tmp_path) for folder in folders]
    monkeypatch.setattr(raised_formats, "FORMAT_VERSIONS", {})
    before = [preparation_key(reader, folder, cache=tmp_path) for folder in folders]
    assert now[0] == before[0]
    assert now[1] != before[1]


def test_almost_whole_label_values_are_taken_and_others_shown_as_they_are(
    sequences: Path, tmp_path: Path, write_volume: Any
) -> None:
    write_volume(sequences / "0" / "seg.nii.gz", (ball() * 0.9999999).astype(np.float64))
    np.testing.assert_array_equal(ready(sequences, of("t1"), tmp_path / "root").native_label("0"), ball())
    write_volume(sequences / "0" / "seg.nii.gz", (ball() * 0.9987654).astype(np.float64))
    with pytest.raises(DataError, match=r"label values 0\.9987654 are not expected"):
        ready(sequences, of("t1"), tmp_path / "root")
