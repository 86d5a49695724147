"""The expansion of a grid: laws that hold for every grid, and the cells of small ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.errors import GridError
from sweeper.grids.expansion import DataIdentity, expand, swept_variants
from sweeper.grids.names import Naming
from sweeper.grids.schema import Grid
from trials.spec import TrialSpec
from workers import losses, networks
from workers.losses.registry import LOSSES

DATA = {
    "a": DataIdentity(("background", "x"), 2, "1" * 16, "2" * 16),
    "b": DataIdentity(("background", "x", "y"), 2),
    "c": DataIdentity(("background", "x"), 3),
}
GAMMAS = st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), min_size=1, max_size=4, unique=True)
PLAIN = ("ce", "dice", "tversky", "combo")


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Grids without repeated cells: any data sets, plain losses, unified ones over some γ, networks, repeats."""
    chosen = [{"name": name} for name in draw(st.lists(st.sampled_from("ab"), min_size=1, unique=True))]
    if draw(st.booleans()):
        chosen.append({"name": "c", "training": {"patch": [8, 8, 8]}})
    table: dict[str, Any] = {
        "name": "g",
        "datasets": chosen,
        "losses": [{"name": name} for name in draw(st.lists(st.sampled_from(PLAIN), min_size=1, unique=True))],
        "repeats": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 5)),
    }
    if draw(st.booleans()):
        table["losses"].append({"name": "unified_focal_asym", "gamma": draw(GAMMAS)})
    if draw(st.booleans()):
        table["models"] = [{"name": "unet"}, {"name": "attention_unet", "base_filters": draw(st.integers(1, 8))}]
    if draw(st.booleans()):
        table["training"] = {"epochs": draw(st.integers(1, 9)), "learning_rate": draw(st.sampled_from([0.1, 0.01]))}
    return table


def cells(table: dict[str, Any]) -> tuple[TrialSpec, ...]:
    return expand(Grid.model_validate(table), DATA)


def hashes(table: dict[str, Any]) -> list[str]:
    return [spec.hash for spec in cells(table)]


@given(tables())
@settings(max_examples=12, deadline=None)
def test_every_cell_once_in_an_order_that_is_always_the_same(table: dict[str, Any]) -> None:
    found = hashes(table)
    assert found == hashes(json.loads(json.dumps(table)))
    assert len(set(found)) == len(found)
    per_data_set = sum(len(loss.get("gamma", [0])) for loss in table["losses"])
    assert len(found) == len(table["datasets"]) * per_data_set * len(table.get("models", [0])) * table["repeats"]


@given(tables())
@settings(max_examples=12, deadline=None)
def test_a_spec_comes_back_from_its_values_with_its_hash(table: dict[str, Any]) -> None:
    for spec in cells(table):
        again = TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
        assert again == spec
        assert again.hash == spec.hash


@given(tables(), st.sampled_from(["focal", "log_cosh_dice", "hybrid_focal"]))
@settings(max_examples=12, deadline=None)
def test_a_loss_more_only_adds_cells(table: dict[str, Any], loss: str) -> None:
    grown = {**table, "losses": [*table["losses"], {"name": loss}]}
    before = set(hashes(table))
    assert before < set(hashes(grown))
    added = [spec for spec in cells(grown) if spec.hash not in before]
    assert {spec.loss.name for spec in added} == {loss}


@given(tables())
@settings(max_examples=12, deadline=None)
def test_repeats_more_and_data_sets_in_another_order_keep_the_cells(table: dict[str, Any]) -> None:
    found = hashes(table)
    assert set(found) < set(hashes({**table, "repeats": table["repeats"] + 1}))
    assert set(found) == set(hashes({**table, "datasets": table["datasets"][::-1]}))
    assert set(found) == set(hashes({**table, "losses": table["losses"][::-1]}))
    assert found == hashes({**table, "name": "other", "description": "words"})


@given(tables())
@settings(max_examples=20, deadline=None)
def test_a_grid_that_shares_nothing_has_cells_of_its_own(table: dict[str, Any]) -> None:
    alone = hashes({**table, "share": False})
    assert not set(alone) & set(hashes(table))
    assert not set(alone) & set(hashes({**table, "share": False, "name": "other"}))


RULES = st.fixed_dictionaries(
    {}, optional={"loss": st.sampled_from(PLAIN), "model": st.just("unet"), "gamma": st.sampled_from([0.1, 0.5])}
)


@pytest.mark.slow
@given(tables(), st.lists(RULES, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_include_and_exclude_part_the_grid(table: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    """What the rules include and what they exclude are all cells, and no cell is both."""
    listed = {loss["name"] for loss in table["losses"]}
    rules = [rule for rule in rules if rule.get("loss", PLAIN[0]) in listed or "loss" not in rule]
    if not rules:
        return
    every = hashes(table)

    def kept(key: str) -> list[str]:
        try:
            return hashes({**table, key: rules})
        except GridError:
            with pytest.raises(GridError, match="is empty"):
                hashes({**table, key: rules})
            return []

    included, excluded = kept("include"), kept("exclude")
    assert sorted(included + excluded) == sorted(every)
    assert included == [h for h in every if h in set(included)]  # the order is the grid's


@given(tables(), st.sampled_from(["include", "exclude"]), st.sampled_from("abc"), st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_data_set_of_which_the_rules_leave_nothing_is_not_needed(
    table: dict[str, Any], key: str, dataset: str, of_one_loss: bool
) -> None:
    listed = {one["name"] for one in table["datasets"]}
    if dataset not in listed:
        return
    rule = {"dataset": dataset} | ({"loss": table["losses"][0]["name"]} if of_one_loss else {})
    grid = Grid.model_validate({**table, key: [rule]})
    needed = {one.name for one in grid.used_datasets}
    if key == "include":
        assert needed == {dataset}
    else:
        assert needed == (listed if of_one_loss else listed - {dataset})
    if needed:
        found = expand(grid, {name: DATA[name] for name in needed}) if needed != listed else ()
        assert {spec.data.dataset for spec in found} <= needed


def test_a_data_set_that_no_loss_names_is_not_needed() -> None:
    table = {"name": "g", "datasets": [{"name": "a"}, {"name": "b"}], "losses": [{"name": "ce", "datasets": ["b"]}]}
    assert [one.name for one in Grid.model_validate(table).used_datasets] == ["b"]
    assert {spec.data.dataset for spec in cells(table)} == {"b"}


@given(tables(), st.sampled_from(PLAIN))
@settings(max_examples=12, deadline=None)
def test_excluding_a_loss_is_not_listing_it(table: dict[str, Any], loss: str) -> None:
    rest = [entry for entry in table["losses"] if entry["name"] != loss]
    if len(rest) == len(table["losses"]) or not rest:
        return
    assert hashes({**table, "exclude": [{"loss": loss}]}) == hashes({**table, "losses": rest})


def test_every_parameter_is_explicit_but_for_added_ones_at_their_default() -> None:
    for spec in cells({"name": "g", "datasets": [{"name": "a"}], "losses": [{"name": n} for n in losses.names()]}):
        every = losses.resolve_parameters(spec.loss.name)
        assert spec.loss.parameters == losses.spec_parameters(spec.loss.name, every)
        assert losses.resolve_parameters(spec.loss.name, spec.loss.parameters) == every


def test_settings_of_a_data_set_win_over_those_of_the_grid_and_a_listed_network_over_both() -> None:
    table = {
        "name": "g",
        "datasets": [{"name": "a", "training": {"epochs": 3}, "model": {"depth": 2}}, {"name": "b"}],
        "losses": [{"name": "ce"}],
        "models": [{"name": "unet"}, {"name": "unet", "depth": 1}],
        "model": {"depth": 3, "base_filters": 8},
        "training": {"epochs": 5, "batch_size": 4},
    }
    found = [(s.data.dataset, s.model.depth, s.model.base_filters, s.training.epochs) for s in cells(table)]
    assert found == [("a", 2, 8, 3), ("a", 1, 8, 3), ("b", 3, 8, 5), ("b", 1, 8, 5)]
    assert {s.training.batch_size for s in cells(table)} == {4}


def test_the_paper_s_networks_are_the_default_in_2d_and_3d() -> None:
    table = {
        "name": "g",
        "datasets": [{"name": "a"}, {"name": "c", "training": {"patch": [8, 8, 8]}}],
        "losses": [{"name": "ce"}],
    }
    assert [spec.model for spec in cells(table)] == [networks.default_model(2), networks.default_model(3)]


def test_seeds_count_from_the_grid_s_or_are_given() -> None:
    table = {"name": "g", "datasets": [{"name": "a"}], "losses": [{"name": "ce"}], "repeats": 3, "seed": 7}
    assert [(s.repeat, s.seed) for s in cells(table)] == [(0, 7), (1, 8), (2, 9)]
    assert [(s.repeat, s.seed) for s in cells({**table, "seeds": [4, 2, 9]})] == [(0, 4), (1, 2), (2, 9)]


def test_a_vector_per_class_is_one_value_and_must_fit_the_data_set() -> None:
    loss = {"name": "unified_focal_asym", "gamma": [[0.1, 0.2, 0.3], 0.5]}
    found = cells({"name": "g", "datasets": [{"name": "b"}], "losses": [loss]})
    assert [spec.loss.parameters["gamma"] for spec in found] == [(0.1, 0.2, 0.3), 0.5]
    with pytest.raises(GridError, match="3 entries"):
        cells({"name": "g", "datasets": [{"name": "a"}], "losses": [loss]})


def test_a_loss_that_xla_cannot_compile_is_refused_with_it() -> None:
    before = dict(LOSSES)
    losses.register(losses.LossDefinition("on_the_host", "workers.losses.boundary:boundary", xla=False))
    try:
        table = {"name": "g", "datasets": [{"name": "a"}], "losses": [{"name": "ce"}, {"name": "on_the_host"}]}
        assert len(cells(table)) == 2
        with pytest.raises(
            GridError, match=r"loss 'on_the_host' can't be compiled with XLA; set training\.xla = false"
        ):
            cells({**table, "training": {"xla": True}})
    finally:
        LOSSES.replace(before)


def test_volumes_need_a_patch() -> None:
    with pytest.raises(GridError, match=r"'c'.*training\.patch"):
        cells({"name": "g", "datasets": [{"name": "c"}], "losses": [{"name": "ce"}]})


def test_swept_variants_are_those_with_several_gammas() -> None:
    table = {
        "name": "g",
        "datasets": [{"name": "a"}],
        "losses": [{"name": "focal"}, {"name": "unified_focal_sym", "gamma": [0.1, 0.2], "delta": 0.7}],
    }
    assert swept_variants(cells(table), Naming()) == {("a", "unified_focal_sym (delta=0.7)")}


def test_all_folds_of_a_data_set_are_trials_of_their_own() -> None:
    table = {
        "name": "g",
        "datasets": [{"name": "a", "split": {"folds": 3}}, {"name": "b"}],
        "losses": [{"name": "ce"}],
        "repeats": 2,
    }
    found = cells(table)
    assert len({spec.hash for spec in found}) == len(found) == 2 * 3 + 2
    assert [Naming().label(spec) for spec in found[:4]] == [
        "a · ce · fold 0", "a · ce · fold 1", "a · ce · fold 2", "a · ce · repeat 1 · fold 0",
    ]  # fmt: skip
    assert {Naming().variant(spec) for spec in found} == {"ce"}


def test_a_single_fold_keeps_the_hash_that_it_always_had() -> None:
    table = {"name": "g", "datasets": [{"name": "a"}], "losses": [{"name": "ce"}]}
    one = {**table, "datasets": [{"name": "a", "split": {"folds": 3, "fold": 1}}]}
    assert hashes(one) == hashes(table)
    assert "fold" not in cells(one)[0].to_dict()["data"]


def test_each_repeat_and_fold_has_its_own_split() -> None:
    places = [(repeat, fold) for repeat in (0, 1) for fold in (0, 1)]
    data = {"a": replace(DATA["a"], splits={place: f"split {place}" for place in places})}
    table = {"name": "g", "datasets": [{"name": "a", "split": {"folds": 2}}], "losses": [{"name": "ce"}], "repeats": 2}
    found = expand(Grid.model_validate(table), data)
    assert [spec.data.split for spec in found] == [f"split {place}" for place in places]
