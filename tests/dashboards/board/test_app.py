"""The application without a browser: what is answered, what is refused, and that it only reads."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.board.app import chosen, make_app
from dashboards.board.buttons import Api
from dashboards.board.serve import THREADS, Listener, in_threads
from dashboards.board.source import Source
from dashboards.errors import BoardError
from storage.database import open_database
from storage.errors import StorageError, UnknownSweepError
from storage.repository import Repository
from tests.live_sweeps import Planned, bring, store
from tests.sweeper.server.listening import listening
from trials.states import TrialState

POLL = "..version.data...grid-data.data...parts.data...curves-version.data.."

EVERYWHERE = "0.0.0.0"  # noqa: S104


class Page:
    """What a page asks, without a browser."""

    def __init__(self, source: Source, host: str = "127.0.0.1", **options: Any) -> None:
        self.client = make_app(source, host=host, **options).server.test_client()
        self.version: str | None = None

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers={"Host": "127.0.0.1:8050", **headers})

    def poll(self, search: str = "?sweep=demo") -> Any:
        outputs = [dict(zip(("id", "property"), o.rsplit(".", 1), strict=True)) for o in POLL.strip(".").split("...")]
        asked = {
            "output": POLL,
            "outputs": outputs,
            "inputs": [
                {"id": "tick", "property": "n_intervals", "value": 0},
                {"id": "url", "property": "search", "value": search},
            ],
            "changedPropIds": ["tick.n_intervals"],
            "state": [
                {"id": "version", "property": "data", "value": self.version},
                {"id": "curves-version", "property": "data", "value": None},
            ],
        }
        (path,) = (r.rule for r in self.client.application.url_map.iter_rules() if "_dash-update" in r.rule)
        answer = self.client.post(re.sub(r"/?<[^>]*>", "", path), json=asked, headers={"Host": "localhost:8050"})
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found = json.loads(answer.get_data(as_text=True))["response"]
        self.version = found["version"]["data"]
        return found


def title(answer: Any) -> str:
    """What a poll's answer puts at the top."""
    return str(answer["parts"]["data"]["heading"][0]["props"]["children"])


@pytest.fixture
def page(source: Source) -> Page:
    return Page(source)


def test_nothing_is_sent_unless_something_changed(page: Page, repository: Repository) -> None:
    first = page.poll()
    assert title(first) == "demo"
    assert page.poll() is None
    lease = repository.lease("demo")
    assert lease is not None
    bring(repository, lease, Planned(loss="unified_focal_asym", gamma=0.9, state=TrialState.FINISHED, dsc=0.5))
    changed = page.poll()
    assert [3, 5, "finished", "0.500", 0, ""] in changed["grid-data"]["data"]["cells"]
    assert page.poll() is None


def test_an_unknown_sweep_names_the_nearest(page: Page) -> None:
    found = page.poll("?sweep=dem")
    assert "did you mean 'demo'?" in json.dumps(found["parts"]["data"]["banners"])
    assert found["grid-data"]["data"] is None
    assert page.poll("?sweep=dem") is None
    assert title(page.poll()) == "demo"


def test_a_database_that_comes_later_is_found(tmp_path: Path) -> None:
    source = Source(f"sqlite:///{tmp_path / 'sweeper.db'}")
    page = Page(source)
    assert "No sweep yet" in page.get("/").get_data(as_text=True)
    assert "there is no database" in json.dumps(page.poll("?sweep=first")["parts"]["data"]["banners"])
    assert not (tmp_path / "sweeper.db").exists()
    with open_database(f"sqlite:///{tmp_path / 'sweeper.db'}") as database:
        store(Repository(database), [Planned()], "first")
        assert title(page.poll("?sweep=first")) == "first"
        assert "first" in page.get("/").get_data(as_text=True)
    source.close()


def test_the_address_names_the_sweep() -> None:
    assert chosen("?sweep=later%20%26%20more&state=failed") == "later & more"
    assert chosen("") is None


def test_it_only_reads(source: Source, file: Path) -> None:
    source.check("demo")
    before = file.read_bytes()
    Page(source).poll()
    assert file.read_bytes() == before
    with pytest.raises(StorageError, match="read"):
        source._open().create_sweep("new", grid={}, trials=[])
    with pytest.raises(UnknownSweepError, match="did you mean"):
        source.check("demos")


def test_headers_allow_our_own_files_alone(page: Page) -> None:
    answer = page.get("/?sweep=demo")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    text = answer.get_data(as_text=True)
    assert '<html lang="en">' in text
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)
    script = re.search(r"<script id=\"_dash-renderer\"[^>]*>(.*?)</script>", text)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_another_sites_name_for_this_machine_is_refused(page: Page) -> None:
    assert page.get("/", Host="evil.example").status_code == 403
    assert page.get("/", Host="localhost:8050").status_code == 200
    assert page.get("/", Host="[::1]:8050").status_code == 200


def test_names_that_are_allowed_are_the_only_ones_on_any_address(source: Source) -> None:
    page = Page(source, host=EVERYWHERE, hosts=["board.example"])
    assert page.get("/", Host="board.example").status_code == 200
    assert page.get("/", Host="localhost:8050").status_code == 200
    assert page.get("/", Host="evil.example").status_code == 403
    assert Page(source, host=EVERYWHERE).get("/", Host="any.example").status_code == 200


def asked(**changes: Any) -> dict[str, Any]:
    """What the page sends when somebody presses `Resume`."""
    inputs = ("retry.data", "retry-all.n_clicks", "resume.n_clicks", "stop.submit_n_clicks", "stop-now.submit_n_clicks")

    def properties(*names: str) -> list[dict[str, Any]]:
        return [{**dict(zip(("id", "property"), name.split("."), strict=True)), "value": None} for name in names]

    return {
        "output": "answer.children",
        "outputs": {"id": "answer", "property": "children"},
        "inputs": properties(*inputs, "scale.n_clicks"),
        "state": properties("token.value", "concurrency.value", "url.search"),
        "changedPropIds": ["resume.n_clicks"],
        **changes,
    }


WRONG = {
    "cut off": b"{",
    "no object": b"[]",
    "empty": b"",
    "no text": b"\xff",
    "deep": b"[" * 100_000,
    "half a letter": b'{"output": "\\ud800"}',
    "another output": asked(output="other.children"),
    "an output of the browser": asked(output="shown.data"),
    "no inputs": asked(inputs=[]),
    "outputs of another": asked(outputs={"id": "curves", "property": "children"}),
    "a change of another": asked(changedPropIds=["url.search"]),
    "inputs that are none": asked(inputs=7),
    "a number for a text": asked(state=[*asked()["state"][:2], {"id": "url", "property": "search", "value": {}}]),
    "a retry of nothing": asked(inputs=[{"id": "retry", "property": "data", "value": 7}, *asked()["inputs"][1:]]),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_no_page_asks_is_refused(page: Page, body: bytes | dict[str, Any]) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Host": "127.0.0.1:8050", "Content-Type": "application/json"}
    answer = page.client.post("/_dash-update-component", data=sent, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_a_page_asks_is_answered(page: Page) -> None:
    state = [*asked()["state"][:2], {"id": "url", "property": "search", "value": "?sweep=demo"}]
    answer = page.client.post("/_dash-update-component", json=asked(state=state), headers={"Host": "127.0.0.1:8050"})
    assert "this board has no API" in answer.get_data(as_text=True)


def test_a_script_that_is_not_there(page: Page) -> None:
    assert page.get("/_dash-component-suites/dash/x.js").status_code == 404


def test_browsers_keep_scripts_and_no_results(page: Page) -> None:
    assert page.get("/_dash-layout").headers["Cache-Control"] == "no-store"
    assert page.get("/assets/board.js").headers["Cache-Control"] != "no-store"


def test_half_and_large_requests_keep_nobody_waiting(source: Source) -> None:
    header = b"POST /_dash-update-component HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    with listening(in_threads(make_app(source).server)) as url, ExitStack() as stack:
        port = int(url.rpartition(":")[2])

        def send(rest: bytes) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(header + rest)
            return connection

        for _ in range(2 * THREADS):
            send(b"Content-Length: 100\r\n\r\n{")
        for rest in (b"Content-Length: 300000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n200000\r\n"):
            connection = send(rest)
            connection.sendall(b" " * (1 << 20))
            connection.sendall(b" ")
            assert connection.recv(12) == b"HTTP/1.1 413"
        assert httpx.get(f"{url}/_dash-layout", timeout=20).status_code == 200


def test_answers_are_compressed(page: Page) -> None:
    plain, packed = page.get("/_dash-layout"), page.get("/_dash-layout", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.get_data())) == json.loads(plain.get_data())


@pytest.fixture
def heard() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """A server that notes what it is asked, and refuses the token `wrong`; its address."""
    seen: list[tuple[str, str, Any]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = self.headers["Authorization"].removeprefix("Bearer ")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, token, body))
            refused = token == "wrong"
            self.send_response(401 if refused else 202)
            self.end_headers()
            self.wfile.write(
                json.dumps({"detail": "no such token"} if refused else {"sweep": "s", "message": "asked"}).encode()
            )

        def log_message(self, format: str, *values: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_buttons_ask_the_api_with_the_persons_token(heard: tuple[str, list[tuple[str, str, Any]]]) -> None:
    url, seen = heard
    api = Api(url)
    assert api.retry("a/b", "t", "abc") == "asked"
    api.retry("a/b", "t")
    api.stop("s", "t", now=True)
    api.scale("s", "t", 3)
    api.resume("s", "t")
    assert seen == [
        ("/api/v1/sweeps/a%2Fb/retry", "t", {"trials": ["abc"]}),
        ("/api/v1/sweeps/a%2Fb/retry", "t", {"failed": True}),
        ("/api/v1/sweeps/s/stop", "t", {"now": True}),
        ("/api/v1/sweeps/s/scale", "t", {"concurrency": 3}),
        ("/api/v1/sweeps/s/resume", "t", {}),
    ]


@pytest.mark.slow
def test_what_the_api_refuses_is_said(heard: tuple[str, list[tuple[str, str, Any]]]) -> None:
    url, seen = heard
    with pytest.raises(BoardError, match="no such token; enter another token"):
        Api(url).retry("s", "wrong")
    with pytest.raises(BoardError, match="enter a token"):
        Api(url).retry("s", "")
    with pytest.raises(BoardError, match="--server"):
        Api("").retry("s", "t")
    with pytest.raises(BoardError, match="no service answers"):
        Api("http://127.0.0.1:9").retry("s", "t")
    with pytest.raises(BoardError, match="characters that a token cannot have"):
        Api(url).retry("s", "tökén\n")
    assert len(seen) == 1


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BoardError, match=rf"127.0.0.1:{port} .*--port"):
            Listener("127.0.0.1", port)
    with Listener("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", listener.url)


def test_the_commands_module_is_light() -> None:
    program = (
        "import sys; import dashboards.board.command; "
        "print([m for m in ('dash', 'plotly', 'pandas', 'numpy', 'sqlalchemy', 'flask', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
