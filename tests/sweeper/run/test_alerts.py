"""Alerts: what the receiver gets, and that no receiver delays or fails a sweep."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeper.errors import SettingsError
from sweeper.run import alerts
from sweeper.run.alerts import Alerts, Event, StallWatch, alerting, check_target
from trials.states import SweepState


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def delivered() -> None:
    """Waits for the threads that deliver."""
    for thread in threading.enumerate():
        if thread.name == "alert":
            thread.join(60)


def writing_to(path: Path) -> str:
    """A command that keeps what it is given."""
    return f"tee -a {path}"


@dataclass
class Receiver:
    """A web server that answers with `codes`, the last one for ever."""

    codes: list[int] = field(default_factory=lambda: [200])
    bodies: list[Any] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.bodies.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(kept.codes.pop(0) if len(kept.codes) > 1 else kept.codes[0])
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.address = f"http://127.0.0.1:{server.server_port}/secret"
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_command_gets_the_alert_as_json(tmp_path: Path) -> None:
    said: list[str] = []
    Alerts(writing_to(tmp_path / "alert"), "demo", said.append).send(Event.FINISHED, {"finished": 3}, "why")
    delivered()
    alert = json.loads((tmp_path / "alert").read_text())
    assert alert.pop("host")
    assert abs(alert.pop("at") - time.time()) < 600
    assert alert == {"sweep": "demo", "event": "finished", "counts": {"finished": 3}, "reason": "why"}
    assert said == []


def test_a_web_address_gets_it_too_and_is_tried_again(receiver: Receiver) -> None:
    receiver.codes = [503, 429, 204]
    said: list[str] = []
    Alerts(receiver.address, "demo", said.append).send(Event.BROKEN, {}, "full disk")
    delivered()
    assert [(kind, body["event"]) for kind, body in receiver.bodies] == [("application/json", "broken")] * 3
    assert said == []


def test_an_answer_that_no_repetition_changes_is_told_without_the_secret(receiver: Receiver) -> None:
    receiver.codes = [404]
    said: list[str] = []
    Alerts(receiver.address, "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert len(receiver.bodies) == 1
    assert said == ["the alert that demo is finished was not delivered: 127.0.0.1 answers 404"]


def test_nobody_at_the_address_is_told(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    monkeypatch.setattr(alerts, "ATTEMPTS", 2)
    assert alerts.post("http://127.0.0.1:1/secret", b"{}") == "127.0.0.1: ConnectError"


def test_a_hanging_command_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "COMMAND_SECONDS", 1.0)
    script = tmp_path / "hang.sh"
    script.write_text(f"sleep 1000 & echo $! > {tmp_path / 'pid'}; wait")
    said: list[str] = []
    Alerts(f"sh {script}", "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert "took more than 1 s and was killed" in said[0]
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_failing_command_is_told() -> None:
    said: list[str] = []
    Alerts(f"{sys.executable} -c 'raise SystemExit(3)'", "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert said == ["the alert that demo is finished was not delivered: the command ended with exit code 3"]


@pytest.mark.parametrize(
    ("target", "message"),
    [("no-such-program x", "no-such-program"), ("'", "cannot be read"), ("https://", "names no host")],
)
def test_what_can_be_no_receiver_is_refused_before_the_sweep(target: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_target(target)


def test_standing_still_is_told_once_until_something_comes(tmp_path: Path) -> None:
    last = [time.monotonic() - 1000]
    target = tmp_path / "alert"

    def told() -> list[str]:
        return target.read_text().split("}{") if target.exists() else []

    watched = Alerts(writing_to(target), "demo", lambda line: None)
    with StallWatch(watched, 2.0, lambda: last[0], lambda: {"running": 1}):
        wait_for(lambda: len(told()) == 1)
        time.sleep(1.5)
        assert len(told()) == 1
        last[0] = time.monotonic()
        wait_for(lambda: len(told()) == 2)
    delivered()
    assert json.loads(told()[0] + "}")["reason"] == "no epoch and no trial has ended for 2 s"
    assert json.loads(told()[0] + "}")["event"] == "stalled"


@dataclass
class Sweep:
    name: str = "demo"


@dataclass
class Ended:
    """What `alerting` looks at of a coordinator."""

    state: SweepState
    reason: str = "five in a row"
    sweep: Sweep = field(default_factory=Sweep)
    progressed: float = field(default_factory=time.monotonic)

    def counts(self) -> dict[str, int]:
        return {"finished": 2}


@pytest.mark.parametrize(
    ("state", "event"),
    [(SweepState.FINISHED, "finished"), (SweepState.BROKEN, "broken"), (SweepState.STOPPED, None)],
)
def test_the_end_is_told_but_not_to_whoever_stopped_it(tmp_path: Path, state: SweepState, event: str | None) -> None:
    target = tmp_path / "alert"
    with alerting(Ended(state), writing_to(target), 3600, lambda line: None):  # type: ignore[arg-type]
        pass
    delivered()
    assert (json.loads(target.read_text())["event"] if target.exists() else None) == event


def test_an_error_that_ends_the_coordinator_is_told(tmp_path: Path) -> None:
    target = tmp_path / "alert"
    with (
        pytest.raises(RuntimeError),
        alerting(Ended(SweepState.RUNNING), writing_to(target), 3600, lambda line: None),  # type: ignore[arg-type]
    ):
        raise RuntimeError("the database is away")
    delivered()
    alert = json.loads(target.read_text())
    assert (alert["event"], alert["reason"]) == ("aborted", "the database is away")


def test_without_a_receiver_nothing_is_sent() -> None:
    Alerts("", "demo", lambda line: pytest.fail(line)).send(Event.FINISHED, {})
    assert not [t for t in threading.enumerate() if t.name == "alert"]
    assert os.environ.get("SWEEPER_NOTIFY") is None
