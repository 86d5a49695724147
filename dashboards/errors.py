"""What can go wrong in writing a report."""

from __future__ import annotations

from sweeper.errors import SweeperError


class ReportError(SweeperError):
    """The report cannot be written as asked; the message says what is missing and the mend."""
