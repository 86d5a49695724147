"""The heat map: every trial is in exactly one cell, which has the state that asks for most attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Trial
from sweeper.views.heat_map import KIND_WORDS, MOST_COLUMNS, RANGES, STATE_ORDER, heat_map
from tests.live_sweeps import Planned, new_trial
from trials.results import Epoch
from trials.states import FailureKind, TrialState


def trial(position: int = 0, *, epochs: int = 0, val_dsc: float | None = None, **planned: object) -> Trial:
    one = Planned(**planned)  # type: ignore[arg-type]
    new = new_trial(one)
    failed = one.state is TrialState.FAILED
    return Trial(
        f"{position:016x}", position, one.state, new.spec, new.label, new.dataset, new.loss, new.gamma, new.repeat, 0,
        1, None, 60.0, 1, one.failure if failed else None, one.error if failed else None, "demo", epochs, None, None,
        val_dsc, None if val_dsc is None else val_dsc - 0.1, None, None, None, None, None, None,
    )  # fmt: skip


def test_rows_are_data_sets_and_losses_and_columns_gammas() -> None:
    shown = heat_map(
        [
            trial(0, loss="ce"),
            trial(1, loss="dice"),
            trial(2, loss="unified_focal_sym", gamma=0.5),
            trial(3, loss="unified_focal_sym", gamma=0.1),
            trial(4, dataset="drive", loss="unified_focal_sym", gamma=0.1),
        ],
        {},
    )
    assert [c.label for c in shown.columns] == ["no γ", "0.1", "0.5"]
    assert [(r.dataset, r.loss, sorted(r.cells)) for r in shown.rows] == [
        ("nuclei", "ce", [0]),
        ("nuclei", "dice", [0]),
        ("nuclei", "unified_focal_sym", [1, 2]),
        ("drive", "unified_focal_sym", [1]),
    ]
    assert shown.rows[2].cells[2].trials[0].gamma == 0.5


def test_without_unswept_losses_there_is_no_column_for_them() -> None:
    assert [c.label for c in heat_map([trial(gamma=0.25)], {}).columns] == ["0.25"]


def test_an_empty_sweep() -> None:
    shown = heat_map([], {})
    assert (shown.columns, shown.rows) == ((), ())


def test_networks_and_parameters_that_differ_are_rows_of_their_own() -> None:
    shown = heat_map(
        [
            trial(0, loss="ce"),
            trial(1, loss="ce", model="attention_unet"),
            trial(2, loss="tversky", parameters={"alpha": 0.3}),
            trial(3, loss="tversky", parameters={"alpha": 0.4}),
        ],
        {},
    )
    names = ["ce", "ce (attention_unet)", "tversky", "tversky (alpha=0.4)"]
    assert [r.loss for r in shown.rows] == names


def test_repeats_are_one_cell_with_their_mean() -> None:
    finished = {"state": TrialState.FINISHED}
    shown = heat_map([trial(0, val_dsc=0.8, **finished), trial(1, repeat=1, val_dsc=0.6, **finished)], {})
    (row,) = shown.rows
    (cell,) = row.cells.values()
    assert cell.dsc == pytest.approx(0.7)
    assert cell.test_dsc == pytest.approx(0.6)
    assert cell.counts == {TrialState.FINISHED: 2}


def test_a_running_cell_has_epoch_and_live_dsc() -> None:
    running = [trial(0, epochs=12, state=TrialState.RUNNING), trial(1, repeat=1, epochs=3, state=TrialState.RUNNING)]
    newest = {running[0].hash: Epoch(12, 0.1, 0.1, 0.5, 0.1, 19, 1.0)}
    (cell,) = heat_map(running, newest).rows[0].cells.values()
    assert (cell.state, cell.epoch, cell.epochs, cell.live, cell.dsc) == (TrialState.RUNNING, 12, 100, 0.5, None)


def test_a_failed_cell_has_its_reason() -> None:
    failed = trial(state=TrialState.FAILED, failure=FailureKind.DISK_FULL, error="no space")
    (cell,) = heat_map([failed], {}).rows[0].cells.values()
    assert (cell.state, cell.failure, cell.error) == (TrialState.FAILED, FailureKind.DISK_FULL, "no space")


def test_an_earlier_failure_of_a_trial_that_runs_again_is_not_shown() -> None:
    again = replace(trial(state=TrialState.RUNNING), failure=FailureKind.LOST, error="lost once")
    (cell,) = heat_map([again], {}).rows[0].cells.values()
    assert cell.failure is None


def test_a_nan_counts_for_nothing() -> None:
    finished = trial(state=TrialState.FINISHED, val_dsc=float("nan"))
    assert heat_map([finished], {}).rows[0].cells[0].dsc is None


def test_many_gammas_become_ranges() -> None:
    trials = [trial(n, gamma=n / 1000) for n in range(MOST_COLUMNS + 1)] + [trial(999, loss="ce")]
    shown = heat_map(trials, {})
    assert len(shown.columns) == RANGES + 1
    assert shown.columns[0].label == "no γ"
    assert shown.columns[1].label == "0.00–0.01"
    by_gamma = {t.gamma: column for row in shown.rows for column, cell in row.cells.items() for t in cell.trials}
    assert by_gamma[None] == 0
    assert by_gamma[0.0] == 1
    assert by_gamma[MOST_COLUMNS / 1000] == RANGES


STATES = st.sampled_from(list(TrialState))
GAMMAS = st.none() | st.floats(0, 1)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["ce", "dice"]), GAMMAS, STATES), max_size=150))
def test_every_trial_is_in_one_cell_and_the_cell_has_its_worst_state(
    cells: list[tuple[str, str, float | None, TrialState]],
) -> None:
    trials = [trial(n, dataset=d, loss=loss, gamma=g, state=s) for n, (d, loss, g, s) in enumerate(cells)]
    shown = heat_map(trials, {})
    inside = [t.hash for row in shown.rows for cell in row.cells.values() for t in cell.trials]
    assert sorted(inside) == sorted(t.hash for t in trials)
    for row in shown.rows:
        for column, cell in row.cells.items():
            assert {(t.dataset, t.loss) for t in cell.trials} == {(row.dataset, row.loss.partition(" (")[0])}
            assert cell.state is min((t.state for t in cell.trials), key=STATE_ORDER.index)
            low, high = shown.columns[column].low, shown.columns[column].high
            for t in cell.trials:
                if t.gamma is None or low is None:
                    assert t.gamma is low is None
                elif high is None:
                    assert t.gamma == low
                else:
                    assert low - 1e-9 <= t.gamma <= high + 1e-9


def test_every_failure_has_a_short_word() -> None:
    assert set(KIND_WORDS) == set(FailureKind)
    assert max(map(len, KIND_WORDS.values())) <= 4
    assert len(set(KIND_WORDS.values())) == len(FailureKind)
