"""What runs on a GPU machine: losses, networks, data sets, training, inference, scores, MLflow reporting.

Knows no database and nothing of `sweeper`. Importing this package imports no TensorFlow.
"""

from trials.results import CaseScore, EpochRecord, TrialResult
from trials.spec import DataSpec, EvaluationSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

__all__ = [
    "CaseScore",
    "DataSpec",
    "EpochRecord",
    "EvaluationSpec",
    "LossSpec",
    "ModelSpec",
    "TrainingSpec",
    "TrialResult",
    "TrialSpec",
]
