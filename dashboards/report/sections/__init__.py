"""The sections of the report: one module each, and one line below."""

from dashboards.report.registry import SECTIONS
from dashboards.report.sections.claims import CLAIMS
from dashboards.report.sections.cost import COST
from dashboards.report.sections.examples import EXAMPLES
from dashboards.report.sections.family import FAMILY
from dashboards.report.sections.gamma import GAMMA
from dashboards.report.sections.ran import RAN
from dashboards.report.sections.ranking import RANKING
from dashboards.report.sections.rests import RESTS
from dashboards.report.sections.results import RESULTS
from dashboards.report.sections.scores_file import SCORES_FILE
from dashboards.report.sections.search import SEARCH
from dashboards.report.sections.significance import SIGNIFICANCE
from dashboards.report.sections.sizes import SIZES
from dashboards.report.sections.training import TRAINING

for _section in (
    RESTS,
    RESULTS,
    SIZES,
    FAMILY,
    GAMMA,
    SEARCH,
    RANKING,
    SIGNIFICANCE,
    EXAMPLES,
    TRAINING,
    CLAIMS,
    COST,
    RAN,
    SCORES_FILE,
):
    SECTIONS.register(_section.name, _section)
