"""Trials on the pretended GPUs of two machines: what each training process sees of them, and a machine that is lost.

Ray's GPUs are numbers here, and a script answers for the driver. The training processes are real, and get as far as
that there are no data.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from storage.database import open_database
from storage.records import NewTrial, Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.errors import RayUnavailableError
from sweeper.run.coordinator import Coordinator, Running, Work
from sweeper.run.lease import LeaseKeeper
from trials.messages import Failed, Finished, Report, Started, Tracking, Worker, read_task, to_json
from trials.results import TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import AttemptState, FailureKind, TrialState
from workers.process.gpu_memory import CONTEXT_MIB

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MEMORY = {"0": 16_384, "1": 81_920}
DRIVER = f"""#!/bin/sh
for word in "$@"; do case "$word" in
--id=0) echo {MEMORY["0"]}; exit;; --id=1) echo {MEMORY["1"]}; exit;;
esac; done
exit 6
"""
# Those that take a whole GPU start first, so that the two halves find one GPU left.
RESOURCES = {
    "whole": {"CPU": 1.0, "GPU": 1.0},
    "half": {"CPU": 3.0, "GPU": 0.5},
    "none": {"CPU": 1.0, "GPU": 0.0},
}
TRIALS = {"whole": 2, "half": 2, "none": 1}
COSTS = {"whole": 30.0, "half": 20.0, "none": 10.0}


@dataclass(frozen=True)
class Ran:
    """What came of the sweep: what each trial's first training process reported, its attempts, and where it ended."""

    reports: Mapping[str, Mapping[str, Any]]
    attempts: Mapping[str, Sequence[tuple[AttemptState, str | None]]]
    states: Mapping[str, TrialState]
    last_nodes: Mapping[str, str]
    lost_node: str
    slots: Mapping[str, int]
    refused: str

    def of(self, dataset: str) -> list[Mapping[str, Any]]:
        return [report for report in self.reports.values() if report["dataset"] == dataset]


class Silent:
    """An observer that wants to know nothing."""

    def changed(self, trials: Sequence[Trial], running: Mapping[str, Running]) -> None: ...

    def say(self, line: str) -> None: ...


def reporting(folder: Path) -> type[Any]:
    """A trainable whose training process says what it sees, and which then holds its place until `folder/go` is there.

    The second attempt at a trial starts no process. The class is made here so that Ray sends it by value.
    """
    import ray

    from sweeper.run.trainable import Step, WarmTrainable, _device

    class Reporting(WarmTrainable):
        def _start(self, config: Mapping[str, str]) -> None:
            self._request, self._began = read_task(config["task"]).request, False
            self._file = folder / f"{self._request.spec.hash}.json"
            self._again = self._file.exists()
            if not self._again:
                super()._start(config)

        def step(self) -> Step:
            spec, process = self._request.spec, self._process
            node = ray.get_runtime_context().get_node_id()
            if not self._began:
                self._began = True
                pid = os.getpid()
                if not self._again and process is not None:
                    end = process.receive()
                    assert isinstance(end, Failed), end
                    ready = process.ready
                    assert ready is not None
                    pid = ready.pid
                    said = {
                        "dataset": spec.data.dataset,
                        "failure": end.failure,
                        "pid": pid,
                        "devices": ready.devices,
                        "memory": ready.memory_mib,
                        "loaders": self._request.loaders,
                        "node": node,
                    }
                    partial = self._file.with_suffix(".partial")
                    partial.write_text(json.dumps(said))
                    partial.rename(self._file)
                worker = Worker(pid, socket.gethostname(), _device())
                return {"message": to_json(Report(Started(), worker=worker)), "done": False}
            while not (folder / "go").exists():
                time.sleep(0.05)
            (folder / f"{spec.hash}.node").write_text(node)
            done = TrialResult(spec.hash, (), (), 0, False, 0, 0, 1, 1.0, 0.1, 9.0)
            return {"message": to_json(Report(Finished(done))), "done": True}

    return Reporting


def trials() -> list[NewTrial]:
    found = []
    for dataset, count in TRIALS.items():
        for repeat in range(count):
            spec = TrialSpec(DataSpec(dataset, ("background", "thing"), 2, "p" * 16, "s" * 16), LossSpec("ce"),
                             repeat=repeat, seed=repeat)  # fmt: skip
            found.append(
                NewTrial(spec.hash, spec, f"{dataset} {repeat}", dataset, "ce", None, repeat, repeat,
                         spec.results_version, cost=COSTS[dataset])
            )  # fmt: skip
    return found


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    from sweeper.run.ray_cluster import private_folder, ray_cluster, slots
    from sweeper.run.ray_tune import execute

    from ray.cluster_utils import Cluster  # isort: skip (ours says to Ray what is to be left out)

    folder = tmp_path_factory.mktemp("pretended")
    (folder / "nvidia-smi").write_text(DRIVER)
    (folder / "nvidia-smi").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, private_folder() as temporary:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        # There Ray notes the address of a head, in a folder that it takes to be made already.
        patch.setenv("RAY_TMPDIR", str(temporary))
        (temporary / "ray").mkdir(parents=True)
        node: dict[str, Any] = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**node, "num_cpus": 8, "num_gpus": 2, "temp_dir": str(temporary), "_system_config": quick},
        )
        try:
            second = cluster.add_node(**node, num_cpus=7, num_gpus=1)
            cluster.wait_for_nodes()
            with ray_cluster(cluster.address), open_database(f"sqlite:///{folder / 'sweeper.db'}") as database:
                repository = Repository(database)
                repository.create_sweep("gpus", grid={"name": "gpus"}, trials=trials())
                counted = {
                    name: slots(wanted)
                    for name, wanted in {
                        "whole": RESOURCES["whole"], "half": RESOURCES["half"], "0.6": {"CPU": 1.0, "GPU": 0.6},
                        "CPUs": {"CPU": 5.0, "GPU": 0.0},
                    }.items()
                }  # fmt: skip
                with pytest.raises(RayUnavailableError) as refused:
                    slots({"CPU": 9.0, "GPU": 0.0})

                def lose_a_machine() -> None:
                    try:
                        wait(lambda: len(list(folder.glob("*.json"))) == sum(TRIALS.values()))
                        reports = {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}
                        on_it = [trial for trial, report in reports.items() if report["node"] == second.node_id]
                        cluster.remove_node(second, allow_graceful=False)
                        # Its trials know of nothing: they would end if they might.
                        wait(lambda: all(repository.attempts(t)[0].state is AttemptState.LOST for t in on_it))
                    finally:
                        (folder / "go").touch()

                control = threading.Thread(target=lose_a_machine)
                control.start()
                with Studies(database) as studies, LeaseKeeper(repository, "gpus", 60.0) as keeper:
                    execute(
                        Coordinator(
                            repository,
                            repository.sweep("gpus"),
                            keeper,
                            studies=studies,
                            work=Work(folder, folder),
                            observer=Silent(),
                        ),
                        tracking=Tracking(f"sqlite:///{folder}/no-such-folder/mlflow.db", "e", ""),
                        logs=folder,
                        resources=RESOURCES,
                        trainable=reporting(folder),
                    )
                control.join()
                found = repository.trials("gpus")
                yield Ran(
                    {t.hash: json.loads((folder / f"{t.hash}.json").read_text()) for t in found},
                    {t.hash: [(a.state, a.device) for a in repository.attempts(t.hash)] for t in found},
                    {t.hash: t.state for t in found},
                    {t.hash: (folder / f"{t.hash}.node").read_text() for t in found},
                    second.node_id,
                    counted,
                    str(refused.value),
                )
        finally:
            cluster.shutdown()


def test_each_training_process_sees_the_gpus_that_its_trial_has_and_no_other(ran: Ran) -> None:
    assert {report["failure"] for report in ran.reports.values()} == {FailureKind.BAD_DATA}
    whole, half = ran.of("whole"), ran.of("half")
    places = Counter((report["node"], report["devices"]) for report in (*whole, *half))
    assert len(places) == 3, "three GPUs: two trials have one each, and two share the third"
    assert {places[one["node"], one["devices"]] for one in whole} == {1}
    assert {places[one["node"], one["devices"]] for one in half} == {2}
    assert {devices for _, devices in places} == {"0", "1"}
    assert [report["devices"] for report in ran.of("none")] == ["-1"], "TensorFlow would take a GPU of another trial"
    for trial, report in ran.reports.items():
        _, device = ran.attempts[trial][0]
        assert device == ("CPU" if report["devices"] == "-1" else f"GPU {report['devices']}")


def test_a_part_of_a_gpu_is_that_part_of_the_memory_of_that_gpu(ran: Ran) -> None:
    for report in ran.of("half"):
        assert report["memory"] == MEMORY[report["devices"]] // 2 - CONTEXT_MIB
    assert {report["memory"] for report in (*ran.of("whole"), *ran.of("none"))} == {None}


def test_cpus_beyond_the_threads_load_batches(ran: Ran) -> None:
    assert {name: {report["loaders"] for report in ran.of(name)} for name in TRIALS} == {
        "whole": {0}, "half": {2}, "none": {0},
    }  # fmt: skip


def test_as_many_run_at_once_as_the_machines_have_room_for(ran: Ran) -> None:
    # Three GPUs: neither two parts of 0.6 share one, nor do CPUs of two machines make a trial's.
    assert ran.slots == {"whole": 3, "half": 4, "0.6": 3, "CPUs": 2}
    assert "a trial needs 9 CPUs and 0 GPUs on one machine" in ran.refused


def test_trials_of_a_machine_that_is_lost_are_trained_on_another(ran: Ran) -> None:
    assert set(ran.states.values()) == {TrialState.FINISHED}
    on_it = [trial for trial, report in ran.reports.items() if report["node"] == ran.lost_node]
    assert on_it, "a GPU of each machine was taken"
    for trial, attempts in ran.attempts.items():
        states = [state for state, _ in attempts]
        assert states == [*([AttemptState.LOST] if trial in on_it else []), AttemptState.FINISHED]
    assert ran.lost_node not in ran.last_nodes.values()


def test_no_training_process_outlives_its_trial(ran: Ran) -> None:
    processes = []
    for report in ran.reports.values():
        try:
            processes.append(psutil.Process(report["pid"]))
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive
