"""Each of the five public layouts, from synthetic files in exactly that layout, and what can be wrong with a folder."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from workers.datasets import ExcludedCaseError, Reader, check, get_reader, names, synthesise
from workers.datasets.prepared import prepare
from workers.datasets.splits import make_split
from workers.errors import DataError

PAPER = ("cvc_clinicdb", "drive", "bus2017", "brats20", "kits19")
SMALL = {2: (40, 48), 3: (24, 32, 32)}


def made(name: str, folder: Path, cases: int = 6) -> Path:
    return synthesise(name, cases, folder / name, 0, SMALL[get_reader(name).dimensions])


def small(name: str) -> Reader:
    """The reader, with small pictures."""
    return get_reader(name, {"size": [24, 32]} if get_reader(name).dimensions == 2 else {})


@pytest.mark.parametrize("name", PAPER)
def test_its_layout_from_files_to_arrays(name: str, tmp_path: Path) -> None:
    table1 = get_reader(name).about.table1
    assert table1 is not None
    reader = small(name)
    source = made(name, tmp_path)
    prepared = prepare(reader, source, tmp_path / "root", processes=1)
    assert prepared.provenance == "synthetic"
    assert len(prepared.cases) == 6
    assert prepared.classes == reader.classes
    assert prepared.channels == (3 if reader.dimensions == 2 else 1)
    assert len(table1.foreground) == len(reader.classes) - 1
    for case in prepared.cases:
        assert all(case.voxels), case.id
        if reader.dimensions == 2:
            assert get_reader(name).size == table1.input[:2]
            assert case.shape == (24, 32)
        else:
            assert case.spacing == ((1.0, 1.0, 1.0) if name == "brats20" else (3.22, 1.62, 1.62))
    assert check(reader, source).ok


@pytest.mark.slow
def test_table_1_in_full(tmp_path: Path) -> None:
    """The paper's counts out of folders with the distributions' own numbers of files."""
    expected = {"cvc_clinicdb": (612, 392, 98, 122), "drive": (40, 16, 4, 20), "bus2017": (163, 104, 26, 33)}
    expected |= {"brats20": (369, 219, 55, 68), "kits19": (210, 130, 33, 41)}
    for name, (files, *sizes) in expected.items():
        reader = get_reader(name)
        cases = reader.find_cases(_touched(name, tmp_path / name, files))
        assert len(cases) == files
        if name == "brats20":
            cases = cases[27:]  # that many have no enhancing tumour, which only their files tell
        left = [case for case in cases if case.id not in reader.excluded]
        split = make_split(left, seed=0)
        assert [len(split.train), len(split.validation), len(split.test)] == sizes
        table1 = reader.about.table1
        assert table1 is not None
        assert [len(left), table1.train, table1.validation, table1.test] == [table1.images, *sizes]


def _touched(name: str, folder: Path, files: int) -> Path:
    """A folder of empty files with the names that the distribution has."""

    def touch(path: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()

    for i in range(files):
        if name == "cvc_clinicdb":
            touch(f"Original/{i + 1}.tif")
            touch(f"Ground Truth/{i + 1}.tif")
        elif name == "drive":
            part = "test" if i < 20 else "training"
            touch(f"{part}/images/{i + 1:02d}_{part}.tif")
            touch(f"{part}/1st_manual/{i + 1:02d}_manual1.gif")
            touch(f"{part}/mask/{i + 1:02d}_{part}_mask.gif")
            touch(f"test/2nd_manual/{i + 1:02d}_manual2.gif")
        elif name == "bus2017":
            touch(f"original/{i + 1:06d}.png")
            touch(f"GT/{i + 1:06d}.png")
        elif name == "brats20":
            case = f"BraTS20_Training_{i + 1:03d}"
            for kind in ("t1", "t1ce", "t2", "flair", "seg"):
                touch(f"{case}/{case}_{kind}.nii.gz")
            touch("name_mapping.csv")
        else:
            touch(f"data/case_{i:05d}/imaging.nii.gz")
            touch(f"data/case_{i:05d}/segmentation.nii.gz")
            touch(f"data/case_{i + 210:05d}/imaging.nii.gz")
            touch("data/kits.json")
    return folder


def test_cvc_png_mirror_with_sequences(tmp_path: Path) -> None:
    source = made("cvc_clinicdb", tmp_path)
    mirror = tmp_path / "mirror"
    for kind in ("Original", "Ground Truth"):
        (mirror / "PNG" / kind).mkdir(parents=True)
        for path in (source / kind).iterdir():
            Image.open(path).save(mirror / "PNG" / kind / f"{path.stem}.png")
    lines = ["frame_id,sequence_id,frame_path", *(f"{i},{(i + 1) // 2},x" for i in range(1, 7))]
    (mirror / "metadata.csv").write_text("\n".join(lines))
    reader = get_reader("cvc_clinicdb")
    cases = reader.find_cases(mirror)
    assert [case.group for case in cases] == ["1", "1", "2", "2", "3", "3"]
    for ours, theirs in zip(cases, reader.find_cases(source), strict=True):
        np.testing.assert_array_equal(reader.read_case(ours).image, reader.read_case(theirs).image)
    split = make_split(cases, seed=0, grouped=True)
    assert {len(split.train), len(split.validation), len(split.test)} == {2}
    (mirror / "metadata.csv").write_text("frame,sequence\n1,1\n")
    with pytest.raises(DataError, match=r"metadata\.csv: expected the columns"):
        reader.find_cases(mirror)


def test_drive_keeps_its_partition_and_says_what_newer_downloads_lack(tmp_path: Path) -> None:
    source = made("drive", tmp_path)
    cases = get_reader("drive").find_cases(source)
    assert {case.partition for case in cases if int(case.id) <= 20} == {"test"}
    assert {case.partition for case in cases if int(case.id) > 20} == {"train"}
    shutil.rmtree(source / "test" / "1st_manual")
    with pytest.raises(DataError, match=r"vessels of the test images are missing\. Newer downloads leave"):
        get_reader("drive").find_cases(source)


def test_brats_takes_enhancing_tumour_alone(tmp_path: Path) -> None:
    source = made("brats20", tmp_path)
    reader = get_reader("brats20")
    cases = {case.id: case for case in reader.find_cases(source)}
    case = reader.read_case(cases["001"])
    labels = np.asarray(nibabel.load(cases["001"].label).dataobj)
    assert set(np.unique(labels)) == {0, 1, 2, 4}
    np.testing.assert_array_equal(case.label, labels == 4)
    with pytest.raises(ExcludedCaseError, match="no enhancing tumour"):
        reader.read_case(cases["007"])
    prepared = prepare(reader, source, tmp_path / "root", processes=1)
    assert [tuple(e) for e in prepared.excluded] == [("007", "no enhancing tumour (label 4)")]


def test_brats_355_is_found_under_its_odd_name_and_unpacked_files_too(tmp_path: Path) -> None:
    source = made("brats20", tmp_path) / "BraTS20_Training_003"
    inner = tmp_path / "inner" / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_355"
    inner.mkdir(parents=True)
    for old, new in (("t1ce", "BraTS20_Training_355_t1ce.nii"), ("seg", "W39_1998.09.19_Segm.nii")):
        (inner / new).write_bytes(gzip.decompress((source / f"BraTS20_Training_003_{old}.nii.gz").read_bytes()))
    reader = get_reader("brats20")
    cases = reader.find_cases(tmp_path / "inner")
    assert [case.id for case in cases] == ["355"]
    assert reader.read_case(cases[0]).label.any()


def test_kits_leaves_out_the_six_and_the_unpublished(tmp_path: Path) -> None:
    source = made("kits19", tmp_path)
    (source / "case_00210").mkdir()
    shutil.copy(source / "case_00000" / "imaging.nii.gz", source / "case_00210")
    reader = get_reader("kits19")
    assert "00015" in {case.id for case in reader.find_cases(source)}
    assert "00210" not in {case.id for case in reader.find_cases(source)}
    assert sorted(reader.excluded) == ["00015", "00023", "00037", "00068", "00125", "00133"]
    prepared = prepare(reader, source, tmp_path / "root", processes=1)
    assert [e.id for e in prepared.excluded] == ["00015"]
    assert "00015" not in prepared.case_ids


def test_kits_turned_files_mean_the_same_axes(tmp_path: Path) -> None:
    source = made("kits19", tmp_path)
    shapes = {nibabel.load(path).shape for path in source.rglob("imaging.nii.gz")}
    assert shapes == {(24, 32, 32), (32, 32, 24)}
    prepared = prepare(get_reader("kits19"), source, tmp_path / "root", processes=1)
    for case in prepared.cases:
        assert case.shape[0] < min(case.shape[1:]) + 1  # slices first, whatever the file's order
        low, high = prepared.image(case.id).min(), prepared.image(case.id).max()
        clipped = (304 + 79) / prepared.image(case.id).std()
        assert high - low < 2 * clipped  # air of −1000 HU would stretch it


Change = Callable[[Path], object]


@pytest.mark.parametrize("name", PAPER)
def test_a_folder_of_another_data_set_is_refused(name: str, tmp_path: Path) -> None:
    for other in PAPER:
        if other == name:
            continue
        source = _touched(other, tmp_path / other, 3)
        with pytest.raises(DataError, match=r"does not look like|are missing"):
            get_reader(name).find_cases(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)does not look like .* Expected:.*Found there: nothing"):
        get_reader(name).find_cases(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "image", "mask"),
    [
        ("cvc_clinicdb", "Original/2.tif", "Ground Truth/2.tif"),
        ("drive", "training/images/22_training.tif", "training/1st_manual/22_manual1.gif"),
        ("bus2017", "original/000002.png", "GT/000002.png"),
        (
            "brats20",
            "BraTS20_Training_002/BraTS20_Training_002_t1ce.nii.gz",
            "BraTS20_Training_002/BraTS20_Training_002_seg.nii.gz",
        ),
        ("kits19", "case_00002/imaging.nii.gz", "case_00002/segmentation.nii.gz"),
    ],
)
def test_a_missing_partner_and_a_truncated_file_are_named(name: str, image: str, mask: str, tmp_path: Path) -> None:
    source = made(name, tmp_path)
    reader = small(name)
    for path in (image, mask):
        whole = (source / path).read_bytes()
        (source / path).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=Path(path).name.replace(".", r"\.")):
            prepare(reader, source, tmp_path / "root", processes=1)
        report = check(reader, source)
        assert [problem.severity for problem in report.problems] == ["error"]
        assert Path(path).name in report.problems[0].message
        assert report.cases == 5
        assert not report.ok
        (source / path).unlink()
        partner = mask if path == image else image
        with pytest.raises(DataError, match=f"no (image|mask) for {partner}"):
            reader.find_cases(source)
        (source / path).write_bytes(whole)
    assert len(prepare(reader, source, tmp_path / "root", processes=1).cases) == 6


def test_synthetic_sets_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name in PAPER:
        one, two = made(name, tmp_path / "one"), made(name, tmp_path / "two")
        files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
        assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
        assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
        other = synthesise(name, 6, tmp_path / "three" / name, 1, SMALL[get_reader(name).dimensions])
        image = next(path for path in files if path.suffix != ".md")
        assert (one / image).read_bytes() != (other / image).read_bytes()


@pytest.mark.parametrize("name", PAPER)
def test_the_smallest_rehearsal_has_every_class_in_every_case(name: str, tmp_path: Path) -> None:
    source = synthesise(name, 3, tmp_path / name, 5, (48, 48) if get_reader(name).dimensions == 2 else (24, 32, 32))
    prepared = prepare(small(name), source, tmp_path / "root", processes=1)
    assert all(all(case.voxels) for case in prepared.cases)
    make_split(prepared.cases, seed=0)


def test_all_built_in_readers_are_known() -> None:
    assert set(names()) >= {*PAPER, "nuclei", "image-folder", "nifti-folder"}
    for name in names():
        reader = get_reader(name)
        assert reader.classes[0] == "background"
        assert reader.about.page
        assert reader.about.licence
        assert reader.about.layout
