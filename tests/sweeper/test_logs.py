"""Log lines as JSON: of the service, of a coordinator without a terminal, and of what goes wrong."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sweeper import logs
from sweeper.run.progress import display


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_coordinator_says_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    with logs.about(sweep="demo"), display(logs.log_console("sweeper.run.coordinator"), 1) as observer:
        observer.changed([], {})
        observer.say("finished «ce» [red]γ[/red]: test DSC 0.9")
    logging.getLogger("x").warning("after %d", 2)
    first, second, third = lines(capsys.readouterr().err)
    assert first["message"] == "0/0 done, 0 running, 0 failed, about 0 s left"
    assert {**second, "time": ""} == {
        "time": "",
        "level": "INFO",
        "logger": "sweeper.run.coordinator",
        "message": "finished «ce» [red]γ[/red]: test DSC 0.9",
        "sweep": "demo",
    }
    assert (third["level"], third["message"], "sweep" in third) == ("WARNING", "after 2", False)


def test_several_lines_and_parts_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    stream = logs.LogStream(logging.getLogger("x"))
    for part in ("one", " line\ntwo\n\n", "thr", "ee\n"):
        stream.write(part)
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["one line", "two", "three"]


def test_an_error_carries_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    (line,) = lines(capsys.readouterr().err)
    assert "ValueError: wrong" in line["exc_info"]


def test_a_command_that_fails_says_so_as_json(sweeper: Any, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_LOG_FORMAT", "json")
    answer = sweeper("resume", "demmo")
    assert answer.status == 2
    (line,) = lines(answer.err)
    assert (line["level"], "did you mean 'demo'?" in line["message"]) == ("ERROR", True)


def test_what_is_asked_for_stays_text(sweeper: Any, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sweeper("status", "demo").out
    monkeypatch.setenv("SWEEPER_LOG_FORMAT", "json")
    assert sweeper("status", "demo").out == plain


def test_another_format_is_refused(sweeper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_LOG_FORMAT", "xml")
    assert "SWEEPER_LOG_FORMAT=xml cannot be used" in sweeper("doctor").err
