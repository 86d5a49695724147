"""How a status line tells the trials of one sweep apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from storage.database import open_database
from storage.records import NewTrial, Trial
from storage.repository import Repository
from sweeper.run.lease import LeaseKeeper
from sweeper.settings import Settings
from sweeper.views.status import LISTED_TRIALS, MANY_TRIALS, closing_text, loss_names, status_object, status_text
from trials.spec import DataSpec, LossSpec, ModelSpec, TrialSpec
from trials.states import FailureKind, TrialState


def trial(number: int, loss: str, model: str = "unet", gamma: float | None = None, **parameters: Any) -> Trial:
    values = dict(parameters) if gamma is None else {**parameters, "gamma": gamma}
    spec = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), LossSpec(loss, values), ModelSpec(model))
    return Trial(
        f"{number:016x}", number, TrialState.QUEUED, spec, loss, "nuclei", loss, gamma, 0, 0, 1, None, None, 0, None,
        None, None, 0, None, None, None, None, None, None, None, None, None, None,
    )  # fmt: skip


def names(*trials: Trial) -> list[str]:
    return list(loss_names(trials).values())


def test_a_loss_alone_is_its_name() -> None:
    assert names(trial(0, "ce"), trial(1, "tversky", alpha=0.3, beta=0.7)) == ["ce", "tversky"]


def test_parameters_that_differ_are_shown() -> None:
    found = names(trial(0, "tversky", alpha=0.3, beta=0.7), trial(1, "tversky", alpha=0.4, beta=0.7))
    assert found == ["tversky(alpha=0.3)", "tversky(alpha=0.4)"]


def test_a_swept_gamma_has_its_own_column() -> None:
    swept = [
        trial(n, "unified_focal_sym", gamma=g, delta=d, absent="keep")
        for n, (g, d) in enumerate([(0.1, 0.6), (0.2, 0.7)])
    ]
    assert names(*swept) == ["unified_focal_sym(delta=0.6)", "unified_focal_sym(delta=0.7)"]
    assert names(*(replace(one, gamma=None) for one in swept))[0] == "unified_focal_sym(delta=0.6, gamma=0.1)"


def test_words_and_vectors() -> None:
    found = names(trial(0, "x", gamma_=[0.1, 0.2], absent="keep"), trial(1, "x", gamma_=0.5, absent="skip"))
    assert found == ["x(gamma_=[0.1, 0.2], absent=keep)", "x(gamma_=0.5, absent=skip)"]


def test_networks_are_shown_when_there_are_several() -> None:
    assert names(trial(0, "ce"), trial(1, "ce", "attention_unet")) == ["ce · unet", "ce · attention_unet"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8, unique=True)
)
def test_no_two_trials_have_one_name(cells: list[tuple[str, float, float]]) -> None:
    trials = [trial(n, loss, alpha=round(a, 3), beta=round(b, 3)) for n, (loss, a, b) in enumerate(cells)]
    distinct = {(t.loss, *t.spec.loss.parameters.values()) for t in trials}
    assert len(set(loss_names(trials).values())) == len(distinct)


def said(*trials: dict[str, Any], state: str = "running", lease: dict[str, Any] | None = None) -> list[str]:
    fields = {"dataset": "nuclei", "gamma": None, "repeat": 0, "epochs": 0, "val_dsc": None, "test_dsc": None}
    rows: list[dict[str, Any]] = [
        {"hash": f"{n:016x}", "variant": "ce", "failure": None, "setbacks": {}, "train_seconds": None, **fields, **one}
        for n, one in enumerate(trials)
    ]
    again: Counter[str] = Counter()
    for row in rows:
        again.update({} if row["state"] == "failed" else row["setbacks"])
    status = {
        "sweep": "s", "state": state, "reason": "", "rehearsal": False, "lease": lease, "trials": rows, "again": again,
        "counts": Counter(row["state"] for row in rows),
        "failures": Counter(row["failure"] for row in rows if row["failure"] is not None),
    }  # fmt: skip
    return [line.rstrip() for line in shown(status).splitlines()]


def shown(status: dict[str, Any]) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(status_text(status))
    return captured.get()


def test_lost_failed_and_out_of_memory_are_told_apart_with_what_to_do() -> None:
    lines = said(
        {"state": "failed", "failure": "lost", "setbacks": {"lost": 4}},
        {"state": "failed", "failure": "out_of_memory", "setbacks": {"out_of_memory": 3}},
        {"state": "failed", "failure": "out_of_memory", "setbacks": {"out_of_memory": 3}},
        {"state": "failed", "failure": "bug", "setbacks": {"bug": 2}},
        {"state": "queued", "setbacks": {"lost": 2, "out_of_memory": 1}},
        {"state": "finished", "setbacks": {"lost": 1}},
        state="stopped",
    )
    text = " | ".join(lines)
    assert "1 lost their worker each time" in text
    assert "2 ran out of memory; a smaller batch or patch" in text
    assert "1 met a bug" in text
    assert "then: sweeper retry s --failed" in lines
    assert "attempts that were tried again, or will be: 3 lost, 1 out of memory" in lines
    assert "nobody is running it; go on with: sweeper resume s" in lines
    states = [line.split("ce", 1)[1].strip() for line in lines if line.startswith("000")]
    assert states == [
        "failed: lost", "failed: out of memory", "failed: out of memory", "failed: bug",
        "queued (after 2 lost, 1 out of memory)", "finished",
    ]  # fmt: skip


def test_the_lease_says_when_it_runs_out_and_ran_out() -> None:
    alive = {"holder": "gpu-1 (pid 7)", "expires_at": 0.0, "expired": False, "seconds_left": 21.4}
    assert "run by gpu-1 (pid 7); its lease runs out in 21 s unless it is renewed" in said(lease=alive)
    assert "end it with: sweeper stop s" in said(lease=alive)
    dead = {**alive, "expired": True, "seconds_left": -600.0}
    assert "its coordinator gpu-1 (pid 7) is gone without a word: its lease ran out 10 min ago" in said(lease=dead)


def closing(settings: Settings, report: list[Path]) -> list[str]:
    class NoTrials:
        def trials(self, name: str) -> list[Trial]:
            return []

    session: Any = SimpleNamespace(settings=settings, repository=NoTrials())
    return [line.strip() for line in str(closing_text(session, "demo", report)).splitlines() if line.strip()]


def test_a_launch_ends_with_commands_for_what_is_local(tmp_path: Path) -> None:
    said = closing(Settings(home=tmp_path), [tmp_path / "report.html"])
    assert f"xdg-open {tmp_path}/report.html" in said
    assert said[-2].endswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db")


def test_a_launch_among_servers_ends_with_where_a_browser_finds_them(tmp_path: Path) -> None:
    servers = Settings(home=tmp_path, mlflow_uri="http://mlflow:5000")
    assert closing(servers, [])[-2] == "http://mlflow:5000  (MLflow, with the report)"
    seen = servers.model_copy(update={"mlflow_url": "https://mlflow.example", "board_url": "https://board.example"})
    said = closing(seen, [tmp_path / "report.html"])
    assert said[1:3] == ["https://board.example  (the board)", "https://mlflow.example  (MLflow, with the report)"]
    assert not any("xdg-open" in line or "mlflow ui" in line for line in said)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        yield Repository(database)


def queued(repository: Repository, count: int) -> list[str]:
    """The hashes of a new sweep of so many trials."""
    specs = [trial(n, "ce").spec for n in range(count)]
    trials = [NewTrial(f"{n:016x}", specs[n], f"{n}", "nuclei", "ce", None, n, n, 1) for n in range(count)]
    repository.create_sweep("s", grid={}, trials=trials)
    return [one.hash for one in trials]


def test_of_many_trials_those_are_listed_that_one_would_look_for(repository: Repository) -> None:
    last = queued(repository, MANY_TRIALS + 1)[-1]
    with LeaseKeeper(repository, "s", 30.0) as keeper:
        for kind, requeue in ((FailureKind.LOST, True), (FailureKind.BUG, False)):
            attempt = repository.claim(keeper.lease, last)
            assert attempt is not None
            repository.fail(keeper.lease, attempt.id, kind, "gone", requeue=requeue)
    whole, brief = status_object(repository, "s"), status_object(repository, "s", brief=True)
    assert len(whole["trials"]) == MANY_TRIALS + 1
    assert brief["trials"] == [*whole["trials"][: LISTED_TRIALS - 1], whole["trials"][-1]]
    assert {**whole, "trials": []} == {**brief, "trials": []}
    assert (whole["counts"]["queued"], whole["failures"], whole["again"]) == (MANY_TRIALS, {"bug": 1}, {})
    assert f"{LISTED_TRIALS} of {MANY_TRIALS + 1} trials are listed" in shown(brief)
    assert "trials are listed" not in shown(whole)


def test_of_few_trials_all_are_listed(repository: Repository) -> None:
    queued(repository, MANY_TRIALS)
    assert status_object(repository, "s", brief=True) == status_object(repository, "s")
