"""schemathesis: what the OpenAPI description allows is answered as it says, and what it does not is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from sweeper.server.app import make_app
from sweeper.server.tokens import load_tokens
from tests.sweeper.server.listening import listening

FORMATS = Path(__file__).with_name("schemathesis_formats.py")
TOKEN = "t" * 32
EXAMPLES = 2


@pytest.fixture
def app(served: Any) -> Any:
    """No start succeeds, so that each submitted sweep stays one that could not be started."""
    served.recorded.status, served.recorded.words = 2, "nothing is trained here"
    hosts = ["testserver", "127.0.0.1"]
    return make_app(served.host, load_tokens({"SWEEPER_TOKENS": f"full:{TOKEN}"}, own=None), hosts=hosts)


@pytest.fixture
def address(app: Any) -> Iterator[str]:
    with listening(app) as url:
        yield url


@pytest.mark.slow
def test_a_few_of_each(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: some requests of each kind that the description allows, and some that it does not."""
    monkeypatch.syspath_prepend(FORMATS.parent)
    import schemathesis_formats  # noqa: F401

    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    called = set()
    for operation in (found.ok() for found in schema.get_all_operations()):
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
                continue

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})

            check()
            called.add((operation.label, mode))
    assert len(called) >= 27


@pytest.mark.slow
def test_all_checks_find_nothing(address: str) -> None:
    """Over a socket, by the command: examples, coverage of the description, fuzzing, and sequences of requests."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--max-examples", "5", "--seed", "1"),
            # These would take the sweep away that all other requests are about.
            *("--exclude-operation-id", "delete", "--exclude-operation-id", "rename"),
            "--no-color",
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_formats", "PYTHONPATH": str(FORMATS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
