"""The warm training process from its owner's side: real children, real training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.tiny_trials import TinyData, tiny_data
from tests.training_process import OWNER, messages, numbers, receive_for_ever, request_for, result
from trials.messages import (
    EpochEnded,
    Event,
    Failed,
    Finished,
    Interrupted,
    Needs,
    Order,
    Started,
    to_json,
)
from trials.states import FailureKind
from workers.errors import TimedOutError, WorkerLostError
from workers.process.warm import WarmProcess
from workers.tracking.records import ArtifactRecord, EndRecord, ModelRecord
from workers.tracking.spool import read_lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def shared() -> Iterator[WarmProcess]:
    process = WarmProcess(Needs(threads=1))
    yield process
    process.close()


def end(process: WarmProcess) -> Event:
    """The trial's last message."""
    while not isinstance(message := process.receive(), Finished | Interrupted | Failed):
        pass
    return message


def failure(message: Event) -> FailureKind:
    assert isinstance(message, Failed), message
    return message.failure


@pytest.mark.slow
def test_a_conversation(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    received = messages(shared, data, data.spec("ce", epochs=2), tmp_path)
    assert [type(m) for m in received] == [Started, EpochEnded, EpochEnded, Finished]
    assert result(received[-1]).environment["tensorflow"]
    assert {p.name for p in tmp_path.iterdir()} >= {"spool.jsonl", "model.keras", "segmentations.png"}


@pytest.mark.slow
def test_a_failure_is_a_message_and_the_process_lives(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    diverged = messages(shared, data, data.spec("ce", epochs=2, learning_rate=1e30), tmp_path / "a")[-1]
    assert failure(diverged) is FailureKind.DIVERGED
    assert result(messages(shared, data, data.spec("ce", epochs=1), tmp_path / "b")[-1])


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"prepared": "0" * 16}, {"split": "0" * 16}])
def test_bad_data_is_told_apart(shared: WarmProcess, data: TinyData, tmp_path: Path, change: dict[str, str]) -> None:
    spec = data.spec()
    spec = replace(spec, data=replace(spec.data, **change))  # type: ignore[arg-type]
    shared.train(request_for(data, spec, tmp_path), tmp_path / "log.txt")
    message = shared.receive()
    assert isinstance(message, Failed)
    assert message.failure is FailureKind.BAD_DATA
    # Messages reach MLflow and the report, which must not tell where the data lie.
    told = [message.error, (tmp_path / "spool.jsonl").read_text()]
    assert not any(str(folder) in text for text in told for folder in (data.root, tmp_path))


@pytest.mark.slow
def test_pictures_can_be_switched_off(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    request = replace(request_for(data, data.spec("ce", epochs=1), tmp_path), pictures=False)
    shared.train(request, tmp_path / "log.txt")
    assert result(end(shared))
    assert not {p.name for p in tmp_path.iterdir()} & {"segmentations.png", "input_example.npy"}
    records = [line.record for line in read_lines(tmp_path / "spool.jsonl")]
    assert not any(isinstance(record, ArtifactRecord) for record in records)
    assert [record.input_example for record in records if isinstance(record, ModelRecord)] == [None]


@pytest.mark.slow
def test_an_order_ends_the_trial_after_its_epoch(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    shared.train(request_for(data, data.spec("ce", epochs=500), tmp_path), tmp_path / "log.txt")
    assert shared.receive() == Started()
    shared.order(Order.STOP)
    message = end(shared)
    assert isinstance(message, Interrupted)
    assert (tmp_path / f"epoch-{message.epoch:06d}.npz").exists()


@pytest.mark.slow
def test_a_supervised_trial_waits_for_an_order_after_each_epoch(
    shared: WarmProcess, data: TinyData, tmp_path: Path
) -> None:
    """One that is pruned ends no further epoch; and one that resumes from a checkpoint asks before it trains."""

    def epoch() -> int:
        message = shared.receive()
        assert isinstance(message, EpochEnded)
        return message.record.epoch

    request = replace(request_for(data, data.spec(epochs=4), tmp_path), supervised=True)
    shared.train(request, tmp_path / "log.txt")
    assert shared.receive() == Started()
    assert epoch() == 1
    shared.order(Order.CONTINUE)
    assert epoch() == 2
    shared.order(Order.PRUNE)
    assert shared.receive() == Interrupted(Order.PRUNE, 2)
    (last,) = [line.record for line in read_lines(tmp_path / "spool.jsonl") if isinstance(line.record, EndRecord)]
    assert (last.status, last.tags["state"], last.tags["pruned_after_epoch"]) == ("KILLED", "pruned", "2")
    shared.order(Order.CONTINUE)  # too late for this trial, and not meant for the next
    shared.train(request, tmp_path / "log.txt")
    assert shared.receive() == Started(resumed_from=2)
    shared.order(Order.PRUNE)
    assert shared.receive() == Interrupted(Order.PRUNE, 2)


@pytest.mark.slow
def test_loading_processes_live_as_long_as_their_trial(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=2)
    alone = messages(shared, data, spec, tmp_path / "alone")[-1]
    shared.train(replace(request_for(data, spec, tmp_path / "loaded"), loaders=1), tmp_path / "log.txt")
    assert [type(shared.receive()) for _ in range(2)] == [Started, EpochEnded]
    loaders = [c for c in psutil.Process(shared.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    assert len(loaders) == 1
    assert numbers(end(shared)) == numbers(alone)
    _, alive = psutil.wait_procs(loaders, timeout=120)
    assert not alive


@pytest.mark.slow
def test_a_killed_loading_process_is_a_lost_worker(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    request = replace(request_for(data, data.spec("ce", epochs=5000), tmp_path), loaders=1)
    shared.train(request, tmp_path / "log.txt")
    assert [type(shared.receive()) for _ in range(2)] == [Started, EpochEnded]
    (loader,) = [c for c in psutil.Process(shared.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    loader.kill()
    assert failure(end(shared)) is FailureKind.LOST


def test_a_process_that_says_nothing_in_time_is_ended(data: TinyData, tmp_path: Path) -> None:
    process = WarmProcess(Needs(threads=1))
    process.train(request_for(data, data.spec("ce", epochs=500), tmp_path), tmp_path / "log.txt")
    with pytest.raises(TimedOutError):
        process.receive(within=0.0)
    assert not process.alive()
    process.close()


@pytest.mark.slow
def test_a_trial_killed_in_an_epoch_is_told_and_ends_as_one_left_alone(
    shared: WarmProcess, data: TinyData, tmp_path: Path
) -> None:
    spec = data.spec(gamma=0.4, epochs=30, momentum=0.9, min_delta=0.1, plateau_patience=3)
    alone = messages(shared, data, spec, tmp_path / "alone")[-1]
    process = WarmProcess(Needs(threads=1))
    process.train(request_for(data, spec, tmp_path / "killed"), tmp_path / "log.txt")
    while not (isinstance(message := process.receive(), EpochEnded) and message.record.epoch == 7):
        pass
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="SIGKILL") as lost:
        receive_for_ever(process)
    assert not lost.value.out_of_memory
    assert not process.alive()
    process.close()
    resumed = messages(shared, data, spec, tmp_path / "killed")
    assert isinstance(resumed[0], Started)
    assert resumed[0].resumed_from >= 6
    assert numbers(resumed[-1]) == numbers(alone)
    assert len({epoch.learning_rate for epoch in result(alone).history}) > 1


@pytest.mark.slow
def test_the_process_ends_with_its_owner(data: TinyData, tmp_path: Path) -> None:
    request = to_json(request_for(data, data.spec("ce", epochs=5000), tmp_path))
    command = [sys.executable, "-c", OWNER, request, str(tmp_path / "log.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        assert child.parent() == psutil.Process(owner.pid)
        owner.kill()
    child.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_two_workers_beside_each_other_give_the_same_numbers(data: TinyData, tmp_path: Path, cores: int) -> None:
    spec = data.spec(gamma=0.4, epochs=4, threads=cores)
    results: dict[int, object] = {}
    processes = [WarmProcess(Needs(threads=cores)) for _ in range(2)]

    def work(index: int) -> None:
        results[index] = numbers(messages(processes[index], data, spec, tmp_path / str(index))[-1])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    processes[1].close()
    alone = processes[0]
    messages(alone, data, data.spec("dice", epochs=1), tmp_path / "before")
    results[2] = numbers(messages(alone, data, spec, tmp_path / "alone")[-1])
    alone.close()
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
def test_stderr_reaches_the_log(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    messages(shared, data, data.spec("ce", epochs=1), tmp_path)
    assert (tmp_path / "log.txt").exists()
    assert isinstance(shared.stderr_tail(), str)


def test_a_closed_process_cannot_train(data: TinyData, tmp_path: Path) -> None:
    process = WarmProcess(Needs(threads=1))
    process.close()
    while process.alive():  # which ends with the test's time at the latest
        time.sleep(0.01)
    with pytest.raises(WorkerLostError):
        process.train(request_for(data, data.spec(), tmp_path), tmp_path / "log.txt")
    process.close()
