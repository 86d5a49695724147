"""Which of two losses is better where, and whether that is significant: all pairs, per data set, class and metric.

Every test of `statistical_tests.TESTS` is made for each pair: the paper's rank-sum, the signed-rank, which uses that
both losses segmented the same images, and those that were added. A family, within which Holm (1979) corrects, is all
pairs of losses of one test within one data set, class and metric, so that an added test changes no other p value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd

from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.intervals import Floats
from sweeper.analysis.rank_tests import RANK_SUM_TEST, SIGNED_RANK_TEST
from sweeper.analysis.scored import scored_metrics
from sweeper.analysis.statistical_tests import TESTS, Comparison, StatisticalTest
from sweeper.analysis.wide import wide

ALPHA = 0.05
"""The paper's level of significance (section 3.2)."""

for _test in (
    RANK_SUM_TEST,
    SIGNED_RANK_TEST,
):
    TESTS.register(_test.name, _test)

RANK_SUM, SIGNED_RANK = RANK_SUM_TEST.name, SIGNED_RANK_TEST.name
"""The paper's test, by which its claims are judged; and the paired one, by which marks and ranks go."""

FAMILY = ["dataset", "label", "metric", "test"]
WORST = 1e100
"""What the tests get in place of an infinite distance: the worst rank, and equal to another infinite one.

Infinite values themselves have no difference. To add a score to this number changes none of its digits.
"""

TEST_COLUMNS = [
    *FAMILY, "first", "second", "n", "left_out", "p", "p_holm", "effect", "median_difference", "low", "high",
    "family_size", "smallest_p_holm", "warning", "note", "estimate",
]  # fmt: skip


def holm(p: Floats) -> Floats:
    """Holm's step-down correction of one family. NaN (no test was made) stays NaN and does not count.

    Written out, since statsmodels' `multipletests` collects garbage in each call: half a second with a large study in
    memory. The tests compare the two.
    """
    corrected = np.full(p.shape, np.nan)
    made = np.flatnonzero(np.isfinite(p))
    ascending = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(ascending.size, 0, -1)
    corrected[ascending] = np.minimum(np.maximum.accumulate(factors * p[ascending]), 1.0)
    return corrected


def pairwise_tests(images: pd.DataFrame) -> pd.DataFrame:
    """Every test for all pairs of variants.

    Args:
        images: `image_scores` at each variant's chosen γ.

    Returns:
        `TEST_COLUMNS`. Positive `effect` and `median_difference` mean that `first` has the higher score; `estimate`
        says which estimate of the difference the latter is, and `low` and `high` are its 95% interval, without any
        correction. An infinite distance is the worst rank; an infinite `median_difference`, `low` or `high` says that a
        structure is missed so often. `left_out` counts images that one of the two lacks or whose score is undefined.
        `smallest_p_holm` is the smallest corrected p that this many images can give; where it is above 0.05, `warning`
        says so. `note` says what was degenerate (identical scores, a single image).

    Raises:
        AnalysisError: a test's function failed.
    """
    tests = pd.DataFrame(_rows(images), columns=[c for c in TEST_COLUMNS if c != "p_holm"] + ["smallest_p"])
    tests["p_holm"] = np.nan
    for _, family in tests.groupby(FAMILY, sort=False, observed=True):
        p = family["p"].to_numpy(float)
        size = int(np.isfinite(p).sum())
        tests.loc[family.index, "p_holm"] = holm(p)
        tests.loc[family.index, "family_size"] = size
        tests.loc[family.index, "smallest_p_holm"] = (family["smallest_p"] * size).clip(upper=1.0)
    too_few = tests["smallest_p_holm"] > ALPHA
    tests["warning"] = np.where(too_few, "too few images: no corrected p can fall below 0.05", "")
    tests["family_size"] = tests["family_size"].astype(float).fillna(0).astype(int)
    return tests[TEST_COLUMNS]


def _rows(images: pd.DataFrame) -> Iterator[dict[str, object]]:
    metrics = scored_metrics(images)
    for (dataset, label), group in images.groupby(["dataset", "label"], sort=True, observed=True):
        for metric in metrics:
            # A variant that lacks an image has NaN there, like one whose score is undefined: both are left out.
            table = wide(group, "case", "variant", metric)
            values = {v: np.clip(table[v].to_numpy(float), -WORST, WORST) for v in table.columns}
            for first, second in combinations(values, 2):
                for test in TESTS.values():
                    yield {
                        "dataset": dataset, "label": label, "metric": metric, "test": test.name, "first": first,
                        "second": second, **_finite_or_not(_compare(test, values[first], values[second])),
                        "estimate": test.estimate,
                    }  # fmt: skip


def _finite_or_not(comparison: Comparison) -> dict[str, object]:
    """A comparison by its fields, with the differences that `WORST` made as infinite."""
    values = asdict(comparison)
    for name in ("median_difference", "low", "high"):
        if abs(values[name]) > math.sqrt(WORST):
            values[name] = math.copysign(math.inf, values[name])
    return values


def _compare(test: StatisticalTest, first: Floats, second: Floats) -> Comparison:
    try:
        return test.function(first, second)
    except Exception as error:
        # Whatever a plug-in's function raises is told as that test's error.
        raise AnalysisError(f"the statistical test {test.name!r} failed: {type(error).__name__}: {error}") from error
