"""A process that answers one request of a line of JSON: what its owner starts, and how it reads and answers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def command(module: str, threads: int) -> list[str]:
    """The command that starts a module with so many threads of TensorFlow."""
    return [sys.executable, "-m", module, "--threads", str(threads)]


def environment() -> dict[str, str]:
    """The environment of such a process, which finds our packages wherever it is started."""
    root = str(Path(__file__).absolute().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


@contextmanager
def asked(module: str) -> Iterator[tuple[int, dict[str, Any], IO[str]]]:
    """In the process: its threads, the request, and where lines of JSON are answered."""
    parser = argparse.ArgumentParser(prog=module)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    with answers:
        yield arguments.threads, json.loads(sys.stdin.readline()), answers
