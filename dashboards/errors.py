"""Errors of the report and the board."""

from __future__ import annotations

from sweeper.errors import SweeperError


class ReportError(SweeperError):
    """The report cannot be written as asked; the message says what is missing and the fix."""


class BoardError(SweeperError):
    """The live board cannot be served as asked, or the API refused what a button asked for."""
