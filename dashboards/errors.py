"""Errors of the report and the board."""

from __future__ import annotations

from sweeper.errors import SweeperError


class ReportError(SweeperError):
    """The report cannot be written as asked; the message says what is missing and the fix."""


class BoardError(SweeperError):
    """The live board cannot be served as asked, or the API refused what a button asked for."""


class PageError(SweeperError):
    """The board has no page for what an address asks; `status` is the answer's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
