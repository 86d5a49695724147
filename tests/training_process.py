"""Talking with a training process of a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.tiny_trials import TinyData
from trials.messages import EpochEnded, Event, Finished, Started, TrainRequest
from trials.results import TrialResult
from trials.spec import TrialSpec
from workers.process.warm import WarmProcess

OWNER = """
import sys
from pathlib import Path
from trials.messages import Needs, read_command
from workers.process.warm import WarmProcess

request, log, *early = sys.argv[1:]
process = WarmProcess(Needs(threads=1), *early)
process.train(read_command(request), Path(log))
process.receive()
print(process.pid, flush=True)
while True:
    process.receive()
"""
"""The program of an owner: it trains the request in its arguments, and tells its training process's number."""


def request_for(data: TinyData, spec: TrialSpec, folder: Path) -> TrainRequest:
    return TrainRequest(spec, "one cell", data.root, folder, sweep="test", provenance="real", revision="test")


def messages(process: WarmProcess, data: TinyData, spec: TrialSpec, folder: Path) -> list[Event]:
    """All that a trial says."""
    process.train(request_for(data, spec, folder), folder / "log.txt")
    received = [process.receive()]
    while isinstance(received[-1], Started | EpochEnded):
        received.append(process.receive())
    return received


def result(message: Event) -> TrialResult:
    assert isinstance(message, Finished), message
    return message.result


def numbers(message: Event) -> object:
    """What two trainings of one trial must have in common."""
    return result(message).scores, [replace(epoch, seconds=0.0) for epoch in result(message).history]


def receive_for_ever(process: WarmProcess) -> None:
    """Until it raises."""
    while True:
        process.receive()
