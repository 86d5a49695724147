"""Masks that were made elsewhere, scored into a sweep that stands in a real database."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dashboards.commands import write
from storage.database import open_database
from storage.errors import LeaseHeldError, StorageError, SweepConflictError
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.data.resolved import resolve
from sweeper.errors import GridError
from sweeper.grids.files import parse_grid
from sweeper.run.closing import closing_text
from sweeper.run.external_masks import Scored, score_masks
from sweeper.run.launch import create
from sweeper.session import Session
from sweeper.settings import Settings
from sweeper.study import read_study
from trials.results import Epoch, TrialResult
from trials.spec import TrialSpec, is_external
from trials.splits import Split
from trials.states import SweepState, TrialState
from workers.datasets import synthesise
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.errors import DataError
from workers.scoring.cases import score_prediction
from workers.tracking.records import EndRecord, StartRecord
from workers.tracking.spool import read_lines

GRID = parse_grid(
    {
        "name": "own",
        "datasets": [{"name": "drive", "options": {"size": [32, 32]}}],
        "losses": [{"name": "ce"}, {"name": "unified_focal_sym", "gamma": [0.3, 0.6]}],
    },
    "own",
)


class Bench:
    """A sweep on six synthetic photographs whose trials predicted the truth moved by as many pixels as their place."""

    def __init__(self, now: Session) -> None:
        self.now, self.repository = now, now.repository
        create(now, resolve(GRID, now.settings), [])
        lease = self.repository.acquire_lease("own", "test", 60)
        for moved, trial in enumerate(self.repository.trials("own"), start=1):
            attempt = self.repository.claim(lease, trial.hash)
            assert attempt is not None
            self.repository.finish(lease, attempt.id, self._result(trial.spec, moved))
        self.repository.set_sweep_state(lease, SweepState.FINISHED)
        self.repository.release_lease(lease)

    def data(self) -> tuple[PreparedDataset, Split, TrialSpec]:
        spec = self.repository.trials("own")[0].spec
        prepared = open_prepared(prepared_path(self.now.settings.prepared, "drive", spec.data.prepared))
        return prepared, prepared.read_split(spec.data.split), spec

    def _result(self, spec: TrialSpec, moved: int) -> TrialResult:
        prepared, split, _ = self.data()
        scores = [
            score
            for partition, cases in (("validation", split.validation), ("test", split.test))
            for case in cases
            for score in score_prediction(
                prepared, case, np.roll(prepared.label(case), moved, 0), spec.evaluation, partition  # type: ignore[arg-type]
            )
        ]  # fmt: skip
        return TrialResult(
            spec.hash, tuple(scores), (Epoch(1, 0.5, 0.4, 0.3, 0.1, 5, 1.0),), 1, False, 0, 5, 10, 1.0, 0.1, 9.0
        )

    def masks(self, folder: Path, *, validation: bool = False, name: str = "{id}.png") -> Path:
        """The truth of the test images, as files on the photographs' own grid."""
        prepared, split, _ = self.data()
        folder.mkdir(parents=True)
        for case in (*split.test, *(split.validation if validation else ())):
            Image.fromarray(prepared.native_label(case) * 255).save(folder / name.format(id=case))
        return folder

    def score(self, folder: Path, label: str = "nnunet", **options: str) -> Scored:
        return score_masks(
            self.repository, self.now.settings, "own", dataset="drive", label=label, folder=folder, **options
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(home=tmp_path / "home", data=tmp_path / "data")
    synthesise("drive", 6, settings.data_root / "drive", 0, size=(40, 44))
    settings.make_home()
    with open_database(settings.database) as database, Path(os.devnull).open("w") as silence:
        yield Bench(Session(settings, Repository(database), Console(file=silence)))


@pytest.mark.slow
def test_masks_stand_beside_the_losses_with_scores_of_the_same_images(bench: Bench, tmp_path: Path) -> None:
    scored = bench.score(bench.masks(tmp_path / "masks"))
    assert (scored.images, scored.validation) == (3, False)
    assert scored.trial.state is TrialState.FINISHED
    assert scored.trial.test_dsc == 1.0
    assert scored.trial.val_dsc is None
    assert scored.trial.val_loss is not None
    assert math.isnan(scored.trial.val_loss)
    assert bench.repository.sweep("own").state is SweepState.FINISHED
    study = read_study(bench.repository, "own")
    rows = study.table[study.table["metric"] == "dsc"].set_index("variant")
    assert rows.loc["nnunet", "mean"] == 1.0
    assert rows.loc["nnunet", "n"] == rows.loc["ce", "n"] == 3
    ours = study.scores[(study.scores["trial"] == scored.trial.hash)]
    assert set(ours["case"]) == set(bench.data()[1].test)


@pytest.mark.slow
def test_they_are_no_loss_and_no_baseline(bench: Bench, tmp_path: Path) -> None:
    before = read_study(bench.repository, "own").answers
    scored = bench.score(bench.masks(tmp_path / "masks", validation=True))
    assert scored.validation
    assert scored.trial.val_dsc == 1.0
    after = read_study(bench.repository, "own").answers
    assert list(after.stability["baseline"]) == list(before.stability["baseline"]) == ["ce"]
    assert after.claims.equals(before.claims)
    assert after.sentences == before.sentences
    assert after.costs.equals(before.costs)
    assert after.best_models == before.best_models
    assert scored.trial.hash not in after.best_models.values()
    assert "nnunet" not in str(closing_text(bench.now.settings, "own", after, []))


def test_the_spec_says_where_they_come_from_and_holds_no_path(bench: Bench, tmp_path: Path) -> None:
    scored = bench.score(bench.masks(tmp_path / "masks"))
    assert is_external(scored.trial.spec)
    assert scored.trial.spec.loss.source
    assert scored.trial.spec.data == bench.data()[2].data
    assert str(tmp_path) not in str(scored.trial.spec)
    spool = bench.now.settings.trials / scored.trial.hash / "spool.jsonl"
    start, end = (line.record for line in read_lines(spool))
    assert isinstance(start, StartRecord)
    assert start.tags["provenance"] == "external"
    assert isinstance(end, EndRecord)
    assert end.values["test_dsc"] == 1.0
    assert str(tmp_path) not in spool.read_text()


def test_twice_is_once_and_other_masks_are_another_row(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks")
    first, again = bench.score(folder), bench.score(folder)
    assert again.trial.hash == first.trial.hash
    assert again.trial.attempts == first.trial.attempts == 1
    case = bench.data()[1].test[0]
    Image.fromarray(np.zeros((40, 44), np.uint8)).save(folder / f"{case}.png")
    other = bench.score(folder, label="mednext")
    assert other.trial.hash != first.trial.hash
    assert other.trial.test_dsc == pytest.approx(2 / 3)
    assert len(bench.repository.trials("own")) == 5


def test_one_whose_storing_was_killed_is_finished_later(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks")
    real = bench.repository.claim
    bench.repository.claim = lambda *_, **__: None  # type: ignore[method-assign]  as if killed before
    with pytest.raises(StorageError, match="is queued; score the masks once more"):
        bench.score(folder)
    bench.repository.claim = real  # type: ignore[method-assign]
    assert bench.score(folder).trial.state is TrialState.FINISHED


def test_launching_the_grid_again_finds_its_sweep(bench: Bench, tmp_path: Path) -> None:
    scored = bench.score(bench.masks(tmp_path / "masks"))
    create(bench.now, resolve(GRID, bench.now.settings), [])
    assert scored.trial.hash in {t.hash for t in bench.repository.trials("own")}
    smaller = GRID.model_copy(update={"losses": GRID.losses[:1]})
    with pytest.raises(SweepConflictError) as refused:
        create(bench.now, resolve(smaller, bench.now.settings), [])
    assert "nnunet" not in str(refused.value)


@pytest.mark.slow
def test_the_report_shows_them_with_pictures_and_says_what_they_are(bench: Bench, tmp_path: Path) -> None:
    bench.score(bench.masks(tmp_path / "masks"))
    study = read_study(bench.repository, "own")
    page = write(bench.now.settings, bench.repository, study, tmp_path / "report")[0].read_text(encoding="utf-8")
    assert "drive: nnunet is not a loss of this sweep: its masks were made elsewhere" in page
    assert "drive: the test set is the official one" in page
    assert "Example segmentations, drive" in page
    assert "nnunet: DSC 1.000, FP 0 · FN 0" in page
    assert str(tmp_path) not in page


def test_other_names_by_a_pattern(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks", name="DRIVE_{id}_pred.png")
    assert bench.score(folder, pattern="DRIVE_{id}_pred.png").trial.test_dsc == 1.0


@pytest.mark.parametrize("native", [False, True])
def test_they_are_scored_as_the_sweep_scores(bench: Bench, tmp_path: Path, native: bool) -> None:
    table = {**GRID.model_dump(exclude_unset=True), "name": "other", "evaluation": {"native": native}}
    grid = parse_grid(table, "other")
    create(bench.now, resolve(grid, bench.now.settings), [])
    folder = bench.masks(tmp_path / "masks")
    case = bench.data()[1].test[0]
    truth = bench.data()[0].native_label(case)
    Image.fromarray(np.roll(truth, 1, 0) * 255).save(folder / f"{case}.png")
    trial = score_masks(
        bench.repository, bench.now.settings, "other", dataset="drive", label="nnunet", folder=folder
    ).trial
    scores = bench.repository.score_columns("other")
    rows = zip(scores["trial"], scores["case"], scores["dsc"], strict=True)
    (found,) = [dsc for scored, image, dsc in rows if (scored, image) == (trial.hash, case)]
    moved = np.roll(truth, 1, 0)
    expected = 2 * np.sum(truth & moved) / (truth.sum() + moved.sum())
    assert trial.spec.evaluation.native is native
    assert bool(found == pytest.approx(expected)) is native
    assert bench.repository.sweep("other").state is SweepState.QUEUED


def test_what_cannot_be_scored_is_said(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks")
    case = bench.data()[1].test[0]
    with pytest.raises(GridError, match="is a loss of this program"):
        bench.score(folder, label="dice")
    with pytest.raises(GridError, match="--label 'n n': 1 to 80 letters"):
        bench.score(folder, label="n n")
    with pytest.raises(GridError, match="no data set 'drvie', did you mean 'drive'"):
        score_masks(bench.repository, bench.now.settings, "own", dataset="drvie", label="x", folder=folder)
    with pytest.raises(DataError, match="not a folder"):
        bench.score(tmp_path / "nowhere")
    (folder / f"{case}.png").unlink()
    with pytest.raises(DataError, match=rf"1 of 3 test images have no mask: {case}\. Looked for"):
        bench.score(folder)
    Image.new("L", (9, 9)).save(folder / f"{case}.png")
    with pytest.raises(DataError, match=r"has shape \(9, 9\), expected \(40, 44\)"):
        bench.score(folder)
    assert len(bench.repository.trials("own")) == 3


def test_a_running_sweep_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks")
    bench.repository.acquire_lease("own", "somebody else", 60)
    with pytest.raises(LeaseHeldError):
        bench.score(folder)
    assert len(bench.repository.trials("own")) == 3


@pytest.mark.slow
def test_a_data_set_that_is_not_prepared_here(bench: Bench, tmp_path: Path) -> None:
    folder = bench.masks(tmp_path / "masks")
    bench.now = replace(bench.now, settings=Settings(home=tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="not a prepared data set"):
        bench.score(folder)


def test_a_sweep_that_runs_all_folds_has_no_one_test_set(bench: Bench, tmp_path: Path) -> None:
    template = bench.data()[2]
    fold = replace(template, data=replace(template.data, fold=0))
    new = NewTrial(fold.hash, fold, "", "drive", "ce", None, 0, 0, 1)
    bench.repository.create_sweep("folded", grid={}, trials=[new])
    with pytest.raises(GridError, match=r"runs all folds of data set 'drive'.*folds = 5, fold = 0"):
        score_masks(bench.repository, bench.now.settings, "folded", dataset="drive", label="x", folder=tmp_path)
