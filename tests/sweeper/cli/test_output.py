"""What the commands print where nothing is wrong: for a person on 80 columns without colour, and for a program."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from storage.database import open_database
from storage.repository import Repository
from sweeper.cli.commands import app
from sweeper.grids.files import load_grid
from sweeper.settings import load_settings
from tests.storage.storage_samples import let_lease_run_out
from tests.sweeper.finished import finish
from workers.datasets import names

ROOT: Any = typer.main.get_command(app)
TOP = list(ROOT.commands)
COMMANDS = [*TOP, *(f"{name} {verb}" for name in TOP for verb in getattr(ROOT.commands[name], "commands", ()))]
ESCAPE = "\x1b"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_on_a_screen_and_shows_an_example(sweeper: Any, command: str) -> None:
    answer = sweeper(*command.split(), "--help")
    assert answer.status == 0
    lines = answer.out.rstrip().splitlines()
    assert len(lines) <= (24 if command else 14 + len(TOP))  # the first page needs a line for each command
    assert max(map(len, lines)) <= 80
    assert "..." not in answer.out.partition("\n\n")[2]  # no sentence is cut; below the usage
    assert f"Example: sweeper {command}".rstrip() in " ".join(answer.out.split())


def test_the_first_page_lists_every_command(sweeper: Any) -> None:
    listed = sweeper("--help").out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == TOP


def test_no_words_show_help(sweeper: Any) -> None:
    assert sweeper().out.startswith(sweeper("--help").out)
    assert sweeper("data").out == sweeper("data", "--help").out


def test_version(sweeper: Any) -> None:
    assert sweeper("--version").out.split()[0] == "sweeper"
    assert sweeper("--version").out.split()[1][0].isdigit()


def test_plan_as_json_is_an_object_of_trials(sweeper: Any, home: Path) -> None:
    answer = sweeper("plan", "--grid", "paper", "--json")
    plan = json.loads(answer.out)
    assert answer.err == ""
    assert len(plan["trials"]) == 88
    assert len({trial["hash"] for trial in plan["trials"]}) == 88
    assert {trial["state"] for trial in plan["trials"]} == {"new"}
    assert plan["missing_data"] == ["cvc_clinicdb", "drive", "bus2017", "brats20", "kits19"]
    first = plan["trials"][0]
    assert (first["dataset"], first["loss"], first["gamma"]) == ("cvc_clinicdb", "ce", None)
    assert first["spec"]["training"]["epochs"] == 1000
    assert not home.exists()


def test_plan_for_a_person(sweeper: Any, home: Path) -> None:
    answer = sweeper("plan", "--grid", "paper")
    lines = answer.out.splitlines()
    assert ESCAPE not in answer.out
    assert max(map(len, lines[:89])) <= 80
    assert sum("unified_focal" in line for line in lines) == 58
    assert any(line.startswith("grid paper: 88 trials, 0 finished, 88 to run") for line in lines)
    assert any(line.startswith("time: ") and line.endswith(" at once") for line in lines)
    assert any(line.startswith("finish: about 2") and line.endswith(", if started now") for line in lines)
    assert any(line.startswith("how sure: a first guess") for line in lines)
    assert any(line.startswith("disk: ") and "without the data that are missing; " in line for line in lines)
    assert any(line.startswith("missing data sets: cvc_clinicdb, drive, bus2017, brats20, kits19") for line in lines)
    assert not home.exists()


def test_plan_for_a_device_that_is_not_here(sweeper: Any, home: Path) -> None:
    words = ("plan", "--grid", "paper", "--device", "a100")
    lines = sweeper(*words).out.splitlines()
    assert max(map(len, lines[:89])) <= 80
    (first,) = (line for line in lines if "cvc_clinicdb focal " in line)
    assert re.search(r" new +\d+ min \(\d+ to \d+ min\)$", first)
    for devices in ("1 device", "8 devices", "64 devices"):
        assert any(re.match(rf"  {devices}: .+ \(.+ to .+\); no schedule ends before \d", line) for line in lines)
    assert "how sure: 90% intervals; corrected once trials finish on such a device" in lines
    assert not any(line.startswith("time: ") for line in lines)
    plan = json.loads(sweeper(*words, "--json").out)
    rows = list(csv.DictReader(io.StringIO(sweeper(*words, "--csv").out)))
    assert len(plan["trials"]) == len(plan["on_paper"]["trials"]) == len(rows) == 88
    assert float(rows[-1]["device_seconds_high"]) == plan["on_paper"]["trials"][-1]["high"]
    assert "on_paper" not in json.loads(sweeper("plan", "--grid", "paper", "--json").out)
    assert not home.exists()


def test_plan_says_what_is_shared_and_how_wrong_its_costs_are(sweeper: Any, home: Path) -> None:
    finish(load_settings(), load_grid("demo", ['name="first"']), 6)
    lines = sweeper("plan").out.splitlines()
    assert "grid demo: 18 trials, 6 finished (6 of them by first), 12 to run" in lines
    assert any(re.match(r"how sure: learned from finished trials; .* is \d+% off on average", line) for line in lines)


def test_plan_of_trials_that_fit_nowhere(sweeper: Any) -> None:
    out = sweeper("plan", "--set", "resources.cpus=4000").out
    assert "no trial fits on this machine (" in out
    assert "lower [resources]" in out


def test_plan_tells_networks_repeats_and_variants_apart(sweeper: Any) -> None:
    answer = sweeper(
        "plan",
        *("--set", 'models=[{name="unet"}, {name="attention_unet"}]'),
        *("--set", "repeats=2"),
        *("--set", 'losses=[{name="tversky", alpha=[0.3, 0.4]}]'),
    )
    assert "repeat" in answer.out.splitlines()[0]
    for name in ("tversky", "tversky (alpha=0.4)", "tversky (attention_unet)", "tversky (alpha=0.4, attention_unet)"):
        assert len(re.findall(rf"nuclei +{re.escape(name)} +[01] ", answer.out)) == 2
    assert "8 trials" in answer.out


def test_plan_counts_every_fold(sweeper: Any) -> None:
    words = ("--set", "datasets.nuclei.split.folds=3", "--set", "repeats=1", "--set", 'losses=[{name="ce"}]')
    out = sweeper("plan", *words).out
    assert "fold" in out.splitlines()[0]
    assert [line.split()[3] for line in out.splitlines()[1:4]] == ["0", "1", "2"]
    assert "grid demo: 3 trials" in out
    trials = json.loads(sweeper("plan", *words, "--json").out)["trials"]
    assert [(trial["fold"], trial["label"]) for trial in trials[1:]] == [
        (1, "nuclei · ce · fold 1"), (2, "nuclei · ce · fold 2"),
    ]  # fmt: skip


def test_dry_run_is_the_plan(sweeper: Any, home: Path) -> None:
    run, plan = sweeper("launch", "--grid", "demo", "--dry-run").out, sweeper("plan", "--grid", "demo").out
    assert re.sub("finish: .*", "", run) == re.sub("finish: .*", "", plan)
    assert not home.exists()


def test_dry_run_of_a_rehearsal_says_what_differs(sweeper: Any, home: Path) -> None:
    answer = sweeper("launch", "--grid", "paper", "--rehearse", "--dry-run")
    assert answer.status == 0
    assert answer.out.startswith("REHEARSAL of paper")
    for line in (
        "files: real → synthetic",
        "training.epochs: 1000 → 2",
        "model.base_filters: 64 → 4 (cvc_clinicdb, drive, bus2017)",
        "training.patch: 80×160×160 → 16×16×16 (kits19)",
    ):
        assert f"  {line}\n" in answer.out
    assert "grid paper-rehearsal: 88 trials" in answer.out
    assert "missing" not in answer.out
    assert not home.exists()


def test_json_of_a_rehearsal_is_json_alone(sweeper: Any) -> None:
    plan = json.loads(sweeper("plan", "--grid", "paper", "--rehearse", "--json").out)
    assert plan["grid"] == "paper-rehearsal"
    assert plan["rehearsal"] is True
    assert {trial["dataset"] for trial in plan["trials"]} == {"cvc_clinicdb", "drive", "bus2017", "brats20", "kits19"}


def test_status_as_json_has_every_trial(sweeper: Any, stored: Path) -> None:
    answer = sweeper("status", "demo", "--json")
    status = json.loads(answer.out)
    assert answer.err == ""
    assert status["sweep"] == "demo"
    assert status["counts"] == {"queued": 15, "running": 0, "finished": 1, "failed": 2, "pruned": 0, "stopped": 0}
    assert len(status["trials"]) == 18
    assert [t["state"] for t in status["trials"][:4]] == ["finished", "failed", "failed", "queued"]
    assert [t["failure"] for t in status["trials"][:4]] == [None, "diverged", "lost", None]
    assert status["trials"][0]["test_dsc"] == 0.75


def test_status_for_a_person(sweeper: Any, stored: Path) -> None:
    answer = sweeper("status", "--trials")
    lines = answer.out.splitlines()
    assert ESCAPE not in answer.out
    assert max(map(len, lines)) <= 80
    assert "15 queued, 1 finished, 2 failed" in lines[0]
    assert "nobody is running it; resume it with: sweeper resume demo" in lines
    assert "1 lost their worker each time; see `sweeper show HASH`" in lines
    assert "then: sweeper retry demo --failed" in lines
    assert "1 diverged (loss became NaN): a result of that loss, not retried" in lines
    assert "data set: nuclei" in lines
    assert sum("unified_focal_" in line and "queued" in line for line in lines) == 4 + 12  # for each loss, and trial
    assert any("0.750 0.750" in line for line in lines)
    assert any("failed: diverged" in line for line in lines)
    brief = sweeper("status").out.splitlines()
    assert sum("unified_focal_" in line for line in brief) == 4
    assert [line.split()[-2:] for line in brief if "failed:" in line] == [["failed:", "diverged"], ["failed:", "lost"]]
    assert "every trial: sweeper status demo --trials" in brief


@pytest.mark.parametrize(
    ("words", "rows", "row"),
    [
        (["status"], 6, {"variant": "ce", "runs": "1", "test_dsc": "0.75", "counts.failed": "2", "half_width": ""}),
        (["status", "--trials"], 18, {"state": "finished", "test_dsc": "0.75"}),
        (["list"], 1, {"sweep": "demo", "counts.queued": "15"}),
        (["plan"], 18, {"dataset": "nuclei", "loss": "ce"}),
        (["grids"], 7, {"name": "adaptive"}),
        (["losses", "list"], 34, {"name": "ce"}),
        (["data", "list"], len(names()), {"name": names()[0]}),
    ],
)
def test_every_table_is_there_as_csv_and_as_json(
    sweeper: Any, stored: Path, words: list[str], rows: int, row: dict[str, str]
) -> None:
    answer = sweeper(*words, "--csv")
    assert (answer.status, answer.err) == (0, "")
    table = list(csv.DictReader(io.StringIO(answer.out)))
    assert len(table) == rows
    assert row.items() <= table[0].items()
    assert json.loads(sweeper(*words, "--json").out)
    both = sweeper(*words, "--json", "--csv")
    assert both.status == 2
    assert "exclude each other" in both.err


def test_show_has_everything_and_no_markup(sweeper: Any, stored: Path) -> None:
    trials = json.loads(sweeper("status", "--json").out)["trials"]
    shown = sweeper("show", trials[2]["hash"][:10]).out
    assert "lost: killed by [red] signal 9" in shown
    assert "last output of attempt 1:\nlast words" in shown
    assert "host-of-test" in shown
    assert "training.learning_rate" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "tversky" not in sweeper("show", trials[0]["hash"]).out


def test_without_a_command_the_next_step_is_said(sweeper: Any, stored: Path) -> None:
    answer = sweeper()
    assert answer.status == 0
    assert answer.out.splitlines()[-1] == "Next: demo is unfinished; resume it: sweeper resume demo"


def test_logs(sweeper: Any, stored: Path) -> None:
    trial = json.loads(sweeper("status", "--json").out)["trials"][0]["hash"]
    assert sweeper("logs", trial).status == 2
    (stored / "logs").mkdir()
    (stored / "logs" / f"{trial}.log").write_bytes(b"one [bold]\ntwo \xff\n")
    assert sweeper("logs", trial[:8]).out == "one [bold]\ntwo \ufffd\n"
    assert sweeper("logs", trial[:8], "--tail", "1").out == "two \ufffd\n"
    assert sweeper("logs", trial[:8], "--tail", "9", "--follow").out == "one [bold]\ntwo \ufffd\n", "it has ended"
    assert sweeper("logs", trial[:8], "--tail", "-1").status == 2


def test_stop_of_a_sweep_that_nobody_runs(sweeper: Any, stored: Path) -> None:
    answer = sweeper("stop", "demo")
    assert answer.status == 0
    assert "sweeper resume demo" in answer.out


def test_stop_of_a_sweep_whose_coordinator_died_asks_nobody(sweeper: Any, stored: Path) -> None:
    with open_database(f"sqlite:///{stored / 'sweeper.db'}") as database:
        repository = Repository(database)
        lease = repository.acquire_lease("demo", "dead", 60)
        let_lease_run_out(database, lease.sweep_id)
        assert "demo is not running" in sweeper("stop", "demo").out
        assert repository.requests("demo") == []


def test_grids_and_their_schema(sweeper: Any) -> None:
    lines = sweeper("grids").out.splitlines()
    found = [line.split()[0] for line in lines if line[0] != " "]
    assert found == ["adaptive", "demo", "gamma", "odyssey", "paper", "public", "small"]
    assert max(map(len, lines)) <= 80
    schema = json.loads(sweeper("grids", "--schema").out)
    assert {"datasets", "losses", "training", "extends"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_data_list_says_where_each_is_or_how_to_get_it(sweeper: Any, tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    out = sweeper("data", "list", "--data", str(tmp_path)).out
    own = {"image-folder", "nifti-folder"}
    assert out.count("page  ") == out.count("licence  ") == len(set(names()) - own)
    assert f"here     {tmp_path / 'drive'}" in out
    assert f"missing  expected in {tmp_path / 'kits19'}" in out
    assert out.count("files  ") == len(names())


@pytest.mark.slow
def test_data_check(sweeper: Any) -> None:
    answer = sweeper("data", "check", "nuclei", "--grid", "demo")
    assert answer.status == 0
    assert "cases: 60" in answer.out


@pytest.mark.slow
def test_data_synth_prepare_and_show(sweeper: Any, home: Path, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert sweeper("data", "synth", "drive", "--cases", "4", "--to", f"{data}/drive").status == 0
    prepared = sweeper("data", "prepare", "drive", "--data", data)
    assert f"4 cases in {home / 'prepared' / 'drive-'}" in prepared.out
    assert sweeper("data", "show", "drive", "--data", data, "--to", "sheet.png").out == "sheet.png\n"
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")
    plan = json.loads(sweeper("plan", "--grid", "gamma", "--data", data, "--json").out)
    assert {t["dataset"]: t["resolved"] for t in plan["trials"]} == {
        "cvc_clinicdb": False,
        "drive": True,
        "bus2017": False,
    }


def test_help_needs_no_heavy_package() -> None:
    program = (
        "import sys; import sweeper.cli.commands; "
        "heavy = ('tensorflow', 'keras', 'ray', 'mlflow', 'optuna', 'sqlalchemy', 'numpy', 'pandas'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["plan"], ["plan", "--json"], ["plan", "--grid", "γ"]])
def test_a_terminal_that_cannot_show_gamma(home: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweeper", *words],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    written = (done.stdout + done.stderr).decode("latin-1")
    assert "Traceback" not in written
    assert done.returncode == (2 if "γ" in words else 0)
    if "--json" in words:
        assert json.loads(done.stdout)["trials"][1]["label"] == "nuclei · ce · repeat 1"
