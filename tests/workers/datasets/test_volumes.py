from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from workers.datasets import nifti
from workers.datasets.volumes import read_header, read_labels, read_volume
from workers.errors import DataError

RNG = np.random.default_rng(0)
AFFINE = np.array([[0, 0, -0.8, 10], [0, -0.8, 0, 20], [-3.0, 0, 0, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_it_reads_what_nibabel_reads(tmp_path: Path, write_volume: Any, dtype: Any, name: str) -> None:
    values = RNG.integers(0, 200, (5, 6, 7)).astype(dtype)
    path = write_volume(tmp_path / name, values, AFFINE)
    volume, header = read_volume(path)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume, values)
    np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(header.spacing, (3.0, 0.8, 0.8), atol=1e-6)
    assert read_header(path).shape == (5, 6, 7)


def test_slope_and_intercept_byte_order_and_nifti_2(tmp_path: Path) -> None:
    values = RNG.integers(-50, 50, (5, 6, 7)).astype(np.int16)
    for kind, order in ((nibabel.Nifti1Image, ">"), (nibabel.Nifti2Image, "<"), (nibabel.Nifti2Image, ">")):
        header = kind.header_class(endianness=order)
        header.set_data_dtype(np.int16)
        header.set_slope_inter(0.5, -100)
        image = kind(values.astype(np.float64) * 0.5 - 100, AFFINE, header)
        path = tmp_path / f"{kind.__name__}{ord(order)}.nii.gz"
        nibabel.save(image, path)
        volume, _ = read_volume(path)
        np.testing.assert_allclose(volume, nibabel.load(path).get_fdata(), atol=1e-4)


def test_slabs_change_nothing(tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.normal(size=(5, 6, 7)).astype(np.float32)
    path = write_volume(tmp_path / "v.nii.gz", values)
    monkeypatch.setattr(nifti, "_SLAB_BYTES", 300)
    np.testing.assert_array_equal(read_volume(path)[0], values)


def test_extensions_are_skipped_and_not_kept(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RNG.normal(size=(4, 4, 4)).astype(np.float32), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Mueller^Anna" * 20))
    nibabel.save(image, tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz")[0], np.asarray(image.dataobj))


def test_a_trailing_axis_of_one_is_no_fourth_axis(tmp_path: Path, write_volume: Any) -> None:
    values = RNG.normal(size=(4, 5, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(read_volume(write_volume(tmp_path / "v.nii", values))[0], values[..., 0])


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 5), (4, 5, 6, 1, 3)])
def test_other_numbers_of_axes_are_refused(tmp_path: Path, write_volume: Any, shape: tuple[int, ...]) -> None:
    path = write_volume(tmp_path / "v.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(DataError, match=r"v\.nii\.gz: a volume of shape .*; expected three axes"):
        read_volume(path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, write_volume: Any, name: str, share: float) -> None:
    path = write_volume(tmp_path / name, RNG.normal(size=(16, 16, 16)).astype(np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_volume(path)


def test_a_flipped_bit_in_a_gzip_file_is_found(tmp_path: Path, write_volume: Any) -> None:
    """Stored blocks unpack whatever their bits are: only the checksum at the end tells."""
    path = tmp_path / "v.nii.gz"
    content = bytearray(gzip.compress(nibabel.Nifti1Image(RNG.random((8, 8, 8)), np.eye(4)).to_bytes(), 0))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"v\.nii\.gz: damaged.*CRC"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"<html>404</html>" * 40, b"\x1f\x8b\x08\x00garbage" * 50])
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"v\.nii\.gz: "):
        read_volume(tmp_path / "v.nii.gz")
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "missing.nii.gz")


def declaring(shape: tuple[int, int, int], padding: int, **fields: Any) -> bytes:
    """A gzip file that unpacks to a header declaring `shape`, and `padding` zero bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float64)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    for name, value in fields.items():
        header[name] = value
    return gzip.compress(header.binaryblock + bytes(4 + padding), 9)


def test_a_header_that_declares_too_much_is_refused_before_reading(tmp_path: Path) -> None:
    (tmp_path / "v.nii.gz").write_bytes(declaring((20_000, 20_000, 20_000), 1000))
    tracemalloc.start()
    with pytest.raises(DataError, match="20000×20000×20000 voxels, above the limit"):
        read_volume(tmp_path / "v.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_gzip_bomb_behind_a_small_header_is_not_unpacked(tmp_path: Path) -> None:
    """100 MB of zeros in 100 kB, of which the header declares 4 kB."""
    (tmp_path / "v.nii.gz").write_bytes(declaring((8, 8, 8), 100_000_000))
    tracemalloc.start()
    volume, _ = read_volume(tmp_path / "v.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert volume.shape == (8, 8, 8)


@pytest.mark.parametrize(
    "fields",
    [
        {"sform_code": -32768},
        {"pixdim": [1, -1, 1, 1, 0, 0, 0, 0]},
        {"srow_x": [1e-30, 0, 0, 0]},
        {"srow_x": [0, 1, 0, 0], "srow_y": [1e-9, 1, 0, 0]},
        {"srow_y": [np.nan, 0, 0, 0]},
        {"pixdim": [np.inf] * 8, "sform_code": 0},
    ],
)
def test_odd_headers_are_read_or_refused_and_nothing_is_printed(
    tmp_path: Path, fields: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.nii.gz").write_bytes(declaring((8, 8, 8), 8 * 8 * 8 * 8, **fields))
    with warnings.catch_warnings(), contextlib.suppress(DataError):
        warnings.simplefilter("error")
        read_volume(tmp_path / "v.nii.gz")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("offset", [1e9, np.inf, -np.inf, np.nan, -5])
def test_voxels_that_begin_nowhere_are_refused_in_one_line(tmp_path: Path, offset: float) -> None:
    """Such as a bomb in the extensions."""
    (tmp_path / "v.nii.gz").write_bytes(declaring((8, 8, 8), 10, vox_offset=offset))
    with pytest.raises(DataError, match="not a single-file NIfTI volume"):
        read_volume(tmp_path / "v.nii.gz")


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, write_volume: Any, dtype: Any) -> None:
    path = write_volume(tmp_path / "v.nii", np.zeros((3, 3, 3), dtype))
    with pytest.raises(DataError, match="cannot be used; expected real numbers"):
        read_volume(path)


def test_a_header_without_orientation_is_refused(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "v.nii", np.zeros((3, 3, 3), np.float32))
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(content)
    with pytest.raises(DataError, match="no usable orientation"):
        read_volume(path)


def test_labels_go_through_the_map(tmp_path: Path, write_volume: Any) -> None:
    values = RNG.choice([0, 1, 2, 4], (5, 6, 7))
    for dtype in (np.uint8, np.int16, np.float64):
        path = write_volume(tmp_path / "s.nii.gz", values.astype(dtype), AFFINE)
        label = read_labels(path, {0: 0, 1: 0, 2: 0, 4: 1}, read_header(path))
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, values == 4)


@pytest.mark.parametrize("value", [3, 255, 256, -1, 1.5, np.nan, np.inf, 1e10])
def test_wrong_label_values_are_refused(tmp_path: Path, write_volume: Any, value: float) -> None:
    values = np.zeros((4, 4, 4))
    values[1, 2, 3] = value
    path = write_volume(tmp_path / "s.nii.gz", values)
    with pytest.raises(DataError, match=r"s\.nii\.gz: label values .* are not expected; expected \[0, 1, 2, 4\]"):
        read_labels(path, {0: 0, 1: 0, 2: 0, 4: 1}, read_header(path))


def test_labels_on_another_grid_are_refused(tmp_path: Path, write_volume: Any) -> None:
    image = write_volume(tmp_path / "i.nii", np.zeros((4, 5, 6), np.float32))
    small = write_volume(tmp_path / "small.nii", np.zeros((4, 5, 5), np.uint8))
    moved = np.eye(4)
    moved[2, 3] = 7
    away = write_volume(tmp_path / "away.nii", np.zeros((4, 5, 6), np.uint8), moved)
    turned = write_volume(tmp_path / "turned.nii", np.zeros((4, 5, 6), np.uint8), np.diag([-1, 1, 1, 1]))
    like = read_header(image)
    with pytest.raises(DataError, match=r"small\.nii: shape \(4, 5, 5\) differs"):
        read_labels(small, {0: 0}, like)
    with pytest.raises(DataError, match=r"away\.nii: lies up to 7 mm away"):
        read_labels(away, {0: 0}, like)
    with pytest.raises(DataError, match=r"turned\.nii: lies up to"):
        read_labels(turned, {0: 0}, like)
