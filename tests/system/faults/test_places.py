"""Each place that writes meets a fault: what it says, what stays there, and that it goes on once the fault has gone.

The places are written by the code that writes them in a sweep, in this process or one that is forked from it; whole
sweeps that meet the same faults are in `test_local` and `test_servers`.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, event

from dashboards.commands import write_scores
from storage.database import open_database, sqlite_url
from storage.errors import DatabaseURLError
from sweeper.cli import main
from sweeper.run import unpublished
from sweeper.server.starts import Starts
from sweeper.settings import Settings
from sweeper.verbs.host import Start
from tests.dashboards.unrendered import unrendered
from tests.system.faults.scenarios import fill
from tests.tiny_trials import TinyData, tiny_data
from trials.errors import ExpectedError
from trials.messages import EpochEnded, Event, Failed, Finished, Needs, Order, Started, TrainRequest
from trials.results import Epoch
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import FailureKind
from workers.datasets import get_reader
from workers.datasets.prepared import is_prepared, open_prepared, prepare, prepared_path
from workers.errors import DataError
from workers.process.failures import classify
from workers.process.trial_log import TrialLog, read_part
from workers.process.warm import WarmProcess
from workers.tracking import Spool, TrackingUnavailableError, ensure_store, replay
from workers.tracking.spool import read_lines
from workers.training.checkpoints import Checkpoint, CheckpointFolder

pytestmark = pytest.mark.slow

READER = get_reader("image-folder", {"name": "mine", "size": [8, 8]})
SPEC = TrialSpec(DataSpec("mine", ("background", "object"), 2, "p" * 16, "s" * 16), LossSpec("ce", {}), seed=1)

GRID = """
name = "t"
[[datasets]]
name = "mine"
reader = "image-folder"
[[losses]]
name = "ce"
"""


class Place:
    """A place that writes, in a folder of its own. `number` makes what is written differ.

    `refusal` is what a fault of writing is told by; `said` what its text has.
    """

    refusal: type[Exception] = OSError
    said = "No space left on device|File too large"

    def __init__(self, folder: Path, sources: Path) -> None:
        self.folder, self.sources = folder, sources

    def source(self, number: int) -> Path:
        """What is read to write that; it lies elsewhere."""
        return self.sources

    def write(self, number: int) -> None:
        raise NotImplementedError

    def read(self) -> Any:
        """What a reader gets."""
        raise NotImplementedError


class ReportPlace(Place):
    refusal, said = ExpectedError, r"report cannot be written to .*(No space left|File too large).*--out"

    def source(self, number: int) -> Path:
        scores = self.sources / f"{number}.csv"
        rows = [
            f"d,c,{loss},{run},{case},{(5 * number + run + case) / 100}\n"
            for loss in "ab"
            for run in (0, 1)
            for case in range(4)
        ]
        if not scores.exists():
            scores.write_text("dataset,class,loss,run,case,dsc\n" + "".join(rows))
        return scores

    def write(self, number: int) -> None:
        with unrendered():
            write_scores(self.source(number), self.folder)

    def read(self) -> Any:
        return (self.folder / "report.html").read_bytes()


class StartsPlace(Place):
    def starts(self) -> Starts:
        starts = Starts(Settings(home=self.folder.parent), lambda path, log: (1, "not now"))
        assert starts.folder == self.folder
        return starts

    def write(self, number: int) -> None:
        starts = self.starts()
        starts.start(Start("demo", at=float(number)))
        starts.join(60)

    def read(self) -> Any:
        found = self.starts().of("demo")
        return found and (found.at, found.failure)


class BegunPlace(Place):
    def write(self, number: int) -> None:
        unpublished.start(Settings(home=self.folder.parent), "demo", unpublished.StartedRun(until=float(number)))

    def read(self) -> Any:
        return unpublished.until(Settings(home=self.folder.parent), "demo")


class CheckpointPlace(Place):
    def write(self, number: int) -> None:
        weights = (np.full(3000, number, np.float32),)
        state = {"plateau": {"best_epoch": 0}}
        CheckpointFolder(self.folder).save(Checkpoint(number, weights, weights, state), best=False)

    def read(self) -> Any:
        found, damaged = CheckpointFolder(self.folder).load()
        return found and found.epoch, damaged


class PreparedPlace(Place):
    def source(self, number: int) -> Path:
        source = self.sources / f"source-{number}"
        if source.exists():
            return source
        for kind in ("images", "masks"):
            (source / kind).mkdir(parents=True, exist_ok=True)
            for case in range(3):
                pixels = np.full((8, 8), 40 * number + case, np.uint8)
                pixels[: 3 + case] = 0
                pixels = pixels if kind == "images" else (pixels > 0).astype(np.uint8)
                Image.fromarray(pixels).save(source / kind / f"c{case}.png")
        return source

    def write(self, number: int) -> None:
        prepare(READER, self.source(number), self.folder, processes=1)

    def read(self) -> Any:
        found = sorted(self.folder.glob("mine-*"))
        for one in found:
            open_prepared(one).verify_here(trusted=0)
        return [one.name for one in found]


class SpoolPlace(Place):
    def write(self, number: int) -> None:
        with Spool(self.folder / "spool.jsonl") as spool:
            # More than fits into what is left of a page of memory, of which the disk consists.
            spool.start(SPEC, label="mine · ce", sweep="demo", attempt=number, setting="x" * 5000)
            spool.epoch(Epoch(number, 0.5, 0.6, 0.7, 0.1, 19, 1.5))

    def read(self) -> Any:
        return list(read_lines(self.folder / "spool.jsonl"))


class LogPlace(Place):
    def write(self, number: int) -> None:
        log = TrialLog(self.folder / "trial.log")
        try:
            log.write(f"epoch {number}\n" * 1000)
        finally:
            log.close()

    def read(self) -> Any:
        return sorted(set(read_part(self.folder / "trial.log").text.splitlines()))


class MlflowPlace(Place):
    refusal, said = TrackingUnavailableError, "MLflow"

    def __init__(self, folder: Path, sources: Path) -> None:
        super().__init__(folder, sources)
        self.spooled: set[int] = set()

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def spool(self) -> Path:
        return self.sources / "trial" / "spool.jsonl"

    def source(self, number: int) -> Path:
        if number not in self.spooled:
            self.spooled.add(number)
            SpoolPlace(self.spool.parent, self.sources).write(number)
        return self.spool

    def write(self, number: int) -> None:
        self.source(number)
        self.send()

    def send(self) -> None:
        replay(self.spool, self.uri, experiment="places", attempts=1, strict=True)

    def read(self) -> Any:
        """The epochs of each run, by a look of its own: MLflow keeps a file open for as long as its process lives."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as store:
            return store.execute("SELECT run_uuid, step FROM metrics WHERE key = 'val_dsc' ORDER BY step").fetchall()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    ensure_store(f"sqlite:///{file}", experiment="untouched")
    return file


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A disk of 4 MiB at the folder, where this user may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    fill(folder / "ballast")
    yield
    (folder / "ballast").unlink()


@contextmanager
def no_growth(folder: Path) -> Iterator[None]:
    """No file of this process may grow past what a few bytes need: as with a quota, or a disk that became read-only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NAMES: dict[str, tuple[type[Place], str]] = {
    "MLflow's store": (MlflowPlace, "mlflow"),
    "spool": (SpoolPlace, "trial"),
    "checkpoint": (CheckpointPlace, "trial"),
    "prepared data": (PreparedPlace, "prepared"),
    "report": (ReportPlace, "report"),
    "log": (LogPlace, "logs"),
    "starts": (StartsPlace, "starts"),
    "begun": (BegunPlace, "begun"),
}
"""The places by their names in docs/guarantees.md, each with its folder's name."""


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """Makes a place in an empty folder."""

    def make(name: str, *, own_disk: bool = False) -> Place:
        kind, folder = NAMES[name]
        place = kind(tmp_path / "home" / folder, tmp_path / "sources")
        place.folder.mkdir(parents=True)
        place.sources.mkdir()
        if own_disk:
            mounted = disk(place.folder)
            mounted.__enter__()
            request.addfinalizer(lambda: mounted.__exit__(None, None, None))
        if isinstance(place, MlflowPlace):
            shutil.copy(request.getfixturevalue("empty_store"), place.folder)
            ensure_store(place.uri, experiment="places", artifact_root=tmp_path / "artifacts")
        return place

    return make


@pytest.mark.parametrize("fault", ["disk full", "quota, remount"])
@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_cannot_be_written_says_so_keeps_what_was_there_and_goes_on(
    made: Callable[..., Place], name: str, fault: str
) -> None:
    place = made(name, own_disk=fault == "disk full")
    place.write(1)
    before = place.read()
    place.source(2)
    with (full if fault == "disk full" else no_growth)(place.folder), pytest.raises(place.refusal) as told:
        place.write(2)
    assert told.match(place.said)
    assert isinstance(told.value, ExpectedError) or classify(told.value) is FailureKind.DISK_FULL
    if isinstance(place, LogPlace):  # whose lines stand there as far as there was room
        assert before[0] in place.read()
    else:
        assert place.read() == before
    place.write(3)
    assert place.read() != before
    if isinstance(place, MlflowPlace):  # and what waited meanwhile, once
        assert [step for _, step in place.read()] == [1, 2, 3]


def stopped_in(place: Place, number: int, with_signal: signal.Signals) -> int:
    """A process that gets the signal when all is written and nothing is synced; its number, once it has got it."""
    pid = os.fork()
    if pid == 0:
        try:
            once = [True]

            def meet(handle: int) -> None:
                if once:
                    once.clear()
                    os.kill(os.getpid(), with_signal)

            os.fsync = meet
            place.write(number)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return pid


@pytest.mark.parametrize("name", ["checkpoint", "prepared data", "report", "starts", "begun"])
def test_a_kill_in_the_middle_leaves_what_was_there_and_the_next_one_writes(
    made: Callable[..., Place], name: str
) -> None:
    place = made(name)
    place.write(1)
    before = place.read()
    stopped_in(place, 2, signal.SIGKILL)
    assert place.read() == before
    place.write(2)
    assert place.read() != before


@pytest.mark.parametrize("name", ["checkpoint", "report", "starts", "begun"])
def test_one_that_is_paused_hides_nothing_and_ends_when_it_goes_on(made: Callable[..., Place], name: str) -> None:
    place = made(name)
    place.write(1)
    before = place.read()
    pid = stopped_in(place, 2, signal.SIGSTOP)
    assert place.read() == before
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    assert place.read() != before


def paused_or_killed(first: Callable[[], None], with_signal: signal.Signals, second: Callable[[], None]) -> int:
    """A process that gets the signal between two pieces of work; its number, once it has got it."""
    pid = os.fork()
    if pid == 0:
        try:
            first()
            os.kill(os.getpid(), with_signal)
            second()
        finally:
            os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    return pid


def test_of_a_spool_whose_writer_is_paused_the_lines_are_read(made: Callable[..., Place]) -> None:
    place = made("spool")
    with Spool(place.folder / "spool.jsonl") as spool:
        start = lambda: spool.start(SPEC, label="mine · ce", sweep="demo")  # noqa: E731
        pid = paused_or_killed(start, signal.SIGSTOP, lambda: spool.epoch(Epoch(1, 0.5, 0.6, 0.7, 0.1, 19, 1.5)))
    assert len(place.read()) == 1
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    assert len(place.read()) == 2


def test_a_log_whose_writer_is_paused_or_killed_has_its_whole_lines(made: Callable[..., Place]) -> None:
    place = made("log")
    log = TrialLog(place.folder / "trial.log")
    pid = paused_or_killed(lambda: log.write("epoch 1\nepo"), signal.SIGSTOP, lambda: log.write("ch 2\nepo"))
    assert place.read() == ["epoch 1"]
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    assert place.read() == ["epoch 1", "epoch 2"]
    paused_or_killed(lambda: log.write("ch 3\nepo"), signal.SIGKILL, lambda: None)
    log.write("resumed\nepoch 4\n")  # the next attempt
    log.close()
    assert place.read() == ["epoch 1", "epoch 2", "epoch 3", "epoch 4", "eporesumed"]


def test_while_a_paused_process_holds_mlflow_s_store_the_spools_wait(made: Callable[..., Place]) -> None:
    place = made("MLflow's store")
    assert isinstance(place, MlflowPlace)
    place.write(1)

    def hold() -> None:
        sqlite3.connect(place.folder / "mlflow.db", isolation_level=None).execute("BEGIN IMMEDIATE")
        os.kill(os.getpid(), signal.SIGSTOP)

    def hurry(*given: Any) -> tuple[str, Any]:
        _, _, statement, parameters, *_ = given
        return statement.replace("busy_timeout = 20000", "busy_timeout = 50"), parameters  # 20 s of waiting for nothing

    pid = paused_or_killed(hold, signal.SIGSTOP, lambda: None)
    event.listen(Engine, "before_cursor_execute", hurry, retval=True)
    try:
        with pytest.raises(TrackingUnavailableError, match="database is locked"):
            place.write(2)
    finally:
        event.remove(Engine, "before_cursor_execute", hurry)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    place.send()
    assert [step for _, step in place.read()] == [1, 2]


def test_whoever_wants_the_same_data_waits_for_a_paused_preparation(made: Callable[..., Place]) -> None:
    place = made("prepared data")
    assert isinstance(place, PreparedPlace)
    source = place.source(1)
    pid = stopped_in(place, 1, signal.SIGSTOP)
    steps: list[str] = []
    other = threading.Thread(
        target=prepare,
        args=(READER, source, place.folder),
        kwargs={"processes": 1, "progress": lambda done, of, case: steps.append(case)},
    )
    other.start()
    assert place.read() == []
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    other.join(60)
    assert steps == [], "it was prepared once"
    assert len(place.read()) == 1


def test_a_command_says_in_one_line_what_it_cannot_write(
    made: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = made("prepared data", own_disk=True)
    place.source(1).rename(place.sources / "mine")
    (tmp_path / "grid.toml").write_text(GRID)
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWEEPER_DATA", str(place.sources))
    monkeypatch.setattr("sys.argv", ["sweeper", "data", "prepare", "mine", "--grid", str(tmp_path / "grid.toml")])
    with full(place.folder), pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert "could not be written (No space left on device); make room (sweeper gc)" in said[-1]
    assert not any("Traceback" in line for line in said)


# Folders that somebody removes.


@pytest.mark.parametrize("name", ["prepared data", "report", "starts", "begun"])
def test_what_was_removed_is_made_again(made: Callable[..., Place], name: str) -> None:
    place = made(name)
    place.write(1)
    before = place.read()
    shutil.rmtree(place.folder)
    place.write(1)
    if name != "report":  # which shows when it was made
        assert place.read() == before
    assert place.read()


def test_a_start_whose_file_was_removed_is_asked_for_again(made: Callable[..., Place]) -> None:
    place = made("starts")
    asked, go = threading.Event(), threading.Event()

    def wait(path: Path, log: Path) -> tuple[int, str]:
        asked.set()
        assert go.wait(60)
        return 0, ""

    starts = Starts(Settings(home=place.folder.parent), wait)
    starts.start(Start("demo", at=1.0))
    assert asked.wait(60)
    shutil.rmtree(place.folder)
    assert starts.all() == []
    starts.repeat()
    go.set()
    starts.join(60)
    starts.start(Start("demo", at=2.0))
    starts.join(60)
    assert not starts.in_progress("demo")
    assert starts.all() == []


def test_removed_prepared_data_are_missing_data_in_one_line(made: Callable[..., Place]) -> None:
    place = made("prepared data")
    place.write(1)
    (name,) = place.read()
    shutil.rmtree(place.folder)
    key = name.removeprefix("mine-")
    assert not is_prepared(place.folder, "mine", key)
    with pytest.raises(DataError, match=name) as told:
        open_prepared(prepared_path(place.folder, "mine", key))
    assert "\n" not in str(told.value)
    assert classify(told.value) is FailureKind.BAD_DATA


def test_a_log_that_was_removed_holds_nothing_up(made: Callable[..., Place]) -> None:
    place = made("log")
    log = TrialLog(place.folder / "trial.log")
    log.write("epoch 1\n")
    shutil.rmtree(place.folder)
    log.write("epoch 2\n")
    log.close()
    place.write(3)
    assert place.read() == ["epoch 3"]


def test_when_mlflow_s_store_was_removed_the_spools_wait(made: Callable[..., Place]) -> None:
    place = made("MLflow's store")
    place.write(1)
    (place.folder / "mlflow.db").unlink()
    with pytest.raises(TrackingUnavailableError, match="MLflow could not be reached"):
        place.write(2)


def test_a_removed_database_is_told_in_one_line(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "home" / "sweeper.db")
    open_database(url).close()
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(DatabaseURLError, match=r"home/sweeper\.db") as told:
        open_database(url, create=False)
    assert "\n" not in str(told.value)


# A clock that is set back by an hour.


def test_a_clock_that_was_set_back_changes_no_epoch_in_mlflow(
    made: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = made("MLflow's store")
    place.write(1)
    now = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr("workers.tracking.spool.time.time_ns", lambda: now() - 3600 * 10**9)
        place.write(2)
    place.write(3)
    assert [step for _, step in place.read()] == [1, 2, 3]


def test_checkpoints_and_prepared_data_are_not_known_by_their_dates(made: Callable[..., Place], tmp_path: Path) -> None:
    place = made("checkpoint")
    place.write(1)
    place.write(2)
    earlier = time.time() - 3600
    os.utime(place.folder / "epoch-000002.npz", (earlier, earlier))
    assert place.read() == (2, ())
    place.write(3)
    assert sorted(path.name for path in place.folder.glob("*")) == ["epoch-000002.npz", "epoch-000003.npz"]

    data = PreparedPlace(tmp_path / "prepared", tmp_path / "sources")
    data.write(1)
    before = data.read()
    for file in (tmp_path / "sources" / "source-1").rglob("*.png"):
        os.utime(file, (earlier, earlier))
    data.write(1)
    assert data.read() == before


def test_an_older_start_is_shown_below_a_newer_one(made: Callable[..., Place]) -> None:
    place = made("starts")
    assert isinstance(place, StartsPlace)
    starts = place.starts()
    for sweep, at in (("first", 7200.0), ("after the clock was set back", 3600.0)):
        starts.start(Start(sweep.replace(" ", "-"), at=at))
        starts.join(60)
    assert [one.at for one in starts.all()] == [7200.0, 3600.0]


# A trial that trains while its places are in trouble.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trainer() -> Iterator[WarmProcess]:
    process = WarmProcess(Needs(threads=1))
    yield process
    process.close()


def request_for(data: TinyData, folder: Path) -> TrainRequest:
    spec = data.spec("ce", epochs=2)
    return TrainRequest(spec, "ce", data.root, folder, sweep="demo", provenance="real", revision="test", pictures=False)


def end(process: WarmProcess) -> Event:
    while not isinstance(message := process.receive(), Finished | Failed):
        pass
    return message


def test_a_trial_whose_spool_cannot_be_written_ends_as_disk_full_and_is_trained_later(
    trainer: WarmProcess, data: TinyData, tmp_path: Path
) -> None:
    folder, logs = tmp_path / "trial", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    request = replace(request_for(data, folder), supervised=True)
    with disk(folder):
        trainer.train(request, tmp_path / "trial.log")
        assert isinstance(trainer.receive(), Started)
        assert isinstance(trainer.receive(), EpochEnded)
        with full(folder):
            trainer.order(Order.CONTINUE)
            failed = end(trainer)
        assert isinstance(failed, Failed)
        assert failed.failure is FailureKind.DISK_FULL
        # On its log's disk there is no room: it trains without.
        with disk(logs), full(logs):
            trainer.train(replace(request, supervised=False), logs / "trial.log")
            finished = end(trainer)
            assert isinstance(finished, Finished), finished
        assert finished.result.resumed_from == 1
        epochs = [line.record.step for line in read_lines(folder / "spool.jsonl") if line.record.kind == "metrics"]
        assert epochs == [1, 2]  # each once


def test_a_trial_whose_folder_and_logs_are_removed_is_lost_and_finishes_at_the_next_attempt(
    trainer: WarmProcess, data: TinyData, tmp_path: Path
) -> None:
    folder, logs = tmp_path / "trial", tmp_path / "logs"
    request = replace(request_for(data, folder), supervised=True)
    trainer.train(request, logs / "trial.log")
    assert isinstance(trainer.receive(), Started)
    assert isinstance(trainer.receive(), EpochEnded)
    shutil.rmtree(folder)
    shutil.rmtree(logs)
    trainer.order(Order.CONTINUE)
    lost = end(trainer)
    assert isinstance(lost, Failed)
    assert lost.failure is FailureKind.LOST
    trainer.train(replace(request, supervised=False), logs / "trial.log")
    assert isinstance(end(trainer), Finished)
    assert (folder / "spool.jsonl").exists()
