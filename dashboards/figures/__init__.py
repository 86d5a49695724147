"""The report's figures, one module each. Every function takes frames of `sweeper.analysis` and returns a `Drawing`."""

from dashboards.figures.style import Drawing, draw

__all__ = ["Drawing", "draw"]
