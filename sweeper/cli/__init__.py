"""The `sweeper` command. Heavy packages are imported by the command that needs them, so that help is quick."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from sweeper.errors import EXPECTED

# Read when MLflow is imported, by the command or by a worker that inherits them.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def main() -> None:
    """Runs the command line. An error that a person can mend is one message and exit status 2."""
    from sweeper.cli.commands import app

    try:
        app()
    except EXPECTED as error:
        Console(stderr=True).print(f"sweeper: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:
        # `sweeper status | head`: the reader has gone. Python would complain once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
