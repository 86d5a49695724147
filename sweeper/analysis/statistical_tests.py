"""The statistical tests that compare two losses: what a test is, and the registry that tables and figures read.

A test is added by one call, in a module of ours or in a plug-in:

    TESTS.register("sign", StatisticalTest("sign", "sign test", sign_test, paired=True, sentence="The sign test …"))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.analysis.intervals import Floats
from trials.registry import Registry


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of one two-sided test of a first against a second loss.

    `effect` is an effect size in [−1, 1], positive where the first loss scores higher (both Wilcoxon tests give the
    rank-biserial correlation, Kerby 2014). `median_difference` is the test's estimate of the difference, first less
    second, and `low` and `high` are its 95% interval, NaN where there is none. Both Wilcoxon tests give the
    Hodges–Lehmann estimate and the inverted test (`hodges_lehmann`); the name is older, and is that of a stored column.
    `n` is the number of images (of pairs, where the test is paired; the smaller sample's, where it is not); `left_out`
    counts the images without a score. `smallest_p` is the smallest p that any scores of this many images could give.
    `note` says why p is NaN or 1.
    """

    p: float
    effect: float
    median_difference: float
    low: float
    high: float
    n: int
    left_out: int
    smallest_p: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class StatisticalTest:
    """A two-sided test for one pair of losses.

    Attributes:
        name: what it is stored under.
        heading: what tables and figures call it, such as `rank-sum`.
        function: `f(first, second) -> Comparison` of two arrays of scores; an undefined score is NaN. Where `paired`,
            `first[i]` and `second[i]` are scores of one image.
        paired: whether it uses that both losses segmented the same images.
        sentence: what the report says about it.
        estimate: what `median_difference` is, for tables and the CSV file.
    """

    name: str
    heading: str
    function: Callable[[Floats, Floats], Comparison]
    paired: bool
    sentence: str
    estimate: str = "median difference"


TESTS: Registry[StatisticalTest] = Registry("statistical test", "sweeper.tests")
"""Every test that is made for each pair of losses, in the order of the tables' columns."""
