import json

import pytest

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from benchmarks.table import BEGIN, END, PAGE, markdown, read_results, written


def test_runs_are_interleaved_there_and_back():
    seen = []

    def run(name):
        seen.append(name)
        return float(len(seen))

    values = harness.interleaved({"a": lambda: run("a"), "b": lambda: run("b")}, rounds=3)
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    row = harness.faster("sweep", "loop", [1.0, 2.0, 10.0], [4.0, 6.0, 10.0], goal=3.0)
    assert (row.value, row.low, row.high, row.goal, row.holds) == (3.0, 1.0, 4.0, ("≥", 3.0), True)
    row = harness.costs("sweep", "loop", [4.0, 6.0, 10.0], [1.0, 2.0, 10.0], goal=2.5)
    assert (row.value, row.goal, row.holds) == (3.0, ("≤", 2.5), False)
    assert harness.amount("memory", [3, 1, 2], "MiB").holds is None


def test_a_goal_needs_a_known_sign():
    with pytest.raises(ValueError, match="sign"):
        _ = Row("a", "b", 1, 1, 1, goal=("<", 2)).holds


def test_the_result_is_written_with_the_machine_and_becomes_the_table(tmp_path, capsys, monkeypatch):
    def measure(setting):
        assert setting is Setting.NORMAL
        return Measured(
            [Row("what | ever", "plain", 3.14159, 3, 4, goal=("≥", 3.0), detail="1 s / 3 s")], {"each": [1]}
        )

    assert harness.main("some", "Some.", measure, ["--results", str(tmp_path)]) == 0
    assert "3.14 × (3 to 4), goal ≥ 3 holds: what | ever against plain [1 s / 3 s]" in capsys.readouterr().out
    result = json.loads((tmp_path / "some.json").read_text())
    assert result["setting"] == "normal"
    assert result["raw"] == {"each": [1]}
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["packages"]["numpy"]

    monkeypatch.setattr("benchmarks.table.BENCHMARKS", ("absent", "some"))
    table = markdown(read_results(tmp_path))
    assert "| what \\| ever (1 s / 3 s) | plain | **3.14 ×** (3 to 4) | ≥ 3: holds |" in table
    assert result["machine"]["processor"] in table


def test_a_quick_run_judges_no_goal(tmp_path, capsys):
    def measure(setting):
        return Measured([Row("what", "plain", 0.5, 0.4, 0.6, goal=("≥", 3.0))])

    assert harness.main("some", "Some.", measure, ["--setting", "quick", "--results", str(tmp_path)]) == 0
    assert "goal" not in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "some.json").read_text())["rows"]
    assert (row["value"], row["goal"], row["holds"]) == (0.5, None, None)


def test_the_page_has_the_markers_between_which_the_table_is_written():
    page = PAGE.read_text(encoding="utf-8")
    anew = written(page, "TABLE")
    assert anew.count("TABLE") == 1
    assert anew.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert anew.partition(END)[2] == page.partition(END)[2]
    with pytest.raises(ValueError, match="markers"):
        written("no markers", "TABLE")
