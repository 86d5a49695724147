"""From stored scores to answers: tables, γ stability, significance, the paper's claims. Pure pandas, numpy and scipy.

trials, scores = trial_frame(repository.trials(name)), score_frame(repository.score_columns(name))
answers = analyse(trials, scores)
"""

from sweeper.analysis.answers import Answers, analyse
from sweeper.analysis.comparisons import compare
from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.frames import score_frame, scores_hash, trial_frame
from sweeper.analysis.ranks import RankSummary

__all__ = ["AnalysisError", "Answers", "RankSummary", "analyse", "compare", "score_frame", "scores_hash", "trial_frame"]
