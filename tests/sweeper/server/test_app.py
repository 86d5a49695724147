"""The API's verbs: what they answer, what they write, who may use them, and what is refused."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweeper.views.status import status_of

API = "/api/v1"
READS = (
    "/api/v1/sweeps",
    "/api/v1/sweeps/demo",
    "/api/v1/sweeps/demo/results",
)
WRITES = (
    ("/api/v1/sweeps/demo/stop", {}),
    ("/api/v1/sweeps/demo/scale", {"concurrency": 2}),
    ("/api/v1/sweeps/demo/retry", {"failed": True}),
    ("/api/v1/sweeps/demo/resume", {}),
)


def test_health_needs_no_token(served: Any) -> None:
    answer = served.client(None).get("/healthz", headers={"Host": "10.0.0.7"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


@pytest.mark.parametrize("path", READS)
def test_reading_needs_a_token(served: Any, path: str) -> None:
    for token in (None, "x" * 32, "", "ſ"):
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        answer = served.client(None).get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "token" in answer.json()["detail"]
    assert served.read.get(path).status_code == 200
    assert served.full.get(path).status_code == 200


@pytest.mark.parametrize(("path", "asked"), WRITES)
def test_changing_needs_the_full_role(served: Any, path: str, asked: dict[str, Any]) -> None:
    assert served.client(None).post(path, json=asked).status_code == 401
    answer = served.read.post(path, json=asked)
    assert answer.status_code == 403
    assert "full" in answer.json()["detail"]
    assert served.repository.requests("demo") == []
    assert served.recorded.starts == []


def test_status_is_the_object_of_the_command(served: Any) -> None:
    assert served.read.get(f"{API}/sweeps/demo").json() == status_of(served.repository, "demo").model_dump(mode="json")
    assert served.read.get(f"{API}/sweeps/demo?brief=true").json() == status_of(served.repository, "demo").model_dump(
        mode="json"
    )


def test_list_has_counts(served: Any) -> None:
    (line,) = served.read.get(f"{API}/sweeps").json()
    assert (line["sweep"], line["state"], line["counts"]["queued"]) == ("demo", "running", 15)


def test_results_as_json_and_parquet_are_the_stored_scores(served: Any) -> None:
    stored = served.repository.score_columns("demo")
    found = served.read.get(f"{API}/sweeps/demo/results").json()
    assert len(found["trials"]) == 18
    assert {name: [row[name] for row in found["scores"]] for name in stored} == stored
    answer = served.read.get(f"{API}/sweeps/demo/results?format=parquet")
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert pq.read_table(io.BytesIO(answer.content)).to_pydict() == stored
    trials = served.read.get(f"{API}/sweeps/demo/results?format=parquet&table=trials").content
    assert pq.read_table(io.BytesIO(trials)).to_pylist() == found["trials"]


def test_a_trial_by_its_first_digits(served: Any) -> None:
    lost = served.repository.trials("demo")[2]
    found = served.read.get(f"{API}/trials/{lost.hash[:10]}").json()
    assert (found["hash"], found["failure"]) == (lost.hash, "lost")
    assert found["attempts"][0]["last_words"] == "last words"
    assert found["spec"] == lost.spec.to_dict()


def test_stop_and_scale_ask_the_coordinator(served: Any) -> None:
    served.repository.acquire_lease("demo", "test", 60)
    said = served.full.post(f"{API}/sweeps/demo/stop", json={"now": True}).json()
    assert said == {"sweep": "demo", "message": "asked the coordinator of demo to stop; see: sweeper status demo"}
    assert served.full.post(f"{API}/sweeps/demo/scale", json={"concurrency": 3}).status_code == 200
    asked = [(r.verb, r.arguments) for r in served.repository.requests("demo")]
    assert asked == [("stop", {"now": True}), ("scale", {"concurrency": 3})]


def test_stop_and_scale_of_what_nobody_runs(served: Any) -> None:
    assert "is not running" in served.full.post(f"{API}/sweeps/demo/stop", json={}).json()["message"]
    answer = served.full.post(f"{API}/sweeps/demo/scale", json={"concurrency": 3})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "nobody is running demo; resume it with: sweeper resume demo"
    assert served.repository.requests("demo") == []


def test_retry_queues_and_starts_a_coordinator(served: Any) -> None:
    hashes = [t.hash for t in served.repository.trials("demo")]
    answer = served.full.post(f"{API}/sweeps/demo/retry", json={"trials": [hashes[2][:12]]})
    assert answer.status_code == 202
    assert answer.json()["message"].startswith("1 trials of demo are queued for a retry; demo is being started")
    assert [t.state.value for t in served.repository.trials("demo")[1:3]] == ["failed", "queued"]
    served.starts.join(120)
    assert [(start.sweep, start.grid) for start in served.recorded.starts] == [("demo", None)]
    assert served.starts.of("demo") is None


def test_retry_asks_a_living_coordinator(served: Any) -> None:
    served.repository.acquire_lease("demo", "test", 60)
    answer = served.full.post(f"{API}/sweeps/demo/retry", json={"failed": True})
    assert answer.json()["message"] == "asked the coordinator of demo to retry 2 trials"
    (request,) = served.repository.requests("demo")
    assert request.arguments == {"trials": [t.hash for t in served.repository.trials("demo")[1:3]]}
    assert served.recorded.starts == []


def test_retry_of_a_trial_of_another_sweep_is_refused(served: Any) -> None:
    answer = served.full.post(f"{API}/sweeps/demo/retry", json={"trials": ["abcdef0123456789"]})
    assert answer.status_code == 404
    assert "no trial's hash starts with 'abcdef0123456789' in sweep 'demo'" in answer.json()["detail"]


def test_a_running_sweep_is_not_resumed(served: Any) -> None:
    served.repository.acquire_lease("demo", "test", 60)
    answer = served.full.post(f"{API}/sweeps/demo/resume", json={})
    assert answer.status_code == 409
    assert "is run by test" in answer.json()["detail"]


def test_a_start_that_failed_is_told(served: Any) -> None:
    served.recorded.status, served.recorded.words = 2, "no Ray answers"
    assert served.full.post(f"{API}/sweeps/demo/resume", json={"limit": 4}).status_code == 202
    served.starts.join(120)
    assert served.recorded.starts[0].limit == 4
    assert served.read.get(f"{API}/sweeps/demo").json()["reason"] == "could not be started: no Ray answers"
    served.recorded.status = 0
    served.full.post(f"{API}/sweeps/demo/resume", json={})
    served.starts.join(120)
    assert served.read.get(f"{API}/sweeps/demo").json()["reason"] == ""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/v1/sweeps/demmo", "did you mean 'demo'?"),
        ("/api/v1/sweeps/demmo/results", "did you mean 'demo'?"),
        ("/api/v1/trials/abcdef0123", "no trial's hash starts with"),
        ("/api/v1/nothing", "Not Found"),
    ],
)
def test_what_is_not_there(served: Any, path: str, words: str) -> None:
    answer = served.read.get(path)
    assert answer.status_code == 404
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "asked", "words"),
    [
        ("stop", {"now": "yes"}, "body.now"),
        ("stop", {"later": True}, "body.later"),
        ("scale", {"concurrency": 0}, "body.concurrency"),
        ("scale", {}, "body.concurrency"),
        ("retry", {}, "say which trials"),
        ("retry", {"trials": ["../../etc/passwd"]}, "body.trials.0"),
        ("resume", {"limit": 0}, "body.limit"),
        ("resume", {"hours": -1}, "body.hours"),
    ],
)
def test_wrong_input_is_one_message(served: Any, path: str, asked: dict[str, Any], words: str) -> None:
    answer = served.full.post(f"{API}/sweeps/demo/{path}", json=asked)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert "Traceback" not in answer.text


def test_a_wrong_host_or_origin_is_turned_away(served: Any) -> None:
    path = f"{API}/sweeps"
    for host in ("evil.example", "127.0.0.1.evil.example:8080", "", "[::1", "127.0.0.1@evil.example"):
        answer = served.full.get(path, headers={"Host": host})
        assert answer.status_code == 400, host
        assert "SWEEPER_ALLOWED_HOSTS" in answer.json()["detail"]
    for host in ("localhost:1", "127.0.0.1", "[::1]:8080", "LOCALHOST"):
        assert served.full.get(path, headers={"Host": host}).status_code == 200, host
    for origin in ("https://evil.example", "null", "http://127.0.0.1:8081"):
        assert served.full.get(path, headers={"Origin": origin}).status_code == 400, origin
    assert served.full.get(path, headers={"Origin": "http://127.0.0.1:8080"}).status_code == 200


def test_a_body_that_no_json_is(served: Any) -> None:
    path = f"{API}/sweeps/demo/stop"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert served.full.post(path, content='{"now": true}', headers={"Content-Type": kind}).status_code == 422
    answer = served.full.post(path, content="{now", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    for text in ('{"trials": ["\\ud800"]}', '{"trials": "\\ud800"}', '{"\\ud800": 1}'):
        path, kind = f"{API}/sweeps/demo/retry", {"Content-Type": "application/json"}
        assert served.full.post(path, content=text, headers=kind).status_code == 422
    assert served.repository.requests("demo") == []


def test_a_large_body_is_refused(served: Any) -> None:
    large = b'{"now": true' + b" " * (1 << 20) + b"}"
    headers = {"Content-Type": "application/json"}
    answer = served.full.post(f"{API}/sweeps/demo/stop", content=large, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["detail"]
    pieces = (large[i : i + 65536] for i in range(0, len(large), 65536))
    assert served.full.post(f"{API}/sweeps/demo/stop", content=pieces, headers=headers).status_code == 413


def test_another_method_is_told_what_there_is(served: Any) -> None:
    for path, allowed in ((f"{API}/sweeps", "GET, POST"), (f"{API}/sweeps/demo", "GET"), (f"{API}/plan", "POST")):
        answer = served.full.delete(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        assert answer.json() == {"detail": "Method Not Allowed"}


def test_an_error_of_ours_shows_nothing_of_the_inside(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret path /srv")

    monkeypatch.setattr(served.repository, "sweeps", broken)
    answer = served.read.get(f"{API}/sweeps")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "an internal error of the service; see its log"}


def test_a_sweep_is_renamed_and_deleted(served: Any) -> None:
    path = "/api/v1/sweeps/demo"
    assert served.read.post(f"{path}/delete").status_code == 403
    assert served.read.post(f"{path}/rename", json={"to": "first"}).status_code == 403
    assert served.full.post(f"{path}/rename", json={"to": "../x"}).status_code == 422
    lease = served.repository.acquire_lease("demo", "somebody", 60)
    assert served.full.post(f"{path}/rename", json={"to": "first"}).status_code == 409
    assert served.read.get(f"{path}/deletion").status_code == 409
    assert served.full.post(f"{path}/delete").status_code == 409
    served.repository.release_lease(lease)
    assert served.full.post(f"{path}/rename", json={"to": "first"}).json()["sweep"] == "first"
    foreseen = served.read.get("/api/v1/sweeps/first/deletion").json()
    assert (foreseen["sweep"], foreseen["attempts"], foreseen["kept"]) == ("first", 3, 0)
    assert served.full.post("/api/v1/sweeps/first/delete").json() == foreseen
    assert served.full.post("/api/v1/sweeps/first/delete").status_code == 404
