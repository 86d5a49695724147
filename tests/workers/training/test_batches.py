"""Batches follow from seed, epoch and index alone, whoever makes them; and what goes wrong is heard."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.spec import TrainingSpec
from workers.errors import DataError, ParameterError, WorkerLostError
from workers.losses.distances import signed_distances
from workers.training import batches as loaded
from workers.training.batches import TrainingBatches, TruthMaps, ValidationBatches, crop
from workers.training.loading import prefetch

PLAIN = TrainingSpec(augmentation_probability=0)
HALF = TrainingSpec(augmentation_probability=0.5)
PATCHES = TrainingSpec(augmentation_probability=0.5, patch=(8, 8, 8), patches_per_case=2)


def prepared(shapes, channels=1, foreground=0.1):
    """A prepared data set in memory; it can be pickled. Image k is k plus a voxel's number among its voxels / 1e6."""
    generator = np.random.default_rng(0)
    images, labels, voxels = {}, {}, {}
    for number, shape in enumerate(shapes):
        case = f"case{number}"
        ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 1e6
        images[case] = number + 1 + np.repeat(ramp[..., np.newaxis], channels, axis=-1)
        labels[case] = (generator.random(shape) < foreground).astype(np.uint8)
        voxels[case] = np.argwhere(labels[case]).astype(np.int32)
    return SimpleNamespace(
        image=images.__getitem__, label=labels.__getitem__, foreground=voxels.__getitem__, cases=list(images)
    )


def training(shapes, spec, seed=3, **options):
    data = prepared(shapes)
    return TrainingBatches(data, data.cases, spec, seed, **options)


def case_numbers(batches):
    return [int(image.flat[0]) - 1 for images, _ in batches for image in images]


def equal(first, second):
    batches = zip(first, second, strict=True)
    return all(np.array_equal(a, b) for one, other in batches for a, b in zip(one, other, strict=True))


# --- What an epoch is -----------------------------------------------------------------------------------------------


def test_an_epoch_has_every_case_once_in_an_order_of_its_own_and_keeps_the_short_batch():
    batches = training([(6, 5)] * 7, PLAIN)
    assert (batches.shape, batches.samples, batches.steps) == ((6, 5, 1), 7, 4)
    epochs = [list(batches.epoch(e)) for e in range(1, 6)]
    assert [images.shape for images, _ in epochs[0]] == [(2, 6, 5, 1)] * 3 + [(1, 6, 5, 1)]
    assert {(i.dtype, x.dtype) for i, x in epochs[0]} == {(np.dtype(np.float32), np.dtype(np.uint8))}
    orders = [case_numbers(e) for e in epochs]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_images_and_labels_are_those_of_the_data_set():
    data = prepared([(6, 5)] * 3, channels=3)
    for images, labels in TrainingBatches(data, data.cases, PLAIN, 0).epoch(1):
        for image, label in zip(images, labels, strict=True):
            case = f"case{int(image.flat[0]) - 1}"
            assert np.array_equal(image, data.image(case))
            assert np.array_equal(label, data.label(case))


@pytest.mark.parametrize(("shape", "spec"), [((16, 12), HALF), ((14, 9, 11), PATCHES)])
def test_an_epoch_follows_from_seed_and_number_alone(shape, spec):
    first = training([shape] * 5, spec)
    fourth = list(first.epoch(4))
    list(first.epoch(5))
    assert equal(fourth, list(first.epoch(4)))
    resumed = training([shape] * 5, spec)
    assert equal(fourth, list(resumed.epoch(4)))
    assert equal(fourth[1:2], [resumed.batch(4, 1)])
    assert not equal(fourth, list(training([shape] * 5, spec, seed=4).epoch(4)))


def test_validation_is_the_same_in_every_epoch_and_not_augmented():
    data = prepared([(6, 5)] * 3)
    batches = ValidationBatches(data, data.cases, TrainingSpec(augmentation_probability=1), 0)
    assert equal(list(batches.epoch(1)), list(batches.epoch(9)))
    assert case_numbers(batches.epoch(1)) == [0, 1, 2]
    images, labels = next(batches.epoch(2))
    assert np.array_equal(images[1], data.image("case1"))
    assert np.array_equal(labels[1], data.label("case1"))


def test_validation_patches_are_drawn_once_for_all_epochs():
    data = prepared([(20, 20, 20)] * 3)
    batches = ValidationBatches(data, data.cases, PATCHES, 0)
    first = list(batches.epoch(1))
    assert equal(first, list(batches.epoch(2)))
    assert batches.samples == 6
    assert case_numbers(first) == [0, 0, 1, 1, 2, 2]
    assert not equal(first, list(ValidationBatches(data, data.cases, PATCHES, 1).epoch(1)))
    patches = np.concatenate([images for images, _ in first])
    assert len(np.unique(patches[:, 0, 0, 0, 0])) == 6


# --- Patches --------------------------------------------------------------------------------------------------------


def test_patches_lie_anywhere_in_the_volume_and_nowhere_outside():
    spec = TrainingSpec(augmentation_probability=0, patch=(4, 4, 4), patches_per_case=40)
    data = prepared([(5, 4, 7)])
    starts = set()
    for epoch in range(5):
        for images, labels in TrainingBatches(data, data.cases, spec, 0).epoch(epoch):
            for image, label in zip(images, labels, strict=True):
                start = np.unravel_index(round((float(image.flat[0]) - 1) * 1e6), (5, 4, 7))
                region = tuple(slice(s, s + 4) for s in start)
                assert np.array_equal(image, data.image("case0")[region])
                assert np.array_equal(label, data.label("case0")[region])
                starts.add(start)
    assert starts == {(a, 0, c) for a in range(2) for c in range(4)}


def test_a_volume_smaller_than_the_patch_lies_in_the_middle_of_zeros():
    data = prepared([(5, 4, 6)], foreground=1.0)
    spec = TrainingSpec(augmentation_probability=0, patch=(8, 8, 6))
    for batches in (TrainingBatches(data, data.cases, spec, 0), ValidationBatches(data, data.cases, spec, 0)):
        ((images, labels),) = batches.epoch(1)
        assert np.array_equal(images[0, 2:7, 2:6], data.image("case0")) or np.array_equal(
            images[0, 1:6, 2:6], data.image("case0")
        )
        assert np.count_nonzero(images) == np.count_nonzero(labels) == 5 * 4 * 6


@pytest.mark.parametrize("kind", [TrainingBatches, ValidationBatches])
def test_foreground_oversampling_is_the_share_of_patches_around_a_foreground_voxel(kind):
    volume = np.zeros((40, 40, 40), np.uint8)
    volume[3, 30, 20] = 1
    data = SimpleNamespace(
        image=lambda _case: np.zeros((*volume.shape, 1), np.float32),
        label=lambda _case: volume,
        foreground=lambda _case: np.argwhere(volume).astype(np.int32),
    )

    def share(oversampling):
        spec = TrainingSpec(
            augmentation_probability=0,
            patch=(6, 6, 6),
            patches_per_case=200,
            foreground_oversampling=oversampling,
        )
        return np.mean([x.any() for _, labels in kind(data, ["c"], spec, 0).epoch(1) for x in labels])

    assert share(1.0) == 1
    assert share(0.0) < 0.05
    assert 0.35 < share(0.5) < 0.65


def test_a_case_without_foreground_gets_random_patches():
    data = prepared([(9, 9, 9)] * 2, foreground=0)
    spec = TrainingSpec(augmentation_probability=0, patch=(4, 4, 4), foreground_oversampling=1.0)
    (images, labels) = next(TrainingBatches(data, data.cases, spec, 0).epoch(1))
    assert images.shape == (2, 4, 4, 4, 1)
    assert not labels.any()


def test_only_the_patch_and_the_margin_of_its_transforms_are_read():
    class Recorder:
        shape = (200, 200, 200, 1)
        dtype = np.float32
        read = 0

        def __getitem__(self, region):
            part = np.zeros([s.stop - s.start for s in region] + [1], self.dtype)
            Recorder.read = max(Recorder.read, part.size)
            return part

    label = np.zeros((200, 200, 200), np.uint8)
    data = SimpleNamespace(image=lambda _: Recorder(), label=lambda _: label, foreground=lambda _: np.zeros((0, 3)))
    patch = TrainingSpec(augmentation_probability=0, patch=(16, 16, 16), patches_per_case=8)
    list(TrainingBatches(data, ["c"], patch, 0).epoch(1))
    assert Recorder.read == 16**3
    turned = TrainingSpec(augmentation_probability=1, patch=(16, 16, 16), patches_per_case=2)
    list(TrainingBatches(data, ["c"], turned, 0).epoch(1))
    assert 16**3 < Recorder.read < 110**3


@settings(deadline=None)
@given(st.data())
def test_crop_is_a_slice_of_the_zero_padded_array(data):
    dimensions = data.draw(st.integers(2, 3))
    axes = st.lists(st.integers(1, 6), min_size=dimensions, max_size=dimensions)
    shape, size = data.draw(axes), data.draw(axes)
    start = data.draw(st.lists(st.integers(-9, 9), min_size=dimensions, max_size=dimensions))
    array = np.arange(1, 1 + 2 * np.prod(shape)).reshape(*shape, 2)
    padded = np.pad(array, [(20, 20)] * dimensions + [(0, 0)])
    expected = padded[tuple(slice(20 + s, 20 + s + n) for s, n in zip(start, size, strict=True))]
    found = crop(array, start, size)
    assert np.array_equal(found, expected)
    assert not np.shares_memory(found, array)


# --- Loading --------------------------------------------------------------------------------------------------------


def test_the_thread_stays_a_few_batches_ahead_and_no_more():
    made, ahead, taken = [], [], 0
    a_batch_more = threading.Condition()

    def make(number):
        with a_batch_more:
            made.append(number)
            ahead.append(len(made) - taken)
            a_batch_more.notify()
        return np.zeros(1), np.zeros(1)

    iterator = prefetch((partial(make, number) for number in range(20)), ahead=3)
    for _ in iterator:
        with a_batch_more:
            taken += 1
            expected = list(range(min(taken + 3, 20)))
            a_batch_more.wait_for(partial(made.__eq__, expected))
    assert made == list(range(20))
    assert max(ahead) <= 4, "three more than the one that is waited for"


def test_an_epoch_that_was_begun_is_made_before_it_is_asked_for():
    data = prepared([(6, 5)] * 8)
    asked, change = [], threading.Condition()

    def image(case):
        with change:
            asked.append(case)
            change.notify_all()
        return data.image(case)

    watched = SimpleNamespace(image=image, label=data.label, foreground=data.foreground)
    with TrainingBatches(watched, data.cases, PLAIN, 3) as batches, training([(6, 5)] * 8, PLAIN) as alone:
        asked.clear()
        batches.begin(2)
        with change:
            assert change.wait_for(lambda: len(asked) == 8, 60), "nobody asked for a batch yet"
        assert equal(list(batches.epoch(2)), list(alone.epoch(2)))
        batches.begin(3)
        assert equal(list(batches.epoch(5)), list(alone.epoch(5)))
        before = threading.active_count()
        batches.begin(6)
    assert threading.active_count() == before


def broken(data, case):
    def label(asked):
        if asked == case:
            raise DataError(f"the label of {asked} is damaged")
        return data.label(asked)

    return SimpleNamespace(image=data.image, foreground=data.foreground, label=label)


def test_an_error_of_the_thread_is_raised_in_the_loop_and_ends_the_thread():
    data = prepared([(6, 5)] * 6)
    before = threading.active_count()
    seen = []
    epoch = ValidationBatches(broken(data, "case3"), data.cases, PLAIN, 0).epoch(1)
    with pytest.raises(DataError, match="label of case3 is damaged"):
        seen.extend(epoch)
    assert len(seen) == 1
    assert threading.active_count() == before


def test_leaving_the_loop_early_ends_the_thread():
    batches = training([(6, 5)] * 40, HALF)
    before = threading.active_count()
    for _ in batches.epoch(1):
        break
    unfinished = batches.epoch(3)
    next(unfinished)
    unfinished.close()
    assert threading.active_count() == before


@pytest.fixture
def nothing_left(monkeypatch):
    """No process and no shared memory of ours remains; other tests may have theirs."""
    ours = f"t{os.getpid():x}_"
    monkeypatch.setattr(shared_memory, "_SHM_NAME_PREFIX", f"/{ours}")
    yield
    assert not [p for p in multiprocessing.active_children() if p.name.startswith("SpawnProcess")]
    assert not list(Path("/dev/shm").glob(f"{ours}*"))


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("shape", "spec"), [((16, 12), HALF), ((14, 9, 11), PATCHES)])
def test_processes_give_the_same_bits_as_the_thread(shape, spec):
    maps = TruthMaps(signed_distances, classes=3, channels=2)
    alone = training([shape] * 7, spec, truth_maps=maps)
    for images, labels, distances in alone.epoch(1):
        assert distances.shape == (*labels.shape, 2)
        assert images.dtype == distances.dtype == np.float32
    with training([shape] * 7, spec, processes=2, truth_maps=maps) as shared:
        assert equal(list(alone.epoch(1)), list(shared.epoch(1)))
        for _ in shared.epoch(2):  # left early: what was under way must not reach the next epoch
            break
        assert equal(list(alone.epoch(3)), list(shared.epoch(3)))


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_processes_that_are_added_change_no_batch_and_are_done_without_where_one_dies(caplog):
    alone = training([(6, 5)] * 40, HALF)
    with training([(6, 5)] * 40, HALF) as batches:
        assert equal(list(batches.epoch(1)), list(alone.epoch(1)))
        assert batches.load_by(2)
        assert batches.loaders == 2
        batches.begin(2)
        assert equal(list(batches.epoch(2)), list(alone.epoch(2)))
        epoch, seen = batches.epoch(3), []
        seen.append(next(epoch))
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        seen += epoch
        assert equal(seen, list(alone.epoch(3)))
        assert "the loading processes that were added are given up" in caplog.text
        assert batches.loaders == 0
        assert not batches.load_by(2), "what went wrong is not tried again"
        assert equal(list(batches.epoch(4)), list(alone.epoch(4)))


def test_processes_are_not_added_where_there_is_no_room(monkeypatch):
    with training([(6, 5)] * 4, PLAIN) as batches:
        monkeypatch.setattr(loaded, "spare_memory", lambda: 2**20)
        assert not batches.load_by(2)
        assert batches.loaders == 0


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_an_error_of_a_process_is_raised_in_the_loop():
    data = prepared([(6, 5)] * 4)
    missing = SimpleNamespace(
        image=data.image,
        foreground=data.foreground,
        label={c: data.label(c) for c in data.cases if c != "case2"}.__getitem__,
    )
    with ValidationBatches(missing, data.cases, PLAIN, 0, processes=1) as batches, pytest.raises(KeyError, match="2"):
        list(batches.epoch(1))


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_killed_process_is_an_error_and_no_hang():
    batches = training([(6, 5)] * 40, PLAIN, processes=1)
    epoch = batches.epoch(1)
    next(epoch)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="loading process ended"):
        list(epoch)
    assert len(list(batches.epoch(2))) == 20
    batches.close()
    batches.close()


@pytest.mark.slow
def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    program = tmp_path / "parent.py"
    program.write_text(
        "import multiprocessing, signal, numpy as np\n"
        "from types import SimpleNamespace\n"
        "from workers.training.batches import ValidationBatches\n"
        "from trials.spec import TrainingSpec\n"
        "if __name__ == '__main__':\n"
        "    images, labels = {'c': np.zeros((4, 4, 1), 'f')}, {'c': np.zeros((4, 4), 'B')}\n"
        "    data = SimpleNamespace(image=images.__getitem__, label=labels.__getitem__)\n"
        "    batches = ValidationBatches(data, ['c'], TrainingSpec(), 0, processes=1)\n"
        "    list(batches.epoch(1))\n"
        "    print(*(p.pid for p in multiprocessing.active_children()), flush=True)\n"
        "    signal.pause()\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True, env=environment)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < deadline, "the loading process outlived its parent"
        time.sleep(0.05)


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


# --- Wrong input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "spec", "error", "words"),
    [
        ([], PLAIN, DataError, "there is no case"),
        ([(6, 5), (6, 6)], PLAIN, DataError, r"'case1' has shape \(6, 6, 1\), but 'case0' \(6, 5, 1\)"),
        ([(6, 5)], TrainingSpec(patch=(4, 4, 4)), ParameterError, r"patch is \(4, 4, 4\); 2 sizes"),
        ([(6, 5)], TrainingSpec(patch=(0, 4)), ParameterError, r"patch is \(0, 4\)"),
        ([(6, 5)], TrainingSpec(batch_size=0), ParameterError, "batch_size is 0"),
        ([(6, 5)], TrainingSpec(patches_per_case=0), ParameterError, "patches_per_case is 0"),
        ([(6, 5)], TrainingSpec(foreground_oversampling=1.5), ParameterError, "foreground_oversampling is 1.5"),
    ],
)
def test_what_cannot_be_batched_is_named(shapes, spec, error, words):
    with pytest.raises(error, match=words):
        training(shapes, spec)


def test_negative_seeds_and_processes_are_refused():
    with pytest.raises(ParameterError, match="seed is -1"):
        training([(6, 5)], PLAIN, seed=-1)
    with pytest.raises(ParameterError, match="processes is -2"):
        training([(6, 5)], PLAIN, processes=-2)
