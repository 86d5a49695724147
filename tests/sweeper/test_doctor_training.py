"""Whether the device trains what we have: what is tried, and what a person reads of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper import doctor_training
from sweeper.cli.commands import app
from sweeper.doctor_training import SIZES, Row, cases, line, remarks, sample, try_cases
from sweeper.errors import SettingsError
from sweeper.run import devices
from workers import losses, networks
from workers.process.tried_steps import Tried, try_steps

OK = Tried("ok", "CPU", 2.5, 0.012, 812.0, 0.02)


def test_every_network_and_loss_is_tried_in_2d_and_3d() -> None:
    found = cases()
    for dimensions in (2, 3):
        specs = [case.spec for case in found if case.dimensions == dimensions]
        assert {spec.model.name for spec in specs} == set(networks.names())
        assert {spec.loss.name for spec in specs} == set(losses.names())
        assert {spec.training.precision for spec in specs} == {"float32", "mixed_float16", "mixed_bfloat16"}
        assert any(spec.training.xla for spec in specs)
    assert len({(case.name, case.dimensions) for case in found}) == len(found)


def test_a_sample_is_spread_over_all() -> None:
    found = cases()
    few = sample(found, 4)
    assert [found.index(case) for case in few] == [place * len(found) // 4 for place in range(4)]
    assert {case.dimensions for case in few} == set(SIZES)
    assert sample(found, 10_000) == found


def test_a_line_and_what_to_do_about_it() -> None:
    fine, starved, refused = (Row(case, OK) for case in cases()[:3])
    starved = replace(starved, tried=replace(OK, waited=0.4))
    text = "UnimplementedError: no deterministic form; training.deterministic = false trains it"
    refused = replace(refused, tried=Tried("refused", error=text))
    assert line(fine).split() == [*fine.case.name.split()[:-1], f"{fine.case.name.split()[-1]},", "2D", "ok",
                                  "2.5", "s", "12", "ms", "812", "MiB", "2%"]  # fmt: skip
    assert line(starved).endswith("40%  input-bound")
    assert line(refused).split()[-1] == "refused"
    said = list(remarks([fine, starved, refused]))
    assert said[0].endswith(text)
    assert "[resources] cpus" in said[1]
    assert list(remarks([fine])) == []


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "NVIDIA", tmp_path / "none")
    with pytest.raises(SettingsError, match="no NVIDIA GPU"):
        next(try_cases(cases(), "gpu"))


def test_its_options_need_train() -> None:
    said = CliRunner().invoke(app, ["doctor", "--sample", "3"])
    assert said.exit_code == 2
    assert "--train" in said.output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sample_trains_on_the_cpu() -> None:
    said = CliRunner().invoke(app, ["doctor", "--train", "--device", "cpu", "--sample", "2", "--json"])
    assert said.exit_code == 0, said.output
    rows = json.loads(said.stdout)
    assert [row["what"] for row in rows] == [case.name for case in sample(cases(), 2)]
    for row in rows:
        assert row["state"] == "ok"
        assert row["first_seconds"] > row["step_seconds"] > 0
        assert 0 <= row["waited"] <= 1
        assert row["memory_mib"] > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_cannot_be_trained_is_told_and_not_raised() -> None:
    case = doctor_training.cases()[0]
    unknown = replace(case.spec, loss=replace(case.spec.loss, name="nowhere"))
    tried = try_steps(unknown, (16, 16), 1, device="cpu")
    assert tried.state == "failed"
    assert "nowhere" in tried.error
