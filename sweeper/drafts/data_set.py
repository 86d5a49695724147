"""A data set that nobody has described, as far as its files tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.drafts.values import Options
from sweeper.grids.schema import DatasetTable


@dataclass(slots=True)
class DataSet:
    """What is known of the data set: its entry in the grid, what tells its patients, and what is unsure."""

    name: str
    folder: str
    reader: str
    options: Options
    what: str
    split: Options = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    patients: str = ""

    @property
    def table(self) -> DatasetTable:
        entry = {"name": self.name, "reader": self.reader, "options": self.options}
        return DatasetTable.model_validate(entry)
