"""What the page says of a sweep, from rows in a real database."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from sqlalchemy import update

from dashboards.board import cells, content, parts
from dashboards.board.curves import curve_figure, epoch_figure, epochs_in_words, in_words
from dashboards.board.source import Snapshot, Source
from storage.models import AttemptRow, EpochRow
from storage.records import SignificanceTest
from storage.repository import Repository
from tests.live_sweeps import Planned, bring, store
from trials.states import FailureKind, SweepState, TrialState


def look(source: Source, name: str = "demo") -> Snapshot:
    return source.snapshot(name, source.pulse(name))


def test_a_local_store_of_mlflow_is_opened_by_its_command_and_a_server_by_a_link(source: Source) -> None:
    shown = look(source)
    run = dataclasses.replace(shown, sweep=dataclasses.replace(shown.sweep, mlflow_run="abc"))
    assert "sweeper mlflow ui demo" in str(parts.summary(run, ""))
    linked = str(parts.summary(run, "http://mlflow:5000"))
    assert "http://mlflow:5000/#/runs/abc" in linked
    assert "sweeper mlflow ui" not in linked


def test_the_grid_has_every_state_in_signs_and_words(source: Source) -> None:
    shown = content.grid(look(source))
    assert shown["columns"] == ["no γ", "0.1", "0.3", "0.5", "0.7", "0.9"]
    cells = {
        (*shown["rows"][r], shown["columns"][c]): (state, text, shade, extra)
        for r, c, state, text, shade, extra in shown["cells"]
    }
    asym = "unified_focal_asym"
    assert cells["nuclei", "ce", "no γ"] == ("finished", "0.761", 6, "")
    assert cells["nuclei", "dice", "no γ"] == ("failed", "✗ nan", -1, "diverged (the loss became NaN)")
    assert cells["nuclei", "focal", "no γ"] == ("failed", "✗ lost", -1, "lost")
    assert cells["nuclei", asym, "0.1"] == ("finished", "0.720", 0, "")
    assert cells["nuclei", asym, "0.5"] == ("running", "▸12 0.80", -1, "epoch 12 of 100, validation DSC 0.800")
    assert cells["nuclei", asym, "0.7"] == ("running", "▸", -1, "")
    assert cells["nuclei", asym, "0.9"] == ("queued", "·", -1, "")
    assert cells["drive", "ce", "no γ"] == ("finished", "0.750", 6, "2 finished; mean validation DSC 0.750")
    assert cells["drive", "dice", "no γ"][:2] == ("queued", "0.650 ·")
    assert cells["drive", "focal", "no γ"][:2] == ("stopped", "stopped")
    assert cells["drive", asym, "0.1"][:2] == ("pruned", "pruned")
    assert len(cells) == len(shown["cells"]) == 13
    json.dumps(shown, allow_nan=False)


def test_facts_predict_the_end_and_name_the_coordinator(source: Source, repository: Repository) -> None:
    found = dict(content.facts(look(source)))
    assert found["Trials"] == "3 queued, 2 running, 6 finished, 2 failed, 1 pruned, 1 stopped"
    assert found["Finish"].startswith("in about ")
    assert found["Coordinator"] == "test-host:1:0"
    assert found["Throughput"].endswith("trials an hour")
    repository.add_request("demo", "scale", {"concurrency": 2})
    assert dict(content.facts(look(source)))["Requested"] == "scale; not done yet"


def test_a_sweep_that_nobody_runs_says_how_to_go_on(source: Source, repository: Repository) -> None:
    lease = repository.lease("demo")
    assert lease is not None
    repository.release_lease(lease)
    found = look(source)
    assert dict(content.facts(found))["Finish"] == "nobody is running it; resume it with: sweeper resume demo"
    assert content.headline(found) == "not running; 6 of 15 trials finished"


def test_a_finished_sweep(source: Source, repository: Repository) -> None:
    lease = store(repository, [Planned(loss="combo", state=TrialState.FINISHED)], "done")
    repository.set_sweep_state(lease, SweepState.FINISHED)
    repository.release_lease(lease)
    found = dict(content.facts(look(source, "done")))
    assert "Finish" not in found
    assert found["Ended"].endswith("UTC")


def test_what_must_not_be_overlooked(source: Source, repository: Repository) -> None:
    assert content.banners(look(source)) == []
    store(repository, [Planned(loss="combo")], "tiny", rehearsal=True)
    (banner,) = content.banners(look(source, "tiny"))
    assert banner.startswith("REHEARSAL")


def test_failures_and_places_with_their_mlflow_runs(source: Source, repository: Repository) -> None:
    lease = repository.lease("demo")
    assert lease is not None
    failed = Planned(loss="focal", state=TrialState.FAILED)
    repository.set_mlflow_run(lease, "abc", trial=failed.spec.hash)
    found = content.failures(look(source), "https://name:secret@mlflow.example/base/")
    assert [(f.kind, f.error, f.run) for f in found] == [
        ("diverged (the loss became NaN)", "the loss became NaN in epoch 3", ""),
        ("lost", "worker killed by signal 9", "https://mlflow.example/base/#/runs/abc?workflowType=machine_learning"),
    ]
    places = content.running_trials(look(source), "")
    assert {p.wait for p in places} == {"–"}
    assert [(p.host, p.pid, p.device, p.epoch, p.dsc) for p in places] == [
        ("gpu-box", "4711", "GPU 0", "12 of 100", "0.800"),
        ("gpu-box", "4711", "GPU 0", "0 of 100", "–"),
    ]


def test_a_trial_that_went_quiet_is_called_slow(source: Source, repository: Repository) -> None:
    earlier = update(AttemptRow).values(started_at=AttemptRow.started_at - 7200)
    repository.database.write(lambda connection: connection.execute(earlier))
    first, second = content.running_trials(look(source), "")
    assert re.fullmatch(r"last epoch .*h.* ago, slow", first.last)
    assert re.fullmatch(r"began .*h.* ago, slow", second.last)
    assert first.last in str(parts.workers(look(source), ""))


def test_a_trial_that_waits_for_its_input_says_so_and_what_to_do(source: Source, repository: Repository) -> None:
    waited = update(EpochRow).values(waited=EpochRow.seconds / 4)
    repository.database.write(lambda connection: connection.execute(waited))
    first, second = content.running_trials(look(source), "")
    assert (first.wait, second.wait) == ("25%, input-bound", "–")
    shown = str(parts.workers(look(source), ""))
    assert first.wait in shown
    assert "[resources] cpus" in shown


def test_a_long_error_is_its_first_line(source: Source) -> None:
    assert content.first_line("\n one \n two") == "one "
    assert len(content.first_line("x" * 1000)) == 300


def test_curves_grow_as_trials_finish(source: Source, repository: Repository) -> None:
    before = look(source)
    figure = curve_figure(before.means, "nuclei")
    assert figure is not None
    lines = {trace["name"]: trace for trace in figure["data"]}
    assert lines["unified_focal_asym"]["x"] == [0.1, 0.3]
    assert lines["unified_focal_asym"]["y"] == pytest.approx([0.72, 0.76])
    assert lines["ce"]["line"]["dash"] == "dash"
    lease = repository.lease("demo")
    assert lease is not None
    repository.retry(lease, [])
    bring(repository, lease, Planned(loss="unified_focal_asym", gamma=0.9, state=TrialState.FINISHED, dsc=0.5))
    after = look(source)
    assert after.curves != before.curves
    grown = curve_figure(after.means, "nuclei")
    assert grown is not None
    assert next(t for t in grown["data"] if t["name"] == "unified_focal_asym")["x"] == [0.1, 0.3, 0.9]
    assert "unified_focal_asym 0.500 to 0.760 over 3 γ" in in_words(after.means, "nuclei")


def test_no_curve_before_a_trial_has_finished(source: Source, repository: Repository) -> None:
    store(repository, [Planned(loss="combo", state=TrialState.FAILED, failure=FailureKind.BUG)], "young")
    assert curve_figure(look(source, "young").means, "nuclei") is None


def stored_test(name: str, p: float | None, first: str = "ce", second: str = "dice") -> SignificanceTest:
    return SignificanceTest("nuclei", "cell", "dsc", name, first, second, 12, p, p, -0.5, 0.1, 0.0, 0.2, "hash")


def test_stored_tests_stand_side_by_side_also_an_added_one(source: Source, repository: Repository) -> None:
    tests = [stored_test(name, p) for name, p in (("rank_sum", 0.2), ("signed_rank", 0.04), ("mine", None))]
    other = stored_test("signed_rank", 0.0001, second="focal")
    iou = dataclasses.replace(other, metric="iou")
    repository.replace_significance("demo", [*tests, other, iou])
    (table,) = content.pairs(source.significance("demo"))
    assert table.place == "nuclei, cell"
    assert table.head[2:] == (
        "images only, rank-sum p", "Holm", "effect", "images only, signed-rank p", "Holm", "effect",
        "images only, mine p", "Holm", "effect",
    )  # fmt: skip
    assert table.rows == (
        ("ce", "focal", "–", "–", "–", "< 0.001", "< 0.001", "−0.50", "–", "–", "–"),
        ("ce", "dice", "0.200", "0.200", "−0.50", "0.040", "0.040", "−0.50", "–", "–", "−0.50"),
    )
    assert table.left_out == 0
    assert content.pairs([]) == []


def test_differences_in_new_trainings_come_first_and_have_no_p_where_a_loss_has_one_run() -> None:
    tests = [
        stored_test("signed_rank", 0.001),
        stored_test("signed_rank", 0.9, second="focal"),
        dataclasses.replace(stored_test("new_trainings", None), effect=None, median_difference=-0.02),
        dataclasses.replace(stored_test("new_trainings", 0.03, second="focal"), effect=None, median_difference=0.1),
        stored_test("equivalence_0.01", None, "a γ = 0.1", "a γ = 0.5"),
    ]
    (table,) = content.pairs(tests)
    assert table.head[2:5] == ("new trainings: difference", "p", "Holm")
    assert [row[:5] for row in table.rows] == [
        ("ce", "dice", "−0.020", "–", "–"),
        ("ce", "focal", "+0.100", "0.030", "0.030"),
    ]


def test_a_running_cell_is_compared_with_each_other_loss_at_its_best_gamma(
    source: Source, repository: Repository
) -> None:
    lease = repository.lease("demo")
    assert lease is not None
    repository.retry(lease, [])
    asym = "unified_focal_asym"
    found = look(source)
    groups = cells.against(found, "nuclei", asym, "0.5")
    assert [(group.own, [name for name, _ in group.parts]) for group in groups] == [
        (True, [f"{asym} · γ=0.5"]),
        (False, ["ce", f"{asym} · γ=0.3"]),
    ]
    lines = cells.histories(groups, source.epochs([h for group in groups for _, own in group.parts for h in own]))
    mine, ce, other = lines
    assert (mine.own, mine.epochs[-1], ce.own) == (True, 12, False)
    figure = epoch_figure(lines, ["ce", asym])
    assert figure is not None
    assert [trace["line"]["width"] for trace in figure["data"]] == [3, 1.2, 1.2]
    assert epochs_in_words(lines) == (
        f"Validation DSC after each epoch: {asym} · γ=0.5 0.800 after epoch 12; "
        f"ce {ce.dsc[-1]:.3f} then; {asym} · γ=0.3 {other.dsc[-1]:.3f} then."
    )
    assert cells.against(found, "drive", "focal", "no such")[0].parts == []


def test_lines_of_other_losses_are_means_over_the_runs_that_have_come_so_far(source: Source) -> None:
    groups = cells.against(look(source), "drive", "dice", "no γ")
    ((name, hashes),) = groups[1].parts
    assert (name, len(hashes)) == ("ce", 2)
    first, second = (source.epochs([h])[h] for h in hashes)
    (line,) = [line for line in cells.histories(groups, {hashes[0]: first, hashes[1]: second[:1]}) if not line.own]
    assert list(line.dsc) == pytest.approx([(first[0].val_dsc + second[0].val_dsc) / 2, first[1].val_dsc])


def test_a_cell_that_has_no_epoch_yet_has_no_figure(source: Source) -> None:
    groups = cells.against(look(source), "nuclei", "unified_focal_asym", "0.9")
    assert epoch_figure(cells.histories(groups, {}), []) is None


def test_means_have_their_interval_over_runs_where_there_are_several(source: Source) -> None:
    found = look(source)
    # Of 0.8 and 0.7: t(0.975, 1) · 0.0707 / √2
    assert "validation DSC 0.750 ± 0.635, test DSC 0.740 ± 0.635" in content.over_runs(found, "drive", "ce", "no γ")
    assert content.over_runs(found, "nuclei", "ce", "no γ") == ""
    assert content.over_runs(found, "nuclei", "nothing", "no γ") == ""
    figure = curve_figure(found.means, "drive")
    assert figure is not None
    bars = {trace["name"]: trace.get("error_y") for trace in figure["data"]}
    assert bars["ce"]["array"] == pytest.approx([0.635, 0.635], abs=1e-3)
    assert bars["dice"] is None
