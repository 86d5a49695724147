from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from trials.spec import content_hash
from workers.datasets import get_reader, sources
from workers.datasets.folder import MANIFEST
from workers.datasets.prepared import is_prepared, locate, open_prepared, preparation_key, prepare
from workers.datasets.splits import make_split
from workers.errors import DataError, ParameterError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(folder / "images" / f"c{i}.png")
        Image.fromarray((rng.random((24, 32)) < 0.2).astype(np.uint8) * 255).save(folder / "masks" / f"c{i}.png")
    return folder


READER = get_reader("image-folder", {"name": "mine", "size": [12, 16]})


@pytest.mark.slow
def test_the_carried_nuclei_from_folder_to_split(tmp_path: Path) -> None:
    reader = get_reader("nuclei", {"size": [64, 64]})
    seen: list[tuple[int, int, str]] = []
    prepared = prepare(reader, locate(reader, tmp_path), tmp_path / "root", progress=lambda *step: seen.append(step))
    assert len(prepared.case_ids) == 60
    assert [step[:2] for step in seen] == [(i, 60) for i in range(1, 61)]
    assert prepared.provenance == "real"
    assert prepared.channels == 3
    case = prepared.case_ids[0]
    assert prepared.image(case).shape == (64, 64, 3)
    assert abs(float(prepared.image(case).mean())) < 1e-5
    assert prepared.image(case).std() == pytest.approx(1, abs=1e-4)
    shares = [float(prepared.label(i).mean()) for i in prepared.case_ids]
    assert 0.06 < np.mean(shares) < 0.09  # 7.4% in the set's description
    split = make_split(prepared.cases, seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (38, 10, 12)


def test_older_prepared_data_learn_how_an_image_alone_is_read(source: Path, tmp_path: Path) -> None:
    prepared = prepare(READER, source, tmp_path / "root", processes=1)
    wanted = prepared.intake
    assert wanted["preprocessing"]["size"] == [12, 16]
    manifest = prepared.path / MANIFEST
    values = json.loads(manifest.read_text())
    del values["intake"], values["checksum"]
    manifest.write_text(json.dumps(values | {"checksum": content_hash(values)}))
    assert open_prepared(prepared.path).intake == {}
    again = prepare(READER, source, tmp_path / "root", processes=1)
    assert again.key == prepared.key
    assert again.intake == wanted
    assert open_prepared(prepared.path).intake == wanted


def test_arrays_hold_what_the_manifest_says(source: Path, tmp_path: Path) -> None:
    prepared = prepare(READER, source, tmp_path / "root")
    assert prepared.path == tmp_path / "root" / f"mine-{prepared.key}"
    assert is_prepared(tmp_path / "root", "mine", prepared.key)
    for case in prepared.cases:
        image, label, points = (f(case.id) for f in (prepared.image, prepared.label, prepared.foreground))
        assert isinstance(image, np.memmap)
        assert isinstance(label, np.memmap)
        assert not image.flags.writeable
        assert (image.dtype, label.dtype, points.dtype) == (np.float32, np.uint8, np.int32)
        assert image.shape == (*case.shape, 3) == (12, 16, 3)
        assert label.shape == case.shape
        assert case.original_shape == (24, 32)
        assert tuple(np.bincount(label.reshape(-1), minlength=2)) == case.voxels
        assert len(points) == case.voxels[1]
        assert label[tuple(points.T)].all()
        assert prepared.spacing(case.id) == (1.0, 1.0)


def test_a_power_cut_finds_every_array_on_the_disk_before_the_manifest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest makes a folder whole: all that it lists has been synced, at its full size, when it appears."""
    synced: dict[str, int] = {}
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced[name] = os.fstat(descriptor).st_size

    seen: list[dict[str, int]] = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(
        Path,
        "replace",
        lambda old, new: (seen.append(dict(synced)) if new.name == MANIFEST else None, replace(old, new)),
    )
    prepared = prepare(READER, source, tmp_path / "root", processes=1)
    arrays = {file.name: file.stat().st_size for file in prepared.path.iterdir() if file.name != MANIFEST}
    assert len(arrays) == 4 * 6
    (before,) = seen
    assert arrays.items() <= before.items()


def test_the_umask_decides_who_may_read_prepared_data(source: Path, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        prepared = prepare(READER, source, tmp_path / "root")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in prepared.path.rglob("*") if path.is_file()}
    assert (stat.S_IMODE(prepared.path.stat().st_mode), modes) == (0o750, {0o640})


def test_foreground_is_sampled_evenly_where_there_is_much() -> None:
    from workers.datasets.preparation import MAX_FOREGROUND, sample_foreground

    label = np.zeros((40, 40, 40), np.uint8)
    label[10:] = 1
    points = sample_foreground(label)
    assert points.shape == (MAX_FOREGROUND, 3)
    assert label[tuple(points.T)].all()
    assert len(np.unique(points, axis=0)) == MAX_FOREGROUND
    assert abs(points[:, 0].mean() - 24.5) < 0.5
    np.testing.assert_array_equal(points, sample_foreground(label))
    assert sample_foreground(np.zeros((4, 5), np.uint8)).shape == (0, 2)


def test_it_opens_the_same_in_another_process(source: Path, tmp_path: Path) -> None:
    prepared = prepare(READER, source, tmp_path / "root")
    again = open_prepared(prepared.path)
    assert again == prepared
    copy = pickle.loads(pickle.dumps(again))  # noqa: S301 - our own bytes
    assert copy == prepared
    np.testing.assert_array_equal(copy.image("c3"), prepared.image("c3"))


@pytest.mark.slow
def test_processes_change_nothing(source: Path, tmp_path: Path) -> None:
    one = prepare(READER, source, tmp_path / "one", processes=1)
    two = prepare(READER, source, tmp_path / "two", processes=2)
    assert one.key == two.key
    assert one.cases == two.cases
    for file in sorted(one.path.glob("*.npy")):
        assert file.read_bytes() == (two.path / file.name).read_bytes()


def test_the_key_goes_by_contents_and_settings(source: Path, tmp_path: Path) -> None:
    def key(reader: object = READER, folder: Path = source, exclude: tuple[str, ...] = ()) -> str:
        return preparation_key(reader, folder, cache=tmp_path / "cache", exclude=exclude)  # type: ignore[arg-type]

    first = key()
    assert key() == first
    moved = tmp_path / "moved"
    source.rename(moved)
    assert key(folder=moved) == first
    os.utime(moved / "images" / "c0.png")
    assert key(folder=moved) == first
    others = {
        key(get_reader("image-folder", {"name": "mine", "size": [12, 12]}), moved),
        key(get_reader("image-folder", {"name": "mine", "size": [12, 16], "order": 1}), moved),
        key(get_reader("image-folder", {"name": "mine", "size": [12, 16], "channels": 1}), moved),
        key(folder=moved, exclude=("c1",)),
    }
    Image.new("RGB", (32, 24), (1, 2, 3)).save(moved / "images" / "c0.png")
    others.add(key(folder=moved))
    (moved / "images" / "c0.png").unlink()
    (moved / "masks" / "c0.png").unlink()
    others.add(key(folder=moved))
    assert len(others) == 6
    assert first not in others


def test_hashes_are_cached_by_size_and_time(source: Path, tmp_path: Path) -> None:
    files = sorted(source.rglob("*.png"))
    hour_ago = time.time_ns() - 3_600_000_000_000
    for path in files:
        os.utime(path, ns=(hour_ago, hour_ago))
    first = sources.hash_files(files, tmp_path)
    assert first == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[::-1])
    os.utime(files[0], ns=(hour_ago, hour_ago))
    assert sources.hash_files(files, tmp_path) == first  # not read again: neither size nor time tells of the change
    files[0].write_bytes(whole)
    os.utime(files[0], ns=(hour_ago, hour_ago))
    # A file that was just written is read each time: it could change again within one tick of its clock.
    written = time.time_ns() + 3_600_000_000_000  # however long this test takes
    for content in (b"new", b"two"):
        files[2].write_bytes(content)
        os.utime(files[2], ns=(written, written))
        assert sources.hash_files(files, tmp_path)[files[2]] == hashlib.sha256(content).hexdigest()
    (tmp_path / "source-hashes.json").write_text("{broken")
    assert sources.hash_files(files[:2], tmp_path) == {path: first[path] for path in files[:2]}


def test_excluded_cases_are_left_out_and_listed(source: Path, tmp_path: Path) -> None:
    (source / "images" / "c2.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"c2\.png"):
        prepare(READER, source, tmp_path / "root")
    prepared = prepare(READER, source, tmp_path / "root", exclude=["c2"])
    assert "c2" not in prepared.case_ids
    assert [(e.id, e.reason) for e in prepared.excluded] == [("c2", "excluded by a setting")]
    with pytest.raises(ParameterError, match=r"excluded case 'c22' .* did you mean 'c2'"):
        prepare(READER, source, tmp_path / "root", exclude=["c22"])
    with pytest.raises(DataError, match="no case is left"):
        prepare(READER, source, tmp_path / "root", exclude=[f"c{i}" for i in range(6)])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_case_leaves_nothing_behind(source: Path, tmp_path: Path, processes: int) -> None:
    root = tmp_path / "root"
    Image.new("L", (5, 5)).save(source / "masks" / "c3.png")
    with pytest.raises(DataError, match=r"c3\.png: the image has shape 24×32 and its mask 5×5"):
        prepare(READER, source, root, processes=processes)
    assert [path for path in root.iterdir() if path.is_dir()] == []


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from workers.datasets import get_reader
from workers.datasets.prepared import prepare

def progress(done, total, case):
    with open(sys.argv[4], "a") as log:
        log.write(f"{os.getpid()} {case}\\n")
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    reader = get_reader("image-folder", {"name": "mine", "size": [12, 16]})
    prepared = prepare(reader, Path(sys.argv[1]), Path(sys.argv[2]), processes=int(sys.argv[5]), progress=progress)
    print(prepared.path)
"""


def start(tmp_path: Path, source: Path, kill_at: int, processes: int = 1) -> subprocess.Popen[str]:
    script = tmp_path / "prepare.py"
    script.write_text(SCRIPT)
    log = tmp_path / "log"
    arguments = [str(source), str(tmp_path / "root"), str(kill_at), str(log), str(processes)]
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [1, 6])
def test_a_kill_leaves_nothing_that_looks_finished(source: Path, tmp_path: Path, kill_at: int) -> None:
    with start(tmp_path, source, kill_at) as process:
        assert process.wait(60) == -9
    root = tmp_path / "root"
    left = [path.name for path in root.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert left[0].startswith(".mine-")
    assert left[0].endswith(".partial")
    other = prepare(get_reader("image-folder", {"name": "other"}), source, root)
    assert [path for path in root.iterdir() if path.is_dir()] == [other.path]  # swept, though of another data set
    prepared = prepare(READER, source, root)
    assert len(prepared.case_ids) == 6


@pytest.mark.slow
def test_a_kill_takes_the_child_processes_with_it(source: Path, tmp_path: Path) -> None:
    import psutil

    process = start(tmp_path, source, kill_at=3, processes=2)
    children: list[psutil.Process] = []
    with process:
        while process.poll() is None:
            try:
                children = psutil.Process(process.pid).children() or children
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        assert process.wait(60) == -9
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=120)
    left = [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    for child in left:
        child.kill()  # a failing test must not leave them to the machine
    assert left == []


@pytest.mark.slow
def test_two_processes_at_once_do_the_work_once(source: Path, tmp_path: Path) -> None:
    processes = [start(tmp_path, source, kill_at=-1) for _ in range(2)]
    paths = {process.communicate(timeout=300)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(paths) == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 6
    assert len({line.split()[0] for line in lines}) == 1


def test_damage_is_seen_and_mended(source: Path, tmp_path: Path) -> None:
    prepared = prepare(READER, source, tmp_path / "root")
    expected = np.array(prepared.image("c1"))
    array = prepared.path / "00001.image.npy"
    array.write_bytes(array.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"damaged \(00001\.image\.npy has \d+ bytes"):
        open_prepared(prepared.path)
    with pytest.raises(DataError, match=r"damaged \(00001\.image\.npy"):
        prepared.image("c1")
    again = prepare(READER, source, tmp_path / "root")
    np.testing.assert_array_equal(again.image("c1"), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"c1"', '"c9"'), "was changed"),
        (lambda text: text.replace('"format": 2', '"format": 99'), "prepared in format 99"),
        (lambda text: "[]", "damaged"),
        (lambda text: "{}", "damaged"),
    ],
)
def test_a_changed_manifest_is_refused(source: Path, tmp_path: Path, change: object, message: str) -> None:
    prepared = prepare(READER, source, tmp_path / "root")
    manifest = prepared.path / MANIFEST
    manifest.write_text(change(manifest.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        open_prepared(prepared.path)


def test_what_is_not_prepared_says_so(source: Path, tmp_path: Path) -> None:
    assert not is_prepared(tmp_path, "mine", "0" * 16)
    with pytest.raises(DataError, match="not a prepared data set"):
        open_prepared(tmp_path / "nowhere")
    prepared = prepare(READER, source, tmp_path / "root")
    with pytest.raises(DataError, match="has no case 'c77'"):
        prepared.image("c77")


def test_splits_are_kept_beside_the_arrays(source: Path, tmp_path: Path) -> None:
    prepared = prepare(READER, source, tmp_path / "root")
    split = make_split(prepared.cases, seed=1)
    assert prepared.write_split(split) == prepared.write_split(split) == split.hash
    assert open_prepared(prepared.path).read_split(split.hash) == split
    with pytest.raises(DataError, match="no split 0123"):
        prepared.read_split("0123")
    file = prepared.path / "splits" / f"{split.hash}.json"
    file.write_text(file.read_text().replace("c1", "c7"))
    with pytest.raises(DataError, match="damaged"):
        prepared.read_split(split.hash)
    other = make_split(get_reader("nuclei").find_cases(locate(get_reader("nuclei"), tmp_path)), seed=1)
    with pytest.raises(DataError, match="has no case"):
        prepared.write_split(other)


def test_no_patient_name_and_no_path_leaves_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "Mueller_Anna_1950"
    for i in range(4):
        values = np.random.default_rng(i).normal(size=(6, 7, 8)).astype(np.float32)
        for kind, array in (("ct", values), ("truth", (values > 1).astype(np.uint8))):
            image = nibabel.Nifti1Image(array, np.eye(4))
            image.header["descrip"] = b"Mueller^Anna"
            image.header["db_name"] = b"Mueller"
            (folder / f"c{i}").mkdir(parents=True, exist_ok=True)
            nibabel.save(image, folder / f"c{i}" / f"{kind}.nii.gz")
    reader = get_reader("nifti-folder", {"images": ["{id}/ct.nii.gz"], "labels": "{id}/truth.nii.gz"})
    prepared = prepare(reader, folder, tmp_path / "root")
    for file in prepared.path.rglob("*"):
        assert not file.is_file() or b"Mueller" not in file.read_bytes()
    assert json.loads((prepared.path / MANIFEST).read_text())["cases"][0]["files"] == [
        "c0/ct.nii.gz",
        "c0/truth.nii.gz",
    ]


def test_a_missing_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        locate(get_reader("kits19"), tmp_path)
    message = str(error.value)
    for part in (
        "kits19",
        str(tmp_path / "kits19"),
        "https://github.com/neheller/kits19",
        "CC BY-NC-SA",
        "case_00000/",
    ):
        assert part in message
    (tmp_path / "nuclei").mkdir()
    assert locate(get_reader("nuclei"), tmp_path) == tmp_path / "nuclei"  # a user's own folder goes first


@pytest.mark.slow
def test_nothing_here_imports_tensorflow() -> None:
    code = "import sys, workers.datasets.prepared, workers.scoring.native; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_no_folder_of_the_source_is_told_by_what_is_kept(source: Path, tmp_path: Path) -> None:
    prepare(READER, source, tmp_path / "root", processes=1)
    os.utime(source / "images" / "c1.png", ns=(0, 0))  # old enough to be cached
    prepare(READER, source, tmp_path / "root", processes=1)
    kept = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert any(path.name == "source-hashes.json" for path in kept)
    assert not any(str(source).encode() in path.read_bytes() for path in kept)
