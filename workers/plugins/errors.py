"""The error of a plug-in that cannot be used."""

from __future__ import annotations

from workers.errors import InputError


class PluginError(InputError):
    """A plug-in that can't be read, imported or used; the message names its file or module."""


def line_text(error: BaseException, reference: str) -> str:
    """`", line 7"` for the last line of the plug-in's file in the error's traceback."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == reference:
            line = trace.tb_lineno
        trace = trace.tb_next
    if line is None and isinstance(error, SyntaxError):
        line = error.lineno
    return f", line {line}" if line else ""
