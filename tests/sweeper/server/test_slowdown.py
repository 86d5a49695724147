"""Wrong tokens wait for each other, by address; nobody who has a right one waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi.testclient import TestClient

from sweeper.server.app import make_app
from sweeper.server.slowdown import LONGEST_SECONDS, Slowdown
from sweeper.server.tokens import load_tokens
from tests.sweeper.server.conftest import FULL, TOKENS

PATH = "/api/v1/sweeps"


class Clock:
    """A clock that stands, and what was to be waited for."""

    def __init__(self) -> None:
        self.now, self.waits = 1000.0, list[float]()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_each_further_wrong_token_of_an_address_waits_longer() -> None:
    clock = Clock()
    slowdown = Slowdown(0.5, clock, clock.sleep)

    async def ask(*addresses: str) -> None:
        for address in addresses:
            await slowdown.wait(address)

    asyncio.run(ask("10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"))
    assert clock.waits == [0.5, 1.0, 0.5, 0.5, 1.0, 0.5]
    clock.now += 100
    asyncio.run(ask("10.0.0.1"))
    assert clock.waits[-1] == 0.5


def test_a_right_token_is_answered_until_its_address_has_tried_too_many(served: Any) -> None:
    clock = Clock()
    app = make_app(served.host, load_tokens(TOKENS, own=None), slowdown=Slowdown(1.0, clock, clock.sleep))
    client = TestClient(app, "http://127.0.0.1:8080")

    def ask(token: str) -> int:
        return client.get(PATH, headers={"Authorization": f"Bearer {token}"}).status_code

    assert [ask(FULL), ask("x" * 32), ask(FULL), client.get(PATH).status_code] == [200, 401, 200, 401]
    assert clock.waits == [1.0]
    tries = [ask("x" * 32) for _ in range(round(LONGEST_SECONDS) + 2)]
    assert tries[-1] == ask(FULL) == 429
    assert client.get("/healthz").status_code == 200
    clock.now += LONGEST_SECONDS
    assert ask(FULL) == 200
