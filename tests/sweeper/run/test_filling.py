"""Metrics that a grid asks for later: filled from kept predictions, without a change of what is stored."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from storage.database import open_database
from storage.errors import InvalidScoreError
from storage.repository import Repository
from sweeper.data.resolved import resolve
from sweeper.errors import GridError
from sweeper.grids.files import parse_grid
from sweeper.grids.schema import Grid
from sweeper.run.external_masks import score_masks
from sweeper.run.filling import fill
from sweeper.run.launch import create, run
from sweeper.session import Session
from sweeper.settings import Settings
from trials.metrics import METRICS, Metric, register
from trials.results import Epoch, TrialResult
from trials.spec import TrialSpec
from trials.states import SweepState
from workers.datasets import synthesise
from workers.datasets.prepared import open_prepared, prepared_path
from workers.scoring.cases import score_prediction
from workers.scoring.native import save_mask

DESCRIBED = {"size", "diagonal"}


def grid(*metrics: object, own: tuple[object, ...] = ()) -> Grid:
    dataset = {"name": "drive", "options": {"size": [32, 32]}, **({"evaluation": {"metrics": [*own]}} if own else {})}
    table = {"name": "own", "datasets": [dataset], "losses": [{"name": "ce"}, {"name": "dice"}]}
    return parse_grid({**table, **({"evaluation": {"metrics": [*metrics]}} if metrics else {})}, "own")


class Bench:
    """A finished sweep of an older version, whose two trials marked the truth, moved by one and by two rows."""

    def __init__(self, session: Session) -> None:
        self.session, self.repository = session, session.repository
        self.launch(grid())
        lease = self.repository.acquire_lease("own", "test", 60)
        for moved, trial in enumerate(self.repository.trials("own"), start=1):
            attempt = self.repository.claim(lease, trial.hash)
            assert attempt is not None
            self.repository.finish(lease, attempt.id, self.result(trial.spec, moved))
        self.repository.set_sweep_state(lease, SweepState.FINISHED)
        self.repository.release_lease(lease)

    def launch(self, asked: Grid) -> None:
        create(self.session, resolve(asked, self.session.settings), [])

    def prepared(self, spec: TrialSpec):
        return open_prepared(prepared_path(self.session.settings.prepared, "drive", spec.data.prepared))

    def result(self, spec: TrialSpec, moved: int, *, folder: bool = True) -> TrialResult:
        prepared = self.prepared(spec)
        masks = {c: np.roll(prepared.label(c), moved, 0) for c in prepared.read_split(spec.data.split).test}
        scores = [s for c, mask in masks.items() for s in score_prediction(prepared, c, mask, spec.evaluation, "test")]
        old = [replace(s, values={n: v for n, v in s.values.items() if n not in DESCRIBED}) for s in scores]
        if folder:
            (self.session.settings.trials / spec.hash).mkdir(parents=True)
            np.savez_compressed(self.session.settings.trials / spec.hash / "predictions.npz", **masks)
        epochs = (Epoch(1, 0.5, 0.4, 0.3, 0.1, 5, 1.0),)
        return TrialResult(spec.hash, tuple(old), epochs, 1, False, 0, 5, 10, 1.0, 0.1, 9.0)

    @property
    def said(self) -> str:
        return self.session.console.file.getvalue()  # type: ignore[attr-defined]

    def columns(self) -> dict[str, list]:
        return dict(self.repository.score_columns("own"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(home=tmp_path / "home", data=tmp_path / "data")
    synthesise("drive", 6, settings.data_root / "drive", 0, size=(40, 44))
    settings.make_home()
    with open_database(settings.database) as database:
        yield Bench(Session(settings, Repository(database), Console(file=io.StringIO(), width=300)))


def test_a_later_launch_fills_what_it_asks_for_and_trains_nothing(bench: Bench) -> None:
    before, hashes = bench.columns(), [t.hash for t in bench.repository.trials("own")]
    bench.launch(grid("cldice", {"name": "nsd", "tolerance": 2}))
    assert not run(bench.session, "own")
    assert "added metrics to the scores of 2 finished trials" in bench.said
    after = bench.columns()
    assert [t.hash for t in bench.repository.trials("own")] == hashes
    assert {name: after[name] for name in before} == before
    # Moved by two rows or less, all of every surface lies within a tolerance of two, but for what went round the edge.
    assert min(after["nsd(tolerance=2)"]) > 0.97
    assert all(0 < value < 1 for value in after["cldice"])
    assert set(after) - set(before) == {"nsd(tolerance=2)", "cldice"}
    run(bench.session, "own")
    assert bench.columns() == after
    assert bench.said.count("added metrics") == 1


def test_a_data_set_s_own_metrics_replace_the_grid_s(bench: Bench) -> None:
    bench.launch(grid("cldice", own=("boundary_iou",)))
    run(bench.session, "own")
    assert "boundary_iou" in bench.columns()
    assert "cldice" not in bench.columns()


def test_scoring_again_adds_what_older_scores_lack(bench: Bench) -> None:
    fill(bench.session, "own", described=True)
    columns = bench.columns()
    assert columns["diagonal"] == [pytest.approx(32 * 2**0.5)] * len(columns["trial"])
    prepared = bench.prepared(bench.repository.trials("own")[0].spec)
    assert columns["size"] == [float(prepared.label(case).sum()) for case in columns["case"]]


def test_what_cannot_be_filled_is_said_for_each_reason(bench: Bench) -> None:
    first, second = bench.repository.trials("own")
    (bench.session.settings.trials / first.hash / "predictions.npz").unlink()
    path = bench.session.settings.trials / second.hash / "predictions.npz"
    with np.load(path) as masks:
        moved = {case: np.roll(masks[case], 9, 1) for case in masks.files}
    np.savez_compressed(path, **moved)
    before = bench.columns()
    bench.launch(grid("nsd", "brier"))
    run(bench.session, "own")
    lines = bench.said.splitlines()
    assert any(line.startswith("no nsd for «drive · ce»: the predictions are not kept") for line in lines)
    assert any(line.startswith("no nsd for «drive · dice»: what is kept does not give the stored sc") for line in lines)
    (calibration,) = [line for line in lines if line.startswith("no brier")]
    assert calibration.startswith(
        "no brier for «drive · ce», «drive · dice»: they need the softmax, which is not stored"
    )
    assert bench.columns() == before


def test_masks_of_another_program_get_the_grid_s_metrics_too(bench: Bench, tmp_path: Path) -> None:
    spec = bench.repository.trials("own")[0].spec
    prepared = bench.prepared(spec)
    for case in prepared.read_split(spec.data.split).test:
        save_mask(prepared.native_label(case), tmp_path / "masks" / f"{case}.png", prepared.case(case))

    def score() -> dict[str, float | None]:
        kept = score_masks(
            bench.repository, bench.session.settings, "own", dataset="drive", label="other", folder=tmp_path / "masks"
        ).trial
        columns = bench.columns()
        place = columns["trial"].index(kept.hash)
        return {name: values[place] for name, values in columns.items()}

    assert "nsd" not in score()
    bench.launch(grid("nsd"))
    assert score()["nsd"] == 1


def test_metrics_are_added_to_scores_that_are_there(bench: Bench) -> None:
    trial = bench.repository.trials("own")[0]
    prepared = bench.prepared(trial.spec)
    case = prepared.read_split(trial.spec.data.split).test[0]
    (score,) = score_prediction(prepared, case, prepared.label(case), trial.spec.evaluation, "test")
    lease = bench.repository.acquire_lease("own", "test", 60)
    add = bench.repository.add_metrics
    before = bench.columns()
    # The DSC of this score, 1, is not what is stored, and stays out; a new name is added once.
    assert add(lease, trial.hash, [replace(score, values={"dsc": 1.0, "nsd": 0.5})]) == 1
    assert add(lease, trial.hash, [replace(score, values={"nsd": 0.7})]) == 0
    after = bench.columns()
    assert after["dsc"] == before["dsc"]
    assert sorted(v for v in after["nsd"] if v is not None) == [0.5]
    with pytest.raises(InvalidScoreError, match=r"boundary_iou is 1\.5"):
        add(lease, trial.hash, [replace(score, values={"hd95": 1.0, "boundary_iou": 1.5})])
    with pytest.raises(InvalidScoreError, match="has no score of test image 'nowhere'"):
        add(lease, trial.hash, [replace(score, values={"asd": 1.0}), replace(score, case="nowhere")])
    assert bench.columns() == after


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["nds"], "grid 'own', evaluation.metrics: unknown metric 'nds', did you mean 'nsd'?"),
        ([{"name": "nsd", "tolerence": 2}], "metric 'nsd' has no parameter 'tolerence', did you mean 'tolerance'?"),
        ([{"name": "nsd", "tolerance": -2}], "metric 'nsd': tolerance = -2; expected a number of at least 0"),
        (["nsd", {"name": "nsd", "tolerance": 1.0}], "'nsd' is listed twice"),
        (["size"], "'size' describes the image"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_with_the_grid(tmp_path: Path, metrics: list, words: str) -> None:
    with pytest.raises(GridError) as raised:
        resolve(grid(*metrics), Settings(home=tmp_path / "home", data=tmp_path))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_metrics_are_in_no_hash(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", data=tmp_path)
    asked = (grid(), grid("nsd"), grid("nsd", own=("cldice",)))
    assert len({tuple(spec.hash for spec in resolve(one, settings).specs) for one in asked}) == 1


def test_scoring_again_adds_a_metric_that_was_registered_since(bench: Bench) -> None:
    before = dict(METRICS)
    register(Metric("marked_share", "Marked", lambda masks: float(masks.marked.mean()), "Share of marked pixels."))
    try:
        fill(bench.session, "own", described=True)
    finally:
        METRICS.replace(before)
    columns = bench.columns()
    # The marks are the truth, moved: as large as it.
    assert columns["marked_share"] == [pytest.approx(size / 32**2) for size in columns["size"]]


def test_rescoring_adds_a_metric_that_no_grid_asks_for_and_moves_no_hash(bench: Bench) -> None:
    hashes = [t.hash for t in bench.repository.trials("own")]
    before = bench.columns()
    assert fill(bench.session, "own", described=True, further=("nsd(tolerance=2)",)).trials == 2
    after = bench.columns()
    assert {name: after[name] for name in before} == before
    assert min(after["nsd(tolerance=2)"]) > 0.97
    assert [t.hash for t in bench.repository.trials("own")] == hashes


@pytest.mark.slow
def test_validation_images_are_rescored_from_their_kept_predictions(tmp_path: Path, bench: Bench) -> None:
    _, second = bench.repository.trials("own")
    prepared = bench.prepared(second.spec)
    cases = prepared.read_split(second.spec.data.split).validation
    folder = bench.session.settings.trials / second.hash
    np.savez_compressed(folder / "validation_predictions.npz", **{case: prepared.label(case) for case in cases})
    # A trial of this version: with scores of the validation images, too.
    with open_database(f"sqlite:///{tmp_path / 'other.db'}") as database:
        session = replace(bench.session, repository=Repository(database))
        create(session, resolve(grid(), session.settings), [])
        lease = session.repository.acquire_lease("own", "test", 60)
        for trial in session.repository.trials("own"):
            attempt = session.repository.claim(lease, trial.hash)
            assert attempt is not None
            own = bench.result(trial.spec, 1 if trial.hash != second.hash else 2, folder=False)
            truth = [(case, prepared.label(case)) for case in cases]
            scores = [
                s
                for case, mask in truth
                for s in score_prediction(prepared, case, mask, trial.spec.evaluation, "validation")
            ]
            session.repository.finish(lease, attempt.id, replace(own, scores=(*own.scores, *scores)))
        session.repository.release_lease(lease)
        fill(session, "own", further=("nsd",))
        columns = session.repository.score_columns("own")
        rows = zip(columns["trial"], columns["partition"], columns["nsd"], strict=True)
        values = {(trial, partition): value for trial, partition, value in rows}
        assert values[second.hash, "validation"] == 1
        assert 0 < values[second.hash, "test"] < 1
        # The other trial kept none, and its network is not looked for unless that is asked for.
        (first,) = {t.hash for t in session.repository.trials("own")} - {second.hash}
        assert values[first, "validation"] is None
