"""The report's figures, and the registry to which a module of ours or a plug-in adds one.

    FIGURES.register("boxes", dataset_figure("boxes", boxes, title="Scores", caption="…", section="results"))

A figure of ours is one module here and one line below.
"""

from dashboards.figures.family import FAMILY, SUPPRESSION
from dashboards.figures.gamma import GAMMA
from dashboards.figures.rankings import CONSENSUS, RANKINGS
from dashboards.figures.registry import FIGURES, ReportFigure, dataset_figure, study_figure
from dashboards.figures.scores import SCORES
from dashboards.figures.segmentations import EXAMPLES
from dashboards.figures.significance import MEAN_RANKS, MEAN_RANKS_ACROSS, P_VALUES
from dashboards.figures.style import Drawing, draw
from dashboards.figures.training import TRAINING

for _figure in (
    SCORES,
    FAMILY,
    SUPPRESSION,
    GAMMA,
    EXAMPLES,
    TRAINING,
    P_VALUES,
    MEAN_RANKS,
    MEAN_RANKS_ACROSS,
    RANKINGS,
    CONSENSUS,
):
    FIGURES.register(_figure.name, _figure)

__all__ = ["FIGURES", "Drawing", "ReportFigure", "dataset_figure", "draw", "study_figure"]
