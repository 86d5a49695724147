"""A new image gets what the images of the training got, and its mask comes back on its own grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from trials.spec import EvaluationSpec, ModelSpec
from workers.datasets import get_reader, synthesise
from workers.datasets.cases import read_and_preprocess
from workers.datasets.image_folder import ImageFolder
from workers.datasets.intake import Intake, Raw, from_array, read_raw
from workers.datasets.prepared import prepare
from workers.datasets.preprocessing import ConstantImageError, Preprocessing, preprocess
from workers.datasets.reader import intake_for
from workers.errors import DataError
from workers.inference.applying import Truth, predict_raw
from workers.inference.outputs import write_outputs
from workers.inference.recipe import Recipe, intake_of
from workers.scoring.cases import score_prediction
from workers.scoring.inference import Apply, predict_labels


def bright(patches: np.ndarray) -> np.ndarray:
    """A network that marks what is much brighter than the mean."""
    marked = 1 / (1 + np.exp(-4 * (patches[..., :1] - 1)))
    return np.concatenate([1 - marked, marked], axis=-1).astype(np.float32)


def networks(*ones: Apply):
    def of(shape: tuple[int, ...]) -> Sequence[Apply]:
        return ones or (bright,)

    return of


def recipe(intake: Intake, **changes: object) -> Recipe:
    return Recipe(intake, ("background", "thing"), ModelSpec(), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A turned, anisotropic volume with a bright block, in a file; its voxels and its affine."""
    values = np.random.default_rng(0).normal(size=(20, 24, 8)).astype(np.float32)
    values[6:12, 4:15, 2:6] += 9
    affine = np.array([[0, -1.5, 0, 5], [-1.0, 0, 0, 7], [0, 0, 3.0, -2], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("volume") / "one.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path, values, affine


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [("drive", {"size": [16, 16]}, (24, 28)), ("kits19", {}, (16, 16, 16)), ("brats20", {}, (16, 16, 16))],
)
def test_an_image_alone_is_read_as_preparation_reads_it(tmp_path: Path, name: str, options: dict, size: tuple) -> None:
    folder = synthesise(name, 3, tmp_path / name, 0, size=size)
    reader = get_reader(name, options)
    files = reader.find_cases(folder)[0]
    _, wanted = read_and_preprocess(reader, files)
    intake = intake_for(reader, wanted.image.shape[-1])
    assert intake is not None
    raw = read_raw(intake, files.images)
    blank = np.zeros(raw.shape, np.uint8)
    found = preprocess(raw.image, blank, raw.spacing, raw.affine, intake.preprocessing)
    np.testing.assert_array_equal(found.image, wanted.image)


def test_an_intake_survives_json() -> None:
    clip = ((-1.0, 2.0), ())
    intake = Intake(True, 2, Preprocessing(spacing=(3.0, 1.0, 1.0), clip=clip, channelwise=True), patterns=("a", "b"))
    own = recipe(intake, patch=(8, 8, 8), overlap=(4, 4, 4), weighting="gaussian", batch=2)
    assert Recipe.from_json(own.to_json()) == own
    assert Intake.from_dict(json.loads(json.dumps(intake.to_dict()))) == intake
    with pytest.raises(DataError, match="the recipe of the network is damaged"):
        Recipe.from_json('{"intake": {}}')


def test_a_label_map_lies_on_the_voxels_of_its_volume(volume, tmp_path: Path) -> None:
    path, values, affine = volume
    own = recipe(Intake(True, 1, Preprocessing(spacing=(1.5, 1.5, 1.5))), patch=(8, 8, 8))
    raw = read_raw(own.intake, [path])
    found = predict_raw(networks(), raw, own, "one", probabilities=True)
    assert found.labels.shape == values.shape
    inside = np.zeros(values.shape, bool)
    inside[6:12, 4:15, 2:6] = True
    assert found.labels[inside].mean() > 0.9
    assert found.labels[~inside].mean() < 0.1
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1, atol=1e-5)
    assert ((found.probabilities[..., 1] > 0.5) == found.labels).mean() > 0.97
    write_outputs(tmp_path, "sub/one", raw, found, own.classes, overlay=True)
    again = nibabel.load(tmp_path / "sub" / "one.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), found.labels)
    np.testing.assert_allclose(again.affine, affine)
    assert nibabel.load(tmp_path / "sub" / "one.probabilities.nii.gz").shape == (*values.shape, 2)
    assert Image.open(tmp_path / "sub" / "one.overlay.png").width > 600
    assert sorted(p.name[0] for p in (tmp_path / "sub").iterdir()) == ["o"] * 3  # nothing half written


@pytest.mark.parametrize("changes", [{"plane": "coronal"}, {"plane": "axial"}, {"blocks": (1, 2, 2)}])
def test_slices_and_blocks_are_put_back_where_they_were(volume, changes: dict) -> None:
    path, values, _ = volume
    own = recipe(Intake(True, 1, **changes))
    raw = read_raw(own.intake, [path])
    found = predict_raw(networks(), raw, own, "one", probabilities=True)
    inside = np.zeros(values.shape, bool)
    inside[6:12, 4:15, 2:6] = True
    # Each part has a z-score of its own, so that noise is marked where there is nothing else.
    assert found.labels[inside].mean() > 0.95
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.probabilities[..., 1] > 0.5, found.labels == 1)


def test_a_slice_in_which_nothing_is_to_be_seen_is_background() -> None:
    values = np.zeros((6, 6, 4), np.float32)
    values[2:4, 2:4, 1] = 5
    own = recipe(Intake(True, 1, plane="axial"))
    found = predict_raw(networks(), from_array(own.intake, values, np.eye(4)), own, "one")
    assert {tuple(np.argwhere(found.labels)[:, 2])} == {(1, 1, 1, 1)}
    whole = recipe(Intake(True, 1))
    empty = from_array(whole.intake, np.zeros((6, 6, 4)), np.eye(4))
    with pytest.raises(ConstantImageError, match="every value of the image is 0"):
        predict_raw(networks(), empty, whole, "one")


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((30, 2500), [(30, 2500), (30, 1024)]), ((12, 300, 130), [(130, 300, 12), (128, 128, 12)])],
)
def test_a_larger_image_than_the_data_s_is_covered_by_windows(
    shape: tuple[int, ...], seen: list[tuple[int, ...]]
) -> None:
    asked: list[tuple[int, ...]] = []

    def remember(spatial: tuple[int, ...]) -> Sequence[Apply]:
        asked.append(spatial)
        return (bright,)

    own = recipe(Intake(len(shape) == 3, 1))
    image = from_array(own.intake, np.random.default_rng(2).normal(size=shape))
    whole, covered = (predict_raw(remember, image, one, "one") for one in (own, replace(own, whole=1000)))
    assert asked == seen
    np.testing.assert_array_equal(covered.labels, whole.labels)


def test_of_several_networks_the_mean_softmax_counts() -> None:
    own = recipe(Intake(False, 1))

    def sure(patches: np.ndarray) -> np.ndarray:
        return np.stack([np.full(patches.shape[:-1], 0.0), np.full(patches.shape[:-1], 1.0)], -1).astype(np.float32)

    def unsure(patches: np.ndarray) -> np.ndarray:
        return np.stack([np.full(patches.shape[:-1], 0.6), np.full(patches.shape[:-1], 0.4)], -1).astype(np.float32)

    image = np.random.default_rng(1).normal(size=(5, 6))
    both = predict_raw(networks(sure, unsure, unsure), from_array(own.intake, image), own, "one", probabilities=True)
    assert both.labels.all()  # two of three would say background
    assert both.probabilities is not None
    np.testing.assert_allclose(both.probabilities[..., 1], 0.6, atol=1e-6)


@pytest.mark.parametrize("native", [False, True])
def test_an_image_of_the_study_gets_the_study_s_scores(tmp_path: Path, native: bool) -> None:
    folder = synthesise("drive", 4, tmp_path / "drive", 0, size=(40, 44))
    reader = get_reader("drive", {"size": [32, 32]})
    prepared = prepare(reader, folder, tmp_path / "prepared", processes=1)
    evaluation = EvaluationSpec(native=native, field_of_view=native, surface_distances=True)
    intake = intake_of(prepared)
    assert intake is not None
    truth, own = Truth(evaluation, ("ece", "nsd")), replace(recipe(intake), classes=prepared.classes)
    for files in reader.find_cases(folder):
        labels = predict_labels(bright, prepared.image(files.id), patch=None, overlap=None, classes=2)
        probabilities = bright(np.asarray(prepared.image(files.id))[None])[0]
        stored = score_prediction(
            prepared, files.id, labels, evaluation, "test", chosen=("ece", "nsd"), probabilities=probabilities
        )
        case = reader.read_whole(files)
        raw = Raw(case.image, case.spacing, case.affine, case.label, case.field)
        assert list(predict_raw(networks(), raw, own, files.id, truth=truth).scores) == stored


@pytest.mark.parametrize(
    ("intake", "array", "words"),
    [
        (Intake(False, 3), np.zeros((4, 4, 2)), "an array with 2 channels; the network takes 3"),
        (Intake(False, 3), np.zeros(4), "expected an image (height, width)"),
        (Intake(True, 1, Preprocessing(spacing=(1.0, 1.0, 1.0))), np.zeros((4, 4, 4)), "its spacing is not known"),
        (Intake(True, 1), np.full((2, 2, 2), "a"), "expected a volume (x, y, z)"),
    ],
)
def test_an_array_that_is_no_image_of_the_network_is_refused(intake: Intake, array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as raised:
        from_array(intake, array)
    assert words in str(raised.value)


def test_a_file_with_other_channels_is_told_by_what_the_network_takes(volume, tmp_path: Path) -> None:
    path, values, affine = volume
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    nibabel.Nifti1Image(np.stack([values] * 2, -1), affine).to_filename(tmp_path / "two.nii.gz")
    for intake, files, words in (
        (Intake(False, 2), [tmp_path / "colour.png"], "colour.png: 3 channels; the network takes 2"),
        (Intake(True, 1), [tmp_path / "two.nii.gz"], "two.nii.gz: 2 channels; the network takes 1"),
        (Intake(True, 4), [path], "one.nii.gz: 1 channels; the network takes 4"),
        (Intake(True, 2), [path, tmp_path / "two.nii.gz"], "two.nii.gz: 2 channels; the network takes 2 from 2 files"),
    ):
        with pytest.raises(DataError) as raised:
            read_raw(intake, files)
        assert str(raised.value).endswith(words)


def test_a_plug_in_s_reader_that_reads_cases_itself_has_to_say_how_an_image_is_read() -> None:
    class Own(ImageFolder):
        def read_case(self, case):
            return super().read_case(case)

    class Both(Own):
        def intake(self, channels: int) -> Intake:
            return Intake(False, channels)

    assert intake_for(ImageFolder(), 3) == Intake(False, 3)
    assert intake_for(Own(), 3) is None
    assert intake_for(Both(), 3) == Intake(False, 3)


def test_an_image_of_unknown_spacing_is_one_line_where_the_network_needs_one(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((8, 8, 8), np.float32))
    intake = Intake(True, 1, Preprocessing(spacing=(1.0, 1.0, 1.0)))
    with pytest.raises(DataError, match=r"scan\.npy: the file gives no size of a voxel") as told:
        read_raw(intake, [tmp_path / "scan.npy"])
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_an_image_that_is_too_small_for_the_network_is_one_line() -> None:
    from workers.inference.network import TrainedNetworks  # with TensorFlow

    deep = replace(recipe(Intake(False, 3)), model=ModelSpec(depth=5))
    with pytest.raises(DataError, match="4×4 pixels are too few for the network") as told:
        TrainedNetworks(deep, [Path("not-read.keras")])((4, 4))
    assert "\n" not in str(told.value)
