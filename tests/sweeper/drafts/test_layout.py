"""Names of files, and the patterns that they are found by."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.drafts.groups import find_groups
from sweeper.drafts.layout import find_layout
from workers.errors import DataError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def each(pattern: str, count: int = 6) -> list[str]:
    return [pattern.format(i=i) for i in range(count)]


@pytest.mark.parametrize(
    ("names", "images", "masks"),
    [
        ([*each("images/{i}.png"), *each("masks/{i}.png")], ("images/{id}.png",), "masks/{id}.png"),
        ([*each("Original/{i}.tif"), *each("Ground Truth/{i}.tif")], ("Original/{id}.tif",), "Ground Truth/{id}.tif"),
        ([*each("images/a{i}.jpg"), *each("gt/a{i}_mask.png")], ("images/{id}.jpg",), "gt/{id}_mask.png"),
        ([*each("b/x ({i}).png"), *each("b/x ({i})_mask.png")], ("b/{id}.png",), "b/{id}_mask.png"),
        ([*each("img_{i}.png"), *each("img_{i}_seg.png")], ("{id}.png",), "{id}_seg.png"),
        ([*each("images/img_{i}.png"), *each("masks/mask_{i}.png")], ("images/img_{id}.png",), "masks/mask_{id}.png"),
        ([*each("{i}/ct.nii.gz"), *each("{i}/seg.nii.gz")], ("{id}/ct.nii.gz",), "{id}/seg.nii.gz"),
        (
            [*each("pat{i}/pat{i}_t1.nii"), *each("pat{i}/pat{i}_t2.nii"), *each("pat{i}/pat{i}_seg.nii")],
            ("{id}/{id}_t1.nii", "{id}/{id}_t2.nii"),
            "{id}/{id}_seg.nii",
        ),
        (
            [*each("imagesTr/m_{i}_0000.nii.gz"), *each("imagesTr/m_{i}_0001.nii.gz"), *each("labelsTr/m_{i}.nii.gz")],
            ("imagesTr/{id}_0000.nii.gz", "imagesTr/{id}_0001.nii.gz"),
            "labelsTr/{id}.nii.gz",
        ),
        (["case_0/imaging.nii.gz", "case_0/segmentation.nii.gz"], ("{id}/imaging.nii.gz",), "{id}/segmentation.nii.gz"),
        ([*each("1/t{i}.nii"), "1/seg.nii", *each("c/t{i}.nii"), "c/seg.nii"], None, "{id}/seg.nii"),
        ([*each("{i}/a/ct.dcm"), *each("{i}/seg.nii.gz")], None, None),
        ([*each("images/{i}.png"), *each("images/._{i}.png"), *each("masks/{i}.PNG")], ("images/{id}.png",), None),
        (
            [
                *each("p{i}/images/0.png"),
                *each("p{i}/masks/0.png"),
                *each("p{i}/images/1.png"),
                *each("p{i}/masks/1.png"),
            ],
            ("{group}/images/{id}.png",),
            "{group}/masks/{id}.png",
        ),
    ],
)
def test_images_and_masks_are_told_apart(
    tmp_path: Path, names: list[str], images: tuple[str, ...] | None, masks: str | None
) -> None:
    try:
        found = find_layout(files(tmp_path, *names))
    except DataError:
        assert images is masks is None
        return
    assert images is None or found.images == images
    assert masks is None or found.masks == masks


def test_a_mask_for_each_class_and_for_each_lesion(tmp_path: Path) -> None:
    found = find_layout(files(tmp_path, *each("images/{i}.png"), *each("masks/{i}_EX.png"), "masks/0_MA.png"))
    assert found.masks == {"EX": "masks/{id}_EX.png", "MA": "masks/{id}_MA.png"}
    lesions = tmp_path / "lesions"
    found = find_layout(files(lesions, *each("images/b{i}.png"), *each("masks/b{i}_mask.png"), "masks/b2_mask_1.png"))
    assert (found.masks, found.unite) == ("masks/{id}_mask*.png", True)


def test_a_split_by_folders(tmp_path: Path) -> None:
    names = [name for part in ("train", "val", "test") for kind in ("images", "masks") for name in
             each(f"{part}/{kind}/{part}{{i}}.png")]  # fmt: skip
    found = find_layout(files(tmp_path, *names))
    assert (found.images, found.masks, found.folders) == (("*/images/{id}.png",), "*/masks/{id}.png", True)


def test_what_is_left_aside_is_said(tmp_path: Path) -> None:
    names = [*each("images/{i}.png"), *each("masks/{i}.png"), *each("masks_2nd/{i}.png"), *each("im [T2]/{i}.png")]
    found = find_layout(files(tmp_path, *names))
    assert (found.images, found.masks) == (("images/{id}.png",), "masks/{id}.png")
    assert found.notes == ("further masks were left aside: masks_2nd", "further images were left aside: im [T2]")


@pytest.mark.parametrize("names", [[], ["notes.txt"], each("images/{i}.png"), [*each("a/{i}.png"), *each("b/{i}.png")]])
def test_a_folder_without_masks_is_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match=r"no image files found|no masks that can be told"):
        find_layout(files(tmp_path, *names))


def test_patients_in_names() -> None:
    sure = find_groups([f"pat{i // 2:02d}_ses{i % 2}" for i in range(10)])
    assert sure is not None
    assert (sure.groups, sure.sure) == (5, True)
    eyes = find_groups([f"Image_{i:02d}{side}" for i in range(1, 7) for side in "LR"])
    assert eyes is not None
    assert (eyes.groups, eyes.sure) == (6, True)
    maybe = find_groups([f"slide{i // 3}x_{i}" for i in range(15)])
    assert maybe is not None
    assert not maybe.sure
    assert find_groups([f"IMG{i}" for i in range(9)]) is None
    assert find_groups([f"patient{i}" for i in range(9)]) is None
