"""The metrics, read as Prometheus reads them, against what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sweeper.server import monitoring


def samples(served: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = served.read.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_token_is_needed(served: Any) -> None:
    assert served.client(None).get("/metrics").status_code == 401
    assert served.full.get("/metrics").status_code == 200


def test_values_are_those_of_the_database(served: Any) -> None:
    found = samples(served)
    assert found["sweeper_sweeps", (("state", "running"),)] == 1
    assert found["sweeper_sweeps", (("state", "broken"),)] == 0
    for state, count in served.repository.counts("demo").items():
        assert found["sweeper_trials", (("state", state.value), ("sweep", "demo"))] == count
    assert found["sweeper_failures_total", (("kind", "diverged"),)] == 1
    assert found["sweeper_failures_total", (("kind", "lost"),)] == 1
    assert found["sweeper_failures_total", (("kind", "out_of_memory"),)] == 0
    assert found["sweeper_attempts_ended_total", (("state", "finished"),)] == 1
    assert found["sweeper_attempts_running", ()] == 0
    # One finished trial: 12 s of training and 1 s of evaluation.
    assert found["sweeper_trial_seconds_bucket", (("le", "10"),)] == 0
    assert found["sweeper_trial_seconds_bucket", (("le", "30"),)] == 1
    assert found["sweeper_trial_seconds_bucket", (("le", "+Inf"),)] == 1
    assert (found["sweeper_trial_seconds_count", ()], found["sweeper_trial_seconds_sum", ()]) == (1, 13)
    assert not any(name == "sweeper_lease_seconds" for name, _ in found)


def test_the_lease_tells_a_living_coordinator_from_a_dead_one(served: Any) -> None:
    lease = served.repository.acquire_lease("demo", "test", 3600)
    assert served.repository.claim(lease, served.repository.trials("demo")[5].hash, host="h") is not None
    found = samples(served)
    assert 0 < found["sweeper_lease_seconds", (("sweep", "demo"),)] <= 3600
    assert found["sweeper_attempts_running", ()] == 1
    assert found["sweeper_trials", (("state", "running"), ("sweep", "demo"))] == 1
    served.repository.renew_lease(lease, -60)
    assert samples(served)["sweeper_lease_seconds", (("sweep", "demo"),)] <= -60


def test_many_sweeps_make_no_more_series(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "MOST_SWEEPS", 3)
    for number in range(8):
        served.repository.create_sweep(f"s{number}", grid={}, trials=[])
    found = samples(served)
    named = {dict(labels)["sweep"] for name, labels in found if name == "sweeper_trials"}
    assert named == {"s5", "s6", "s7"}
    assert found["sweeper_sweeps", (("state", "queued"),)] == 8
