"""Break points in the processes of a sweep under test: the product carries none.

Python imports this module at the start of every process that has this folder on PYTHONPATH. A point is armed by a file
`<point>.armed` in the folder SWEEPER_TEST_POINTS. The first process that comes there takes it (renames it to
`<point>.held.<pid>`, which no second one can) and waits until that file is gone, or until it is killed; so do all that
come there meanwhile, or the others would train on to the end.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


def stop_at(point: str) -> None:
    """Waits here if the point is armed or held."""
    folder = Path(os.environ["SWEEPER_TEST_POINTS"])
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{point}.armed").rename(folder / f"{point}.held.{os.getpid()}")
    while any(folder.glob(f"{point}.held.*")):
        time.sleep(0.02)


def _around(
    owner: Any, name: str, *, before: str = "", after: str = "", when: Callable[[Any], bool] = lambda _: True
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def held(*arguments: Any, **keywords: Any) -> Any:
        if before:
            stop_at(before)
        result = original(*arguments, **keywords)
        if after and when(result):
            stop_at(after)
        return result

    setattr(owner, name, held)


def _training(module: ModuleType) -> None:
    original = module.Learner.train_epoch

    def after_the_first(batches: Iterable[Any]) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number == 1:
                stop_at("mid-epoch")
            yield batch

    def train_epoch(self: Any, loss: Any, batches: Iterable[Any], *arguments: Any) -> Any:
        return original(self, loss, after_the_first(batches), *arguments)

    module.Learner.train_epoch = train_epoch


WRAPPED: dict[str, Callable[[ModuleType], object]] = {
    # The first step of an epoch is made, its checkpoint far away.
    "workers.training.learner": _training,
    # The checkpoint of an epoch is about to be written; it is on disk, and the coordinator has not heard of it.
    "workers.training.checkpoints": lambda m: _around(m.CheckpointFolder, "save", before="save", after="saved"),
    # The result is on disk, and the coordinator has not heard of it.
    "workers.training.trial": lambda m: _around(m, "run_trial", after="result"),
    # The result is in the database, and not yet in the Optuna study; of a search likewise.
    "storage.studies": lambda m: (
        _around(m.Studies, "record_finished", before="study"),
        _around(m.Studies, "record", before="record"),
    ),
    # What a search suggested is written down, and not claimed.
    "storage._sweeps": lambda m: _around(m.SweepMethods, "add_trials", after="suggested"),
    # A search prunes a trial, and has told nobody.
    "sweeper.search.adaptive": lambda m: _around(m.Adaptive, "epoch_ended", after="decided", when=bool),
    # The last write of a trial to MLflow is about to be made.
    "workers.tracking.replay": lambda m: _around(m._Sender, "_end", before="mlflow-end"),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to wrap as Python itself does, and wraps them once they are executed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        wrap = WRAPPED.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if wrap else None
        if wrap is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            wrap(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "SWEEPER_TEST_POINTS" in os.environ:
    sys.meta_path.insert(0, _Finder())
