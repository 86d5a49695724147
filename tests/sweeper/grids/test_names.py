"""The name of a cell: short where nothing differs from the defaults, and never the same for two settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Trial
from sweeper.grids.expansion import DataIdentity, expand
from sweeper.grids.files import load_grid, parse_grid
from sweeper.grids.names import Naming, naming_of, number, study_name, variants
from trials.spec import EXTERNAL, DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from trials.states import TrialState
from workers.losses import LossDefinition, Parameter
from workers.losses.registry import LOSSES, register

NUCLEI = {"nuclei": DataIdentity(("background", "nucleus"), 2, "p" * 16, "s" * 16)}
DATA = DataSpec("nuclei", ("background", "nucleus"), 2, "p" * 16, "s" * 16)


def spec(loss: str = "dice", *, source: str = "", model: ModelSpec | None = None, **parameters: Any) -> TrialSpec:
    return TrialSpec(DATA, LossSpec(loss, parameters, source), model or ModelSpec())


def stored(position: int, one: TrialSpec) -> Trial:
    return Trial(
        one.hash, position, TrialState.FINISHED, one, "stored by another sweep", "nuclei", one.loss.name,
        None, one.repeat, one.seed, 1, None, None, 1, None, None, "s", 1, None, None, None, None, None, None, None,
        None, None, None,
    )  # fmt: skip


def names_in(*losses: dict[str, Any], **more: Any) -> list[str]:
    grid = parse_grid({"name": "g", "datasets": [{"name": "nuclei"}], "losses": list(losses), **more}, "a test")
    naming = naming_of(grid.to_dict())
    return [naming.label(one) for one in expand(grid, NUCLEI)]


def test_the_demo_s_losses_have_their_plain_names() -> None:
    grid = load_grid("demo")
    naming = naming_of(grid.to_dict())
    found = dict.fromkeys(naming.variant(one) for one in expand(grid, NUCLEI))
    assert list(found) == [loss.name for loss in grid.losses]


def test_what_is_not_the_default_is_named_in_the_order_of_the_definition_and_then_the_network() -> None:
    names = names_in(
        {"name": "tversky", "beta": 0.6, "alpha": [0.3, 0.4]},
        {"name": "unified_focal_sym", "delta": 0.7, "gamma": 0.5},
        models=[{"name": "unet"}, {"name": "attention_unet"}],
        repeats=2,
    )
    assert names[:4] == [
        "nuclei · tversky (beta=0.6)",
        "nuclei · tversky (beta=0.6) · repeat 1",
        "nuclei · tversky (alpha=0.4, beta=0.6)",
        "nuclei · tversky (alpha=0.4, beta=0.6) · repeat 1",
    ]
    assert names[-1] == "nuclei · unified_focal_sym (delta=0.7, attention_unet) · γ=0.5 · repeat 1"


def test_sizes_of_the_network_are_named_where_the_grid_varies_them() -> None:
    several = [{"base_filters": 8}, {"base_filters": 16}, {"base_filters": 16, "name": "attention_unet"}]
    assert names_in({"name": "dice"}, models=several, model={"depth": 2}) == [
        "nuclei · dice (base_filters=8)",
        "nuclei · dice (base_filters=16)",
        "nuclei · dice (attention_unet, base_filters=16)",
    ]
    assert names_in({"name": "dice"}, models=[{"base_filters": 8, "depth": 2}]) == ["nuclei · dice"]


def test_a_searched_learning_rate_is_named() -> None:
    rate = {"sampler": "tpe", "learning_rate": {"low": 0.01, "high": 0.3, "log": True}}
    naming = naming_of({"losses": [{"name": "unified_focal_asym"}], "search": rate})
    one = replace(spec("unified_focal_asym", gamma=0.5), training=TrainingSpec(learning_rate=0.012))
    assert naming.variant(one) == "unified_focal_asym (learning_rate=0.012)"
    assert naming_of({"search": {"sampler": "tpe"}}).variant(one) == "unified_focal_asym"


def test_a_gamma_for_each_class_is_a_setting() -> None:
    assert Naming().label(spec("unified_focal_sym", gamma=(0.1, 0.5))) == (
        "nuclei · unified_focal_sym (gamma=(0.1, 0.5))"
    )


@pytest.fixture
def plug_in() -> Iterator[LossDefinition]:
    one = LossDefinition(
        "mine", lambda truth, prediction, **_: 0.0, (Parameter("slope", 2.0), Parameter("edge", 1.0)), source="abc"
    )
    before = dict(LOSSES)
    register(one)
    yield one
    LOSSES.replace(before)


def test_a_plug_in_s_loss_has_the_same_name_where_its_file_is_not_loaded(plug_in: LossDefinition) -> None:
    one = spec("mine", source=plug_in.source, slope=2.0, edge=3.0)
    loaded = Naming().variant(one)
    LOSSES.replace({name: other for name, other in LOSSES.items() if name != "mine"})
    assert loaded == Naming().variant(TrialSpec.from_dict(one.to_dict())) == "mine (edge=3, slope=2)"


def test_masks_from_elsewhere_keep_their_name_until_two_share_it() -> None:
    masks = [
        replace(spec("nnunet", source=source, model=ModelSpec(EXTERNAL, 0, 0, "none")), training=TrainingSpec(epochs=0))
        for source in ("abc", "def")
    ]
    trials = [stored(0, spec()), *(stored(n, one) for n, one in enumerate(masks, 1))]
    assert variants(trials[:2]) == ["dice", "nnunet"]
    assert variants(trials) == ["dice", "nnunet (source=abc)", "nnunet (source=def)"]


def test_a_stored_trial_has_the_name_of_the_sweep_that_shows_it() -> None:
    naming = naming_of({"models": [{"base_filters": 8}, {"base_filters": 64}]})
    assert [t.label for t in naming.labelled([stored(0, spec())])] == ["nuclei · dice (base_filters=64)"]


def test_a_study_that_is_stored_under_its_former_name_keeps_it() -> None:
    one = spec("tversky", alpha=0.4, beta=0.7)
    assert study_name("s", one, Naming()) == "s/nuclei/tversky (alpha=0.4)"
    assert study_name("s", one, Naming(), {"s/nuclei/tversky(alpha=0.4)"}) == "s/nuclei/tversky(alpha=0.4)"
    several = {"s/nuclei/tversky(alpha=0.4) · unet", "s/nuclei/tversky(alpha=0.4)"}
    assert study_name("s", one, Naming(), several, models=2) == "s/nuclei/tversky(alpha=0.4) · unet"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_numbers_never_look_alike(a: float, b: float) -> None:
    assert float(Fraction(number(a))) == a
    assert (number(a) == number(b)) == (repr(a) == repr(b))


values = st.sampled_from([0.1, 0.3, 0.30000000000000004, 0.7, 1e-6])
models = st.builds(ModelSpec, st.sampled_from(["unet", "attention_unet", "mine"]), st.sampled_from([8, 64]))
losses = st.one_of(
    st.builds(LossSpec, st.just("tversky"), st.fixed_dictionaries({"alpha": values, "beta": values})),
    st.builds(LossSpec, st.just("unified_focal_sym"), st.fixed_dictionaries({"gamma": values, "delta": values})),
    st.builds(LossSpec, st.just("unified_focal_sym"), st.fixed_dictionaries({"gamma": st.tuples(values, values)})),
    st.builds(LossSpec, st.just("mine"), st.dictionaries(st.sampled_from("abc"), values), st.sampled_from(["x", "y"])),
)
trainings = st.builds(TrainingSpec, learning_rate=values, gradient_clip=st.none() | values)
specs = st.builds(TrialSpec, st.just(DATA), losses, models, trainings, repeat=st.integers(0, 1), seed=st.integers(0, 1))


@given(st.lists(specs, max_size=6))
def test_two_settings_are_never_averaged(found: list[TrialSpec]) -> None:
    """One variant holds one setting, whatever a sweep's trials are: γ, repeat and seed alone may differ."""
    names = variants([stored(n, one) for n, one in enumerate(found)])

    def setting(one: TrialSpec) -> str:
        parameters = {k: v for k, v in one.loss.parameters.items() if k != "gamma" or one.loss.gamma is None}
        return replace(one, loss=replace(one.loss, parameters=parameters), repeat=0, seed=0).hash

    for (a, first), (b, second) in itertools.combinations(zip(names, map(setting, found), strict=True), 2):
        assert (a == b) == (first == second)


def test_a_default_such_as_four_thirds_is_readable() -> None:
    assert [number(value) for value in (4 / 3, 0.3, 2.0, 0.1 + 0.2)] == ["4/3", "0.3", "2", "0.30000000000000004"]
