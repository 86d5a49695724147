"""The warm training process from its owner's side: real children, real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.tiny_trials import TinyData, tiny_data
from trials.spec import TrialSpec
from workers.errors import WorkerLostError
from workers.process.warm import WarmProcess
from workers.tracking.spool import read_records


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def shared() -> Iterator[WarmProcess]:
    process = WarmProcess(threads=1)
    yield process
    process.close()


OWNER = """
import json, sys
from pathlib import Path
from workers.process.warm import WarmProcess

process = WarmProcess(threads=1)
process.train(json.loads(sys.argv[1]), Path(sys.argv[2]))
assert process.receive()["kind"] == "started"
print(process.pid, flush=True)
while True:
    process.receive()
"""


def request_for(data: TinyData, spec: TrialSpec, folder: Path) -> dict[str, Any]:
    return {
        "spec": spec.to_dict(),
        "prepared_root": str(data.root),
        "folder": str(folder),
        "plugins": [],
        "revision": "test",
        "pictures": True,
        "tracking": {"sweep": "test", "attempt": 1, "provenance": "real"},
    }


def messages(process: WarmProcess, data: TinyData, spec: TrialSpec, folder: Path) -> list[dict[str, Any]]:
    process.train(request_for(data, spec, folder), folder / "log.txt")
    received = [process.receive()]
    while received[-1]["kind"] in ("started", "epoch"):
        received.append(process.receive())
    return received


def receive_for_ever(process: WarmProcess) -> None:
    while True:
        process.receive()


def numbers(message: dict[str, Any]) -> object:
    result = message["result"]
    return result["scores"], [{k: v for k, v in e.items() if k != "seconds"} for e in result["history"]]


def test_a_conversation(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    received = messages(shared, data, data.spec("ce", epochs=2), tmp_path)
    assert [m["kind"] for m in received] == ["started", "epoch", "epoch", "finished"]
    assert received[-1]["result"]["environment"]["tensorflow"]
    assert {p.name for p in tmp_path.iterdir()} >= {"spool.jsonl", "model.keras", "segmentations.png"}


def test_a_failure_is_a_message_and_the_process_lives(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    diverged = messages(shared, data, data.spec("ce", epochs=2, learning_rate=1e30), tmp_path / "a")[-1]
    assert (diverged["kind"], diverged["failure"]) == ("failed", "diverged")
    spec = data.spec("ce", epochs=1)
    bad = messages(shared, data, spec, tmp_path / "b")
    assert bad[-1]["kind"] == "finished"


@pytest.mark.parametrize(
    ("change", "failure"), [({"prepared": "0" * 16}, "bad_data"), ({"split": "0" * 16}, "bad_data")]
)
def test_bad_data_is_told_apart(
    shared: WarmProcess, data: TinyData, tmp_path: Path, change: dict[str, str], failure: str
) -> None:
    request = request_for(data, data.spec(), tmp_path)
    request["spec"]["data"] |= change
    shared.train(request, tmp_path / "log.txt")
    message = shared.receive()
    assert (message["kind"], message["failure"]) == ("failed", failure)
    # Messages reach MLflow and the report, which must not tell where the data lie.
    told = [message["error"], (tmp_path / "spool.jsonl").read_text()]
    assert not any(str(folder) in text for text in told for folder in (data.root, tmp_path))


def test_pictures_can_be_switched_off(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    request = request_for(data, data.spec("ce", epochs=1), tmp_path) | {"pictures": False}
    shared.train(request, tmp_path / "log.txt")
    while (message := shared.receive())["kind"] != "finished":
        assert message["kind"] in ("started", "epoch")
    assert not {p.name for p in tmp_path.iterdir()} & {"segmentations.png", "input_example.npy"}
    kinds = {record.kind: record.fields for record in read_records(tmp_path / "spool.jsonl")}
    assert "artifact" not in kinds
    assert kinds["model"]["input_example"] is None


def test_an_order_ends_the_trial_after_its_epoch(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    shared.train(request_for(data, data.spec("ce", epochs=500), tmp_path), tmp_path / "log.txt")
    assert shared.receive()["kind"] == "started"
    shared.order("stop")
    message = shared.receive()
    while message["kind"] == "epoch":
        message = shared.receive()
    assert message["kind"] == "interrupted"
    assert (tmp_path / f"epoch-{message['epoch']:06d}.npz").exists()


def test_a_supervised_trial_waits_for_a_word_after_each_epoch(
    shared: WarmProcess, data: TinyData, tmp_path: Path
) -> None:
    """So one that is given up trains no further epoch; and one that goes on from a checkpoint asks before it trains."""
    request = {**request_for(data, data.spec(epochs=4), tmp_path), "supervised": True}
    shared.train(request, tmp_path / "log.txt")
    assert shared.receive() == {"kind": "started", "resumed_from": 0, "remarks": []}
    assert shared.receive()["epoch"] == 1
    shared.order("go_on")
    assert shared.receive()["epoch"] == 2
    shared.order("prune")
    assert shared.receive() == {"kind": "interrupted", "order": "prune", "epoch": 2}
    (end,) = [r.fields for r in read_records(tmp_path / "spool.jsonl") if r.kind == "end"]
    assert (end["status"], end["tags"]["state"], end["tags"]["pruned_after_epoch"]) == ("KILLED", "pruned", "2")
    shared.order("go_on")  # too late for this trial, and not meant for the next
    shared.train(request, tmp_path / "log.txt")
    assert shared.receive()["resumed_from"] == 2
    shared.order("prune")
    assert shared.receive() == {"kind": "interrupted", "order": "prune", "epoch": 2}


def test_loading_processes_live_as_long_as_their_trial(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=2)
    alone = messages(shared, data, spec, tmp_path / "alone")[-1]
    shared.train({**request_for(data, spec, tmp_path / "loaded"), "loaders": 1}, tmp_path / "log.txt")
    assert shared.receive()["kind"] == "started"
    assert shared.receive()["kind"] == "epoch"
    loaders = [c for c in psutil.Process(shared.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    assert len(loaders) == 1
    message = shared.receive()
    while message["kind"] == "epoch":
        message = shared.receive()
    assert numbers(message) == numbers(alone)
    _, alive = psutil.wait_procs(loaders, timeout=20)
    assert not alive


def test_a_killed_loading_process_is_a_lost_worker(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    request = {**request_for(data, data.spec("ce", epochs=5000), tmp_path), "loaders": 1}
    shared.train(request, tmp_path / "log.txt")
    assert [shared.receive()["kind"] for _ in range(2)] == ["started", "epoch"]
    (loader,) = [c for c in psutil.Process(shared.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    loader.kill()
    message = shared.receive()
    while message["kind"] == "epoch":
        message = shared.receive()
    assert (message["kind"], message["failure"]) == ("failed", "lost")


@pytest.mark.slow
def test_a_killed_process_is_lost_with_its_last_words(data: TinyData, tmp_path: Path) -> None:
    process = WarmProcess(threads=1)
    process.train(request_for(data, data.spec("ce", epochs=500), tmp_path), tmp_path / "log.txt")
    assert process.receive()["kind"] == "started"
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="SIGKILL") as lost:
        receive_for_ever(process)
    assert not lost.value.out_of_memory
    assert not process.alive()
    process.close()


@pytest.mark.slow
def test_a_trial_killed_in_an_epoch_ends_as_one_left_alone(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    spec = data.spec(gamma=0.4, epochs=30, momentum=0.9, min_delta=0.1, plateau_patience=3)
    alone = messages(shared, data, spec, tmp_path / "alone")[-1]
    process = WarmProcess(threads=1)
    process.train(request_for(data, spec, tmp_path / "killed"), tmp_path / "log.txt")
    while process.receive().get("epoch") != 7:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.close()
    resumed = messages(shared, data, spec, tmp_path / "killed")
    assert resumed[0]["resumed_from"] >= 6
    assert numbers(resumed[-1]) == numbers(alone)
    assert len({e["learning_rate"] for e in alone["result"]["history"]}) > 1


@pytest.mark.slow
def test_the_process_ends_with_its_owner(data: TinyData, tmp_path: Path) -> None:
    request = json.dumps(request_for(data, data.spec("ce", epochs=5000), tmp_path))
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

    def work(index: int) -> None:
        process = WarmProcess(threads=cores)
        results[index] = numbers(messages(process, data, spec, tmp_path / str(index))[-1])
        process.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = WarmProcess(threads=cores)
    messages(alone, data, data.spec("dice", epochs=1), tmp_path / "before")
    results[2] = numbers(messages(alone, data, spec, tmp_path / "alone")[-1])
    alone.close()
    assert results[0] == results[1] == results[2]


def test_stderr_reaches_the_log(shared: WarmProcess, data: TinyData, tmp_path: Path) -> None:
    messages(shared, data, data.spec("ce", epochs=1), tmp_path)
    assert (tmp_path / "log.txt").exists()
    assert isinstance(shared.stderr_tail(), str)


def test_a_closed_process_cannot_train(data: TinyData, tmp_path: Path) -> None:
    process = WarmProcess(threads=1)
    process.close()
    deadline = time.monotonic() + 10
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(WorkerLostError):
        process.train(request_for(data, data.spec(), tmp_path), tmp_path / "log.txt")
    process.close()
