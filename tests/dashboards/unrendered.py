"""Reports whose figures are painted but not rendered: for tests of what is written around them. Not a test module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from dashboards.figures import style
from dashboards.report import write


@contextmanager
def unrendered() -> Iterator[None]:
    """Within it a figure's SVG and PNG are empty, which saves nine tenths of the time of a drawing."""
    with (
        patch.object(style, "render", lambda figure: ("<svg></svg>", b"")),
        patch.object(write, "MANY_PLACES", 1_000_000),
    ):
        yield
