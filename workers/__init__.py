"""What runs on a GPU machine: losses, networks, data sets, training, inference, scores, MLflow reporting.

Knows no database and nothing of `sweeper`. Importing this package imports no TensorFlow.
"""

from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, EvaluationSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

__all__ = [
    "DataSpec",
    "Epoch",
    "EvaluationSpec",
    "LossSpec",
    "ModelSpec",
    "Score",
    "TrainingSpec",
    "TrialResult",
    "TrialSpec",
]
