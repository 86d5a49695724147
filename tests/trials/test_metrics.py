"""The names of metrics with parameters, and what is wrong with a choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials import metrics
from trials.errors import InputError, UnknownNameError
from trials.metrics import choose, find


def test_a_metric_at_its_defaults_has_its_plain_name():
    assert choose("nsd").name == choose("nsd", {"tolerance": 1}).name == "nsd"
    assert choose("nsd", {"tolerance": 2.0}).name == "nsd(tolerance=2)"
    assert choose("nsd", {"tolerance": 2.0}).heading == "NSD (tolerance 2)"
    assert choose("ece", {"bins": 10}).name == "ece(bins=10)"


@given(st.floats(0, 1e6))
def test_a_stored_name_gives_the_metric_with_its_parameters_back(tolerance):
    chosen = choose("nsd", {"tolerance": tolerance})
    assert find(chosen.name) == chosen
    assert dict(chosen.settings).get("tolerance", 1.0) == tolerance


@pytest.mark.parametrize("stored", ["nds", "nsd(tolerance=x)", "nsd(tol=2)", "nsd(tolerance=-1)", "nsd(", "nsd()"])
def test_a_stored_name_that_nothing_is_registered_for_is_known_as_such(stored):
    assert find(stored) is None


@pytest.mark.parametrize(
    ("name", "parameters", "error", "words"),
    [
        ("nds", {}, UnknownNameError, "unknown metric 'nds', did you mean 'nsd'\\?; known: "),
        (
            "nsd",
            {"tolerence": 2},
            InputError,
            "no parameter 'tolerence', did you mean 'tolerance'\\?; it has tol",
        ),
        ("cldice", {"width": 2}, InputError, "metric 'cldice' has no parameter 'width'; it has none"),
        ("nsd", {"tolerance": -1}, InputError, "metric 'nsd': tolerance = -1; expected a number of at least 0"),
        ("nsd", {"tolerance": "2"}, InputError, "tolerance = '2'; expected a number"),
        ("nsd", {"tolerance": True}, InputError, "tolerance = True; expected a number"),
        ("ece", {"bins": 2.5}, InputError, r"bins = 2.5; expected a whole number in \[1, 1000\]"),
        ("lesion_f1", {"iou": 1.5}, InputError, r"iou = 1.5; expected a number in \[0, 1\]"),
        ("size", {}, InputError, "'size' describes the image"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_in_one_line(name, parameters, error, words):
    with pytest.raises(error, match=words) as raised:
        choose(name, parameters)
    assert "\n" not in str(raised.value)


def test_every_metric_says_what_it_is():
    for metric in metrics.METRICS.values():
        assert metric.doc.endswith("."), metric.name
        assert metric.load().__doc__, metric.name
        for parameter in metric.parameters:
            assert parameter.check(metric.name, parameter.default) == parameter.default


def test_stored_metrics_are_in_the_order_of_the_registry():
    stored = ["mine", "nsd(tolerance=2)", "asd", "dsc", "nsd", "dsc"]
    assert metrics.in_order(stored) == ["dsc", "asd", "nsd(tolerance=2)", "nsd", "mine"]
