"""A trial's log stays small, keeps its start and its end, and can be followed over a cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.process import trial_log
from workers.process.trial_log import TrialLog, place_of_tail, read_part


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "LOG_BYTES", 4000)
    monkeypatch.setattr(trial_log, "HEAD_BYTES", 1000)
    monkeypatch.setattr(trial_log, "TAIL_BYTES", 1500)


def chat(log: TrialLog, numbers: range) -> None:
    for number in numbers:
        log.write(f"line {number}\n")


def test_a_short_log_is_what_was_printed(tmp_path: Path) -> None:
    for _ in range(2):  # two attempts
        log = TrialLog(tmp_path / "new" / "t.log")
        log.write("épochs\n")
        log.close()
    assert (tmp_path / "new" / "t.log").read_text() == "épochs\népochs\n"


def test_a_long_log_keeps_its_start_and_its_end_and_says_what_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log = TrialLog(path)
    chat(log, range(5000))
    log.close()
    content = path.read_bytes()
    assert len(content) <= 4000
    lines = content.decode().splitlines()
    assert (lines[0], lines[-1]) == ("line 0", "line 4999")
    (cut,) = [one for one in lines if not one.startswith("line ")]
    numbers = [int(one.split()[1]) for one in lines if one != cut]
    assert numbers == sorted(numbers)
    printed = sum(len(f"line {number}\n") for number in range(5000))
    assert int(cut.split()[1]) == printed - len(content) + len(cut) + 1, "the line counts exactly what is missing"
    again = TrialLog(path)  # the next attempt
    chat(again, range(5000, 9000))
    again.close()
    assert len(path.read_bytes()) <= 4000
    assert path.read_text().count("were cut here") == 1


def test_lines_without_an_end_are_cut_too(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "t.log")
    for _ in range(100):
        log.write("x" * 500)
    log.close()
    assert (tmp_path / "t.log").stat().st_size <= 4000


def test_a_reader_follows_over_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log = TrialLog(path)
    chat(log, range(10))
    part = read_part(path, place_of_tail(path, 2))
    assert part.text == "line 8\nline 9\n"
    seen = part.text
    for start in range(10, 3000, 50):
        chat(log, range(start, start + 50))
        part = read_part(path, part.after)
        seen += part.text
    assert seen == "".join(f"line {number}\n" for number in range(8, 3010)), "nothing twice and nothing left out"
    chat(log, range(3010, 6000))
    late = read_part(path, part.after).text.splitlines()
    assert "were cut here" in late[0]
    assert late[-1] == "line 5999"
    log.close()


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.write_text("one\ntw")
    part = read_part(path)
    assert part.text == "one\n"
    path.write_text("one\ntwo\nthr")
    part = read_part(path, part.after)
    assert part.text == "two\n"
    assert read_part(path, part.after).text == ""
    assert read_part(path, part.after, ended=True).text == "thr"
    assert read_part(path, 10_000).text == ""
