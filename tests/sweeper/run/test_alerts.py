"""Alerts: what the receiver gets, and that no receiver delays or fails a sweep."""

from __future__ import annotations

import json
import os
import subprocess
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
    before = time.time()
    Alerts(writing_to(tmp_path / "alert"), "demo", said.append).send(Event.FINISHED, {"finished": 3}, "why")
    delivered()
    alert = json.loads((tmp_path / "alert").read_text())
    assert alert.pop("host")
    assert before <= alert.pop("at") <= time.time()
    assert alert == {"sweep": "demo", "event": "finished", "counts": {"finished": 3}, "reason": "why"}
    assert said == []


@pytest.mark.slow
def test_a_web_address_gets_it_too_and_is_tried_again(receiver: Receiver) -> None:
    receiver.codes = [503, 429, 204]
    said: list[str] = []
    Alerts(receiver.address, "demo", said.append).send(Event.BROKEN, {}, "full disk")
    delivered()
    assert [(kind, body["event"]) for kind, body in receiver.bodies] == [("application/json", "broken")] * 3
    assert said == []


@pytest.mark.slow
def test_a_service_gets_words(receiver: Receiver) -> None:
    said: list[str] = []
    address = receiver.address.replace("http://", "ntfy://")
    Alerts(address, "demo", said.append).send(Event.BROKEN, {"finished": 2, "failed": 0}, "full disk")
    delivered()
    ((_, body),) = receiver.bodies
    assert body["title"] == "demo: broken"
    assert body["message"].splitlines()[:2] == ["2 finished", "full disk"]
    assert said == []


@pytest.mark.slow
def test_a_service_that_refuses_is_told_without_its_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    receiver.codes, said = [403], list[str]()
    Alerts(receiver.address.replace("http://", "ntfy://"), "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert said == ["the alert that demo is finished was not delivered: ntfy:// does not take it"]


@pytest.mark.parametrize(
    "address",
    [
        "slack://TABCDEFGH/BABCDEFGH/abcdefghijklmnopqrstuvwx/#general",
        "ntfy://topic",
        "mailto://me:secret@example.com",
        "workflow://host/abcdef/secret",
    ],
)
def test_addresses_of_services_are_taken(address: str) -> None:
    check_target(address)


def test_an_address_of_no_service_is_refused_without_its_secret() -> None:
    for address in ("nonsense://secret", "slack://"):
        with pytest.raises(SettingsError, match="none that apprise can use") as caught:
            check_target(address)
        assert "secret" not in str(caught.value)


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingsError, match="-m pip install apprise"):
        check_target("ntfy://topic")


def test_an_answer_that_no_repetition_changes_is_told_without_the_secret(receiver: Receiver) -> None:
    receiver.codes = [404]
    said: list[str] = []
    Alerts(receiver.address, "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert len(receiver.bodies) == 1
    assert said == ["the alert that demo is finished was not delivered: 127.0.0.1 answers 404"]


@pytest.mark.slow
def test_nobody_at_the_address_is_told(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    monkeypatch.setattr(alerts, "ATTEMPTS", 2)
    assert alerts.post("http://127.0.0.1:1/secret", b"{}") == "127.0.0.1: ConnectError"


def test_a_hanging_command_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "COMMAND_SECONDS", 1.0)
    script, started = tmp_path / "hang.sh", tmp_path / "pid"
    script.write_text(f"sleep 1000 & echo $! > {started}; wait")

    class Hanging(subprocess.Popen[bytes]):
        """Runs into its time limit once it has a child."""

        def communicate(self, body: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
            wait_for(lambda: started.exists() and started.read_text().strip())
            return super().communicate(body, timeout=0.01)

    monkeypatch.setattr(subprocess, "Popen", Hanging)
    said: list[str] = []
    Alerts(f"sh {script}", "demo", said.append).send(Event.FINISHED, {})
    delivered()
    assert "took more than 1 s and was killed" in said[0]
    pid = int(started.read_text())
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
    clock, progressed = [0.0], [100.0]
    target = tmp_path / "alert"
    watch = StallWatch(
        Alerts(writing_to(target), "demo", lambda line: None),
        60.0,
        lambda: progressed[0],
        lambda: {"running": 1},
        clock=lambda: clock[0],
    )

    def told_at(second: float) -> int:
        clock[0] = second
        watch.look()
        delivered()
        return target.read_text().count("stalled") if target.exists() else 0

    assert [told_at(second) for second in (100, 159, 160, 161, 1000)] == [0, 0, 1, 1, 1]
    alert = json.loads(target.read_text())
    assert (alert["event"], alert["reason"]) == ("stalled", "no epoch and no trial has ended for 60 s")
    assert alert["counts"] == {"running": 1}
    progressed[0] = 1000
    assert [told_at(second) for second in (1001, 1059, 1060, 1061)] == [1, 1, 2, 2]


def test_standing_still_is_looked_for_while_a_sweep_runs(tmp_path: Path) -> None:
    target = tmp_path / "alert"
    long_ago = time.monotonic() - 1000
    with StallWatch(Alerts(writing_to(target), "demo", lambda line: None), 0.1, lambda: long_ago, dict):
        wait_for(target.exists)
    delivered()
    assert json.loads(target.read_text())["event"] == "stalled"


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
