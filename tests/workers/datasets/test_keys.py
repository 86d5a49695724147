"""The keys of prepared data: those of the revision before the rules, and what moves them."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
from PIL import Image

from trials.splits import Split
from workers import datasets
from workers.datasets import Reader, get_reader
from workers.datasets.bus2017 import Bus2017
from workers.datasets.cvc_clinicdb import CvcClinicDb
from workers.datasets.drive import Drive
from workers.datasets.formats import FORMAT_VERSIONS, format_of
from workers.datasets.image_folder import ImageFolder, Nuclei
from workers.datasets.keys import ALWAYS_HASHED, hashed_options, preparation_key
from workers.datasets.kits19 import Kits19
from workers.datasets.registry import READERS
from workers.datasets.splits import make_split

PLUGIN = """\
from dataclasses import dataclass
from pathlib import Path

from workers.datasets import About, Case, CaseFiles, ImageFolder, Reader


@dataclass(frozen=True, kw_only=True)
class Text(Reader):
    about = About("text", "none", "none", "NAME.txt")
    name: str = "text"
    threshold: float = 1.0

    classes = ("background", "high")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        return [CaseFiles(path.stem, (path,), path) for path in sorted(source.glob("*.txt"))]

    def read_case(self, case: CaseFiles) -> Case:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scans(ImageFolder):
    name: str = "scans"
    images: str = "scans/{id}.png"
    sharpen: bool = False
"""


NIFTI = {"images": ["imagesTr/{id}_0000.nii.gz", "imagesTr/{id}_0001.nii.gz"]}
VOLUMES = {"images": ["images/{id}.nii"], "labels": "labels/{id}.nii"}
CLASSES = {"classes": ["background", "a", "b"], "label_map": {"0": 0, "9": 1, "10": 2}, "channels": 1}
BRAIN = {"spacing": [3, 2, 2], "clip": [[-100, 300], []], "nonzero": 1, "classes": ["background", "brain", "lesion"]}

KEYS: list[tuple[str, str, dict[str, Any], tuple[str, ...], str]] = [
    # reader, folder, options, excluded cases, key
    ("cvc_clinicdb", "cvc_clinicdb", {}, (), "37705bfd08dd77fa"),
    ("drive", "drive", {}, (), "0ed3346791e2dd57"),
    ("drive", "drive", {"size": [64, 64], "order": 1}, ("22",), "ecdc60158769fc35"),
    ("bus2017", "bus2017", {}, (), "187100463f3c94a3"),
    ("brats20", "brats20", {}, (), "ba8163160e060139"),
    ("kits19", "kits19", {"clip": []}, (), "53333481a21c50c5"),
    ("kits19", "kits19", {}, (), "4bcee1cda2760048"),
    ("image-folder", "image-folder", {}, (), "8cf555ee0459271e"),
    (
        "image-folder",
        "image-folder",
        {**CLASSES, "name": "mine", "group": "(p[0-9])", "size": [12, 16]},
        (),
        "8b3629b97c994c39",
    ),
    # Two images: version 2, in which each channel has its own z-score.
    ("nifti-folder", "nifti-folder", NIFTI, (), "2d18b781cdffeb6c"),
    (
        "nifti-folder",
        "nifti-folder",
        {**NIFTI, **BRAIN, "label_map": {"0": 0, "1": 2}, "group": "(p[0-9])"},
        ("p2",),
        "7378e6b488df8ea4",
    ),
    ("nifti-folder", "volumes", {**VOLUMES, "slices": "axial", "step": 2, "size": [8, 8]}, (), "0f7a64d2a6bb8b74"),
    ("nifti-folder", "volumes", {**VOLUMES, "blocks": [1, 1, 2]}, (), "d1ebe5db3cff0cd8"),
    ("text", "text", {}, (), "935d36e66208b5a6"),
    ("text", "text", {"threshold": 2}, (), "5b880c76361762bf"),
    ("scans", "scans", {"size": [8, 8]}, (), "5e77ea8b00fd312a"),
    ("nuclei", "", {}, (), "55be5995e76962b9"),
    ("nuclei", "", {"size": [128, 128]}, (), "a3cb54fde5ee71ec"),
]


SPLITS = ["77ddbf1fa59ea0bf", "5ccc655b0f367631", "848204335f835384", "ae5752b5d42a6dd0"]
OFFICIAL = "2c088ef53ede6bae"


@dataclasses.dataclass(frozen=True)
class Case:
    """What a split needs to know of a case."""

    id: str
    group: str | None = None
    partition: Literal["train", "test"] | None = None


def write(folder: Path, *names: str) -> None:
    """Files that only their bytes tell apart: a key reads no pixels."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"file {name}".encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each layout."""
    root = tmp_path_factory.mktemp("sources")
    write(root / "cvc_clinicdb", *(f"{kind}/{i}.tif" for kind in ("Original", "Ground Truth") for i in (1, 2, 3)))
    (root / "cvc_clinicdb" / "metadata.csv").write_text("frame_id,sequence_id\n1,1\n2,1\n3,2\n")
    for part, first in (("training", 22), ("test", 2)):
        for i in range(first, first + 3):
            write(root / "drive", f"{part}/images/{i:02d}_{part}.tif", f"{part}/1st_manual/{i:02d}_manual1.gif")
            write(root / "drive", f"{part}/mask/{i:02d}_{part}_mask.gif")
    write(root / "bus2017", *(f"{kind}/{i:06d}.png" for kind in ("original", "GT") for i in (1, 2, 3)))
    for case in (f"BraTS20_Training_{i:03d}" for i in (1, 2, 3)):
        write(root / "brats20", f"{case}/{case}_t1ce.nii.gz", f"{case}/{case}_seg.nii.gz")
    for case in (f"case_{i:05d}" for i in (14, 15, 16)):
        write(root / "kits19", f"{case}/imaging.nii.gz", f"{case}/segmentation.nii.gz")
    pairs = [(i, j) for i in (1, 2, 3) for j in (1, 2)]
    write(root / "image-folder", *(f"{kind}/p{i}-{j}.png" for kind in ("images", "masks") for i, j in pairs))
    for i in (1, 2, 3):
        write(root / "nifti-folder", f"imagesTr/p{i}_0000.nii.gz", f"imagesTr/p{i}_0001.nii.gz")
        write(root / "nifti-folder", f"labelsTr/p{i}.nii.gz")
    volume = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1.0, 1.0, 2.0, 1.0])).to_bytes()
    for name in (f"{kind}/v{i}.nii" for kind in ("images", "labels") for i in (1, 2)):
        write(root / "volumes", name)
        (root / "volumes" / name).write_bytes(volume)
    write(root / "text", "a.txt", "b.txt")
    write(root / "scans", *(f"{kind}/{i}.png" for kind in ("scans", "masks") for i in (1, 2, 3)))
    return root


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers of a plug-in's file, registered as `text` and `scans`."""
    monkeypatch.setattr(READERS, "_entries", dict(READERS))
    file = tmp_path / "plugged.py"
    file.write_text(PLUGIN)
    spec = importlib.util.spec_from_file_location("plugged", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "plugged", module)
    spec.loader.exec_module(module)
    datasets.register("text", module.Text)
    datasets.register("scans", module.Scans)


def grown(kind: type[Reader], option: str, default: object) -> Any:
    """A class of ours as a later revision has it: with one more option, and under the same name in keys."""
    name = vars(kind)["hashed_name"]
    field = (option, type(default), dataclasses.field(default=default))
    members = {"__module__": "workers.datasets.later", "hashed_name": name}
    return dataclasses.make_dataclass(
        kind.__name__, [field], bases=(kind,), namespace=members, frozen=True, kw_only=True
    )


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(("reader", "folder", "options", "exclude", "key"), KEYS)
def test_data_sets_have_the_keys_that_they_always_had(
    reader: str,
    folder: str,
    options: dict[str, Any],
    exclude: tuple[str, ...],
    key: str,
    root: Path,
    tmp_path: Path,
) -> None:
    """Made by the revision before the rules."""
    made = get_reader(reader, options)
    source = root / folder if folder else made.default_source()
    assert source is not None
    assert preparation_key(made, source, cache=tmp_path / "cache", exclude=exclude) == key


def test_a_renamed_class_keeps_its_keys(root: Path, tmp_path: Path) -> None:
    members = {name: value for name, value in vars(Drive).items() if name not in ("__dict__", "__weakref__")}
    renamed = type("RetinalVessels", Drive.__bases__, members)
    keys = [preparation_key(reader, root / "drive", cache=tmp_path) for reader in (Drive(), renamed())]
    assert keys[0] == keys[1]


def test_every_reader_of_ours_has_a_name_of_its_own_in_keys() -> None:
    ours = [kind for kind in READERS.values() if kind.__module__.startswith("workers.")]
    names = [vars(kind).get("hashed_name") for kind in ours]
    assert all(names)
    assert len(set(names)) == len(ours) >= 8


def test_an_added_option_moves_no_key_while_it_has_its_default(root: Path, tmp_path: Path) -> None:
    for kind, folder in ((Drive, "drive"), (ImageFolder, "image-folder"), (Kits19, "kits19")):
        before = preparation_key(kind(), root / folder, cache=tmp_path)
        later = grown(kind, "sharpen", 0.0)
        assert preparation_key(later(), root / folder, cache=tmp_path) == before
        assert preparation_key(later(sharpen=0.5), root / folder, cache=tmp_path) != before


def test_options_of_plug_ins_are_always_hashed_and_those_that_ours_get_later_are_not() -> None:
    later = grown(ImageFolder, "sharpen", 0.0)
    members = {"__module__": "plugged"}
    field = ("level", int, dataclasses.field(default=1))
    theirs: Any = dataclasses.make_dataclass(
        "Theirs", [field], bases=(later,), namespace=members, frozen=True, kw_only=True
    )
    options = hashed_options(theirs())
    assert options["level"] == 1
    assert "sharpen" not in options
    assert hashed_options(theirs(sharpen=1.0))["sharpen"] == 1.0
    assert set(hashed_options(Nuclei())) | {"name"} == {*ALWAYS_HASHED[Reader], *ALWAYS_HASHED[ImageFolder]}


def test_a_reader_s_version_moves_the_keys_of_its_own_data_sets(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        readers = (Drive(), Bus2017(), ImageFolder(channels=1), ImageFolder())
        return [
            preparation_key(reader, root / folder, cache=tmp_path)
            for reader, folder in zip(readers, ("drive", "bus2017", "image-folder", "image-folder"), strict=True)
        ]

    before = keys()
    monkeypatch.setattr(Drive, "arrays_version", 2)
    monkeypatch.setattr(ImageFolder, "arrays_version", property(lambda reader: 2 if reader.channels == 1 else 1))
    assert [old == new for old, new in zip(before, keys(), strict=True)] == [False, True, False, True]


def test_a_format_s_version_moves_the_keys_of_data_sets_with_such_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the names of the files say."""
    tiff, png = tmp_path / "tiff", tmp_path / "png"
    write(tiff, *(f"{kind}/{i}.tif" for kind in ("Original", "Ground Truth") for i in (1, 2, 3)))
    write(png, *(f"{kind}/{i}.tif" for kind in ("Original", "Ground Truth") for i in (1, 2, 3)))
    (tiff / "Original" / "2.tif").write_bytes(b"II*\0 and so on")
    (png / "Original" / "2.tif").write_bytes(b"\x89PNG and so on")

    def keys() -> list[str]:
        return [preparation_key(CvcClinicDb(), folder, cache=tmp_path) for folder in (tiff, png)]

    before = keys()
    monkeypatch.setitem(FORMAT_VERSIONS, "tiff", 2)
    after = keys()
    assert (after[0] != before[0], after[1]) == (True, before[1])
    monkeypatch.setitem(FORMAT_VERSIONS, "tiff", 3)
    assert keys()[0] not in (before[0], after[0])


def test_formats_are_told_by_the_first_bytes(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    for name in ("png", "jpeg", "tiff", "gif", "bmp"):
        picture.save(tmp_path / "one.dat", format=name)
        assert format_of(tmp_path / "one.dat") == name
    volume = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    for ending in ("nii", "nii.gz"):
        nibabel.save(volume, tmp_path / f"volume.{ending}")
        assert format_of(tmp_path / f"volume.{ending}") == "nifti"
    (tmp_path / "empty").touch()
    assert format_of(tmp_path / "empty") == ""


@dataclasses.dataclass(frozen=True, slots=True)
class LaterSplit(Split):
    """The split of a later revision."""

    calibration: tuple[str, ...] = ()


def test_splits_have_the_hashes_that_they_always_had() -> None:
    cases = [Case(f"c{i:02d}", f"p{i // 2}") for i in range(20)]
    settings: list[dict[str, Any]] = [
        {"seed": 0},
        {"seed": 1, "test": 0.3, "validation": 0.1},
        {"seed": 2, "grouped": True},
        {"seed": 3, "folds": 4, "fold": 1},
    ]
    assert [make_split(cases, **one).hash for one in settings] == SPLITS
    official = [dataclasses.replace(case, partition="test" if i < 5 else "train") for i, case in enumerate(cases)]
    assert make_split(official, seed=0).hash == OFFICIAL


def test_an_added_setting_of_a_split_moves_no_hash_while_it_has_its_default() -> None:
    parts = (("a",), ("b",), ("c",))
    before = Split(*parts, {"seed": 0}).hash
    assert Split(*parts, {"seed": 0, "stratified": False}).hash == before
    assert LaterSplit(*parts).hash == before
    assert LaterSplit(*parts, calibration=("d",)).hash != before
