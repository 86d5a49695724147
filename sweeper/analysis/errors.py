"""What can be wrong with the numbers that an analysis is given. One root, so that a caller catches one kind."""

from __future__ import annotations

from sweeper.errors import SweeperError


class AnalysisError(SweeperError, ValueError):
    """The trials or scores cannot be analysed as they are; the message names the trial, the value and the fix."""
