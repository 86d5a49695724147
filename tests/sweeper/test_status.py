"""How a status line tells the trials of one sweep apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from storage.records import Trial, TrialState
from sweeper.status import loss_names


def trial(number: int, loss: str, model: str = "unet", gamma: float | None = None, **parameters: Any) -> Trial:
    spec = {"loss": {"name": loss, "parameters": parameters}, "model": {"name": model}}
    return Trial(
        f"{number:016x}", number, TrialState.QUEUED, spec, loss, "nuclei", loss, gamma, 0, 0, 1, None, None, 0, None,
        None, None, 0, None, None, None, None, None, None, None, None, None, None,
    )  # fmt: skip


def names(*trials: Trial) -> list[str]:
    return list(loss_names(trials).values())


def test_a_loss_alone_is_its_name() -> None:
    assert names(trial(0, "ce"), trial(1, "tversky", alpha=0.3, beta=0.7)) == ["ce", "tversky"]


def test_parameters_that_differ_are_shown() -> None:
    found = names(trial(0, "tversky", alpha=0.3, beta=0.7), trial(1, "tversky", alpha=0.4, beta=0.7))
    assert found == ["tversky(alpha=0.3)", "tversky(alpha=0.4)"]


def test_a_swept_gamma_has_its_own_column() -> None:
    swept = [
        trial(n, "unified_focal_sym", gamma=g, delta=d, absent="keep")
        for n, (g, d) in enumerate([(0.1, 0.6), (0.2, 0.7)])
    ]
    for one in swept:
        one.spec["loss"]["parameters"]["gamma"] = one.gamma
    assert names(*swept) == ["unified_focal_sym(delta=0.6)", "unified_focal_sym(delta=0.7)"]
    assert names(*(replace(one, gamma=None) for one in swept))[0] == "unified_focal_sym(delta=0.6, gamma=0.1)"


def test_words_and_vectors() -> None:
    found = names(trial(0, "x", gamma_=[0.1, 0.2], absent="keep"), trial(1, "x", gamma_=0.5, absent="skip"))
    assert found == ["x(gamma_=[0.1, 0.2], absent=keep)", "x(gamma_=0.5, absent=skip)"]


def test_networks_are_shown_when_there_are_several() -> None:
    assert names(trial(0, "ce"), trial(1, "ce", "attention_unet")) == ["ce · unet", "ce · attention_unet"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8, unique=True)
)
def test_no_two_trials_have_one_name(cells: list[tuple[str, float, float]]) -> None:
    trials = [trial(n, loss, alpha=round(a, 3), beta=round(b, 3)) for n, (loss, a, b) in enumerate(cells)]
    distinct = {(t.loss, *t.spec["loss"]["parameters"].values()) for t in trials}
    assert len(set(loss_names(trials).values())) == len(distinct)
