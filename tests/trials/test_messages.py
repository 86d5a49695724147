"""Messages between processes: what is sent is what arrives, on one line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from trials.messages import (
    Command,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Interrupted,
    Limits,
    Order,
    OrderCommand,
    PluginSource,
    Ready,
    Report,
    Started,
    Task,
    Tracking,
    TrainRequest,
    Worker,
    read_command,
    read_reply,
    read_report,
    read_task,
    to_json,
)
from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, LossSpec, TrainingSpec, TrialSpec
from trials.states import FailureKind

SPEC = TrialSpec(
    DataSpec("kits", ("background", "kidney"), 3, "p" * 16, "s" * 16),
    LossSpec("unified_focal_asym", {"gamma": 0.5, "weights": (0.1, 0.9)}),
    training=TrainingSpec(patch=(80, 160, 160)),
)
PLUGIN = PluginSource("/home/me/mine.py", "a" * 16, "print('γ')\n", {"datasets": ("cells",)})
REQUEST = TrainRequest(
    SPEC, "kits · γ=0.5", Path("/data"), Path("/trials/x"), sweep="s", attempt=2, plugins=(PLUGIN,), supervised=True,
    metrics=("nsd(tolerance=2)", "ece"), data_source="https://example.org/kits", setting="γ=0.5",
)  # fmt: skip
EPOCH = Epoch(1, 0.5, 0.4, 0.8, 0.1, 19, 0.7)
SCORES = (
    Score("validation", "a", "kidney", {"dsc": 0.5, "iou": 0.4, "precision": 0.5, "recall": None}),
    Score("test", "b", "kidney", {"dsc": 0.0, "iou": 0.0, "precision": None, "hd95": math.inf}, "patient 1"),
)
RESULT = TrialResult("h" * 16, SCORES, (EPOCH,), 1, False, 0, 19, 1000, 0.7, 0.1, 500.0, {"device": "CPU"})
EVENTS: list[Event] = [
    Started(),
    Started(3, ("the last checkpoint is damaged",)),
    EpochEnded(EPOCH),
    Finished(RESULT),
    Interrupted(Order.PRUNE, 7),
    Failed(FailureKind.OUT_OF_MEMORY, "killed\nby the kernel", "last lines\n"),
]


@pytest.mark.parametrize("command", [REQUEST, OrderCommand(Order.STOP)])
def test_a_command_arrives_as_it_was_sent(command: Command) -> None:
    line = to_json(command)
    assert "\n" not in line
    assert read_command(line) == command


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert "\n" not in to_json(event)
    assert read_reply(to_json(event)) == event
    report = Report(event, "run-1", Worker(7, "here", "GPU 0"))
    assert read_report(to_json(report)) == report
    assert read_report(to_json(Report(event))) == Report(event)


def test_a_training_process_says_that_it_is_ready() -> None:
    ready = Ready(7, "0", 7680)
    assert read_reply(to_json(ready)) == ready


def test_an_epoch_without_a_number_arrives() -> None:
    received = read_reply(to_json(EpochEnded(replace(EPOCH, val_dsc=math.nan))))
    assert isinstance(received, EpochEnded)
    assert math.isnan(received.record.val_dsc)


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_task_arrives_as_it_was_sent(share: float | None) -> None:
    task = Task(
        REQUEST,
        Tracking("sqlite:///m.db", "sweeper", "run"),
        Path("/logs/x.log"),
        "orders-1",
        share,
        Limits(epoch=60.0),
    )
    received = read_task(to_json(task))
    assert received == task
    assert received.request.spec.hash == SPEC.hash


def test_a_plugin_that_an_older_version_stored_is_read() -> None:
    stored = {"reference": "package", "source": "b" * 16, "text": ""}
    assert PluginSource.from_dict(stored) == PluginSource("package", "b" * 16)
    assert PluginSource.from_dict(PLUGIN.to_dict()) == PLUGIN
    assert PluginSource.from_dict({**stored, "datasets": ["cells"]}).names == {"datasets": ("cells",)}
