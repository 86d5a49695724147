"""How a coordinator is asked to end: by a signal, or by the end of whoever reads what it prints. It ends in order."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

from storage.records import Trial
from sweeper.run.coordinator import Coordinator, Observer, Running

CLOSED = (errno.EPIPE, errno.EIO)
"""What a write to a pipe without a reader, or to a terminal that was closed, fails with."""


class End(IntEnum):
    """How soon a coordinator ends."""

    NO = 0
    DRAINED = 1
    AFTER_EPOCH = 2
    AT_ONCE = 3


_WORDS = {
    End.DRAINED: "waiting for running trials, no new one starts; once more ends them after this epoch",
    End.AFTER_EPOCH: "running trials end after this epoch; once more ends them at once",
    End.AT_ONCE: "running trials end at once, and go on from their last checkpoint",
}


class Ending:
    """What was asked so far. A coordinator that is made later is asked when it is given (`use`).

    Args:
        sweep: the sweep's name.
    """

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._coordinator: Coordinator | None = None
        self._end, self._handed_over, self._name = End.NO, False, ""

    def use(self, coordinator: Coordinator) -> None:
        """Asks this coordinator from now on."""
        self._coordinator = coordinator
        self._tell()

    def ask(self, name: str, *, least: End = End.DRAINED, hand_over: bool = False) -> None:
        """Asks for an end, once more for a sooner one.

        Args:
            name: who asks, for people.
            least: how soon it ends at the first time.
            hand_over: whether another coordinator is to resume.
        """
        self._end = End.AFTER_EPOCH if hand_over else max(least, End(min(self._end + 1, End.AT_ONCE)))
        self._handed_over, self._name = hand_over, name
        self._tell()

    def _tell(self) -> None:
        coordinator, name = self._coordinator, self._name
        if coordinator is None or self._end is End.NO:
            return
        if self._handed_over:
            coordinator.hand_over(f"handed over by {name}")
        elif self._end is End.AT_ONCE:
            coordinator.end_at_once(f"stopped by {name}")
        elif self._end is End.AFTER_EPOCH:
            coordinator.stop_now(f"stopped by {name}")
        else:
            coordinator.drain(f"drained by {name}")
        coordinator.observer.say(f"{name}: {_WORDS[self._end]}; resume later with: sweeper resume {self._sweep}")


@contextmanager
def signals(sweep: str) -> Iterator[Ending]:
    """Ctrl-C drains, a second one ends what runs after its epoch, a third one at once.

    SIGTERM and SIGHUP (a closed terminal) end what runs after its epoch, since whoever sends them does not wait for
    long; a second one ends it at once. SIGUSR2 is not about the sweep: this machine ends, and another coordinator
    resumes. (SIGUSR1 is Tune's own.) What `nohup` ignores stays ignored.
    """
    ending = Ending(sweep)
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    old = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            drop_closed_outputs()
        least = End.DRAINED if number == signal.SIGINT else End.AFTER_EPOCH
        ending.ask(signal.Signals(number).name, least=least, hand_over=number == signal.SIGUSR2)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield ending
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Lasting:
    """An observer that tells another one, until nobody can read it any more; that asks for the end, as SIGHUP does.

    Args:
        observer: is told.
        ending: is asked.
    """

    def __init__(self, observer: Observer, ending: Ending) -> None:
        self._observer, self._ending = observer, ending

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None:
        with self._closed():
            self._observer.changed(trials, running)

    def say(self, line: str) -> None:
        with self._closed():
            self._observer.say(line)

    @contextmanager
    def _closed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in CLOSED or not drop_closed_outputs():
                raise
            self._ending.ask("closed output", least=End.AFTER_EPOCH)


def drop_closed_outputs() -> bool:
    """What is printed from now on goes nowhere where nobody can read it; whether there was such an output."""
    found = False
    for number in (1, 2):
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            found = True
    return found
