"""What `launch` and `resume` end with: the answer, and where to look at everything."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from sweeper.settings import Settings
from trials.addresses import hide_password

if TYPE_CHECKING:
    from sweeper.analysis import Answers  # with SciPy: a second in which nothing trains


def closing_text(
    settings: Settings, name: str, answers: Answers, report: Sequence[Path], mlflow: str = ""
) -> RenderableType:
    """The answer in its own words, and how to look at everything.

    The pages of servers are named where people reach them; files and a local store by the commands that open them.
    `mlflow` is the address of the sweep's trials there.
    """
    lines = ["", answers.sentences[0]]
    if answers.caution:
        lines += ["", answers.caution]
    if answers.chosen:
        lines += ["", f"By validation scores alone the choice is {answers.chosen}."]
    lines += ["", "Look at it:"]
    if settings.board_url:
        lines.append(f"  {settings.board_url}  (the board)")
    elif report:
        lines.append(f"  xdg-open {_short(report[0])}")
    if settings.mlflow.startswith(("http://", "https://")):
        lines.append(f"  {mlflow or settings.mlflow_url or hide_password(settings.mlflow)}  (MLflow, with the report)")
    else:
        lines.append(f"  {_command('sweeper')} mlflow ui {name}")
    lines.append(f"  {_command('sweeper')} status {name}")
    if answers.best_models:
        lines += ["", "Apply it to images of yours:", f"  {_command('sweeper')} predict {name} IMAGES --to DIR"]
    return Text("\n".join(lines))


def _command(name: str) -> str:
    """How to call a program of this installation from the current folder."""
    beside = Path(sys.executable).parent / name
    on_path = any((Path(folder) / name).exists() for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)
    return name if on_path or not beside.exists() else _short(beside)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
