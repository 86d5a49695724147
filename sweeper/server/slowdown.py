"""Slows down who tries tokens: wrong ones of an address are answered one after another, right ones at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address

STEP_SECONDS = 0.5
LONGEST_SECONDS = 10.0


class Slowdown:
    """The lines of wrong tokens, one for each address. Belongs to one event loop.

    Args:
        step: the time between two answers to an address.
        clock: seconds, never going back.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        step: float = STEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._step, self._clock, self._sleep = step, clock, sleep
        self._ends: dict[str, float] = {}

    def too_many(self, address: str) -> bool:
        """Whether so many wait that no token of this address is even looked at: else the refusal would tell at once."""
        return self._ends.get(_network(address), 0.0) - self._clock() > LONGEST_SECONDS

    async def wait(self, address: str) -> None:
        """Waits until it is the turn of one more wrong token of this address."""
        now, network = self._clock(), _network(address)
        self._ends = {one: end for one, end in self._ends.items() if end > now}
        end = self._ends[network] = max(now, self._ends.get(network, now)) + self._step
        await self._sleep(end - now)


def _network(address: str) -> str:
    """The address itself; of IPv6 the first half, since the other half can be chosen at will."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(int(known) >> 64) if isinstance(known, IPv6Address) else address
