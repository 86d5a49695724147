"""A report of one line, in place of the one with figures.

A sweep that suffers faults ends many times, and each end would draw figures for as long as all of its trials train.
What a sweep answers is read from the database. Python finds this package before the installed one, since its folder is
on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write(settings: Any, repository: Any, study: Any, out: Path, formats: Sequence[str] = ("html",)) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    page = out / "report.html"
    page.write_text(f"{study.sweep.name}: {study.sweep.state.value}")
    return [page]
