"""Deletes the sweep `demo` of several homes; each process is killed at a moment of its own. Not a test module.

Run as `python -m tests.sweeper.run.killed_delete MOMENT HOME [MOMENT HOME …]`. The processes are forked, so that what
takes long is imported once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.database import open_database
from storage.repository import Repository
from sweeper.run import upkeep
from sweeper.settings import Settings


def killed(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def after(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and then the end."""
    return lambda *arguments, **keywords: killed(work(*arguments, **keywords))


MOMENTS: dict[str, tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {
    "noted": (upkeep, "_note", after),
    "before the database": (Repository, "delete_sweep", lambda _: killed),
    "after the database": (Repository, "delete_sweep", after),
    "one folder is removed": (upkeep.shutil, "rmtree", after),  # type: ignore[attr-defined]
    "files are removed": (upkeep, "_remove", after),
    "MLflow is told": (upkeep, "_tell_mlflow", after),
}
"""Owner and name of what is changed, and how."""


def main(words: list[str]) -> None:
    for moment, home in zip(words[::2], words[1::2], strict=True):
        if child := os.fork():
            status = os.waitpid(child, 0)[1]
            if os.WTERMSIG(status) != signal.SIGKILL:
                raise SystemExit(f"{moment}: status {status}")
            continue
        owner, name, how = MOMENTS[moment]
        setattr(owner, name, how(getattr(owner, name)))
        settings = Settings(home=Path(home))
        with open_database(settings.database) as database:
            upkeep.delete(settings, Repository(database), "demo")
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
