"""What a spool lacks, as its last lines say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trials.results import Score
from workers.tracking.describe import overall_name, score_values, stored_metrics
from workers.tracking.records import EndRecord, ScoresRecord, StartRecord
from workers.tracking.spool import read_lines


def unended(spool: Path) -> bool:
    """Whether the last attempt of a spool has no end. It may be under way."""
    open_ = False
    for line in read_lines(spool):
        if isinstance(line.record, StartRecord):
            open_ = True
        elif isinstance(line.record, EndRecord):
            open_ = False
    return open_


def lacking_metrics(spool: Path, scores: Sequence[Score]) -> dict[str, float]:
    """The final metrics of stored scores that a finished trial's spool does not hold."""
    known: set[str] = set()
    for line in read_lines(spool):
        if isinstance(line.record, EndRecord | ScoresRecord):
            known |= line.record.values.keys()
    computed = {(score.partition, name) for score in scores for name in score.values}
    if all(overall_name(partition, metric) in known for partition, metric in computed if stored_metrics([metric])):
        return {}
    return {name: value for name, value in score_values(scores).items() if name not in known}
