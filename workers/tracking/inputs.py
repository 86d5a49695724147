"""A data set as MLflow's input of a run: what the column *Dataset* of its run table shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workers.tracking.records import Dataset

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


def dataset_input(used: Dataset) -> DatasetInput:
    """MLflow keeps a data set once for each name and digest; what differs between runs, such as the fold, is of the
    input."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    if used.source.startswith(("http://", "https://")):
        kind, source = "http", {"url": used.source}
    else:
        kind, source = "local", {"uri": used.source or f"prepared/{used.name}/{used.digest}"}
    tags = {"mlflow.data.context": "training", "split": used.split, "fold": used.fold}
    entity = Entity(name=used.name, digest=used.digest, source_type=kind, source=json.dumps(source))
    return DatasetInput(entity, [InputTag(key, value) for key, value in tags.items() if value])
