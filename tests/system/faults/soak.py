"""Kills a sweep at random moments, again and again, and compares what comes of it with an undisturbed one.

    python -m tests.system.faults.soak --kills 60 --seed 1

Prints each fault with its moment, and at the end what was found; ends with 1 if anything differs. The faults and their
moments follow from the seed; what the machine makes of them does not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.postgres_server import PostgresServer, PostgresUnavailableError
from tests.system.faults.scenarios import PATIENCE, Reference, Run, Sweep, fill, small_disk

FAULTS = (
    "coordinator", "worker", "actor", "ray", "everything", "sleep", "pause", "terminate", "group", "ctrl-c", "damage",
    "disk", "clock", "folder",
)  # fmt: skip
DISK = 512 * 2**20
ROUNDS = 40
"""So many faults may a sweep suffer before it must have finished: then it is left alone."""


class Soak:
    """The faults of one run of the script.

    Args:
        seed: decides which, and when.
        typical: seconds that an undisturbed sweep takes.
    """

    def __init__(self, seed: int, typical: float, say: Callable[[str], None]) -> None:
        self.random = random.Random(seed)
        self.typical, self.say = typical, say
        self.patience = PATIENCE + 5 * typical  # on a busy machine everything takes longer
        self.suffered: Counter[str] = Counter()

    def disturb(self, sweep: Sweep, run: Run) -> None:
        """Lets the run go on for a while, does something to it, and waits until its processes are gone or go on."""
        fault = self.random.choice(FAULTS)
        moment = self.random.uniform(0, self.typical)
        try:
            run.process.wait(moment)
        except subprocess.TimeoutExpired:
            self.say(f"  after {moment:5.1f} s: {fault}")
            self.suffered[fault] += 1
            getattr(self, f"_{fault.replace('-', '_')}")(sweep, run)

    def _coordinator(self, sweep: Sweep, run: Run) -> None:
        run.kill()
        sweep.alone()

    def _damage(self, sweep: Sweep, run: Run) -> None:
        self._coordinator(sweep, run)
        sweep.damage()

    def _folder(self, sweep: Sweep, run: Run) -> None:
        """The folder of a trial that has begun and not ended is removed, once in a sweep; else a worker is killed."""
        if sweep.lost_folders or not sweep.lose_folder(self.random):
            self._worker(sweep, run)

    def _everything(self, sweep: Sweep, run: Run) -> None:
        for process in sweep.processes():
            _kill(process)
        run.process.wait(timeout=self.patience)

    def _worker(self, sweep: Sweep, run: Run) -> None:
        self._one(sweep, lambda p: "workers.process.child" in p.cmdline())

    def _actor(self, sweep: Sweep, run: Run) -> None:
        self._one(sweep, lambda p: p.name().startswith("ray::"))

    def _ray(self, sweep: Sweep, run: Run) -> None:
        if self._one(sweep, lambda p: p.name() in ("gcs_server", "raylet")):
            run.process.wait(timeout=self.patience)

    def _sleep(self, sweep: Sweep, run: Run) -> None:
        run.process.send_signal(signal.SIGSTOP)
        sweep.free()
        other = sweep.start("launch", "--grid", sweep.home.grid(sweep.grid))
        try:
            other.process.wait(self.random.uniform(0, self.typical))
        except subprocess.TimeoutExpired:
            self.say("    and woke up")
        run.process.send_signal(signal.SIGCONT)
        run.process.wait(timeout=self.patience)
        other.process.wait(timeout=self.patience)

    def _terminate(self, sweep: Sweep, run: Run) -> None:
        run.process.terminate()
        run.process.wait(timeout=self.patience)

    def _group(self, sweep: Sweep, run: Run) -> None:
        os.killpg(run.pid, signal.SIGTERM)
        run.process.wait(timeout=self.patience)

    def _pause(self, sweep: Sweep, run: Run) -> None:
        """Any process of the sweep stands still for a while, shorter or longer than the lease."""
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            process = self.random.choice(sweep.processes())
            process.suspend()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(self.random.uniform(0, 8))
            process.resume()

    def _disk(self, sweep: Sweep, run: Run) -> None:
        """No byte is left until the coordinator has ended. Without a disk of its own nothing is done."""
        if not sweep.home.folder.is_mount():
            return
        ballast = sweep.home.folder / "ballast"
        fill(ballast)
        try:
            run.process.wait(timeout=self.patience)
        finally:
            ballast.unlink()

    def _clock(self, sweep: Sweep, run: Run) -> None:
        """The coordinator dies on another machine, and then the clock is set back by an hour."""
        run.kill()
        sweep.set_clock_back(3600)
        sweep.alone()

    def _ctrl_c(self, sweep: Sweep, run: Run) -> None:
        for _ in range(2):
            os.killpg(run.pid, signal.SIGINT)
            time.sleep(self.random.uniform(0, 1))
        run.process.wait(timeout=self.patience)

    def _one(self, sweep: Sweep, wanted: Callable[[psutil.Process], bool]) -> bool:
        def fits(process: psutil.Process) -> bool:
            try:
                return wanted(process)
            except psutil.Error:
                return False

        found = [p for p in sweep.processes() if fits(p)]
        if found:
            _kill(self.random.choice(found))
        return bool(found)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def undisturbed(folder: Path) -> tuple[Reference, float]:
    """The answers to compare with, and how many seconds they took."""
    sweep, begin = Sweep(folder), time.monotonic()
    sweep.go().ends()
    return Reference(sweep.tables(), sweep.trained()), time.monotonic() - begin


def soak(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> int:
    """Disturbs one sweep after another until there were so many faults, on SQLite and on Postgres in turn; how many of
    them gave other answers than the undisturbed one."""
    try:
        server = PostgresServer()
    except PostgresUnavailableError as error:
        say(f"on SQLite alone: {error}")
        return _soak(folder, kills, seed, say, None)
    try:
        return _soak(folder, kills, seed, say, server)
    finally:
        server.stop()


def _soak(folder: Path, kills: int, seed: int, say: Callable[[str], None], server: PostgresServer | None) -> int:
    reference, typical = undisturbed(folder / "undisturbed")
    say(f"seed {seed}; undisturbed in {typical:.0f} s")
    made = Soak(seed, typical, say)
    finished = wrong = starts = 0
    while made.suffered.total() < kills:
        number = finished + wrong
        on_server = server is not None and number % 2 == 1
        variables = {"SWEEPER_DATABASE_URL": server.new_database()} if server is not None and on_server else {}
        sweep = Sweep(folder / f"sweep-{number}", variables)
        sweep.home.folder.mkdir()
        mounted = small_disk(sweep.home.folder, DISK)
        say(f"sweep {number + 1} on {'Postgres' if on_server else 'SQLite'}{'' if mounted else ', no disk of its own'}")
        try:
            for round_ in range(ROUNDS):
                starts += 1
                run = sweep.start("launch", "--grid", sweep.home.grid(sweep.grid))
                while run.process.poll() is None and made.suffered.total() < kills and round_ < ROUNDS - 1:
                    made.disturb(sweep, run)
                run.process.wait(timeout=made.patience)
                sweep.alone()
                if run.process.returncode == 0 and sweep.state() == "finished":
                    break
            reference.equals(sweep)
            finished += 1
            sweep.end()
            _unmount(sweep, mounted=mounted)
            shutil.rmtree(sweep.folder)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            wrong += 1
            say(f"  WRONG, kept in {sweep.folder}: {str(error)[:2000]}")
        finally:
            sweep.end()
    told = ", ".join(f"{count} {fault}" for fault, count in sorted(made.suffered.items()))
    say(f"{finished} sweeps gave the undisturbed answers, {wrong} did not; {starts} starts; faults: {told or 'none'}")
    return wrong


def _unmount(sweep: Sweep, *, mounted: bool) -> None:
    if mounted:
        subprocess.run(["umount", "--lazy", sweep.home.folder], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="how many faults (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="of the faults and their moments (default: a new one)")
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="sweeper-soak-"))
    wrong = soak(folder, arguments.kills, seed, lambda line: print(line, flush=True))  # noqa: T201
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
