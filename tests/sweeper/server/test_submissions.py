"""Grids that come over the network: what is started for them, and what is refused before anything is written."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sweeper.grids.files import load_grid, parse_grid
from sweeper.server.starts import read_start
from sweeper.verbs.host import Start
from trials.places import PlaceError

API = "/api/v1"
OWN = """
name = "own"
extends = "demo"
losses = [{ name = "dice" }]
"""


def launch(served: Any, **asked: Any) -> Any:
    return served.full.post(f"{API}/sweeps", json=asked)


def test_a_shipped_grid_is_checked_and_started(served: Any) -> None:
    answer = launch(served, grid="demo", name="mine", set=["training.epochs=3"], limit=2, fresh=True)
    assert answer.status_code == 202
    assert answer.json()["sweep"] == "mine"
    served.starts.join(120)
    (start,) = served.recorded.starts
    assert (start.sweep, start.limit, start.extend) == ("mine", 2, False)
    wanted = load_grid("demo", ["training.epochs=3", 'name="mine"', "share=false"])
    assert parse_grid(start.grid, "mine").model_dump(exclude={"extends"}) == wanted.model_dump(exclude={"extends"})
    assert start.grid == wanted.to_dict()


def test_the_text_of_a_grid_may_extend_a_shipped_one(served: Any) -> None:
    assert launch(served, toml=OWN).status_code == 202
    served.starts.join(120)
    (start,) = served.recorded.starts
    assert [loss["name"] for loss in start.grid["losses"]] == ["dice"]
    assert start.grid["datasets"][0]["name"] == "nuclei"


def test_what_is_being_started_is_told_until_the_database_knows(served: Any) -> None:
    served.recorded.status, served.recorded.words = 2, "case 7 is damaged"
    launch(served, toml=OWN)
    served.starts.join(120)
    found = served.read.get(f"{API}/sweeps/own").json()
    assert (found["state"], found["reason"]) == ("failed", "could not be started: case 7 is damaged")
    assert [one["sweep"] for one in served.read.get(f"{API}/sweeps").json()] == ["own", "demo"]


def test_a_start_that_the_service_was_stopped_in_goes_on(served: Any, stored: Path) -> None:
    start = Start("cut", 1.0, {"name": "cut"})
    (stored / "starts").mkdir()
    (stored / "starts" / "cut.json").write_text(json.dumps(asdict(start)))
    assert served.read.get(f"{API}/sweeps/cut").json()["state"] == "starting"
    served.starts.repeat()
    served.starts.join(120)
    assert served.recorded.starts == [start]


@pytest.mark.parametrize("named", ["../../out", "another", ""])
def test_a_start_that_names_another_place_is_ignored(served: Any, stored: Path, named: str) -> None:
    (stored / "starts").mkdir()
    path = stored / "starts" / "cut.json"
    path.write_text(json.dumps(asdict(Start(named, 1.0, {"name": "cut"}))))
    served.starts.repeat()
    served.starts.join(120)
    assert served.recorded.starts == []
    assert served.starts.all() == []
    with pytest.raises(PlaceError, match="names the sweep"):
        read_start(path)


def test_a_rehearsal_says_how_it_differs(served: Any) -> None:
    answer = launch(served, grid="paper", rehearse=True)
    assert answer.status_code == 202
    assert "training.epochs: 1000 → 2" in answer.json()["differences"]
    served.starts.join(120)
    assert served.recorded.starts[0].grid["rehearsal"] is True


def test_plan_is_the_plan_of_the_command(served: Any, sweeper: Any) -> None:
    found = served.read.post(f"{API}/plan", json={"grid": "gamma"}).json()
    local = json.loads(sweeper("plan", "--grid", "gamma", "--json").out)
    assert found.pop("differences") == []
    momentary = {"free_bytes": 0, "predicted_finish": ""}
    assert {**found, **momentary} == {**local, **momentary}


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({}, 422, "one of the two"),
        ({"grid": "demo", "toml": OWN}, 422, "one of the two"),
        ({"grid": "dmo"}, 422, "did you mean 'demo'?"),
        ({"grid": "/etc/passwd"}, 422, "body.grid"),
        ({"grid": "demo.toml"}, 422, "unknown grid 'demo.toml'"),
        ({"toml": "name ="}, 422, "is not valid TOML"),
        ({"toml": "a = " + "9" * 5000}, 422, "is not valid TOML"),
        ({"toml": "a = " + "[" * 5000}, 422, "lie in each other"),
        ({"toml": 'name = "x"\nextends = "../../home/x.toml"'}, 422, "is no shipped grid"),
        ({"toml": 'name = "x"\nextends = "/etc/x.toml"'}, 422, "is no shipped grid"),
        ({"toml": 'name = "x"\nextends = ["demo"]'}, 422, "is no shipped grid"),
        ({"toml": OWN + "rehearsal = true"}, 422, "a rehearsal is asked for by"),
        ({"grid": "demo", "set": ["rehearsal=true"]}, 422, "a rehearsal is asked for by"),
        ({"grid": "demo", "set": ["extends=x"]}, 422, "--set"),
        ({"grid": "demo", "set": ["nothing"]}, 422, "expected key=value"),
        ({"grid": "demo", "set": ["datasets.nuclei.folder='/etc'"]}, 422, "leads out of the service's data folder"),
        ({"grid": "demo", "set": ["datasets.nuclei.folder='~/x'"]}, 422, "leads out of"),
        ({"grid": "demo", "set": ["datasets.nuclei.folder='a/../../x'"]}, 422, "leads out of"),
        ({"grid": "demo", "set": ["datasets.nuclei.options.images='../{id}.png'"]}, 422, "leads out of"),
        ({"grid": "demo", "set": ["datasets.nuclei.options.classes=['a', '/x']"]}, 422, "leads out of"),
        (
            {
                "grid": "demo",
                "set": ['name="other"', "repeats=1000", "losses.unified_focal_sym.gamma=[0.1,0.2,0.3,0.4,0.5,0.6]"],
            },
            422,
            "a service takes at most 10000",
        ),
        ({"grid": "demo", "set": ["losses.ce.name='nope'"]}, 422, "unknown loss 'nope'"),
        ({"grid": "demo", "name": "../x"}, 422, "body.name"),
        ({"grid": "demo", "plugin": "x.py"}, 422, "body.plugin"),
        ({"grid": "paper"}, 409, "5 of 5 data sets"),
        ({"grid": "demo", "set": ["training.epochs=9"]}, 409, "exists with another grid"),
    ],
)
def test_what_cannot_be_is_refused_at_once(served: Any, asked: dict[str, Any], status: int, words: str) -> None:
    answer = launch(served, **asked)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert served.recorded.starts == []
    assert served.starts.all() == []


def test_a_running_sweep_is_not_launched_again(served: Any) -> None:
    served.repository.acquire_lease("demo", "test", 60)
    answer = launch(served, grid="demo", set=["training.epochs=2"])
    assert answer.status_code == 409
    assert "is run by test" in answer.json()["detail"]


def test_servers_that_are_away_are_told(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    away = served.host.settings.model_copy(update={"ray_address": "127.0.0.1:1"})
    monkeypatch.setattr(served.host, "settings", away)
    answer = launch(served, toml=OWN)
    assert answer.status_code == 503
    assert "no Ray answers at RAY_ADDRESS=127.0.0.1:1" in answer.json()["detail"]
    assert served.recorded.starts == []


def test_a_start_that_cannot_be_written_down_is_507_and_nothing_is_started(served: Any) -> None:
    folder = served.starts.folder
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        answer = launch(served, toml=OWN)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    assert answer.status_code == 507
    assert "make room on its disk (sweeper gc)" in answer.json()["detail"]
    assert served.recorded.starts == []
    assert launch(served, toml=OWN).status_code == 202


def test_launching_needs_the_full_role_and_planning_does_not(served: Any) -> None:
    assert served.read.post(f"{API}/sweeps", json={"toml": OWN}).status_code == 403
    assert served.client(None).post(f"{API}/plan", json={"grid": "demo"}).status_code == 401
    assert served.read.post(f"{API}/plan", json={"grid": "demo"}).status_code == 200


def test_logs_and_the_report_of_a_sweep(served: Any) -> None:
    settings, read = served.host.settings, served.read
    for path in ("log", "report"):
        answer = read.get(f"{API}/sweeps/demo/{path}")
        assert answer.status_code == 404
        assert "of demo is on the service's machine" in answer.json()["detail"]
    settings.logs.mkdir()
    (settings.logs / "demo.coordinator.log").write_text("finished «ce»\n")
    assert read.get(f"{API}/sweeps/demo/log").text == "finished «ce»\n"
    trial = served.repository.trials("demo")[0].hash
    (settings.logs / f"{trial}.log").write_text("epoch 1\n")
    assert read.get(f"{API}/trials/{trial[:8]}/log").text == "epoch 1\n"
    (settings.reports / "demo").mkdir(parents=True)
    (settings.reports / "demo" / "report.html").write_text("<p>γ</p>")
    assert read.get(f"{API}/sweeps/demo/report").text == "<p>γ</p>"
