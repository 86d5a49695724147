"""What a spool says and what it lacks, without sending it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trials.results import Score
from workers.tracking.describe import SETTING_TAG, overall_name, score_values, stored_metrics
from workers.tracking.records import EndRecord, LabelRecord, ScoresRecord, StartRecord
from workers.tracking.spool import read_lines


@dataclass(frozen=True, slots=True)
class Told:
    """What a spool has told so far.

    Attributes:
        label, setting: the trial's name and the part that repeats share; empty where nothing has begun.
        open: its last attempt has no end. It may be under way.
        metrics: the names of its final metrics.
    """

    label: str = ""
    setting: str = ""
    open: bool = False
    metrics: frozenset[str] = frozenset()

    def lacking(self, scores: Sequence[Score]) -> dict[str, float]:
        """The final metrics of stored scores that are not told."""
        computed = {(score.partition, name) for score in scores for name in score.values}
        if all(overall_name(part, name) in self.metrics for part, name in computed if stored_metrics([name])):
            return {}
        return {name: value for name, value in score_values(scores).items() if name not in self.metrics}


def told(spool: Path) -> Told:
    """What a spool has told so far; nothing where there is none."""
    label, setting, open_, metrics = "", "", False, set[str]()
    for line in read_lines(spool):
        record = line.record
        if isinstance(record, StartRecord):
            open_ = True
        elif isinstance(record, EndRecord):
            open_ = False
        if isinstance(record, StartRecord | LabelRecord):
            label, setting = record.name, record.tags.get(SETTING_TAG, "")
        elif isinstance(record, EndRecord | ScoresRecord):
            metrics |= record.values.keys()
    return Told(label, setting, open_, frozenset(metrics))
