"""Log lines of the service and of a coordinator as JSON objects, one per line, for a log collector."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal, cast

from pythonjsonlogger.json import JsonFormatter
from rich.console import Console

Format = Literal["text", "json"]

_about: dict[str, str] = {}


class _About(logging.Filter):
    """Adds what all lines are about."""

    def filter(self, record: logging.LogRecord) -> bool:
        for key, value in _about.items():
            setattr(record, key, value)
        return True


def configure(format_: Format) -> None:
    """Sends what is logged to standard error: as JSON with `time`, `level`, `logger` and `message`, or as text."""
    handler = logging.StreamHandler(sys.stderr)
    if format_ == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
                json_ensure_ascii=False,
            )
        )
        handler.addFilter(_About())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("alembic", "httpx", "mlflow", "ray"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def about(**words: str) -> Iterator[None]:
    """Adds these fields to each JSON line of the block, such as the sweep."""
    _about.update(words)
    try:
        yield
    finally:
        for key in words:
            _about.pop(key, None)


class LogStream(io.TextIOBase):
    """A text file whose lines are log records."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._rest = logger, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.info("%s", line.strip())
        return len(text)


def log_console(name: str) -> Console:
    """A console whose lines are log records of that logger."""
    return Console(file=cast("IO[str]", LogStream(logging.getLogger(name))), width=10_000, no_color=True)
