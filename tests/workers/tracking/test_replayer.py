"""The thread that replays spools while they grow; a real server in a slow test."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_server import MlflowServer
from tests.workers.tracking.tracking_samples import NOBODY, state, trial, write_trial
from workers.tracking import Replayer, ReplayResult, ensure_store, replay

PATIENCE = 120
"""Seconds that something which comes may take on a busy machine. Nothing is expected to take them."""


def test_a_replayer_follows_growing_spools_and_forgets_finished_ones(uri: str, tmp_path: Path) -> None:
    with Replayer(uri, experiment="tests", every=0.05) as replayer:
        paths = [tmp_path / name / "spool.jsonl" for name in ("a", "b")]
        for path in paths:
            replayer.watch(path)  # before the file is there
        for path, gamma in zip(paths, (0.1, 0.9), strict=True):
            write_trial(path.parent, trial(gamma))
        assert replayer.wait(timeout=PATIENCE)
        assert replayer.close(timeout=PATIENCE) == {}
    assert [run["status"] for run in state(uri)] == ["FINISHED", "FINISHED"]


def test_a_replayer_sends_what_was_written_just_before_its_close(uri: str, tmp_path: Path) -> None:
    replayer = Replayer(uri, experiment="tests", every=3600)
    path = write_trial(tmp_path / "a", trial(), finish=False)
    replayer.watch(path)
    left = replayer.close(timeout=PATIENCE)
    assert list(left) == [path]  # not ended, so still of interest to whoever goes on
    assert left[path].left == 0
    assert [run["status"] for run in state(uri)] == ["RUNNING"]


@pytest.mark.slow
def test_a_replayer_without_a_server_delays_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, go = threading.Event(), threading.Event()

    def hanging(*arguments: Any, **keywords: Any) -> ReplayResult:
        sending.set()
        assert go.wait(PATIENCE)
        return replay(*arguments, **keywords)

    monkeypatch.setattr("workers.tracking.replayer.replay", hanging)
    path = write_trial(tmp_path / "a", trial())
    replayer = Replayer(NOBODY, experiment="tests", every=0.05)
    replayer.watch(path)
    replayer.flush()
    assert sending.wait(PATIENCE)
    for call in (lambda: replayer.watch(path), replayer.flush, lambda: replayer.close(timeout=0)):
        call()  # while a sending hangs
    assert replayer.pending() == {path: None}
    go.set()
    left = replayer.close(timeout=PATIENCE)[path]
    assert left is not None
    assert left.left == 6
    assert caplog.text.count("could not be reached") == 1


@pytest.mark.slow
def test_a_server_killed_and_started_again_gets_everything_once(tmp_path: Path) -> None:
    server = MlflowServer(tmp_path / "server")
    server.start()
    address = server.url
    try:
        ensure_store(address, experiment="tests", artifact_root=tmp_path / "ignored")
        specs = [trial(g / 10) for g in range(1, 5)]
        with Replayer(address, experiment="tests", every=0.1, longest_pause=1) as replayer:
            for number, spec in enumerate(specs):
                replayer.watch(write_trial(tmp_path / spec.hash, spec))
                if number == 2:
                    server.kill()
            while not any(result and result.unreachable for result in replayer.pending().values()):
                time.sleep(0.1)
            server.start()
            assert replayer.wait(timeout=PATIENCE)
        ensure_store(f"sqlite:///{tmp_path}/other.db", experiment="tests", artifact_root=tmp_path / "a2")
        for spec in specs:
            replay(tmp_path / spec.hash / "spool.jsonl", f"sqlite:///{tmp_path}/other.db", experiment="tests")
        assert state(address) == state(f"sqlite:///{tmp_path}/other.db")
    finally:
        server.kill()
