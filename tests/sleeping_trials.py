"""A sweep of trials that sleep, on pretended GPUs of different speeds. Not a test module.

The coordinator, its database, Ray Tune and Ray are real. Each type of GPU is a node of its own, which says that it has
such GPUs; a trial sleeps for its seconds, divided by the speed of the type on which it finds itself.

    python -m tests.sleeping_trials '{"types": [["A100", 2, 4.0], ["P100", 2, 1.0]], "seconds": [8, 4, 1]}'

prints what came of it as JSON. It is run as a process of its own, since Ray changes the process that it is started in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity

ROOT = Path(__file__).parents[1]
GATE_SECONDS = 600.0
"""So long the first trials wait at most until as many are there as there are GPUs."""


@dataclass(frozen=True, slots=True)
class Slept:
    """How a sweep of sleeping trials went.

    Attributes:
        bound: no schedule ends earlier (`sweeper.timing.schedule.lower_bound`).
        loads: seconds of sleep that each GPU got, by its type and number. Where trials are not kept waiting, the sweep
            has ended when the last of them has slept.
        wall: seconds from the first trial's start to the last one's end, as they were.
        types: of each trial, in the order of `seconds`, on which type of GPU it ran.
        said: what a person was told.
        processes: how many there were, in which trials slept one after the other.
    """

    bound: float
    loads: Mapping[str, float]
    wall: float
    types: Sequence[str]
    said: Sequence[str]
    processes: int


def sleep_through(
    types: Sequence[tuple[str, int, float]],
    seconds: Sequence[float],
    *,
    known: bool = True,
    placed: bool = True,
    taken: int = 0,
    gpu_type: str | None = None,
    patience: float = 120.0,
) -> Slept:
    """Runs such a sweep in a process of its own.

    Args:
        types: of each type of GPU the name, how many there are, and the speed.
        seconds: of each trial on a GPU of speed 1, as was predicted.
        known: whether trials of an earlier sweep have measured the speeds.
        placed: whether we choose the type of GPU for each trial; else Ray does.
        taken: so many GPUs of the first type somebody else uses.
        gpu_type: what the grid asks for.
        patience: after so many seconds without a place a trial is given to another type.
    """
    asked = {"types": types, "seconds": seconds, "known": known, "placed": placed, "taken": taken}
    asked |= {"gpu_type": gpu_type, "patience": patience}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sleeping_trials", json.dumps(asked)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return Slept(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    sys.stdout.write(json.dumps(_run(**json.loads(sys.argv[1]))) + "\n")


def _run(
    types: Sequence[tuple[str, int, float]],
    seconds: Sequence[float],
    known: bool,
    placed: bool,
    taken: int,
    gpu_type: str | None,
    patience: float,
) -> dict[str, Any]:
    from storage.database import open_database
    from storage.repository import Repository
    from storage.studies import Studies
    from sweeper.grids.schema import ResourcesTable
    from sweeper.run import placement, ray_tune
    from sweeper.run.coordinator import Coordinator, Work
    from sweeper.run.lease import LeaseKeeper
    from sweeper.run.ray_cluster import ray_cluster, resources_of
    from sweeper.timing.schedule import lower_bound
    from trials.messages import Tracking

    import ray  # isort: skip (sweeper.run.ray_cluster says to Ray what is to be left out)

    said: list[str] = []

    class Notes:
        def changed(self, trials: object, running: object) -> None: ...

        def say(self, line: str) -> None:
            said.append(line)

    placement.PLACE_SECONDS = patience
    if not placed:
        ray_tune.placement_on = lambda *words: None
    with tempfile.TemporaryDirectory(prefix="sleep-") as folder, tempfile.TemporaryDirectory(prefix="r-") as short:
        home = Path(folder)
        cluster = _cluster(types, short)
        try:
            with (
                ray_cluster(cluster.address),
                open_database(f"sqlite:///{home}/sweeper.db") as database,
                Studies(database) as studies,
            ):
                repository = Repository(database)
                if known:
                    _store_earlier(repository, types)
                hashes = _store(repository, seconds)
                asked = resources_of(ResourcesTable(gpu_type=gpu_type))
                held = [_hold(types[0][0]) for _ in range(taken)]
                gpus = sum(n for name, n, _ in types if gpu_type in (None, name))
                lengths = dict(zip(hashes, seconds, strict=True))
                trainable = _trainable(lengths, home, min(gpus - taken, len(seconds)))
                with LeaseKeeper(repository, "sleep", 60.0) as keeper:
                    coordinator = Coordinator(
                        repository,
                        repository.sweep("sleep"),
                        keeper,
                        studies=studies,
                        work=Work(home, home),
                        observer=Notes(),
                    )
                    ray_tune.execute(
                        coordinator,
                        tracking=Tracking("", "", ""),
                        logs=home,
                        resources={"nuclei": asked},
                        trainable=trainable,
                    )
                    coordinator.close()
                del held
                attempts = {a.trial: a for a in repository.attempts_of_sweep("sleep") if a.state == "finished"}
        finally:
            ray.shutdown()
            cluster.shutdown()
        opened = (home / "gate").stat().st_mtime
        processes = len(list(home.glob("here-*")))
    speed_of = {name: speed for name, _, speed in types}
    loads: dict[str, float] = {}
    for one in hashes:
        device = attempts[one].device or ""
        loads[device] = loads.get(device, 0.0) + lengths[one] / speed_of[device.partition(" ")[0]]
    speeds = [speed for name, gpus, speed in types for _ in range(gpus) if gpu_type in (None, name)]
    return {
        "bound": lower_bound(seconds, speeds[taken:]),
        "loads": loads,
        "wall": max(a.ended_at or 0.0 for a in attempts.values()) - opened,
        "types": [(attempts[one].device or "").partition(" ")[0] for one in hashes],
        "said": [line for line in said if not line.startswith("finished ")],
        "processes": processes,
    }


@tenacity.retry(
    # Ray waits 30 s for a node, which is too short on a busy machine.
    retry=tenacity.retry_if_exception_message(match=".*timed out during startup"),
    stop=tenacity.stop_after_attempt(3),
    reraise=True,
)
def _cluster(types: Sequence[tuple[str, int, float]], folder: str) -> Any:
    """A head without places, and a node for each type of GPU."""
    from ray.cluster_utils import Cluster

    # There Ray notes the address of a head, in a folder that it takes to be made already.
    os.environ["RAY_TMPDIR"] = folder
    Path(folder, "ray").mkdir(exist_ok=True)
    made = Cluster()
    common = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    try:
        made.add_node(num_cpus=0, temp_dir=folder, **common)
        for name, gpus, speed in types:
            pretended = {"PRETENDED_TYPE": name, "PRETENDED_SPEED": str(speed)}
            resources = {f"accelerator_type:{name}": 1}
            made.add_node(num_cpus=gpus, num_gpus=gpus, resources=resources, env_vars=pretended, **common)
    except Exception:
        made.shutdown()
        raise
    return made


def _store(repository: Any, seconds: Sequence[float]) -> list[str]:
    """A sweep with trials of these predicted seconds; their hashes."""
    from storage.records import NewTrial
    from sweeper.grids.files import load_grid
    from trials.spec import DataSpec, LossSpec, TrainingSpec, TrialSpec

    data = DataSpec("nuclei", ("background", "nucleus"), 2)
    specs = [TrialSpec(data, LossSpec("ce"), training=TrainingSpec(epochs=1), seed=n) for n in range(len(seconds))]
    trials = [
        NewTrial(one.hash, one, f"{n}", "nuclei", "ce", None, 0, n, one.results_version, cost=cost)
        for n, (one, cost) in enumerate(zip(specs, seconds, strict=True))
    ]
    repository.create_sweep("sleep", grid=load_grid("demo", ['name="sleep"']).to_dict(), trials=trials)
    return [one.hash for one in specs]


def _store_earlier(repository: Any, types: Sequence[tuple[str, int, float]]) -> None:
    """A sweep of which two trials have finished on each type."""
    from storage.records import NewTrial
    from sweeper.grids.files import load_grid
    from tests.results import result, scored
    from trials.results import Epoch
    from trials.spec import DataSpec, LossSpec, TrainingSpec, TrialSpec

    data = DataSpec("nuclei", ("background", "nucleus"), 2)
    names = [(name, speed) for name, _, speed in types for _ in range(2)]
    specs = [TrialSpec(data, LossSpec("dice"), training=TrainingSpec(epochs=2), seed=n) for n in range(len(names))]
    trials = [NewTrial(o.hash, o, o.hash, "nuclei", "dice", None, 0, o.seed, o.results_version) for o in specs]
    grid = load_grid("demo", ['name="earlier"']).to_dict()
    details = {"data": {"nuclei": {"images": 38, "voxels": 128 * 128}}}
    repository.create_sweep("earlier", grid=grid, trials=trials, details=details)
    lease = repository.acquire_lease("earlier", "test", 60)
    for one, (name, speed) in zip(specs, names, strict=True):
        attempt = repository.claim(lease, one.hash, host="host")
        history = tuple(Epoch(n + 1, 0.5, 0.5, 0.5, 0.1, 19, 1.0) for n in range(2))
        scores = (scored(part, "x", "nucleus", 0.5) for part in ("validation", "test"))
        environment = {"device": f"NVIDIA {name}-PCIE"}
        done = result(one.hash, scores, history, train_seconds=60.0 / speed, environment=environment)
        repository.finish(lease, attempt.id, done)
    repository.release_lease(lease)


def _hold(name: str) -> Any:
    """Somebody else's actor on a GPU of this type."""
    import ray

    from sweeper.run.gpu_types import on_type

    class Other:
        def there(self) -> bool:
            return True

    actor = ray.remote(num_gpus=1, num_cpus=0, resources=on_type(name))(Other).remote()
    ray.get(actor.there.remote())
    return actor


def _trainable(lengths: Mapping[str, float], home: Path, together: int) -> Any:
    """Reports as `WarmTrainable` does, and sleeps in place of training; the first trials start together."""
    import ray
    from ray import tune

    from tests.results import result, scored
    from trials.messages import EpochEnded, Finished, Report, Started, Worker, read_task, to_json
    from trials.results import Epoch

    class Sleeping(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: Mapping[str, str]) -> None:
            (home / f"here-{os.getpid()}").touch()
            self.reset_config(config)

        def reset_config(self, config: Mapping[str, str]) -> bool:
            self._spec, self._steps = read_task(config["task"]).request.spec, 0
            return True

        def step(self) -> dict[str, object]:
            self._steps += 1
            kind, speed = os.environ["PRETENDED_TYPE"], float(os.environ["PRETENDED_SPEED"])
            slept = lengths[self._spec.hash] / speed
            epoch = Epoch(1, 0.5, 0.5, 0.5, 0.1, 1, slept)
            if self._steps == 1:
                until = time.monotonic() + GATE_SECONDS
                while not (home / "gate").exists() and time.monotonic() < until:
                    if len(list(home.glob("here-*"))) >= together:
                        (home / "gate").touch()
                    time.sleep(0.02)
                gpu = ",".join(map(str, ray.get_gpu_ids()))
                report = Report(Started(), worker=Worker(os.getpid(), "here", f"{kind} {gpu}"))
            elif self._steps == 2:
                time.sleep(slept)
                report = Report(EpochEnded(epoch))
            else:
                scores = (scored(part, "x", "nucleus", 0.5) for part in ("validation", "test"))
                report = Report(Finished(result(self._spec.hash, scores, (epoch,), train_seconds=slept)))
            return {"message": to_json(report), "done": self._steps == 3}

    return Sleeping


if __name__ == "__main__":
    main()
