"""A study in memory: what it suggests, that it forgets nothing and invents nothing, and what it gives up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweeper.grids.expansion import DataIdentity, search_cells
from sweeper.grids.schema import Grid
from sweeper.search.samplers import SearchSettings, make_sampler
from sweeper.search.space import SearchCell
from sweeper.search.suggestions import Seen, Suggester
from trials.states import TrialState

DATA = {"a": DataIdentity(("background", "nucleus"), 2)}
PAPER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
EPOCHS = 12


def cell(**loss: Any) -> SearchCell:
    table = {
        "name": "g",
        "datasets": [{"name": "a"}],
        "losses": [{"name": "unified_focal_asym", **loss}],
        "search": "tpe",
    }
    (made,) = search_cells(Grid.model_validate(table), DATA)
    return made


FREE, LISTED = cell(), cell(gamma=PAPER)


def dsc(point: dict[str, float]) -> float:
    return 1 - (point["gamma"] - 0.3) ** 2


def curve(value: float, epochs: int = EPOCHS) -> dict[int, float]:
    return {epoch: value * epoch / EPOCHS for epoch in range(1, epochs + 1)}


def run(of: SearchCell, settings: SearchSettings, seen: Sequence[Seen] = (), limit: int = 100) -> list[Seen]:
    """A search that nothing disturbs, each trial to its end."""
    known = list(seen)
    while len(known) < limit and (point := Suggester(of, settings, known).suggest()) is not None:
        value = dsc(point)
        known.append(Seen(str(point), point, TrialState.FINISHED, value, curve(value)))
    return known


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "nsgaii"])
def test_every_sampler_tries_its_budget_of_different_values(sampler: str) -> None:
    for of in (FREE, LISTED):
        values = [s.point["gamma"] for s in run(of, SearchSettings(sampler, trials=7))]
        assert len(set(values)) == 7
        assert values[0] == 0.5, "the loss's default comes first"
        assert all(of.domains[0].low <= v <= of.domains[0].high for v in values)
    assert set(values) < set(PAPER)


def test_listed_values_come_to_an_end() -> None:
    assert sorted(s.point["gamma"] for s in run(LISTED, SearchSettings(trials=50))) == PAPER


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc"])
def test_a_search_that_was_killed_goes_on_as_an_undisturbed_one(sampler: str) -> None:
    """Every suggestion comes from a study brought back from what is stored: so a kill between any two changes nothing,
    and what is suggested depends on what is known alone."""
    settings = SearchSettings(sampler, trials=8)
    whole = run(FREE, settings)
    for known in range(8):
        assert Suggester(FREE, settings, whole[:known]).suggest() == whole[known].point


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_another_seed_tries_other_values(sampler: str) -> None:
    one, other = (run(FREE, SearchSettings(sampler, seed=seed)) for seed in (0, 1))
    assert [s.point for s in one[1:]] != [s.point for s in other[1:]]


@pytest.mark.slow
def test_tpe_comes_nearer_than_random_search() -> None:
    def nearest(sampler: str, seed: int) -> float:
        found = run(FREE, SearchSettings(sampler, trials=16, seed=seed, from_default=False))
        return min(abs(s.point["gamma"] - 0.3) for s in found[4:])

    seeds = range(6)
    assert sum(nearest("tpe", s) for s in seeds) < sum(nearest("random", s) for s in seeds)


def test_the_sampler_learns_from_earlier_sweeps() -> None:
    earlier = [
        Seen(str(g), {"gamma": g}, TrialState.FINISHED, dsc({"gamma": g}), own=False)
        for g in (i / 41 for i in range(40))
    ]
    first = [Suggester(FREE, SearchSettings(seed=seed), earlier).suggest() or {"gamma": math.nan} for seed in range(12)]
    assert sum(abs(point["gamma"] - 0.3) < 0.15 for point in first) >= 10
    assert run(FREE, SearchSettings(trials=3), earlier)[-1].own, "they are none of its budget"
    assert len(run(FREE, SearchSettings(trials=3), earlier)) == len(earlier) + 3


def test_a_failed_trial_and_one_without_a_value_are_no_results() -> None:
    seen = [
        Seen("a", {"gamma": 0.5}, TrialState.FAILED),
        Seen("b", {"gamma": 0.2}, TrialState.FINISHED, None),
        Seen("c", {"gamma": 0.4}, TrialState.RUNNING),
    ]
    search = Suggester(FREE, SearchSettings(trials=4), seen)
    assert search.tried == 3
    point = search.suggest()
    assert point is not None
    assert point not in [s.point for s in seen]
    assert Suggester(FREE, SearchSettings(trials=3), seen).suggest() is None


def test_a_value_outside_of_the_range_is_passed_over() -> None:
    seen = [Seen("a", {"gamma": 0.99}, TrialState.FINISHED, 0.5, own=False)]
    assert Suggester(cell(gamma={"low": 0.1, "high": 0.4}), SearchSettings(), seen).suggest() is not None


@pytest.mark.parametrize(
    ("pruner", "options"),
    [("median", {}), ("asha", {"min_resource": 3, "reduction_factor": 2}), ("hyperband", {"max_resource": 12})],
)
def test_what_falls_behind_is_given_up_and_what_leads_is_not(pruner: str, options: dict[str, Any]) -> None:
    settings = SearchSettings(trials=20, startup=2, pruner=pruner, pruner_settings=options)
    seen = [
        Seen(str(g), {"gamma": g}, TrialState.FINISHED, v, curve(v))
        for g, v in ((0.1, 0.8), (0.2, 0.7), (0.3, 0.75), (0.4, 0.78))
    ]

    def ends(value: float) -> int | None:
        search = Suggester(FREE, settings, [*seen, Seen("now", {"gamma": 0.6}, TrialState.RUNNING)])
        return next((e for e, score in curve(value).items() if search.report("now", e, score)), None)

    assert ends(0.9) is None
    given_up = ends(0.2)
    assert given_up is not None
    assert given_up < EPOCHS


def test_hyperband_puts_a_trial_into_the_same_bracket_each_time() -> None:
    seen = [Seen(str(g), {"gamma": g}, TrialState.FINISHED, 0.8, curve(0.8)) for g in (0.1, 0.2, 0.3, 0.4)]
    brackets = SearchSettings(
        trials=20, startup=2, pruner="hyperband", pruner_settings={"max_resource": 27, "reduction_factor": 3}
    )

    def told(seed: int) -> tuple[bool, ...]:
        settings = replace(brackets, seed=seed)
        search = Suggester(FREE, settings, [*seen, Seen("now", {"gamma": 0.6}, TrialState.RUNNING)])
        return tuple(search.report("now", epoch, score) for epoch, score in curve(0.2).items())

    assert all(told(seed) == told(seed) for seed in range(8))
    assert len({told(seed) for seed in range(8)}) > 1, "the brackets differ, or this shows nothing"


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_a_decision_is_taken_again_after_a_kill(pruner: str) -> None:
    options = {"min_resource": 3, "reduction_factor": 2} if pruner == "asha" else {}
    settings = SearchSettings(trials=20, startup=2, pruner=pruner, pruner_settings=options)
    seen = [Seen(str(g), {"gamma": g}, TrialState.FINISHED, 0.8, curve(0.8)) for g in (0.1, 0.2, 0.3, 0.4)]
    search = Suggester(FREE, settings, [*seen, Seen("now", {"gamma": 0.6}, TrialState.RUNNING)])
    scores: dict[int, float] = {}
    for epoch, score in curve(0.2).items():
        scores[epoch] = score
        again = Suggester(FREE, settings, [*seen, Seen("now", {"gamma": 0.6}, TrialState.RUNNING, scores=scores)])
        said = search.report("now", epoch, score)
        assert again.doomed("now") == said
        if said:
            break
    assert said


def test_without_a_pruner_nothing_is_given_up() -> None:
    seen = [Seen(str(g), {"gamma": g}, TrialState.FINISHED, 0.8, curve(0.8)) for g in (0.1, 0.2, 0.3)]
    settings = SearchSettings(pruner="none")
    search = Suggester(FREE, settings, [*seen, Seen("now", {"gamma": 0.6}, TrialState.RUNNING)])
    assert not any(search.report("now", e, 0.01) for e in range(1, EPOCHS + 1))
    assert not settings.prunes


def test_a_number_that_cannot_be_a_sampler_s_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler 'tpe' cannot be made"):
        make_sampler("tpe", {"n_ei_candidates": 24, "multivariate": False, "group": True}, startup=3, seed=0)
