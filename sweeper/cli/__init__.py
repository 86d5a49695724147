"""The `sweeper` command. Heavy packages are imported by the command that needs them, so that help is quick."""

from __future__ import annotations

import gc
import io
import logging
import os
import sys

from rich.console import Console
from typer import TyperException

from trials.errors import ExpectedError

# Nearly all that a command makes, its modules above all, lives as long as the command does. Python would look for
# garbage among it after every 700 objects, for a sixth of a short command's time.
gc.set_threshold(20_000, 20, 20)

# Read when MLflow is imported, by the command or by a worker that inherits them.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def main() -> None:
    """Runs the command line. An error that a person can fix is one message and exit status 2."""
    _open_outputs()
    from sweeper.cli.commands import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show γ shows ? in its place
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except ExpectedError as error:
        _complain(str(error))
        status = 2
    except TyperException as error:
        _complain(_usage(error))
        status = 2
    except BrokenPipeError:
        # `sweeper status | head`: the reader has ended. Python would complain once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        from workers.files import is_disk_full

        if not is_disk_full(error):
            raise
        where = error.filename or "a file"
        _complain(f"{where} could not be written ({error.strerror}); make room (sweeper gc), then run this again")
        status = 2
    sys.exit(status)


def _open_outputs() -> None:
    """Opens what the caller has closed (`>&-`): a file that is opened later, the database say, would take its number,
    and get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115 (they stay open)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


def _usage(error: TyperException) -> str:
    """What is wrong with the words after `sweeper`, and which page shows the right ones."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    command = "sweeper" if context is None else context.command_path
    return f"{message[:1].lower()}{message[1:]} (see: {command} --help)"


def _complain(message: str) -> None:
    if os.environ.get("SWEEPER_LOG_FORMAT") == "json" and not sys.stderr.isatty():
        from sweeper import logs

        logs.configure("json")
        logging.getLogger("sweeper").error("%s", message)
        return
    Console(stderr=True).print(f"sweeper: {message}", markup=False, highlight=False, soft_wrap=True)
