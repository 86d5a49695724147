"""Prepared data sets: locate a data set's folder, prepare it once, open it from any process.

The one place that the rest of the project imports from; the parts are in `workers.datasets`: `sources` (where the
files are), `keys` (what the key covers), `preparation` (how the folder is made), `folder` (what is in it). Imports no
TensorFlow.
"""

from workers.datasets.folder import PreparedCase, PreparedDataset, is_prepared, open_prepared, prepared_path
from workers.datasets.keys import preparation_key
from workers.datasets.preparation import Progress, prepare
from workers.datasets.sources import locate, provenance

__all__ = [
    "PreparedCase",
    "PreparedDataset",
    "Progress",
    "is_prepared",
    "locate",
    "open_prepared",
    "preparation_key",
    "prepare",
    "prepared_path",
    "provenance",
]
