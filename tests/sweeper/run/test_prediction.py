"""Which networks are chosen, which files are an image, and, with one tiny study, what `sweeper predict` writes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from rich.console import Console

from storage.database import open_database
from storage.records import Trial
from storage.repository import Repository
from sweeper.data.resolved import resolve
from sweeper.errors import GridError, SettingsError
from sweeper.grids.files import parse_grid
from sweeper.run.filling import fill
from sweeper.run.launch import create
from sweeper.run.prediction import Choice, check_apart, choose, find_jobs, predict, with_masks
from sweeper.session import Session
from sweeper.settings import Settings
from trials.messages import Failed, Finished, Needs, TrainRequest
from trials.spec import ModelSpec
from trials.states import SweepState
from workers.datasets.image_folder import NUCLEI
from workers.datasets.intake import Intake
from workers.datasets.preprocessing import Preprocessing
from workers.inference.recipe import Recipe
from workers.process.prediction import PredictionRequest
from workers.process.warm import WarmProcess

PICTURES = Intake(False, 3, Preprocessing(size=(32, 32)))


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_folder_stands_for_the_images_in_it(tmp_path: Path) -> None:
    touched(tmp_path, "b.png", "a/c.JPG", "notes.txt", ".hidden.png", "v.nii.gz", "a/d.tif")
    jobs, errors = find_jobs(PICTURES, [tmp_path, tmp_path / "b.png", tmp_path / "gone.png"])
    assert {job.name: job.files[0].name for job in jobs} == {"b": "b.png", "a/c": "c.JPG", "a/d": "d.tif"}
    assert errors == [f"{tmp_path}/gone.png: no such file"]
    volumes, _ = find_jobs(Intake(True, 1), [tmp_path])
    assert [job.name for job in volumes] == ["a/d", "v"]


def test_what_is_written_lies_apart_from_the_images(tmp_path: Path) -> None:
    touched(tmp_path / "scans", "a.png")
    check_apart(tmp_path / "out", [tmp_path / "scans", tmp_path / "scans" / "a.png"])
    for to, named in (("scans", "scans"), ("scans/out", "scans"), ("scans", "scans/a.png")):
        with pytest.raises(SettingsError, match=f"--to {tmp_path / to} "):
            check_apart(tmp_path / to, [tmp_path / named])


def test_two_images_of_one_name_are_not_written_over_each_other(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "a.jpg")
    jobs, errors = find_jobs(PICTURES, [tmp_path])
    assert [job.files[0].name for job in jobs] == ["a.jpg"]
    assert "a.jpg has the same name" in errors[0]


def test_channels_in_several_files_are_put_together(tmp_path: Path) -> None:
    touched(tmp_path / "n", "p1_0000.nii.gz", "p1_0001.nii.gz", "p2_0000.nii.gz", "both.nii.gz")
    jobs, errors = find_jobs(Intake(True, 2), [tmp_path / "n"])
    assert {job.name: [p.name for p in job.files] for job in jobs} == {
        "p1": ["p1_0000.nii.gz", "p1_0001.nii.gz"],
        "both": ["both.nii.gz"],
    }
    assert errors == [f"{tmp_path}/n/p2_0000.nii.gz: no file of its channel 1"]
    touched(tmp_path / "p", "x/t1.nii.gz", "x/t2.nii.gz", "y/t1.nii.gz", "y/other.nii.gz")
    jobs, errors = find_jobs(Intake(True, 2, patterns=("{id}/t1.nii.gz", "{id}/t2.nii.gz")), [tmp_path / "p"])
    assert [[p.as_posix()[-11:] for p in job.files] for job in jobs] == [["x/t1.nii.gz"[-11:], "x/t2.nii.gz"[-11:]]]
    assert len(errors) == 2
    assert "no file of its channel {id}/t2.nii.gz" in errors[1]


def test_masks_are_found_by_their_image_s_name(tmp_path: Path) -> None:
    touched(tmp_path, "masks/a.png", "masks/b_mask.png", "masks/c1.png", "images/a.png", "images/b.png", "images/c.png")
    jobs, _ = find_jobs(PICTURES, [tmp_path / "images"])
    found, errors = with_masks(jobs, tmp_path / "masks", None)
    assert {job.name: job.mask.name for job in found if job.mask} == {"a": "a.png", "b": "b_mask.png"}
    assert len(errors) == 1
    assert "c.png: no mask of this name" in errors[0]


def test_a_folder_holds_the_predictions_of_one_network(tmp_path: Path) -> None:
    recipe = Recipe(PICTURES, ("background", "nucleus"), ModelSpec())
    request = PredictionRequest(recipe, (), 1, tmp_path / "out", tmp_path, "nuclei", deterministic=False)
    assert PredictionRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    assert predict(request, [], "a" * 16, lambda *_: None).done == 0
    with pytest.raises(SettingsError, match="holds predictions of other networks"):
        predict(request, [], "b" * 16, lambda *_: None)


# --- one tiny study, trained ---

GRID = {
    "name": "cells",
    "repeats": 2,
    "datasets": [{"name": "nuclei", "options": {"size": [32, 32]}, "evaluation": {"native": True, "metrics": ["ece"]}}],
    "losses": [{"name": "ce"}, {"name": "unified_focal_asym", "gamma": [0.3]}],
    "model": {"base_filters": 4, "depth": 2},
    "training": {"epochs": 2},
}


@dataclass
class Trained:
    """A finished study in a home of its own."""

    home: Path
    settings: Settings
    trials: list[Trial]
    scores: dict[str, list]
    test: tuple[str, ...]

    def run(self, *words: str, status: int = 0) -> str:
        """`sweeper …`; what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "sweeper", *words],
            env={**os.environ, "SWEEPER_HOME": str(self.home), "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def image(self, case: str) -> Path:
        return NUCLEI / "images" / f"{case}.png"

    def stored(self, trial: Trial) -> dict[str, dict[str, float]]:
        """The stored test scores of a trial, by case."""
        rows = zip(*self.scores.values(), strict=True)
        found = [dict(zip(self.scores, row, strict=True)) for row in rows]
        return {row["case"]: row for row in found if row["trial"] == trial.hash and row["partition"] == "test"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    home = tmp_path_factory.mktemp("study") / "home"
    settings = Settings(home=home)
    settings.make_home()
    with open_database(settings.database) as database:
        repository = Repository(database)
        session = Session(settings, repository, Console(file=io.StringIO()))
        create(session, resolve(parse_grid(GRID, "cells"), settings), [])
        lease = repository.acquire_lease("cells", "test", 6000)
        process = WarmProcess(Needs(1))
        for trial in repository.trials("cells"):
            attempt = repository.claim(lease, trial.hash)
            assert attempt is not None
            request = TrainRequest(
                spec=trial.spec,
                label=trial.label,
                prepared_root=settings.prepared,
                folder=settings.trials / trial.hash,
                sweep="cells",
                provenance="real",
                metrics=("ece",),
            )
            process.train(request, home / "log.txt")
            while not isinstance(message := process.receive(), Finished):
                assert not isinstance(message, Failed), message
            repository.finish(lease, attempt.id, message.result)
        process.close()
        repository.set_sweep_state(lease, SweepState.FINISHED)
        repository.release_lease(lease)
        trials = repository.trials("cells")
        columns = repository.score_columns("cells")
        test = set(zip(columns["partition"], columns["case"], strict=True))
        cases = tuple(sorted(case for partition, case in test if partition == "test"))
        yield Trained(home, settings, trials, dict(repository.score_columns("cells")), cases)


@pytest.mark.slow
def test_the_study_s_own_test_images_get_the_stored_scores(study: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = [str(study.image(case)) for case in study.test]
    said = study.run("predict", "cells", *images, "--to", str(out), "--masks", str(NUCLEI / "masks"), "--overlay")
    best = max(study.trials, key=lambda t: t.val_dsc or 0)
    assert best.loss in said
    chosen = next(t for t in study.trials if t.hash[:8] in said)
    stored = study.stored(chosen)
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == set(study.test)
    for row in rows:
        for metric in ("dsc", "iou", "precision", "ece", "size"):
            assert float(row[metric]) == stored[row["case"]][metric], (row["case"], metric)
    for case in study.test:
        mask = np.asarray(Image.open(out / f"{case}.png"))
        assert mask.shape == np.asarray(Image.open(study.image(case))).shape[:2]
        assert set(np.unique(mask)) <= {0, 1}
        assert (out / f"{case}.overlay.png").is_file()
    # Again: nothing is left to do, and the scores are the same.
    before = (out / "scores.csv").read_bytes()
    again = study.run("predict", "cells", *images, "--to", str(out), "--masks", str(NUCLEI / "masks"), "--overlay")
    assert f"0 predicted, {len(images)} were there already" in again
    assert (out / "scores.csv").read_bytes() == before


@pytest.mark.slow
def test_what_cannot_be_predicted_is_a_line_and_the_rest_goes_on(study: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "damaged.png").write_bytes(b"\x89PNG no picture")
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(folder / "empty.png")
    five = np.zeros((20, 30, 5), np.uint8)
    tifffile.imwrite(folder / "five.tif", five, photometric="minisblack", planarconfig="contig")
    odd = np.random.default_rng(0).integers(0, 255, (45, 71, 3), np.uint8)
    Image.fromarray(odd).save(folder / "odd.png")
    out = tmp_path / "out"
    said = study.run(
        "predict", "cells", str(folder), "--to", str(out), "--ensemble", "--probabilities", "--loss", "ce", status=1
    )
    assert "Traceback" not in said
    assert "and 1 more of its cell" in said
    assert f"{folder}/damaged.png: " in said
    assert f"{folder}/five.tif: 5 channels; the network takes 3" in said
    assert "empty.png: every value of the image is 7, so there is nothing to find" in said
    assert "exclude the case" not in said
    assert "1 predicted, 3 not" in said
    assert np.asarray(Image.open(out / "odd.png")).shape == (45, 71)
    softmax = np.load(out / "odd.probabilities.npy")
    assert softmax.shape == (45, 71, 2)
    np.testing.assert_allclose(softmax.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.slow
def test_validation_chooses(study: Trained) -> None:
    with open_database(study.settings.database) as database:
        repository = Repository(database)
        focal = max((t for t in study.trials if t.gamma is not None), key=lambda t: t.val_dsc or 0)
        assert choose(repository, "cells", Choice(gamma=0.3))[0].hash == focal.hash
        assert choose(repository, "cells", Choice(loss="unified_focal_asym"))[0].hash == focal.hash
        assert choose(repository, "cells", Choice(trial=focal.hash[:6]))[0].hash == focal.hash
        both = choose(repository, "cells", Choice(loss="ce", ensemble=True))
        assert [(t.loss, t.repeat) for t in both] == [("ce", 0), ("ce", 1)]
        for choice, words in (
            (Choice(loss="dise"), "has no finished trial of it"),
            (Choice(gamma=0.9), "no finished trial has it; known: 0.3"),
            (Choice(dataset="nucleus"), "did you mean 'nuclei'"),
            (Choice(trial=focal.hash, loss="ce"), "leave out --loss"),
        ):
            with pytest.raises(GridError) as raised:
                choose(repository, "cells", choice)
            assert words in str(raised.value)


@pytest.mark.slow
def test_a_metric_of_the_softmax_is_added_from_the_kept_network(study: Trained) -> None:
    with open_database(study.settings.database) as database:
        repository = Repository(database)
        session = Session(study.settings, repository, Console(file=io.StringIO()))
        hashes = [trial.hash for trial in repository.trials("cells")]
        assert fill(session, "cells", further=("brier", "nsd")).unfilled == ()
        columns = repository.score_columns("cells")
        assert [trial.hash for trial in repository.trials("cells")] == hashes
        assert {name: columns[name] for name in study.scores} == study.scores
        # Of test and validation images: both kinds of predictions are kept.
        assert all(0 < value < 1 for value in columns["brier"])
        assert all(0 <= value <= 1 for value in columns["nsd"])
