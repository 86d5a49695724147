"""MLflow as people browse it: from the address that is printed to the best loss, and from there to an overlay."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from rich.console import Console

from storage.database import open_database
from storage.records import Trial
from storage.repository import Repository
from sweeper.run.publishing import publish
from sweeper.session import Session
from sweeper.settings import Settings, load_settings
from sweeper.study import read_study
from tests.dashboards.browser import SECONDS, chromium, opened, picture
from tests.results import result, scored
from tests.sweeper.analysis.study_maker import Study, make_trial, store
from trials.results import Epoch
from trials.states import TrialState
from workers.tracking import Spool

Command = Callable[..., Any]


@pytest.fixture
def published(stored: Path) -> Path:
    """The stored sweep with three more finished trials in MLflow, each with a picture of its segmentations."""
    with _repository() as (settings, repository):
        trials = repository.trials("demo")[5:8]
        _finish(settings, repository, "demo", [(t, 0.80 + number / 50) for number, t in enumerate(trials)])
    return stored


@pytest.fixture
def of_two_sets(home: Path) -> Path:
    """A sweep of two data sets in MLflow: Dice is the best loss on the first, and cross entropy on the second."""
    home.mkdir()
    means = {("nuclei", "ce"): 0.7, ("nuclei", "dice"): 0.8, ("drive", "ce"): 0.9, ("drive", "dice"): 0.6}
    study = Study()
    study.trials += [make_trial(*cell, state=TrialState.QUEUED) for cell in means]
    with _repository() as (settings, repository):
        store(study, repository, "both")
        if (lease := repository.lease("both")) is not None:
            repository.release_lease(lease)
        trials = repository.trials("both")
        _finish(settings, repository, "both", [(t, means[t.dataset, t.loss]) for t in trials])
    return home


@contextmanager
def _repository() -> Iterator[tuple[Settings, Repository]]:
    settings = load_settings()
    with open_database(settings.database) as database:
        yield settings, Repository(database)


def _finish(settings: Settings, repository: Repository, sweep: str, means: Sequence[tuple[Trial, float]]) -> None:
    """Stores results with these mean test DSC, writes the spools and publishes, as a coordinator does."""
    lease = repository.acquire_lease(sweep, "test", 60)
    for trial, mean in means:
        attempt = repository.claim(lease, trial.hash)
        assert attempt is not None
        label = trial.spec.data.classes[1]
        scores = [
            scored(p, f"{p}-{case}", label, mean + case / 100) for p in ("validation", "test") for case in range(4)
        ]
        outcome = result(trial.hash, scores, [Epoch(1, 0.5, 0.6, 0.7, 0.1, 19, 1.5)])
        repository.finish(lease, attempt.id, outcome)
        folder = settings.trials / trial.hash
        with Spool(folder / "spool.jsonl") as spool:
            spool.start(trial.spec, label=trial.label, sweep=sweep)
            Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "overlay.png")
            spool.artifact(folder / "overlay.png", "segmentations")
            spool.finish(outcome)
    repository.release_lease(lease)
    publish(Session(settings, repository, Console()), read_study(repository, sweep), None)


@contextmanager
def page_of_mlflow(sweep: str) -> Iterator[list[str]]:
    """The addresses that `sweeper mlflow ui SWEEP` prints while it runs."""
    command = [sys.executable, "-m", "sweeper", "mlflow", "ui", sweep, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            yield re.findall(r"http://127\.0\.0\.1:\S+", "".join(lines))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_clicks_lead_from_the_address_to_the_best_loss_and_two_more_to_an_overlay(published: Path) -> None:
    expect.set_options(timeout=SECONDS * 1000)
    with page_of_mlflow("demo") as (trials, sweep), chromium() as browser:
        with opened(browser, trials, faultless=False) as page:
            first = page.get_by_text(re.compile("Group: ")).first
            expect(first).to_contain_text("unified_focal")  # the best one, without a click
            expect(page.get_by_text("test_dsc").first).to_be_visible()
            picture(page, "mlflow-trials")
            page.get_by_role("link", name=re.compile("nuclei · unified_focal")).first.click()
            shown = page.get_by_role("link", name="Segmentations")
            expect(page.locator("img[src*='get-artifact']")).to_have_js_property("naturalWidth", 60)
            picture(page, "mlflow-trial")
            with page.context.expect_page() as tab:  # MLflow opens each link of a description in a new one
                shown.click()
            expect(tab.value).to_have_url(re.compile("artifactPath/segmentations/overlay.png"))
            expect(tab.value.get_by_text("overlay.png").first).to_be_visible()
            picture(tab.value, "mlflow-overlay")
        with opened(browser, sweep, faultless=False) as page:
            expect(page.get_by_text("the ranking")).to_be_visible()
            expect(page.get_by_text("test_dsc/nuclei/nucleus/dice")).to_be_visible()
            picture(page, "mlflow-sweep")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_of_several_data_sets_the_best_loss_of_one_is_two_clicks_away(of_two_sets: Path) -> None:
    expect.set_options(timeout=SECONDS * 1000)
    with (
        page_of_mlflow("both") as (trials, _),
        chromium() as browser,
        opened(browser, trials, faultless=False) as page,
    ):
        for dataset, best in (("drive", "ce"), ("nuclei", "dice")):
            page.get_by_role("button", name=re.compile("^both")).click()
            page.get_by_text(f"both: best loss on {dataset}").click()
            first = page.get_by_role("link", name=re.compile(f"{dataset} · ")).first
            expect(first).to_contain_text(f"{dataset} · {best}")
        picture(page, "mlflow-two-sets")


def test_a_taken_port_and_a_sweep_that_mlflow_does_not_have_are_one_line(sweeper: Command, stored: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = sweeper("mlflow", "ui", "demo", "--port", str(port))
    assert answer.status == 2
    assert f"cannot listen on 127.0.0.1:{port}" in answer.err
    assert "--port" in answer.err
    assert sweeper("mlflow", "ui", "demoo").status == 2
