"""Which trial trains on which type of GPU, where the cluster has several. Knows Ray's nodes as numbers alone.

Ray gives a trial to any place that is free. Here a trial is given to a type, and Ray places it there: the longest
trials are kept for the fastest type (`sweeper.timing.schedule.next_start`). How fast each type is, is learned from the
trials of earlier sweeps and, after their first epochs, from those that run.

Where all GPUs are of one type nothing of this is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.records import Trial
from sweeper.run.coordinator import Running
from sweeper.run.devices import times
from sweeper.run.gpu_types import Resources, by_type, listed_types, type_of
from sweeper.timing.costs import expected_epochs, group
from sweeper.timing.schedule import Place, next_start
from sweeper.timing.speeds import Speeds, Took, learn_speeds, published

LOOK_SECONDS = 5.0
"""For so long what the cluster had is taken for what it has."""

AGAIN_SECONDS = 1.0
"""After so long a place that waits is thought about anew, though no trial has ended."""

PLACE_SECONDS = 120.0
"""A trial that has got no place for so long is given to another type: a node was lost, or others use it."""

LATE = 0.25
"""A trial that takes longer than was predicted is expected to take so much longer again."""


@dataclass(slots=True)
class Placed:
    """A claimed trial, its type of GPU, and when it was given to that."""

    running: Running
    gpu_type: str
    at: float


class Placement:
    """Chooses for each trial that starts the type of GPU.

    Args:
        slots: how many trials the cluster runs at once on each type, now.
        earlier: the speeds of types that earlier trials have measured.
        clock: seconds.
    """

    def __init__(
        self,
        slots: Callable[[], Mapping[str, int]],
        earlier: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._earlier, self._clock = slots, earlier, clock
        self._slots: Mapping[str, int] = {}
        self._most: dict[str, int] = {}
        self._looked = self._again = -1e9
        self._placed: dict[str, Placed] = {}
        self._took: list[Took] = []
        self._shut: dict[str, float] = {}
        self._patience: dict[str, float] = {}
        self._chosen = ""

    def pick(self, waiting: Sequence[Trial], at_once: int | None = None) -> str | None:
        """The hash of the trial that starts now. None: nothing is free, or what is free waits, since the trials of the
        queue would end earlier elsewhere.

        Args:
            waiting: the queue, in its order.
            at_once: so many trials may run; None: as many as there were places for at most. Where places lack, one more
                starts, so that Ray asks for another node, or for a lost one again.
        """
        now = self._clock()
        slots = self._slots_now(now)
        if now < self._again or not waiting:
            return None
        speeds = self.speeds()
        places: list[Place] = []
        types: list[str] = []
        fastest = sorted(slots or self._most, key=lambda name: -speeds.devices[name])
        for gpu_type in fastest:
            speed = speeds.devices[gpu_type]
            busy = [self._left(one, speeds, now) for one in self._placed.values() if one.gpu_type == gpu_type]
            idle = 0 if self._shut.get(gpu_type, now) > now else max(slots.get(gpu_type, 0) - len(busy), 0)
            places += [Place(speed, left) for left in busy] + [Place(speed)] * idle
            types += [gpu_type] * (len(places) - len(types))
        may_start = len(places) if at_once is None else max(at_once - len(self._placed), 0)
        free = [index for index, place in enumerate(places) if place.free_in <= 0]
        wanted = sum(self._most.values()) if at_once is None else at_once
        if not free and wanted > max(len(self._placed), sum(slots.values())):
            open_types = [name for name in fastest if self._shut.get(name, now) <= now]
            self._chosen = open_types[0] if open_types else fastest[0]
            return waiting[0].hash
        left_out = set(free[may_start:])
        kept = [index for index in range(len(places)) if index not in left_out]
        predicted = (speeds.seconds(trial.cost or 0.0, group(trial.spec)) for trial in waiting)
        chosen = next_start(predicted, [places[index] for index in kept])
        if chosen is None:
            self._again = now + AGAIN_SECONDS
            return None
        trial, place = chosen
        self._chosen = types[kept[place]]
        return waiting[trial].hash

    def place(self, running: Running) -> str:
        """Notes that the trial that was picked last is claimed; the type of its GPU."""
        self._placed[running.trial.hash] = Placed(running, self._chosen, self._clock())
        return self._chosen

    def ended(self, trial_hash: str) -> None:
        """The trial does not run any more."""
        placed = self._placed.pop(trial_hash, None)
        if placed is not None:
            self._took += _took(placed)
            self._again = self._clock()

    def overdue(self, trial_hash: str) -> bool:
        """Whether a trial that Ray has not started yet should be given to another type; its own is left alone then for
        as long as was waited, which is twice as long each time."""
        placed = self._placed.get(trial_hash)
        if placed is None:
            return False
        now, patience = self._clock(), self._patience.get(placed.gpu_type, PLACE_SECONDS)
        if now - placed.at < patience:
            return False
        self._shut[placed.gpu_type] = now + patience
        self._patience[placed.gpu_type] = 2 * patience
        return True

    def speeds(self) -> Speeds:
        """What is known of the types' speeds now."""
        guess = {**published([*self._most, *self._earlier]), **self._earlier}
        running = (took for placed in self._placed.values() for took in _took(placed))
        return learn_speeds([*self._took, *running], guess, self._earlier)

    def _slots_now(self, now: float) -> Mapping[str, int]:
        if now - self._looked >= LOOK_SECONDS:
            self._slots, self._looked = self._look(), now
            self._most |= {name: max(count, self._most.get(name, 0)) for name, count in self._slots.items()}
        return self._slots

    def _left(self, placed: Placed, speeds: Speeds, now: float) -> float:
        """Seconds that a placed trial still takes; more than none."""
        running, training = placed.running, placed.running.trial.spec.training
        elapsed = 0.0 if running.started is None else now - running.started
        trained = running.epoch - running.resumed_from
        if trained > 0 and running.seconds > 0:
            further = max(expected_epochs(training) - running.epoch, LATE * running.epoch)
            whole = running.seconds / trained * (trained + min(further, training.epochs - running.epoch))
        else:
            predicted = speeds.seconds(running.trial.cost or 0.0, group(running.trial.spec))
            whole = predicted / speeds.devices.get(placed.gpu_type, 1.0)
        return max(whole - elapsed if whole > elapsed else LATE * elapsed, 1e-9)


def placement_on(
    nodes: Callable[[], Iterable[Resources]],
    resources: Iterable[Resources],
    earlier: Callable[[Iterable[str]], Mapping[str, float]],
) -> Placement | None:
    """The placement of a sweep's trials; None where there is nothing to choose.

    That is where the nodes with a GPU are of one type, or of one that Ray does not know; where trials take no GPU, or
    one of a given type; and where those of different data sets take different things.

    Args:
        nodes: what each living node has.
        resources: what a trial on each data set takes.
        earlier: the speeds of types that earlier trials have measured.
    """
    first, *others = resources
    here = [node for node in nodes() if node.get("GPU", 0) > 0]
    if first["GPU"] <= 0 or any(one != first for one in others) or type_of(first) is not None:
        return None
    types = by_type(here)
    if len(types) < 2 or any(type_of(node) is None for node in here):
        return None

    def slots() -> dict[str, int]:
        found = dict.fromkeys(types, 0)
        for node in nodes():
            of_type = type_of(node)
            if of_type is not None and node.get("GPU", 0) > 0:
                found[of_type] = found.get(of_type, 0) + times(node, first)
        return {of_type: count for of_type, count in found.items() if count}

    return Placement(slots, earlier(types))


def start_line(nodes: Iterable[Resources]) -> str:
    """What a person is told at the start."""
    return f"GPUs of several types ({listed_types(by_type(nodes))}): the longest trials are kept for the fastest"


def _took(placed: Placed) -> list[Took]:
    """What the epochs of a trial say of its type; nothing before the first has ended."""
    running, trial = placed.running, placed.running.trial
    trained = running.epoch - running.resumed_from
    if trained <= 0 or running.seconds <= 0 or not trial.cost:
        return []
    predicted = trial.cost * trained / expected_epochs(trial.spec.training)
    return [Took(group(trial.spec), placed.gpu_type, running.seconds / predicted)]
