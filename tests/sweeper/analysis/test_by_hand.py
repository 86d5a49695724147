"""Every figure of a small study by the textbook's formula, written out here and not taken from the packages used."""

from __future__ import annotations

import itertools
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_maker import paper_like

from sweeper.analysis import Answers, analyse, score_frame, trial_frame

GAMMAS = (0.1, 0.3, 0.5, 0.7)


@pytest.fixture(scope="module")
def answers() -> Answers:
    study = paper_like(images=9, gammas=GAMMAS, seed=3)
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@pytest.fixture(scope="module")
def scores(answers: Answers) -> dict[str, np.ndarray]:
    """The test DSC of each loss at its γ, image by image."""
    table = answers.selected.pivot(index="case", columns="variant", values="dsc")
    return {name: table[name].to_numpy() for name in table.columns}


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties shared."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def signed_rank(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Exact two-sided p by going through all signs, and (W⁺ − W⁻) / (W⁺ + W⁻) (Wilcoxon 1945; Kerby 2014)."""
    d = x - y
    ranks = ranks_of(np.abs(d))
    plus = ranks[d > 0].sum()
    sums = [sum(chosen) for n in range(d.size + 1) for chosen in itertools.combinations(ranks, n)]
    tail = min(np.mean([s <= plus for s in sums]), np.mean([s >= plus for s in sums]))
    return min(1.0, 2 * float(tail)), (2 * plus - ranks.sum()) / ranks.sum()


def rank_sum(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Exact two-sided p by going through all divisions of the ranks, and the share of pairs won less that lost."""
    n = x.size
    observed = ranks_of(np.concatenate([x, y]))[:n].sum()
    sums = np.array([sum(chosen) for chosen in itertools.combinations(range(1, 2 * n + 1), n)])
    tail = min((sums <= observed).mean(), (sums >= observed).mean())
    won = sum(int(a > b) - int(a < b) for a in x for b in y)
    return min(1.0, 2 * float(tail)), won / n**2


def holm(p: list[float]) -> list[float]:
    """Holm (1979): the i-th smallest of m times m − i + 1, never below the one before."""
    corrected, before = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        before = corrected[index] = max(before, min(1.0, (len(p) - place) * p[index]))
    return corrected


@pytest.mark.parametrize(("name", "test"), [("signed_rank", signed_rank), ("rank_sum", rank_sum)])
def test_all_pairs(answers: Answers, scores: dict[str, np.ndarray], name: str, test: object) -> None:
    rows = answers.significance
    rows = rows[(rows["metric"] == "dsc") & (rows["test"] == name)]
    assert len(rows) == math.comb(8, 2)
    expected = [test(scores[a], scores[b]) for a, b in zip(rows["first"], rows["second"], strict=True)]  # type: ignore[operator]
    assert rows["p"].tolist() == pytest.approx([p for p, _ in expected])
    assert rows["effect"].tolist() == pytest.approx([effect for _, effect in expected])
    assert rows["p_holm"].tolist() == pytest.approx(holm([p for p, _ in expected]))
    assert (rows["family_size"] == 28).all()


def test_friedman(answers: Answers, scores: dict[str, np.ndarray]) -> None:
    """χ² = 12 / (n k (k + 1)) Σ R² − 3 n (k + 1), without ties (Friedman 1937; Demšar 2006)."""
    (summary,) = answers.ranks
    table = np.array(list(scores.values())).T
    n, k = table.shape
    ranks = np.array([ranks_of(-row) for row in table])
    statistic = 12 / (n * k * (k + 1)) * (ranks.sum(axis=0) ** 2).sum() - 3 * n * (k + 1)
    assert summary.statistic == pytest.approx(statistic)
    assert summary.mean_ranks == pytest.approx(dict(zip(scores, ranks.mean(axis=0), strict=True)))


@pytest.mark.parametrize("name", ["signed_rank", "rank_sum"])
def test_estimate_and_interval_of_the_difference(answers: Answers, scores: dict[str, np.ndarray], name: str) -> None:
    """The median of the candidates (Hodges and Lehmann 1963), and those that the printed tables of both tests cut off:
    for nine pairs W ≤ 5, for nine against nine images U ≤ 17 (two-sided, 0.05)."""
    rows = answers.significance
    for row in rows[(rows["metric"] == "dsc") & (rows["test"] == name)].to_dict("records"):
        x, y = scores[row["first"]], scores[row["second"]]
        if name == "signed_rank":
            candidates = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(x - y, 2))
        else:
            candidates = sorted(a - b for a in x for b in y)
        cut = {"signed_rank": 5, "rank_sum": 17}[name]
        assert row["median_difference"] == pytest.approx(np.median(candidates))
        assert (row["low"], row["high"]) == pytest.approx((candidates[cut], candidates[-1 - cut]))
        assert row["estimate"].startswith("Hodges–Lehmann")


def test_stability(answers: Answers, scores: dict[str, np.ndarray]) -> None:
    selection = answers.selection.set_index("variant")
    baseline = selection[~selection.index.str.startswith("unified")]["val_dsc"].idxmax()
    for row in answers.stability.to_dict("records"):
        own = answers.images[answers.images["variant"] == row["variant"]]
        at = {g: own[own["gamma"] == g].sort_values("case")["dsc"].to_numpy() for g in GAMMAS}
        means, gammas = np.array([at[g].mean() for g in GAMMAS]), np.array(GAMMAS)
        centred = gammas - gammas.mean()
        assert row["range"] == pytest.approx(means.max() - means.min())
        assert row["sd"] == pytest.approx(math.sqrt(((means - means.mean()) ** 2).sum() / (len(GAMMAS) - 1)))
        assert row["slope"] == pytest.approx((centred * means).sum() / (centred**2).sum())
        assert row["baseline"] == baseline
        assert row["share_above_baseline"] == (means > scores[baseline].mean()).mean()


def quasi_f(runs: dict[object, np.ndarray], a: object, b: object) -> tuple[float, float, float]:
    """Difference of means, its standard error, and Satterthwaite's degrees of freedom, from runs × images."""
    r, n = runs[a].shape
    d = runs[a].mean(axis=0) - runs[b].mean(axis=0)
    of_runs = {
        key: sum((m - values.mean()) ** 2 for m in values.mean(axis=1)) / (r - 1) for key, values in runs.items()
    }
    pooled = sum(of_runs.values()) / len(runs)
    freedom = min(7 + r - 1, len(runs) * (r - 1))
    units = [(x.mean(axis=0) - y.mean(axis=0)).var(ddof=1) for x, y in combinations(runs.values(), 2)]
    of_units = (4 * sum(units) / len(units) + (n - 1) * d.var(ddof=1)) / (4 + n - 1)
    parts = [(of_units / n, min(4 + n - 1, (len(runs) - 1) * (n - 1)))]
    parts += [((7 * pooled + (r - 1) * of_runs[key]) / (7 + r - 1) / r, freedom) for key in (a, b)]
    twice = 0.0
    for key in (a, b):
        rest = runs[key] - runs[key].mean(axis=1)[:, None] - runs[key].mean(axis=0) + runs[key].mean()
        twice += (rest**2).sum() / ((r - 1) * (n - 1)) / (n * r)
    total = sum(part for part, _ in parts)
    squared = max(total - twice, parts[0][0], total - parts[0][0])
    return float(d.mean()), math.sqrt(squared), squared**2 / sum(part**2 / f for part, f in parts)


def matrices(answers: Answers, study_scores: pd.DataFrame, chosen: pd.DataFrame) -> dict[object, np.ndarray]:
    """Runs × images of each setting in `chosen` (variant, gamma)."""
    found = {}
    for variant, gamma in chosen.itertuples(index=False):
        own = answers.trials[answers.trials["variant"] == variant]
        own = own[own["gamma"].isna() if math.isnan(gamma) else own["gamma"] == gamma]
        table = study_scores[study_scores["trial"].isin(own["hash"])].pivot(index="trial", columns="case", values="dsc")
        found[variant, None if math.isnan(gamma) else gamma] = table.to_numpy()
    return found


def test_comparisons_about_new_trainings() -> None:
    study = paper_like(images=9, gammas=GAMMAS, seed=3, repeats=3, baselines=("ce", "dice"))
    scores = score_frame(study.columns)
    answers = analyse(trial_frame(study.trials), scores)
    runs = {key[0]: m for key, m in matrices(answers, scores, answers.selection[["variant", "gamma"]]).items()}  # type: ignore[index]
    rows = answers.comparisons[answers.comparisons["metric"] == "dsc"]
    assert len(rows) == math.comb(4, 2)
    expected = [quasi_f(runs, a, b) for a, b in zip(rows["loss_a"], rows["loss_b"], strict=True)]
    assert rows["difference"].tolist() == pytest.approx([d for d, _, _ in expected])
    assert rows["error"].tolist() == pytest.approx([e for _, e, _ in expected])
    assert rows["freedom"].tolist() == pytest.approx([f for _, _, f in expected])
    p = [float(2 * stats.t.sf(abs(d) / e, f)) for d, e, f in expected]
    assert rows["p"].tolist() == pytest.approx(p)
    assert rows["p_holm"].tolist() == pytest.approx(holm(p))

    settings = answers.trials[["variant", "gamma"]].drop_duplicates()
    every = matrices(answers, scores, settings)
    swept = answers.gamma_differences
    swept = swept[(swept["variant"] == "unified_focal_sym") & (swept["other"] == "dice")]
    assert swept["gamma"].tolist() == list(GAMMAS)
    for row in swept.to_dict("records"):
        d, error, freedom = quasi_f(every, ("unified_focal_sym", row["gamma"]), ("dice", None))
        half = stats.t.ppf(0.95, freedom) * error
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((d, d - half, d + half))
    stability = answers.stability.set_index("variant").loc["unified_focal_sym"]
    agrees = [q < 0.05 and d > 0 for q, d in zip(holm(swept["p"].tolist()), swept["difference"], strict=True)]
    assert stability["share_significantly_above"] == np.mean(agrees)
