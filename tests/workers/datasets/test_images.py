from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageOps

from workers.datasets import images
from workers.datasets.images import read_binary_mask, read_class_mask, read_image
from workers.errors import DataError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 11, 3), np.uint8)
MASK = (RNG.random((9, 11)) < 0.4).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_rgb_as_it_is(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, RGB)


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=4)


def test_grey_is_repeated_and_colour_becomes_luminance(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(RGB[..., :1], 3, axis=-1))
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    one = read_image(tmp_path / "rgb.png", channels=1)
    assert one.shape == (9, 11, 1)
    np.testing.assert_allclose(one[..., 0], np.asarray(Image.fromarray(RGB).convert("L")), atol=1)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    rgba = np.concatenate([RGB, RNG.integers(0, 256, (9, 11, 1), np.uint8)], axis=-1)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_16_bit_grey_keeps_all_its_values(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (9, 11), np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", channels=1)[..., 0], deep)


@pytest.mark.parametrize("settings", [{}, {"planarconfig": "separate"}])
def test_16_bit_colour_tiff_of_which_pillow_gives_one_byte(tmp_path: Path, settings: dict[str, str]) -> None:
    deep = RNG.integers(0, 65536, (9, 11, 3), np.uint16)
    values = np.moveaxis(deep, -1, 0) if settings else deep
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", **settings)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), deep)


def deep_png(path: Path, values: npt.NDArray[np.uint16]) -> None:
    """A PNG of 16 bits with 2 to 4 channels, in which each row has another of the five filters."""
    height, width, channels = values.shape
    rows = np.frombuffer(values.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    step, above, content = 2 * channels, np.zeros(rows.shape[1], int), b""
    for y, row in enumerate(rows):
        left, corner = (np.concatenate([np.zeros(step, int), line[:-step]]) for line in (row, above))
        guess = left + above - corner
        near = [np.abs(guess - other) for other in (left, above, corner)]
        paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner))
        filtered = row - (np.zeros_like(row), left, above, (left + above) // 2, paeth)[y % 5]
        content += bytes([y % 5]) + (filtered % 256).astype(np.uint8).tobytes()
        above = row
    png(path, width, height, {2: 4, 3: 2, 4: 6}[channels], 16, content)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_16_bits_keeps_them(tmp_path: Path, channels: int) -> None:
    """Pillow gives the higher byte of each value. The last of two and four channels is alpha."""
    deep = RNG.integers(0, 65536, (9, 11, channels), np.uint16)
    deep_png(tmp_path / "a.png", deep)
    colours = deep[..., : 1 if channels == 2 else 3]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", colours.shape[-1]), colours)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_of_a_tiff_that_are_not_declared_are_kept_or_refused(
    tmp_path: Path, depth: type[np.unsignedinteger[Any]], layout: Literal["contig", "separate"], channels: int
) -> None:
    bands = RNG.integers(0, 256, (9, 11, channels)).astype(depth)
    values = np.moveaxis(bands, -1, 0) if layout == "separate" else bands
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig=layout)
    with pytest.raises(DataError, match=rf"a\.tif: the image has {channels} channels.*options.channels = {channels}"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels), bands)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "kept"), [("unassalpha", 3), ("unspecified", 4)])
def test_of_a_tiff_only_declared_alpha_is_dropped(
    tmp_path: Path, depth: type[np.unsignedinteger[Any]], kind: str, kept: int
) -> None:
    bands = RNG.integers(0, 256, (9, 11, 4)).astype(depth)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="rgb", extrasamples=[kind])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", kept), bands[..., :kept])


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "8 bit.tif", "16 bit.tif", "deep.tif"])
def test_a_picture_is_turned_as_viewers_do(tmp_path: Path, name: str, tag: int) -> None:
    """Also a mask. `stored` reads what the file holds."""
    path = tmp_path / name
    smooth = np.add.outer(np.arange(16), 3 * np.arange(24)).astype(np.uint8)
    stored: npt.NDArray[np.generic] = smooth
    if name == "deep.tif":
        stored = np.stack([smooth, smooth + 100, smooth + 130], -1).astype(np.uint16) * 256
        tifffile.imwrite(path, stored, photometric="rgb", extratags=[(274, "H", 1, tag, True)])
    else:
        stored = stored.astype(np.uint16) * 256 if name == "16 bit.tif" else stored
        exif = Image.Exif()
        exif[0x0112] = tag
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    marked = Image.fromarray(smooth)
    marked.getexif()[0x0112] = tag
    seen = np.asarray(ImageOps.exif_transpose(marked)).astype(np.float32)
    scale = 1 if stored.dtype == np.uint8 else 256
    np.testing.assert_allclose(read_image(path)[..., 0], seen * scale, atol=2)
    np.testing.assert_allclose(read_image(path, orientation="stored")[..., 0], smooth * float(scale), atol=2)
    if name != "a.jpg":
        values = {int(v) * scale: min(int(v), 1) for v in np.unique(smooth)}
        if name != "deep.tif":
            np.testing.assert_array_equal(read_class_mask(path, values), seen > 0)


def test_a_telephone_s_photograph_is_its_first_picture(tmp_path: Path) -> None:
    """Behind it is a preview."""
    smooth = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (6, 4))], quality=95
    )
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=4)


def test_damaged_exif_data_turn_nothing_and_warn_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    assert not recwarn.list


def test_values_of_a_mask_that_are_nearly_whole(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", (MASK * 0.9999999).astype(np.float32))
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.tif"), MASK)
    tifffile.imwrite(tmp_path / "m.tif", (MASK * 0.99).astype(np.float32))
    with pytest.raises(DataError, match="not whole numbers"):
        read_binary_mask(tmp_path / "m.tif")


def test_float_tiff(tmp_path: Path) -> None:
    values = RNG.normal(size=(9, 11)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[..., 0], values)


def test_paletted_images_give_their_colours(tmp_path: Path) -> None:
    flat = np.repeat(np.repeat(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 4, axis=0), 3, axis=1)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), flat)


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("name", ["m.png", "m.gif", "m.tif"])
def test_binary_masks(tmp_path: Path, name: str, scale: int) -> None:
    Image.fromarray(MASK * scale).save(tmp_path / name)
    label = read_binary_mask(tmp_path / name)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, MASK)


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA"])
def test_binary_masks_in_odd_modes(tmp_path: Path, mode: str) -> None:
    Image.fromarray(MASK * 255).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png"), MASK)


def test_a_16_bit_binary_mask(tmp_path: Path) -> None:
    Image.fromarray(MASK.astype(np.uint16) * 65535).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png"), MASK)


def test_a_gif_mask_goes_by_its_greys_not_its_entries(tmp_path: Path) -> None:
    """Entry 0 is white here: a mask read by entry numbers would be inverted."""
    picture = Image.fromarray(1 - MASK, mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "m.gif")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.gif"), MASK)


def test_a_coloured_palette_means_class_numbers(tmp_path: Path) -> None:
    classes = RNG.integers(0, 3, (9, 11), np.uint8)
    picture = Image.fromarray(classes, mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_class_mask(tmp_path / "m.png", {0: 0, 1: 1, 2: 2}), classes)


def test_smoothed_edges_are_cut_at_half(tmp_path: Path) -> None:
    disc = np.zeros((60, 60), np.uint8)
    disc[20:40, 20:40] = 255
    disc[20:40, 19], disc[20:40, 40] = 100, 150
    Image.fromarray(disc).save(tmp_path / "m.png")
    label = read_binary_mask(tmp_path / "m.png")
    assert label[30, 19] == 0
    assert label[30, 40] == 1
    assert label.sum() == 420


@pytest.mark.parametrize(("values", "found"), [((0, 1, 2), "0, 1, 2"), ((0, 100), "0, 100"), ((0, 128, 255), "128")])
def test_masks_that_are_not_binary_are_refused(tmp_path: Path, values: tuple[int, ...], found: str) -> None:
    array = np.resize(np.array(values, np.uint8), (12, 12))
    Image.fromarray(array).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=rf"m\.png: not a binary mask.*{found}"):
        read_binary_mask(tmp_path / "m.png")


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    Image.new("L", (5, 4)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_binary_mask(tmp_path / "m.png"), np.zeros((4, 5)))


def test_class_masks_go_through_the_map(tmp_path: Path) -> None:
    array = np.resize(np.array([0, 128, 255], np.uint8), (6, 6))
    Image.fromarray(array).save(tmp_path / "m.png")
    label = read_class_mask(tmp_path / "m.png", {0: 0, 128: 2, 255: 1})
    np.testing.assert_array_equal(label, np.resize([0, 2, 1], (6, 6)))
    with pytest.raises(DataError, match=r"mask values 255 are not in the label_map"):
        read_class_mask(tmp_path / "m.png", {0: 0, 128: 1})


def test_a_colour_mask_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "m.png")
    with pytest.raises(DataError, match="a colour image"):
        read_binary_mask(tmp_path / "m.png")


def png(path: Path, width: int, height: int, colour: int, depth: int, content: bytes) -> None:
    """A PNG of which the header says anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize("size", [(9000, 9000), (30_000, 30_000)])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    png(tmp_path / "a.png", *size, 0, 8, b"\0" * 1000)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"a\.png: .*(declares|decompression bomb)"):
        read_image(tmp_path / "a.png")


def test_a_tiff_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 50)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 11, 3), np.uint16), photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif: the file declares"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg", "a.tif", "a.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = RNG.integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif"])
def test_what_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>404 not found</html>")
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_image(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / f"missing-{name}")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(images.PillowImage, "open", denied)  # root may read everything, so the mode would not do
    with pytest.raises(DataError, match=r"a\.png: .*Permission denied"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.gif", "a.tif"])
def test_a_stack_of_images_is_refused(tmp_path: Path, name: str) -> None:
    first = Image.fromarray(MASK * 255)
    first.save(tmp_path / name, save_all=True, append_images=[Image.fromarray((1 - MASK) * 255)])
    with pytest.raises(DataError, match="holds 2 images"):
        read_binary_mask(tmp_path / name)


def test_a_tiff_with_two_widths_is_damaged(tmp_path: Path) -> None:
    """tifffile computes with the numbers of a header before it looks at them; found by `make fuzz`."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    (first,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, first)
    for at in range(first + 2, first + 2 + 12 * tags, 12):
        (tag,) = struct.unpack_from("<H", data, at)
        if tag == 256:  # the width: two numbers
            struct.pack_into("<HIHH", data, at + 2, 3, 2, 8, 8)
        if tag == 258:  # bits of a sample: a number that Pillow does not know
            struct.pack_into("<HIHH", data, at + 2, 3, 1, 3, 0)
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(DataError, match="damaged or unreadable"):
        read_image(tmp_path / "x.tif")
