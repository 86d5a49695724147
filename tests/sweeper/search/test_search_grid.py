"""A grid that searches: what is chosen from, what stays a plain cell, and what is refused with the nearest name."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from storage.studies import GAMMA_RANGE
from sweeper.errors import GridError
from sweeper.grids.expansion import SEARCHED_GAMMA, DataIdentity, expand, search_cells, settings_of
from sweeper.grids.files import load_grid, parse_grid
from sweeper.grids.names import Naming
from sweeper.grids.schema import Grid
from sweeper.search.space import Domain, domain_of

DATA = {"a": DataIdentity(("background", "nucleus"), 2), "b": DataIdentity(("background", "x", "y"), 2)}
PAPER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def grid(*losses: dict[str, Any], search: Any = "tpe", **more: Any) -> Grid:
    table = {"name": "g", "datasets": [{"name": "a"}], "losses": list(losses), "search": search, **more}
    return parse_grid(table, "g")


def domains(*losses: dict[str, Any], **more: Any) -> list[list[str]]:
    return [[str(d) for d in cell.domains] for cell in search_cells(grid(*losses, **more), DATA)]


def test_a_gamma_without_a_value_is_chosen_and_the_rest_is_plain() -> None:
    made = grid({"name": "dice"}, {"name": "unified_focal_asym"}, {"name": "unified_focal_sym", "gamma": 0.3})
    assert [Naming().label(spec) for spec in expand(made, DATA)] == ["a · dice", "a · unified_focal_sym · γ=0.3"]
    (cell,) = search_cells(made, DATA)
    assert cell.domains == (Domain("gamma", *GAMMA_RANGE),)
    assert SEARCHED_GAMMA == GAMMA_RANGE


def test_lists_and_ranges_are_chosen_from() -> None:
    assert domains({"name": "unified_focal_asym", "gamma": PAPER}) == [
        ["gamma of 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9"]
    ]
    searched = {"name": "unified_focal_sym", "delta": {"low": 0.4, "high": 0.8}, "lambda_": [0.3, 0.5], "gamma": 0.5}
    assert domains(searched) == [["lambda_ of 0.3, 0.5", "delta in [0.4, 0.8]"]]
    assert domains({"name": "focal", "gamma": [1, 2, 3]}, {"name": "focal_tversky"}) == [["gamma of 1, 2, 3"]]
    rate = {"sampler": "tpe", "learning_rate": {"low": 0.01, "high": 0.3, "log": True}}
    assert domains({"name": "unified_focal_asym"}, {"name": "ce"}, search=rate) == [
        ["gamma in [0, 0.99]", "learning_rate in [0.01, 0.3] (log)"]
    ]


def test_a_chosen_trial_is_the_fixed_grid_s() -> None:
    fixed = {"name": "unified_focal_asym", "gamma": [0.3, 0.7]}
    plain = expand(Grid.model_validate({**_table(fixed), "repeats": 2}), DATA)
    (cell,) = search_cells(grid({"name": "unified_focal_asym"}, repeats=2), DATA)
    assert [s.hash for gamma in (0.3, 0.7) for s in cell.specs({"gamma": gamma})] == [s.hash for s in plain]
    assert cell.point(plain[-1]) == {"gamma": 0.7}


def test_the_learning_rate_is_chosen_too() -> None:
    rate = {"sampler": "tpe", "learning_rate": {"low": 0.01, "high": 0.3, "log": True}}
    (cell,) = search_cells(grid({"name": "unified_focal_asym"}, search=rate), DATA)
    (spec,) = cell.specs({"gamma": 0.25, "learning_rate": 0.03})
    assert (spec.training.learning_rate, spec.loss.gamma) == (0.03, 0.25)
    assert cell.point(spec) == {"gamma": 0.25, "learning_rate": 0.03}


def test_the_family_leaves_out_what_is_chosen_repeat_and_seed_and_nothing_else() -> None:
    def families(*losses: dict[str, Any], **more: Any) -> list[str]:
        return [cell.family for cell in search_cells(grid(*losses, **more), DATA)]

    base = families({"name": "unified_focal_asym"})
    assert families({"name": "unified_focal_asym", "gamma": PAPER}, seed=7, repeats=3, name="other") == base
    for changed in (
        families({"name": "unified_focal_sym"}),
        families({"name": "unified_focal_asym", "delta": 0.7}),
        families({"name": "unified_focal_asym"}, training={"epochs": 7}),
        families({"name": "unified_focal_asym"}, model={"depth": 2}),
        families({"name": "unified_focal_asym"}, share=False),
    ):
        assert changed != base


def test_what_a_drawn_number_stands_for() -> None:
    free = Domain("gamma", 0.0, 0.99)
    assert [free.fit(x) for x in (0.41702200470257, 0.9899, 0.0, 0.00012345)] == [0.417, 0.99, 0.0, 0.000123]
    listed = Domain("gamma", 0.1, 0.9, values=(0.1, 0.5, 0.9))
    assert [listed.fit(x) for x in (-0.1, 0.29, 0.31, 0.69, 0.71, 1.1)] == [0.1, 0.1, 0.5, 0.5, 0.9, 0.9]
    assert listed.bounds == pytest.approx((-0.1, 1.1))
    assert [domain_of(d.to_dict()) for d in (free, listed)] == [free, listed]


def test_startup_trials_are_few_and_every_default_is_recorded() -> None:
    search = grid({"name": "unified_focal_asym"}).search
    assert search is not None
    assert settings_of(search, 1).startup == 3
    assert settings_of(search, 3).startup == 5
    recorded = asdict(settings_of(search, 1))
    assert recorded["sampler"] == "tpe"
    assert {"settings", "trials", "startup", "seed", "pruner", "pruner_settings"} < set(recorded)
    other = search.model_copy(update={"seed": 1})
    assert settings_of(search, 1).hash != settings_of(other, 1).hash
    assert settings_of(search, 1).hash == settings_of(search.model_copy(update={"trials": 9}), 1).hash


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("tpee", "unknown sampler 'tpee', did you mean 'tpe'"),
        ("grid", "the whole grid"),
        ({"sampler": "tpe", "puner": "median"}, "unknown key 'search.puner', did you mean 'pruner'"),
        ({"pruner": "medan"}, "unknown pruner 'medan', did you mean 'median'"),
        ({"settings": {"n_ei_candidate": 3}}, "no setting 'n_ei_candidate', did you mean 'n_ei_candidates'"),
        ({"settings": {"seed": 3}}, "its seed is the search's own"),
        ({"pruner": "percentile"}, "percentile"),
        ({"pruner": "asha", "pruner_settings": {"reduction_factor": 1}}, "reduction"),
        ({"trials": 0}, "search.trials = 0 must be at least 1"),
        ({"learning_rate": {"low": 0.3, "high": 0.1}}, "low < high"),
        ({"learning_rate": {"low": 0.0, "high": 0.1}}, "must be greater than 0"),
        ({"learning_rate": {"low": 0.1, "hihg": 0.1}}, "did you mean 'high'"),
    ],
)
def test_refused_searches(search: Any, message: str) -> None:
    with pytest.raises(GridError) as refused:
        grid({"name": "unified_focal_asym"}, search=search)
    assert message in str(refused.value)


def test_a_sampler_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.search.samplers.find_spec", lambda name: None)
    with pytest.raises(GridError, match="sampler 'gp' needs the package torch: pip install torch"):
        grid({"name": "unified_focal_asym"}, search="gp")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "dice"}, "search has nothing to choose"),
        ({"name": "unified_focal_asym", "gamma": {"low": 0.5, "hi": 1}}, "unknown key 'hi', did you mean 'high'"),
        ({"name": "unified_focal_asym", "gamma": {"low": 0.5, "high": 0.4}}, "low < high"),
        ({"name": "unified_focal_asym", "gamma": {"low": 0.5, "high": 1.5}}, "gamma = 1.5"),
        ({"name": "unified_focal_asym", "gamma": [0.5, 0.995]}, "at most 0.99"),
        ({"name": "unified_focal_asym", "gamma": [0.5, 0.5]}, "lists a value twice"),
        ({"name": "unified_focal_asym", "gamma": [[0.5, 0.5], [0.1, 0.2]]}, "a search chooses numbers"),
        ({"name": "unified_focal_asym", "gama": [0.5, 0.6]}, "did you mean 'gamma'"),
    ],
)
def test_refused_domains(loss: dict[str, Any], message: str) -> None:
    with pytest.raises(GridError) as refused:
        expand(grid(loss), DATA)
    assert message in str(refused.value)


def test_the_same_study_twice_and_a_rule_on_gamma_are_refused() -> None:
    with pytest.raises(GridError, match="searches «unified_focal_asym» twice"):
        expand(grid({"name": "unified_focal_asym"}, {"name": "unified_focal_asym", "gamma": PAPER}), DATA)
    with pytest.raises(GridError, match="names γ, which is searched"):
        grid({"name": "unified_focal_asym"}, exclude=[{"gamma": 0.5}])


def test_a_range_needs_a_search() -> None:
    with pytest.raises(GridError, match="a range needs a search"):
        expand(Grid.model_validate(_table({"name": "unified_focal_asym", "gamma": {"low": 0, "high": 1}})), DATA)


def test_rules_limit_a_search() -> None:
    made = grid({"name": "unified_focal_asym"}, datasets=[{"name": "a"}, {"name": "b"}], exclude=[{"dataset": "a"}])
    assert [cell.template.data.dataset for cell in search_cells(made, DATA)] == ["b"]


def test_set_reaches_into_a_search_that_was_given_by_name(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text('name = "g"\nsearch = "random"\nextends = "demo"\nlosses = [{ name = "unified_focal_asym" }]\n')
    search = load_grid(str(file), ["search.trials=9", "search.settings={}"]).search
    assert search is not None
    assert (search.sampler, search.trials) == ("random", 9)


def test_the_schema_knows_the_search() -> None:
    schema = Grid.model_json_schema()
    assert {"type": "string"} in schema["properties"]["search"]["anyOf"]
    assert "pruner_settings" in schema["$defs"]["SearchTable"]["properties"]


def test_the_grids_of_the_page(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "adaptive.md").read_text(encoding="utf-8")
    made = []
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        read = load_grid(str(file))
        bare = {"nuclei": DataIdentity(("background", "nucleus"), 2)}
        made.append(([s.loss.name for s in expand(read, bare)], [c.names for c in search_cells(read, bare)]))
    assert made == [(["ce"], [("gamma",), ("gamma",)]), ([], [("delta", "gamma", "learning_rate")])]


def _table(*losses: dict[str, Any]) -> dict[str, Any]:
    return {"name": "g", "datasets": [{"name": "a"}], "losses": list(losses)}
