"""The board's pages that need no script: what they say, and what is wrong with an address."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from dashboards.board.app import make_app
from dashboards.board.source import Source
from storage.database import open_database
from storage.repository import Repository
from sweeper.views.examples import PREDICTIONS
from tests.live_sweeps import Planned, bring, epoch, new_trial, store
from tests.results import result, scored
from trials.states import SweepState, TrialState
from workers.datasets.image_folder import NUCLEI, Nuclei
from workers.datasets.prepared import prepare


def client_of(source: Source) -> FlaskClient:
    client: FlaskClient = make_app(source, host="127.0.0.1").server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    return client


@pytest.fixture
def client(source: Source) -> FlaskClient:
    return client_of(source)


@pytest.fixture(scope="module")
def two_sweeps(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """The board of `demo` and `other`, for tests that change nothing."""
    file = Path(shutil.copy(template, tmp_path_factory.mktemp("two")))
    with open_database(f"sqlite:///{file}") as database:
        store(Repository(database), [Planned(loss="ce", repeat=7, state=TrialState.FINISHED)], "other")
    source = Source(f"sqlite:///{file}", rest=0.0)
    yield client_of(source)
    source.close()


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.headers["Content-Disposition"].endswith(".csv")
    return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))


def test_home_has_every_sweep_with_state_progress_and_best_loss(client: FlaskClient, repository: Repository) -> None:
    lease = store(repository, [Planned(loss="combo", repeat=1, state=TrialState.FAILED)], "=cmd", rehearsal=True)
    repository.set_sweep_state(lease, SweepState.BROKEN, "too many")
    text = client.get("/").get_data(as_text=True)
    assert text.index("=cmd") < text.index(">demo<")  # the newest first
    assert "6 of 15 trials finished, 2 running, 2 failed, 1 pruned, 1 stopped" in text
    assert "ce on drive, 0.750 over 2 runs; ce on nuclei, 0.761 over 1 run" in text
    assert "rehearsal" in text
    only = client.get("/?state=broken").get_data(as_text=True)
    assert "1 of 2 sweeps" in only
    assert ">demo<" not in only
    found = rows(client.get("/sweeps.csv?show=DEMO"))
    assert [(r["sweep"], r["finished"], r["dataset"], r["best_loss"]) for r in found] == [
        ("demo", "6", "drive", "ce"),
        ("demo", "6", "nuclei", "ce"),
    ]
    assert rows(client.get("/sweeps.csv?state=broken"))[0]["sweep"] == "'=cmd"  # which no spreadsheet runs


def test_a_sweep_that_nobody_runs_is_told_from_one_that_runs(client: FlaskClient, repository: Repository) -> None:
    repository.set_sweep_state(store(repository, [Planned(repeat=3)], "run"), SweepState.RUNNING)
    lease = store(repository, [Planned(repeat=2)], "left")
    repository.set_sweep_state(lease, SweepState.RUNNING)
    repository.release_lease(lease)
    assert [r["sweep"] for r in rows(client.get("/sweeps.csv?state=not+running"))] == ["left"]


def test_home_is_sent_again_only_when_something_changed(client: FlaskClient, repository: Repository) -> None:
    seen = {"If-None-Match": client.get("/").headers["ETag"]}
    assert client.get("/", headers=seen).status_code == 304
    store(repository, [Planned(loss="combo", repeat=1)], "another")
    assert client.get("/", headers=seen).status_code == 200


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/?sweep=dem", 404, "did you mean &#39;demo&#39;"),
        ("/?sweep=demo&state=runing", 404, "did you mean &#39;running&#39;"),
        ("/?state=odd", 404, "no state of a sweep is named &#39;odd&#39;"),
        ("/trials.csv", 400, "names no sweep"),
        ("/trials.csv?sweep=dem", 404, "did you mean"),
        ("/gamma.csv?sweep=demo&dataset=drve", 404, "did you mean &#39;drive&#39;"),
        ("/epochs.csv?sweep=demo&cell=a&cell=b&cell=c", 404, "has no cell"),
        ("/scores?sweep=demo&metric=recal", 404, "did you mean &#39;recall&#39;"),
        ("/scores?sweep=demo&dataset=drve", 404, "did you mean &#39;drive&#39;"),
        ("/scores.png?sweep=demo&dataset=drive&class=odd", 404, "no class is named &#39;odd&#39;; there are: nucleus"),
        ("/overlays?sweep=demo&a=zz", 404, "no finished trial of this data set has a hash that starts with"),
        ("/overlays?sweep=demo&case=case9", 404, "did you mean &#39;case"),
        ("/overlays?sweep=demo&part=all", 404, "there are: part, whole"),
        ("/overlays.png?sweep=demo", 404, "predictions are not on this machine"),
        ("/compare?sweep=demo", 400, "needs two sweeps or more; chosen: &#39;demo&#39;"),
        ("/compare.csv?" + "&".join(f"sweep=s{n}" for n in range(11)), 400, "at most 10"),
        ("/compare?sweep=demo&sweep=demos", 404, "no sweep is named &#39;demos&#39;"),
        ("/compare?sweep=demo&sweep=other&metric=nsd", 404, "no metric that both sweeps have is named &#39;nsd&#39;"),
        ("/nothing", 404, "no page &#39;/nothing&#39;"),
        ("/?sweep=%00%F0", 404, "no sweep is named"),
        ("/?sweep=<script>", 404, "&lt;script&gt;"),
    ],
)
def test_a_wrong_address_is_a_page_that_says_what_is_wrong(
    two_sweeps: FlaskClient, address: str, status: int, words: str
) -> None:
    answer = two_sweeps.get(address)
    assert answer.status_code == status
    text = answer.get_data(as_text=True)
    assert words in text
    assert 'role="alert"' in text
    assert "Traceback" not in text


def test_what_is_shown_can_be_downloaded(client: FlaskClient) -> None:
    trials = rows(client.get("/trials.csv?sweep=demo"))
    assert len(trials) == 15
    assert {t["state"] for t in trials} == {state.value for state in TrialState}
    images = rows(client.get("/images.csv?sweep=demo"))
    assert {(i["partition"], i["case"]) for i in images} >= {("test", "case0"), ("validation", "case3")}
    means = rows(client.get("/gamma.csv?sweep=demo&dataset=drive"))
    assert [(m["variant"], m["repeats"]) for m in means] == [("ce", "2"), ("dice", "1")]
    cell = "cell=nuclei&cell=unified_focal_asym&cell=0.5"
    epochs = rows(client.get(f"/epochs.csv?sweep=demo&{cell}"))
    assert sum(e["of"] == "the cell" for e in epochs) == 12
    assert {e["line"] for e in epochs} == {"unified_focal_asym · γ=0.5", "ce", "unified_focal_asym · γ=0.3"}


def measured(repository: Repository, name: str, better: float, losses: Sequence[str] = ("ce", "dice")) -> None:
    """A finished sweep of losses with three runs each, scored by a metric with parameters and a distance, too."""
    cells = [Planned(loss=loss, repeat=20 + n) for loss in losses for n in range(3)]
    cells = [replace(cell, repeat=cell.repeat + int(1000 * better)) for cell in cells]
    lease = store(repository, cells, name)
    for cell in cells:
        attempt = repository.claim(lease, cell.spec.hash)
        if attempt is None:
            continue  # another sweep has it
        own = 0.6 + better + 0.01 * (cell.repeat % 3) + (0.05 if cell.loss == "dice" else 0.0)
        further = {"nsd(tolerance=2)": own / 2, "hd95": 10 * (1 - own)}
        scores = [
            scored(part, f"{i}", "nucleus", own + 0.02 * i, **further)
            for part in ("validation", "test")
            for i in range(8)
        ]
        repository.finish(lease, attempt.id, result(cell.spec.hash, scores, [epoch(1, own)]))
    repository.release_lease(lease)


@pytest.mark.slow
def test_every_stored_metric_is_shown_with_intervals_over_images_and_runs(
    client: FlaskClient, repository: Repository
) -> None:
    measured(repository, "wide", 0.0)
    text = client.get("/scores?sweep=wide&metric=hd95").get_data(as_text=True)
    for heading in ("DSC", "IoU", "Precision", "Recall", "NSD (tolerance 2)", "HD95"):
        assert f'<th scope="col">{heading}</th>' in text
    table = text[text.index("Test scores, nuclei, nucleus") :]
    assert table.index(">dice<") < table.index(">ce<")  # the smaller distance is the better one
    assert 'aria-label="Test HD95, nuclei, nucleus. dice 3.4' in text
    assert "± 0.025 over runs" in table  # t(0.975, 2) · 0.01 / √3
    found = rows(client.get("/scores.csv?sweep=wide"))
    by_metric = {(r["loss"], r["metric"]): r for r in found}
    assert float(by_metric["ce", "nsd(tolerance=2)"]["mean"]) == pytest.approx(0.305)
    assert float(by_metric["ce", "dsc"]["half_width_runs"]) == pytest.approx(0.0248, abs=1e-4)
    assert by_metric["ce", "dsc"]["runs"] == "3"
    picture = client.get("/scores.png?sweep=wide&metric=hd95&dataset=nuclei&class=nucleus")
    assert picture.mimetype == "image/png"
    assert picture.get_data().startswith(b"\x89PNG")


@pytest.mark.slow
def test_scores_that_are_added_later_are_shown(client: FlaskClient, repository: Repository) -> None:
    measured(repository, "wide", 0.0, ["ce"])
    assert ">dice<" not in client.get("/scores?sweep=wide").get_data(as_text=True)
    more = Planned(loss="dice", repeat=50, state=TrialState.FINISHED)
    lease = repository.acquire_lease("wide", "h", 60)
    repository.add_trials(lease, [new_trial(more)])
    bring(repository, lease, more)
    assert ">dice<" in client.get("/scores?sweep=wide").get_data(as_text=True)


def test_a_sweep_without_scores(client: FlaskClient, repository: Repository) -> None:
    store(repository, [Planned(repeat=9)], "young")
    answer = client.get("/scores?sweep=young")
    assert answer.status_code == 200
    assert "No trial has finished yet." in answer.get_data(as_text=True)


@pytest.mark.slow
def test_sweeps_side_by_side(client: FlaskClient, repository: Repository) -> None:
    measured(repository, "first", 0.0)
    measured(repository, "second", 0.1)
    measured(repository, "third", 0.1, ["dice", "focal"])
    text = client.get("/compare?sweep=first&sweep=second&sweep=third").get_data(as_text=True)
    assert "first has 6 trials; second has 6 trials; third has 6 trials; all share 0." in text
    assert "second, third" in text  # which share the trials of dice
    found = rows(client.get("/compare.csv?sweep=first&sweep=second&sweep=third"))
    dsc = {(r["loss"], r["sweep_a"], r["sweep_b"]): r for r in found if r["metric"] == "dsc"}
    assert set(dsc) == {("ce", "first", "second"), ("dice", "first", "second"), ("dice", "first", "third")}
    assert float(dsc["ce", "first", "second"]["difference"]) == pytest.approx(-0.1)
    assert float(dsc["ce", "first", "second"]["high"]) < 0
    nsd = client.get("/compare?sweep=first&sweep=second&metric=nsd(tolerance%3D2)").get_data(as_text=True)
    assert "Differences of NSD (tolerance 2)" in nsd
    assert "<strong>−0.050</strong>" in nsd
    assert 'aria-label="Differences of test NSD (tolerance 2), first − second. ce -0.050' in nsd
    assert "3 and 3 runs, 8 images" in nsd
    picture = client.get("/compare.png?sweep=first&sweep=second")
    assert picture.get_data().startswith(b"\x89PNG")


@pytest.mark.slow
def test_sweeps_that_have_nothing_in_common(client: FlaskClient, repository: Repository) -> None:
    store(repository, [Planned(loss="boundary", repeat=9)], "other")
    text = client.get("/compare?sweep=demo&sweep=other").get_data(as_text=True)
    assert "None: no trial belongs to two of them." in text
    assert "No loss was trained anew" in text
    assert client.get("/compare.png?sweep=demo&sweep=other").status_code == 404


def test_overlays_begin_with_the_case_on_which_two_trials_differ_most(
    client: FlaskClient, repository: Repository
) -> None:
    cells = [Planned(loss=loss, repeat=60) for loss in ("ce", "dice")]
    lease = store(repository, cells, "two")
    for cell, dsc in zip(cells, ((0.8, 0.8, 0.8), (0.7, 0.2, 0.9)), strict=True):
        attempt = repository.claim(lease, cell.spec.hash)
        assert attempt is not None
        scores = [scored(part, f"c{i}", "nucleus", dsc[i]) for part in ("validation", "test") for i in range(3)]
        repository.finish(lease, attempt.id, result(cell.spec.hash, scores, [epoch(1, 0.5)]))
    text = client.get("/overlays?sweep=two").get_data(as_text=True)
    assert '<option value="c1" selected>c1: DSC 0.800 and 0.200</option>' in text
    assert "predictions are not on this machine" in text
    found = rows(client.get("/overlays.csv?sweep=two"))
    assert [row["case"] for row in found] == ["c1", "c0", "c2"]
    assert float(found[0]["dice · repeat 60"]) == 0.2


@pytest.mark.slow
def test_two_cells_are_drawn_side_by_side_over_image_and_truth(
    repository: Repository, file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for image in sorted((NUCLEI / part).glob("*.png"))[:3]:
            shutil.copy(image, folder / part)
    dataset = prepare(Nuclei(), folder, tmp_path / "prepared", processes=1)
    hidden = {"datasets": [{"name": "nuclei", "pictures": False}]}
    for name, grid in (("seen", {}), ("hidden", hidden)):
        specs = [cell.spec for cell in (Planned(loss="ce", repeat=70), Planned(loss="dice", repeat=70))]
        specs = [replace(spec, data=replace(spec.data, prepared=dataset.key)) for spec in specs]
        trials = [replace(new_trial(Planned(loss=spec.loss.name)), hash=spec.hash, spec=spec) for spec in specs]
        repository.create_sweep(name, grid=grid, trials=trials)
        lease = repository.acquire_lease(name, "h", 60)
        for spec in specs:
            if (attempt := repository.claim(lease, spec.hash)) is None:
                continue
            scores = [scored("test", case, "nucleus", 0.5) for case in dataset.case_ids]
            repository.finish(lease, attempt.id, result(spec.hash, scores, [epoch(1, 0.5)]))
            (tmp_path / "trials" / spec.hash).mkdir(parents=True)
            masks = {case: np.asarray(dataset.label(case)) * (spec.loss.name == "ce") for case in dataset.case_ids}
            np.savez_compressed(tmp_path / "trials" / spec.hash / PREDICTIONS, **masks)
    source = Source(f"sqlite:///{file}", trials_folder=tmp_path / "trials", prepared_root=tmp_path / "prepared")
    client = make_app(source).server.test_client()
    case = dataset.case_ids[1]
    missed = int((np.asarray(dataset.label(case)) > 0).sum())
    answer = client.get(f"/overlays?sweep=seen&case={case}&part=whole")
    text = answer.get_data(as_text=True)
    assert f"Test case {case} of nuclei." in text
    assert f"dice · repeat 70: DSC 0.500, FP 0 · FN {missed}" in text
    assert "ce · repeat 70: DSC 0.500, FP 0 · FN 0" in text
    with Image.open(io.BytesIO(client.get(f"/overlays.png?sweep=seen&case={case}&part=whole").data)) as drawn:
        assert drawn.format == "PNG"
    answer = client.get("/overlays?sweep=hidden")
    assert "its pictures are switched off (pictures = false)" in answer.get_data(as_text=True)
    assert "<figure>" not in answer.get_data(as_text=True)
    assert client.get("/overlays.png?sweep=hidden").status_code == 404
    source.close()
