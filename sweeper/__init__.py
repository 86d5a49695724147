"""Runs a whole loss-function study in medical image segmentation as one command, and answers its question.

from sweeper import open_study
study = open_study("demo")
study.scores.groupby("loss")["dsc"].mean()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.study import open_study

__all__ = ["open_study"]


def __getattr__(name: str) -> object:
    """Imports pandas only for those who ask: the command line starts without it."""
    if name == "open_study":
        from sweeper.study import open_study

        return open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
