"""The commands against a service over a real socket: they print what they print on the service's machine."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import ServerError
from sweeper.server.client import Client, find_token
from sweeper.verbs import list_sweeps, stop
from sweeper.verbs.requests import StopRequest
from tests.sweeper.server.listening import listening


@pytest.fixture
def address(served: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service of `served` on a free port, with SWEEPER_TOKEN set to its token of the full role."""
    monkeypatch.setenv("SWEEPER_TOKEN", served.full.headers["Authorization"].removeprefix("Bearer "))
    with listening(served.full.app) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("status", "demo"),
        ("status", "--json"),
        ("list",),
        ("list", "--json"),
        ("results", "demo"),
        ("power", "demo"),
        ("stop", "demo"),
        ("plan", "--grid", "gamma"),
        ("plan", "--grid", "paper", "--rehearse", "--json"),
    ],
)
def test_a_service_prints_what_this_machine_prints(sweeper: Any, address: str, words: tuple[str, ...]) -> None:
    there, here = sweeper("--server", address, *words), sweeper(*words)
    assert (there.status, there.err) == (0, "")
    # Free space and the time of day differ between two looks at them.
    if "--json" in words or "results" in words:
        momentary = {"free_bytes": 0, "predicted_finish": ""}
        objects = [json.loads(one.out) for one in (there, here)]
        shown = [{**one, **momentary} if isinstance(one, dict) else one for one in objects]
    else:
        differing = re.compile("free|finish: ")
        shown = [[line for line in one.out.splitlines() if not differing.search(line)] for one in (there, here)]
    assert shown[0] == shown[1]


def test_show_and_logs(sweeper: Any, address: str, served: Any, stored: Path) -> None:
    trial = served.repository.trials("demo")[2].hash
    assert sweeper("--server", address, "show", trial[:8]).out == sweeper("show", trial[:8]).out
    assert "last words" in sweeper("--server", address, "show", trial[:8]).out
    (stored / "logs").mkdir()
    (stored / "logs" / f"{trial}.log").write_text("epoch 1 γ\n")
    assert sweeper("--server", address, "logs", trial[:8]).out == "epoch 1 γ\n"
    assert sweeper("--server", address, "logs", trial[:8], "--tail", "1", "--follow").out == "epoch 1 γ\n"


def test_results_as_a_file(sweeper: Any, address: str, tmp_path: Path) -> None:
    for server in (("--server", address), ()):
        for table in ("scores", "trials"):
            file = tmp_path / f"{table}-{len(server)}"
            sweeper(*server, "results", "demo", "--format", "parquet", "--table", table, "--to", str(file))
    for table in ("scores", "trials"):
        assert (tmp_path / f"{table}-0").read_bytes() == (tmp_path / f"{table}-2").read_bytes()


def test_verbs_that_change_something(sweeper: Any, address: str, served: Any) -> None:
    answer = sweeper("--server", address, "resume", "demo", "--limit", "3", "--hours", "2")
    assert answer.out == "demo is being started; see: sweeper status demo\n"
    served.starts.join(120)
    assert [start.limit for start in served.recorded.starts] == [3]
    (start,) = served.recorded.starts
    assert start.until == pytest.approx(start.at + 2 * 3600, abs=60)
    assert "2 trials of demo are queued for a retry" in sweeper("--server", address, "retry", "--failed").out
    served.starts.join(120)
    served.repository.acquire_lease("demo", "test", 60)
    assert "at most 2 at once" in sweeper("--server", address, "scale", "demo", "2").out
    assert [r.verb for r in served.repository.requests("demo")] == ["scale"]


def test_a_grid_file_is_sent_as_its_text(sweeper: Any, address: str, served: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('name = "own"\nextends = "demo"\nlosses = [{ name = "dice" }]\n')
    answer = sweeper("--server", address, "launch", "--grid", str(file), "--set", "training.epochs=2")
    assert answer.out == "own is being started; see: sweeper status own\n"
    served.starts.join(120)
    assert served.recorded.starts[0].grid["training"]["epochs"] == 2
    dry = sweeper("--server", address, "launch", "--grid", str(file), "--dry-run")
    assert "grid own: 3 trials" in dry.out
    rehearsed = sweeper("--server", address, "launch", "--grid", str(file), "--rehearse")
    assert rehearsed.out.startswith("REHEARSAL of own")
    served.starts.join(120)
    assert len(served.recorded.starts) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data", "list"), "`sweeper data` works on this machine alone"),
        (("doctor",), "`sweeper doctor` works on this machine alone"),
        (("serve",), "`sweeper serve` works on this machine alone"),
        (("attach", "demo"), "`sweeper attach` works on this machine alone"),
        (("status", "--watch"), "--watch needs the database itself"),
        (("launch", "--data", "."), "--data: a service uses its own data folder"),
        (("launch", "--plugin", "x.py"), "--plugin: a service accepts no code"),
        (("launch", "--notify", "rm -rf /"), "--notify: a service uses its own SWEEPER_NOTIFY"),
        (("retry", "demo", "--failed", "--notify", "x"), "--notify: a service uses its own"),
        (("launch", "--grid", "absent.toml"), "grid file absent.toml cannot be read"),
        (("report", "demo", "--format", "pdf"), "a service gives the report as html"),
        (("report", "demo"), "no report of demo is on the service's machine"),
        (("status", "demmo"), "did you mean 'demo'?"),
        (("scale", "demo", "2"), "nobody is running demo"),
        (("launch", "--grid", "paper"), "5 of 5 data sets"),
    ],
)
def test_what_cannot_be_is_one_message(sweeper: Any, address: str, words: tuple[str, ...], message: str) -> None:
    answer = sweeper("--server", address, *words)
    assert (answer.status, answer.out) == (2, "")
    assert message in " ".join(answer.err.split())


def test_the_address_and_the_token_can_come_from_the_environment(
    sweeper: Any, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SWEEPER_SERVER", address)
    token = tmp_path / "token"
    token.write_text("f" * 32 + "\n")
    token.chmod(0o600)
    monkeypatch.delenv("SWEEPER_TOKEN")
    assert "a token is needed" in sweeper("list").err
    monkeypatch.setenv("SWEEPER_TOKEN_FILE", str(token))
    assert "demo" in sweeper("list").out
    token.chmod(0o644)
    assert "chmod 600" in sweeper("list").err


@pytest.mark.slow
def test_a_service_that_is_not_there(sweeper: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    answer = sweeper("--server", address, "list")
    assert answer.status == 2
    assert f"no service answers at {address}" in " ".join(answer.err.split())
    assert "is not the address of a service" in sweeper("--server", "127.0.0.1:8080", "list").err


def test_a_read_is_tried_again_when_the_connection_breaks_and_a_write_is_not() -> None:
    """A server that hangs up on the first two connections, and answers the third."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []

    def answer() -> None:
        for number in range(4):
            connection, _ = listener.accept()
            requests.append(connection.recv(65536).split(b" ")[0])
            if number == 2:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
            connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "x" * 32) as client:
        assert list_sweeps(client) == []
        with pytest.raises(ServerError, match="no service answers"):
            stop(client, "demo", StopRequest())
    thread.join()
    listener.close()
    assert requests == [b"GET", b"GET", b"GET", b"POST"]


def test_another_server_is_told_apart() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client, pytest.raises(ServerError, match="502"):
        list_sweeps(client)
    thread.join()
    listener.close()


def test_the_services_own_token_goes_to_loopback_alone(tmp_path: Path) -> None:
    own = tmp_path / "server-token"
    own.write_text("t" * 43)
    own.chmod(0o600)
    assert find_token("http://127.0.0.1:8080", {}, tmp_path) == "t" * 43
    assert find_token("http://cluster:8080", {}, tmp_path) is None
    assert find_token("http://cluster:8080", {"SWEEPER_TOKEN": "mine"}, tmp_path) == "mine"
